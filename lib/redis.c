/* redis.c - a shard at work: readiness, heartbeat, replies. Loop only. */
#include "redis.h"
#include "clock.h"
#include "err.h"
#include "redis_answer.h"
#include "redis_pair.h"
#include <evbus.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RETRY_PAUSE_MS = 100 };

/* ---- readiness and heartbeat ---- */

static void maybe_ready(struct evb_redis *redis)
{
    struct evb_fence *fence = &redis->heart.fence;
    if (evb_pair_state(redis) != EVB_REDIS_HANDSHAKE || redis->publisher_hello.left ||
        redis->subscriber_hello.left || !redis->subs.link || redis->subs.pending)
        return;
    if (!evb_server_is(&redis->server, 6, 2))
        redis->stream.no_script = true;
    if (evb_stream_may_be(&redis->stream) && redis->stream.no_script)
        evb_stream_lacks(&redis->stream, "it needs Redis 6.2 or later");
    if (!evb_grouped_is_known(&redis->grouped) && !redis->grouped.reading)
        evb_grouped_read(&redis->grouped); /* they tell on a channel from now on: none is missed */
    if (evb_pair_state(redis) != EVB_REDIS_HANDSHAKE)
        return;
    bool asked = atomic_load(&redis->stream.state) == EVB_STREAM_ASKED;
    bool proven = fence->no_inbox || fence->refused || fence->arrived;
    if (asked || !proven) {
        if (!fence->sent_us || fence->anew) {
            evb_heart_fence(&redis->heart, &redis->asks);
            evb_link_flush(&redis->publisher);
        }
        return;
    }
    if (!evb_grouped_is_known(&redis->grouped))
        return;
    evb_backoff_reset(&redis->backoff);
    atomic_store(&redis->attempts, 0);
    evb_fault_set(&redis->fault, 0, "");
    evb_count(redis->metrics, EVB_COUNT_connects, 1);
    evb_pair_arm(redis->timer, redis->set.ping_interval_ms);
    evb_pair_enter(redis, EVB_REDIS_READY, "connected");
}

/* The fence came back, and so did the answer to its PUBLISH: there is nothing left to judge. */
static void maybe_proven(struct evb_redis *redis)
{
    const struct evb_fence *fence = &redis->heart.fence;
    if (!fence->arrived || !fence->answered_ms)
        return;
    event_del(redis->deadline);
    if (fence->with_history && evb_pair_state(redis) == EVB_REDIS_READY)
        evb_recovery_proven(&redis->recovery);
}

static void beat(struct evb_redis *redis)
{
    evb_pair_arm(redis->timer, redis->set.ping_interval_ms);
    if (event_pending(redis->deadline, EV_TIMEOUT, NULL))
        return; /* the last one is not judged yet: another would put its judgement off */
    evb_heart_beat(&redis->heart, &redis->asks, &redis->subs);
    evb_grouped_beat(&redis->grouped);
    evb_pair_arm(redis->deadline, redis->set.ping_timeout_ms);
}

/* Reads first: a loop that was held up must not call a living peer dead. */
static void judge(struct evb_redis *redis)
{
    char why[96];
    evb_link_read(&redis->publisher);
    if (evb_pair_state(redis) == EVB_REDIS_READY)
        evb_link_read(&redis->subscriber);
    if (evb_pair_state(redis) != EVB_REDIS_READY)
        return;
    enum evb_verdict verdict = evb_heart_judge(&redis->heart, &redis->publisher, &redis->subscriber,
                                               redis->set.ping_timeout_ms, why, sizeof why);
    if (verdict == EVB_DEAD) {
        evb_pair_lose(redis, EVBUS_ETIMEDOUT, why);
    } else if (verdict == EVB_WAIT) {
        evb_heart_probe(&redis->heart, &redis->asks, &redis->subs);
        evb_pair_arm(redis->deadline, redis->set.ping_timeout_ms);
    }
}

/* What a reply among the events leads to: 0, or the error that ends the connections. */
static void go_on(struct evb_redis *redis, int rc, const char *why)
{
    atomic_store(&redis->rtt_us, redis->heart.rtt_us);
    if (rc != 0)
        evb_pair_lose(redis, rc, why);
    else
        maybe_ready(redis);
}

static void on_hello(const struct evb_reply *reply, void *user)
{
    struct evb_redis *redis = user;
    char why[EVB_FAULT_TEXT];
    if (!reply)
        return;
    int rc = evb_hello_reply(&redis->publisher_hello, reply, &redis->server, why, sizeof why);
    if (redis->publisher_hello.unnamed)
        evb_lacks_tell(&redis->lacks, EVB_LACK_NAME, NULL);
    go_on(redis, rc, why);
}

