/* recent.c - rings of references. Pushed to by publishers and by the loop; read by queries. */
#include "recent.h"
#include "alloc.h"
#include "err.h"
#include "wait.h"

int evb_recent_init(struct evb_recent *recent, uint32_t limit)
{
    if (limit == 0)
        return 0;
    recent->slots = evb_calloc((size_t)limit * EVB_METRIC_SHARDS, sizeof *recent->slots);
    if (!recent->slots)
        return evb_fail_memory();
    recent->limit = limit;
    for (size_t i = 0; i < EVB_METRIC_SHARDS; i++) {
        recent->rings[i] = (struct evb_recent_ring){.slots = recent->slots + i * limit};
        evb_lock_init(&recent->rings[i].lock);
    }
    return 0;
}

/* Under the ring's lock; the reference is the caller's. */
static evbus_event *pop_oldest(struct evb_recent_ring *ring, uint32_t limit)
{
    evbus_event *oldest = ring->slots[ring->first++ % limit];
    ring->bytes -= oldest->size;
    return oldest;
}

void evb_recent_fini(struct evb_recent *recent)
{
    for (size_t i = 0; recent->limit && i < EVB_METRIC_SHARDS; i++) {
        struct evb_recent_ring *ring = &recent->rings[i];
        while (ring->first < ring->next)
            evbus_event_unref(pop_oldest(ring, recent->limit));
        pthread_mutex_destroy(&ring->lock);
    }
    evb_free(recent->slots);
    recent->slots = NULL;
    recent->limit = 0;
}

/* False: there is no room yet. *oldest is what has to go, or NULL. */
static bool push_one(struct evb_recent_ring *ring, uint32_t limit, evbus_event *event,
                     evbus_event **oldest)
{
    pthread_mutex_lock(&ring->lock);
    bool full = ring->next - ring->first == limit || ring->bytes + event->size > EVB_RECENT_BYTES;
    *oldest = full ? pop_oldest(ring, limit) : NULL;
    bool fits = ring->bytes + event->size <= EVB_RECENT_BYTES;
    if (fits) {
        ring->slots[ring->next++ % limit] = event;
        ring->bytes += event->size;
    }
    pthread_mutex_unlock(&ring->lock);
    return fits;
}

void evb_recent_push(struct evb_recent *recent, evbus_event *event)
{
    struct evb_recent_ring *ring = &recent->rings[evb_metrics_shard()];
    evbus_event *oldest;
    bool kept = false;
    if (event->size > EVB_RECENT_BYTES)
        return;
    evbus_event_ref(event);
    while (!kept) {
        kept = push_one(ring, recent->limit, event, &oldest);
        evbus_event_unref(oldest);
    }
}

static int read_ring(struct evb_recent_ring *ring, uint32_t limit, struct evb_recent_cursor *cursor,
                     evbus_event **events, int max)
{
    int count = 0;
    pthread_mutex_lock(&ring->lock);
    if (!cursor->inside)
        cursor->next = ring->next;
    cursor->inside = true;
    while (count < max && cursor->next > ring->first)
        events[count++] = evbus_event_ref(ring->slots[--cursor->next % limit]);
    pthread_mutex_unlock(&ring->lock);
    return count;
}

int evb_recent_read(struct evb_recent *recent, struct evb_recent_cursor *cursor,
                    evbus_event **events, int max)
{
    while (recent->limit && cursor->ring < EVB_METRIC_SHARDS) {
        struct evb_recent_ring *ring = &recent->rings[cursor->ring];
        int count = read_ring(ring, recent->limit, cursor, events, max);
        if (count > 0)
            return count;
        cursor->ring++;
        cursor->inside = false;
    }
    return 0;
}
