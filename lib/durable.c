/* durable.c - places in Redis, and the leases on them. Loop only, but for planning and waiting. */
#include "durable.h"
#include "alloc.h"
#include "clock.h"
#include "err.h"
#include "tally.h"
#include "wait.h"
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAVE_MS = 500, AGAIN_MS = 50, PASSING_MS = 200, IDLE_MS = 7 * 86400000 };

struct evb_durable {
    /* fixed after init */
    evbus_sub *sub;                /* borrowed: it owns this */
    char *key, *owner;             /* owned */
    evbus_event_fn fn;             /* the handler, for which the subscription's own keeps count */
    void (*pause)(evbus_sub *sub); /* nothing is to be delivered until it may begin again */

    /* loop only */
    struct evb_node node; /* among the bus's, which holds a reference to the subscription then */
    struct event *timer;  /* owned */
    int64_t timer_ms;     /* monotonic: when it fires; 0: it does not */
    struct evb_place place;
    bool begun;       /* it reads, or is live */
    bool leaving;     /* the last word to Redis is under way */
    int asked;        /* questions without their answer, the last word included */
    int64_t sent_ms;  /* CLOCK_BOOTTIME: when it asked */
    int64_t until_ms; /* and what was granted lasts so long */

    /* under the subscription's lock; its condition tells of changes */
    enum evb_durable_state state;
    char why[200];
};

static struct evbus *bus_of(const struct evb_durable *durable)
{
    return durable->sub->keeper;
}

static void enter(struct evb_durable *durable, enum evb_durable_state state, const char *why)
{
    pthread_mutex_lock(&durable->sub->lock);
    durable->state = state;
    if (why)
        snprintf(durable->why, sizeof durable->why, "%s", why);
    pthread_cond_broadcast(&durable->sub->ended);
    pthread_mutex_unlock(&durable->sub->lock);
}

/* ---- what handlers tell ---- */

void evb_durable_handled(evbus_sub *sub, struct evb_position at)
{
    if (!evb_position_is_none(at) && evb_tally_done(sub->tally, at))
        sub->roomy(sub->keeper);
}

static int call_counted(evbus_sub *sub, evbus_event *event, void *user)
{
    struct evb_position at = event->position;
    int rc = sub->durable->fn(sub, event, user);
    evb_durable_handled(sub, at);
    return rc;
}

/* ---- the lease ---- */

static void ask(struct evb_durable *durable, bool leave);

static int64_t lease_ms(const struct evb_durable *durable)
{
    return evb_config_number(bus_of(durable)->config, EVB_CFG_LEASE_TTL);
}

static void arm(struct evb_durable *durable, int64_t ms)
{
    struct timeval in = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    int64_t at_ms = evb_clock_mono_ms() + ms;
    if (durable->timer_ms && durable->timer_ms <= at_ms)
        return;
    durable->timer_ms = at_ms;
    event_add(durable->timer, &in);
}

/* The last of those that leave. */
static void tell_closed(struct evbus *bus)
{
    void (*done)(void *user) = bus->durables_done;
    EVB_LIST_EACH(&bus->durables, node)
    if (evb_container(node, struct evb_durable, node)->leaving)
        return;
    bus->durables_done = NULL;
    if (done)
        done(bus->durables_user);
}

static void let_go(struct evb_durable *durable)
{
    struct evbus *bus = bus_of(durable);
    evb_asks_forget(&bus->redis.asks, durable);
    event_del(durable->timer);
    evb_list_remove(&durable->node);
    evb_sub_unref(durable->sub);
    tell_closed(bus);
}

static void refuse(struct evb_durable *durable, const char *why, int64_t again_ms)
{
    bool first = durable->state != EVB_DURABLE_REFUSED;
    enter(durable, EVB_DURABLE_REFUSED, why);
    if (first)
        evb_log(&bus_of(durable)->log, EVBUS_LOG_WARNING, "%s: durable: %s",
                durable->sub->entry->pattern, durable->why);
    arm(durable, again_ms);
    if (durable->begun)
        durable->pause(durable->sub);
    durable->begun = false;
}

static void hold(struct evb_durable *durable, const struct evb_reply *reply)
{
    struct evb_place *place = &durable->place;
    if (!durable->begun) {
        snprintf(place->epoch, sizeof place->epoch, "%s", reply->item[2]->text);
        place->known = evb_position_read(reply->item[1]->text, reply->item[1]->length, &place->at);
    }
    durable->until_ms = durable->sent_ms + lease_ms(durable);
    enter(durable, EVB_DURABLE_HELD, NULL);
    arm(durable, lease_ms(durable) / 3);
    if (!durable->begun)
        durable->sub->roomy(bus_of(durable));
}

