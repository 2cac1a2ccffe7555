/* subscribe.c - the doors to subscriptions and queues. Any thread. */
#include "subscribe.h"
#include "alloc.h"
#include "claim_sub.h"
#include "clock.h"
#include "durable.h"
#include "err.h"
#include "fork.h"
#include "group.h"
#include "interest.h"
#include "leader.h"
#include "poll.h"
#include "queue.h"
#include "replay.h"
#include "replay_last.h"
#include "sub_options.h"
#include "tell.h"
#include "wait.h"
#include <string.h>

static const int scope_bits[] = {[EVB_SCOPE_BOTH] = EVB_FROM_LOCAL | EVB_FROM_KEPT | EVB_FROM_REDIS,
                                 [EVB_SCOPE_LOCAL] = EVB_FROM_LOCAL | EVB_FROM_KEPT,
                                 [EVB_SCOPE_REDIS] = EVB_FROM_REDIS};

static void sub_release(evbus_sub *sub)
{
    struct evbus *bus = sub->keeper;
    if (sub->entry)
        evb_entry_unref(sub->entry);
    if (sub->queue)
        evb_queue_unref(sub->queue);
    evb_group_free(sub->member);
    evb_durable_free(sub->durable);
    evb_claim_sub_free(sub->claims);
    evb_leader_free(sub->leader);
    evb_poll_free(sub->poll);
    evb_replay_free(sub->replay);
    evb_last_free(sub->latest);
    if (sub->by_position)
        atomic_fetch_sub(&bus->by_position, 1);
    evb_bus_unref(bus);
}

/* Only once it has ended: closing the bus waits for those that it finds there. */
static void leave_registry(evbus_sub *sub)
{
    struct evbus *bus = sub->keeper;
    evb_registry_remove(&bus->registry, sub);
    if (sub->poll)
        evb_replay_wake(bus);
    if (sub->member)
        evb_group_wake(bus);
}

/* It has ended: whoever does something for it is to know. */
static void tell_ended(evbus_sub *sub)
{
    if (sub->durable || sub->poll || atomic_load(&sub->replaying))
        evb_replay_wake(sub->keeper);
    if (sub->member)
        evb_group_wake(sub->keeper);
    if (sub->claims)
        evb_claim_sub_wake(sub);
}

static evbus_sub *sub_make(struct evbus *bus, const struct evb_sub_options *options)
{
    evbus_sub *sub = evb_sub_new();
    if (!sub)
        return NULL;
    sub->deliver = (int)options->deliver;
    sub->scope = scope_bits[options->scope];
    sub->echo = options->echo;
    sub->loop = &bus->loop;
    sub->metrics = &bus->metrics;
    sub->keeper = bus;
    evb_bus_ref(bus);
    sub->release = sub_release;
    sub->slow_edge = evb_tell_sub;
    sub->roomy = evb_replay_wake;
    sub->take = bus->keeps_history ? evb_replay_take : NULL;
    sub->fifo.max_events = options->size;
    sub->fifo.max_bytes = options->bytes;
    sub->fifo.full = (int)options->full;
    return sub;
}

/* Its queues by key, and the threads that serve them. */
static bool use_workers(struct evbus *bus, evbus_sub *sub, const struct evb_sub_options *options)
{
    if (bus->workers.count == 0) {
        evb_fail(EVBUS_EINVAL, "deliver=workers: the bus has no worker threads: set workers to "
                               "their number (workers = 4, say)");
        return false;
    }
    sub->workers = &bus->workers;
    sub->lanes = evb_lanes_new(options->key, options->size, options->bytes, (int)options->full);
    return sub->lanes && evb_workers_start(&bus->workers, bus->source) == 0;
}

/* 0, or why this subscription cannot read the history. */
static int may_read(const struct evbus *bus, const struct evb_sub_options *options)
{
    const char *what = options->durable ? "durable" : "from";
    if (!bus->keeps_history)
        return evb_fail(EVBUS_ENOTSUP,
                        "subscription option %s: this bus has no history (redis.url, "
                        "history.enabled)",
                        what);
    if (options->scope == EVB_SCOPE_LOCAL)
        return evb_fail(EVBUS_EINVAL,
                        "subscription option %s with scope=local: the history is in Redis", what);
    return 0;
}

/* Own events that are kept come in their place among those of others. */
static void use_positions(struct evbus *bus, evbus_sub *sub)
{
    sub->by_position = true;
    sub->scope &= ~EVB_FROM_KEPT;
    atomic_fetch_add(&bus->by_position, 1);
}

