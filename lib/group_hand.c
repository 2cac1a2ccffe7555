/* group_hand.c - what a group's members have in hand, and what Redis is told of it. Loop only. */
#include "alloc.h"
#include "clock.h"
#include "dead.h"
#include "err.h"
#include "group.h"
#include "route.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_DELAY_MS = 3600000, DEAD_AGAIN_MS = 5000 };

static struct evb_hold *first(const struct evb_node *list)
{
    return evb_container(list->next, struct evb_hold, node);
}

static void move(struct evb_hold *hold, struct evb_node *list)
{
    evb_list_remove(&hold->node);
    evb_list_push(list, &hold->node);
}

static void let_go(struct evb_hold *hold)
{
    evb_list_remove(&hold->node);
    evb_hold_unref(hold);
}

/* Its place with the member is free. */
static void leave_member(struct evb_hold *hold)
{
    if (!hold->member)
        return;
    hold->member->in_hand--;
    hold->member->full = false;
    hold->member = NULL;
}

/* ---- telling Redis ---- */

struct call {
    struct evb_group *group;
    enum evb_script script;
    size_t count;
};

static void take_back_told(struct evb_group *group, enum evb_script script, size_t count)
{
    bool acks = script == EVB_SCRIPT_SETTLE;
    struct evb_node *from = acks ? &group->told_acks : &group->told_backs;
    struct evb_node *to = acks ? &group->acks : &group->backs;
    while (count-- && !evb_list_empty(from))
        move(first(from), to);
}

static void forget_told(struct evb_group *group, enum evb_script script, size_t count, bool settled)
{
    bool acks = script == EVB_SCRIPT_SETTLE;
    struct evb_node *told = acks ? &group->told_acks : &group->told_backs;
    if (acks && settled)
        evb_count(&group->all->bus->metrics, EVB_COUNT_group_acks, (int64_t)count);
    while (count-- && !evb_list_empty(told))
        let_go(first(told));
}

static void on_told(const struct evb_reply *reply, void *user)
{
    struct call call = *(struct call *)user;
    struct evb_group *group = call.group;
    evb_free(user);
    group->asks--;
    bool unknown = reply && evb_stream_unknown(group->all->wire.stream, call.script, reply);
    bool settled = reply && reply->kind == EVB_REPLY_INTEGER;
    if (settled ||
        (reply && !unknown && group->all->done)) /* who closes does not wait for a right */
        forget_told(group, call.script, call.count, settled);
    else
        take_back_told(group, call.script, call.count);
    if (unknown)
        evb_group_send(group);
    else if (reply && reply->kind == EVB_REPLY_ERROR)
        evb_group_error(group, "settling", reply->text); /* again with the next beat */
    evb_group_arm(group->all);
}

/* A command's worth. False: there is none, or it cannot go now. */
static bool tell_some(struct evb_group *group, enum evb_script script)
{
    bool acks = script == EVB_SCRIPT_SETTLE;
    struct evb_node *list = acks ? &group->acks : &group->backs;
    const char *entry[EVB_GROUP_BATCH];
    int more[EVB_GROUP_BATCH];
    size_t count = 0;
    EVB_LIST_EACH(list, node)
    {
        struct evb_hold *hold = evb_container(node, struct evb_hold, node);
        if (count == EVB_GROUP_BATCH)
            break;
        entry[count] = hold->entry;
        more[count++] = hold->more;
    }
    struct call *call = count && evb_group_is_ready(group->all) ? evb_alloc(sizeof *call) : NULL;
    if (!call)
        return false;
    *call = (struct call){group, script, count};
    const struct evb_group_wire *wire = &group->all->wire;
    bool sent = acks ? evb_group_settle(wire, group->name.key, entry, count, on_told, call)
                     : evb_group_requeue(wire, group->name.key, entry, more, count, on_told, call);
    if (!sent) {
        evb_free(call);
        return false;
    }
    group->asks++;
    for (size_t i = 0; i < count; i++)
        move(first(list), acks ? &group->told_acks : &group->told_backs);
    return true;
}

