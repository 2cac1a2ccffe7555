/*
 * route.c - an event's whole way on one page.
 *
 *   publish (caller's thread): check, reserve room in the outbox, freeze, hand over to the loop,
 *                              keep for history, deliver to the subscribers of a snapshot;
 *                              with EVBUS_BATCH: check, and wait in a batch (batch_join.c), which
 *                              goes that way as one event (batch.c)
 *   receive (loop):            own echo? scan the envelope, seen before? deliver
 *
 * To Redis before the local handlers, so that what a handler publishes follows its cause there too.
 */
#include "route.h"
#include "alloc.h"
#include "batch_join.h"
#include "clock.h"
#include "codec.h"
#include "err.h"
#include "fork.h"
#include "json.h"
#include <string.h>

enum { NODES_IDLE_MS = 3600000 };

void evb_route_system(struct evbus *bus, const char *type, const char *json)
{
    struct evb_thread *thread = evb_thread_self();
    evbus_event *event = evb_event_make(type, strlen(type), json, json ? strlen(json) : 0, true);
    unsigned how = EVB_FROM_LOCAL | EVB_GIVEN;
    if (strcmp(type, EVB_TYPE_SLOW) == 0 || strcmp(type, EVB_TYPE_SLOW_END) == 0)
        how |= EVB_OF_SLOW;
    if (thread && event && evb_event_freeze(event, bus->node, bus->source) == 0)
        evb_deliver(bus, thread, event, how, NULL);
    else
        evbus_event_unref(event);
}

/* ---- publish ---- */

int evb_route_check_data(const struct evbus *bus, const evbus_event *event, bool serialised)
{
    size_t at;
    if (event->data.length > bus->max_data)
        return evb_fail(EVBUS_ETOOBIG, "data of %u bytes: event.max.bytes allows %zu",
                        event->data.length, bus->max_data);
    if (!event->is_json || !event->data.ptr || bus->check == EVB_CHECK_NEVER ||
        (bus->check == EVB_CHECK_REMOTE && !serialised))
        return 0;
    const char *why = evb_json_check(event->data.ptr, event->data.length, &at);
    if (why)
        return evb_fail(EVBUS_EINVAL, "data is not JSON: %s at byte %zu", why, at);
    return 0;
}

/* Where the event goes: EVB_FROM_LOCAL | EVB_FROM_REDIS, or an error. */
static int targets(const struct evbus *bus, int flags)
{
    if (flags & ~(EVBUS_LOCAL_ONLY | EVBUS_REDIS_ONLY | EVBUS_NO_HISTORY | EVBUS_BATCH))
        return evb_fail(EVBUS_EINVAL,
                        "publish flags 0x%x: EVBUS_LOCAL_ONLY, EVBUS_REDIS_ONLY, "
                        "EVBUS_NO_HISTORY, EVBUS_BATCH",
                        (unsigned)flags);
    if ((flags & EVBUS_LOCAL_ONLY) && (flags & EVBUS_REDIS_ONLY))
        return evb_fail(EVBUS_EINVAL, "EVBUS_LOCAL_ONLY and EVBUS_REDIS_ONLY exclude each other");
    if (flags & EVBUS_LOCAL_ONLY)
        return EVB_FROM_LOCAL;
    if (flags & EVBUS_REDIS_ONLY && !bus->wants_redis)
        return evb_fail(EVBUS_EAWAY, "EVBUS_REDIS_ONLY on a bus without Redis: set redis.url");
    if (flags & EVBUS_REDIS_ONLY || bus->redis_only)
        return EVB_FROM_REDIS;
    return bus->wants_redis ? EVB_FROM_LOCAL | EVB_FROM_REDIS : EVB_FROM_LOCAL;
}

