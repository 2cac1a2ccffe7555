/* claim_event.c - events that wait for their claim, and the call of their handler. */
#include "claim_event.h"
#include "alloc.h"
#include "clock.h"
#include <stdio.h>
#include <string.h>

static struct evbus *bus_of(const struct evb_claim_sub *claims)
{
    return claims->sub->keeper;
}

static void lock(struct evb_claim_sub *claims)
{
    pthread_mutex_lock(&claims->sub->lock);
}

static void unlock(struct evb_claim_sub *claims)
{
    pthread_mutex_unlock(&claims->sub->lock);
}

static struct evb_claim *claim_of(struct evb_node *node)
{
    return evb_container(node, struct evb_claim, node);
}

/* Lock held. True: the caller posts. */
static bool wants_post(struct evb_claim_sub *claims)
{
    bool mine = !claims->posted;
    claims->posted = true;
    return mine;
}

static void post(struct evb_claim_sub *claims)
{
    evb_sub_ref(claims->sub); /* the job's */
    evb_loop_post(claims->sub->loop, &claims->job);
}

bool evb_claim_wants_post(struct evb_claim_sub *claims)
{
    lock(claims);
    bool mine = wants_post(claims);
    unlock(claims);
    return mine;
}

void evb_claim_post(struct evb_claim_sub *claims)
{
    if (evb_claim_wants_post(claims))
        post(claims);
}

/* ---- lists and counts; lock held ---- */

static bool is_held_back(enum evb_claim_state state) /* and is not in the handler's queue */
{
    return state <= EVB_CLAIM_WAITING;
}

static bool is_in_hand(enum evb_claim_state state)
{
    return state == EVB_CLAIM_ASKED || (state >= EVB_CLAIM_HELD && state <= EVB_CLAIM_ENDED);
}

static void count(const struct evb_claim *claim, int n)
{
    struct evb_claim_sub *claims = claim->claims;
    if (is_held_back(claim->state)) {
        claims->sub->held_events += n;
        claims->sub->held_bytes += n * (int64_t)claim->event->size;
    }
    if (is_in_hand(claim->state)) /* on the loop alone */
        claims->hand_count += n;
    if (claim->state == EVB_CLAIM_SETTLING)
        claims->settling_count += n;
}

static void enter(struct evb_claim *claim, enum evb_claim_state state, struct evb_node *before)
{
    claim->state = state;
    count(claim, 1);
    evb_list_insert(before, &claim->node);
}

static void leave(struct evb_claim *claim)
{
    count(claim, -1);
    evb_list_remove(&claim->node);
}

static struct evb_node *list_of(struct evb_claim_sub *claims, enum evb_claim_state state, int level)
{
    switch (state) {
    case EVB_CLAIM_FRESH:
        return &claims->fresh;
    case EVB_CLAIM_PARKED:
        return &claims->parked;
    case EVB_CLAIM_WAITING:
        return &claims->waiting[level];
    case EVB_CLAIM_SETTLING:
        return &claims->settling;
    default:
        return &claims->in_hand;
    }
}

static void move(struct evb_claim *claim, enum evb_claim_state state)
{
    leave(claim);
    enter(claim, state, list_of(claim->claims, state, claim->level));
}

/* ---- coming ---- */

static struct evb_claim *claim_new(struct evb_claim_sub *claims, evbus_event *event, unsigned how)
{
    struct evbus *bus = bus_of(claims);
    const char *id = evbus_event_id(event);
    size_t key = strlen(claims->prefix) + strlen(id) + 1, owner = EVB_NODE_LENGTH + 18;
    struct evb_claim *claim = evb_calloc(1, sizeof *claim + key + owner);
    if (!claim)
        return NULL;
    evb_list_init(&claim->node);
    claim->claims = claims;
    claim->event = event;
    if (how & EVB_FROM_REDIS) /* others' positions are the loop's */
        claim->position = event->position;
    claim->how = (how & ~(unsigned)(EVB_GIVEN | EVB_MAY_LAG)) | EVB_ALLOWED;
    claim->number = atomic_fetch_add(&bus->claims->numbers, 1) + 1;
    snprintf(claim->key, key, "%s%s", claims->prefix, id);
    snprintf(claim->key + key, owner, "%s-%llx", bus->node, (unsigned long long)claim->number);
    claim->lease.key = claim->key;
    claim->lease.owner = claim->key + key;
    return claim;
}

static void claim_free(struct evb_claim *claim)
{
    if (!claim)
        return;
    evbus_event_unref(claim->event);
    evb_free(claim);
}

/* The place of a durable subscription may move on. */
static void pass(evbus_sub *sub, struct evb_position at)
{
    if (sub->tally && !evb_position_is_none(at) && evb_tally_done(sub->tally, at))
        sub->roomy(sub->keeper);
}

/* What somebody else has in progress gives way first, then what came first. Lock held. NULL: all
 * the rest is under way. */
