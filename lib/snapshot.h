/*
 * snapshot.h - who gets events of a type, as publishers see it: immutable lists in a table that is
 * read without a lock, under hazard pointers. Written under the owner's lock.
 */
#ifndef EVB_SNAPSHOT_H
#define EVB_SNAPSHOT_H
#include "sub.h"
#include "thread.h"
#include <stdint.h>

struct evb_snapshot {             /* who gets events of one type: immutable */
    struct evb_snapshot *retired; /* under the registry's lock */
    uint64_t version;
    size_t count;
    evbus_sub *subs[]; /* refs */
};

struct evb_table;

struct evb_snapshots {
    const void *_Atomic table; /* struct evb_table */
    /* under the owner's lock */
    struct evb_snapshot *retired;
    struct evb_table *retired_tables;
    size_t wanted; /* how many types are worth remembering at the least */
    size_t stale;  /* subscriptions that ended since all were let go */
};

int evb_snapshots_init(struct evb_snapshots *all);
void evb_snapshots_fini(struct evb_snapshots *all);

/* Any thread, no lock: the type's snapshot of this version, held by a hazard pointer; NULL: none
 * (any more). */
const struct evb_snapshot *evb_snapshots_find(struct evb_snapshots *all, struct evb_thread *thread,
                                              const char *type, size_t length, uint64_t hash,
                                              uint64_t version);

/* The rest under the owner's lock. */
struct evb_snapshot *evb_snapshot_new(size_t room); /* without subscriptions; NULL: no memory */
/* The same as evb_snapshots_find(), and held by no hazard pointer. */
const struct evb_snapshot *evb_snapshots_peek(struct evb_snapshots *all, const char *type,
                                              size_t length, uint64_t hash, uint64_t version);
/* Takes the snapshot; false: no memory, it is freed. */
bool evb_snapshots_put(struct evb_snapshots *all, const char *type, size_t length, uint64_t hash,
                       struct evb_snapshot *snapshot);
/* A subscription ended. Snapshots that nobody asks for again would keep it: now and then they all
 * go. */
void evb_snapshots_one_ended(struct evb_snapshots *all);
void evb_snapshots_purge(struct evb_snapshots *all);   /* lets all go that no thread holds */
void evb_snapshots_reclaim(struct evb_snapshots *all); /* frees what no thread holds any more */

#endif