/* from=, durable=, leader=: reads the history first. */
static int use_history(struct evbus *bus, evbus_sub *sub, const struct evb_sub_options *options)
{
    struct evb_moment from = {.kind = EVB_MOMENT_NOW};
    int64_t now_ms = evb_clock_us() / 1000;
    bool leads = options->leader && bus->keeps_history && options->scope != EVB_SCOPE_LOCAL;
    bool last = options->away == EVB_AWAY_LAST;
    int rc = options->from
                 ? evb_moment_read("subscription option from", options->from, now_ms, &from)
                 : 0;
    if (rc == 0 && (from.kind != EVB_MOMENT_NOW || options->durable))
        rc = may_read(bus, options);
    if (rc != 0)
        return rc;
    if (options->durable && from.kind == EVB_MOMENT_LAST)
        return evb_fail(EVBUS_EINVAL, "subscription option from=last with durable: a place that is "
                                      "kept has no latest of each type; from=all, say");
    if (from.kind == EVB_MOMENT_NOW && !options->durable && !leads)
        return options->leader ? evb_leader_plan(sub, options->leader, last, NULL) : 0;
    if (options->scope == EVB_SCOPE_BOTH)
        use_positions(bus, sub);
    if ((rc = evb_replay_plan(sub, &from)) != 0)
        return rc;
    return options->durable ? evb_replay_keep(sub, options->durable)
           : leads          ? evb_replay_lead(sub, options->leader, last)
                            : 0;
}

/* Those with leader= may be polled at a takeover. */
static int use_poll(evbus_sub *sub, const struct evb_sub_options *options)
{
    return options->poll_ms || options->leader
               ? evb_poll_plan(sub, options->poll_ms, options->when == EVB_POLL_ALWAYS)
               : 0;
}

/* claim=: on a bus without Redis there is nobody else, and nothing to ask. */
static int use_claims(struct evbus *bus, evbus_sub *sub, const struct evb_sub_options *options)
{
    if (options->deliver == EVB_DELIVER_INLINE)
        return evb_fail(EVBUS_EINVAL,
                        "subscription option claim with deliver=inline: its events wait for Redis; "
                        "deliver=loop, or deliver=workers where handlers take their time");
    return bus->claims ? evb_claim_sub_plan(sub, options->claim) : 0;
}

/* group=: its events come from the group's stream alone. */
static int use_group(struct evbus *bus, evbus_sub *sub, const struct evb_sub_options *options,
                     const char *pattern)
{
    if (!options->group)
        return 0;
    if (!bus->wants_redis)
        return evb_fail(EVBUS_ENOTSUP, "subscription option group: groups live in Redis, and this "
                                       "bus has none (redis.url, bus.mode)");
    if (sub->deliver == EVB_DELIVER_INLINE) /* nothing is published where it is handled */
        sub->deliver = EVB_DELIVER_LOOP;
    sub->roomy = evb_group_wake;
    int64_t size = sub->queue ? sub->queue->fifo.max_events : options->size;
    return evb_group_plan(sub, pattern, options->group, options->retries, size, options->by_hand);
}

static evbus_sub *handler_sub(struct evbus *bus, const struct evb_sub_options *options,
                              const char *pattern, evbus_event_fn fn, void *user)
{
    bool workers = options->deliver == EVB_DELIVER_WORKERS;
    if (options->key && !workers) {
        evb_fail(EVBUS_EINVAL,
                 "subscription option key: needs deliver=workers; elsewhere the whole "
                 "subscription is in order");
        return NULL;
    }
    evbus_sub *sub = sub_make(bus, options);
    if (!sub)
        return NULL;
    sub->fn = fn;
    sub->user = user;
    if ((!options->limit || evb_sub_set_limit(sub, options->limit, leave_registry) == 0) &&
        (!workers || use_workers(bus, sub, options)) && use_poll(sub, options) == 0 &&
        (!options->claim || use_claims(bus, sub, options) == 0) &&
        use_history(bus, sub, options) == 0 && use_group(bus, sub, options, pattern) == 0)
        return sub;
    evb_sub_unref(sub);
    return NULL;
}

/* Events of the library are local: Redis is not asked for them. */
static bool is_system(const char *pattern)
{
    const char *text = strncmp(pattern, "glob:", 5) == 0 ? pattern + 5 : pattern;
    return evb_type_is_system(text, strlen(text));
}

