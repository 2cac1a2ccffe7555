/* group.c - groups of a bus: how they come to stand in Redis, live, and go. Loop only. */
#include "group.h"
#include "alloc.h"
#include "clock.h"
#include "err.h"
#include "recover.h"
#include <evbus.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

enum { FIRST_LARGEST = 16 * 1024 };

static struct evb_group *group_at(struct evb_node *node)
{
    return evb_container(node, struct evb_group, node);
}

bool evb_group_is_ready(const struct evb_groups *all)
{
    return atomic_load(&all->bus->redis.state) == EVB_REDIS_READY;
}

void evb_group_enter(struct evb_group *group, enum evb_group_state state, int error,
                     const char *why)
{
    group->state = state;
    group->error = error;
    snprintf(group->why, sizeof group->why, "%s", why ? why : "");
    EVB_LIST_EACH(&group->members, node)
    evb_member_show(evb_container(node, struct evb_member, node));
}

/* It stays as it is, and is tried again with the next beat. */
void evb_group_error(struct evb_group *group, const char *what, const char *error)
{
    struct evbus *bus = group->all->bus;
    char why[240];
    bool denied = evb_acl_refuses(error) || strstr(error, "NOPERM");
    if (evb_stream_passes(error)) {
        evb_log(&bus->log, EVBUS_LOG_INFO, "%s: group %s: %s: %s", group->type, group->name.group,
                what, error);
        return;
    }
    snprintf(why, sizeof why, "%s is refused: %.120s", what, error);
    if (denied)
        snprintf(why + strlen(why), sizeof why - strlen(why),
                 " (~%.40s* and what evbus(7) lists under ACCESS LISTS)",
                 group->all->wire.stream->keys[EVB_KEY_GROUPS]);
    if (group->state != EVB_GROUP_REFUSED || strcmp(why, group->why) != 0)
        evb_log(&bus->log, EVBUS_LOG_WARNING, "%s: group %s: %s", group->type, group->name.group,
                why);
    evb_group_enter(group, EVB_GROUP_REFUSED, denied ? EVBUS_EDENIED : EVBUS_EREMOTE, why);
}

/* ---- standing in Redis ---- */

/* What was published while it did not stand has passed it by, and what it had is gone. */
static void tell_loss(struct evb_group *group)
{
    char reason[200];
    int64_t now_ms = evb_clock_us() / 1000;
    snprintf(reason, sizeof reason, "the group %.64s was gone from Redis, with what waited for it",
             group->name.group);
    evb_recover_gap(group->all->bus, &(struct evb_gap){"flushed", reason, group->stood_us / 1000,
                                                       now_ms, -1, group->type});
}

/* Redis came back with older data. */
static void tell_roll_back(struct evb_group *group, int64_t added)
{
    int64_t now_ms = evb_clock_us() / 1000;
    int64_t count = added >= 0 && group->added > added ? group->added - added : -1;
    evb_recover_gap(group->all->bus,
                    &(struct evb_gap){"rolled-back", "Redis lost the newest events of a group",
                                      group->stood_us / 1000, now_ms, count, group->type});
}

/* {known, made, last entry ever, entries ever} */
static bool is_announced(const struct evb_reply *reply, struct evb_position *last)
{
    return reply->kind == EVB_REPLY_ARRAY && reply->count == 4 &&
           reply->item[0]->kind == EVB_REPLY_INTEGER && reply->item[1]->kind == EVB_REPLY_INTEGER &&
           reply->item[2]->kind == EVB_REPLY_STRING && reply->item[3]->kind == EVB_REPLY_INTEGER &&
           evb_position_read(reply->item[2]->text, reply->item[2]->length, last);
}

static void stand(struct evb_group *group, const struct evb_reply *reply, struct evb_position last)
{
    bool lost = reply->item[0]->integer == 0 || reply->item[1]->integer == 1;
    int64_t added = reply->item[3]->integer;
    if (lost && group->stood_us)
        tell_loss(group);
    else if (group->stood_us &&
             (evb_position_compare(last, group->last) < 0 || (added >= 0 && added < group->added)))
        tell_roll_back(group, added);
    group->last = last;
    group->added = added;
    group->stood_us = evb_clock_us();
    evb_grouped_add(&group->all->bus->redis.grouped, group->name.channel);
    if (group->state != EVB_GROUP_STANDS) {
        evb_group_enter(group, EVB_GROUP_STANDS, 0, NULL);
        group->looked = false;
        evb_group_send(group);
        evb_group_look(group, 0);
    }
}

static void on_announced(const struct evb_reply *reply, void *user)
{
    struct evb_group *group = user;
    struct evb_position last;
    group->asks--;
    if (!reply)
        return;
    if (evb_stream_unknown(group->all->wire.stream, EVB_SCRIPT_MEMBER, reply))
        evb_group_announce_one(group);
    else if (reply->kind == EVB_REPLY_ERROR)
        evb_group_error(group, "the group", reply->text);
    else if (is_announced(reply, &last))
        stand(group, reply, last);
    else
        evb_group_error(group, "the group", "no answer of the script");
    evb_group_arm(group->all);
}

