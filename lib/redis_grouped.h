/*
 * redis_grouped.h - which types have groups, as publishers know it: read from the registry in Redis
 * (redis_script.h) before the shard is READY and whenever members tell on the channel for it. Loop
 * only.
 */
#ifndef EVB_REDIS_GROUPED_H
#define EVB_REDIS_GROUPED_H
#include "map.h"
#include "redis_stream.h"

struct evb_lost_group { /* borrowed texts; nobody has been a member of it for group.ttl */
    const char *channel, *name;
    int64_t entries; /* lost with it */
};

struct evb_grouped_hooks {
    void (*known)(void *user); /* the registry is read, or cannot be */
    void (*failed)(int error, const char *why, void *user);
    void (*lacks)(const char *right, void *user);
    void (*gone)(const struct evb_lost_group *group, void *user); /* removed, by this node */
    void *user;
};

struct evb_grouped {
    /* fixed after init */
    struct evb_stream *stream; /* borrowed: the registry's key; NULL: without Redis */
    struct evb_asks *asks;     /* borrowed */
    struct evb_log *log;
    struct evb_grouped_hooks hooks;
    char *control; /* owned: the channel on which members tell */

    struct evb_map channels; /* -> itself, borrowed: those that have groups */
    struct evb_map next;     /* the same, while it is read */
    bool all;                /* there are too many to know: each may have some */
    bool next_all;
    int64_t soonest_ms, next_soonest_ms; /* Unix time: when the first group is over; INT64_MAX */
    bool known;                          /* on this connection */
    bool reading, anew;                  /* a page is asked; once more after it */
    bool deaf;                           /* the channel is refused: each heartbeat reads */
    bool forgetting;
};

int evb_grouped_init(struct evb_grouped *grouped, struct evb_stream *stream, struct evb_asks *asks,
                     struct evb_log *log, const struct evb_grouped_hooks *hooks); /* 0, or ENOMEM */
void evb_grouped_fini(struct evb_grouped *grouped);
/* The connection is gone; what was known stays true enough until the next one. */
void evb_grouped_lost(struct evb_grouped *grouped);
bool evb_grouped_is_known(const struct evb_grouped *grouped);
void evb_grouped_read(struct evb_grouped *grouped); /* once more, if it is being read */
/* The registry has it, and what was read before was asked before. */
void evb_grouped_add(struct evb_grouped *grouped, const char *channel);
/* With each heartbeat: reads where nobody tells, removes groups that have no members. */
void evb_grouped_beat(struct evb_grouped *grouped);
bool evb_grouped_has(const struct evb_item *item, void *grouped); /* the outbox's question */

#endif
