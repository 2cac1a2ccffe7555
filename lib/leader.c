/* leader.c - what stands before a leader's handler, and where it goes on. Handlers: their threads;
 * turns and places: loop. */
#include "leader.h"
#include "alloc.h"
#include "clock.h"
#include "err.h"
#include "poll.h"
#include "wait.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OWN_MOST = 100000 }; /* own events remembered, if as many may wait for Redis */
enum start { /* where the term begins */ START_ONWARD, START_AGAIN, START_AT_PLACE };
enum role { ROLE_OPEN, ROLE_LEADS, ROLE_FOLLOWS, ROLE_REFUSED };

struct evb_leader {
    /* fixed after init */
    struct evb_job job; /* begins it */
    evbus_event_fn fn;  /* the handler, before which this one's own stands */
    void (*pause)(evbus_sub *sub);
    bool away_last;

    /* any thread */
    struct evb_lease *_Atomic lease; /* ref; NULL: not joined yet */
    _Atomic uint64_t term;           /* of what is given now; never 0 */
    atomic_bool torn;                /* one of this term was let go: so is all behind it */
    atomic_bool remembers;           /* `own` is there */

    /* under own_lock (a leaf) */
    pthread_mutex_t own_lock;
    struct evb_seen own; /* ids of own events that were handled: they may come by two ways */

    /* loop only */
    struct evb_lease_member member;
    struct evb_lease *candidate; /* owned, until it joins */
    bool begun;                  /* it is given events of the term */
    enum start start;
    bool known; /* AT_PLACE: `place` is one */
    struct evb_position place;
    char epoch[EVB_EPOCH_TEXT];

    /* under the subscription's lock; its condition tells of changes */
    enum role role;
    char why[200];
};

static struct evb_leader *leader_of(struct evb_lease_member *member)
{
    return evb_container(member, struct evb_leader, member);
}

static struct evbus *bus_of(const struct evb_leader *leader)
{
    return leader->member.sub->keeper;
}

/* ---- before a handler ---- */

static int not_leading(const evbus_sub *sub)
{
    evb_count(sub->metrics, EVB_COUNT_not_leading, 1);
    return EVB_CALL_NONE;
}

/* The first of the two ways that an own event comes after an outage (away=last) is the one. */
static bool comes_first(struct evb_leader *leader, const evbus_event *event)
{
    const struct evbus *bus = bus_of(leader);
    if (!atomic_load(&leader->remembers) || !event->node.ptr ||
        strcmp(event->node.ptr, bus->node) != 0 || evb_poll_is(event))
        return true;
    const char *id = evbus_event_id(event);
    pthread_mutex_lock(&leader->own_lock);
    bool first = evb_seen_id(&leader->own, id, strlen(id), evb_clock_rough_ms());
    pthread_mutex_unlock(&leader->own_lock);
    return first;
}

static void handled(evbus_sub *sub, struct evb_position at)
{
    if (evb_tally_done(sub->tally, at))
        sub->roomy(sub->keeper);
}

/* What follows one that was let go is let go, too, and all of it given again, in order. */
static void tear(evbus_sub *sub, struct evb_position at)
{
    evb_tally_unbegin(sub->tally, at);
    if (!atomic_exchange(&sub->leader->torn, true))
        sub->roomy(sub->keeper);
}

/* Given by evb_leader_view(). */
static int call_in_term(evbus_sub *sub, evbus_event *event, void *user)
{
    struct evb_leader *leader = sub->leader;
    struct evb_position at = event->position;
    int rc = EVB_CALL_NONE;
    if (event->term != atomic_load(&leader->term) || atomic_load(&leader->torn))
        return not_leading(sub);
    if (!evb_tally_begin(sub->tally, at))
        return EVB_CALL_NONE;
    if (!evb_lease_live(atomic_load(&leader->lease))) {
        tear(sub, at);
        return not_leading(sub);
    }
    if (comes_first(leader, event))
        rc = leader->fn(sub, event, user);
    handled(sub, at);
    return rc;
}

static bool may_begin(const struct evb_leader *leader, const struct evb_lease *lease)
{
    return evb_lease_live(lease) || (leader->away_last && atomic_load(&lease->last_holder));
}