void evb_group_send(struct evb_group *group)
{
    while (tell_some(group, EVB_SCRIPT_SETTLE))
        continue;
    while (tell_some(group, EVB_SCRIPT_REQUEUE))
        continue;
}

/* When the round's other jobs have run: they bring more for the same commands. */
static void send_all(struct evb_job *job)
{
    struct evbus *bus = evb_container(job, struct evbus, group_send_job);
    struct evb_groups *all = bus->groups;
    bus->group_send_posted = false;
    if (all) {
        EVB_LIST_EACH(&all->list, node)
        evb_group_send(evb_container(node, struct evb_group, node));
        if (all->done) {
            evb_group_maybe_done(all);
        } else {
            evb_group_arm(all);
            evb_group_go(all);
        }
    }
    evb_bus_unref(bus);
}

void evb_group_send_soon(struct evb_groups *all)
{
    struct evbus *bus = all->bus;
    if (bus->group_send_posted)
        return;
    bus->group_send_posted = true;
    bus->group_send_job.run = send_all;
    evb_bus_ref(bus);
    evb_loop_post(&bus->loop, &bus->group_send_job);
}

static void give_back(struct evb_group *group, struct evb_hold *hold, int more)
{
    leave_member(hold);
    hold->more = more;
    move(hold, &group->backs);
    evb_group_send_soon(group->all);
}

static void put_off(struct evb_group *group, struct evb_hold *hold, int64_t delay_ms)
{
    hold->due_ms = evb_clock_mono_ms() + delay_ms;
    if (hold->due_ms < group->all->due_at_ms)
        group->all->due_at_ms = hold->due_ms;
    evb_group_arm(group->all);
}

/* ---- dead letters ---- */

static void on_dead(evbus_event *event, int outcome, int error, int64_t receivers, void *user)
{
    struct evb_hold *hold = user;
    struct evb_group *group = hold->group;
    (void)receivers;
    if (evb_list_empty(&hold->node)) {
        evb_hold_unref(hold);
        return;
    }
    if (outcome == EVBUS_ACKED) {
        evb_count(&hold->bus->metrics, EVB_COUNT_group_dead, 1);
        let_go(hold);
        evb_group_arm(group->all);
    } else {
        evb_log(&hold->bus->log, EVBUS_LOG_WARNING, "%s: the dead letter did not get to Redis: %s",
                evbus_event_type(event), evbus_strerror(error));
        hold->dead = false;
        put_off(group, hold, DEAD_AGAIN_MS);
    }
    evb_hold_unref(hold);
}

/* The entry stays pending, and in hand, until it is settled together with the letter. */
static void bury(struct evb_group *group, struct evb_hold *hold, const evbus_event *event,
                 const char *reason, int attempts)
{
    struct evb_dead dead = {group->name.group, reason, attempts, group->name.key, hold->entry};
    leave_member(hold);
    hold->dead = true;
    atomic_fetch_add(&hold->refs, 1); /* the report's */
    if (evb_dead_send(hold->bus, event, &dead, on_dead, hold) == 0)
        return;
    evb_log(&hold->bus->log, EVBUS_LOG_WARNING, "%s: no dead letter for now: %s", group->type,
            evbus_last_error());
    evb_hold_unref(hold);
    hold->dead = false;
    put_off(group, hold, DEAD_AGAIN_MS);
}

/* ---- answers ---- */

static int64_t delay_of(const struct evb_group *group, const struct evb_hold *hold)
{
    if (hold->delay_ms >= 0)
        return hold->delay_ms;
    int64_t delay_ms = group->all->delay_ms;
    for (int i = 1; i < hold->base.attempt && delay_ms < LONGEST_DELAY_MS; i++)
        delay_ms *= 2;
    return delay_ms < LONGEST_DELAY_MS ? delay_ms : LONGEST_DELAY_MS;
}

