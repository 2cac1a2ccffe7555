/* pool.c - free blocks by thread and size. Records are the process's, reused when a thread ends. */
#include "pool.h"
#include "alloc.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* With its header a block fills cache lines, and begins on one: who gives it to another core moves
 * no line of its neighbour's. Behind it stands where malloc's memory begins: with that they lie an
 * odd number of lines apart, so that not all begin in the same few sets of a cache. */
static const uint16_t sizes[] = {240, 368, 496, 752, 1008, 1520, 2032, 3056};

enum {
    CLASSES = sizeof sizes / sizeof sizes[0],
    KEPT_BYTES = 2 << 20, /* free ones of one thread; as much again on their way back to it */
    BUNDLE = 32,          /* blocks that go back to their thread at once */
    LINE = 64,            /* bytes of a cache line; a guess is good enough */
    FETCHED = 512         /* bytes that are fetched ahead, at most */
};

struct pool;

struct block {
    struct pool *owner; /* NULL: too large, or the allocator is the caller's */
    union {
        struct block *next; /* while it is free */
        uintptr_t size_class;
    };
    _Alignas(16) char bytes[];
};

struct pool {
    struct pool *next; /* fixed after init */
    atomic_int used;
    /* own thread only */
    struct block *free[CLASSES]; /* what it gave back itself */
    struct block *back[CLASSES]; /* what others did */
    int kept_bytes;              /* of both */
    struct bundle {              /* own thread only: blocks of another, on their way back */
        struct pool *owner;
        struct block *first, *last;
        int count;
    } bundle[CLASSES];
    /* what other threads gave back */
    struct {
        struct block *_Atomic top;
        atomic_int count;
        char apart[64]; /* from the cache line of the next */
    } returned[CLASSES];
    atomic_int returned_bytes;
};

static struct pool *_Atomic pools;
static _Thread_local struct pool *mine;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Of malloc's, which begins on 16. */
static size_t block_bytes(int n)
{
    return LINE - 16 + sizeof(struct block) + sizes[n] + sizeof(char *);
}

static struct block *block_new(int n)
{
    char *memory = evb_alloc(block_bytes(n));
    if (!memory)
        return NULL;
    char *line = memory + (-(uintptr_t)memory & (LINE - 1));
    struct block *block = (struct block *)(void *)line;
    memcpy(block->bytes + sizes[n], &memory, sizeof memory);
    return block;
}

static void block_free(struct block *block, int n)
{
    char *memory;
    memcpy(&memory, block->bytes + sizes[n], sizeof memory);
    evb_free(memory);
}

static void bundle_free(struct bundle *bundle, int n)
{
    while (bundle->first) {
        struct block *block = bundle->first;
        bundle->first = block->next;
        block_free(block, n);
    }
}

static void bundle_return(struct bundle *bundle, int n)
{
    struct pool *owner = bundle->owner;
    int bytes = bundle->count * sizes[n];
    if (bundle->count &&
        atomic_load_explicit(&owner->returned_bytes, memory_order_relaxed) + bytes > KEPT_BYTES) {
        bundle_free(bundle, n);
    } else if (bundle->count) {
        atomic_fetch_add_explicit(&owner->returned_bytes, bytes, memory_order_relaxed);
        atomic_fetch_add_explicit(&owner->returned[n].count, bundle->count, memory_order_relaxed);
        struct block *top = atomic_load_explicit(&owner->returned[n].top, memory_order_relaxed);
        do
            bundle->last->next = top;
        while (!atomic_compare_exchange_weak_explicit(&owner->returned[n].top, &top, bundle->first,
                                                      memory_order_release, memory_order_relaxed));
    }
    *bundle = (struct bundle){0};
}

static void thread_gone(void *record)
{
    struct pool *pool = record;
    for (int n = 0; n < CLASSES; n++)
        bundle_return(&pool->bundle[n], n);
    mine = NULL;
    atomic_store(&pool->used, 0);
}

static void start(void)
{
    pthread_key_create(&key, thread_gone);
}