static struct evb_claim *oldest(struct evb_claim_sub *claims)
{
    for (int level = EVB_CLAIM_LEVELS - 1; level >= 0; level--)
        if (!evb_list_empty(&claims->waiting[level]))
            return claim_of(claims->waiting[level].next);
    struct evb_node *list = evb_list_empty(&claims->parked) ? &claims->fresh : &claims->parked;
    return evb_list_empty(list) ? NULL : claim_of(list->next);
}

static bool fits(const evbus_sub *sub, int64_t size)
{
    struct evb_fill fill = evb_sub_fill(sub);
    return fill.events < fill.max_events && fill.bytes + size <= fill.max_bytes;
}

/* Lock held. What gives way for it goes to `gone`. */
static bool make_room(struct evb_claim_sub *claims, int64_t size, unsigned how,
                      struct evb_node *gone)
{
    const evbus_sub *sub = claims->sub;
    struct evb_claim *old;
    if (atomic_load(&bus_of(claims)->claims->closing) || size > evb_sub_fill(sub).max_bytes)
        return false;
    bool evicts = sub->fifo.full == EVB_FULL_DROP_OLDEST && !(how & EVB_MAY_LAG);
    while (!fits(sub, size) && evicts && (old = oldest(claims))) {
        leave(old);
        evb_list_push(gone, &old->node);
    }
    return fits(sub, size);
}

/* Lock held. */
static void note_peak(evbus_sub *sub)
{
    int64_t events = evb_sub_fill(sub).events;
    int64_t *peak = sub->lanes ? &sub->lanes->peak : &sub->fifo.peak;
    if (events > *peak)
        *peak = events;
}

static int drop_all(evbus_sub *sub, struct evb_node *gone)
{
    int n = 0;
    for (; !evb_list_empty(gone); n++) {
        struct evb_claim *claim = claim_of(gone->next);
        evb_list_remove(&claim->node);
        pass(sub, claim->position);
        claim_free(claim);
    }
    return n;
}

bool evb_claim_hold(evbus_sub *sub, evbus_event *event, unsigned how)
{
    struct evb_claim_sub *claims = sub->claims;
    struct evb_claim *claim = claim_new(claims, event, how);
    struct evb_node gone;
    bool mine = false;
    evb_list_init(&gone);
    pthread_mutex_lock(&sub->lock);
    bool again = how & EVB_MAY_LAG && event->size <= evb_sub_fill(sub).max_bytes;
    bool good = claim && make_room(claims, event->size, how, &gone);
    if (good) {
        enter(claim, EVB_CLAIM_FRESH, &claims->fresh);
        note_peak(sub);
        mine = wants_post(claims);
    } else if (claim) {
        evb_list_push(&gone, &claim->node);
    }
    pthread_mutex_unlock(&sub->lock);
    if (mine)
        post(claims);
    if (!good && again) { /* nothing gave way: it is read later */
        evb_sub_held_dropped(sub, 0, how);
        evbus_event_unref(event);
        evb_free(claim);
        return false;
    }
    if (!claim)
        evbus_event_unref(event);
    int n = drop_all(sub, &gone) + !claim;
    if (n)
        evb_sub_held_dropped(sub, n, how);
    return true;
}

/* ---- the handler ---- */

/* Its claim. *may: it may run. A lease that has run out may be somebody else's, and one that soon
 * will may not last until it is renewed. */
static struct evb_claim *begin(struct evb_claim_sub *claims, evbus_event *event, bool *may)
{
    lock(claims);
    struct evb_claim *claim =
        evb_map_get(&claims->held, (const char *)&event, sizeof(evbus_event *));
    *may = claim && evb_clock_boot_ms() < claim->until_ms - claims->lease_ms / 3;
    if (*may)
        claim->state = EVB_CLAIM_RUNNING;
    unlock(claims);
    return claim;
}

int evb_claim_handle(evbus_sub *sub, evbus_event *event, void *user)
{
    struct evb_claim_sub *claims = sub->claims;
    bool may;
    struct evb_claim *claim = begin(claims, event, &may);
    if (!claim) /* called off */
        return EVB_CALL_NONE;
    int rc = may ? claims->fn(sub, event, user) : EVB_CALL_NONE;
    if (may && rc != 0 && !(sub->limit && rc == EVB_CALL_NONE))
        rc = EVB_CALL_FAILED;
    lock(claims);
    evb_map_remove(&claims->held, (const char *)&event, sizeof(evbus_event *));
    claim->rc = may ? rc : EVB_CLAIM_LATE;
    claim->state = EVB_CLAIM_ENDED;
    bool mine = wants_post(claims);
    unlock(claims);
    if (mine)
        post(claims);
    return rc;
}

