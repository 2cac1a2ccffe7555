/* group_own.c - what Redis holds for this consumer: it is renewed, and what never came here is
 * given back. Loop only. */
#include "clock.h"
#include "group.h"
#include <string.h>

static void ignore(const struct evb_reply *reply, void *user)
{
    struct evb_group *group = user;
    (void)reply;
    group->asks--;
}

void evb_group_renew_all(struct evb_group *group)
{
    const char *entry[EVB_GROUP_BATCH];
    size_t count = 0;
    EVB_LIST_EACH(&group->hand, node)
    {
        entry[count++] = evb_container(node, struct evb_hold, node)->entry;
        if (count < EVB_GROUP_BATCH && node->next != &group->hand)
            continue;
        if (evb_group_renew(&group->all->wire, group->name.key, entry, count, ignore, group))
            group->asks++;
        count = 0;
    }
}

static bool is_in(const struct evb_node *list, const char *entry)
{
    EVB_LIST_EACH(list, node)
    if (!strcmp(evb_container(node, struct evb_hold, node)->entry, entry))
        return true;
    return false;
}

static bool is_known(const struct evb_group *group, const char *entry)
{
    return is_in(&group->hand, entry) || is_in(&group->acks, entry) ||
           is_in(&group->backs, entry) || is_in(&group->told_acks, entry) ||
           is_in(&group->told_backs, entry);
}

/* Given out since the command that waits was asked: its answer brings it, on another connection
 * than this one's, and perhaps later. Both clocks tell whole milliseconds. */
static bool may_come(const struct evb_group *group, const struct evb_reply *row)
{
    const struct evb_blocking *link = &group->all->link;
    return group->listed && link->state == EVB_BLOCKING_READING && row->count > 2 &&
           row->item[2]->kind == EVB_REPLY_INTEGER &&
           row->item[2]->integer <= evb_clock_mono_ms() - link->asked_ms + 1;
}

/* {{entry, consumer, idle, deliveries}...}: what no handler of this process has seen goes back. Of
 * an earlier process by this name nobody knows: those count as tried. */
static void on_own(const struct evb_reply *reply, void *user)
{
    struct evb_group *group = user;
    group->asks--;
    group->looking = false;
    if (!reply)
        return;
    if (reply->kind != EVB_REPLY_ARRAY) {
        evb_group_error(group, "XPENDING", reply->kind == EVB_REPLY_ERROR ? reply->text : "?");
        return;
    }
    for (size_t i = 0; i < reply->count; i++) {
        const struct evb_reply *row = reply->item[i];
        if (row->kind != EVB_REPLY_ARRAY || row->count < 1 ||
            row->item[0]->kind != EVB_REPLY_STRING || is_known(group, row->item[0]->text) ||
            may_come(group, row))
            continue;
        evb_group_return(group, row->item[0]->text, !group->looked_once);
    }
    group->looked = group->looked_once = true;
    evb_group_send(group);
    evb_group_go(group->all);
}

void evb_group_look(struct evb_group *group, int64_t idle_ms)
{
    group->looking = evb_group_own(&group->all->wire, group->name.key, idle_ms, on_own, group);
    group->asks += group->looking;
}
