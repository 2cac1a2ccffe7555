/* replay.c - subscriptions that read the history. Loop only, but for planning and waking. */
#include "replay.h"
#include "alloc.h"
#include "durable.h"
#include "err.h"
#include "leader.h"
#include "poll.h"
#include "recover.h"
#include "replay_last.h"
#include <stdio.h>

enum { PAGE = 256 };

enum phase {
    PHASE_IDLE,    /* live */
    PHASE_PLANNED, /* waits for Redis */
    PHASE_LATEST,  /* from=last: what is behind these is read next */
    PHASE_READING
};

struct evb_replay {
    struct evb_job job;   /* begins it */
    struct evb_node node; /* among the bus's, which holds a reference to the subscription then */
    evbus_sub *sub;       /* borrowed: it owns this */
    struct evb_moment from;
    enum phase phase;
    bool lags;                  /* the subscription was told so */
    struct evb_position last;   /* had, or passed over */
    char epoch[EVB_EPOCH_TEXT]; /* of `last`; "": not known */
    struct evb_reader reader;
};

static struct evbus *bus_of(const struct evb_replay *replay)
{
    return replay->sub->keeper;
}

static bool is_over(const struct evb_replay *replay)
{
    return atomic_load(&replay->sub->state) != EVB_SUB_LIVE;
}

/* ---- what the reader brings ---- */

static struct evb_position just_before(struct evb_position at)
{
    return (struct evb_position){at.ms, at.n ? at.n - 1 : 0};
}

static void keep_epoch(struct evb_replay *replay)
{
    snprintf(replay->epoch, sizeof replay->epoch, "%s", replay->reader.epoch);
}

static void read_from(struct evb_replay *replay, struct evb_position at, bool exact)
{
    replay->phase = PHASE_READING;
    replay->last = at;
    evb_reader_start(&replay->reader, at, exact, replay->epoch);
}

static void on_jump(const struct evb_jump *jump, void *user)
{
    struct evb_replay *replay = user;
    struct evbus *bus = bus_of(replay);
    int64_t count;
    enum evb_loss loss =
        evb_loss_between(jump->from, jump->was, jump->to, jump->epoch, jump->begun, &count);
    bool gone = loss == EVB_LOSS_FLUSHED || loss == EVB_LOSS_ROLLED_BACK;
    int64_t to_ms =
        loss == EVB_LOSS_TRIMMED ? (int64_t)jump->to.ms : evb_recovery_now_ms(&bus->redis.recovery);
    struct evb_gap gap = {.cause = evb_loss_name(loss),
                          .reason = evb_loss_words(loss),
                          .from_ms = (int64_t)jump->from.ms,
                          .to_ms = to_ms,
                          .count = count,
                          .pattern = replay->sub->entry->pattern};
    snprintf(replay->epoch, sizeof replay->epoch, "%s", jump->epoch);
    evb_recover_gap(bus, &gap);
    if (gone) /* what follows is all new */
        read_from(replay, (struct evb_position){0, 0}, false);
    else
        read_from(replay, just_before(jump->to), true);
}

/* What a durable subscription or a leader is given, it has to say that it handled. `thread` NULL:
 * from the reader, else live. */
static bool offer_counted(evbus_sub *sub, evbus_event *event, unsigned how,
                          struct evb_thread *thread)
{
    struct evb_position at = event->position;
    enum evb_tally_gift gift = evb_tally_give(sub->tally, at);
    if (gift != EVB_TALLY_GIVEN)
        return gift == EVB_TALLY_BEGUN;
    evbus_event *own = sub->leader ? evb_leader_view(sub->leader, event) : evbus_event_ref(event);
    bool taken = own && (thread ? evb_sub_offer(sub, own, how, thread)
                                : evb_deliver_offer(sub->keeper, sub, own, how));
    if (!taken)
        evb_tally_take_back(sub->tally, at);
    evbus_event_unref(own);
    return taken;
}

static bool offer(evbus_sub *sub, evbus_event *event, unsigned how)
{
    if (!evb_sub_wants(sub, how))
        return true;
    return sub->tally ? offer_counted(sub, event, how, NULL)
                      : evb_deliver_offer(sub->keeper, sub, event, how);
}

/* False: no room; it comes again. */
static bool give(struct evb_replay *replay, evbus_event *event, unsigned how)
{
    if (offer(replay->sub, event, how))
        return true;
    keep_epoch(replay);
    read_from(replay, just_before(event->position), true);
    return false;
}