/* Redis will not right now (BUSY, ...): what it granted before lasts as long as it said. */
static void ask_again(struct evb_durable *durable, const char *why)
{
    bool lasts = durable->state == EVB_DURABLE_HELD && evb_clock_boot_ms() < durable->until_ms;
    if (lasts || durable->state == EVB_DURABLE_ASKED)
        arm(durable, PASSING_MS);
    else
        refuse(durable, why, PASSING_MS);
}

/* {1, place or "", epoch or ""} or {0, owner, ms left} */
static bool is_cursor(const struct evb_reply *reply)
{
    return reply->kind == EVB_REPLY_ARRAY && reply->count == 3 &&
           reply->item[0]->kind == EVB_REPLY_INTEGER && reply->item[1]->kind == EVB_REPLY_STRING &&
           reply->item[2]->kind == EVB_REPLY_STRING;
}

static void on_answer(const struct evb_reply *reply, void *user)
{
    struct evb_durable *durable = user;
    bool *known = &bus_of(durable)->redis.stream.known[EVB_SCRIPT_CURSOR];
    bool error = reply && reply->kind == EVB_REPLY_ERROR;
    char why[200];
    durable->asked--;
    if (error && !strncmp(reply->text, "NOSCRIPT", 8)) {
        *known = false;
        ask(durable, durable->leaving);
    } else if (durable->leaving) {
        if (durable->asked == 0)
            let_go(durable);
    } else if (!reply) {
        return; /* evb_durable_lost() follows */
    } else if (error && evb_stream_passes(reply->text)) {
        ask_again(durable, reply->text);
    } else if (!is_cursor(reply)) {
        refuse(durable, error ? reply->text : "no answer of the script", lease_ms(durable));
    } else if (reply->item[0]->integer == 1) {
        *known = true;
        hold(durable, reply);
    } else {
        snprintf(why, sizeof why, "%.64s holds it for another %.20s ms", reply->item[1]->text,
                 reply->item[2]->text);
        refuse(durable, why, strtoll(reply->item[2]->text, NULL, 10) + AGAIN_MS);
    }
}

static void ask(struct evb_durable *durable, bool leave)
{
    struct evbus *bus = bus_of(durable);
    struct evb_position handled = {0, 0};
    char place[EVB_POSITION_TEXT] = "";
    if (durable->begun) {
        evb_tally_read(durable->sub->tally, &handled);
        evb_position_write(handled, place);
    }
    const char *words[] = {durable->key, durable->owner, place,
                           durable->begun ? bus->redis.stream.facts.epoch : "",
                           leave ? "leave" : "stay"};
    if (durable->state == EVB_DURABLE_OPEN)
        enter(durable, EVB_DURABLE_ASKED, NULL);
    if (durable->asked == 0)
        durable->sent_ms = evb_clock_boot_ms();
    bool sent = evb_stream_cursor(&bus->redis.stream, &bus->redis.asks, words, lease_ms(durable),
                                  IDLE_MS, on_answer, durable);
    durable->leaving = sent && leave;
    durable->asked += sent;
}

/* ---- looking ---- */

static bool is_ready(const struct evbus *bus)
{
    return atomic_load(&bus->redis.state) == EVB_REDIS_READY &&
           evb_stream_is_on(&bus->redis.stream);
}

/* What was never for it is behind it, too, as far as the bus has heard. */
static void pass_others(struct evb_durable *durable)
{
    struct evb_recovery *recovery = &bus_of(durable)->redis.recovery;
    if (durable->begun && !atomic_load(&durable->sub->replaying) && !recovery->waiting &&
        !evb_recovery_running(recovery) && recovery->cursor.exact)
        evb_tally_pass(durable->sub->tally, evb_cursor_end(&recovery->cursor));
}

/* What is asked for may be granted yet. */
static void leave(struct evb_durable *durable)
{
    bool last_word =
        (durable->state == EVB_DURABLE_HELD || durable->asked > 0) && is_ready(bus_of(durable));
    if (durable->leaving)
        return;
    if (last_word)
        ask(durable, true);
    if (!durable->leaving)
        let_go(durable);
}