/* Answers where the event is to go, or an error. */
static int check_event(const struct evbus *bus, const struct evb_thread *thread,
                       const evbus_event *event, int flags)
{
    int where = targets(bus, flags), rc;
    bool batched = flags & EVBUS_BATCH; /* one text with others: what is no JSON would spoil it */
    if (where < 0)
        return where;
    if ((rc = evb_route_check_data(bus, event, batched || where & EVB_FROM_REDIS)) != 0)
        return rc;
    if (!batched && thread->delivering && !evb_deliver_may_defer(thread, event))
        return evb_fail(EVBUS_EFULL, "this handler's events wait for its return, and there are %d",
                        EVB_DEFERRED_EVENTS);
    return where;
}

/* Frozen, and on its way to Redis if it goes there. */
static int freeze_and_post(struct evbus *bus, evbus_event *event, int where, int flags,
                           struct evb_handover *way)
{
    if (!(where & EVB_FROM_REDIS) && !way->report) /* the local way stays short */
        return evb_event_freeze(event, bus->node, bus->source);
    int rc = evb_handover_reserve(way, bus, event, where);
    if (rc != 0)
        return rc;
    bool frozen = way->special && way->special->frozen;
    way->history = bus->keeps_history && !(flags & EVBUS_NO_HISTORY);
    if (frozen || (rc = evb_event_freeze(event, bus->node, bus->source)) == 0) {
        if ((rc = evb_handover_post(way, bus, event, where & EVB_FROM_LOCAL)) == 0)
            return 0;
        if (!frozen)
            evb_event_thaw(event);
    }
    evb_handover_release(way, bus);
    return rc;
}

static int check_and_deliver(struct evbus *bus, struct evb_thread *thread, evbus_event *event,
                             int where, int flags, struct evb_handover *way, unsigned given)
{
    int rc = way->special && way->special->promised ? 0 : evb_bus_check(bus, false);
    if (rc == 0)
        rc = freeze_and_post(bus, event, where, flags, way);
    evb_hazard_set(thread, thread->hazards - 1, bus);
    if (rc != 0 || !(where & EVB_FROM_LOCAL)) {
        evb_deliver_give_back(event, given);
        return rc != 0 ? rc : way->bits;
    }
    evb_count(&bus->metrics, EVB_COUNT_published_local, 1);
    if (bus->recent.limit)
        evb_recent_push(&bus->recent, event);
    unsigned from = way->kept ? EVB_FROM_KEPT : EVB_FROM_LOCAL;
    if (evb_deliver(bus, thread, event, from | EVB_FROM_SELF | given, NULL) != 0) {
        evb_count(&bus->metrics, EVB_COUNT_dropped, 1); /* no memory; it is on its way to Redis */
        return way->bits;
    }
    return EVBUS_SENT_LOCAL | way->bits;
}

/* Holds the state while something may be posted: closing waits, so that what is accepted has its
 * report before evbus_close() returns. Then holds the bus: the event's own handler may free it.
 * The reference of EVB_GIVEN (in `given`, or 0) is gone afterwards. */
static int accept_event(struct evbus *bus, evbus_event *event, int flags, struct evb_handover *way,
                        unsigned given)
{
    struct evb_thread *thread = evb_thread_self();
    int where = thread ? check_event(bus, thread, event, flags) : EVBUS_ENOMEM;
    if (where < 0) {
        evb_deliver_give_back(event, given);
        return where;
    }
    evb_hazard_hold(thread, &bus->state);
    int rc = flags & EVBUS_BATCH ? evb_batch_join(bus, event, flags, way)
                                 : check_and_deliver(bus, thread, event, where, flags, way, given);
    evb_hazard_release(thread);
    return rc;
}

int evb_route_batch(struct evbus *bus, evbus_event *event, int flags, struct evb_handover *way)
{
    struct evb_thread *thread = evb_thread_self();
    int where = thread ? targets(bus, flags) : EVBUS_ENOMEM;
    if (where < 0)
        return where;
    evb_hazard_hold(thread, &bus->state);
    int rc = check_and_deliver(bus, thread, event, where, flags, way, 0);
    evb_hazard_release(thread);
    return rc;
}

