/*
 * recent.h - the last events of this process, kept by reference for those who ask for history. A
 * ring for each of a few threads, so that publishers do not wait for each other. Lock: one a ring
 * (leaves), held for some pointers' time. Any thread.
 */
#ifndef EVB_RECENT_H
#define EVB_RECENT_H
#include "event.h"
#include "metrics.h"
#include <pthread.h>

#define EVB_RECENT_BYTES (8 << 20) /* memory that the events of one ring may hold */

struct evb_recent_ring {
    pthread_mutex_t lock;
    evbus_event **slots;  /* refs; number n stands at n % limit */
    uint64_t first, next; /* under lock: numbers of the oldest, and of the one to come */
    size_t bytes;         /* under lock */
    char apart[64];       /* from the cache line of the next */
};

struct evb_recent {
    uint32_t limit; /* fixed after init: events of one ring; 0: none are kept */
    struct evb_recent_ring rings[EVB_METRIC_SHARDS];
    evbus_event **slots; /* owned */
};

/* 0 or EVBUS_ENOMEM. Zeroed memory is one with limit 0, and may be given back too. */
int evb_recent_init(struct evb_recent *recent, uint32_t limit);
void evb_recent_fini(struct evb_recent *recent);
/* Keeps a reference to a frozen event; the oldest ones of its ring make room. limit is not 0. */
void evb_recent_push(struct evb_recent *recent, evbus_event *event);

struct evb_recent_cursor { /* where a reader stands; {0}: before the newest of the first ring */
    unsigned ring;
    bool inside;   /* of a ring: `next` counts */
    uint64_t next; /* below it is unread */
};

/* Up to `max` events into `events`, with a reference each: ring by ring, each newest first. What
 * comes meanwhile is not read, what is overwritten meanwhile is passed over. 0: that was all. */
int evb_recent_read(struct evb_recent *recent, struct evb_recent_cursor *cursor,
                    evbus_event **events, int max);

#endif
