/* lease_answer.c - who leads now, as Redis says. Loop only. */
#include "clock.h"
#include "lease.h"
#include "rand.h"
#include "redis_lease.h"
#include <stdio.h>
#include <string.h>

enum {
    JITTER_MS = 20, /* between those that wait for the same end */
    AGAIN_MS = 100  /* after an error that passes */
};

/* Those that ended before it was asked have said their last word. */
static void drop_over(struct evb_lease *lease)
{
    EVB_LIST_EACH(&lease->members, node)
    {
        struct evb_lease_member *member = evb_container(node, struct evb_lease_member, node);
        if (member->asked >= 0 && member->over)
            evb_lease_drop(lease, member);
    }
}

void evb_lease_begin_member(struct evb_lease_member *member, const struct evb_reply *reply,
                            bool anew)
{
    if (member->asked < 0)
        return;
    member->placed = reply ? evb_lease_place(reply, (size_t)member->asked)->text : "";
    bool first = anew || !member->leads;
    member->leads = true;
    member->turn(member, first ? EVB_TURN_GAINED : EVB_TURN_GOES_ON);
    member->placed = NULL;
}

/* It is live before any handler is called for it, and nothing of before is in hand then. */
static void hold(struct evb_lease *lease, const struct evb_reply *reply, int64_t until_us,
                 int64_t fence_before)
{
    bool anew = lease->anew;
    lease->anew = false;
    if (anew)
        evb_lease_tell_members(lease, EVB_TURN_GAINING);
    lease->state = EVB_LEASE_LEADS;
    atomic_store(&lease->until_us, until_us);
    evb_lease_tell_gained(lease, fence_before);
    EVB_LIST_EACH(&lease->members, node)
    evb_lease_begin_member(evb_container(node, struct evb_lease_member, node), reply, anew);
    atomic_store(&lease->last_holder, false);
}

static void on_held(struct evb_lease *lease, const struct evb_reply *reply,
                    const struct evb_lease_answer *answer)
{
    int64_t until_us = lease->sent_us + evb_lease_ttl_ms(lease) * 1000;
    int64_t before = atomic_exchange(&lease->fence, answer->fence);
    lease->anew = lease->anew || answer->outcome == EVB_LEASE_GAINED || !lease->holds;
    if (answer->outcome == EVB_LEASE_GAINED)
        lease->before_us = answer->renewed_ms * 1000;
    lease->holds = true;
    lease->waited = false;
    if (evb_clock_boot_us() >= until_us) { /* the answer took too long */
        evb_lease_question(lease, false);
        evb_lease_arm_holder(lease);
        return;
    }
    hold(lease, reply, until_us, before);
    evb_lease_arm_holder(lease);
    bool all = lease->asked_count == lease->member_count; /* nobody joined meanwhile */
    drop_over(lease);
    evb_lease_look_at(lease, !all);
}

static void on_others(struct evb_lease *lease, const struct evb_lease_answer *answer)
{
    bool changed = strcmp(lease->holder, answer->holder) != 0 ||
                   (answer->holder[0] && lease->holder_fence != answer->fence);
    bool led = lease->told, noticed = lease->noticed;
    lease->noticed = false;
    atomic_store(&lease->until_us, 0);
    atomic_store(&lease->last_holder, false);
    lease->state = EVB_LEASE_FOLLOWS;
    lease->holds = lease->anew = false;
    lease->waited = !answer->holder[0];
    snprintf(lease->holder, sizeof lease->holder, "%s", answer->holder);
    lease->holder_fence = answer->fence;
    evb_lease_disarm(lease);
    evb_lease_arm(lease, answer->left_ms + 1 + (int64_t)evb_rand_below(JITTER_MS));
    evb_lease_tell_members(lease, EVB_TURN_FOLLOWS);
    evb_lease_tell_lost(lease, answer->holder, answer->fence, true);
    if (!led && changed && answer->holder[0])
        evb_lease_tell(lease, "changed", answer->holder, answer->fence);
    evb_lease_look_at(lease, noticed);
}

static void on_refused(struct evb_lease *lease, const char *why)
{
    bool passes = evb_stream_passes(why);
    if (!passes && lease->state != EVB_LEASE_REFUSED) {
        snprintf(lease->why, sizeof lease->why, "%s", why);
        lease->state = EVB_LEASE_REFUSED;
        evb_log(&lease->bus->log, EVBUS_LOG_WARNING, "leader %s: %s", lease->name, why);
        evb_lease_tell_members(lease, EVB_TURN_REFUSED);
    }
    evb_lease_disarm(lease);
    evb_lease_arm(lease, passes ? AGAIN_MS : evb_lease_ttl_ms(lease));
    if (lease->closing || evb_lease_is_deserted(lease))
        evb_lease_leave(lease);
}

/* The last word is said; or there is somebody new who wants it again. */
static void on_left(struct evb_lease *lease)
{
    drop_over(lease);
    if (lease->closing || evb_list_empty(&lease->members)) {
        evb_lease_let_go(lease);
        return;
    }
    lease->leaving = lease->holds = false;
    lease->state = EVB_LEASE_OPEN;
    evb_lease_tell_lost(lease, "", 0, false);
    evb_lease_look_at(lease, true);
}

void evb_lease_answered(const struct evb_reply *reply, void *user)
{
    struct evb_lease *lease = user;
    bool *known = &lease->bus->redis.stream.known[EVB_SCRIPT_LEADER];
    struct evb_lease_answer answer;
    lease->asked = false;
    if (!reply)
        return; /* evb_lease_lost() follows */
    bool error = reply->kind == EVB_REPLY_ERROR;
    if (error && !strncmp(reply->text, "NOSCRIPT", 8)) {
        *known = false;
        evb_lease_question(lease, lease->leaving);
    } else if (lease->leaving) {
        on_left(lease);
    } else if (error || !evb_lease_read(reply, lease->asked_count, &answer)) {
        on_refused(lease, error ? reply->text : "no answer of the script");
    } else {
        *known = true;
        lease->above = answer.fence > lease->above ? answer.fence : lease->above;
        lease->looks = false;
        if (lease->closing || evb_lease_is_deserted(lease)) {
            lease->holds = answer.outcome != EVB_LEASE_OTHERS;
            if (answer.outcome == EVB_LEASE_GAINED) /* their places are of before */
                evb_lease_tell_members(lease, EVB_TURN_GAINING);
            evb_lease_leave(lease);
        } else if (answer.outcome == EVB_LEASE_OTHERS)
            on_others(lease, &answer);
        else
            on_held(lease, reply, &answer);
    }
}
