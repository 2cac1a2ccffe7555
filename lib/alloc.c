/* alloc.c - the allocator hook. Called from everywhere, on any thread; the hook is set before. */
#include "alloc.h"
#include "err.h"
#include <evbus.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static struct {
    void *(*alloc)(size_t);
    void *(*resize)(void *, size_t);
    void (*release)(void *);
} hook = {malloc, realloc, free};

void *evb_alloc(size_t size)
{
    return hook.alloc(size ? size : 1);
}

void *evb_calloc(size_t count, size_t size)
{
    if (size && count > SIZE_MAX / size)
        return NULL;
    void *memory = evb_alloc(count * size);
    if (memory)
        memset(memory, 0, count * size);
    return memory;
}

void *evb_resize(void *old, size_t size)
{
    return hook.resize(old, size ? size : 1);
}

void evb_free(void *memory)
{
    if (memory)
        hook.release(memory);
}

char *evb_strndup(const char *text, size_t length)
{
    if (length == SIZE_MAX)
        return NULL;
    char *copy = evb_alloc(length + 1);
    if (!copy)
        return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

char *evb_strdup(const char *text)
{
    return evb_strndup(text, strlen(text));
}

void evb_wipe_free(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    evb_free(secret);
}

/* Valgrind's memcheck puts its malloc in front by LD_PRELOAD. */
static bool is_memcheck(void)
{
    static atomic_int known; /* 0: nobody has looked yet; 1: no; 2: yes */
    int is = atomic_load_explicit(&known, memory_order_relaxed);
    if (is == 0) {
        const char *preload = getenv("LD_PRELOAD");
        is = preload && strstr(preload, "vgpreload_memcheck") ? 2 : 1;
        atomic_store_explicit(&known, is, memory_order_relaxed);
    }
    return is == 2;
}

bool evb_alloc_is_hooked(void)
{
#if defined(__SANITIZE_ADDRESS__)
    const bool watched = true;
#else
    const bool watched = false;
#endif
    return watched || hook.alloc != malloc || is_memcheck();
}

void evbus_string_free(char *text)
{
    evb_free(text);
}

int evbus_set_allocator(void *(*alloc)(size_t), void *(*resize)(void *, size_t),
                        void (*release)(void *))
{
    bool none = !alloc && !resize && !release;
    if (!none && !(alloc && resize && release))
        return evb_fail(EVBUS_EINVAL, "evbus_set_allocator: give all three functions, or none");
    hook.alloc = none ? malloc : alloc;
    hook.resize = none ? realloc : resize;
    hook.release = none ? free : release;
    return EVBUS_OK;
}
