/*
 * request.c - asking. A request is published as any event, never kept in the history, and waits in
 * the bus's table until the first of: a reply, its deadline, Redis's word that nobody listens, the
 * end of the bus. The doors: any thread; all else: loop.
 *
 * It comes to the table right before its event comes to the outbox, so that no reply and no report
 * is earlier. Its memory lives until both are over, the waiting and the event's report.
 */
#include "request.h"
#include "alloc.h"
#include "clock.h"
#include "codec.h"
#include "err.h"
#include "option.h"
#include "wait.h"
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

enum { ENDS_A_TURN = 1024 }; /* then the loop does something else */

struct evb_request {
    struct evb_job job; /* its way to the loop */
    struct evb_pending pending;

    /* fixed after init */
    struct evbus *bus; /* borrowed: its loop has the job and the report before it ends */
    evbus_reply_fn fn;
    void *user;
    bool here; /* somebody in this process takes it */

    /* loop only */
    uint64_t changes; /* of the channels, when it came */
    bool listed;      /* it is in the table */
    bool over;        /* fn was called */
    bool reported;    /* the event's report was given */
    char id[];
};

/* ---- the end of one ---- */

static enum evb_counter counter_of(int error)
{
    switch (error) {
    case 0:
    case EVBUS_EREMOTE:
        return EVB_COUNT_replies;
    case EVBUS_ETIMEDOUT:
        return EVB_COUNT_request_timeouts;
    case EVBUS_ENORESPONDER:
        return EVB_COUNT_no_responder;
    default:
        return EVB_COUNT_request_failures;
    }
}

static void end(struct evb_request *request, evbus_event *reply, int error)
{
    struct evb_thread *thread = evb_thread_self();
    struct evbus *bus = request->bus;
    if (request->listed)
        evb_pendings_remove(&bus->pendings, &request->pending);
    request->listed = false;
    request->over = true;
    evb_count(&bus->metrics, counter_of(error), 1);
    atomic_fetch_sub(&bus->requests, 1);
    if (thread)
        thread->callbacks++;
    request->fn(reply, error, request->user);
    if (thread)
        thread->callbacks--;
    if (request->reported)
        evb_free(request);
}

static int closed(void)
{
    return evb_fail(EVBUS_ECLOSED, "the bus was closed before a reply came");
}

static struct evb_request *request_of(struct evb_pending *pending)
{
    return evb_container(pending, struct evb_request, pending);
}

void evb_request_end_all(struct evbus *bus)
{
    while (bus->pendings.first)
        end(request_of(bus->pendings.first), NULL, closed());
}

/* ---- deadlines: one timer, which may fire before anybody is due ---- */

/* False: there is no timer for want of memory. */
static bool set_timer(struct evbus *bus)
{
    const struct evb_pending *first = bus->pendings.first;
    if (!first || first->deadline_ms == INT64_MAX ||
        (bus->due_ms && bus->due_ms <= first->deadline_ms))
        return true;
    int64_t in_ms = first->deadline_ms - evb_clock_mono_ms();
    in_ms = in_ms < 0 ? 0 : in_ms + 1;
    struct timeval in = {in_ms / 1000, in_ms % 1000 * 1000};
    if (event_add(bus->due, &in) != 0)
        return false;
    bus->due_ms = first->deadline_ms;
    return true;
}

/* Who could not be told that the time is up does not wait. */
static void plan(struct evbus *bus)
{
    while (!set_timer(bus))
        end(request_of(bus->pendings.first), NULL, evb_fail_memory());
}

static void on_due(evutil_socket_t fd, short what, void *user)
{
    struct evbus *bus = user;
    struct evb_pending *first;
    int64_t now_ms = evb_clock_mono_ms();
    (void)fd;
    (void)what;
    evb_bus_ref(bus);
    evb_loop_begin(&bus->loop);
    bus->due_ms = 0;
    for (int n = 0;
         n < ENDS_A_TURN && (first = bus->pendings.first) && first->deadline_ms <= now_ms; n++)
        end(request_of(first), NULL, evb_fail(EVBUS_ETIMEDOUT, "no reply before the deadline"));
    plan(bus);
    evb_loop_end(&bus->loop);
    evb_bus_unref(bus);
}

int evb_requests_init(struct evbus *bus)
{
    if (evb_pendings_init(&bus->pendings) != 0)
        return EVBUS_ENOMEM;
    bus->due = event_new(bus->loop.base, -1, 0, on_due, bus);
    return bus->due ? 0 : evb_fail_memory();
}

void evb_requests_fini(struct evbus *bus)
{
    if (bus->due)
        event_free(bus->due);
    bus->due = NULL;
    evb_pendings_fini(&bus->pendings);
}

/* ---- replies ---- */

