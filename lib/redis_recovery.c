/* redis_recovery.c - recovery after a reconnect. Loop only. */
#include "redis_recovery.h"
#include "acl.h"
#include "clock.h"
#include <evbus.h>
#include <stdio.h>

enum { PAGE = 256, ROLL_BACK_MS = 60000 };

static int64_t page_room(void *user)
{
    (void)user;
    return PAGE;
}

static void tell_gap(struct evb_recovery *recovery, const char *cause, const char *reason,
                     struct evb_position from, int64_t to_ms, int64_t count)
{
    int64_t from_ms = (int64_t)from.ms;
    struct evb_gap gap = {cause, reason, from_ms, to_ms > from_ms ? to_ms : from_ms + 1,
                          count, NULL};
    recovery->hooks->gap(&gap, recovery->user);
}

/* It looked at its clock after it was asked. */
int64_t evb_recovery_now_ms(const struct evb_recovery *recovery)
{
    const struct evb_stream_facts *facts = &recovery->stream->facts;
    int64_t mono_ms = evb_clock_mono_ms(), ms = evb_recovery_server_ms(recovery, mono_ms);
    if (!ms)
        return evb_clock_us() / 1000;
    return facts->asked_ms ? facts->server_ms + mono_ms - facts->asked_ms + 1 : ms;
}

/* What is behind `from` is lost; from here on live. */
static void give_up(struct evb_recovery *recovery, struct evb_position from, const char *cause,
                    const char *reason)
{
    tell_gap(recovery, cause, reason, from, evb_recovery_now_ms(recovery), -1);
    evb_cursor_prove(&recovery->cursor, &recovery->stream->facts);
    evb_reader_skip(&recovery->reader);
}

static struct evb_position just_before(struct evb_position at)
{
    return (struct evb_position){at.ms, at.n - 1};
}

static void start(struct evb_recovery *recovery)
{
    char epoch[EVB_EPOCH_TEXT];
    snprintf(epoch, sizeof epoch, "%s", recovery->cursor.epoch);
    evb_reader_start(&recovery->reader, evb_cursor_end(&recovery->cursor), recovery->cursor.exact,
                     epoch);
}

/* Asked when there is one more entry: what was the last is no gap. */
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
    give_up(recovery, evb_cursor_end(&recovery->cursor), "limit", why);
    return true;
}

static void on_entry(struct evb_position at, const struct evb_reply *channel,
                     const struct evb_reply *envelope, void *user)
{
    struct evb_recovery *recovery = user;
    if (beyond_limits(recovery))
        return;
    recovery->entries++;
    evb_cursor_move(&recovery->cursor, at);
    recovery->hooks->entry(at, channel, envelope, recovery->user);
}

static void on_held(evbus_event *event, void *user)
{
    struct evb_recovery *recovery = user;
    evb_cursor_move(&recovery->cursor, event->position);
    recovery->hooks->held(event, recovery->user);
}

/* What is missing is told, and reading goes on with what there is: of another epoch from its
 * beginning; of an older state from before its end, for its clock may be another one. Doubles are
 * known by their numbers. */
static void on_jump(const struct evb_jump *jump, void *user)
{
    struct evb_recovery *recovery = user;
    struct evb_position from = jump->from, to = jump->to;
    int64_t count, to_ms = (int64_t)to.ms;
    enum evb_loss loss = evb_loss_between(from, jump->was, to, jump->epoch, jump->begun, &count);
    if (loss != EVB_LOSS_TRIMMED) /* nothing that is left bounds it */
        to_ms = evb_recovery_now_ms(recovery);
    if (loss == EVB_LOSS_FLUSHED)
        evb_cursor_set(&recovery->cursor, jump->epoch, (struct evb_position){0, 0});
    else if (loss == EVB_LOSS_ROLLED_BACK)
        evb_cursor_set_time(&recovery->cursor, jump->epoch,
                            from.ms > ROLL_BACK_MS ? (int64_t)from.ms - ROLL_BACK_MS : 0);
    else
        evb_cursor_set(&recovery->cursor, jump->epoch, just_before(to));
    tell_gap(recovery, evb_loss_name(loss), evb_loss_words(loss), from, to_ms, count);
    start(recovery);
}

static void on_live(void *user)
{
    struct evb_recovery *recovery = user;
    if (evb_position_compare(recovery->reader.at, evb_cursor_end(&recovery->cursor)) > 0 ||
        !recovery->cursor.exact)
        evb_cursor_move(&recovery->cursor, recovery->reader.at);
    recovery->hooks->live(recovery->user);
}

