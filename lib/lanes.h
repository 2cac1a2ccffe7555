/*
 * lanes.h - what waits for the handlers of one subscription with deliver=workers: events of one key
 * are handled in order, one at a time; those of different keys side by side. Bounded as a fifo is:
 * what is dropped is the oldest of all that wait, whatever its key. Under its owner's lock.
 *
 * Keys have queues of their own that exist while they hold something, not a fixed share of the
 * workers: so no key waits behind another one's slow handler, and one worker can serve them all.
 */
#ifndef EVB_LANES_H
#define EVB_LANES_H
#include "event.h"
#include "list.h"

struct evb_lane_item {
    evbus_event *event;    /* ref */
    uint64_t key;          /* its hash: two keys with the same one only lose being side by side */
    struct evb_node age;   /* among all that wait, oldest first */
    struct evb_node ready; /* the first of its key: among those to be taken */
    struct evb_lane_item *behind, *last; /* the next of its key; of the first: the last one */
    struct evb_lane_item *in_bucket;     /* of the first: the next first one in its bucket */
};

struct evb_lane_slab;

struct evb_lanes {
    /* fixed after init */
    struct evb_text (*key_of)(const evbus_event *event); /* NULL: an attribute, or no key at all */
    char *attr;                                          /* owned; NULL: none */
    int64_t max_events, max_bytes;
    int full; /* EVB_FULL_* */

    struct evb_node ages, ready;
    struct evb_lane_item **buckets; /* owned: the first item of each key, in hand or waiting */
    size_t bucket_count, key_count;
    struct evb_lane_slab *slabs; /* owned: memory of the most that ever waited */
    struct evb_lane_item *spare; /* of them */
    struct evb_lane_item *alone; /* waits or is in hand, and nothing is taken beside it; or NULL */
    bool alone_waits;            /* else it is in hand */
    int64_t count, bytes, peak;  /* of what waits, but for `alone` */
    bool closed;                 /* whatever comes is dropped */
};

#define EVB_LANE_KEYS "type, correlation, source, attr:NAME, all (one key) or none (no order)"

/* `key`: one of EVB_LANE_KEYS; NULL: type. NULL: no memory, or EVBUS_EINVAL with a sentence. */
struct evb_lanes *evb_lanes_new(const char *key, int64_t max_events, int64_t max_bytes, int full);
void evb_lanes_free(struct evb_lanes *lanes); /* drops what waits, uncounted; NULL is fine */
uint64_t evb_lanes_key(const struct evb_lanes *lanes, const evbus_event *event); /* without lock */
/* Takes the reference: the event waits, or it or older ones were dropped to keep the bound.
 * Answers how many were dropped; *ready: one more can be taken than before. */
int evb_lanes_push(struct evb_lanes *lanes, evbus_event *event, uint64_t key, bool *ready);
/* Where nothing waits or is in hand: it is taken next, and all that comes waits until it is done.
 * It has no part in the bounds, and is never dropped for others. Takes the reference; false:
 * closed, or no memory. */
bool evb_lanes_push_alone(struct evb_lanes *lanes, evbus_event *event);
/* The next event whose key is free, keys in turn; its key is busy until evb_lanes_done(). The
 * event's reference is the caller's. NULL: none. */
struct evb_lane_item *evb_lanes_take(struct evb_lanes *lanes);
/* True: several can be taken that could not before. */
bool evb_lanes_done(struct evb_lanes *lanes, struct evb_lane_item *item);

#endif