static int refused(evbus *bus, int rc)
{
    if (bus && rc != EVBUS_EFORK)
        evb_count(&bus->metrics, EVB_COUNT_publish_errors, 1);
    return rc;
}

int evb_route_publish(struct evbus *bus, evbus_event *event, int flags, struct evb_handover *way)
{
    int rc = evb_bus_check(bus, false);
    if (rc == 0)
        rc = event ? accept_event(bus, event, flags, way, 0)
                   : evb_fail(EVBUS_EINVAL, "no event (NULL): evbus_event_new() makes one");
    return rc < 0 ? refused(bus, rc) : rc;
}

static int check_type(const char *type, size_t length)
{
    int rc = type ? evb_type_check(type, length)
                  : evb_fail(EVBUS_EINVAL, "no event type (NULL): \"task.created\", say");
    if (rc == 0 && evb_type_is_system(type, length))
        rc = evb_fail(EVBUS_EINVAL, "type %s: \"evbus.\" is reserved for the library", type);
    return rc;
}

int evbus_publish(evbus *bus, const char *type, const char *json)
{
    size_t length = type ? strlen(type) : 0;
    int rc = evb_bus_check(bus, false);
    if (rc == 0)
        rc = check_type(type, length);
    evbus_event *event =
        rc == 0 ? evb_event_make(type, length, json, json ? strlen(json) : 0, true) : NULL;
    if (!event)
        return refused(bus, rc == 0 ? evbus_last_code() : rc);
    atomic_store_explicit(&event->frozen, EVB_EVENT_PRIVATE, memory_order_relaxed);
    struct evb_handover way = {0};
    rc = accept_event(bus, event, 0, &way, EVB_GIVEN);
    return rc < 0 ? refused(bus, rc) : rc;
}

int evbus_publish_event(evbus *bus, evbus_event *event, int flags)
{
    struct evb_handover way = {0};
    return evb_route_publish(bus, event, flags, &way);
}

int evbus_publish_report(evbus *bus, evbus_event *event, int flags, evbus_report_fn fn, void *user)
{
    if (!fn)
        return evb_fail(EVBUS_EINVAL, "evbus_publish_report: no report function (NULL)");
    struct evb_handover way = {.report = fn, .user = user};
    return evb_route_publish(bus, event, flags, &way);
}

/* ---- receive ---- */

void evb_route_complain(struct evbus *bus, enum evb_counter counter, const char *channel,
                        const char *why)
{
    int64_t now_ms = evb_clock_mono_ms();
    evb_count(&bus->metrics, counter, 1);
    bus->complaints++;
    if (bus->complained_ms && now_ms - bus->complained_ms < 1000)
        return; /* a line a second: a hostile peer must not fill a disk */
    evb_log(&bus->log, EVBUS_LOG_WARNING, "%lld bad messages, the last on %.200s: %s",
            (long long)bus->complaints, channel, why);
    bus->complained_ms = now_ms;
    bus->complaints = 0;
}

/* True: this node's own, already delivered here. */
static bool is_echo(struct evbus *bus, const char *channel, const struct evb_reply *payload)
{
    struct evb_position position;
    uint64_t seq;
    if (!evb_codec_is_echo(payload->text, payload->length, bus->node, &seq))
        return false;
    if (seq == 0 || seq > bus->redis.outbox.seq) {
        evb_route_complain(bus, EVB_COUNT_forged, channel, "this bus's mark on what it never sent");
        return true;
    }
    evb_count(&bus->metrics, EVB_COUNT_echoes, 1);
    if (evb_codec_position(payload->text, payload->length, &position))
        evb_recovery_saw(&bus->redis.recovery, position);
    return true;
}

unsigned evb_route_is_self(const struct evbus *bus, const evbus_event *event)
{
    return event->node.ptr && !strcmp(event->node.ptr, bus->node) ? EVB_FROM_SELF : 0;
}