static void on_role(const struct evb_reply *reply, void *user)
{
    struct evb_redis *redis = user;
    char why[EVB_FAULT_TEXT];
    int rc = 0;
    if (!reply)
        return;
    evb_heart_round_trip(&redis->heart);
    if (reply->kind == EVB_REPLY_ERROR && evb_acl_refuses(reply->text))
        evb_lacks_tell(&redis->lacks, EVB_LACK_ROLE, NULL);
    else
        rc = evb_hello_read(reply, &redis->server, why, sizeof why);
    go_on(redis, rc, why);
}

static void on_fence_reply(const struct evb_reply *reply, void *user)
{
    struct evb_redis *redis = user;
    char why[EVB_FAULT_TEXT];
    if (!reply)
        return;
    int rc = evb_heart_answered(&redis->heart, reply, why, sizeof why);
    const struct evb_fence *fence = &redis->heart.fence;
    if (fence->with_history && !fence->put_off && !fence->anew && evb_stream_is_on(&redis->stream))
        evb_recovery_facts(&redis->recovery);
    if (rc == 0 && fence->put_off && evb_pair_state(redis) == EVB_REDIS_HANDSHAKE) {
        rc = EVBUS_EAWAY; /* no heartbeat brings another one yet: a server that still loads, say */
        snprintf(why, sizeof why, "%s",
                 reply->kind == EVB_REPLY_ERROR ? reply->text : "its channel is refused for now");
    }
    if (redis->heart.fence.refused)
        evb_heart_tell(&redis->heart, &redis->lacks, "publish", redis->heart.fence.right);
    if (redis->heart.fence.anew && evb_pair_state(redis) == EVB_REDIS_READY)
        evb_heart_fence(&redis->heart, &redis->asks);
    maybe_proven(redis);
    go_on(redis, rc, why);
}

/* ---- the two connections ---- */

/* To a call of the history's script. */
static bool on_call(struct evb_redis *redis, const struct evb_reply *reply)
{
    const char *keep = NULL;
    bool known = true;
    if (reply->kind == EVB_REPLY_ERROR) {
        redis->pause_ms = evb_stream_refused(&redis->stream, reply->text) ? 0 : RETRY_PAUSE_MS;
        evb_answer_refused(&redis->outbox, reply->text);
    } else {
        known = evb_answer_call(&redis->outbox, reply, &keep);
        evb_stream_appended(&redis->stream);
        if (keep)
            evb_stream_lacks(&redis->stream, keep);
    }
    return known;
}

static bool on_publish(struct evb_redis *redis, const struct evb_reply *reply)
{
    if (reply->kind == EVB_REPLY_INTEGER)
        return evb_answer_ok(&redis->outbox, reply->integer);
    redis->pause_ms = RETRY_PAUSE_MS;
    return reply->kind == EVB_REPLY_ERROR && evb_answer_error(&redis->outbox, reply->text);
}

static void publisher_reply(struct evb_link *link, const struct evb_reply *reply, void *user)
{
    struct evb_redis *redis = user;
    struct evb_outbox *outbox = &redis->outbox;
    (void)link;
    if (evb_asks_expects(&redis->asks, outbox->answered_count)) {
        evb_asks_answer(&redis->asks, reply);
        return;
    }
    bool known = evb_answer_is_call(outbox) ? on_call(redis, reply) : on_publish(redis, reply);
    if (!known)
        evb_pair_lose(redis, EVBUS_EPARSE,
                      "publisher connection: protocol error: not the answer to what was asked");
    else if (!evb_list_empty(&outbox->again) && evb_outbox_settled(outbox) &&
             !event_pending(redis->pause, EV_TIMEOUT, NULL))
        evb_pair_arm(redis->pause, redis->pause_ms);
}

/* ---- groups ---- */

static void on_groups_known(void *user)
{
    maybe_ready(user);
}

static void on_groups_failed(int error, const char *why, void *user)
{
    evb_pair_lose(user, error, why);
}

static void on_groups_lack(const char *right, void *user)
{
    struct evb_redis *redis = user;
    evb_lacks_tell(&redis->lacks, EVB_LACK_GROUPS, right);
}

static void on_group_gone(const struct evb_lost_group *group, void *user)
{
    struct evb_redis *redis = user;
    redis->hooks->gone(group, redis->user);
}

static bool is_control(const struct evb_redis *redis, const char *channel)
{
    return redis->grouped.control && !strcmp(channel, redis->grouped.control);
}

static void on_inbox(struct evb_redis *redis, const struct evb_reply *payload)
{
    if (!evb_heart_is_fence(payload)) {
        if (redis->hooks->inbox)
            redis->hooks->inbox(payload, redis->user);
    } else if (evb_heart_arrived(&redis->heart, payload)) {
        maybe_proven(redis);
    }
}

