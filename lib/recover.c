/* recover.c - what an outage cost. Loop only. */
#include "recover.h"
#include "clock.h"
#include "json.h"
#include "route.h"
#include <stdio.h>
#include <string.h>

static void announce(struct evbus *bus, int64_t from_us, int64_t to_us, const struct evb_gap *gap)
{
    char from[EVB_TIME_TEXT], to[EVB_TIME_TEXT];
    struct evb_buf json;
    evb_time_write(from_us, from);
    evb_time_write(to_us, to);
    evb_buf_init(&json);
    evb_buf_printf(
        &json, "{\"from\":\"%s\",\"to\":\"%s\",\"count\":%lld,\"cause\":\"%s\",\"reason\":", from,
        to, (long long)gap->count, gap->cause);
    evb_json_quote(&json, gap->reason, strlen(gap->reason));
    if (gap->pattern) {
        evb_buf_text(&json, ",\"pattern\":");
        evb_json_quote(&json, gap->pattern, strlen(gap->pattern));
    }
    evb_buf_char(&json, '}');
    evb_count(&bus->metrics, EVB_COUNT_gaps, 1);
    evb_log(&bus->log, EVBUS_LOG_WARNING, "events of %s from %s to %s may be missing: %s",
            gap->pattern ? gap->pattern : "others", from, to, gap->reason);
    if (!json.failed)
        evb_route_system(bus, "evbus.gap", json.data);
    evb_buf_fini(&json);
}

void evb_recover_gap(struct evbus *bus, const struct evb_gap *gap)
{
    /* Both clocks' milliseconds are cut off: it ends no earlier than what was lost. A position to
     * begin with may be another server's, and in the future here. */
    int64_t to_ms = gap->to_ms > gap->from_ms ? gap->to_ms : gap->from_ms;
    announce(bus, gap->from_ms * 1000, (to_ms + 1) * 1000, gap);
}

/* The window in which events may be missing began at `from_us`. If the clock was set since, it is
 * as long by that clock as it was before. */
static void announce_window(struct evbus *bus, int64_t from_us, const char *cause,
                            const char *reason)
{
    struct evb_gap gap = {cause, reason, 0, 0, -1, NULL};
    int64_t took_us = evb_clock_mono_us() - bus->gap_from_mono_us, to_us = evb_clock_us();
    int64_t began_us = to_us - took_us, ended_us = from_us + took_us;
    announce(bus, began_us < from_us ? began_us : from_us, ended_us > to_us ? ended_us : to_us,
             &gap);
}

static void open_window(struct evbus *bus, int64_t from_us, int64_t mono_us, const char *why)
{
    bus->gap_from_us = from_us;
    bus->gap_from_mono_us = mono_us;
    snprintf(bus->gap_reason, sizeof bus->gap_reason, "%s", why);
}

void evb_recover_lost(struct evbus *bus, const char *why)
{
    const struct evb_fence *fence = &bus->redis.heart.fence;
    bus->unheard_ms = fence->proven_us ? fence->proven_mono_us / 1000 : bus->opened_ms;
    if (fence->proven_us)
        open_window(bus, fence->proven_us, fence->proven_mono_us, why);
    else
        open_window(bus, evb_clock_us(), evb_clock_mono_us(), why);
}

void evb_recover_away(struct evbus *bus, const char *why)
{
    if (!bus->gap_from_us) { /* away since it was opened */
        bus->unheard_ms = bus->opened_ms;
        open_window(bus, bus->opened_us, bus->opened_ms * 1000, why);
    }
    if (!bus->was_ready)
        evb_recovery_away(&bus->redis.recovery);
}

/* With history the window is no gap: what is kept will be read. But for events that nobody keeps;
 * whoever has heard such before must expect that it missed some. */
void evb_recover_ready(struct evbus *bus)
{
    struct evb_redis *redis = &bus->redis;
    int64_t from_us = bus->gap_from_us;
    bus->gap_from_us = 0;
    if (!evb_stream_is_on(&redis->stream)) {
        redis->recovery.cursor.known = redis->recovery.waiting = false;
        if (from_us)
            announce_window(bus, from_us, "outage", bus->gap_reason);
        return;
    }
    bool since_opened = !bus->was_ready;
    bool recovers = evb_recovery_knows(&redis->recovery) || since_opened;
    bus->was_ready = true;
    if (from_us && !recovers)
        announce_window(bus, from_us, "outage", bus->gap_reason);
    else if (from_us && bus->heard_unkept)
        announce_window(bus, from_us, "unkept",
                        "the link was down, and not all that is published here is kept");
    evb_recovery_ready(&redis->recovery, from_us && since_opened ? bus->unheard_ms : 0);
}

/* ---- what the history brings ---- */

static void on_entry(struct evb_position at, const struct evb_reply *channel,
                     const struct evb_reply *envelope, void *user)
{
    struct evbus *bus = user;
    evb_count(&bus->metrics, EVB_COUNT_replayed, 1);
    evb_route_entry(bus, at, channel, envelope);
}

static void on_held(evbus_event *event, void *user)
{
    evb_route_held(user, event);
}

static void on_gap(const struct evb_gap *gap, void *user)
{
    evb_recover_gap(user, gap);
}

static void on_live(void *user)
{
    struct evbus *bus = user;
    if (bus->redis.recovery.entries)
        evb_log(&bus->log, EVBUS_LOG_INFO, "recovered: %lld events read from the history",
                (long long)bus->redis.recovery.entries);
    bus->redis.recovery.entries = 0;
}

/* open.c puts those who read by themselves in its place. */
static void on_answers(void *user)
{
    (void)user;
}

const struct evb_recovery_hooks evb_recover_hooks = {on_entry, on_held, on_gap, on_live,
                                                     on_answers};