static struct pool *adopt(void)
{
    pthread_once(&once, start);
    struct pool *pool = atomic_load(&pools);
    for (int unused = 0; pool; pool = pool->next, unused = 0)
        if (atomic_compare_exchange_strong(&pool->used, &unused, 1))
            break;
    if (!pool) {
        pool = evb_calloc(1, sizeof *pool);
        if (!pool)
            return NULL;
        atomic_init(&pool->used, 1);
        pool->next = atomic_load(&pools);
        while (!atomic_compare_exchange_weak(&pools, &pool->next, pool))
            continue;
    }
    if (pthread_setspecific(key, pool) != 0) {
        atomic_store(&pool->used, 0);
        return NULL;
    }
    return mine = pool;
}

static int class_of(size_t size)
{
    int n = 0;
    while (size > sizes[n])
        n++;
    return n;
}

static bool is_pooled(size_t size)
{
    return size <= sizes[CLASSES - 1] && !evb_alloc_is_hooked();
}

size_t evb_pool_room(size_t size)
{
    return is_pooled(size) ? block_bytes(class_of(size)) : sizeof(struct block) + size;
}

static void *plain(size_t size)
{
    struct block *block = size > SIZE_MAX - sizeof *block ? NULL : evb_alloc(sizeof *block + size);
    if (!block)
        return NULL;
    block->owner = NULL;
    return block->bytes;
}

static void take_returned(struct pool *pool, int n)
{
    if (!atomic_load_explicit(&pool->returned[n].top, memory_order_relaxed))
        return;
    /* The count first: of what is pushed in between it may be short, never too much. */
    int bytes =
        sizes[n] * atomic_exchange_explicit(&pool->returned[n].count, 0, memory_order_relaxed);
    atomic_fetch_sub_explicit(&pool->returned_bytes, bytes, memory_order_relaxed);
    pool->kept_bytes += bytes;
    pool->back[n] = atomic_exchange_explicit(&pool->returned[n].top, NULL, memory_order_acquire);
}

/* A block that another thread gave back is in the cache of its core, and stores wait for one line
 * after the other. Asked for while the block before it is filled, they are here in time. */
static void fetch(const struct block *block, size_t size)
{
    const char *line = (const char *)block;
    const char *end = line + (size < FETCHED ? size : FETCHED);
    for (; line < end; line += LINE)
        __builtin_prefetch(line, 1);
}

static struct block *take_free(struct pool *pool, int n, size_t size)
{
    struct block *block = pool->free[n];
    if (block) {
        pool->free[n] = block->next;
        return block;
    }
    if (!pool->back[n])
        take_returned(pool, n);
    block = pool->back[n];
    if (block && (pool->back[n] = block->next))
        fetch(block->next, sizeof *block + size); /* the next one is like this one */
    return block;
}

static void *pooled(struct pool *pool, int n, size_t size)
{
    struct block *block = take_free(pool, n, size);
    if (block) {
        pool->kept_bytes -= sizes[n];
    } else {
        block = block_new(n);
        if (!block)
            return NULL;
    }
    block->owner = pool;
    block->size_class = (uintptr_t)n;
    return block->bytes;
}

void *evb_pool_take(size_t size, size_t *room)
{
    bool in_class = is_pooled(size);
    int n = in_class ? class_of(size) : 0;
    if (room)
        *room = in_class ? block_bytes(n) : sizeof(struct block) + size;
    struct pool *pool = !in_class ? NULL : mine ? mine : adopt();
    return pool ? pooled(pool, n, size) : plain(size);
}

static void give_back(struct pool *pool, struct block *block, struct pool *owner, int n)
{
    struct bundle *bundle = &pool->bundle[n];
    if (bundle->owner != owner || bundle->count == BUNDLE)
        bundle_return(bundle, n);
    block->next = bundle->first;
    bundle->first = block;
    if (!bundle->count++)
        bundle->last = block;
    bundle->owner = owner;
}

void evb_pool_give(void *memory)
{
    if (!memory)
        return;
    struct block *block = (struct block *)(void *)((char *)memory - offsetof(struct block, bytes));
    struct pool *owner = block->owner;
    if (!owner) {
        evb_free(block);
        return;
    }
    int n = (int)block->size_class;
    struct pool *pool = mine ? mine : adopt();
    if (!pool) {
        block_free(block, n);
    } else if (owner != pool) {
        give_back(pool, block, owner, n);
    } else if (owner->kept_bytes + sizes[n] > KEPT_BYTES) {
        block_free(block, n);
    } else {
        block->next = owner->free[n];
        owner->free[n] = block;
        owner->kept_bytes += sizes[n];
    }
}
