/* claim_sub.c - what becomes of a subscription's events, by what Redis answers. Loop only. */
#include "claim_sub.h"
#include "alloc.h"
#include "claim_event.h"
#include "clock.h"
#include "err.h"
#include <stdio.h>
#include <string.h>

/* So few are held ahead of the handler, or two for each worker: what waits longer is anybody's. */
enum { AHEAD = 64 };
enum { FIRST_MS = 40 };                 /* looked at again after 40, 80, ... 5120 ms */
enum { PASSING_LEVEL = 3 };             /* when Redis will not right now: 320 ms */
enum { TRIES_MOST = 3, TRY_LEVEL = 4 }; /* of one event whose handler fails: after 1.3, 2.6 s */
enum { SAY_AGAIN_MS = 200, COMPLAIN_MS = 1000 };

static struct evbus *bus_of(const struct evb_claim_sub *claims)
{
    return claims->sub->keeper;
}

static struct evb_claim_sub *sub_of(const struct evb_node *node)
{
    return evb_container(node, struct evb_claim_sub, node);
}

static bool is_live(const struct evb_claim_sub *claims)
{
    return atomic_load(&claims->sub->state) == EVB_SUB_LIVE;
}

static bool is_closing(const struct evb_claim_sub *claims)
{
    return atomic_load(&bus_of(claims)->claims->closing);
}

static void count(const struct evb_claim_sub *claims, enum evb_counter counter)
{
    evb_count(&bus_of(claims)->metrics, counter, 1);
}

static void on_lease(struct evb_key_lease *lease, const struct evb_key_lease_answer *answer);

static bool ask(struct evb_claim *claim, enum evb_key_lease_verb verb)
{
    struct evb_claim_sub *claims = claim->claims;
    claim->lease.fn = on_lease;
    claim->lease.ttl_ms = verb == EVB_KEY_LEASE_DONE ? claims->keep_ms : claims->lease_ms;
    return evb_key_lease_ask(&bus_of(claims)->claims->leases, &claim->lease, verb);
}

/* ---- the end of a claim ---- */

/* Redis is to be told. */
static void settle(struct evb_claim *claim, enum evb_key_lease_verb want)
{
    claim->want = want;
    claim->said = false;
    claim->due_ms = 0;
    if (claim->state != EVB_CLAIM_SETTLING)
        evb_claim_move(claim, EVB_CLAIM_SETTLING);
    if (want == EVB_KEY_LEASE_DONE)
        evb_claim_spend(claim);
}

static void tell_lapsed(struct evb_claim *claim)
{
    struct evb_claim_sub *claims = claim->claims;
    int64_t now_ms = evb_clock_boot_ms();
    if (claim->lapsed || claim->unclaimed)
        return;
    claim->lapsed = true;
    count(claims, EVB_COUNT_claims_lapsed);
    if (claims->complained_ms && now_ms - claims->complained_ms < COMPLAIN_MS)
        return;
    claims->complained_ms = now_ms;
    evb_log(&bus_of(claims)->log, EVBUS_LOG_WARNING,
            "%s: %s ran out while its handler ran: another process may have handled the event as "
            "well (lease.ttl; a handler on the loop keeps the lease from being renewed: "
            "deliver=workers)",
            claims->sub->entry->pattern, claim->key);
}

/* It is not handled here any more. What is nobody else's either is told, unless the subscription
 * has ended. */
static void leave(struct evb_claim *claim)
{
    struct evb_claim_sub *claims = claim->claims;
    bool lost = is_live(claims) && !claim->seen;
    unsigned how = claim->how;
    evb_claim_finish(claim, false);
    if (lost)
        evb_sub_held_dropped(claims->sub, 1, how);
}

