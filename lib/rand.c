/* rand.c - a pool a thread, filled by getrandom(2). Any thread. */
#include "rand.h"
#include "fork.h"
#include <errno.h>
#include <string.h>
#include <sys/random.h>

static void (*fill_hook)(void *, size_t);

static _Thread_local struct {
    unsigned generation; /* fork: parent and child must not draw the same bytes */
    size_t left;
    unsigned char bytes[4096];
} pool;

static void fill_kernel(void *out, size_t length)
{
    unsigned char *p = out;
    while (length) {
        ssize_t n = getrandom(p, length, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) { /* kernels since 3.17 have it; without it ids are only as good as addresses */
            for (size_t i = 0; i < length; i++)
                p[i] =
                    (unsigned char)((uintptr_t)&pool >> (i % sizeof(uintptr_t))) ^ (unsigned char)i;
            return;
        }
        p += n;
        length -= (size_t)n;
    }
}

void evb_rand_set(void (*fill)(void *, size_t))
{
    fill_hook = fill;
    pool.left = 0;
}

void evb_rand_bytes(void *out, size_t length)
{
    void (*fill)(void *, size_t) = fill_hook ? fill_hook : fill_kernel;
    if (pool.generation != evb_fork_generation()) {
        pool.generation = evb_fork_generation();
        pool.left = 0;
    }
    if (length > sizeof pool.bytes) {
        fill(out, length);
        return;
    }
    if (pool.left < length) {
        fill(pool.bytes, sizeof pool.bytes);
        pool.left = sizeof pool.bytes;
    }
    pool.left -= length;
    memcpy(out, pool.bytes + pool.left, length);
    memset(pool.bytes + pool.left, 0, length);
}

uint64_t evb_rand_below(uint64_t bound)
{
    uint64_t value, limit;
    if (bound == 0)
        return 0;
    limit = UINT64_MAX - UINT64_MAX % bound;
    do
        evb_rand_bytes(&value, sizeof value);
    while (value >= limit);
    return value % bound;
}