static evbus_event *view(const struct evb_lease *lease, evbus_event *event, uint64_t term)
{
    char fence[24];
    snprintf(fence, sizeof fence, "%lld", (long long)atomic_load(&lease->fence));
    return evb_event_view(event, EVB_ATTR_FENCE, fence, term);
}

/* One without a place in the history: it is handled by who leads when it comes, or by nobody. */
static int call_now(evbus_sub *sub, evbus_event *event, void *user)
{
    struct evb_leader *leader = sub->leader;
    const struct evb_lease *lease = atomic_load(&leader->lease);
    int rc = EVB_CALL_NONE;
    if (!lease || !may_begin(leader, lease))
        return not_leading(sub);
    evbus_event *own = view(lease, event, 0);
    if (!own) {
        evb_count(sub->metrics, EVB_COUNT_dropped, 1);
        return EVB_CALL_NONE;
    }
    if (!may_begin(leader, lease))
        rc = not_leading(sub);
    else if (comes_first(leader, event))
        rc = leader->fn(sub, own, user);
    evbus_event_unref(own);
    return rc;
}

/* The fn of those that have a leader's name. */
static int call_led(evbus_sub *sub, evbus_event *event, void *user)
{
    return event->term ? call_in_term(sub, event, user) : call_now(sub, event, user);
}

evbus_event *evb_leader_view(struct evb_leader *leader, evbus_event *event)
{
    return view(atomic_load(&leader->lease), event, atomic_load(&leader->term));
}

/* ---- turns ---- */

static void enter(struct evb_leader *leader, enum role role)
{
    evbus_sub *sub = leader->member.sub;
    const struct evb_lease *lease = atomic_load(&leader->lease);
    atomic_store(&sub->leading, role == ROLE_LEADS ? atomic_load(&lease->fence) : 0);
    pthread_mutex_lock(&sub->lock);
    leader->role = role;
    if (role == ROLE_REFUSED)
        snprintf(leader->why, sizeof leader->why, "%s", lease->why);
    pthread_cond_broadcast(&sub->ended);
    pthread_mutex_unlock(&sub->lock);
}

static void take_own(struct evb_leader *leader, bool on)
{
    evbus_sub *sub = leader->member.sub;
    if (on)
        atomic_fetch_or(&sub->scope, EVB_FROM_KEPT);
    else if (sub->by_position)
        atomic_fetch_and(&sub->scope, ~EVB_FROM_KEPT);
}

/* This process's events come at once now, and by their position later. */
static void go_on_alone(struct evb_leader *leader)
{
    struct evbus *bus = bus_of(leader);
    size_t window = (size_t)evb_config_number(bus->config, EVB_CFG_OUTBOX_EVENTS);
    if (!leader->away_last || !leader->member.sub->by_position)
        return;
    if (!atomic_load(&leader->remembers)) {
        window = window < OWN_MOST ? window : OWN_MOST;
        if (evb_seen_init(&leader->own, window, INT64_MAX) != 0) {
            evb_log(&bus->log, EVBUS_LOG_ERROR, "%s: away=last: out of memory",
                    leader->member.sub->entry->pattern);
            return;
        }
        atomic_store(&leader->remembers, true);
    }
    take_own(leader, true);
}

static void pause_it(struct evb_leader *leader)
{
    leader->begun = false;
    if (leader->pause)
        leader->pause(leader->member.sub);
}

/* What is left over from the term is handled no more. */
static void end_term(struct evb_leader *leader)
{
    atomic_fetch_add(&leader->term, 1);
    atomic_store(&leader->torn, false);
    pause_it(leader);
}

static bool reads(const struct evb_leader *leader)
{
    return leader->pause && evb_stream_is_on(&bus_of(leader)->redis.stream);
}

static void gain(struct evb_leader *leader)
{
    const char *placed = leader->member.placed, *space = strchr(placed, ' ');
    int64_t before_us = atomic_load(&leader->lease)->before_us;
    size_t length = space ? (size_t)(space - placed) : 0;
    leader->start = START_AT_PLACE;
    leader->known = evb_position_read(placed, length, &leader->place);
    snprintf(leader->epoch, sizeof leader->epoch, "%s", leader->known ? space + 1 : "");
    take_own(leader, false);
    enter(leader, ROLE_LEADS);
    if (leader->pause)
        leader->member.sub->roomy(bus_of(leader));
    evb_poll_leads(leader->member.sub, !reads(leader), before_us ? before_us : evb_clock_us());
}