static void on_failed(const char *error, void *user)
{
    struct evb_recovery *recovery = user;
    char why[300];
    snprintf(why, sizeof why, "the history cannot be read: %.200s%s", error,
             evb_acl_refuses(error) ? " (evbus(7), ACCESS LISTS)" : "");
    give_up(recovery, recovery->reader.at, "refused", why);
}

static const struct evb_reader_hooks reader_hooks = {on_entry, on_held, page_room,
                                                     on_jump,  on_live, on_failed};

void evb_recovery_init(struct evb_recovery *recovery, struct evb_stream *stream,
                       struct evb_asks *asks, const struct evb_recovery_settings *settings,
                       const struct evb_recovery_hooks *hooks, void *user)
{
    *recovery = (struct evb_recovery){.set = *settings,
                                      .hooks = hooks,
                                      .user = user,
                                      .stream = stream,
                                      .offset_ms = INT64_MIN,
                                      .before_ms = INT64_MAX};
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

/* While the link was down this machine may have slept, when the monotonic clock stands still, or
 * somebody have set the server's clock: what is still to be read is older than that. */
int64_t evb_recovery_server_ms(const struct evb_recovery *recovery, int64_t mono_ms)
{
    int64_t offset_ms = recovery->offset_ms;
    if (offset_ms == INT64_MIN)
        return 0;
    return mono_ms + (offset_ms < recovery->before_ms ? offset_ms : recovery->before_ms);
}

/* The reply came after the server looked at its clock, and both clocks cut off what is less than a
 * millisecond: the estimate may be early, never late. */
void evb_recovery_facts(struct evb_recovery *recovery)
{
    recovery->offset_ms = recovery->stream->facts.server_ms - evb_clock_mono_ms() - 1;
    evb_reader_go(&recovery->reader);
    recovery->hooks->answers(recovery->user);
}

void evb_recovery_proven(struct evb_recovery *recovery)
{
    if (!evb_recovery_running(recovery))
        evb_cursor_prove(&recovery->cursor, &recovery->stream->facts);
}

static void go_live(struct evb_recovery *recovery)
{
    evb_cursor_prove(&recovery->cursor, &recovery->stream->facts);
    recovery->hooks->live(recovery->user);
}

/* Then there is nothing to read, which the user may have no right to do. */
static bool missed_nothing(const struct evb_recovery *recovery)
{
    const struct evb_stream_facts *facts = &recovery->stream->facts;
    return evb_cursor_is_at_end(&recovery->cursor, facts) &&
           evb_position_compare(recovery->noted, facts->last) <= 0;
}

void evb_recovery_ready(struct evb_recovery *recovery, int64_t since_ms)
{
    const struct evb_stream_facts *facts = &recovery->stream->facts;
    struct evb_cursor *cursor = &recovery->cursor;
    recovery->waiting = false;
    if (!cursor->known && since_ms)
        evb_cursor_set_time(cursor, facts->epoch, evb_recovery_server_ms(recovery, since_ms));
    recovery->entries = 0;
    if (!cursor->known || missed_nothing(recovery)) {
        go_live(recovery);
        return;
    }
    enum evb_loss loss =
        cursor->exact ? EVB_LOSS_NONE : evb_loss_since(evb_cursor_end(cursor), facts);
    if (loss != EVB_LOSS_NONE)
        tell_gap(recovery, evb_loss_name(loss), evb_loss_words(loss), evb_cursor_end(cursor),
                 facts->length > 0 ? (int64_t)facts->first.ms : facts->server_ms, -1);
    recovery->started_ms = evb_clock_mono_ms();
    start(recovery);
}

void evb_recovery_lost(struct evb_recovery *recovery)
{
    if (!recovery->waiting && !evb_recovery_running(recovery) && recovery->offset_ms != INT64_MIN)
        recovery->before_ms = recovery->offset_ms;
    evb_reader_stop(&recovery->reader);
    recovery->waiting = recovery->waiting || recovery->cursor.known;
    recovery->noted = (struct evb_position){0, 0};
}

void evb_recovery_away(struct evb_recovery *recovery)
{
    recovery->waiting = recovery->stream->set.enabled;
}

bool evb_recovery_takes(struct evb_recovery *recovery, evbus_event *event)
{
    if (recovery->waiting) {
        if (evb_position_compare(event->position, recovery->noted) > 0)
            recovery->noted = event->position;
        return true;
    }
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
        evb_cursor_see(&recovery->cursor, position, evb_recovery_now_ms(recovery));
}