/* The common end of both ways to subscribe: the handle, or NULL with the error set. */
static evbus_sub *sub_add(struct evbus *bus, evbus_sub *sub, const char *pattern)
{
    if (is_system(pattern))
        sub->scope &= ~EVB_FROM_REDIS;
    bool planned = sub->replay; /* from now on the loop may make one */
    if (evb_registry_add(&bus->registry, sub, pattern) == 0) {
        if (planned)
            evb_replay_begin(sub);
        if (sub->member)
            evb_group_begin(sub);
        if (sub->poll)
            evb_poll_begin(sub);
        if (sub->leader)
            evb_leader_begin(sub);
        return sub;
    }
    evb_sub_unref(sub);
    return NULL;
}

static int check_subscribe(const struct evbus *bus, const char *pattern)
{
    int rc = evb_bus_check(bus, false);
    if (rc == 0 && !pattern)
        rc = evb_fail(EVBUS_EINVAL, "no pattern (NULL): \"task.created\" or \"task.*\", say");
    if (rc == 0 && (rc = evb_pattern_check(pattern, strlen(pattern))) > 0)
        rc = 0;
    return rc;
}

evbus_sub *evbus_subscribe(evbus *bus, const char *pattern, const char *text, evbus_event_fn fn,
                           void *user)
{
    struct evb_sub_options options;
    if (check_subscribe(bus, pattern) != 0)
        return NULL;
    if (!fn) {
        evb_fail(EVBUS_EINVAL, "evbus_subscribe: no handler (NULL)");
        return NULL;
    }
    if (evb_sub_options_read(&options, bus, EVB_DOOR_HANDLER, text) != 0)
        return NULL;
    evbus_sub *sub = handler_sub(bus, &options, pattern, fn, user);
    evb_sub_options_fini(&options);
    return sub ? sub_add(bus, sub, pattern) : NULL;
}

int evbus_sub_wait(evbus_sub *sub, int timeout_ms)
{
    if (!sub)
        return evb_fail(EVBUS_EINVAL, "evbus_sub_wait: no subscription (NULL)");
    struct evbus *bus = sub->keeper;
    int64_t deadline_ms = evb_deadline_ms(timeout_ms);
    int rc = evb_bus_check(bus, true);
    if (rc == 0)
        rc = evb_bus_may_wait(bus, "evbus_sub_wait", timeout_ms);
    if (rc != 0)
        return rc;
    if (atomic_load(&sub->state) != EVB_SUB_LIVE)
        return evb_fail(EVBUS_ECLOSED, "the subscription is over");
    if (sub->member)
        return evb_group_wait(sub, timeout_ms);
    bool remote = sub->scope & EVB_FROM_REDIS; /* others of its pattern may wait for Redis */
    int wire = remote ? evb_entry_wait(sub->entry, timeout_ms) : EVB_WIRE_NONE;
    if (wire == EVB_WIRE_LIVE && sub->latest && !evb_last_wait(sub->latest, deadline_ms))
        wire = EVB_WIRE_PENDING;
    if (wire == EVBUS_ECLOSED || atomic_load(&sub->state) != EVB_SUB_LIVE)
        return evb_fail(EVBUS_ECLOSED, "the subscription is over");
    if (wire == EVB_WIRE_REFUSED) {
        char right[EVB_RIGHT_TEXT];
        evb_interest_lacks(bus, sub->entry, right, sizeof right);
        return evb_fail(EVBUS_EDENIED, "Redis refuses %s: the user needs %s; local events come",
                        sub->entry->pattern, right);
    }
    if (wire == EVB_WIRE_PENDING)
        return evb_fail(EVBUS_ETIMEDOUT, "Redis has not confirmed %s within %d ms (%s)",
                        sub->entry->pattern, timeout_ms, evbus_mode_name(atomic_load(&bus->mode)));
    timeout_ms = evb_time_left_ms(deadline_ms);
    return sub->durable  ? evb_durable_wait(sub, timeout_ms)
           : sub->leader ? evb_leader_wait(sub, timeout_ms)
                         : 0;
}

const char *evbus_sub_pattern(const evbus_sub *sub)
{
    if (sub)
        return sub->entry->pattern;
    evb_fail(EVBUS_EINVAL, "evbus_sub_pattern: no subscription (NULL)");
    return NULL;
}

int evbus_unsubscribe(evbus_sub *sub)
{
    if (!sub)
        return evb_fail(EVBUS_EINVAL, "evbus_unsubscribe: no subscription (NULL)");
    if (sub->generation != evb_fork_generation())
        return 0; /* the parent's: what it held is dropped with the child's memory */
    struct evbus *bus = sub->keeper;
    if (sub->limit)
        atomic_store(&sub->limit->let_go, true);
    evb_registry_remove(&bus->registry, sub);
    evb_sub_end(sub);
    evb_sub_wait_ended(sub, -1);
    tell_ended(sub);
    evb_sub_unref(sub);
    return 0;
}

/* ---- queues ---- */

