/*
 * reply.c - answering. A reply to this very bus's own request goes straight to its table; any other
 * through the outbox to the asker's own channel, for as long as the asker waits. Any thread.
 */
#include "alloc.h"
#include "err.h"
#include "request.h"
#include <string.h>

struct own_reply { /* on its way to the loop */
    struct evb_job job;
    struct evbus *bus;  /* borrowed: its loop has the job before it ends */
    evbus_event *reply; /* ref */
};

static void arrive(struct evb_job *job)
{
    struct own_reply *own = evb_container(job, struct own_reply, job);
    atomic_fetch_sub(&own->bus->own_replies, 1);
    evb_request_answered(own->bus, own->reply);
    evbus_event_unref(own->reply);
    evb_free(own);
}

static int send_here(struct evbus *bus, evbus_event *reply)
{
    int64_t most = evb_config_number(bus->config, EVB_CFG_REQUEST_PENDING);
    struct own_reply *own = evb_alloc(sizeof *own);
    if (!own)
        return evb_fail_memory();
    if (atomic_fetch_add(&bus->own_replies, 1) >= most) {
        atomic_fetch_sub(&bus->own_replies, 1);
        evb_free(own);
        return evb_fail(EVBUS_EFULL, "%lld replies wait for the loop (request.pending)",
                        (long long)most);
    }
    *own = (struct own_reply){{NULL, arrive}, bus, evbus_event_ref(reply)};
    evb_loop_post(&bus->loop, &own->job);
    return 0;
}

static int send_away(struct evbus *bus, const evbus_event *request, evbus_event *reply,
                     int64_t left_ms)
{
    struct evb_special special = {.channel = request->exchange->reply_to,
                                  .within_ms = left_ms == INT64_MAX ? 0 : left_ms};
    struct evb_handover way = {.special = &special};
    if (!bus->wants_redis)
        return evb_fail(EVBUS_EAWAY, "the request came from elsewhere, and this bus has no Redis");
    int rc = evb_handover_reserve(&way, bus, reply, EVB_FROM_REDIS);
    if (rc == 0 && way.way != EVB_WAY_OUTBOX)
        rc = evb_fail(EVBUS_EFULL, "the outbox is full (outbox.events, outbox.bytes)");
    else if (rc == 0 && (rc = evb_handover_post(&way, bus, reply, false)) != 0)
        evb_handover_release(&way, bus);
    return rc;
}

/* Holds the state while it posts, as publishing does. */
static int send(struct evbus *bus, const evbus_event *request, evbus_event *reply, int64_t left_ms)
{
    struct evb_thread *thread = evb_thread_self();
    if (!thread)
        return EVBUS_ENOMEM;
    evb_hazard_hold(thread, &bus->state);
    int rc = evb_bus_check(bus, false);
    if (rc == 0)
        rc = strcmp(request->exchange->reply_to.ptr, bus->inbox) == 0
                 ? send_here(bus, reply)
                 : send_away(bus, request, reply, left_ms);
    evb_hazard_release(thread);
    return rc;
}

/* Which pieces a reply that was refused gives back. */
struct made {
    struct evb_exchange *before;
    const char *correlation;
};

static int keep(evbus_event *reply, struct evb_text *field, const char *text, size_t length)
{
    field->ptr = evb_event_keep(reply, text, length);
    field->length = field->ptr ? (uint32_t)length : 0;
    return field->ptr ? 0 : evbus_last_code();
}

/* The reply is frozen, and nobody's yet. */
static int address(const evbus_event *request, evbus_event *reply, const char *refusal,
                   struct made *made)
{
    const char *id = evbus_event_id(request);
    struct evb_text correlation = evb_event_correlation(request);
    struct evb_exchange *exchange = evb_event_exchange(reply);
    if (!exchange)
        return evbus_last_code();
    reply->exchange = exchange;
    int rc = keep(reply, &exchange->in_reply_to, id, strlen(id));
    if (rc == 0 && refusal)
        rc = keep(reply, &exchange->error, refusal, strlen(refusal));
    if (rc != 0 || reply->correlation.ptr)
        return rc;
    rc = keep(reply, &reply->correlation, correlation.ptr, correlation.length);
    made->correlation = reply->correlation.ptr;
    return rc;
}