void evb_request_answered(struct evbus *bus, evbus_event *reply)
{
    const struct evb_exchange *exchange = reply->exchange;
    struct evb_pending *pending =
        evb_pendings_find(&bus->pendings, exchange->in_reply_to.ptr, exchange->in_reply_to.length);
    if (!pending) {
        evb_count(&bus->metrics, EVB_COUNT_late_replies, 1);
        return;
    }
    if (bus->recent.limit)
        evb_recent_push(&bus->recent, reply);
    if (!exchange->error.ptr)
        end(request_of(pending), reply, 0);
    else
        end(request_of(pending), NULL,
            evb_fail(EVBUS_EREMOTE, "%s",
                     exchange->error.length ? exchange->error.ptr
                                            : "the responder refused, and did not say why"));
}

/* Its own type, or one for those that say nothing about it. */
static int read_reply(struct evbus *bus, const struct evb_reply *payload, evbus_event **reply,
                      const char **why)
{
    unsigned flags = EVB_READ_REPLY | (bus->check == EVB_CHECK_NEVER ? 0 : EVB_READ_CHECK);
    if (evb_codec_read(payload->text, payload->length, NULL, 0, bus->max_data,
                       flags | EVB_READ_TYPE, reply, why) == 0)
        return 0;
    return evb_codec_read(payload->text, payload->length, EVB_REPLY_TYPE, sizeof EVB_REPLY_TYPE - 1,
                          bus->max_data, flags, reply, why);
}

void evb_request_inbox(const struct evb_reply *payload, void *user)
{
    struct evbus *bus = user;
    evbus_event *reply;
    const char *why;
    if (read_reply(bus, payload, &reply, &why) != 0) {
        evb_route_complain(bus, EVB_COUNT_decode_errors, bus->inbox, why);
        return;
    }
    if (!reply->exchange || !reply->exchange->in_reply_to.ptr)
        evb_route_complain(bus, EVB_COUNT_decode_errors, bus->inbox, "no reply: no inReplyTo");
    else if (evb_type_is_system(reply->type.ptr, reply->type.length))
        evb_route_complain(bus, EVB_COUNT_forged, bus->inbox, "a reply of the library's own type");
    else
        evb_request_answered(bus, reply);
    evbus_event_unref(reply);
}

/* ---- what the event's report tells ---- */

/* Nobody has it for certain: what this bus's own channels and patterns count for does not take it,
 * or somebody in this process would. Where these have just changed, or it was sent before and
 * somebody may have heard it then, nobody knows. */
static int judge_receivers(const struct evb_request *request, const evbus_event *event,
                           int64_t receivers)
{
    struct evbus *bus = request->bus;
    struct evb_subs *subs = &bus->redis.subs;
    char channel[2 * EVB_TYPE_MAX + 1];
    size_t length = bus->prefix_length + event->type.length;
    memcpy(channel, bus->prefix, bus->prefix_length);
    memcpy(channel + bus->prefix_length, event->type.ptr, event->type.length);
    bool known =
        subs->changes == request->changes && receivers <= (int64_t)subs->patterns.count + 1;
    if (bus->redis.outbox.doubtful)
        return 0;
    if (receivers == 0 || (known && receivers <= evb_subs_matching(subs, channel, length)))
        return evb_fail(EVBUS_ENORESPONDER, "nobody listens to %s", event->type.ptr);
    if (bus->redis.heart.fence.no_inbox)
        return evb_fail(EVBUS_EDENIED,
                        "no reply can come: Redis refuses this bus its own channel %s", bus->inbox);
    return 0;
}

/* 0: the request goes on waiting. */
static int judge(const struct evb_request *request, const evbus_event *event, int outcome,
                 int error, int64_t receivers)
{
    char why[256];
    if (request->here)
        return 0;
    switch (outcome) {
    case EVBUS_ACKED:
        return judge_receivers(request, event, receivers);
    case EVBUS_LOCAL_DONE:
        return evb_fail(EVBUS_ENORESPONDER, "nobody in this process takes %s", event->type.ptr);
    case EVBUS_EXPIRED:
        return evb_fail(EVBUS_ETIMEDOUT, "Redis was away for longer than the request may wait");
    case EVBUS_EVICTED:
        return request->bus->redis.outbox.full == EVB_FULL_OFF
                   ? evb_fail(EVBUS_EAWAY, "Redis is away and outbox.full=off keeps nothing")
                   : evb_fail(EVBUS_EFULL, "the outbox is full (outbox.events, outbox.bytes)");
    case EVBUS_FAILED:
        snprintf(why, sizeof why, "%s", evbus_last_error());
        return error == EVBUS_ECLOSED ? closed() : evb_fail(error, "%s", why);
    default: /* it may have reached somebody */
        return 0;
    }
}