static void on_entry(struct evb_position at, const struct evb_reply *channel,
                     const struct evb_reply *envelope, void *user)
{
    struct evb_replay *replay = user;
    const evbus_sub *sub = replay->sub;
    unsigned how = EVB_FROM_REDIS | EVB_FROM_HISTORY | EVB_POSITIONED;
    replay->last = at;
    evbus_event *event = evb_route_entry_for(bus_of(replay), sub, at, channel, envelope, &how);
    if (event)
        give(replay, event, how);
    evbus_event_unref(event);
    if (is_over(replay))
        evb_reader_stop(&replay->reader);
}

static void on_held(evbus_event *event, void *user)
{
    struct evb_replay *replay = user;
    replay->last = event->position;
    unsigned how = EVB_FROM_REDIS | EVB_POSITIONED;
    give(replay, event, how | evb_route_is_self(bus_of(replay), event));
    if (is_over(replay))
        evb_reader_stop(&replay->reader);
}

static int64_t room(void *user)
{
    struct evb_replay *replay = user;
    return is_over(replay) ? 0 : evb_sub_room(replay->sub, PAGE);
}

static void go_live(struct evb_replay *replay)
{
    replay->phase = PHASE_IDLE;
    keep_epoch(replay);
    if (replay->lags)
        evb_sub_lag(replay->sub, false);
    replay->lags = false;
    evb_replay_wake(bus_of(replay));
}

static void on_live(void *user)
{
    go_live(user);
}

static void tell_refused(struct evb_replay *replay, const char *why, int64_t to_ms)
{
    struct evb_gap gap = {.cause = "refused",
                          .reason = why,
                          .from_ms = (int64_t)replay->last.ms,
                          .to_ms = to_ms,
                          .count = -1,
                          .pattern = replay->sub->entry->pattern};
    evb_recover_gap(bus_of(replay), &gap);
}

static void give_up(struct evb_replay *replay, const char *why)
{
    if (replay->sub->latest)
        evb_last_stop(replay->sub->latest);
    tell_refused(replay, why, evb_recovery_now_ms(&bus_of(replay)->redis.recovery));
    evb_reader_skip(&replay->reader);
}

static void on_failed(const char *error, void *user)
{
    give_up(user, error);
}

/* What types got since is behind the place of the latest. */
static void on_latest(const char *error, void *user)
{
    struct evb_replay *replay = user;
    const struct evb_last *latest = replay->sub->latest;
    if (!latest->placed) {
        give_up(replay, error);
        return;
    }
    if (error)
        tell_refused(replay, error, (int64_t)latest->at.ms);
    snprintf(replay->epoch, sizeof replay->epoch, "%s", latest->epoch);
    replay->last = latest->at;
    read_from(replay, latest->at, true);
}

static const struct evb_reader_hooks hooks = {on_entry, on_held, room, on_jump, on_live, on_failed};

/* ---- beginning and end ---- */

static struct evb_replay *replay_of(evbus_sub *sub)
{
    struct evbus *bus = sub->keeper;
    if (sub->replay)
        return sub->replay;
    struct evb_replay *replay = evb_calloc(1, sizeof *replay);
    if (!replay)
        return NULL;
    replay->sub = sub;
    evb_list_init(&replay->node);
    evb_reader_init(&replay->reader, &bus->redis.stream, &bus->redis.asks, &hooks, replay);
    return sub->replay = replay;
}

void evb_replay_free(struct evb_replay *replay)
{
    evb_free(replay);
}

static void look_after(struct evb_replay *replay)
{
    if (!evb_list_empty(&replay->node))
        return;
    evb_sub_ref(replay->sub);
    evb_list_push(&bus_of(replay)->replays, &replay->node);
    atomic_store(&replay->sub->replaying, true);
}

static void let_go(struct evb_replay *replay)
{
    evb_reader_stop(&replay->reader);
    if (replay->sub->latest)
        evb_last_stop(replay->sub->latest);
    evb_list_remove(&replay->node);
    atomic_store(&replay->sub->replaying, false);
    evb_sub_unref(replay->sub);
}

int evb_replay_plan(evbus_sub *sub, const struct evb_moment *from)
{
    struct evb_replay *replay = replay_of(sub);
    if (!replay)
        return evb_fail_memory();
    if (from->kind == EVB_MOMENT_LAST && !(sub->latest = evb_last_new(sub, on_latest, replay)))
        return evb_fail_memory();
    replay->from = *from;
    replay->phase = PHASE_PLANNED;
    return 0;
}