/* As if it had never been given. */
static void give_up(evbus_event *reply, const struct made *made)
{
    if (made->correlation) {
        evb_event_drop(reply, made->correlation);
        reply->correlation = (struct evb_text){NULL, 0};
    }
    if (reply->exchange != made->before) {
        evb_event_drop(reply, reply->exchange->in_reply_to.ptr);
        evb_event_drop(reply, reply->exchange->error.ptr);
        evb_event_drop(reply, reply->exchange);
    }
    reply->exchange = made->before;
    evb_event_thaw(reply);
}

static int answer(struct evbus *bus, const evbus_event *request, evbus_event *reply,
                  const char *refusal, int64_t left_ms)
{
    struct made made = {reply->exchange, NULL};
    int rc = evb_event_freeze(reply, bus->node, bus->source);
    if (rc != 0)
        return rc;
    rc = address(request, reply, refusal, &made);
    if (rc == 0)
        rc = send(bus, request, reply, left_ms);
    if (rc == 0)
        evb_count(&bus->metrics, EVB_COUNT_answered, 1);
    else
        give_up(reply, &made);
    return rc;
}

/* Answers are sent to no other channels than those of askers, whatever a request wants: what this
 * bus may publish is no business of whoever sent it. */
static int check_request(const struct evbus *bus, const evbus_event *request, int64_t *left_ms)
{
    int rc = evb_bus_check(bus, false);
    if (rc != 0)
        return rc;
    if (!request)
        return evb_fail(EVBUS_EINVAL, "no request (NULL)");
    if (!evb_event_is_request(request))
        return evb_fail(EVBUS_EINVAL,
                        "%s is no request: it was published, not sent by evbus_request()",
                        request->type.ptr);
    const char *channel = request->exchange->reply_to.ptr;
    if (!evb_bus_is_inbox(bus, channel))
        return evb_fail(EVBUS_EINVAL,
                        "the request wants its answer on the channel %s: answers go to %.*s...",
                        channel, (int)(strlen(bus->inbox) - EVB_NODE_LENGTH), bus->inbox);
    *left_ms = evb_event_time_left_ms(request);
    return *left_ms > 0 ? 0 : evb_fail(EVBUS_ETIMEDOUT, "the request's deadline has passed");
}

int evbus_reply(evbus *bus, const evbus_event *request, evbus_event *reply)
{
    int64_t left_ms;
    int rc = check_request(bus, request, &left_ms);
    if (rc == 0 && !reply)
        rc = evb_fail(EVBUS_EINVAL, "no reply (NULL): evbus_event_new() makes one");
    if (rc == 0)
        rc = evb_route_check_data(bus, reply, bus->wants_redis);
    return rc != 0 ? rc : answer(bus, request, reply, NULL, left_ms);
}

int evbus_reply_error(evbus *bus, const evbus_event *request, const char *message)
{
    char refusal[EVB_REFUSAL_MAX + 8];
    int64_t left_ms;
    int rc = check_request(bus, request, &left_ms);
    if (rc == 0 && (!message || !*message))
        rc = evb_fail(EVBUS_EINVAL, "evbus_reply_error: no message (%s)",
                      message ? "empty" : "NULL");
    if (rc != 0)
        return rc;
    size_t length = strnlen(message, sizeof refusal - 1);
    memcpy(refusal, message, length);
    evb_refusal_clean(refusal, length);
    evbus_event *reply = evb_event_make(request->type.ptr, request->type.length, NULL, 0, false);
    if (!reply)
        return evbus_last_code();
    rc = answer(bus, request, reply, refusal, left_ms);
    evbus_event_unref(reply);
    return rc;
}