static void go_on(struct evb_leader *leader)
{
    evbus_sub *sub = leader->member.sub;
    if (atomic_load(&leader->torn)) {
        end_term(leader);
        leader->start = leader->start == START_AT_PLACE ? START_AT_PLACE : START_AGAIN;
    }
    take_own(leader, false);
    enter(leader, ROLE_LEADS);
    if (!leader->begun && leader->pause)
        sub->roomy(sub->keeper);
    evb_poll_leads(sub, false, 0);
}

static void turn(struct evb_lease_member *member, enum evb_lease_turn turn)
{
    struct evb_leader *leader = leader_of(member);
    const struct evb_lease *lease = atomic_load(&leader->lease);
    switch (turn) {
    case EVB_TURN_GAINING:
        end_term(leader);
        break;
    case EVB_TURN_GAINED:
        gain(leader);
        break;
    case EVB_TURN_GOES_ON:
        go_on(leader);
        break;
    case EVB_TURN_FOLLOWS:
    case EVB_TURN_REFUSED:
        end_term(leader);
        take_own(leader, false);
        evb_poll_follows(member->sub);
        enter(leader, turn == EVB_TURN_FOLLOWS ? ROLE_FOLLOWS : ROLE_REFUSED);
        break;
    case EVB_TURN_AWAY:
        pause_it(leader);
        if (atomic_load(&lease->last_holder))
            go_on_alone(leader);
        if (!evb_lease_live(lease))
            enter(leader, ROLE_OPEN);
        break;
    case EVB_TURN_ENDED:
        enter(leader, ROLE_OPEN);
        break;
    }
}

/* ---- places ---- */

/* What is not for it is behind it, too, as far as the bus has heard. */
static void pass_others(const struct evb_leader *leader)
{
    const evbus_sub *sub = leader->member.sub;
    struct evb_recovery *recovery = &bus_of(leader)->redis.recovery;
    if (!atomic_load(&sub->replaying) && !recovery->waiting && !evb_recovery_running(recovery) &&
        recovery->cursor.exact)
        evb_tally_pass(sub->tally, evb_cursor_end(&recovery->cursor));
}

static bool place(struct evb_lease_member *member, char *out, size_t room)
{
    struct evb_leader *leader = leader_of(member);
    struct evb_position handled;
    char text[EVB_POSITION_TEXT];
    if (!leader->begun)
        return false;
    pass_others(leader);
    evb_tally_read(member->sub->tally, &handled);
    evb_position_write(handled, text);
    snprintf(out, room, "%s %s", text, bus_of(leader)->redis.stream.facts.epoch);
    return true;
}

enum evb_leader_place evb_leader_place(struct evb_leader *leader, struct evb_position *at,
                                       const char **epoch)
{
    const struct evb_lease *lease = atomic_load(&leader->lease);
    if (!lease || lease->state != EVB_LEASE_LEADS || leader->begun || !leader->member.leads)
        return EVB_PLACE_NONE;
    if (leader->start == START_ONWARD)
        return EVB_PLACE_ONWARD;
    *at = leader->place;
    *epoch = leader->epoch;
    if (leader->start == START_AT_PLACE)
        return leader->known ? EVB_PLACE_KEPT : EVB_PLACE_NEW;
    evb_tally_read(leader->member.sub->tally, at);
    *epoch = "";
    return EVB_PLACE_KEPT;
}

/* Where it begins is kept at once: whoever comes next goes on from there, even if nothing came. */
void evb_leader_began(struct evb_leader *leader, struct evb_position at)
{
    if (leader->start == START_AT_PLACE)
        evb_tally_start(leader->member.sub->tally, at);
    leader->start = START_ONWARD;
    leader->begun = true;
    evb_lease_save(atomic_load(&leader->lease));
}

bool evb_leader_has_begun(const struct evb_leader *leader)
{
    return leader->begun;
}