void evb_group_announce_one(struct evb_group *group)
{
    if (evb_list_empty(&group->members) || !evb_group_is_ready(group->all))
        return;
    if (!evb_server_is(&group->all->bus->redis.server, 6, 2)) {
        evb_group_enter(group, EVB_GROUP_REFUSED, EVBUS_ENOTSUP, "groups need Redis 6.2 or later");
        return;
    }
    if (group->state == EVB_GROUP_OPEN)
        group->state = EVB_GROUP_ASKED;
    if (evb_group_announce(&group->all->wire, &group->name, on_announced, group))
        group->asks++;
}

void evb_group_announce_all(struct evb_groups *all)
{
    EVB_LIST_EACH(&all->list, node)
    evb_group_announce_one(group_at(node));
}

/* ---- coming and going ---- */

/* Redis itself may have been away, and everybody silent: whoever lives has time to come back and
 * say so before it is taken for dead. */
static void wait_for_others(struct evb_groups *all)
{
    all->takeover_at_ms =
        evb_clock_mono_ms() + all->reclaim_ms + 2 * all->bus->redis.set.backoff_max_ms;
}

static struct evb_groups *groups_new(struct evbus *bus)
{
    struct evb_groups *all = evb_calloc(1, sizeof *all);
    if (!all)
        return NULL;
    const char *consumer = evb_config_text(bus->config, EVB_CFG_GROUP_CONSUMER);
    all->bus = bus;
    evb_list_init(&all->list);
    all->reclaim_ms = evb_config_number(bus->config, EVB_CFG_GROUP_RECLAIM);
    all->delay_ms = evb_config_number(bus->config, EVB_CFG_GROUP_RETRY_DELAY);
    all->wire.ttl_ms = evb_config_number(bus->config, EVB_CFG_GROUP_TTL);
    all->wire.beat_ms = bus->redis.set.ping_interval_ms;
    all->wire.control = bus->redis.grouped.control;
    all->wire.consumer = strcmp(consumer, "node") != 0 ? consumer : bus->node;
    all->beat_at_ms = evb_clock_mono_ms() + all->wire.beat_ms;
    all->renew_at_ms = evb_clock_mono_ms() + all->reclaim_ms / 3;
    wait_for_others(all);
    all->due_at_ms = INT64_MAX;
    all->largest = FIRST_LARGEST;
    all->timer = event_new(bus->loop.base, -1, 0, evb_group_on_timer, all);
    if (all->timer &&
        evb_group_wire_init(&all->wire, &bus->redis.stream, &bus->redis.asks, bus->node) == 0 &&
        evb_blocking_init(&all->link, &bus->redis, &evb_group_link_hooks, all) == 0)
        return all;
    if (all->timer)
        event_free(all->timer);
    evb_group_wire_fini(&all->wire);
    evb_free(all);
    return NULL;
}

static struct evb_group *group_new(struct evb_groups *all, const char *type, const char *name)
{
    struct evb_buf channel;
    struct evb_group *group = evb_calloc(1, sizeof *group);
    if (!group)
        return NULL;
    evb_buf_init(&channel);
    evb_buf_printf(&channel, "%s%s", all->bus->prefix, type);
    int rc = channel.failed ? EVBUS_ENOMEM
                            : evb_group_name_init(&group->name, &all->wire, channel.data, name);
    evb_buf_fini(&channel);
    if (rc != 0) {
        evb_free(group);
        return NULL;
    }
    group->all = all;
    group->type = group->name.channel + all->bus->prefix_length;
    struct evb_node *lists[] = {&group->members, &group->hand,      &group->acks,
                                &group->backs,   &group->told_acks, &group->told_backs};
    for (size_t i = 0; i < EVB_COUNT(lists); i++)
        evb_list_init(lists[i]);
    evb_list_push(&all->list, &group->node);
    return group;
}

static struct evb_group *group_get(struct evb_groups *all, const char *type, const char *name)
{
    EVB_LIST_EACH(&all->list, node)
    {
        struct evb_group *group = group_at(node);
        if (!strcmp(group->type, type) && !strcmp(group->name.group, name))
            return group;
    }
    return group_new(all, type, name);
}

/* The job of a new member. */
static void join(struct evb_job *job)
{
    struct evb_member *member = evb_container(job, struct evb_member, job);
    evbus_sub *sub = member->sub;
    struct evbus *bus = sub->keeper;
    if (atomic_load(&bus->state) != EVB_BUS_OPEN || atomic_load(&sub->state) != EVB_SUB_LIVE) {
        evb_sub_unref(sub);
        return;
    }
    if (!bus->groups)
        bus->groups = groups_new(bus);
    struct evb_group *group =
        bus->groups ? group_get(bus->groups, sub->entry->pattern, member->group) : NULL;
    if (!group) {
        evb_member_fail(member, EVBUS_ENOMEM, "out of memory");
        evb_sub_unref(sub);
        return;
    }
    member->of = group;
    evb_list_push(&group->members, &member->node);
    evb_member_show(member);
    if (evb_group_is_ready(bus->groups))
        evb_blocking_open(&bus->groups->link);
    if (group->state != EVB_GROUP_STANDS)
        evb_group_announce_one(group);
    evb_group_go(bus->groups);
    evb_group_arm(bus->groups);
}

