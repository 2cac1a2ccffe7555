/* redis_recovery.c - recovery after a reconnect. Loop only. */
#include "redis_recovery.h"
#include "acl.h"
#include "clock.h"
#include <evbus.h>
#include <stdio.h>

enum { PAGE = 256 };

static int64_t page_room(void *user)
{
    (void)user;
    return PAGE;
}

static void tell_gap(struct evb_recovery *recovery, const char *cause, const char *reason,
                     struct evb_position from, int64_t to_ms, int64_t count)
{
    struct evb_gap gap = {cause, reason, (int64_t)from.ms, to_ms, count};
    recovery->hooks->gap(&gap, recovery->user);
}

/* The server's time, never too early: it looked at its clock after it was asked. */
static int64_t now_ms(const struct evb_recovery *recovery)
{
    const struct evb_stream_facts *facts = &recovery->stream->facts;
    int64_t mono_ms = evb_clock_mono_ms(), ms = evb_recovery_server_ms(recovery, mono_ms);
    if (!ms)
        return evb_clock_us() / 1000;
    return facts->asked_ms ? facts->server_ms + mono_ms - facts->asked_ms + 1 : ms;
}

/* Live from here on; what is behind `at` is lost, but for what came meanwhile. */
static void give_up(struct evb_recovery *recovery, const char *cause, const char *reason)
{
    unsigned run = recovery->reader.run;
    evb_cursor_prove(&recovery->cursor, &recovery->stream->facts);
    tell_gap(recovery, cause, reason, recovery->reader.at, now_ms(recovery), -1);
    if (recovery->reader.run == run)
        evb_reader_skip(&recovery->reader);
}

static bool beyond_limits(struct evb_recovery *recovery)
{
    char why[160];
    int64_t took_ms = evb_clock_mono_ms() - recovery->started_ms;
    bool events = recovery->entries >= recovery->set.max_events;
    if (!events && took_ms < recovery->set.max_ms)
        return false;
    if (events)
        snprintf(why, sizeof why, "more than recovery.max.events (%lld) were missed",
                 (long long)recovery->set.max_events);
    else
        snprintf(why, sizeof why, "reading them took longer than recovery.max.time (%lld ms)",
                 (long long)recovery->set.max_ms);
    give_up(recovery, "limit", why);
    return true;
}

static void on_entry(struct evb_position at, const struct evb_reply *channel,
                     const struct evb_reply *envelope, void *user)
{
    struct evb_recovery *recovery = user;
    char epoch[EVB_EPOCH_TEXT];
    recovery->entries++;
    snprintf(epoch, sizeof epoch, "%s", recovery->stream->facts.epoch);
    evb_cursor_set(&recovery->cursor, epoch, at);
    recovery->hooks->entry(at, channel, envelope, recovery->user);
    if (evb_recovery_running(recovery))
        beyond_limits(recovery);
}

static void on_held(evbus_event *event, void *user)
{
    struct evb_recovery *recovery = user;
    evb_cursor_set(&recovery->cursor, recovery->stream->facts.epoch, event->position);
    recovery->hooks->held(event, recovery->user);
}

static void on_missing(void *user)
{
    struct evb_recovery *recovery = user;
    struct evb_position at = recovery->reader.at;
    enum evb_loss loss = EVB_LOSS_ROLLED_BACK;
    tell_gap(recovery, evb_loss_name(loss), evb_loss_words(loss), at, now_ms(recovery), -1);
}

/* It takes a fence to tell why. One that finds nothing wrong leaves a hole in the middle. */
static void on_hole(struct evb_position next, void *user)
{
    struct evb_recovery *recovery = user;
    struct evb_position at = recovery->reader.at;
    enum evb_loss loss = EVB_LOSS_TRIMMED;
    bool more = next.n > at.n;
    if (evb_position_is_none(next) && evb_position_compare(at, recovery->stream->facts.last) == 0)
        return; /* nothing came since */
    if (evb_position_compare(at, recovery->stale_at) == 0) {
        tell_gap(recovery, evb_loss_name(loss), evb_loss_words(loss), at,
                 more ? (int64_t)next.ms : now_ms(recovery),
                 more ? (int64_t)(next.n - at.n - 1) : -1);
        return;
    }
    evb_reader_stop(&recovery->reader);
    recovery->waiting = true;
    recovery->need = EVB_FACTS_STALE;
    recovery->stale_at = at;
}

/* All that there was by the last fence before the last page is handed out, though nothing may have
 * been there. */
static void on_live(void *user)
{
    struct evb_recovery *recovery = user;
    const struct evb_cursor *cursor = &recovery->cursor;
    const struct evb_stream_facts *facts = &recovery->stream->facts;
    if (!cursor->exact || evb_position_compare(evb_cursor_end(cursor), facts->last) < 0)
        evb_cursor_prove(&recovery->cursor, facts);
    recovery->hooks->live(recovery->user);
}

static void on_failed(const char *error, void *user)
{
    struct evb_recovery *recovery = user;
    char why[300];
    snprintf(why, sizeof why, "the history cannot be read: %.200s%s", error,
             evb_acl_refuses(error) ? " (evbus(7), ACCESS LISTS)" : "");
    give_up(recovery, "refused", why);
}

