/* ring.c - a bounded FIFO of events. Called under its owner's lock, on any thread. */
#include "ring.h"
#include "alloc.h"
#include "config.h"

void evb_ring_init(struct evb_ring *ring, int64_t max_events, int64_t max_bytes, int full,
                   void (*drop)(struct evb_ring_item *item))
{
    *ring = (struct evb_ring){
        .max_events = max_events, .max_bytes = max_bytes, .full = full, .drop = drop};
}

void evb_ring_fini(struct evb_ring *ring)
{
    struct evb_ring_item item;
    while (evb_ring_pop(ring, &item, 1))
        ring->drop(&item);
    evb_free(ring->items);
    ring->items = NULL;
    ring->room = 0;
}

static bool grow(struct evb_ring *ring)
{
    uint32_t room = ring->room ? ring->room * 2 : 16;
    struct evb_ring_item *items = evb_alloc(room * sizeof *items);
    if (!items)
        return false;
    for (uint32_t i = 0; i < ring->count; i++)
        items[i] = ring->items[(ring->head + i) & (ring->room - 1)];
    evb_free(ring->items);
    ring->items = items;
    ring->room = room;
    ring->head = 0;
    return true;
}

static bool fits(const struct evb_ring *ring, int64_t size)
{
    return ring->count < ring->max_events && ring->bytes + size <= ring->max_bytes;
}

int evb_ring_push(struct evb_ring *ring, struct evb_ring_item item)
{
    int64_t size = item.size = item.event->size;
    int dropped = 0;
    struct evb_ring_item old;
    if (ring->full == EVB_FULL_DROP_OLDEST && size <= ring->max_bytes)
        for (; !fits(ring, size) && evb_ring_pop(ring, &old, 1); dropped++)
            ring->drop(&old);
    if (fits(ring, size) && (ring->count < ring->room || grow(ring))) {
        ring->items[(ring->head + ring->count++) & (ring->room - 1)] = item;
        ring->bytes += size;
        if (ring->count > ring->peak)
            ring->peak = ring->count;
    } else {
        ring->drop(&item);
        dropped++;
    }
    ring->dropped += dropped;
    return dropped;
}

int evb_ring_pop(struct evb_ring *ring, struct evb_ring_item *items, int max)
{
    int n = 0;
    for (; n < max && ring->count; n++) {
        items[n] = ring->items[ring->head];
        ring->head = (ring->head + 1) & (ring->room - 1);
        ring->count--;
        ring->bytes -= items[n].size;
    }
    return n;
}