static void failed(struct evb_group *group, struct evb_hold *hold)
{
    bool last = hold->member && hold->base.attempt > hold->member->retries;
    hold->more = 1;
    if (last && hold->event && !group->all->stopping)
        bury(group, hold, hold->event, "its handler failed", hold->base.attempt);
    else if (last || group->all->stopping || delay_of(group, hold) == 0)
        give_back(group, hold, 1);
    else
        put_off(group, hold, delay_of(group, hold));
}

static void on_answer(struct evb_hold *hold)
{
    struct evb_group *group = hold->group;
    switch (hold->answer) {
    case EVB_ANSWER_HANDLED:
        leave_member(hold);
        move(hold, &group->acks);
        break;
    case EVB_ANSWER_FAILED:
        failed(group, hold);
        break;
    default:
        give_back(group, hold, 0);
    }
    evb_group_send_soon(group->all);
}

/* ---- giving ---- */

int64_t evb_group_room(struct evb_group *group)
{
    int64_t room = 0;
    EVB_LIST_EACH(&group->members, node)
    {
        struct evb_member *member = evb_container(node, struct evb_member, node);
        int64_t left = member->size - member->in_hand;
        if (member->full || left <= 0 || atomic_load(&member->sub->state) != EVB_SUB_LIVE)
            continue;
        const struct evb_limit *limit = member->sub->limit;
        if (limit && limit->most - atomic_load(&limit->begun) - member->in_hand < left)
            left = limit->most - atomic_load(&limit->begun) - member->in_hand;
        left = left > 0 ? evb_sub_room(member->sub, left) : 0;
        room += left > 0 ? left : 0;
    }
    return room;
}

/* Whose turn it is among those with room; NULL: nobody has any. */
static struct evb_member *choose(struct evb_group *group)
{
    EVB_LIST_EACH(&group->members, node)
    {
        struct evb_member *member = evb_container(node, struct evb_member, node);
        if (member->full || member->in_hand >= member->size ||
            atomic_load(&member->sub->state) != EVB_SUB_LIVE)
            continue;
        evb_list_remove(node);
        evb_list_push(&group->members, node);
        return member;
    }
    return NULL;
}

static int64_t bytes_most(const evbus_sub *sub)
{
    return sub->queue   ? sub->door->bytes(sub->queue)
           : sub->lanes ? sub->lanes->max_bytes
                        : sub->fifo.max_bytes;
}

static void count_given(struct evbus *bus, int attempt)
{
    evb_count(&bus->metrics, EVB_COUNT_group_deliveries, 1);
    evb_count(&bus->metrics, EVB_COUNT_group_redeliveries, attempt > 1);
}

static void give(struct evb_group *group, struct evb_member *member, struct evb_hold *hold,
                 evbus_event *event)
{
    struct evbus *bus = group->all->bus;
    hold->member = member;
    hold->base.by_hand = member->by_hand;
    member->in_hand++;
    if (evb_deliver_offer(bus, member->sub, event, EVB_FROM_GROUP)) {
        count_given(bus, hold->base.attempt);
    } else if (evb_hold_take_back(hold, false)) {
        give_back(group, hold, 0);
        evb_sub_room(member->sub, 1); /* it tells when there is some */
        member->full = true;
    }
}

static struct evb_hold *hold_entry(struct evb_group *group, evbus_event *event,
                                   const struct evb_group_entry *entry)
{
    struct evbus *bus = group->all->bus;
    struct evb_hold *hold =
        event ? evb_hold_new(bus, event, entry->id, entry->attempts + 1, on_answer)
              : evb_hold_of(bus, entry->id);
    if (!hold)
        return NULL; /* it stays pending, and is found again */
    hold->group = group;
    evb_list_push(&group->hand, &hold->node);
    return hold;
}

