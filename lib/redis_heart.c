/* redis_heart.c - heartbeats and fences. Loop only. */
#include "redis_heart.h"
#include "clock.h"
#include "list.h"
#include <evbus.h>
#include <stdio.h>
#include <string.h>

void evb_heart_init(struct evb_heart *heart, const char *inbox)
{
    *heart = (struct evb_heart){.inbox = inbox, .rtt_us = -1};
}

void evb_heart_reset(struct evb_heart *heart)
{
    int64_t proven_us = heart->fence.proven_us;
    uint64_t number = heart->fence.number;
    evb_heart_init(heart, heart->inbox);
    heart->fence.proven_us = proven_us;
    heart->fence.number = number;
}

static bool has_room(const struct evb_heart *heart)
{
    return heart->control_count < (int)EVB_COUNT(heart->control);
}

static void expect(struct evb_heart *heart, enum evb_control kind, uint64_t after)
{
    heart->control[heart->control_count].kind = kind;
    heart->control[heart->control_count++].after = after;
}

void evb_heart_hello(struct evb_heart *heart, int replies)
{
    while (replies-- > 0)
        expect(heart, EVB_CONTROL_HELLO, 0);
}

void evb_heart_fence(struct evb_heart *heart, struct evb_link *publisher, uint64_t written)
{
    struct evb_fence *fence = &heart->fence;
    char payload[32];
    const char *words[] = {"PUBLISH", heart->inbox, payload, NULL};
    snprintf(payload, sizeof payload, "fence:%llu", (unsigned long long)++fence->number);
    fence->sent_us = evb_clock_us();
    fence->sent_mono_us = evb_clock_mono_us();
    fence->answered_ms = 0;
    fence->arrived = fence->refused = fence->put_off = false;
    expect(heart, EVB_CONTROL_FENCE, written);
    evb_link_command(publisher, words);
}

void evb_heart_probe(struct evb_heart *heart, struct evb_link *publisher, struct evb_subs *subs,
                     uint64_t written)
{
    const char *role[] = {"HELLO", NULL};
    heart->beat_us = evb_clock_mono_us();
    if (has_room(heart)) { /* else there are answers enough to come */
        expect(heart, EVB_CONTROL_ROLE, written);
        evb_link_command(publisher, role);
    }
    evb_subs_ping(subs);
}

void evb_heart_beat(struct evb_heart *heart, struct evb_link *publisher, struct evb_subs *subs,
                    uint64_t written)
{
    evb_heart_probe(heart, publisher, subs, written);
    if (!heart->fence.no_inbox && has_room(heart))
        evb_heart_fence(heart, publisher, written);
}

bool evb_heart_expects(const struct evb_heart *heart, uint64_t answered)
{
    return heart->control_count && heart->control[0].after == answered;
}

enum evb_control evb_heart_take(struct evb_heart *heart)
{
    enum evb_control kind = heart->control[0].kind;
    heart->control_count--;
    memmove(heart->control, heart->control + 1,
            (size_t)heart->control_count * sizeof heart->control[0]);
    if (kind == EVB_CONTROL_ROLE)
        heart->rtt_us = evb_clock_mono_us() - heart->beat_us;
    return kind;
}

/* The inbox's name ends with the node, which is another one after a restart. */
void evb_heart_tell(const struct evb_heart *heart, struct evb_lacks *lacks, const char *command,
                    enum evb_right right)
{
    char name[EVB_RIGHT_TEXT];
    size_t length = strlen(heart->inbox);
    while (length && heart->inbox[length - 1] != ':')
        length--;
    struct evb_need need = {right, command, EVB_CHANNEL_PREFIX, heart->inbox, length};
    evb_acl_name(name, sizeof name, &need);
    evb_lacks_tell(lacks, EVB_LACK_FENCE, name);
}

int evb_heart_answered(struct evb_heart *heart, const struct evb_reply *reply, char *why,
                       size_t room)
{
    heart->fence.answered_ms = evb_clock_mono_ms();
    if (heart->rtt_us < 0)
        heart->rtt_us = evb_clock_mono_us() - heart->fence.sent_mono_us;
    if (reply->kind == EVB_REPLY_ERROR) { /* BUSY and its like pass */
        heart->fence.refused = evb_acl_refuses(reply->text);
        heart->fence.put_off = !heart->fence.refused;
        return 0;
    }
    if (reply->kind != EVB_REPLY_INTEGER) {
        snprintf(why, room, "protocol error: not the answer to PUBLISH");
        return EVBUS_EPARSE;
    }
    if (reply->integer > 0)
        return 0;
    snprintf(why, room,
             "nobody hears this node's own channel: both connections do not lead to the "
             "same server");
    return EVBUS_EAWAY;
}

bool evb_heart_arrived(struct evb_heart *heart, const struct evb_reply *payload)
{
    char expected[32];
    snprintf(expected, sizeof expected, "fence:%llu", (unsigned long long)heart->fence.number);
    if (strcmp(payload->text, expected) != 0)
        return false; /* of an earlier heartbeat, or somebody else's word: it proves nothing */
    heart->fence.arrived = true;
    heart->fence.proven_us = heart->fence.sent_us;
    return true;
}

enum evb_verdict evb_heart_judge(const struct evb_heart *heart, const struct evb_link *publisher,
                                 const struct evb_link *subscriber, int64_t limit_ms, char *why,
                                 size_t room)
{
    const struct evb_link *links[] = {publisher, subscriber};
    const struct evb_fence *fence = &heart->fence;
    int64_t now_ms = evb_clock_mono_ms();
    for (size_t i = 0; i < EVB_COUNT(links); i++) {
        if (links[i]->last_read_us >= heart->beat_us)
            continue;
        snprintf(why, room, "%s connection: no answer for %lld ms", links[i]->name,
                 (long long)(now_ms - links[i]->last_read_us / 1000));
        return EVB_DEAD;
    }
    if (fence->no_inbox || !fence->sent_us || fence->refused || fence->arrived || fence->put_off)
        return EVB_ALIVE;
    if (!fence->answered_ms || now_ms - fence->answered_ms < limit_ms)
        return EVB_WAIT;
    snprintf(why, room, "subscriber connection: what is published does not arrive");
    return EVB_DEAD;
}
