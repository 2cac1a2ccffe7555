/* group_read.c - the one command that waits for entries of all groups of a bus. Loop only. */
#include "clock.h"
#include "group.h"
#include <evbus.h>
#include <string.h>

enum {
    READ_STREAMS = 128, /* most in one command */
    READ_ENTRIES = 256, /* most of each */
    GUESS = 16 * 1024,  /* bytes of an entry, as long as none is known */
    ROTATE_MS = 100,    /* how long some wait for their turn, where not all are asked */
    ERRORS_AT_ONCE = 1  /* then the next beat asks again */
};

/* So that what comes is far from a frame that the link takes for an attack. */
static int64_t budget(const struct evb_groups *all)
{
    return (int64_t)all->link.redis->set.max_frame / 4;
}

static bool may_read(struct evb_group *group)
{
    return group->state == EVB_GROUP_STANDS && group->looked && !group->leaving;
}

struct plan {
    const char *key[READ_STREAMS];
    size_t count;
    int64_t most; /* of each */
    bool all;     /* nobody has to wait for a turn */
};

static void add(struct plan *plan, struct evb_group *group, int64_t room)
{
    plan->key[plan->count++] = group->name.key;
    plan->most = room < plan->most ? room : plan->most;
    group->listed = true;
}

/* The groups with room, in turn if they are too many for one answer. */
static void make_plan(struct evb_groups *all, struct plan *plan)
{
    int64_t affordable = budget(all) / all->largest;
    size_t streams = affordable < 1              ? 1
                     : affordable > READ_STREAMS ? READ_STREAMS
                                                 : (size_t)affordable;
    size_t skip = 0, passed = 0;
    *plan = (struct plan){.most = READ_ENTRIES, .all = true};
    EVB_LIST_EACH(&all->list, node)
    {
        struct evb_group *group = evb_container(node, struct evb_group, node);
        int64_t room = may_read(group) ? evb_group_room(group) : 0;
        group->listed = false;
        if (room > 0 && plan->count < streams)
            add(plan, group, room), passed++;
        else if (room > 0)
            skip++;
    }
    if (plan->count && plan->most > affordable / (int64_t)plan->count)
        plan->most = affordable / (int64_t)plan->count;
    plan->most = plan->most < 1 ? 1 : plan->most;
    plan->all = skip == 0;
    for (; skip && passed; passed--) { /* those who had their turn stand behind the others */
        struct evb_node *node = all->list.next;
        evb_list_remove(node);
        evb_list_push(&all->list, node);
    }
}

static void read_now(struct evb_groups *all)
{
    struct plan plan;
    struct evb_buf command;
    make_plan(all, &plan);
    if (!plan.count)
        return; /* whoever answers makes room, and comes back here */
    int64_t block_ms = plan.all ? all->wire.beat_ms : ROTATE_MS;
    evb_buf_init(&command);
    evb_group_read(&all->wire, &command, plan.key, plan.count, plan.most, block_ms);
    all->rung = false;
    evb_blocking_ask(&all->link, &command, block_ms);
    evb_buf_fini(&command);
}

static void ignore(const struct evb_reply *reply, void *user)
{
    (void)reply;
    (void)user;
}

/* Has one room that the command under way does not know of? */
static bool is_wanted(struct evb_groups *all)
{
    EVB_LIST_EACH(&all->list, node)
    {
        struct evb_group *group = evb_container(node, struct evb_group, node);
        if (!group->listed && may_read(group) && evb_group_room(group) > 0)
            return true;
    }
    return false;
}

void evb_group_go(struct evb_groups *all)
{
    if (all->stopping || all->errors > ERRORS_AT_ONCE)
        return;
    if (all->link.state == EVB_BLOCKING_IDLE)
        read_now(all);
    else if (all->link.state == EVB_BLOCKING_READING && !all->rung && is_wanted(all))
        all->rung = evb_group_ring(&all->wire, ignore, all);
}

bool evb_group_stop_reading(struct evb_group *group)
{
    struct evb_groups *all = group->all;
    if (all->link.state != EVB_BLOCKING_READING || !group->listed)
        return true;
    if (!all->rung)
        all->rung = evb_group_ring(&all->wire, ignore, all);
    return false;
}

/* What it was given goes back all the same. */
static void give_up(struct evb_groups *all)
{
    evb_blocking_close(&all->link);
    EVB_LIST_EACH(&all->list, node)
    {
        struct evb_group *group = evb_container(node, struct evb_group, node);
        if (group->state == EVB_GROUP_STANDS)
            evb_group_look(group, 0);
    }
    evb_group_send_soon(all);
}

