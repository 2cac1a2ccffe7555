/* fifo.c - a bounded FIFO of events. Called under its owner's lock, on any thread. */
#include "fifo.h"
#include "config.h"
#include "pool.h"

void evb_fifo_init(struct evb_fifo *fifo, int64_t max_events, int64_t max_bytes, int full,
                   void (*drop)(struct evb_fifo_item *item))
{
    *fifo = (struct evb_fifo){
        .max_events = max_events, .max_bytes = max_bytes, .full = full, .drop = drop};
}

void evb_fifo_fini(struct evb_fifo *fifo)
{
    struct evb_fifo_item item;
    while (evb_fifo_pop(fifo, &item, 1))
        fifo->drop(&item);
    evb_pool_give(fifo->oldest);
    fifo->oldest = fifo->newest = NULL;
}

bool evb_fifo_fits(const struct evb_fifo *fifo, int64_t size)
{
    return fifo->count < fifo->max_events && fifo->bytes + size <= fifo->max_bytes;
}

/* A chunk with room at the end; NULL: no memory. */
static struct evb_chunk *newest(struct evb_fifo *fifo)
{
    struct evb_chunk *chunk = fifo->newest;
    if (chunk && chunk->end < EVB_CHUNK_ITEMS)
        return chunk;
    chunk = evb_pool_take(sizeof *chunk, NULL);
    if (!chunk)
        return NULL;
    chunk->next = NULL;
    chunk->first = chunk->end = 0;
    chunk->bytes = 0;
    if (fifo->newest)
        fifo->newest->next = chunk;
    else
        fifo->oldest = chunk;
    return fifo->newest = chunk;
}

static void append(struct evb_fifo *fifo, struct evb_chunk *chunk, struct evb_fifo_item item,
                   int64_t size)
{
    chunk->items[chunk->end++] = item;
    chunk->bytes += size;
    fifo->bytes += size;
    if (++fifo->count > fifo->peak)
        fifo->peak = fifo->count;
}

static bool push_fitting(struct evb_fifo *fifo, struct evb_fifo_item item, int64_t size)
{
    struct evb_chunk *chunk = evb_fifo_fits(fifo, size) ? newest(fifo) : NULL;
    if (chunk)
        append(fifo, chunk, item, size);
    return chunk != NULL;
}

int evb_fifo_push(struct evb_fifo *fifo, struct evb_fifo_item item)
{
    int64_t size = item.event->size;
    int dropped = 0;
    struct evb_fifo_item old;
    if (push_fitting(fifo, item, size))
        return 0;
    if (fifo->full == EVB_FULL_DROP_OLDEST && size <= fifo->max_bytes)
        for (; !evb_fifo_fits(fifo, size) && evb_fifo_pop(fifo, &old, 1); dropped++)
            fifo->drop(&old);
    if (dropped == 0 || !push_fitting(fifo, item, size)) {
        fifo->drop(&item);
        dropped++;
    }
    fifo->dropped += dropped;
    return dropped;
}

int evb_fifo_pop(struct evb_fifo *fifo, struct evb_fifo_item *items, int max)
{
    int n = 0;
    while (n < max && fifo->count) {
        struct evb_chunk *chunk = fifo->oldest;
        struct evb_fifo_item *item = &chunk->items[chunk->first++];
        int64_t size = item->event->size;
        chunk->bytes -= size;
        fifo->bytes -= size;
        fifo->count--;
        items[n++] = *item;
        if (chunk->first == chunk->end)
            evb_fifo_give(evb_fifo_take(fifo));
    }
    return n;
}

struct evb_chunk *evb_fifo_take(struct evb_fifo *fifo)
{
    struct evb_chunk *chunk = fifo->oldest;
    if (!chunk)
        return NULL;
    fifo->oldest = chunk->next;
    if (!fifo->oldest)
        fifo->newest = NULL;
    fifo->count -= chunk->end - chunk->first;
    fifo->bytes -= chunk->bytes;
    return chunk;
}

void evb_fifo_give(struct evb_chunk *chunk)
{
    evb_pool_give(chunk);
}