static int decode(struct evb_group *group, const struct evb_reply *envelope, evbus_event **event)
{
    const struct evb_reply channel = {.kind = EVB_REPLY_STRING,
                                      .text = group->name.channel,
                                      .length = strlen(group->name.channel)};
    return evb_route_decode(group->all->bus, &channel, envelope, event);
}

void evb_group_take(struct evb_group *group, const struct evb_reply *reply)
{
    struct evb_group_entry entry;
    bool good = evb_group_entry_read(&entry, reply);
    evbus_event *event = NULL;
    int rc = good ? decode(group, entry.envelope, &event) : EVBUS_EPARSE;
    struct evb_member *member = event ? choose(group) : NULL;
    struct evb_hold *hold = NULL;
    if (!entry.id || rc == EVBUS_ENOMEM) /* it stays pending, and is found again */
        return;
    if (!event) { /* nobody can ever handle it; it has been counted and told */
        if ((hold = hold_entry(group, NULL, &entry)))
            move(hold, &group->acks);
    } else if (!member) {
        if ((hold = hold_entry(group, NULL, &entry)))
            give_back(group, hold, 0);
    } else if (entry.attempts > member->retries) {
        if ((hold = hold_entry(group, NULL, &entry)))
            bury(group, hold, event, "it was given out as often as it may be", entry.attempts);
    } else if (event->size > bytes_most(member->sub)) {
        if ((hold = hold_entry(group, NULL, &entry)))
            bury(group, hold, event, "larger than the subscription's bytes=", entry.attempts);
    } else if ((hold = hold_entry(group, event, &entry))) {
        give(group, member, hold, event);
    }
    evbus_event_unref(event);
    evb_group_send_soon(group->all);
}

void evb_group_give_back(struct evb_group *group, const struct evb_member *only, bool begun)
{
    EVB_LIST_EACH(&group->hand, node)
    {
        struct evb_hold *hold = evb_container(node, struct evb_hold, node);
        bool has_begun = evb_hold_has_begun(hold);
        if ((only && hold->member != only) || hold->dead)
            continue;
        if (hold->due_ms)
            give_back(group, hold, hold->more);
        else if (evb_hold_take_back(hold, begun))
            give_back(group, hold, has_begun);
        else if (only)
            hold->member = NULL; /* its handler runs on, and answers */
    }
}

void evb_group_due(struct evb_group *group, int64_t now_ms)
{
    EVB_LIST_EACH(&group->hand, node)
    {
        struct evb_hold *hold = evb_container(node, struct evb_hold, node);
        if (hold->due_ms && hold->due_ms <= now_ms) {
            hold->due_ms = 0;
            give_back(group, hold, hold->more);
        } else if (hold->due_ms && hold->due_ms < group->all->due_at_ms) {
            group->all->due_at_ms = hold->due_ms;
        }
    }
}

void evb_group_return(struct evb_group *group, const char *entry, int more)
{
    struct evb_group_entry found = {.id = entry};
    struct evb_hold *hold = hold_entry(group, NULL, &found);
    if (hold)
        give_back(group, hold, more);
}

bool evb_group_is_empty(const struct evb_group *group)
{
    return evb_list_empty(&group->hand) && evb_list_empty(&group->acks) &&
           evb_list_empty(&group->backs) && evb_list_empty(&group->told_acks) &&
           evb_list_empty(&group->told_backs);
}

static void drop_list(struct evb_node *list)
{
    while (!evb_list_empty(list)) {
        struct evb_hold *hold = first(list);
        evb_hold_take_back(hold, true);
        leave_member(hold);
        let_go(hold);
    }
}

void evb_group_drop_all(struct evb_group *group)
{
    drop_list(&group->hand);
    drop_list(&group->acks);
    drop_list(&group->backs);
    drop_list(&group->told_acks);
    drop_list(&group->told_backs);
}
