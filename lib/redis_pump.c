/* redis_pump.c - from the outbox to the publishing connection. Loop only. */
#include "clock.h"
#include "redis_pair.h"
#include <event2/event.h>

enum { EXPIRY_PAUSE_MS = 10 };

static void write_command(struct evb_redis *redis, struct evb_item *const items[], size_t count)
{
    if (items[0]->scripted)
        evb_stream_append(&redis->stream, &redis->publisher, items, count,
                          evb_outbox_told(&redis->outbox, items[0]));
    else
        evb_link_send(&redis->publisher, items[0]->bytes, items[0]->length);
    redis->outbox.hold = redis->stream.awaited;
}

/* True: something was written. */
static bool pump(struct evb_redis *redis)
{
    struct evb_link *link = &redis->publisher;
    uint64_t before = redis->outbox.written_count;
    struct evb_item *items[EVB_CALL_EVENTS];
    size_t count = 0;
    redis->outbox.history = evb_stream_is_on(&redis->stream);
    redis->outbox.no_script = redis->stream.no_script;
    redis->outbox.hold = redis->stream.awaited;
    do {
        if (link->stage != EVB_LINK_UP || evb_pair_state(redis) != EVB_REDIS_READY)
            return false;
        while (evb_link_backlog(link) < EVB_LINK_FULL &&
               (count = evb_outbox_next(&redis->outbox, items, EVB_CALL_EVENTS)))
            write_command(redis, items, count);
        evb_link_flush(link);
    } while (count && evb_link_backlog(link) == 0);
    return redis->outbox.written_count != before;
}

static void plan_expiry(struct evb_redis *redis)
{
    int64_t at_ms = evb_pair_state(redis) == EVB_REDIS_READY
                        ? INT64_MAX
                        : evb_outbox_next_expiry_ms(&redis->outbox);
    if (at_ms == INT64_MAX) {
        if (redis->expiry_ms)
            event_del(redis->expiry);
        redis->expiry_ms = 0;
        return;
    }
    int64_t now_ms = evb_clock_mono_ms();
    at_ms = at_ms > now_ms + EXPIRY_PAUSE_MS ? at_ms + 1 : now_ms + EXPIRY_PAUSE_MS;
    if (redis->expiry_ms && redis->expiry_ms <= at_ms)
        return;
    redis->expiry_ms = at_ms;
    evb_pair_arm(redis->expiry, at_ms - now_ms);
}

bool evb_redis_idle(struct evb_redis *redis)
{
    bool wrote = pump(redis);
    evb_link_flush(&redis->subscriber);
    plan_expiry(redis);
    return wrote;
}