static void on_report(evbus_event *event, int outcome, int error, int64_t receivers, void *user)
{
    struct evb_request *request = user;
    int rc = request->over ? 0 : judge(request, event, outcome, error, receivers);
    request->reported = true;
    if (request->over)
        evb_free(request);
    else if (rc != 0)
        end(request, NULL, rc);
}

static void begin(struct evb_job *job)
{
    struct evb_request *request = evb_container(job, struct evb_request, job);
    struct evbus *bus = request->bus;
    evb_count(&bus->metrics, EVB_COUNT_requests, 1);
    request->changes = bus->redis.subs.changes;
    if (atomic_load(&bus->state) == EVB_BUS_CLOSED) {
        end(request, NULL, closed());
        return;
    }
    request->listed = evb_pendings_add(&bus->pendings, &request->pending);
    if (!request->listed)
        end(request, NULL,
            evb_fail(EVBUS_EINVAL, "a request with the id %s waits already", request->id));
    plan(bus);
}

/* ---- the doors ---- */

/* Does somebody of this process get it, as it will be published? */
static int is_taken_here(struct evbus *bus, struct evb_thread *thread, const evbus_event *event,
                         bool *taken)
{
    unsigned how = EVB_FROM_SELF | (bus->redis_only ? EVB_FROM_REDIS : EVB_FROM_LOCAL);
    evb_hazard_hold(thread, &bus->state); /* the registry is not given up meanwhile */
    const struct evb_snapshot *snapshot =
        evb_registry_snapshot(&bus->registry, thread, event->type.ptr, event->type.length);
    *taken = false;
    for (size_t i = 0; snapshot && i < snapshot->count && !*taken; i++)
        *taken = atomic_load(&snapshot->subs[i]->state) == EVB_SUB_LIVE &&
                 evb_sub_wants(snapshot->subs[i], how);
    if (snapshot)
        evb_hazard_release(thread);
    evb_hazard_release(thread);
    return snapshot ? 0 : EVBUS_ENOMEM;
}

/* Where to answer, and until when; the event is frozen and nobody's yet. */
static int address(struct evbus *bus, evbus_event *event, int64_t timeout_ms)
{
    struct evb_exchange *exchange = evb_event_exchange(event);
    if (!exchange)
        return evbus_last_code();
    exchange->reply_to = (struct evb_text){evb_event_keep(event, bus->inbox, strlen(bus->inbox)),
                                           (uint32_t)strlen(bus->inbox)};
    if (timeout_ms >= 0)
        exchange->deadline_ms = evb_clock_us() / 1000 + timeout_ms;
    if (!exchange->reply_to.ptr) {
        evb_event_drop(event, exchange);
        return evbus_last_code();
    }
    event->exchange = exchange;
    return 0;
}

/* As if it had never been asked. */
static void give_up(evbus_event *event, struct evb_exchange *before)
{
    if (event->exchange != before) {
        evb_event_drop(event, event->exchange->reply_to.ptr);
        evb_event_drop(event, event->exchange);
    }
    event->exchange = before;
    evb_event_thaw(event);
}

static struct evb_request *request_new(struct evbus *bus, const evbus_event *event,
                                       int64_t timeout_ms, evbus_reply_fn fn, void *user)
{
    const char *id = evbus_event_id(event);
    size_t length = strlen(id);
    struct evb_request *request = evb_calloc(1, sizeof *request + length + 1);
    if (!request) {
        evb_fail_memory();
        return NULL;
    }
    memcpy(request->id, id, length);
    request->job.run = begin;
    request->pending.id = request->id;
    request->pending.length = (uint32_t)length;
    request->pending.deadline_ms = timeout_ms < 0 ? INT64_MAX : evb_clock_mono_ms() + timeout_ms;
    request->bus = bus;
    request->fn = fn;
    request->user = user;
    return request;
}

static int publish(struct evbus *bus, evbus_event *event, int64_t timeout_ms, evbus_reply_fn fn,
                   void *user)
{
    struct evb_thread *thread = evb_thread_self();
    struct evb_exchange *before = event->exchange;
    int rc = thread ? evb_event_freeze(event, bus->node, bus->source) : EVBUS_ENOMEM;
    if (rc != 0)
        return rc;
    struct evb_request *request = NULL;
    rc = address(bus, event, timeout_ms);
    if (rc == 0 && !(request = request_new(bus, event, timeout_ms, fn, user)))
        rc = EVBUS_ENOMEM;
    if (rc == 0)
        rc = is_taken_here(bus, thread, event, &request->here);
    if (rc == 0) {
        struct evb_special special = {
            .before = &request->job, .within_ms = timeout_ms < 0 ? 0 : timeout_ms, .frozen = true};
        struct evb_handover way = {.report = on_report, .user = request, .special = &special};
        rc = evb_route_publish(bus, event, EVBUS_NO_HISTORY, &way);
    }
    if (rc >= 0)
        return 0;
    evb_free(request);
    give_up(event, before);
    return rc;
}