static void queue_roomy(void *keeper)
{
    evb_replay_wake(keeper);
    evb_group_wake(keeper);
}

static void queue_gone(void *keeper)
{
    evb_bus_unref(keeper);
}

evbus_queue *evbus_queue_open(evbus *bus, const char *text)
{
    struct evb_sub_options options;
    if (evb_bus_check(bus, false) != 0)
        return NULL;
    if (evb_sub_options_read(&options, bus, EVB_DOOR_QUEUE, text) != 0)
        return NULL;
    evbus_queue *queue = evb_queue_new(options.size, options.bytes, (int)options.full);
    if (!queue)
        return NULL;
    queue->slow_edge = evb_tell_queue;
    queue->roomy = queue_roomy;
    queue->handled = evb_durable_handled;
    queue->metrics = &bus->metrics;
    queue->loop = &bus->loop;
    queue->keeper = bus;
    queue->keeper_unref = queue_gone;
    evb_bus_ref(bus);
    pthread_mutex_lock(&bus->queues_lock);
    evb_list_push(&bus->queues, &queue->node);
    pthread_mutex_unlock(&bus->queues_lock);
    if (evb_bus_check(bus, false) == 0)
        return queue;
    evbus_queue_free(queue); /* closed meanwhile, maybe without having seen this queue */
    return NULL;
}

static evbus_sub *queue_sub(evbus_queue *queue, const struct evb_sub_options *options,
                            const char *pattern, int64_t tag)
{
    struct evbus *bus = queue->keeper;
    if (options->claim) {
        evb_fail(EVBUS_EINVAL, "queue subscription option claim: a queue does not know when an "
                               "event is handled; evbus_subscribe() with a handler does, or "
                               "evbus_claim() with the event's id");
        return NULL;
    }
    evbus_sub *sub = sub_make(bus, options);
    if (!sub)
        return NULL;
    sub->deliver = EVB_DELIVER_QUEUE;
    sub->tag = tag;
    sub->queue = queue;
    sub->fifo.full = queue->fifo.full;
    sub->door = &evb_queue_door;
    evb_queue_ref(queue);
    if ((!options->limit || evb_sub_set_limit(sub, options->limit, leave_registry) == 0) &&
        use_history(bus, sub, options) == 0 && use_group(bus, sub, options, pattern) == 0 &&
        evb_queue_add_sub(queue, sub) == 0)
        return sub;
    evb_sub_unref(sub);
    return NULL;
}

evbus_sub *evbus_queue_subscribe(evbus_queue *queue, const char *pattern, const char *text,
                                 int64_t tag)
{
    struct evb_sub_options options;
    if (!queue) {
        evb_fail(EVBUS_EINVAL, "evbus_queue_subscribe: no queue (NULL)");
        return NULL;
    }
    struct evbus *bus = queue->keeper;
    if (check_subscribe(bus, pattern) != 0)
        return NULL;
    if (evb_sub_options_read(&options, bus, EVB_DOOR_QUEUE_SUB, text) != 0)
        return NULL;
    evbus_sub *sub = queue_sub(queue, &options, pattern, tag);
    evb_sub_options_fini(&options);
    return sub ? sub_add(bus, sub, pattern) : NULL;
}

void evbus_queue_free(evbus_queue *queue)
{
    if (!queue)
        return;
    if (queue->generation != evb_fork_generation()) {
        evb_queue_drop(queue);
        return;
    }
    struct evbus *bus = queue->keeper;
    pthread_mutex_lock(&bus->queues_lock);
    evb_list_remove(&queue->node);
    pthread_mutex_unlock(&bus->queues_lock);
    int count;
    evbus_sub **subs = evb_queue_take_subs(queue, &count);
    for (int i = 0; i < count; i++) {
        if (subs[i]->entry)
            evb_registry_remove(&bus->registry, subs[i]);
        evb_sub_end(subs[i]);
        tell_ended(subs[i]);
        evb_sub_unref(subs[i]);
    }
    evb_free(subs);
    evb_queue_close(queue);
    evb_queue_clear(queue);
    evb_queue_unref(queue);
}

void evb_queues_close(struct evbus *bus)
{
    for (;;) {
        evbus_queue *queue = NULL;
        pthread_mutex_lock(&bus->queues_lock);
        if (!evb_list_empty(&bus->queues)) {
            queue = evb_container(bus->queues.next, evbus_queue, node);
            evb_list_remove(&queue->node);
            evb_queue_ref(queue);
        }
        pthread_mutex_unlock(&bus->queues_lock);
        if (!queue)
            return;
        evb_queue_close(queue);
        evb_queue_unref(queue);
    }
}