static void begin_job(struct evb_job *job)
{
    struct evb_replay *replay = evb_container(job, struct evb_replay, job);
    struct evbus *bus = bus_of(replay);
    look_after(replay);
    if (replay->sub->durable)
        evb_durable_begin(replay->sub);
    evb_sub_unref(replay->sub); /* the job's */
    evb_replay_look(bus);
}

void evb_replay_begin(evbus_sub *sub)
{
    sub->replay->job.run = begin_job;
    evb_sub_ref(sub);
    if (!evb_bus_post(sub->keeper, &sub->replay->job))
        evb_sub_unref(sub);
}

static void note_epoch(struct evb_replay *replay)
{
    snprintf(replay->epoch, sizeof replay->epoch, "%s",
             bus_of(replay)->redis.recovery.cursor.epoch);
}

/* Else it is a time, of which nobody knows how many entries came before. */
static bool is_counted(struct evb_position at)
{
    return at.n > 0 || at.ms == 0;
}

/* Behind the last fence, or when it was subscribed, whichever is later. */
static struct evb_position now_of(const struct evb_replay *replay)
{
    const struct evb_redis *redis = &bus_of(replay)->redis;
    int64_t made_ms = evb_recovery_server_ms(&redis->recovery, replay->sub->created_ms);
    struct evb_position made = {(uint64_t)made_ms, 0}, last = redis->stream.facts.last;
    return evb_position_compare(made, last) > 0 ? made : last;
}

/* Where a durable subscription goes on: where it was, here or elsewhere; else where it was asked to
 * begin. False: it may not yet. */
static bool find_place(struct evb_replay *replay, struct evb_position *at, bool *exact)
{
    struct evb_durable *durable = replay->sub->durable;
    const struct evb_place *place = evb_durable_place(durable);
    if (!place)
        return false;
    if (!evb_position_is_none(replay->last) && evb_position_compare(place->at, replay->last) <= 0) {
        *at = replay->last;
        *exact = is_counted(*at);
        evb_durable_resumed(durable); /* what it was given may wait for its handler yet */
        return true;
    }
    if (place->known) {
        *at = place->at;
        *exact = is_counted(*at);
        snprintf(replay->epoch, sizeof replay->epoch, "%s", place->epoch);
    } else {
        note_epoch(replay);
        if (replay->from.kind == EVB_MOMENT_NOW) {
            *at = now_of(replay);
            *exact = is_counted(*at);
        }
    }
    evb_durable_began(durable, *at);
    return true;
}

/* The same where a leader begins. */
static bool find_led_place(struct evb_replay *replay, struct evb_position *at, bool *exact)
{
    struct evb_leader *leader = replay->sub->leader;
    const char *epoch = "";
    switch (evb_leader_place(leader, at, &epoch)) {
    case EVB_PLACE_NONE:
        return false;
    case EVB_PLACE_ONWARD:
        *at = replay->last;
        break;
    case EVB_PLACE_KEPT:
        if (epoch[0])
            snprintf(replay->epoch, sizeof replay->epoch, "%s", epoch);
        break;
    case EVB_PLACE_NEW:
        if (replay->from.kind == EVB_MOMENT_NOW)
            *at = now_of(replay);
        break;
    }
    *exact = is_counted(*at);
    evb_leader_began(leader, *at);
    return true;
}

static void pause(evbus_sub *sub)
{
    struct evb_replay *replay = sub->replay;
    if (replay->phase == PHASE_READING)
        keep_epoch(replay);
    evb_reader_stop(&replay->reader);
    replay->phase = PHASE_PLANNED;
    look_after(replay);
}

int evb_replay_keep(evbus_sub *sub, const char *name)
{
    return evb_durable_plan(sub, name, pause);
}

int evb_replay_lead(evbus_sub *sub, const char *name, bool away_last)
{
    return evb_leader_plan(sub, name, away_last, pause);
}

static void start(struct evb_replay *replay)
{
    const struct evb_moment *from = &replay->from;
    struct evb_position at = {0, 0};
    if (from->kind == EVB_MOMENT_TIME || from->kind == EVB_MOMENT_POSITION)
        at = (struct evb_position){(uint64_t)from->ms, from->n};
    bool exact = from->kind == EVB_MOMENT_POSITION;
    if (!replay->sub->durable && !replay->sub->leader)
        note_epoch(replay);
    if ((replay->sub->durable && !find_place(replay, &at, &exact)) ||
        (replay->sub->leader && !find_led_place(replay, &at, &exact)))
        return;
    read_from(replay, at, exact);
}

