/*
 * registry.h - which subscriptions an event has. Publishers read immutable snapshots, one a type,
 * without a lock; writers change the entries under the lock and let the snapshots go stale. Lock:
 * registry (a leaf).
 */
#ifndef EVB_REGISTRY_H
#define EVB_REGISTRY_H
#include "acl.h"
#include "map.h"
#include "match.h"
#include "snapshot.h"
#include "sub.h"
#include "trie.h"

/* how an entry stands with Redis */
enum {
    EVB_WIRE_NONE,    /* needs none: local scope, or a bus without Redis */
    EVB_WIRE_PENDING, /* asked for, or Redis is away */
    EVB_WIRE_LIVE,
    EVB_WIRE_REFUSED
};

struct evb_registry;

struct evb_entry {   /* one distinct pattern */
    atomic_int refs; /* the registry, its subscriptions, the loop's job, the wire interest */
    struct evb_registry *registry;
    enum evb_pattern_kind kind;
    /* under the registry's lock */
    struct evb_node subs;
    int count, remote;    /* subscriptions; those that want Redis's events */
    int wire;             /* EVB_WIRE_* */
    enum evb_right lacks; /* REFUSED: what is missing */
    bool posted;          /* `job` is in the loop's inbox */
    bool linked;          /* still found by its pattern */
    /* loop only */
    struct evb_job job;
    struct evb_node via_node; /* among the entries of `via` */
    void *via;                /* the Redis channel or pattern that brings its events; NULL: none */
    /* fixed after init */
    size_t length;
    char pattern[];
};

struct evb_registry {
    pthread_mutex_t lock;
    pthread_cond_t changed;   /* under lock: an entry's wire state moved */
    _Atomic uint64_t version; /* counts changes; a snapshot of another version is stale */
    /* under lock */
    struct evb_map entries; /* pattern -> struct evb_entry (ref) */
    struct evb_trie trie;
    struct evb_entry **glob; /* owned array of borrowed entries */
    size_t glob_count, glob_room;
    size_t sub_count;
    evbus_sub **last; /* owned: room for evb_registry_close(), which cannot fail */
    size_t last_room;
    struct evb_snapshots snapshots; /* but for their reading */
    bool closed;
    bool wants_redis; /* fixed after init */
    /* fixed after init: an entry's remote count became or left 0; called with no lock held */
    void (*interest)(struct evb_entry *entry, void *user);
    void *user;
};

int evb_registry_init(struct evb_registry *registry, bool wants_redis,
                      void (*interest)(struct evb_entry *entry, void *user), void *user);
void evb_registry_fini(struct evb_registry *registry);
/* Adds a finished subscription (the registry takes a reference of its own). EVBUS_ECLOSED,
 * EVBUS_ENOMEM. */
int evb_registry_add(struct evb_registry *registry, evbus_sub *sub, const char *pattern);
void evb_registry_remove(struct evb_registry *registry, evbus_sub *sub); /* once; more is fine */
/* No subscription is taken any more; answers all there are as an owned array of refs. */
evbus_sub **evb_registry_close(struct evb_registry *registry, size_t *count);
/* Lets all snapshots go that no thread holds: they hold subscriptions, and those the bus. */
void evb_registry_purge(struct evb_registry *registry);
bool evb_registry_is_pending(struct evb_registry *registry); /* some entry is EVB_WIRE_PENDING */
evbus_sub **evb_registry_list(struct evb_registry *registry, size_t *count);

/* Who gets events of this type; held by the thread's hazard pointer until evb_hazard_release().
 * NULL: no memory. */
const struct evb_snapshot *evb_registry_snapshot(struct evb_registry *registry,
                                                 struct evb_thread *thread, const char *type,
                                                 size_t length);

void evb_entry_ref(struct evb_entry *entry);
void evb_entry_unref(struct evb_entry *entry);
void evb_entry_set_wire(struct evb_entry *entry, int wire);
void evb_entry_refuse(struct evb_entry *entry, enum evb_right lacks); /* EVB_WIRE_REFUSED */
enum evb_right evb_entry_lacks(struct evb_entry *entry);
/* Until the entry is live or refused, or the time is up: EVB_WIRE_*; EVBUS_ECLOSED: the registry
 * was closed before. */
int evb_entry_wait(struct evb_entry *entry, int timeout_ms);

#endif