static void on_last_ring(const struct evb_reply *reply, void *user)
{
    struct evb_groups *all = user;
    if (reply && reply->kind == EVB_REPLY_ERROR && all->link.state == EVB_BLOCKING_READING)
        give_up(all);
}

void evb_group_end_reading(struct evb_groups *all)
{
    bool reads = all->link.state == EVB_BLOCKING_READING;
    if (reads && evb_group_ring(&all->wire, on_last_ring, all))
        return;
    if (all->link.state != EVB_BLOCKING_IDLE)
        give_up(all);
}

/* ---- answers ---- */

static struct evb_group *group_of(struct evb_groups *all, const char *key)
{
    EVB_LIST_EACH(&all->list, node)
    {
        struct evb_group *group = evb_container(node, struct evb_group, node);
        if (!strcmp(group->name.key, key))
            return group;
    }
    return NULL;
}

/* It has done what it was for. */
static void settle_bell(struct evb_groups *all, const struct evb_reply *entries)
{
    const char *entry[EVB_GROUP_BATCH];
    size_t count = 0;
    for (size_t i = 0; i < entries->count && count < EVB_GROUP_BATCH; i++) {
        struct evb_group_entry bell;
        evb_group_entry_read(&bell, entries->item[i]);
        if (bell.id)
            entry[count++] = bell.id;
    }
    if (count)
        evb_group_settle(&all->wire, all->wire.bell, entry, count, ignore, all);
}

/* Large ones are remembered for a while. */
static void note_size(struct evb_groups *all, const struct evb_reply *entries)
{
    int64_t largest = all->largest - all->largest / 64;
    for (size_t i = 0; i < entries->count; i++) {
        struct evb_group_entry entry;
        if (evb_group_entry_read(&entry, entries->item[i]) &&
            (int64_t)entry.envelope->length > largest)
            largest = (int64_t)entry.envelope->length;
    }
    all->largest = largest < GUESS ? GUESS : largest;
}

static void take_stream(struct evb_groups *all, const struct evb_reply *stream)
{
    if (stream->kind != EVB_REPLY_ARRAY || stream->count != 2 ||
        stream->item[0]->kind != EVB_REPLY_STRING || stream->item[1]->kind != EVB_REPLY_ARRAY)
        return;
    const struct evb_reply *entries = stream->item[1];
    if (!strcmp(stream->item[0]->text, all->wire.bell)) {
        settle_bell(all, entries);
        return;
    }
    struct evb_group *group = group_of(all, stream->item[0]->text);
    if (!group)
        return;
    note_size(all, entries);
    for (size_t i = 0; i < entries->count; i++)
        evb_group_take(group, entries->item[i]);
}

/* NOGROUP: somebody has removed a stream, or all. Then each announces itself anew, reads when that
 * is done, and tells what it cost. */
static void on_error(struct evb_groups *all, const char *error)
{
    bool gone = !strncmp(error, "NOGROUP", 7) || !strncmp(error, "UNBLOCKED", 9);
    all->errors++;
    EVB_LIST_EACH(&all->list, node)
    {
        struct evb_group *group = evb_container(node, struct evb_group, node);
        if (group->listed && !gone)
            evb_group_error(group, "XREADGROUP", error);
        else if (group->state == EVB_GROUP_STANDS)
            evb_group_enter(group, EVB_GROUP_OPEN, 0, NULL);
    }
    if (all->errors <= ERRORS_AT_ONCE)
        evb_group_announce_all(all);
}

static void on_answer(const struct evb_reply *reply, void *user)
{
    struct evb_groups *all = user;
    if (all->stopping)
        evb_group_send_soon(all); /* who closes waits for this answer */
    if (reply->kind == EVB_REPLY_ERROR) {
        on_error(all, reply->text);
        return;
    }
    all->errors = 0;
    for (size_t i = 0; reply->kind == EVB_REPLY_ARRAY && i < reply->count; i++)
        take_stream(all, reply->item[i]);
    evb_group_go(all);
}

/* What an earlier connection was given, and did not bring, goes back first. */
static void on_up(void *user)
{
    struct evb_groups *all = user;
    EVB_LIST_EACH(&all->list, node)
    {
        struct evb_group *group = evb_container(node, struct evb_group, node);
        group->looked = false;
        if (group->state == EVB_GROUP_STANDS)
            evb_group_look(group, 0);
    }
}

static void on_down(int error, const char *why, void *user)
{
    struct evb_groups *all = user;
    (void)why;
    if (error == EVBUS_EPARSE) /* perhaps a frame too large: one by one */
        all->largest = budget(all);
    if (all->stopping)
        give_up(all);
}

const struct evb_blocking_hooks evb_group_link_hooks = {on_up, on_answer, on_down};