/* Somebody has it, or had it: it is looked at again, sooner where that lease ends sooner. */
static void wait(struct evb_claim *claim, int level, int64_t left_ms)
{
    struct evb_claim_sub *claims = claim->claims;
    if (is_closing(claims) || !is_live(claims)) {
        leave(claim);
        return;
    }
    level = level < EVB_CLAIM_LEVELS ? level : EVB_CLAIM_LEVELS - 1;
    while (level > 0 && left_ms >= 0 && (int64_t)FIRST_MS << level > left_ms)
        level--;
    claim->level = level;
    claim->due_ms = evb_clock_boot_ms() + ((int64_t)FIRST_MS << level);
    evb_claim_move(claim, EVB_CLAIM_WAITING);
}

static void settled(struct evb_claim *claim, const struct evb_key_lease_answer *answer)
{
    bool ours = answer->result == EVB_KEY_LEASE_OK && !answer->was_free;
    if (answer->result == EVB_KEY_LEASE_PASSES) {
        claim->due_ms = evb_clock_boot_ms() + SAY_AGAIN_MS;
        return;
    }
    if (answer->result == EVB_KEY_LEASE_LOST) {
        claim->said = true; /* the answer to this may have been the good one */
        return;
    }
    if (answer->result <= EVB_KEY_LEASE_OVER && !ours && !claim->said && claim->rc != EVB_CALL_NONE)
        tell_lapsed(claim);
    if (claim->rc == EVB_CALL_FAILED && ++claim->tries < TRIES_MOST && !claim->unclaimed)
        wait(claim, TRY_LEVEL + claim->tries, -1);
    else
        evb_claim_finish(claim, claim->rc != EVB_CALL_NONE);
}

/* Its handler has returned. */
static void take_result(struct evb_claim *claim)
{
    if (claim->rc == EVB_CLAIM_LATE) {
        claim->unclaimed = false;
        if (claim->lease.verb == EVB_KEY_LEASE_NONE)
            evb_claim_move_back(claim);
        else /* what is asked for stays until the answer: what waits may give way */
            evb_claim_move(claim, EVB_CLAIM_ASKED);
    } else if (claim->rc == 0) {
        settle(claim, EVB_KEY_LEASE_DONE);
    } else if (claim->unclaimed && claim->lease.verb == EVB_KEY_LEASE_NONE) {
        evb_claim_finish(claim, claim->rc == EVB_CALL_FAILED);
    } else {
        settle(claim, EVB_KEY_LEASE_RELEASE);
    }
}

/* ---- answers ---- */

static void hand_over(struct evb_claim *claim, int64_t until_ms)
{
    if (evb_claim_hand_over(claim, until_ms))
        return;
    claim->rc = EVB_CALL_NONE;
    settle(claim, EVB_KEY_LEASE_RELEASE);
}

static void won(struct evb_claim *claim)
{
    count(claim->claims, EVB_COUNT_claims_won);
    if (claim->seen)
        count(claim->claims, EVB_COUNT_claims_taken_over);
    if (is_live(claim->claims)) {
        hand_over(claim, claim->lease.until_ms);
        return;
    }
    claim->rc = EVB_CALL_NONE;
    settle(claim, EVB_KEY_LEASE_RELEASE);
}

/* Without a claim: claim.away=run. */
static void run_unclaimed(struct evb_claim *claim)
{
    claim->unclaimed = true;
    hand_over(claim, INT64_MAX);
}

static void refused(struct evb_claim *claim, const char *error)
{
    evb_claims_refused(bus_of(claim->claims), error);
    if (claim->claims->away == EVB_AWAY_RUN)
        run_unclaimed(claim);
    else if (claim->claims->away == EVB_AWAY_SKIP)
        evb_claim_drop(claim);
    else
        wait(claim, EVB_CLAIM_LEVELS, -1);
}

static void taken(struct evb_claim *claim, const struct evb_key_lease_answer *answer)
{
    switch (answer->result) {
    case EVB_KEY_LEASE_OK:
        won(claim);
        break;
    case EVB_KEY_LEASE_OTHERS:
        claim->seen = true;
        wait(claim, claim->level + (claim->due_ms != 0), answer->left_ms);
        break;
    case EVB_KEY_LEASE_OVER:
        count(claim->claims, EVB_COUNT_claims_lost);
        evb_claim_finish(claim, true);
        break;
    case EVB_KEY_LEASE_PASSES:
        wait(claim, PASSING_LEVEL, -1);
        break;
    case EVB_KEY_LEASE_REFUSED:
        refused(claim, answer->error);
        break;
    case EVB_KEY_LEASE_LOST:
        evb_claim_move_back(claim);
    }
}

