/* lease.c - who leads: asking, renewing, waiting, leaving. Loop only, but for what handlers ask. */
#include "lease.h"
#include "alloc.h"
#include "clock.h"
#include "interest.h"
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

enum {
    SAVE_MS = 50, /* a place that moved is kept so much later */
    PLACE_ROOM = EVB_LEASE_PLACE_ROOM
};

struct evb_lease *evb_lease_new(struct evbus *bus, const char *name)
{
    struct evb_lease *lease = evb_calloc(1, sizeof *lease);
    if (!lease)
        return NULL;
    struct evb_buf key, waiting, notice;
    evb_buf_init(&key);
    evb_buf_init(&waiting);
    evb_buf_init(&notice);
    const char *prefix = evb_config_text(bus->config, EVB_CFG_KEY_PREFIX);
    evb_buf_printf(&key, "%sleader:{0}:%s", prefix, name);
    evb_buf_printf(&waiting, "%sleader-waiting:{0}:%s", prefix, name);
    evb_buf_printf(&notice, EVB_LEASE_NOTICE "%s", name);
    atomic_init(&lease->refs, 1);
    evb_list_init(&lease->node);
    evb_list_init(&lease->members);
    lease->bus = bus;
    lease->name = evb_strdup(name);
    lease->key = evb_buf_take(&key);
    lease->waiting = evb_buf_take(&waiting);
    lease->notice = evb_buf_take(&notice);
    if (lease->name && lease->key && lease->waiting && lease->notice)
        return lease;
    evb_lease_unref(lease);
    return NULL;
}

static struct evb_lease *lease_ref(struct evb_lease *lease)
{
    atomic_fetch_add(&lease->refs, 1);
    return lease;
}

void evb_lease_unref(struct evb_lease *lease)
{
    if (!lease || atomic_fetch_sub(&lease->refs, 1) != 1)
        return;
    evb_free(lease->name);
    evb_free(lease->key);
    evb_free(lease->waiting);
    evb_free(lease->notice);
    evb_free(lease);
}

int64_t evb_lease_live(const struct evb_lease *lease)
{
    int64_t until_us = atomic_load(&lease->until_us);
    return evb_clock_boot_us() < until_us ? atomic_load(&lease->fence) : 0;
}

/* ---- the end of one ---- */

void evb_lease_drop(struct evb_lease *lease, struct evb_lease_member *member)
{
    lease->member_count--;
    evb_list_remove(&member->node);
    evb_sub_unref(member->sub);
}

/* The last of those that leave. */
static void tell_closed(struct evbus *bus)
{
    void (*done)(void *user) = bus->leases_done;
    if (!evb_list_empty(&bus->leases) || !done)
        return;
    bus->leases_done = NULL;
    done(bus->leases_user);
}

void evb_lease_let_go(struct evb_lease *lease)
{
    struct evbus *bus = lease->bus;
    atomic_store(&lease->until_us, 0);
    atomic_store(&lease->last_holder, false);
    evb_asks_forget(&bus->redis.asks, lease);
    event_free(lease->timer);
    lease->timer = NULL;
    evb_list_remove(&lease->node);
    evb_lease_tell_members(lease, EVB_TURN_ENDED);
    evb_lease_tell_lost(lease, "", 0, false);
    EVB_LIST_EACH(&lease->members, node)
    evb_lease_drop(lease, evb_container(node, struct evb_lease_member, node));
    evb_lease_unref(lease);
    tell_closed(bus);
}

void evb_lease_leave(struct evb_lease *lease)
{
    if (lease->leaving)
        return;
    atomic_store(&lease->until_us, 0);
    atomic_store(&lease->last_holder, false);
    if (evb_lease_is_ready(lease) && lease->asked)
        return; /* it may hold it when that is answered: then it comes here again */
    if (lease->holds)
        evb_lease_question(lease, true);
    if (!lease->leaving)
        evb_lease_let_go(lease);
}

bool evb_lease_is_deserted(const struct evb_lease *lease)
{
    EVB_LIST_EACH(&lease->members, node)
    if (atomic_load(&evb_container(node, struct evb_lease_member, node)->sub->state) !=
        EVB_SUB_ENDED)
        return false;
    return true;
}

/* ---- looking ---- */