static const struct evb_reader_hooks reader_hooks = {on_entry, on_held,   page_room, on_missing,
                                                     on_live,  on_failed, on_hole};

void evb_recovery_init(struct evb_recovery *recovery, struct evb_stream *stream,
                       struct evb_asks *asks, const struct evb_recovery_settings *settings,
                       const struct evb_recovery_hooks *hooks, void *user)
{
    *recovery = (struct evb_recovery){
        .set = *settings, .hooks = hooks, .user = user, .stream = stream, .offset_ms = INT64_MIN};
    evb_reader_init(&recovery->reader, stream, asks, &reader_hooks, recovery);
}

void evb_recovery_fini(struct evb_recovery *recovery)
{
    evb_reader_stop(&recovery->reader);
}

bool evb_recovery_knows(const struct evb_recovery *recovery)
{
    return recovery->cursor.known;
}

bool evb_recovery_running(const struct evb_recovery *recovery)
{
    return recovery->reader.running;
}

int64_t evb_recovery_server_ms(const struct evb_recovery *recovery, int64_t mono_ms)
{
    return recovery->offset_ms == INT64_MIN ? 0 : mono_ms + recovery->offset_ms;
}

/* The reply came after the server looked at its clock, and both clocks cut off what is less than a
 * millisecond: the estimate may be early, never late. */
void evb_recovery_facts(struct evb_recovery *recovery)
{
    recovery->offset_ms = recovery->stream->facts.server_ms - evb_clock_mono_ms() - 1;
}

void evb_recovery_proven(struct evb_recovery *recovery)
{
    if (!evb_recovery_running(recovery) && !recovery->waiting)
        evb_cursor_prove(&recovery->cursor, &recovery->stream->facts);
}

/* What was told once is not told again after another drop. */
static void go_behind(struct evb_cursor *cursor, enum evb_loss loss,
                      const struct evb_stream_facts *facts, struct evb_position start)
{
    if (loss == EVB_LOSS_ROLLED_BACK)
        evb_cursor_set_time(cursor, facts->epoch, (int64_t)start.ms);
    else if (loss == EVB_LOSS_FLUSHED)
        evb_cursor_set(cursor, facts->epoch, start);
    else if (facts->length > 0)
        evb_cursor_set(cursor, facts->epoch,
                       (struct evb_position){facts->first.ms, facts->first.n - 1});
    else
        evb_cursor_set(cursor, facts->epoch, facts->last);
}

void evb_recovery_ready(struct evb_recovery *recovery, int64_t since_ms)
{
    const struct evb_stream_facts *facts = &recovery->stream->facts;
    struct evb_cursor *cursor = &recovery->cursor;
    struct evb_position start;
    int64_t count;
    bool expect;
    recovery->waiting = false;
    recovery->need = EVB_FACTS_FINE;
    if (!cursor->known && since_ms)
        evb_cursor_set_time(cursor, facts->epoch, evb_recovery_server_ms(recovery, since_ms));
    if (!cursor->known) {
        evb_cursor_prove(cursor, facts);
        recovery->hooks->live(recovery->user);
        return;
    }
    struct evb_position from = evb_cursor_end(cursor);
    enum evb_loss loss =
        evb_cursor_judge(cursor, facts, recovery->set.ttl_ms, &count, &start, &expect);
    if (loss != EVB_LOSS_NONE) {
        int64_t to_ms = loss == EVB_LOSS_TRIMMED && facts->length > 0 ? (int64_t)facts->first.ms
                                                                      : facts->server_ms;
        go_behind(cursor, loss, facts, start);
        start = cursor->at;
        tell_gap(recovery, evb_loss_name(loss), evb_loss_words(loss), from, to_ms, count);
    }
    recovery->started_ms = evb_clock_mono_ms();
    recovery->entries = 0;
    evb_reader_start(&recovery->reader, start, expect);
}

void evb_recovery_give_up(struct evb_recovery *recovery)
{
    recovery->waiting = false;
    recovery->need = EVB_FACTS_FINE;
    give_up(recovery, "refused", "the history went away while it was read");
}

void evb_recovery_lost(struct evb_recovery *recovery)
{
    evb_reader_stop(&recovery->reader);
    recovery->need = EVB_FACTS_FINE;
    recovery->stale_at = (struct evb_position){0, 0};
    recovery->waiting = recovery->waiting || recovery->cursor.known;
}

void evb_recovery_away(struct evb_recovery *recovery)
{
    recovery->waiting = recovery->stream->set.enabled;
}

bool evb_recovery_takes(struct evb_recovery *recovery, evbus_event *event)
{
    if (recovery->waiting)
        return true;
    if (evb_recovery_running(recovery)) {
        evb_reader_hold(&recovery->reader, event);
        return true;
    }
    evb_recovery_saw(recovery, event->position);
    return false;
}

void evb_recovery_saw(struct evb_recovery *recovery, struct evb_position position)
{
    if (!recovery->waiting && !evb_recovery_running(recovery))
        evb_cursor_see(&recovery->cursor, position, now_ms(recovery));
}
