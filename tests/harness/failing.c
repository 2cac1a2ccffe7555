/* failing.c - a counting, failing allocator. Any thread. */
#include "harness/failing.h"
#include "harness/check.h"
#include <evbus.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>

static _Atomic long left = LONG_MAX, live;
static atomic_bool failed, stays;

static bool may_give(void)
{
    long now = atomic_load(&left);
    while (now != LONG_MAX && !atomic_compare_exchange_weak(&left, &now, now - 1))
        continue;
    bool fails = now == 0 || (now < 0 && atomic_load(&stays));
    if (fails)
        atomic_store(&failed, true);
    return !fails;
}

static void *give(size_t size)
{
    void *memory = may_give() ? malloc(size) : NULL;
    if (memory)
        atomic_fetch_add(&live, 1);
    return memory;
}

static void *resize(void *old, size_t size)
{
    if (!old)
        return give(size);
    return may_give() ? realloc(old, size) : NULL;
}

static void take_back(void *memory)
{
    if (memory)
        atomic_fetch_sub(&live, 1);
    free(memory);
}

void failing_install(void)
{
    ck_assert_int_eq(evbus_set_allocator(give, resize, take_back), 0);
}

void failing_at(long n, bool for_good)
{
    atomic_store(&failed, false);
    atomic_store(&stays, for_good);
    atomic_store(&left, n);
}

bool failing_off(void)
{
    atomic_store(&left, LONG_MAX);
    return atomic_load(&failed);
}

long failing_live(void)
{
    return atomic_load(&live);
}