/* What Redis has answered counts: it is not in doubt. */
static void lose_subscriber(struct evb_redis *redis, int error, const char *why)
{
    if (evb_pair_state(redis) == EVB_REDIS_READY)
        evb_link_read(&redis->publisher);
    evb_pair_lose(redis, error, why);
}

static void subscriber_reply(struct evb_link *link, const struct evb_reply *reply, void *user)
{
    struct evb_redis *redis = user;
    char why[EVB_FAULT_TEXT];
    int rc = 0;
    if (redis->subscriber_hello.left) {
        rc = evb_hello_reply(&redis->subscriber_hello, reply, &redis->server, why, sizeof why);
        if (rc == 0 && redis->subscriber_hello.left == 0) {
            link->gate.pushes = true;
            evb_subs_start(&redis->subs, link);
        }
    } else if (evb_reply_is_message(reply)) {
        if (!strcmp(reply->item[1]->text, redis->set.inbox))
            on_inbox(redis, reply->item[2]);
        else if (is_control(redis, reply->item[1]->text))
            evb_grouped_read(&redis->grouped);
        else
            redis->hooks->message(reply->item[1], reply->item[2], NULL, redis->user);
    } else if (evb_reply_is_pmessage(reply)) {
        if (strcmp(reply->item[2]->text, redis->set.inbox) != 0 &&
            !is_control(redis, reply->item[2]->text))
            redis->hooks->message(reply->item[2], reply->item[3], reply->item[1], redis->user);
    } else {
        rc = evb_subs_reply(&redis->subs, reply, why, sizeof why);
        if (rc == EVBUS_EAWAY) /* before it is READY no heartbeat asks again */
            rc = evb_pair_state(redis) == EVB_REDIS_READY ? 0 : EVBUS_EREMOTE;
    }
    if (rc != 0)
        lose_subscriber(redis, rc, why);
    else
        maybe_ready(redis);
}

static void link_up(struct evb_link *link, void *user)
{
    struct evb_redis *redis = user;
    (void)link;
    if (evb_pair_state(redis) != EVB_REDIS_DIALING || redis->publisher.stage != EVB_LINK_UP ||
        redis->subscriber.stage != EVB_LINK_UP)
        return;
    evb_pair_enter(redis, EVB_REDIS_HANDSHAKE, "connected");
    evb_stream_link_up(&redis->stream);
    evb_hello_send(&redis->publisher_hello, &redis->publisher, &redis->login);
    for (int i = redis->publisher_hello.left; i > 0; i--)
        evb_asks_expect(&redis->asks, on_hello, redis);
    if (evb_pair_state(redis) == EVB_REDIS_HANDSHAKE)
        evb_hello_send(&redis->subscriber_hello, &redis->subscriber, &redis->login);
}

static void publisher_down(struct evb_link *link, int error, const char *why, void *user)
{
    (void)link;
    evb_pair_lose(user, error, why);
}

static void subscriber_down(struct evb_link *link, int error, const char *why, void *user)
{
    (void)link;
    lose_subscriber(user, error, why);
}

static const struct evb_link_hooks publisher_hooks = {link_up, publisher_reply, publisher_down};
static const struct evb_link_hooks subscriber_hooks = {link_up, subscriber_reply, subscriber_down};

/* A topic was confirmed or refused; this node's own inbox is no business of anybody else. */
static void on_decided(const struct evb_topic *topic, void *user)
{
    struct evb_redis *redis = user;
    if (is_control(redis, topic->name)) {
        char right[EVB_RIGHT_TEXT];
        redis->grouped.deaf = topic->state == EVB_TOPIC_REFUSED;
        evb_topic_lacks(topic, right, sizeof right);
        if (redis->grouped.deaf)
            evb_lacks_tell(&redis->lacks, EVB_LACK_CONTROL, right);
        return;
    }
    if (strcmp(topic->name, redis->set.inbox) != 0) {
        redis->hooks->decided(topic, redis->user);
        return;
    }
    redis->heart.fence.no_inbox = topic->state == EVB_TOPIC_REFUSED;
    if (redis->heart.fence.no_inbox)
        evb_heart_tell(&redis->heart, &redis->lacks, "subscribe", topic->lacks);
}

static void on_lack(enum evb_lack lack, void *user)
{
    struct evb_redis *redis = user;
    evb_lacks_tell(&redis->lacks, lack, NULL);
}

/* ---- timers ---- */

static void on_timer(struct evb_redis *redis)
{
    char why[128];
    snprintf(why, sizeof why, "no connection within %lld ms%s",
             (long long)redis->set.connect_timeout_ms, evb_link_silence(&redis->publisher));
    switch (evb_pair_state(redis)) {
    case EVB_REDIS_BACKOFF:
        evb_redis_start(redis);
        break;
    case EVB_REDIS_READY:
        beat(redis);
        break;
    default:
        evb_pair_lose(redis, EVBUS_ETIMEDOUT, why);
    }
}

