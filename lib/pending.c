/* pending.c - the table of what waits. One owner. */
#include "pending.h"
#include "alloc.h"
#include "err.h"
#include "map.h"
#include <assert.h>
#include <string.h>

enum { BUCKETS_LEAST = 16 }; /* a power of two */

/* ---- by id ---- */

static struct evb_pending **bucket_of(const struct evb_pendings *all, uint64_t hash)
{
    return &all->buckets[hash & (all->bucket_count - 1)];
}

/* Without memory the buckets only stay longer. */
static void resize(struct evb_pendings *all, size_t bucket_count)
{
    struct evb_pendings fresh = *all;
    fresh.buckets = evb_calloc(bucket_count, sizeof *fresh.buckets);
    fresh.bucket_count = bucket_count;
    if (!fresh.buckets)
        return;
    for (size_t i = 0; i < all->bucket_count; i++) {
        struct evb_pending *pending = all->buckets[i], *next;
        for (; pending; pending = next) {
            struct evb_pending **bucket = bucket_of(&fresh, pending->hash);
            next = pending->next;
            pending->next = *bucket;
            *bucket = pending;
        }
    }
    evb_free(all->buckets);
    *all = fresh;
}

static struct evb_pending *find(const struct evb_pendings *all, const char *id, size_t length,
                                uint64_t hash)
{
    struct evb_pending *pending = *bucket_of(all, hash);
    while (pending && (pending->hash != hash || pending->length != length ||
                       memcmp(pending->id, id, length) != 0))
        pending = pending->next;
    return pending;
}

/* ---- by deadline: each is due before none of its children is ---- */

/* Of two heaps one; their roots have no siblings. */
static struct evb_pending *meld(struct evb_pending *a, struct evb_pending *b)
{
    if (!a || !b)
        return a ? a : b;
    if (b->deadline_ms < a->deadline_ms) {
        struct evb_pending *earlier = b;
        b = a;
        a = earlier;
    }
    b->sibling = a->child;
    if (b->sibling)
        b->sibling->back = b;
    b->back = a;
    a->child = b;
    return a;
}

static struct evb_pending *take_next(struct evb_pending **list)
{
    struct evb_pending *heap = *list;
    if (!heap)
        return NULL;
    *list = heap->sibling;
    heap->sibling = heap->back = NULL;
    return heap;
}

/* The children of one that leaves, as one heap: melded in pairs, then all. */
static struct evb_pending *meld_children(struct evb_pending *list)
{
    struct evb_pending *pairs = NULL, *heap = NULL, *one;
    while ((one = take_next(&list))) {
        one = meld(one, take_next(&list));
        one->sibling = pairs;
        pairs = one;
    }
    while ((one = take_next(&pairs)))
        heap = meld(heap, one);
    return heap;
}

static void leave_heap(struct evb_pendings *all, struct evb_pending *pending)
{
    struct evb_pending *children = meld_children(pending->child);
    pending->child = NULL;
    if (all->first == pending) {
        all->first = children;
        return;
    }
    if (pending->back->child == pending)
        pending->back->child = pending->sibling;
    else
        pending->back->sibling = pending->sibling;
    if (pending->sibling)
        pending->sibling->back = pending->back;
    pending->sibling = pending->back = NULL;
    all->first = meld(all->first, children);
}

/* ---- the table ---- */

int evb_pendings_init(struct evb_pendings *all)
{
    *all = (struct evb_pendings){.bucket_count = BUCKETS_LEAST};
    all->buckets = evb_calloc(all->bucket_count, sizeof *all->buckets);
    return all->buckets ? 0 : evb_fail_memory();
}

void evb_pendings_fini(struct evb_pendings *all)
{
    assert(all->count == 0);
    evb_free(all->buckets);
    all->buckets = NULL;
}

bool evb_pendings_add(struct evb_pendings *all, struct evb_pending *pending)
{
    pending->hash = evb_hash(pending->id, pending->length);
    if (find(all, pending->id, pending->length, pending->hash))
        return false;
    if (all->count >= all->bucket_count)
        resize(all, all->bucket_count * 2);
    struct evb_pending **bucket = bucket_of(all, pending->hash);
    pending->next = *bucket;
    *bucket = pending;
    all->count++;
    pending->child = pending->sibling = pending->back = NULL;
    all->first = meld(all->first, pending);
    return true;
}

struct evb_pending *evb_pendings_find(const struct evb_pendings *all, const char *id, size_t length)
{
    return find(all, id, length, evb_hash(id, length));
}

void evb_pendings_remove(struct evb_pendings *all, struct evb_pending *pending)
{
    struct evb_pending **link = bucket_of(all, pending->hash);
    while (*link != pending)
        link = &(*link)->next;
    *link = pending->next;
    leave_heap(all, pending);
    if (--all->count == 0 && all->bucket_count > BUCKETS_LEAST)
        resize(all, BUCKETS_LEAST);
}