/* Let go when the lease had ended, and it is renewed since. */
static void look_at(struct evb_leader *leader)
{
    const struct evb_lease *lease = atomic_load(&leader->lease);
    if (atomic_load(&leader->torn) && leader->member.leads && evb_lease_live(lease))
        go_on(leader);
}

void evb_leader_look(struct evbus *bus)
{
    evb_lease_look(bus);
    EVB_LIST_EACH(&bus->leases, lease)
    EVB_LIST_EACH(&evb_container(lease, struct evb_lease, node)->members, node)
    look_at(leader_of(evb_container(node, struct evb_lease_member, node)));
}

/* ---- beginning and end ---- */

int evb_leader_plan(evbus_sub *sub, const char *name, bool away_last, void (*pause)(evbus_sub *))
{
    struct evb_leader *leader = evb_calloc(1, sizeof *leader);
    if (!leader)
        return evb_fail_memory();
    pthread_mutex_init(&leader->own_lock, NULL);
    atomic_init(&leader->term, 1);
    evb_list_init(&leader->member.node);
    leader->member.sub = sub;
    leader->member.turn = turn;
    leader->member.place = place;
    leader->pause = pause;
    leader->away_last = away_last;
    leader->candidate = evb_lease_new(sub->keeper, name);
    sub->leader = leader;
    sub->tally = pause ? evb_tally_new() : NULL;
    if (!leader->candidate || (pause && !sub->tally))
        return evb_fail_memory(); /* the subscription frees it */
    leader->fn = sub->fn;
    sub->fn = call_led;
    sub->guarded = true;
    return 0;
}

void evb_leader_free(struct evb_leader *leader)
{
    if (!leader)
        return;
    if (atomic_load(&leader->remembers))
        evb_seen_fini(&leader->own);
    pthread_mutex_destroy(&leader->own_lock);
    evb_lease_unref(atomic_load(&leader->lease));
    evb_lease_unref(leader->candidate);
    evb_free(leader->member.name);
    evb_free(leader);
}

static void begin_job(struct evb_job *job)
{
    struct evb_leader *leader = evb_container(job, struct evb_leader, job);
    struct evbus *bus = bus_of(leader);
    evbus_sub *sub = leader->member.sub;
    if (atomic_load(&sub->state) == EVB_SUB_LIVE && atomic_load(&bus->state) != EVB_BUS_CLOSED) {
        struct evb_lease *lease = evb_lease_join(leader->candidate, &leader->member);
        leader->candidate = NULL;
        atomic_store(&leader->lease, lease);
        if (lease)
            evb_lease_joined(lease, &leader->member);
        else
            evb_log(&bus->log, EVBUS_LOG_ERROR, "%s: leader: out of memory", sub->entry->pattern);
    }
    evb_sub_unref(sub); /* the job's */
}

void evb_leader_begin(evbus_sub *sub)
{
    sub->leader->job.run = begin_job;
    evb_sub_ref(sub);
    if (!evb_bus_post(sub->keeper, &sub->leader->job))
        evb_sub_unref(sub);
}

int evb_leader_wait(evbus_sub *sub, int timeout_ms)
{
    struct evb_leader *leader = sub->leader;
    int64_t deadline_ms = evb_deadline_ms(timeout_ms);
    char why[sizeof leader->why];
    int rc = 0;
    pthread_mutex_lock(&sub->lock);
    while (leader->role == ROLE_OPEN && atomic_load(&sub->state) == EVB_SUB_LIVE && rc != ETIMEDOUT)
        rc = evb_cond_wait(&sub->ended, &sub->lock, deadline_ms);
    enum role role = leader->role;
    snprintf(why, sizeof why, "%s", leader->why);
    pthread_mutex_unlock(&sub->lock);
    if (atomic_load(&sub->state) != EVB_SUB_LIVE)
        return evb_fail(EVBUS_ECLOSED, "the subscription is over");
    if (role == ROLE_REFUSED)
        return evb_fail(EVBUS_EDENIED, "leader: %s", why);
    if (role != ROLE_OPEN)
        return 0;
    return evb_fail(EVBUS_ETIMEDOUT, "leader: nobody answered within %d ms who leads", timeout_ms);
}