/* HELD and later: a handler that has not begun is kept from it, where the lease is somebody's. */
static void renewed(struct evb_claim *claim, const struct evb_key_lease_answer *answer, bool began)
{
    bool others = answer->result == EVB_KEY_LEASE_OTHERS || answer->result == EVB_KEY_LEASE_OVER;
    bool ours = answer->result == EVB_KEY_LEASE_OK, passes = answer->result == EVB_KEY_LEASE_PASSES;
    if (ours || others)
        evb_claim_set_until(claim, ours ? claim->lease.until_ms : 0);
    if (began && (others || (ours && answer->was_free)))
        tell_lapsed(claim);
    claim->unclaimed = claim->unclaimed && !ours;
    if (claim->unclaimed && (passes || answer->result == EVB_KEY_LEASE_LOST)) {
        claim->asked = false;
        claim->due_ms = passes ? evb_clock_boot_ms() + SAY_AGAIN_MS : 0;
    }
}

static void on_lease(struct evb_key_lease *lease, const struct evb_key_lease_answer *answer)
{
    struct evb_claim *claim = evb_container(lease, struct evb_claim, lease);
    struct evb_claim_sub *claims = claim->claims;
    enum evb_claim_state state = evb_claim_state_of(claim);
    evb_claim_post(claims); /* what comes next */
    if (state == EVB_CLAIM_ASKED)
        taken(claim, answer);
    else if (state == EVB_CLAIM_SETTLING && answer->verb == claim->want)
        settled(claim, answer);
    else
        renewed(claim, answer, state >= EVB_CLAIM_RUNNING);
}

/* ---- what can go on ---- */

static void take_results(struct evb_claim_sub *claims)
{
    EVB_LIST_EACH(&claims->in_hand, node)
    {
        struct evb_claim *claim = evb_container(node, struct evb_claim, node);
        if (evb_claim_state_of(claim) == EVB_CLAIM_ENDED)
            take_result(claim);
    }
}

/* While Redis is away what was handled without it is remembered within the bounds. */
static void forget_some(struct evb_claim_sub *claims)
{
    while (claims->settling_count > claims->sub->fifo.max_events)
        evb_claim_finish(evb_container(claims->settling.next, struct evb_claim, node), true);
}

static void say_all(struct evb_claim_sub *claims, int64_t now_ms, int64_t *next_ms)
{
    EVB_LIST_EACH(&claims->settling, node)
    {
        struct evb_claim *claim = evb_container(node, struct evb_claim, node);
        if (claim->lease.next == claim->want || claim->lease.verb == claim->want)
            continue;
        if (claim->due_ms <= now_ms)
            ask(claim, claim->want);
        else if (claim->due_ms < *next_ms)
            *next_ms = claim->due_ms;
    }
}

/* And what began without a claim is claimed now, before it is published and others ask. */
static void renew_all(struct evb_claim_sub *claims, int64_t now_ms, int64_t *next_ms)
{
    EVB_LIST_EACH(&claims->in_hand, node)
    {
        struct evb_claim *claim = evb_container(node, struct evb_claim, node);
        enum evb_claim_state state = evb_claim_state_of(claim);
        int64_t at_ms =
            claim->unclaimed ? claim->due_ms : claim->lease.until_ms - claims->lease_ms * 2 / 3;
        if (state == EVB_CLAIM_ASKED || state == EVB_CLAIM_ENDED ||
            (claim->unclaimed && claim->asked))
            continue;
        if (at_ms > now_ms && at_ms < *next_ms)
            *next_ms = at_ms;
        if (at_ms > now_ms || claim->lease.verb != EVB_KEY_LEASE_NONE)
            continue;
        claim->asked = ask(claim, EVB_KEY_LEASE_TAKE) || !claim->unclaimed;
    }
}

