/* batch.c - publishing batches, and telling those who asked about their members. Loop. */
#include "batch.h"
#include "clock.h"
#include "err.h"
#include "route.h"
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

static const enum evb_counter trigger_counter[] = {
    [EVB_BATCH_BY_SIZE] = EVB_COUNT_batches_size,
    [EVB_BATCH_BY_BYTES] = EVB_COUNT_batches_bytes,
    [EVB_BATCH_BY_INTERVAL] = EVB_COUNT_batches_interval,
    [EVB_BATCH_BY_FLUSH] = EVB_COUNT_batches_flush,
};

/* ---- reports ---- */

/* The members' reports are the batch's; each finds the sentence of a failure. Inside a callback. */
static void tell_members(struct evb_batch *batch, int outcome, int error, int64_t receivers)
{
    char why[512];
    snprintf(why, sizeof why, "%s", evbus_last_error());
    for (struct evb_batched *member = batch->first; member; member = member->next) {
        if (outcome == EVBUS_FAILED)
            evb_fail(error, "%s", why);
        if (member->report)
            member->report(member->event, outcome, error, receivers, member->user);
    }
    evb_batch_free(batch);
}

static void on_report(evbus_event *event, int outcome, int error, int64_t receivers, void *batch)
{
    (void)event;
    tell_members(batch, outcome, error, receivers);
}

/* It could not be published: memory ran out, or Redis is away and nothing is kept for it. */
static void drop(struct evbus *bus, struct evb_batch *batch, int rc)
{
    struct evb_thread *thread = evb_thread_self();
    evb_count(&bus->metrics, EVB_COUNT_batched_dropped, batch->count);
    if (thread)
        thread->callbacks++;
    if (rc == EVBUS_EAWAY)
        tell_members(batch, EVBUS_EVICTED, EVBUS_EFULL, -1);
    else
        tell_members(batch, EVBUS_FAILED, rc, -1);
    if (thread)
        thread->callbacks--;
}

/* ---- publishing ---- */

static evbus_event *event_of(const struct evb_batch *batch)
{
    char type[EVB_TYPE_MAX + 1];
    struct evb_text of = evb_batch_type(batch);
    size_t length = evb_batch_length(batch), suffix = sizeof EVB_BATCH_SUFFIX - 1;
    memcpy(type, of.ptr, of.length);
    memcpy(type + of.length, EVB_BATCH_SUFFIX, suffix);
    evbus_event *event = evb_event_make_room(type, of.length + suffix, length);
    if (event)
        evb_batch_write(batch, (char *)event->data.ptr);
    return event;
}

/* What its members had reserved is given back when the batch has its own. */
static void publish(struct evbus *bus, struct evb_batch *batch)
{
    struct evb_special special = {.promised = true};
    struct evb_handover way = {.special = &special};
    int64_t count = batch->count;
    size_t reserved = batch->size;
    evbus_event *event = event_of(batch);
    bus->had_batches = true;
    evb_count(&bus->metrics, trigger_counter[batch->trigger], 1);
    size_t kept = evb_batch_keep_asking(batch);
    if (batch->first) {
        way.report = on_report;
        way.user = batch;
        special.more =
            event && kept > event->size ? kept - event->size : 0; /* both count the batch */
    }
    int rc = event ? evb_route_batch(bus, event, batch->flags, &way) : EVBUS_ENOMEM;
    evb_outbox_release_reports(&bus->redis.outbox, count, reserved);
    if (rc < 0)
        drop(bus, batch, rc);
    else if (!way.report)
        evb_batch_free(batch);
    evbus_event_unref(event);
}

static void publish_closed(struct evbus *bus, size_t count)
{
    struct evb_batch *batch;
    while (count-- > 0 && (batch = evb_accumulator_take(&bus->batches)))
        publish(bus, batch);
}

bool evb_batch_flush(struct evbus *bus)
{
    publish_closed(bus, evb_accumulator_close(&bus->batches, false));
    return bus->had_batches;
}

void evb_batch_end(struct evbus *bus)
{
    publish_closed(bus, evb_accumulator_close(&bus->batches, true));
}

/* ---- the look ---- */

static void look(struct evbus *bus, bool told)
{
    struct evb_batch *batch;
    int64_t now_ms = evb_clock_mono_ms();
    int64_t next_ms = evb_accumulator_due(&bus->batches, now_ms, told);
    int64_t in_ms = next_ms - now_ms;
    struct timeval in = {.tv_sec = in_ms / 1000, .tv_usec = in_ms % 1000 * 1000};
    if (next_ms == INT64_MAX)
        event_del(bus->batch_timer);
    else if (event_add(bus->batch_timer, &in) != 0) /* no memory: sooner is better than never */
        evb_accumulator_close(&bus->batches, false);
    while (!evb_loop_is_late(&bus->loop) && (batch = evb_accumulator_take(&bus->batches)))
        publish(bus, batch);
    if (evb_accumulator_is_left(&bus->batches))
        evb_loop_post(&bus->loop, &bus->batch_job);
}

static void look_job(struct evb_job *job)
{
    look(evb_container(job, struct evbus, batch_job), true);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct evbus *bus = arg;
    (void)fd;
    (void)what;
    evb_loop_begin(&bus->loop);
    look(bus, false);
    evb_loop_end(&bus->loop);
}

int evb_batch_init(struct evbus *bus)
{
    struct evb_accumulator *batches = &bus->batches;
    int64_t bytes = evb_config_number(bus->config, EVB_CFG_BATCH_BYTES);
    batches->max_events = evb_config_number(bus->config, EVB_CFG_BATCH_EVENTS);
    batches->interval_ms = evb_config_number(bus->config, EVB_CFG_BATCH_INTERVAL);
    batches->max_length = (size_t)bytes < bus->max_data ? (size_t)bytes : bus->max_data;
    bus->batch_job.run = look_job;
    bus->batch_timer = event_new(bus->loop.base, -1, 0, on_timer, bus);
    return bus->batch_timer ? 0 : evb_fail_memory();
}

void evb_batch_fini(struct evbus *bus)
{
    if (bus->batch_timer)
        event_free(bus->batch_timer);
    bus->batch_timer = NULL;
}