void evb_group_begin(evbus_sub *sub)
{
    struct evbus *bus = sub->keeper;
    sub->member->job.run = join;
    evb_sub_ref(sub); /* the group's */
    if (!evb_bus_post(bus, &sub->member->job))
        evb_sub_unref(sub);
}

static void part(struct evb_group *group, struct evb_member *member)
{
    evb_group_give_back(group, member, false);
    evb_list_remove(&member->node);
    member->of = NULL;
    evb_sub_unref(member->sub);
}

static void part_ended(struct evb_groups *all)
{
    EVB_LIST_EACH(&all->list, node)
    EVB_LIST_EACH(&group_at(node)->members, at)
    {
        struct evb_member *member = evb_container(at, struct evb_member, node);
        member->full = false;
        if (atomic_load(&member->sub->state) != EVB_SUB_LIVE)
            part(group_at(node), member);
    }
}

static void wake_job(struct evb_job *job)
{
    struct evbus *bus = evb_container(job, struct evbus, group_job);
    atomic_store(&bus->group_posted, false);
    if (bus->groups) {
        part_ended(bus->groups);
        evb_group_send_soon(bus->groups);
    }
    evb_bus_unref(bus);
}

void evb_group_wake(void *keeper)
{
    struct evbus *bus = keeper;
    if (atomic_exchange(&bus->group_posted, true))
        return;
    bus->group_job.run = wake_job;
    evb_bus_ref(bus);
    if (!evb_bus_post(bus, &bus->group_job))
        evb_bus_unref(bus);
}

void evb_group_ready(struct evbus *bus)
{
    struct evb_groups *all = bus->groups;
    if (!all)
        return;
    all->errors = 0;
    wait_for_others(all);
    EVB_LIST_EACH(&all->list, node)
    {
        evb_group_send(group_at(node));
        evb_group_renew_all(group_at(node));
    }
    evb_group_announce_all(all);
    if (!all->stopping)
        evb_blocking_open(&all->link);
    evb_group_arm(all);
}

void evb_group_lost(struct evbus *bus)
{
    struct evb_groups *all = bus->groups;
    if (!all)
        return;
    evb_blocking_close(&all->link);
    all->rung = false;
    EVB_LIST_EACH(&all->list, node)
    {
        group_at(node)->looked = group_at(node)->leaving = false;
        evb_group_enter(group_at(node), EVB_GROUP_OPEN, 0, NULL);
    }
    evb_group_arm(all);
}

/* ---- the end ---- */

void evb_group_stop(struct evbus *bus)
{
    struct evb_groups *all = bus->groups;
    if (!all)
        return;
    all->stopping = true;
    EVB_LIST_EACH(&all->list, node)
    EVB_LIST_EACH(&group_at(node)->members, at)
    evb_sub_end(evb_container(at, struct evb_member, node)->sub);
    part_ended(all);
    evb_group_end_reading(all);
    evb_group_send_soon(all);
}

static void on_bell(const struct evb_reply *reply, void *user)
{
    (void)reply;
    (void)user;
}

void evb_group_close(struct evbus *bus, void (*done)(void *user), void *user)
{
    struct evb_groups *all = bus->groups;
    if (!all) {
        done(user);
        return;
    }
    EVB_LIST_EACH(&all->list, node)
    {
        evb_group_give_back(group_at(node), NULL, true);
        evb_group_send(group_at(node));
    }
    all->done = done;
    all->done_user = user;
    if (evb_group_is_ready(all))
        evb_group_unbell(&all->wire, on_bell, all);
    evb_group_send_soon(all);
}

void evb_group_end_all(struct evbus *bus)
{
    struct evb_groups *all = bus->groups;
    if (!all)
        return;
    bus->groups = NULL;
    evb_asks_forget(&bus->redis.asks, all);
    EVB_LIST_EACH(&all->list, node)
    {
        struct evb_group *group = group_at(node);
        evb_group_drop_all(group);
        EVB_LIST_EACH(&group->members, at)
        {
            struct evb_member *member = evb_container(at, struct evb_member, node);
            evb_list_remove(at);
            member->of = NULL;
            evb_sub_unref(member->sub);
        }
        evb_group_remove(group);
    }
    evb_blocking_fini(&all->link);
    evb_group_wire_fini(&all->wire);
    event_free(all->timer);
    void (*done)(void *user) = all->done;
    void *user = all->done_user;
    evb_free(all);
    if (done)
        done(user);
}

void evb_group_drop(struct evbus *bus)
{
    if (bus->groups)
        evb_blocking_drop(&bus->groups->link);
}