/* timeout_ms -1: for ever. */
static int ask(struct evbus *bus, evbus_event *event, int64_t timeout_ms, evbus_reply_fn fn,
               void *user)
{
    int64_t most = evb_config_number(bus->config, EVB_CFG_REQUEST_PENDING);
    int rc;
    if (!event)
        return evb_fail(EVBUS_EINVAL, "no event (NULL): evbus_event_new() makes one");
    if (atomic_fetch_add(&bus->requests, 1) >= most)
        rc = evb_fail(EVBUS_EFULL, "%lld requests wait for their replies (request.pending)",
                      (long long)most);
    else
        rc = publish(bus, event, timeout_ms, fn, user);
    if (rc != 0)
        atomic_fetch_sub(&bus->requests, 1);
    return rc;
}

int evbus_request_async(evbus *bus, evbus_event *event, const char *options, evbus_reply_fn fn,
                        void *user)
{
    int rc = evb_bus_check(bus, false);
    if (rc == 0 && !fn)
        rc = evb_fail(EVBUS_EINVAL, "evbus_request_async: no function to call (NULL)");
    if (rc != 0)
        return rc;
    int64_t timeout_ms = evb_config_number(bus->config, EVB_CFG_REQUEST_TIMEOUT);
    const struct evb_option table[] = {
        {"timeout", EVB_VALUE_DURATION, NULL, 1, EVB_REQUEST_TIMEOUT_MOST, &timeout_ms},
        {NULL, 0, NULL, 0, 0, NULL},
    };
    if (options && (rc = evb_option_parse("request option", options, table)) != 0)
        return rc;
    return ask(bus, event, timeout_ms, fn, user);
}

struct answer { /* from the loop to who waits for it */
    atomic_int refs;
    struct evb_wait *wait;
    evbus_event *reply; /* owned; written before `wait` is done */
    char why[512];
};

static void answer_unref(struct answer *answer)
{
    if (atomic_fetch_sub(&answer->refs, 1) != 1)
        return;
    evbus_event_unref(answer->reply);
    evb_free(answer);
}

static void on_answer(evbus_event *reply, int error, void *user)
{
    struct answer *answer = user;
    answer->reply = evbus_event_ref(reply);
    if (error != 0)
        snprintf(answer->why, sizeof answer->why, "%s", evbus_last_error());
    evb_wait_done(error, answer->wait);
    answer_unref(answer);
}

static evbus_event *wait_for(struct answer *answer, int timeout_ms)
{
    evbus_event *reply = NULL;
    int rc = evb_wait_for(answer->wait, timeout_ms);
    if (rc == 0) {
        reply = answer->reply;
        answer->reply = NULL;
    } else if (rc == EVBUS_ETIMEDOUT) {
        evb_fail(rc, "no reply within %d ms", timeout_ms);
    } else {
        evb_fail(rc, "%s", answer->why);
    }
    answer_unref(answer);
    return reply;
}

/* What an inline handler publishes is delivered when it has returned: whoever answers in this
 * process would get the request too late. */
static int check_wait(const struct evbus *bus, int timeout_ms)
{
    const struct evb_thread *thread = evb_thread_self();
    int rc = thread ? evb_bus_check(bus, false) : EVBUS_ENOMEM;
    if (rc == 0)
        rc = evb_bus_may_wait(bus, "evbus_request", timeout_ms);
    if (rc == 0 && timeout_ms == 0)
        rc = evb_fail(EVBUS_EINVAL, "evbus_request: 0 ms leave no time for a reply");
    if (rc == 0 && thread->delivering)
        rc = evb_fail(EVBUS_EDEADLK, "this handler's events wait for its return: ask by "
                                     "evbus_request_async(), or with deliver=workers");
    return rc;
}

evbus_event *evbus_request(evbus *bus, evbus_event *event, int timeout_ms)
{
    if (check_wait(bus, timeout_ms) != 0)
        return NULL;
    struct answer *answer = evb_calloc(1, sizeof *answer);
    if (!answer || !(answer->wait = evb_wait_new())) {
        evb_free(answer);
        evb_fail_memory();
        return NULL;
    }
    atomic_init(&answer->refs, 2);
    if (ask(bus, event, timeout_ms < 0 ? -1 : timeout_ms, on_answer, answer) == 0)
        return wait_for(answer, timeout_ms);
    evb_wait_cancel(answer->wait);
    evb_free(answer);
    return NULL;
}