static void ask_for(struct evb_claim *claim)
{
    claim->asked = true;
    if (claim->lease.verb == EVB_KEY_LEASE_NONE && !ask(claim, EVB_KEY_LEASE_TAKE))
        evb_claim_move_back(claim);
}

static void ask_more(struct evb_claim_sub *claims, int64_t now_ms)
{
    struct evb_claim *claim;
    evb_claim_unpark(claims);
    while (claims->hand_count < claims->ahead && evb_claims_are_ready(bus_of(claims)) &&
           ((claim = evb_claim_take_due(claims, now_ms)) ||
            (claim = evb_claim_take(claims, &claims->fresh, EVB_CLAIM_ASKED))))
        ask_for(claim);
}

/* Redis is away. What others publish, and what may be ours already, is asked for later. */
static void go_by_setting(struct evb_claim_sub *claims)
{
    struct evb_claim *claim;
    while (claims->hand_count < claims->ahead &&
           (claim = evb_claim_take(claims, &claims->fresh, EVB_CLAIM_ASKED))) {
        bool local = !(claim->how & EVB_FROM_REDIS) && !claim->asked;
        if (local && claims->away == EVB_AWAY_RUN)
            run_unclaimed(claim);
        else if (local && claims->away == EVB_AWAY_SKIP)
            evb_claim_drop(claim);
        else
            evb_claim_move(claim, EVB_CLAIM_PARKED);
    }
    forget_some(claims);
}

/* ---- ends ---- */

/* One that may still get an answer gets it. */
static void let_go(struct evb_claim_sub *claims, struct evb_node *list)
{
    struct evb_claim *claim;
    while ((claim = evb_claim_take(claims, list, EVB_CLAIM_ASKED)))
        if (claim->lease.verb == EVB_KEY_LEASE_NONE)
            leave(claim);
}

/* The bus closes: what waits for others is theirs to handle, and Redis is not waited for. */
static void let_waiting_go(struct evb_claim_sub *claims)
{
    for (int level = 0; level < EVB_CLAIM_LEVELS; level++)
        let_go(claims, &claims->waiting[level]);
    let_go(claims, &claims->parked);
}

/* Not what is in its handler, nor what Redis is asked for. */
static void end(struct evb_claim_sub *claims)
{
    let_waiting_go(claims);
    let_go(claims, &claims->fresh);
    EVB_LIST_EACH(&claims->in_hand, node)
    {
        struct evb_claim *claim = evb_container(node, struct evb_claim, node);
        if (!evb_claim_call_off(claim))
            continue;
        claim->rc = EVB_CALL_NONE;
        settle(claim, EVB_KEY_LEASE_RELEASE);
    }
}

/* Nobody will answer any more. */
static void abandon(struct evb_claim_sub *claims)
{
    end(claims);
    EVB_LIST_EACH(&claims->settling, node)
    evb_claim_finish(evb_container(node, struct evb_claim, node), false);
    EVB_LIST_EACH(&claims->in_hand, node)
    {
        struct evb_claim *claim = evb_container(node, struct evb_claim, node);
        if (evb_claim_state_of(claim) != EVB_CLAIM_RUNNING)
            evb_claim_finish(claim, false);
    }
}

bool evb_claim_sub_busy(const struct evb_node *node, enum evb_claim_stage stage)
{
    struct evb_claim_sub *claims = sub_of(node);
    bool settled = evb_claim_is_empty(claims) || !evb_claims_are_ready(bus_of(claims));
    return stage == EVB_CLAIMS_ASKING ? evb_claim_holds_back(claims) : !settled;
}

/* ---- looking ---- */