/* Its time is up, and nobody knows who leads. */
static void end_here(struct evb_lease *lease)
{
    if (lease->state == EVB_LEASE_LEADS)
        lease->state = EVB_LEASE_OPEN;
    evb_lease_tell_members(lease, EVB_TURN_ENDED);
    evb_lease_tell_lost(lease, "", atomic_load(&lease->fence), true);
}

/* One that Redis does not bring its events to must not lead. */
static bool may_lead(const struct evb_lease *lease)
{
    EVB_LIST_EACH(&lease->members, node)
    {
        const evbus_sub *sub = evb_container(node, struct evb_lease_member, node)->sub;
        const struct evb_via *via = sub->entry->via;
        if (!(atomic_load(&sub->scope) & EVB_FROM_REDIS) || (via && via->wire == EVB_WIRE_LIVE))
            return true;
    }
    return false;
}

/* Those that have ended go; with a last word, if they have one. True: one of them does. */
static bool drop_ended(struct evb_lease *lease)
{
    bool wants_word = false;
    char text[PLACE_ROOM];
    EVB_LIST_EACH(&lease->members, node)
    {
        struct evb_lease_member *member = evb_container(node, struct evb_lease_member, node);
        if (atomic_load(&member->sub->state) != EVB_SUB_ENDED)
            continue;
        if (lease->state == EVB_LEASE_LEADS && evb_lease_is_ready(lease) && member->leads &&
            member->place(member, text, sizeof text))
            wants_word = true;
        else if (!lease->asked)
            evb_lease_drop(lease, member);
    }
    return wants_word;
}