static bool is_new(struct evbus *bus, const evbus_event *event)
{
    int64_t now_ms = evb_clock_mono_ms();
    bool positioned = !evb_position_is_none(event->position);
    if (event->node.ptr && event->seq)
        return evb_seen_seq(&bus->seen, event->node.ptr, event->seq, positioned, now_ms);
    if (event->id.ptr)
        return evb_seen_id(&bus->seen, event->id.ptr, event->id.length, now_ms);
    return true;
}

/* To the subscribers, unless they had it. True: the event's reference went with it. */
static bool accept_received(struct evbus *bus, evbus_event *event, unsigned how,
                            const struct evb_via *only)
{
    struct evb_thread *thread = evb_thread_self();
    if ((++bus->messages & 0xffff) == 0)
        evb_seen_prune(&bus->seen, evb_clock_mono_ms(), NODES_IDLE_MS);
    if (!is_new(bus, event)) {
        evb_count(&bus->metrics, EVB_COUNT_duplicates, 1);
        return false;
    }
    evb_count(&bus->metrics, EVB_COUNT_received, 1);
    if (event->exchange && evb_event_time_left_ms(event) == 0) {
        evb_count(&bus->metrics, EVB_COUNT_late_requests, 1);
        return false;
    }
    if (bus->recent.limit && !(how & EVB_ECHO)) /* that is kept since it was published */
        evb_recent_push(&bus->recent, event);
    if (!thread)
        return false;
    how |= EVB_FROM_REDIS | EVB_GIVEN | evb_route_is_self(bus, event);
    how |= evb_position_is_none(event->position) ? 0 : EVB_POSITIONED;
    evb_deliver(bus, thread, event, how, only);
    return true;
}

/* True: the event's reference went with it. */
static bool receive(struct evbus *bus, evbus_event *event, unsigned how,
                    const struct evb_reply *channel, const struct evb_reply *pattern)
{
    const struct evb_reply *name = pattern ? pattern : channel;
    const struct evb_via *only = NULL;
    bool self = evb_route_is_self(bus, event);
    if (self && (event->seq == 0 || event->seq > bus->redis.outbox.seq)) {
        evb_route_complain(bus, EVB_COUNT_forged, channel->text,
                           "this bus's mark on what it never sent");
        return false;
    }
    if (!event->node.ptr && !event->is_json && !bus->take_foreign) {
        evb_count(&bus->metrics, EVB_COUNT_foreign_dropped, 1);
        return false;
    }
    if (evb_position_is_none(event->position))
        bus->heard_unkept = bus->heard_unkept || !(self || event->exchange); /* who asks, knows */
    else if (evb_recovery_takes(&bus->redis.recovery, event))
        return false;
    /* Without seq and id nothing tells a second copy (message and pmessage) from a second event:
     * each copy goes to those who asked for it by this name. */
    if (!event->seq && !event->id.ptr &&
        !(only = evb_interest_find(bus, name->text, name->length, pattern != NULL)))
        return false;
    return accept_received(bus, event, how, only);
}

int evb_route_decode(struct evbus *bus, const struct evb_reply *channel,
                     const struct evb_reply *payload, evbus_event **event)
{
    const char *type = channel->text + bus->prefix_length, *why = "";
    size_t length = channel->length - bus->prefix_length;
    *event = NULL;
    if (channel->length <= bus->prefix_length ||
        memcmp(channel->text, bus->prefix, bus->prefix_length) != 0 ||
        evb_type_check(type, length) != 0 || evb_type_is_system(type, length)) {
        evb_route_complain(bus, EVB_COUNT_decode_errors, channel->text,
                           "the channel names no event type");
        return EVBUS_EPARSE;
    }
    unsigned flags = bus->check == EVB_CHECK_NEVER ? 0 : EVB_READ_CHECK;
    int rc = evb_codec_read(payload->text, payload->length, type, length, bus->max_data, flags,
                            event, &why);
    if (rc != 0)
        evb_route_complain(bus, EVB_COUNT_decode_errors, channel->text, why);
    return rc;
}