static void retry(struct evb_redis *redis)
{
    evb_outbox_retry(&redis->outbox);
}

static void expire(struct evb_redis *redis)
{
    redis->expiry_ms = 0;
    evb_outbox_expire(&redis->outbox);
}

#define TIMER(name)                                                                                \
    static void fire_##name(evutil_socket_t fd, short what, void *arg)                             \
    {                                                                                              \
        struct evb_redis *redis = arg;                                                             \
        struct evb_loop *loop = redis->loop;                                                       \
        (void)fd;                                                                                  \
        (void)what;                                                                                \
        evb_loop_begin(loop);                                                                      \
        name(redis);                                                                               \
        evb_loop_end(loop);                                                                        \
    }
TIMER(on_timer)
TIMER(judge)
TIMER(retry)
TIMER(expire)

int evb_redis_init(struct evb_redis *redis, const struct evb_redis_settings *settings,
                   struct evb_loop *loop, struct evb_log *log, struct evb_metrics *metrics,
                   const struct evb_redis_hooks *hooks, void *user)
{
    redis->set = *settings;
    redis->login = settings->login;
    evb_tls_init(&redis->tls, &settings->tls);
    redis->loop = loop;
    redis->log = redis->lacks.log = redis->outbox.log = log;
    redis->metrics = metrics;
    redis->hooks = hooks;
    redis->user = user;
    atomic_init(&redis->rtt_us, -1);
    evb_outbox_init(&redis->outbox, metrics, hooks->water, user);
    evb_link_init(&redis->publisher, loop, metrics, "publisher", settings->max_frame,
                  &publisher_hooks, redis);
    evb_link_init(&redis->subscriber, loop, metrics, "subscriber", settings->max_frame,
                  &subscriber_hooks, redis);
    evb_asks_init(&redis->asks, &redis->publisher, &redis->outbox.written_count);
    evb_heart_init(&redis->heart, settings->inbox, &redis->stream, on_role, on_fence_reply, redis);
    evb_subs_init(&redis->subs, on_decided, on_lack, redis);
    evb_target_init(&redis->target, loop, settings->host, settings->path, settings->port,
                    evb_pair_found, redis);
    evb_backoff_init(&redis->backoff, settings->backoff_ms, settings->backoff_max_ms);
    redis->timer = event_new(loop->base, -1, 0, fire_on_timer, redis);
    redis->deadline = event_new(loop->base, -1, 0, fire_judge, redis);
    redis->pause = event_new(loop->base, -1, 0, fire_retry, redis);
    redis->expiry = event_new(loop->base, -1, 0, fire_expire, redis);
    evb_recovery_init(&redis->recovery, &redis->stream, &redis->asks, &settings->recovery,
                      &hooks->recovery, user);
    if (evb_stream_init(&redis->stream, &settings->stream, log) != 0)
        return EVBUS_ENOMEM;
    redis->stream.fault = &redis->no_history;
    struct evb_grouped_hooks groups = {on_groups_known, on_groups_failed, on_groups_lack,
                                       on_group_gone, redis};
    if (evb_grouped_init(&redis->grouped, &redis->stream, &redis->asks, log, &groups) != 0)
        return EVBUS_ENOMEM;
    redis->outbox.grouped = evb_grouped_has;
    redis->outbox.groups = &redis->grouped;
    if (!redis->timer || !redis->deadline || !redis->pause || !redis->expiry)
        return evb_fail_memory();
    const char *control = redis->grouped.control;
    int rc = evb_subs_add(&redis->subs, settings->inbox, strlen(settings->inbox), false);
    return rc == 0 && control ? evb_subs_add(&redis->subs, control, strlen(control), false) : rc;
}

void evb_redis_fini(struct evb_redis *redis)
{
    if (!redis->loop)
        return;
    struct event *timers[] = {redis->timer, redis->deadline, redis->pause, redis->expiry};
    evb_target_stop(&redis->target);
    evb_link_close(&redis->publisher);
    evb_link_close(&redis->subscriber);
    evb_asks_lost(&redis->asks);
    evb_recovery_fini(&redis->recovery);
    evb_grouped_fini(&redis->grouped);
    evb_stream_fini(&redis->stream);
    evb_subs_fini(&redis->subs);
    evb_login_fini(&redis->login);
    evb_tls_fini(&redis->tls);
    for (size_t i = 0; i < EVB_COUNT(timers); i++)
        if (timers[i])
            event_free(timers[i]);
    redis->loop = NULL;
}

void evb_redis_drop(struct evb_redis *redis)
{
    evb_link_drop(&redis->publisher);
    evb_link_drop(&redis->subscriber);
}