void evb_lease_look_at(struct evb_lease *lease, bool due)
{
    if (lease->closing || evb_lease_is_deserted(lease)) {
        evb_lease_leave(lease);
        return;
    }
    bool wants_word = drop_ended(lease);
    if (!evb_lease_is_ready(lease) || lease->leaving || lease->asked)
        return;
    if (lease->state == EVB_LEASE_LEADS) {
        if (due || wants_word)
            evb_lease_question(lease, false);
    } else if (due || lease->state == EVB_LEASE_OPEN) {
        if (may_lead(lease))
            evb_lease_question(lease, false);
        else
            evb_lease_arm(lease, evb_lease_ttl_ms(lease));
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct evb_lease *lease = arg;
    struct evb_loop *loop = &lease->bus->loop;
    (void)fd;
    (void)what;
    evb_loop_begin(loop);
    lease_ref(lease);
    lease->timer_ms = 0;
    if (lease->told && !lease->leaving && !evb_lease_live(lease))
        end_here(lease);
    if (lease->timer)
        evb_lease_look_at(lease, true);
    if (lease->timer && lease->holds && (lease->told || evb_lease_is_ready(lease)))
        evb_lease_arm_holder(lease);
    evb_lease_unref(lease);
    evb_loop_end(loop);
}

void evb_lease_save(struct evb_lease *lease)
{
    if (lease->timer)
        evb_lease_arm(lease, 0);
}

void evb_lease_look(struct evbus *bus)
{
    EVB_LIST_EACH(&bus->leases, node)
    {
        struct evb_lease *lease = evb_container(node, struct evb_lease, node);
        if (lease->state == EVB_LEASE_LEADS && evb_lease_is_ready(lease))
            evb_lease_arm(lease, SAVE_MS);
        evb_lease_look_at(lease, false);
    }
}

/* ---- the link ---- */

static void lose_link(struct evb_lease *lease)
{
    lease->asked = false;
    lease->holds = lease->holds && !lease->leaving;
    lease->leaving = false;
    if (lease->closing || evb_lease_is_deserted(lease)) {
        evb_lease_let_go(lease);
        return;
    }
    lease->state = EVB_LEASE_OPEN;
    atomic_store(&lease->last_holder, lease->holds);
    evb_lease_disarm(lease);
    if (lease->told)
        evb_lease_arm_holder(lease);
    EVB_LIST_EACH(&lease->members, node)
    {
        struct evb_lease_member *member = evb_container(node, struct evb_lease_member, node);
        member->turn(member, EVB_TURN_AWAY);
    }
}

void evb_lease_lost(struct evbus *bus)
{
    EVB_LIST_EACH(&bus->leases, node)
    lose_link(evb_container(node, struct evb_lease, node));
}

/* Who held it comes first, if it comes: what it handled meanwhile, it alone knows. */
void evb_lease_ready(struct evbus *bus)
{
    EVB_LIST_EACH(&bus->leases, node)
    {
        struct evb_lease *lease = evb_container(node, struct evb_lease, node);
        lease->looks = !lease->holds && lease->above > 0;
        evb_lease_look_at(lease, true);
    }
}

bool evb_lease_inbox(struct evbus *bus, const struct evb_reply *payload)
{
    if (strncmp(payload->text, EVB_LEASE_NOTICE, sizeof EVB_LEASE_NOTICE - 1) != 0)
        return false;
    EVB_LIST_EACH(&bus->leases, node)
    {
        struct evb_lease *lease = evb_container(node, struct evb_lease, node);
        if (strcmp(lease->notice, payload->text) != 0)
            continue;
        lease->noticed = lease->asked; /* perhaps it was answered before that */
        if (lease->state == EVB_LEASE_FOLLOWS)
            evb_lease_look_at(lease, true);
    }
    return true;
}

/* ---- joining and closing ---- */

/* The lowest number that no other place of this pattern has. */
static char *name_place(const struct evb_lease *lease, const char *pattern)
{
    char *name = NULL;
    bool taken = true;
    for (int n = 1; taken; n++) {
        struct evb_buf text;
        evb_free(name);
        evb_buf_init(&text);
        evb_buf_text(&text, pattern);
        if (n > 1)
            evb_buf_printf(&text, " %d", n);
        if (!(name = evb_buf_take(&text)))
            return NULL;
        taken = false;
        EVB_LIST_EACH(&lease->members, node)
        taken = taken || !strcmp(evb_container(node, struct evb_lease_member, node)->name, name);
    }
    return name;
}

static struct evb_lease *find(const struct evbus *bus, const char *name)
{
    EVB_LIST_EACH(&bus->leases, node)
    {
        struct evb_lease *lease = evb_container(node, struct evb_lease, node);
        if (!strcmp(lease->name, name) && !lease->closing)
            return lease;
    }
    return NULL;
}

static bool enter(struct evb_lease *lease)
{
    struct evbus *bus = lease->bus;
    lease->timer = event_new(bus->loop.base, -1, 0, on_timer, lease);
    if (lease->timer)
        evb_list_push(&bus->leases, &lease_ref(lease)->node);
    return lease->timer != NULL;
}

/* A bus without Redis has nobody to ask, and nobody to fear. */
static void lead_alone(struct evb_lease *lease, struct evb_lease_member *member)
{
    int64_t now_ms = evb_clock_us() / 1000;
    if (!lease->holds)
        atomic_store(&lease->fence, now_ms);
    lease->holds = true;
    lease->state = EVB_LEASE_LEADS;
    atomic_store(&lease->until_us, INT64_MAX);
    member->asked = 0;
    evb_lease_tell_gained(lease, atomic_load(&lease->fence));
    evb_lease_begin_member(member, NULL, true);
}

struct evb_lease *evb_lease_join(struct evb_lease *lease, struct evb_lease_member *member)
{
    struct evb_lease *there = find(lease->bus, lease->name);
    if (there) {
        evb_lease_unref(lease);
        lease = lease_ref(there);
    }
    member->asked = -1;
    member->name = name_place(lease, member->sub->entry->pattern);
    if (!member->name || (!there && !enter(lease))) {
        evb_lease_unref(lease);
        return NULL;
    }
    evb_sub_ref(member->sub);
    evb_list_push(&lease->members, &member->node);
    lease->member_count++;
    return lease;
}

void evb_lease_joined(struct evb_lease *lease, struct evb_lease_member *member)
{
    if (!lease->bus->wants_redis)
        lead_alone(lease, member);
    else if (lease->state == EVB_LEASE_FOLLOWS)
        member->turn(member, EVB_TURN_FOLLOWS);
    else if (lease->state == EVB_LEASE_REFUSED)
        member->turn(member, EVB_TURN_REFUSED);
    evb_lease_look_at(lease, lease->state == EVB_LEASE_LEADS);
}

void evb_lease_close(struct evbus *bus, void (*done)(void *user), void *user)
{
    bus->leases_done = done;
    bus->leases_user = user;
    EVB_LIST_EACH(&bus->leases, node)
    {
        struct evb_lease *lease = evb_container(node, struct evb_lease, node);
        lease->closing = true;
        evb_lease_leave(lease);
    }
    tell_closed(bus);
}

void evb_lease_end_all(struct evbus *bus)
{
    EVB_LIST_EACH(&bus->leases, node)
    evb_lease_let_go(evb_container(node, struct evb_lease, node));
}
