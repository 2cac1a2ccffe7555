/*
 * pending.h - what waits for an answer, found by its id and by who is due first: a hash table and a
 * pairing heap (Fredman, Sedgewick, Sleator, Tarjan, "The Pairing Heap", Algorithmica 1, 1986).
 * Nothing is allocated for one that waits. One owner, no lock.
 */
#ifndef EVB_PENDING_H
#define EVB_PENDING_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct evb_pending { /* embedded in what waits */
    /* fixed while it is in a table */
    const char *id; /* borrowed */
    uint32_t length;
    int64_t deadline_ms; /* INT64_MAX: none */

    struct evb_pending *next;            /* in its bucket */
    struct evb_pending *child, *sibling; /* in the heap */
    struct evb_pending *back;            /* the sibling before it, or its parent; NULL: the root */
    uint64_t hash;
};

struct evb_pendings {
    struct evb_pending **buckets; /* owned */
    size_t bucket_count, count;
    struct evb_pending *first; /* the one with the earliest deadline; NULL: none */
};

int evb_pendings_init(struct evb_pendings *all);  /* 0, or EVBUS_ENOMEM */
void evb_pendings_fini(struct evb_pendings *all); /* zeroed memory will do; nothing may wait */
/* False: one with this id waits already, and nothing happened. */
bool evb_pendings_add(struct evb_pendings *all, struct evb_pending *pending);
struct evb_pending *evb_pendings_find(const struct evb_pendings *all, const char *id,
                                      size_t length); /* NULL: none */
void evb_pendings_remove(struct evb_pendings *all, struct evb_pending *pending);

#endif
