/* delivery.c - an event in somebody's hand, and its answer. Any thread. */
#include "delivery.h"
#include "alloc.h"
#include "err.h"
#include "fork.h"
#include <stdio.h>

/* WAITING -> BEGUN -> ANSWERED, or TAKEN_BACK from either of the first two. */
enum { WAITING, BEGUN, ANSWERED, TAKEN_BACK };

static struct evb_hold *hold_of(struct evb_delivery *delivery)
{
    return evb_container(delivery, struct evb_hold, base);
}

static bool moves(struct evb_hold *hold, int from, int to)
{
    return atomic_compare_exchange_strong(&hold->state, &from, to);
}

static void drop_event(struct evb_hold *hold)
{
    evbus_event *event = hold->event;
    hold->event = NULL;
    evbus_event_unref(event);
}

static void run(struct evb_job *job)
{
    struct evb_hold *hold = evb_container(job, struct evb_hold, job);
    if (!evb_list_empty(&hold->node)) /* else the bus has ended meanwhile */
        hold->answered(hold);
    drop_event(hold);
    evb_hold_unref(hold); /* the job's */
}

/* False: the bus is closed. */
static bool post(struct evb_hold *hold, enum evb_answer answer, int64_t delay_ms,
                 evbus_event *event)
{
    hold->answer = answer;
    hold->delay_ms = delay_ms;
    hold->event = event && answer == EVB_ANSWER_FAILED ? evbus_event_ref(event) : NULL;
    hold->job.run = run;
    atomic_fetch_add(&hold->refs, 1);
    if (evb_bus_post(hold->bus, &hold->job))
        return true;
    drop_event(hold);
    evb_hold_unref(hold);
    return false;
}

static bool begin(struct evb_delivery *delivery)
{
    return moves(hold_of(delivery), WAITING, BEGUN);
}

static int answer_it(evbus_event *event, enum evb_answer answer, int64_t delay_ms)
{
    struct evb_hold *hold = hold_of(event->delivery);
    if (hold->bus->generation != evb_fork_generation())
        return evb_fail(EVBUS_EFORK, "the event was given to the parent process");
    if (atomic_load(&hold->bus->state) == EVB_BUS_CLOSED)
        return evb_fail(EVBUS_ECLOSED, "the bus is closed: another member gets the event");
    if (!moves(hold, BEGUN, ANSWERED) && !moves(hold, WAITING, ANSWERED))
        return evb_fail(EVBUS_ENOENT, atomic_load(&hold->state) == TAKEN_BACK
                                          ? "the event was given back: another member gets it"
                                          : "the event is answered already");
    return post(hold, answer, delay_ms, event)
               ? 0
               : evb_fail(EVBUS_ECLOSED, "the bus is closed: another member gets the event");
}

/* Who lets it go without a word has not handled it. */
static void gone(struct evb_delivery *delivery)
{
    struct evb_hold *hold = hold_of(delivery);
    if (hold->bus->generation != evb_fork_generation())
        return;
    if (moves(hold, WAITING, ANSWERED))
        post(hold, EVB_ANSWER_NOT_CALLED, 0, NULL);
    else if (moves(hold, BEGUN, ANSWERED))
        post(hold, EVB_ANSWER_FAILED, -1, NULL);
    evb_hold_unref(hold);
}

static const struct evb_delivery_door door = {begin, answer_it, gone};

struct evb_hold *evb_hold_of(struct evbus *bus, const char *entry)
{
    struct evb_hold *hold = evb_calloc(1, sizeof *hold);
    if (!hold) {
        evb_fail_memory();
        return NULL;
    }
    snprintf(hold->entry, sizeof hold->entry, "%s", entry);
    atomic_init(&hold->refs, 1);
    atomic_init(&hold->state, TAKEN_BACK);
    evb_list_init(&hold->node);
    evb_bus_ref(bus);
    hold->bus = bus;
    hold->base.door = &door;
    return hold;
}

struct evb_hold *evb_hold_new(struct evbus *bus, evbus_event *event, const char *entry, int attempt,
                              void (*answered)(struct evb_hold *hold))
{
    struct evb_hold *hold = evb_hold_of(bus, entry);
    if (!hold)
        return NULL;
    atomic_store(&hold->refs, 2);
    atomic_store(&hold->state, WAITING);
    hold->base.attempt = attempt;
    hold->answered = answered;
    event->delivery = &hold->base;
    return hold;
}

void evb_hold_unref(struct evb_hold *hold)
{
    if (atomic_fetch_sub(&hold->refs, 1) != 1)
        return;
    evb_bus_unref(hold->bus);
    evb_free(hold);
}

bool evb_hold_take_back(struct evb_hold *hold, bool begun)
{
    return moves(hold, WAITING, TAKEN_BACK) || (begun && moves(hold, BEGUN, TAKEN_BACK));
}

bool evb_hold_has_begun(const struct evb_hold *hold)
{
    return atomic_load(&hold->state) != WAITING;
}

static int answer(evbus_event *event, enum evb_answer how, int64_t delay_ms, const char *call)
{
    if (!event)
        return evb_fail(EVBUS_EINVAL, "%s: no event (NULL)", call);
    if (!event->delivery)
        return evb_fail(EVBUS_EINVAL, "%s: the event is no delivery to a group (group=)", call);
    return event->delivery->door->answer(event, how, delay_ms);
}

int evbus_event_attempt(const evbus_event *event)
{
    if (!event)
        return evb_fail(EVBUS_EINVAL, "evbus_event_attempt: no event (NULL)");
    return event->delivery ? event->delivery->attempt : 1;
}

int evbus_event_ack(evbus_event *event)
{
    return answer(event, EVB_ANSWER_HANDLED, 0, "evbus_event_ack");
}

int evbus_event_nack(evbus_event *event, int delay_ms)
{
    if (delay_ms < -1)
        return evb_fail(EVBUS_EINVAL,
                        "evbus_event_nack: a delay of %d ms: 0 or more, -1 for "
                        "group.retry.delay",
                        delay_ms);
    return answer(event, EVB_ANSWER_FAILED, delay_ms, "evbus_event_nack");
}
