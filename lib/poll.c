/* poll.c - calls without an event, and when they are due. Loop only, but for planning. */
#include "poll.h"
#include "alloc.h"
#include "clock.h"
#include "err.h"
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

enum { BUSY_MS = 20 }; /* what may not be left out waits so long for a busy handler */

struct evb_poll {
    /* fixed after init */
    struct evb_job job; /* begins it */
    evbus_sub *sub;     /* borrowed: it owns this */
    evbus_event_fn fn;  /* the handler, for which the subscription's own counts */
    int64_t interval_ms;
    bool always;

    /* loop only */
    struct evb_node node; /* among the bus's, which holds a reference to the subscription then */
    struct event *timer;  /* owned */
    bool away;
    bool returned;     /* a leader's: since then it has not led */
    int64_t away_us;   /* Unix time: since when Redis was away then */
    int64_t polled_us; /* Unix time of the last call, or of the beginning */
    const char *owed;  /* why it is to be called as soon as it is idle; NULL: it is not */
    int64_t owed_us;
};

static struct evbus *bus_of(const struct evb_poll *poll)
{
    return poll->sub->keeper;
}

bool evb_poll_is(const evbus_event *event)
{
    const struct evb_text *type = &event->type;
    return type->length == sizeof EVB_TYPE_POLL - 1 &&
           memcmp(type->ptr, EVB_TYPE_POLL, sizeof EVB_TYPE_POLL - 1) == 0;
}

/* The fn of those that are polled: these calls are counted apart, and limit= is of events. */
static int call_polled(evbus_sub *sub, evbus_event *event, void *user)
{
    bool is_poll = evb_poll_is(event);
    evbus_event_fn fn = is_poll && sub->limit ? sub->limit->fn : sub->poll->fn;
    int rc = fn(sub, event, user);
    if (!is_poll)
        return rc == 0 ? 0 : sub->limit && rc == EVB_CALL_NONE ? EVB_CALL_NONE : EVB_CALL_FAILED;
    if (rc != 0)
        return EVB_CALL_FAILED;
    atomic_fetch_add_explicit(&sub->polled, 1, memory_order_relaxed);
    evb_count(sub->metrics, EVB_COUNT_polls, 1);
    return EVB_CALL_NONE;
}

/* ---- calling ---- */

static evbus_event *make_event(const struct evbus *bus, const char *reason, int64_t since_us)
{
    char json[100], since[EVB_TIME_TEXT];
    evb_time_write(since_us, since);
    int length = snprintf(json, sizeof json, "{\"reason\":\"%s\",\"since\":\"%s\"}", reason, since);
    evbus_event *event =
        evb_event_make(EVB_TYPE_POLL, sizeof EVB_TYPE_POLL - 1, json, (size_t)length, true);
    if (event && evb_event_freeze(event, bus->node, bus->source) == 0)
        return event;
    evbus_event_unref(event);
    return NULL;
}

/* False: an earlier call runs or waits, or there is no memory. */
static bool call(struct evb_poll *poll, const char *reason, int64_t since_us)
{
    evbus_event *event = make_event(bus_of(poll), reason, since_us);
    if (!event || !evb_sub_put(poll->sub, event, EVB_FROM_LOCAL | EVB_WHEN_IDLE))
        return false;
    poll->polled_us = evb_clock_us();
    return true;
}

static void arm(struct evb_poll *poll, int64_t ms)
{
    struct timeval in = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    event_add(poll->timer, &in);
}

/* When it is due next, if at all. */
static void plan_next(struct evb_poll *poll)
{
    if (poll->owed)
        arm(poll, BUSY_MS);
    else if (poll->interval_ms && (poll->always || poll->away))
        arm(poll, poll->interval_ms);
    else
        event_del(poll->timer);
}

static void pay(struct evb_poll *poll)
{
    if (poll->owed && call(poll, poll->owed, poll->owed_us))
        poll->owed = NULL;
    plan_next(poll);
}

static void owe(struct evb_poll *poll, const char *reason, int64_t since_us)
{
    poll->owed = reason;
    poll->owed_us = since_us;
    pay(poll);
}

static void let_go(struct evb_poll *poll)
{
    event_free(poll->timer);
    poll->timer = NULL;
    evb_list_remove(&poll->node);
    evb_sub_unref(poll->sub);
}

static bool is_over(const struct evb_poll *poll)
{
    return atomic_load(&poll->sub->state) != EVB_SUB_LIVE;
}