static void look_at(struct evb_durable *durable, bool due)
{
    if (atomic_load(&durable->sub->state) == EVB_SUB_ENDED) {
        leave(durable);
    } else if (!is_ready(bus_of(durable)) || durable->leaving) {
        return;
    } else if (durable->state == EVB_DURABLE_OPEN ||
               (durable->state == EVB_DURABLE_ASKED && durable->asked == 0 && due) ||
               (durable->state == EVB_DURABLE_REFUSED && due)) {
        ask(durable, false);
    } else if (durable->state == EVB_DURABLE_HELD && due) {
        pass_others(durable);
        ask(durable, false);
    } else if (durable->state == EVB_DURABLE_HELD && durable->begun) {
        arm(durable, SAVE_MS); /* something moved */
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct evb_durable *durable = arg;
    struct evb_loop *loop = &bus_of(durable)->loop;
    (void)fd;
    (void)what;
    evb_loop_begin(loop);
    durable->timer_ms = 0;
    look_at(durable, true);
    evb_loop_end(loop);
}

void evb_durable_look(struct evbus *bus)
{
    EVB_LIST_EACH(&bus->durables, node)
    look_at(evb_container(node, struct evb_durable, node), false);
}

void evb_durable_lost(struct evbus *bus)
{
    EVB_LIST_EACH(&bus->durables, node)
    {
        struct evb_durable *durable = evb_container(node, struct evb_durable, node);
        if (durable->leaving) {
            let_go(durable);
            continue;
        }
        event_del(durable->timer);
        durable->timer_ms = 0;
        enter(durable, EVB_DURABLE_OPEN, NULL);
        if (durable->begun)
            durable->pause(durable->sub);
        durable->begun = false;
    }
}

/* ---- beginning ---- */

int evb_durable_plan(evbus_sub *sub, const char *name, void (*pause)(evbus_sub *sub))
{
    static atomic_ulong number;
    struct evbus *bus = sub->keeper;
    struct evb_durable *durable = evb_calloc(1, sizeof *durable);
    struct evb_buf key, owner;
    if (!durable)
        return evb_fail_memory();
    evb_buf_init(&key);
    evb_buf_init(&owner);
    evb_buf_printf(&key, "%sdurable:{0}:%s", bus->redis.set.stream.key_prefix, name);
    evb_buf_printf(&owner, "%s-%lu", bus->node, atomic_fetch_add(&number, 1) + 1);
    evb_list_init(&durable->node);
    durable->sub = sub;
    durable->pause = pause;
    durable->key = evb_buf_take(&key);
    durable->owner = evb_buf_take(&owner);
    sub->durable = durable;
    sub->tally = evb_tally_new();
    if (!durable->key || !durable->owner || !sub->tally)
        return evb_fail_memory(); /* the subscription frees it */
    durable->fn = sub->fn;
    if (sub->fn && !sub->claims) /* which tell themselves what is handled */
        sub->fn = call_counted;
    return 0;
}

void evb_durable_free(struct evb_durable *durable)
{
    if (!durable)
        return;
    if (durable->timer)
        event_free(durable->timer);
    evb_free(durable->key);
    evb_free(durable->owner);
    evb_free(durable);
}

void evb_durable_begin(evbus_sub *sub)
{
    struct evb_durable *durable = sub->durable;
    struct evbus *bus = sub->keeper;
    durable->timer = event_new(bus->loop.base, -1, 0, on_timer, durable);
    if (!durable->timer) {
        enter(durable, EVB_DURABLE_REFUSED, "out of memory");
        return;
    }
    evb_sub_ref(sub);
    evb_list_push(&bus->durables, &durable->node);
    look_at(durable, false);
}

const struct evb_place *evb_durable_place(const struct evb_durable *durable)
{
    return durable->state == EVB_DURABLE_HELD ? &durable->place : NULL;
}

void evb_durable_resumed(struct evb_durable *durable)
{
    durable->begun = true;
    arm(durable, 0);
}

/* Where it begins is kept at once: after a restart it goes on from there, even if nothing came. */
void evb_durable_began(struct evb_durable *durable, struct evb_position at)
{
    evb_tally_start(durable->sub->tally, at);
    evb_durable_resumed(durable);
}

/* ---- the end ---- */

void evb_durable_close(struct evbus *bus, void (*done)(void *user), void *user)
{
    EVB_LIST_EACH(&bus->durables, node)
    leave(evb_container(node, struct evb_durable, node));
    bus->durables_done = done;
    bus->durables_user = user;
    tell_closed(bus);
}

void evb_durable_end_all(struct evbus *bus)
{
    EVB_LIST_EACH(&bus->durables, node)
    let_go(evb_container(node, struct evb_durable, node));
}

int evb_durable_wait(evbus_sub *sub, int timeout_ms)
{
    struct evb_durable *durable = sub->durable;
    int64_t deadline_ms = evb_deadline_ms(timeout_ms);
    int rc = 0;
    pthread_mutex_lock(&sub->lock);
    while (durable->state < EVB_DURABLE_HELD && atomic_load(&sub->state) == EVB_SUB_LIVE &&
           rc != ETIMEDOUT)
        rc = evb_cond_wait(&sub->ended, &sub->lock, deadline_ms);
    enum evb_durable_state state = durable->state;
    char why[sizeof durable->why];
    snprintf(why, sizeof why, "%s", durable->why);
    pthread_mutex_unlock(&sub->lock);
    if (atomic_load(&sub->state) != EVB_SUB_LIVE)
        return evb_fail(EVBUS_ECLOSED, "the subscription is over");
    if (state == EVB_DURABLE_REFUSED)
        return evb_fail(EVBUS_EDENIED, "durable: %s", why);
    if (state == EVB_DURABLE_HELD)
        return 0;
    return evb_fail(EVBUS_ETIMEDOUT, "durable: no answer of Redis within %d ms", timeout_ms);
}