static evbus_event *decode(struct evbus *bus, const struct evb_reply *channel,
                           const struct evb_reply *payload)
{
    evbus_event *event;
    evb_route_decode(bus, channel, payload, &event);
    return event;
}

/* Own events that are to be kept come to some by their echo alone, whether or not they could be;
 * others came when they were published. */
static bool is_by_echo(struct evbus *bus, const struct evb_reply *payload)
{
    uint64_t seq = 0;
    return atomic_load(&bus->by_position) &&
           evb_codec_is_echo(payload->text, payload->length, bus->node, &seq) &&
           evb_outbox_was_to_keep(&bus->redis.outbox, seq);
}

void evb_route_message(const struct evb_reply *channel, const struct evb_reply *payload,
                       const struct evb_reply *pattern, void *user)
{
    struct evbus *bus = user;
    if (pattern && evb_bus_is_inbox(bus, channel->text))
        return; /* with bare types (channel.prefix) a wide pattern brings others' replies, too */
    bool echo = is_echo(bus, channel->text, payload);
    if (echo && !is_by_echo(bus, payload))
        return;
    evbus_event *event = decode(bus, channel, payload);
    if (event)
        event->echo = echo; /* it may be held back */
    if (event && !receive(bus, event, echo ? EVB_ECHO : 0, channel, pattern))
        evbus_event_unref(event);
}

static bool is_ours(const struct evbus *bus, const struct evb_reply *channel)
{
    return channel->length > bus->prefix_length &&
           memcmp(channel->text, bus->prefix, bus->prefix_length) == 0;
}

/* Own events that were delivered here when they were published. */
static bool is_own(const struct evbus *bus, const struct evb_reply *envelope)
{
    uint64_t seq;
    return evb_codec_is_echo(envelope->text, envelope->length, bus->node, &seq);
}

evbus_event *evb_route_read(struct evbus *bus, struct evb_position at,
                            const struct evb_reply *channel, const struct evb_reply *envelope)
{
    if (!is_ours(bus, channel))
        return NULL;
    evbus_event *event = decode(bus, channel, envelope);
    if (!event)
        return NULL;
    event->origin = EVBUS_ORIGIN_REPLAY;
    evb_event_set_position(event, at);
    return event;
}

void evb_route_entry(struct evbus *bus, struct evb_position at, const struct evb_reply *channel,
                     const struct evb_reply *envelope)
{
    bool own = is_own(bus, envelope);
    if (own && !atomic_load(&bus->by_position))
        return;
    evbus_event *event = evb_route_read(bus, at, channel, envelope);
    if (event && !accept_received(bus, event, EVB_FROM_HISTORY | (own ? EVB_ECHO : 0), NULL))
        evbus_event_unref(event);
}

evbus_event *evb_route_entry_for(struct evbus *bus, const evbus_sub *sub, struct evb_position at,
                                 const struct evb_reply *channel, const struct evb_reply *envelope,
                                 unsigned *how)
{
    const char *type = channel->text + bus->prefix_length;
    size_t length = channel->length - bus->prefix_length;
    const struct evb_entry *entry = sub->entry;
    if (!is_ours(bus, channel) ||
        !evb_pattern_matches(entry->pattern, entry->length, type, length) ||
        (is_own(bus, envelope) && !sub->by_position))
        return NULL;
    evbus_event *event = evb_route_read(bus, at, channel, envelope);
    if (!event)
        return NULL;
    evb_count(&bus->metrics, EVB_COUNT_replayed, 1);
    *how |= evb_route_is_self(bus, event);
    return event;
}

void evb_route_held(struct evbus *bus, evbus_event *event)
{
    if (!accept_received(bus, evbus_event_ref(event), event->echo ? EVB_ECHO : 0, NULL))
        evbus_event_unref(event);
}