bool evb_claim_hand_over(struct evb_claim *claim, int64_t until_ms)
{
    struct evb_claim_sub *claims = claim->claims;
    evbus_event *event = claim->event;
    lock(claims);
    claim->until_ms = until_ms;
    bool good = evb_map_put(&claims->held, (const char *)&event, sizeof event, claim) == 0;
    if (good)
        move(claim, EVB_CLAIM_HELD);
    unlock(claims);
    if (good && evb_sub_put(claims->sub, evbus_event_ref(event), claim->how))
        return true;
    if (!good)
        evb_sub_held_dropped(claims->sub, 1, claim->how);
    lock(claims);
    evb_map_remove(&claims->held, (const char *)&event, sizeof event);
    move(claim, EVB_CLAIM_SETTLING);
    unlock(claims);
    return false;
}

bool evb_claim_call_off(struct evb_claim *claim)
{
    struct evb_claim_sub *claims = claim->claims;
    evbus_event *event = claim->event;
    lock(claims);
    bool held = claim->state == EVB_CLAIM_HELD;
    if (held) {
        evb_map_remove(&claims->held, (const char *)&event, sizeof event);
        move(claim, EVB_CLAIM_SETTLING);
    }
    unlock(claims);
    return held;
}

/* ---- on the loop ---- */

void evb_claim_move(struct evb_claim *claim, enum evb_claim_state state)
{
    lock(claim->claims);
    move(claim, state);
    unlock(claim->claims);
}

void evb_claim_move_back(struct evb_claim *claim)
{
    struct evb_claim_sub *claims = claim->claims;
    lock(claims);
    struct evb_node *before = claims->fresh.next;
    while (before != &claims->fresh && claim_of(before)->number < claim->number)
        before = before->next;
    leave(claim);
    enter(claim, EVB_CLAIM_FRESH, before);
    unlock(claims);
}

void evb_claim_unpark(struct evb_claim_sub *claims)
{
    lock(claims);
    EVB_LIST_EACH(&claims->parked, node)
    claim_of(node)->state = EVB_CLAIM_FRESH;
    evb_list_prepend(&claims->fresh, &claims->parked);
    unlock(claims);
}

void evb_claim_spend(struct evb_claim *claim)
{
    lock(claim->claims);
    evbus_event *event = claim->event;
    claim->event = NULL;
    unlock(claim->claims);
    evbus_event_unref(event);
}

struct evb_claim *evb_claim_take(struct evb_claim_sub *claims, struct evb_node *list,
                                 enum evb_claim_state state)
{
    lock(claims);
    struct evb_claim *claim = evb_list_empty(list) ? NULL : claim_of(list->next);
    if (claim)
        move(claim, state);
    unlock(claims);
    return claim;
}

/* Lock held. */
static struct evb_claim *next_due(struct evb_claim_sub *claims)
{
    struct evb_claim *next = NULL;
    for (int level = 0; level < EVB_CLAIM_LEVELS; level++) {
        struct evb_node *list = &claims->waiting[level];
        if (!evb_list_empty(list) && (!next || claim_of(list->next)->due_ms < next->due_ms))
            next = claim_of(list->next);
    }
    return next;
}

struct evb_claim *evb_claim_take_due(struct evb_claim_sub *claims, int64_t now_ms)
{
    lock(claims);
    struct evb_claim *claim = next_due(claims);
    if (claim && claim->due_ms > now_ms)
        claim = NULL;
    if (claim)
        move(claim, EVB_CLAIM_ASKED);
    unlock(claims);
    return claim;
}

int64_t evb_claim_next_due_ms(struct evb_claim_sub *claims)
{
    lock(claims);
    const struct evb_claim *next = next_due(claims);
    int64_t due_ms = next ? next->due_ms : INT64_MAX;
    unlock(claims);
    return due_ms;
}

enum evb_claim_state evb_claim_state_of(const struct evb_claim *claim)
{
    lock(claim->claims);
    enum evb_claim_state state = claim->state;
    unlock(claim->claims);
    return state;
}

void evb_claim_set_until(struct evb_claim *claim, int64_t until_ms)
{
    lock(claim->claims);
    claim->until_ms = until_ms;
    unlock(claim->claims);
}

bool evb_claim_holds_back(struct evb_claim_sub *claims)
{
    lock(claims);
    bool some = claims->sub->held_events > 0;
    unlock(claims);
    return some;
}

bool evb_claim_is_empty(struct evb_claim_sub *claims)
{
    return !evb_claim_holds_back(claims) && evb_list_empty(&claims->in_hand) &&
           evb_list_empty(&claims->settling);
}

void evb_claim_finish(struct evb_claim *claim, bool passed)
{
    struct evb_claim_sub *claims = claim->claims;
    lock(claims);
    leave(claim);
    unlock(claims);
    if (passed)
        pass(claims->sub, claim->position);
    claim_free(claim);
}

void evb_claim_drop(struct evb_claim *claim)
{
    evbus_sub *sub = claim->claims->sub;
    unsigned how = claim->how;
    evb_claim_finish(claim, true);
    evb_sub_held_dropped(sub, 1, how);
}
