/* group_member.c - a subscription as a member of a group: its handler, and who waits for it. Any
 * thread. */
#include "alloc.h"
#include "dead.h"
#include "err.h"
#include "group.h"
#include "wait.h"
#include <errno.h>
#include <evbus.h>
#include <stdio.h>
#include <string.h>

/* ---- its handler ---- */

static int call_member(evbus_sub *sub, evbus_event *event, void *user)
{
    const struct evb_delivery_door *door = event->delivery ? event->delivery->door : NULL;
    if (!door || !door->begin(event->delivery))
        return EVB_CALL_NONE;
    int rc = sub->member->fn(sub, event, user);
    if (rc == EVBUS_LATER)
        return 0;
    if (rc == EVB_CALL_NONE && sub->limit)
        door->answer(event, EVB_ANSWER_NOT_CALLED, 0);
    else
        door->answer(event, rc == 0 ? EVB_ANSWER_HANDLED : EVB_ANSWER_FAILED, -1);
    return rc == 0 || (rc == EVB_CALL_NONE && sub->limit) ? rc : EVB_CALL_FAILED;
}

static int check_name(const char *group)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    if (strspn(group, good) == strlen(group))
        return 0;
    return evb_fail(EVBUS_EINVAL,
                    "subscription option group=%.64s: letters, digits and . _ - make its name",
                    group);
}

int evb_group_plan(evbus_sub *sub, const char *type, const char *group, int64_t retries,
                   int64_t size, bool by_hand)
{
    int rc = check_name(group);
    if (rc == 0 && evb_pattern_check(type, strlen(type)) != EVB_PATTERN_EXACT)
        rc = evb_fail(EVBUS_EINVAL,
                      "subscription option group with the pattern %s: a group has one exact type; "
                      "subscribe once for each",
                      type);
    if (rc == 0 && evb_type_is_system(type, strlen(type)))
        rc =
            evb_fail(EVBUS_EINVAL, "subscription option group: %s never leaves this process", type);
    if (rc == 0 && strlen(type) + strlen(EVB_DEAD_SUFFIX) > EVB_TYPE_MAX)
        rc = evb_fail(EVBUS_EINVAL,
                      "subscription option group: the type is too long for its dead letters (it "
                      "and " EVB_DEAD_SUFFIX " have %d bytes at most)",
                      EVB_TYPE_MAX);
    if (rc != 0)
        return rc;
    struct evb_member *member = evb_calloc(1, sizeof *member);
    if (!member || !(member->group = evb_strdup(group))) {
        evb_free(member);
        return evb_fail_memory();
    }
    evb_list_init(&member->node);
    member->sub = sub;
    member->retries = retries;
    member->size = size;
    member->by_hand = by_hand;
    member->fn = sub->fn;
    if (sub->fn)
        sub->fn = call_member;
    sub->scope = EVB_FROM_GROUP;
    sub->member = member;
    sub->guarded = true;
    return 0;
}

void evb_group_free(struct evb_member *member)
{
    if (!member)
        return;
    evb_free(member->group);
    evb_free(member);
}

/* ---- who waits ---- */

static void show(struct evb_member *member, enum evb_group_state state, int error, const char *why)
{
    pthread_mutex_lock(&member->sub->lock);
    member->state = state;
    member->error = error;
    snprintf(member->why, sizeof member->why, "%s", why);
    pthread_cond_broadcast(&member->sub->ended);
    pthread_mutex_unlock(&member->sub->lock);
}

void evb_member_show(struct evb_member *member)
{
    const struct evb_group *group = member->of;
    show(member, group->state, group->error, group->why);
}

void evb_member_fail(struct evb_member *member, int error, const char *why)
{
    show(member, EVB_GROUP_REFUSED, error, why);
}

int evb_group_wait(evbus_sub *sub, int timeout_ms)
{
    struct evb_member *member = sub->member;
    int64_t deadline_ms = evb_deadline_ms(timeout_ms);
    char why[sizeof member->why];
    int rc = 0;
    pthread_mutex_lock(&sub->lock);
    while (member->state < EVB_GROUP_STANDS && atomic_load(&sub->state) == EVB_SUB_LIVE &&
           rc != ETIMEDOUT)
        rc = evb_cond_wait(&sub->ended, &sub->lock, deadline_ms);
    enum evb_group_state state = member->state;
    int error = member->error;
    snprintf(why, sizeof why, "%s", member->why);
    pthread_mutex_unlock(&sub->lock);
    if (atomic_load(&sub->state) != EVB_SUB_LIVE)
        return evb_fail(EVBUS_ECLOSED, "the subscription is over");
    if (state == EVB_GROUP_REFUSED)
        return evb_fail(error, "group %s of %s: %s", member->group, sub->entry->pattern, why);
    if (state == EVB_GROUP_STANDS)
        return 0;
    return evb_fail(EVBUS_ETIMEDOUT, "group %s of %s: no answer of Redis within %d ms (%s)",
                    member->group, sub->entry->pattern, timeout_ms,
                    evbus_mode_name(evbus_mode(sub->keeper)));
}