static void go_on(struct evb_claim_sub *claims)
{
    struct evbus *bus = bus_of(claims);
    int64_t now_ms = evb_clock_boot_ms(), next_ms = INT64_MAX;
    take_results(claims);
    if (!is_live(claims))
        end(claims);
    if (evb_claims_are_ready(bus)) {
        say_all(claims, now_ms, &next_ms);
        ask_more(claims, now_ms);
        renew_all(claims, now_ms, &next_ms);
        int64_t due_ms = evb_claim_next_due_ms(claims);
        next_ms = claims->hand_count < claims->ahead && due_ms < next_ms ? due_ms : next_ms;
    } else {
        go_by_setting(claims);
    }
    if (is_closing(claims))
        let_waiting_go(claims);
    if (next_ms != INT64_MAX)
        evb_claims_arm(bus, next_ms);
}

void evb_claim_sub_look(struct evb_node *node)
{
    struct evb_claim_sub *claims = sub_of(node);
    struct evbus *bus = bus_of(claims);
    evbus_sub *sub = claims->sub;
    if (atomic_load(&bus->state) == EVB_BUS_CLOSED)
        abandon(claims);
    else
        go_on(claims);
    evb_sub_held_less(sub);
    bool listed = !evb_list_empty(node), empty = evb_claim_is_empty(claims);
    if (!listed && !empty) {
        evb_sub_ref(sub);
        evb_list_push(&bus->claims->subs, node);
    } else if (listed && empty) {
        evb_list_remove(node);
        evb_sub_unref(sub);
    }
}

static void look_job(struct evb_job *job)
{
    struct evb_claim_sub *claims = evb_container(job, struct evb_claim_sub, job);
    evbus_sub *sub = claims->sub;
    struct evbus *bus = bus_of(claims);
    pthread_mutex_lock(&sub->lock);
    claims->posted = false;
    pthread_mutex_unlock(&sub->lock);
    evb_claim_sub_look(&claims->node);
    evb_claims_moved(bus);
    evb_sub_unref(sub);
}

/* ---- planning ---- */

int evb_claim_sub_plan(evbus_sub *sub, const char *name)
{
    struct evbus *bus = sub->keeper;
    struct evb_claim_sub *claims = evb_calloc(1, sizeof *claims);
    struct evb_buf prefix;
    if (!claims)
        return evb_fail_memory();
    sub->claims = claims; /* which frees it */
    claims->sub = sub;
    claims->job.run = look_job;
    evb_list_init(&claims->node);
    evb_list_init(&claims->fresh);
    evb_list_init(&claims->parked);
    evb_list_init(&claims->in_hand);
    evb_list_init(&claims->settling);
    for (int level = 0; level < EVB_CLAIM_LEVELS; level++)
        evb_list_init(&claims->waiting[level]);
    evb_map_init(&claims->held);
    claims->away = evb_config_number(bus->config, EVB_CFG_CLAIM_AWAY);
    claims->lease_ms = evb_config_number(bus->config, EVB_CFG_LEASE_TTL);
    int64_t ttl_ms = evb_config_number(bus->config, EVB_CFG_CLAIM_TTL),
            history_ms = evb_config_number(bus->config, EVB_CFG_HISTORY_TTL);
    claims->ahead = bus->workers.count > AHEAD / 2 ? 2 * bus->workers.count : AHEAD;
    claims->keep_ms = ttl_ms > history_ms ? ttl_ms : history_ms;
    evb_buf_init(&prefix);
    evb_buf_printf(&prefix, "%s%s:", evb_config_text(bus->config, EVB_CFG_CLAIM_PREFIX), name);
    claims->prefix = evb_buf_take(&prefix);
    if (!claims->prefix)
        return evb_fail_memory();
    claims->fn = sub->fn;
    sub->fn = evb_claim_handle;
    sub->hold = evb_claim_hold;
    sub->guarded = true;
    return 0;
}

/* Its claims are given back at once, not when they next come up. */
void evb_claim_sub_wake(evbus_sub *sub)
{
    if (!evb_claim_wants_post(sub->claims))
        return;
    evb_sub_ref(sub); /* the job's */
    if (!evb_bus_post(sub->keeper, &sub->claims->job))
        evb_sub_unref(sub);
}

void evb_claim_sub_free(struct evb_claim_sub *claims)
{
    if (!claims)
        return;
    evb_map_fini(&claims->held, NULL);
    evb_free(claims->prefix);
    evb_free(claims);
}
