/*
 * fifo.h - a bounded first-in-first-out of events, each with its subscription: what waits for the
 * loop or in a pull queue. In chunks, so that a reader takes many in one step. Under its owner's
 * lock.
 */
#ifndef EVB_FIFO_H
#define EVB_FIFO_H
#include "event.h"
#include <stdint.h>

#define EVB_CHUNK_ITEMS 30 /* a chunk has 512 bytes then */

struct evb_fifo_item {
    evbus_event *event; /* ref */
    evbus_sub *sub;     /* ref, or NULL where the fifo belongs to one subscription */
};

struct evb_chunk {
    struct evb_chunk *next;
    uint32_t first, end; /* of the items that are left */
    int64_t bytes;       /* of their events */
    struct evb_fifo_item items[EVB_CHUNK_ITEMS];
};

struct evb_fifo {
    struct evb_chunk *oldest, *newest; /* owned */
    int64_t count, bytes;
    int64_t max_events, max_bytes;            /* fixed after init */
    int full;                                 /* fixed after init: EVB_FULL_* */
    void (*drop)(struct evb_fifo_item *item); /* fixed after init: gives its references back */
    int64_t peak, dropped;
};

void evb_fifo_init(struct evb_fifo *fifo, int64_t max_events, int64_t max_bytes, int full,
                   void (*drop)(struct evb_fifo_item *item));
void evb_fifo_fini(struct evb_fifo *fifo); /* drops what waits, uncounted */
/* Takes the references of `item`, whatever happens: it waits, or it or older ones were dropped to
 * keep the bound. Answers how many were dropped. */
int evb_fifo_push(struct evb_fifo *fifo, struct evb_fifo_item item);
bool evb_fifo_fits(const struct evb_fifo *fifo, int64_t size);
int evb_fifo_pop(struct evb_fifo *fifo, struct evb_fifo_item *items, int max); /* how many */
/* The oldest chunk with its items, now the caller's until it goes back by evb_fifo_give(); NULL:
 * empty. */
struct evb_chunk *evb_fifo_take(struct evb_fifo *fifo);
void evb_fifo_give(struct evb_chunk *chunk); /* its items are used up; needs no lock; or NULL */

#endif
