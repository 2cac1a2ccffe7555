/*
 * ring.h - a bounded first-in-first-out of events, each with its subscription: what waits for the
 * loop or in a pull queue. Under its owner's lock.
 */
#ifndef EVB_RING_H
#define EVB_RING_H
#include "event.h"
#include <stdint.h>

struct evb_ring_item {
    evbus_event *event; /* ref */
    evbus_sub *sub;     /* ref, or NULL where the ring belongs to one subscription */
    int64_t size;       /* the ring's: of the event, which may be in another core's cache by now */
};

struct evb_ring {
    struct evb_ring_item *items; /* owned; grows to max_events */
    uint32_t room, head, count;
    int64_t bytes;
    int64_t max_events, max_bytes;            /* fixed after init */
    int full;                                 /* fixed after init: EVB_FULL_* */
    void (*drop)(struct evb_ring_item *item); /* fixed after init: gives its references back */
    int64_t peak, dropped;
};

void evb_ring_init(struct evb_ring *ring, int64_t max_events, int64_t max_bytes, int full,
                   void (*drop)(struct evb_ring_item *item));
void evb_ring_fini(struct evb_ring *ring); /* drops what waits, uncounted */
/* Takes the references of `item`, whatever happens: it waits, or it or older ones were dropped to
 * keep the bound. Answers how many were dropped. */
int evb_ring_push(struct evb_ring *ring, struct evb_ring_item item);
int evb_ring_pop(struct evb_ring *ring, struct evb_ring_item *items, int max); /* how many */

#endif