/* Unix time. */
static int64_t away_since(const struct evbus *bus)
{
    return bus->gap_from_us ? bus->gap_from_us : bus->opened_us;
}

/* One that finds the handler busy is left out. */
static void tick(struct evb_poll *poll)
{
    if (is_over(poll)) {
        let_go(poll);
    } else if (poll->owed) {
        pay(poll);
    } else {
        if (poll->away)
            call(poll, "away", away_since(bus_of(poll)));
        else
            call(poll, "interval", poll->polled_us);
        plan_next(poll);
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct evb_poll *poll = arg;
    struct evb_loop *loop = &bus_of(poll)->loop;
    (void)fd;
    (void)what;
    evb_loop_begin(loop);
    tick(poll);
    evb_loop_end(loop);
}

/* ---- what happens to the link and to the lead ---- */

static void go_away(struct evb_poll *poll)
{
    poll->away = true;
    plan_next(poll);
}

void evb_poll_lost(struct evbus *bus)
{
    EVB_LIST_EACH(&bus->polls, node)
    {
        struct evb_poll *poll = evb_container(node, struct evb_poll, node);
        if (!poll->away)
            go_away(poll);
    }
}

/* A first connection that comes at once is no return. */
static void come_back(struct evb_poll *poll)
{
    const struct evbus *bus = bus_of(poll);
    bool owes = poll->away && poll->interval_ms && bus->gap_from_us;
    poll->away = false;
    if (owes)
        poll->away_us = bus->gap_from_us;
    if (owes && !poll->sub->leader)
        owe(poll, "back", poll->away_us);
    else
        plan_next(poll);
    poll->returned = poll->returned || (owes && poll->sub->leader);
}

void evb_poll_ready(struct evbus *bus)
{
    EVB_LIST_EACH(&bus->polls, node)
    come_back(evb_container(node, struct evb_poll, node));
}

void evb_poll_leads(evbus_sub *sub, bool anew, int64_t since_us)
{
    struct evb_poll *poll = sub->poll;
    bool returned = poll->returned;
    poll->returned = false;
    if (!poll->timer)
        return;
    if (returned)
        owe(poll, "back", poll->away_us);
    else if (anew)
        owe(poll, "takeover", since_us);
}

void evb_poll_follows(evbus_sub *sub)
{
    sub->poll->returned = false;
}

void evb_poll_look(struct evbus *bus)
{
    EVB_LIST_EACH(&bus->polls, node)
    {
        struct evb_poll *poll = evb_container(node, struct evb_poll, node);
        if (is_over(poll))
            let_go(poll);
    }
}

/* ---- beginning and end ---- */

int evb_poll_plan(evbus_sub *sub, int64_t interval_ms, bool always)
{
    struct evb_poll *poll = evb_calloc(1, sizeof *poll);
    if (!poll)
        return evb_fail_memory();
    evb_list_init(&poll->node);
    poll->sub = sub;
    poll->interval_ms = interval_ms;
    poll->always = always;
    poll->fn = sub->fn;
    sub->fn = call_polled;
    sub->guarded = true;
    sub->poll = poll;
    return 0;
}

void evb_poll_free(struct evb_poll *poll)
{
    evb_free(poll);
}

static void begin_job(struct evb_job *job)
{
    struct evb_poll *poll = evb_container(job, struct evb_poll, job);
    struct evbus *bus = bus_of(poll);
    bool gone = is_over(poll) || atomic_load(&bus->state) == EVB_BUS_CLOSED;
    poll->timer = gone ? NULL : event_new(bus->loop.base, -1, 0, on_timer, poll);
    if (!poll->timer) {
        if (!gone)
            evb_log(&bus->log, EVBUS_LOG_ERROR, "%s: poll: out of memory",
                    poll->sub->entry->pattern);
        evb_sub_unref(poll->sub); /* the job's */
        return;
    }
    evb_list_push(&bus->polls, &poll->node);
    poll->polled_us = evb_clock_us();
    if (atomic_load(&bus->redis.state) == EVB_REDIS_READY)
        plan_next(poll);
    else
        go_away(poll);
}

void evb_poll_begin(evbus_sub *sub)
{
    sub->poll->job.run = begin_job;
    evb_sub_ref(sub);
    if (!evb_bus_post(sub->keeper, &sub->poll->job))
        evb_sub_unref(sub);
}

void evb_poll_end_all(struct evbus *bus)
{
    EVB_LIST_EACH(&bus->polls, node)
    let_go(evb_container(node, struct evb_poll, node));
}
