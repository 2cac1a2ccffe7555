/* redis_heart.c - heartbeats and fences. Loop only. */
#include "redis_heart.h"
#include "clock.h"
#include <evbus.h>
#include <stdio.h>
#include <string.h>

enum { ASKS_MOST = 8 }; /* beyond, there are answers enough to come */

void evb_heart_init(struct evb_heart *heart, const char *inbox, struct evb_stream *stream,
                    evb_ask_fn on_role, evb_ask_fn on_fence, void *user)
{
    *heart = (struct evb_heart){.inbox = inbox,
                                .stream = stream,
                                .on_role = on_role,
                                .on_fence = on_fence,
                                .user = user,
                                .rtt_us = -1};
}

void evb_heart_reset(struct evb_heart *heart)
{
    const struct evb_fence last = heart->fence;
    evb_heart_init(heart, heart->inbox, heart->stream, heart->on_role, heart->on_fence,
                   heart->user);
    heart->fence.proven_us = last.proven_us;
    heart->fence.proven_mono_us = last.proven_mono_us;
    heart->fence.number = last.number;
}

void evb_heart_fence(struct evb_heart *heart, struct evb_asks *asks)
{
    struct evb_fence *fence = &heart->fence;
    char payload[32];
    const char *words[] = {"PUBLISH", heart->inbox, payload, NULL};
    snprintf(payload, sizeof payload, "fence:%llu", (unsigned long long)++fence->number);
    fence->sent_us = evb_clock_us();
    fence->sent_mono_us = evb_clock_mono_us();
    fence->answered_ms = 0;
    fence->arrived = fence->refused = fence->put_off = fence->anew = false;
    fence->with_history = evb_stream_may_be(heart->stream);
    if (fence->with_history)
        evb_stream_fence(heart->stream, asks, heart->inbox, payload, heart->on_fence, heart->user);
    else
        evb_asks_send(asks, words, heart->on_fence, heart->user);
}

void evb_heart_probe(struct evb_heart *heart, struct evb_asks *asks, struct evb_subs *subs)
{
    const char *role[] = {"HELLO", NULL};
    heart->beat_us = evb_clock_mono_us();
    if (asks->count < ASKS_MOST)
        evb_asks_send(asks, role, heart->on_role, heart->user);
    evb_subs_ping(subs);
}

void evb_heart_beat(struct evb_heart *heart, struct evb_asks *asks, struct evb_subs *subs)
{
    evb_heart_probe(heart, asks, subs);
    if (!heart->fence.no_inbox && asks->count < ASKS_MOST)
        evb_heart_fence(heart, asks);
}

void evb_heart_round_trip(struct evb_heart *heart)
{
    heart->rtt_us = evb_clock_mono_us() - heart->beat_us;
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

/* BUSY and its like pass. */
static int plain_answer(const struct evb_reply *reply, int64_t *receivers, const char **refusal)
{
    *receivers = reply->integer;
    *refusal = reply->text;
    return reply->kind == EVB_REPLY_INTEGER ? 0
           : reply->kind == EVB_REPLY_ERROR ? EVBUS_EDENIED
                                            : EVBUS_EPARSE;
}

int evb_heart_answered(struct evb_heart *heart, const struct evb_reply *reply, char *why,
                       size_t room)
{
    heart->fence.answered_ms = evb_clock_mono_ms();
    if (heart->rtt_us < 0)
        heart->rtt_us = evb_clock_mono_us() - heart->fence.sent_mono_us;
    int64_t receivers = 0;
    const char *refusal = NULL;
    int rc = heart->fence.with_history
                 ? evb_stream_fenced(heart->stream, reply, &receivers, &refusal)
                 : plain_answer(reply, &receivers, &refusal);
    if (rc == EVBUS_EPARSE)
        snprintf(why, room, "protocol error: not the answer to a fence");
    heart->fence.refused = rc == EVBUS_EDENIED && evb_acl_refuses(refusal);
    heart->fence.put_off = rc == EVBUS_EAWAY || (rc == EVBUS_EDENIED && !heart->fence.refused);
    heart->fence.anew = rc == EVBUS_ENOENT || rc == EVBUS_ENOTSUP;
    heart->fence.right = heart->fence.refused ? evb_acl_right(refusal) : EVB_RIGHT_BOTH;
    if (rc != 0)
        return rc == EVBUS_EPARSE ? rc : 0;
    if (receivers > 0 || heart->fence.no_inbox)
        return 0;
    snprintf(why, room,
             "nobody hears this node's own channel: both connections do not lead to the "
             "same server");
    return EVBUS_EAWAY;
}

bool evb_heart_is_fence(const struct evb_reply *payload)
{
    return strncmp(payload->text, "fence:", 6) == 0;
}

bool evb_heart_arrived(struct evb_heart *heart, const struct evb_reply *payload)
{
    char expected[32];
    snprintf(expected, sizeof expected, "fence:%llu", (unsigned long long)heart->fence.number);
    if (strcmp(payload->text, expected) != 0)
        return false; /* of an earlier heartbeat, or somebody else's word: it proves nothing */
    heart->fence.arrived = true;
    heart->fence.proven_us = heart->fence.sent_us;
    heart->fence.proven_mono_us = heart->fence.sent_mono_us;
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
