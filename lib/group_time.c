/* group_time.c - what is done for groups from time to time: members announce themselves, what is in
 * hand is renewed, what the dead had is taken over. Loop only. */
#include "alloc.h"
#include "clock.h"
#include "group.h"
#include <event2/event.h>

enum { TAKEOVER_MOST = 256 };

static struct evb_group *group_at(struct evb_node *node)
{
    return evb_container(node, struct evb_group, node);
}

static void on_takeover(const struct evb_reply *reply, void *user)
{
    struct evb_group *group = user;
    struct evbus *bus = group->all->bus;
    group->asks--;
    if (!reply)
        return;
    bool unknown = evb_stream_unknown(group->all->wire.stream, EVB_SCRIPT_TAKEOVER, reply);
    if (reply->kind == EVB_REPLY_ARRAY && reply->count == 2 &&
        reply->item[0]->kind == EVB_REPLY_INTEGER) {
        evb_count(&bus->metrics, EVB_COUNT_group_takeovers, reply->item[0]->integer);
        if (reply->item[0]->integer > 0)
            evb_log(&bus->log, EVBUS_LOG_INFO, "%s: group %s: %lld events of members that are gone",
                    group->type, group->name.group, reply->item[0]->integer);
    }
    if (unknown || (reply->kind == EVB_REPLY_ARRAY && reply->count == 2 &&
                    reply->item[0]->integer >= TAKEOVER_MOST))
        group->all->takeover_at_ms = 0; /* at once */
    evb_group_arm(group->all);
}

static void take_over(struct evb_group *group)
{
    if (group->state == EVB_GROUP_STANDS &&
        evb_group_takeover(&group->all->wire, group->name.key, group->all->reclaim_ms,
                           TAKEOVER_MOST, false, on_takeover, group))
        group->asks++;
}

static void clear_full(struct evb_group *group)
{
    EVB_LIST_EACH(&group->members, node)
    evb_container(node, struct evb_member, node)->full = false;
}

static void beat(struct evb_group *group)
{
    clear_full(group);
    evb_group_announce_one(group);
    if (group->state == EVB_GROUP_STANDS && !group->looked && !group->looking)
        evb_group_look(group, 0); /* it was refused for a while */
}

/* Something may have been given to a connection of this process that could not bring it. */
static void renew(struct evb_group *group)
{
    struct evb_groups *all = group->all;
    int64_t idle_ms = 2 * (all->wire.beat_ms + all->bus->redis.set.ping_timeout_ms);
    evb_group_renew_all(group);
    if (group->looked)
        evb_group_look(group, idle_ms > all->reclaim_ms / 3 ? idle_ms : all->reclaim_ms / 3);
}

static bool is_due(int64_t *at_ms, int64_t now_ms, int64_t every_ms)
{
    if (now_ms < *at_ms)
        return false;
    *at_ms = now_ms + every_ms;
    return true;
}

void evb_group_remove(struct evb_group *group)
{
    evb_group_drop_all(group);
    evb_list_remove(&group->node);
    evb_group_name_fini(&group->name);
    evb_free(group);
}

void evb_group_on_left(const struct evb_reply *reply, void *user)
{
    struct evb_group *group = user;
    struct evb_groups *all = group->all;
    group->asks--;
    if (evb_list_empty(&group->members) && evb_group_is_empty(group) && group->asks == 0 &&
        !all->done)
        evb_group_remove(group);
    else
        group->leaving = all->stopping;
    if (reply)
        evb_group_go(all); /* who has come meanwhile waits for it */
    evb_group_arm(all);
}

/* The consumer is to go, if it has nothing in hand. */
static void say_so(struct evb_group *group)
{
    group->leaving = evb_group_takeover(&group->all->wire, group->name.key, INT32_MAX, 1, true,
                                        evb_group_on_left, group);
    if (group->leaving)
        group->asks++;
}

/* Without members here, and when nothing comes any more: what Redis gave to a consumer that is gone
 * would wait until somebody takes it over. */
static void leave(struct evb_group *group)
{
    if (!group->leaving && evb_list_empty(&group->members) && evb_group_is_empty(group) &&
        !group->asks && evb_group_stop_reading(group))
        say_so(group);
}

static void tick(struct evb_groups *all)
{
    int64_t now_ms = evb_clock_mono_ms();
    bool beats = is_due(&all->beat_at_ms, now_ms, all->wire.beat_ms);
    bool renews = is_due(&all->renew_at_ms, now_ms, all->reclaim_ms / 3);
    bool takes = is_due(&all->takeover_at_ms, now_ms, all->reclaim_ms / 2);
    if (beats)
        all->errors = 0;
    all->due_at_ms = INT64_MAX;
    EVB_LIST_EACH(&all->list, node)
    {
        struct evb_group *group = group_at(node);
        evb_group_due(group, now_ms);
        evb_group_send(group);
        if (!evb_group_is_ready(all))
            continue;
        if (beats)
            beat(group);
        if (renews)
            renew(group);
        if (takes)
            take_over(group);
        leave(group);
    }
    evb_group_go(all);
    evb_group_arm(all);
}

void evb_group_on_timer(int fd, short what, void *arg)
{
    struct evb_groups *all = arg;
    struct evb_loop *loop = &all->bus->loop;
    (void)fd;
    (void)what;
    evb_loop_begin(loop);
    tick(all);
    evb_loop_end(loop);
}

void evb_group_maybe_done(struct evb_groups *all)
{
    void (*done)(void *user) = all->done;
    bool waits = all->link.state == EVB_BLOCKING_READING;
    if (!done)
        return;
    EVB_LIST_EACH(&all->list, node)
    waits = waits || group_at(node)->asks || !evb_group_is_empty(group_at(node));
    EVB_LIST_EACH(&all->list, node)
    if (!waits && evb_group_is_ready(all) && !group_at(node)->leaving)
        say_so(group_at(node));
    EVB_LIST_EACH(&all->list, node)
    waits = waits || group_at(node)->asks;
    if (waits && evb_group_is_ready(all))
        return;
    all->done = NULL;
    done(all->done_user);
}

void evb_group_arm(struct evb_groups *all)
{
    int64_t at_ms = all->beat_at_ms;
    at_ms = all->renew_at_ms < at_ms ? all->renew_at_ms : at_ms;
    at_ms = all->takeover_at_ms < at_ms ? all->takeover_at_ms : at_ms;
    at_ms = all->due_at_ms < at_ms ? all->due_at_ms : at_ms;
    at_ms -= evb_clock_mono_ms();
    at_ms = at_ms > 0 ? at_ms : 0;
    struct timeval in = {.tv_sec = at_ms / 1000, .tv_usec = at_ms % 1000 * 1000};
    event_add(all->timer, &in);
    if (all->done) /* by a job, for nobody here must find them gone */
        evb_group_send_soon(all);
}
