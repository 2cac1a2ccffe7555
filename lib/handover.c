/* handover.c - from a publisher to the outbox. Publisher's thread; the jobs: loop. */
#include "handover.h"
#include "clock.h"
#include "config.h"
#include "err.h"
#include "pool.h"

static void take_job(struct evb_job *job)
{
    struct evb_item *item = evb_container(job, struct evb_item, job);
    struct evbus *bus = item->owner;
    evb_outbox_take(&bus->redis.outbox, item);
}

static const struct evb_special nothing;

static const struct evb_special *special_of(const struct evb_handover *way)
{
    return way->special ? way->special : &nothing;
}

static int reserve_report(struct evb_outbox *outbox, struct evb_handover *way, enum evb_way with,
                          enum evb_way without)
{
    way->way = way->report ? with : without;
    if (way->report && special_of(way)->promised)
        evb_outbox_admit_promised(outbox, way->size, false);
    else if (way->report && !evb_outbox_admit_report(outbox, way->size))
        return evb_fail(EVBUS_EFULL, "so many events wait for their reports already "
                                     "(outbox.events, outbox.bytes)");
    return 0;
}

static enum evb_admission admit(struct evb_outbox *outbox, const struct evb_handover *way, bool up)
{
    if (!special_of(way)->promised || (outbox->full == EVB_FULL_OFF && !up))
        return evb_outbox_admit(outbox, way->size);
    evb_outbox_admit_promised(outbox, way->size, true);
    return EVB_ADMIT;
}

int evb_handover_reserve(struct evb_handover *way, struct evbus *bus, const evbus_event *event,
                         int where)
{
    struct evb_outbox *outbox = &bus->redis.outbox;
    bool up = atomic_load_explicit(&outbox->up, memory_order_relaxed);
    const struct evb_special *special = special_of(way);
    size_t kept = (way->report ? event->size : 0) + special->more;
    way->size = evb_pool_room(sizeof(struct evb_item)) + kept;
    if (!(where & EVB_FROM_REDIS))
        return reserve_report(outbox, way, EVB_WAY_REPORT, EVB_WAY_NONE);
    size_t prefix_length = special->channel.ptr ? special->channel.length : bus->prefix_length;
    way->size = evb_item_size(prefix_length, event) + kept;
    switch (admit(outbox, way, up)) {
    case EVB_ADMIT:
        way->way = EVB_WAY_OUTBOX;
        way->bits = up ? EVBUS_SENT_REDIS : EVBUS_SENT_OUTBOX;
        return 0;
    case EVB_ADMIT_REFUSE:
        return evb_fail(EVBUS_EFULL, "the outbox is full (outbox.events, outbox.bytes)");
    case EVB_ADMIT_AWAY:
        if (!(where & EVB_FROM_LOCAL))
            return evb_fail(EVBUS_EAWAY, "Redis is away and outbox.full=off keeps nothing");
        way->away = true;
        break;
    case EVB_ADMIT_DROP:
        break;
    }
    return reserve_report(outbox, way, EVB_WAY_EVICTED, EVB_WAY_DROPPED);
}

void evb_handover_release(const struct evb_handover *way, struct evbus *bus)
{
    if (way->way == EVB_WAY_OUTBOX)
        evb_outbox_release(&bus->redis.outbox, way->size);
    else if (way->way == EVB_WAY_REPORT || way->way == EVB_WAY_EVICTED)
        evb_outbox_release_report(&bus->redis.outbox, way->size);
}

/* The end of an event that needs no Redis, or found no room. */
static void report_job(struct evb_job *job)
{
    struct evb_item *item = evb_container(job, struct evb_item, job);
    struct evbus *bus = item->owner;
    evb_outbox_report(&bus->redis.outbox, item);
}

/* What the policy drops for Redis is accepted and evicted at once. */
static void count_accepted(struct evbus *bus, const struct evb_handover *way)
{
    if (way->way == EVB_WAY_NONE || way->way == EVB_WAY_REPORT)
        return;
    if (way->away) {
        evb_count(&bus->metrics, EVB_COUNT_dropped_away, 1);
        return;
    }
    evb_count(&bus->metrics, EVB_COUNT_published_redis, 1);
    if (way->way != EVB_WAY_OUTBOX)
        evb_count(&bus->metrics, EVB_COUNT_evicted, 1);
}

static void set_end(struct evb_item *item, int64_t ttl_ms, int64_t within_ms)
{
    if (within_ms > 0 && (ttl_ms <= 0 || within_ms < ttl_ms))
        ttl_ms = within_ms;
    if (ttl_ms > 0 && ttl_ms < INT64_MAX - item->accepted_ms)
        item->expires_ms = item->accepted_ms + ttl_ms;
}

static struct evb_item *encode(const struct evb_handover *way, const struct evbus *bus,
                               evbus_event *event, bool local)
{
    const struct evb_special *special = special_of(way);
    if (special->channel.ptr)
        return evb_item_encode_to(special->channel, event, local);
    return evb_item_encode(bus->prefix, bus->prefix_length, event, local);
}

int evb_handover_post(struct evb_handover *way, struct evbus *bus, evbus_event *event, bool local)
{
    struct evb_item *item;
    if (way->way == EVB_WAY_NONE || way->way == EVB_WAY_DROPPED) {
        count_accepted(bus, way);
        return 0;
    }
    if (way->way == EVB_WAY_OUTBOX)
        item = encode(way, bus, event, local);
    else if ((item = evb_pool_take(sizeof *item, NULL)))
        evb_item_init(item);
    if (!item)
        return evb_fail_memory();
    item->owner = bus;
    item->history = way->history && !event->exchange &&
                    !evb_patterns_match(bus->exclude, event->type.ptr, event->type.length);
    way->kept = item->history && way->way == EVB_WAY_OUTBOX;
    if (way->special) {
        item->settles = way->special->settles;
        way->special->settles = NULL;
    }
    item->size = way->size;
    item->report = way->report;
    item->user = way->user;
    item->event = way->report ? evbus_event_ref(event) : NULL;
    item->accepted_ms = evb_clock_rough_ms();
    set_end(item, event->ttl_ms, special_of(way)->within_ms);
    item->outcome = way->way == EVB_WAY_REPORT ? EVBUS_LOCAL_DONE : EVBUS_EVICTED;
    item->job.run = way->way == EVB_WAY_OUTBOX ? take_job : report_job;
    count_accepted(bus, way); /* before the loop can count its end */
    if (special_of(way)->before)
        evb_loop_post(&bus->loop, special_of(way)->before);
    evb_loop_post(&bus->loop, &item->job);
    return 0;
}