/* One that was planned begins when its channel is confirmed: what comes from then on is heard.
 * Where the history ends is asked at once: what this bus publishes from now on is behind it. */
static void look_at(struct evb_replay *replay)
{
    struct evbus *bus = bus_of(replay);
    const struct evb_via *via = replay->sub->entry->via;
    bool ready = atomic_load(&bus->redis.state) == EVB_REDIS_READY;
    if (is_over(replay) || replay->phase == PHASE_IDLE) {
        let_go(replay);
    } else if (ready && !evb_stream_is_on(&bus->redis.stream) && replay->sub->leader) {
        evb_reader_skip(&replay->reader); /* who leads is polled instead */
    } else if (ready && !evb_stream_is_on(&bus->redis.stream)) {
        give_up(replay, "the history is not kept: evbus_health_json() says why");
    } else if (ready && replay->phase == PHASE_READING) {
        evb_reader_go(&replay->reader);
    } else if (ready && replay->phase == PHASE_LATEST) {
        evb_last_go(replay->sub->latest);
    } else if (ready && replay->sub->latest) {
        replay->phase = PHASE_LATEST;
        evb_last_start(replay->sub->latest);
    } else if (ready && via && via->wire == EVB_WIRE_LIVE) {
        start(replay);
    }
}

void evb_replay_look(struct evbus *bus)
{
    EVB_LIST_EACH(&bus->replays, node)
    look_at(evb_container(node, struct evb_replay, node));
}

static void look_job(struct evb_job *job)
{
    struct evbus *bus = evb_container(job, struct evbus, replay_job);
    atomic_store(&bus->replay_posted, false);
    evb_durable_look(bus);
    evb_leader_look(bus);
    evb_poll_look(bus);
    evb_replay_look(bus);
    evb_bus_unref(bus);
}

void evb_replay_wake(void *keeper)
{
    struct evbus *bus = keeper;
    if (atomic_exchange(&bus->replay_posted, true))
        return;
    bus->replay_job.run = look_job;
    evb_bus_ref(bus);
    if (!evb_bus_post(bus, &bus->replay_job))
        evb_bus_unref(bus);
}

void evb_replay_end_all(struct evbus *bus)
{
    EVB_LIST_EACH(&bus->replays, node)
    let_go(evb_container(node, struct evb_replay, node));
}

/* ---- what comes live ---- */

/* There is no room for this one: it and what follows will be read. */
static void fall_behind(evbus_sub *sub, struct evb_position at)
{
    struct evb_replay *replay = replay_of(sub);
    if (!replay) {
        atomic_fetch_add_explicit(&sub->dropped, 1, memory_order_relaxed);
        evb_count(sub->metrics, EVB_COUNT_dropped, 1);
        return;
    }
    replay->lags = true;
    note_epoch(replay);
    evb_sub_lag(sub, true);
    look_after(replay);
    read_from(replay, just_before(at), true);
}

static void note_had(struct evb_replay *replay, struct evb_position at)
{
    if (at.n <= replay->last.n) /* the count began anew: it is another history */
        replay->epoch[0] = '\0';
    replay->last = at;
}

bool evb_replay_take(evbus_sub *sub, evbus_event *event, unsigned how, struct evb_thread *thread)
{
    struct evb_replay *replay = sub->replay;
    if (replay && replay->phase != PHASE_IDLE) {
        evb_reader_hold(&replay->reader, event); /* or the next page has it */
        return false;
    }
    if (replay && evb_position_compare(event->position, replay->last) <= 0)
        return false; /* it read that already */
    if (replay)
        note_had(replay, event->position);
    if (!evb_sub_wants(sub, how))
        return false;
    bool blind = sub->leader && !evb_leader_has_begun(sub->leader); /* no history is read here */
    if (blind || (sub->fifo.full != EVB_FULL_LAG && !sub->tally))
        evb_sub_deliver(sub, event, how & ~(unsigned)EVB_GIVEN, thread);
    else if (!(sub->tally ? offer_counted(sub, event, how, thread)
                          : evb_sub_offer(sub, event, how, thread)))
        fall_behind(sub, event->position);
    return false;
}
