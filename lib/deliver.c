/* deliver.c - from an event to its subscribers. Any thread. */
#include "deliver.h"
#include "alloc.h"
#include "err.h"
#include "fork.h"

enum { DEFERRED_BYTES = 64 << 20 };

struct evb_deferred { /* published inside an inline handler: delivered when that has returned */
    struct evb_deferred *next;
    struct evbus *bus;  /* ref */
    evbus_event *event; /* ref */
    unsigned how;
};

void evb_deliver_give_back(evbus_event *event, unsigned how)
{
    if (how & EVB_GIVEN)
        evbus_event_unref(event);
}

/* What was missed belongs to those who listened already, with Redis's leave. */
static bool may_have(const struct evbus *bus, const evbus_sub *sub, const evbus_event *event)
{
    const struct evb_via *via = sub->entry->via;
    int64_t since_ms = evb_recovery_server_ms(&bus->redis.recovery, sub->created_ms);
    return via && via->wire == EVB_WIRE_LIVE && (int64_t)event->position.ms >= since_ms;
}

static bool is_for(const struct evbus *bus, const evbus_sub *sub, const evbus_event *event,
                   unsigned how, const struct evb_via *only)
{
    return (!only || sub->entry->via == only) && (!(how & EVB_ECHO) || sub->by_position) &&
           (!(how & EVB_FROM_HISTORY) || may_have(bus, sub, event));
}

/* Those that may read the history have a say in what comes from it. */
static bool deliver_special(const struct evbus *bus, evbus_sub *sub, evbus_event *event,
                            unsigned how, const struct evb_via *only, struct evb_thread *thread)
{
    if (!is_for(bus, sub, event, how, only))
        return false;
    return how & EVB_POSITIONED && sub->take ? sub->take(sub, event, how, thread)
                                             : evb_sub_deliver(sub, event, how, thread);
}

/* The reference of EVB_GIVEN goes to the last subscriber, if that one keeps the event. */
static int walk(struct evbus *bus, struct evb_thread *thread, evbus_event *event, unsigned how,
                const struct evb_via *only)
{
    const struct evb_snapshot *snapshot =
        evb_registry_snapshot(&bus->registry, thread, event->type.ptr, event->type.length);
    bool kept = false;
    bool special = only || how & (EVB_FROM_HISTORY | EVB_POSITIONED | EVB_ECHO);
    if (!snapshot) {
        evb_deliver_give_back(event, how);
        return EVBUS_ENOMEM;
    }
    unsigned handled = thread->handled; /* perhaps of another bus, whose handler published here */
    thread->handled = 0;
    for (size_t i = 0; i < snapshot->count; i++) {
        unsigned last = i + 1 < snapshot->count ? how & ~(unsigned)EVB_GIVEN : how;
        kept = special ? deliver_special(bus, snapshot->subs[i], event, last, only, thread)
                       : evb_sub_deliver(snapshot->subs[i], event, last, thread);
    }
    if (!kept)
        evb_deliver_give_back(event, how);
    evb_sub_flush_count(&bus->metrics, thread);
    thread->handled = handled;
    bool closed = atomic_load_explicit(&bus->state, memory_order_acquire) == EVB_BUS_CLOSED;
    if (closed)
        evb_bus_ref(bus); /* the snapshot may have been the last to keep it */
    evb_hazard_release(thread);
    if (closed) {
        evb_registry_purge(&bus->registry);
        evb_bus_unref(bus);
    }
    return 0;
}

bool evb_deliver_may_defer(const struct evb_thread *thread, const evbus_event *event)
{
    return thread->deferred_count < EVB_DEFERRED_EVENTS &&
           thread->deferred_bytes + event->size <= DEFERRED_BYTES;
}

static int defer(struct evbus *bus, struct evb_thread *thread, evbus_event *event, unsigned how)
{
    struct evb_deferred *later = evb_alloc(sizeof *later);
    if (!later) {
        evb_deliver_give_back(event, how);
        return evb_fail_memory();
    }
    if (!(how & EVB_GIVEN))
        evbus_event_ref(event);
    evb_bus_ref(bus);
    *later = (struct evb_deferred){.bus = bus, .event = event, .how = how | EVB_GIVEN};
    *thread->deferred_end = later;
    thread->deferred_end = &later->next;
    thread->deferred_count++;
    thread->deferred_bytes += event->size;
    return 0;
}

/* Publishing has returned long ago, and its bus may have been freed: what the walk posts must find
 * the loop still there. */
static void walk_later(struct evb_thread *thread, const struct evb_deferred *later)
{
    struct evbus *bus = later->bus;
    evb_hazard_hold(thread, &bus->registry);
    if (bus->generation == evb_fork_generation() && /* a handler may have forked */
        atomic_load(&bus->state) != EVB_BUS_CLOSED)
        walk(bus, thread, later->event, later->how, NULL);
    else
        evbus_event_unref(later->event);
    evb_hazard_release(thread);
}

static void deliver_deferred(struct evb_thread *thread)
{
    struct evb_deferred *later;
    while ((later = thread->deferred)) {
        thread->deferred = later->next;
        if (!thread->deferred)
            thread->deferred_end = &thread->deferred;
        thread->deferred_count--;
        thread->deferred_bytes -= later->event->size;
        walk_later(thread, later);
        evb_bus_unref(later->bus);
        evb_free(later);
    }
}

/* One event at a time on a thread: no subscriber sees an effect before its cause. The reference of
 * EVB_GIVEN is gone afterwards. */
int evb_deliver(struct evbus *bus, struct evb_thread *thread, evbus_event *event, unsigned how,
                const struct evb_via *only)
{
    if (thread->delivering)
        return defer(bus, thread, event, how);
    thread->delivering = true;
    int rc = walk(bus, thread, event, how, only);
    if (thread->deferred)
        deliver_deferred(thread);
    thread->delivering = false;
    return rc;
}

bool evb_deliver_offer(struct evbus *bus, evbus_sub *sub, evbus_event *event, unsigned how)
{
    struct evb_thread *thread = evb_thread_self();
    if (!thread)
        return false;
    bool outer = !thread->delivering;
    thread->delivering = true;
    bool taken = evb_sub_offer(sub, event, how, thread);
    evb_sub_flush_count(&bus->metrics, thread);
    if (outer && thread->deferred)
        deliver_deferred(thread);
    thread->delivering = !outer;
    return taken;
}
