/* redis.c - the pair and its state machine. Loop only. */
#include "redis.h"
#include "clock.h"
#include "err.h"
#include <evbus.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    RETRY_PAUSE_MS = 100,
    EXPIRY_PAUSE_MS = 10,
    AUTH_PAUSE_MS = 30000 /* a wrong password sent again and again locks accounts and fills logs */
};

static void dial(struct evb_redis *redis);
static void lose(struct evb_redis *redis, int error, const char *why);

static enum evb_redis_state state_of(const struct evb_redis *redis)
{
    return (enum evb_redis_state)atomic_load_explicit(&redis->state, memory_order_relaxed);
}

/* The only place that changes the state. */
static void enter(struct evb_redis *redis, enum evb_redis_state to, const char *why)
{
    enum evb_redis_state from = state_of(redis);
    if (!evb_redis_state_may(from, to)) {
        evb_log(redis->log, EVBUS_LOG_ERROR, "redis: no way from %s to %s",
                evb_redis_state_name(from), evb_redis_state_name(to));
        return;
    }
    atomic_store(&redis->state, to);
    atomic_store(&redis->outbox.up, to == EVB_REDIS_READY);
    evb_log(redis->log, EVBUS_LOG_DEBUG, "redis: %s -> %s (%s)", evb_redis_state_name(from),
            evb_redis_state_name(to), why);
    redis->hooks->state(from, to, why, redis->user);
}

static void arm(struct event *timer, int64_t ms)
{
    struct timeval in = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    event_add(timer, &in);
}

/* ---- writing ---- */

/* True: something was written. */
static bool pump(struct evb_redis *redis)
{
    struct evb_link *link = &redis->publisher;
    uint64_t before = redis->outbox.written_count;
    struct evb_item *item = NULL;
    do {
        if (link->stage != EVB_LINK_UP || state_of(redis) != EVB_REDIS_READY)
            return false;
        while (evb_link_backlog(link) < EVB_LINK_FULL && (item = evb_outbox_next(&redis->outbox)))
            evb_link_send(link, item->bytes, item->length);
        evb_link_flush(link);
    } while (item && evb_link_backlog(link) == 0);
    return redis->outbox.written_count != before;
}

static void plan_expiry(struct evb_redis *redis)
{
    int64_t at_ms = evb_outbox_next_expiry_ms(&redis->outbox), now_ms = evb_clock_mono_ms();
    bool planned = event_pending(redis->expiry, EV_TIMEOUT, NULL);
    if (state_of(redis) == EVB_REDIS_READY || at_ms == INT64_MAX) {
        event_del(redis->expiry);
        return;
    }
    at_ms = at_ms > now_ms + EXPIRY_PAUSE_MS ? at_ms + 1 : now_ms + EXPIRY_PAUSE_MS;
    if (planned && redis->expiry_ms <= at_ms)
        return;
    redis->expiry_ms = at_ms;
    arm(redis->expiry, at_ms - now_ms);
}

bool evb_redis_idle(struct evb_redis *redis)
{
    bool wrote = pump(redis);
    evb_link_flush(&redis->subscriber);
    plan_expiry(redis);
    return wrote;
}

/* ---- readiness and heartbeat ---- */

static void maybe_ready(struct evb_redis *redis)
{
    struct evb_fence *fence = &redis->heart.fence;
    if (state_of(redis) != EVB_REDIS_HANDSHAKE || redis->publisher_hello.left ||
        redis->subscriber_hello.left || !redis->subs.link || redis->subs.pending)
        return;
    if (!fence->no_inbox && !fence->refused && !fence->arrived) {
        if (!fence->sent_us) {
            evb_heart_fence(&redis->heart, &redis->asks);
            evb_link_flush(&redis->publisher);
        }
        return;
    }
    evb_backoff_reset(&redis->backoff);
    atomic_store(&redis->attempts, 0);
    evb_fault_set(&redis->fault, 0, "");
    evb_count(redis->metrics, EVB_COUNT_connects, 1);
    arm(redis->timer, redis->set.ping_interval_ms);
    enter(redis, EVB_REDIS_READY, "connected");
}

/* The fence came back, and so did the answer to its PUBLISH: there is nothing left to judge. */
static void maybe_proven(struct evb_redis *redis)
{
    if (redis->heart.fence.arrived && redis->heart.fence.answered_ms)
        event_del(redis->deadline);
}

static void beat(struct evb_redis *redis)
{
    arm(redis->timer, redis->set.ping_interval_ms);
    if (event_pending(redis->deadline, EV_TIMEOUT, NULL))
        return; /* the last one is not judged yet: another would put its judgement off */
    evb_heart_beat(&redis->heart, &redis->asks, &redis->subs);
    arm(redis->deadline, redis->set.ping_timeout_ms);
}

/* Reads first: a loop that was held up must not call a living peer dead. */
static void judge(struct evb_redis *redis)
{
    char why[96];
    evb_link_read(&redis->publisher);
    if (state_of(redis) == EVB_REDIS_READY)
        evb_link_read(&redis->subscriber);
    if (state_of(redis) != EVB_REDIS_READY)
        return;
    enum evb_verdict verdict = evb_heart_judge(&redis->heart, &redis->publisher, &redis->subscriber,
                                               redis->set.ping_timeout_ms, why, sizeof why);
    if (verdict == EVB_DEAD) {
        lose(redis, EVBUS_ETIMEDOUT, why);
    } else if (verdict == EVB_WAIT) {
        evb_heart_probe(&redis->heart, &redis->asks, &redis->subs);
        arm(redis->deadline, redis->set.ping_timeout_ms);
    }
}

/* What a reply among the events leads to: 0, or the error that ends the connections. */
static void go_on(struct evb_redis *redis, int rc, const char *why)
{
    atomic_store(&redis->rtt_us, redis->heart.rtt_us);
    if (rc != 0)
        lose(redis, rc, why);
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
    if (reply->kind == EVB_REPLY_ERROR && evb_acl_refuses(reply->text))
        evb_heart_tell(&redis->heart, &redis->lacks, "publish", evb_acl_right(reply->text));
    maybe_proven(redis);
    go_on(redis, rc, why);
}

/* ---- the two connections ---- */

static void publisher_reply(struct evb_link *link, const struct evb_reply *reply, void *user)
{
    struct evb_redis *redis = user;
    struct evb_outbox *outbox = &redis->outbox;
    (void)link;
    if (evb_asks_expects(&redis->asks, outbox->answered_count)) {
        evb_asks_answer(&redis->asks, reply);
        return;
    }
    bool known = reply->kind == EVB_REPLY_INTEGER ? evb_outbox_answer(outbox, reply->integer)
                 : reply->kind == EVB_REPLY_ERROR ? evb_outbox_answer_error(outbox, reply->text)
                                                  : false;
    if (!known)
        lose(redis, EVBUS_EPARSE,
             "publisher connection: protocol error: not the answer to PUBLISH");
    else if (!evb_list_empty(&outbox->again) && evb_outbox_settled(outbox) &&
             !event_pending(redis->pause, EV_TIMEOUT, NULL))
        arm(redis->pause, RETRY_PAUSE_MS);
}

static void on_fence(struct evb_redis *redis, const struct evb_reply *payload)
{
    if (evb_heart_arrived(&redis->heart, payload))
        maybe_proven(redis);
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
            on_fence(redis, reply->item[2]);
        else
            redis->hooks->message(reply->item[1], reply->item[2], NULL, redis->user);
    } else if (evb_reply_is_pmessage(reply)) {
        if (strcmp(reply->item[2]->text, redis->set.inbox) != 0)
            redis->hooks->message(reply->item[2], reply->item[3], reply->item[1], redis->user);
    } else {
        rc = evb_subs_reply(&redis->subs, reply, why, sizeof why);
    }
    if (rc != 0)
        lose(redis, rc, why);
    else
        maybe_ready(redis);
}

static void link_up(struct evb_link *link, void *user)
{
    struct evb_redis *redis = user;
    (void)link;
    if (state_of(redis) != EVB_REDIS_DIALING || redis->publisher.stage != EVB_LINK_UP ||
        redis->subscriber.stage != EVB_LINK_UP)
        return;
    enter(redis, EVB_REDIS_HANDSHAKE, "connected");
    evb_hello_send(&redis->publisher_hello, &redis->publisher, &redis->login);
    for (int i = redis->publisher_hello.left; i > 0; i--)
        evb_asks_expect(&redis->asks, on_hello, redis);
    if (state_of(redis) == EVB_REDIS_HANDSHAKE)
        evb_hello_send(&redis->subscriber_hello, &redis->subscriber, &redis->login);
}

static void link_down(struct evb_link *link, int error, const char *why, void *user)
{
    (void)link;
    lose(user, error, why);
}

static const struct evb_link_hooks publisher_hooks = {link_up, publisher_reply, link_down};
static const struct evb_link_hooks subscriber_hooks = {link_up, subscriber_reply, link_down};

/* A topic was confirmed or refused; this node's own inbox is no business of anybody else. */
static void on_decided(const struct evb_topic *topic, void *user)
{
    struct evb_redis *redis = user;
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

/* ---- coming and going ---- */

static void hang_up(struct evb_redis *redis)
{
    evb_target_stop(&redis->target);
    evb_link_close(&redis->publisher);
    evb_link_close(&redis->subscriber);
    evb_subs_reset(&redis->subs);
    event_del(redis->timer);
    event_del(redis->deadline);
    event_del(redis->pause);
    evb_asks_lost(&redis->asks);
    evb_heart_reset(&redis->heart);
    redis->lacks.told = 0;
    redis->publisher_hello.left = redis->subscriber_hello.left = 0;
    atomic_store(&redis->rtt_us, -1);
}

static void back_off(struct evb_redis *redis, int error, const char *why)
{
    enter(redis, EVB_REDIS_BACKOFF, why);
    if (redis->set.max_retries >= 0 && redis->backoff.attempts >= redis->set.max_retries) {
        evb_log(redis->log, EVBUS_LOG_ERROR,
                "redis: gave up after %d tries (%s): local only until evbus_reconnect()",
                redis->backoff.attempts, why);
        atomic_store(&redis->retry_at_ms, 0);
        enter(redis, EVB_REDIS_OFF, why);
        return;
    }
    int64_t wait_ms = evb_backoff_next_ms(&redis->backoff);
    wait_ms = error == EVBUS_EAUTH ? AUTH_PAUSE_MS : wait_ms;
    atomic_store(&redis->attempts, redis->backoff.attempts);
    atomic_store(&redis->retry_at_ms, evb_clock_mono_ms() + wait_ms);
    arm(redis->timer, wait_ms);
}

/* The one way out of a connection that failed, whatever its state. */
static void lose(struct evb_redis *redis, int error, const char *why)
{
    enum evb_redis_state was = state_of(redis);
    char text[EVB_FAULT_TEXT];
    snprintf(text, sizeof text, "%s", why); /* may stand in a reply that is freed below */
    if (was == EVB_REDIS_OFF || was == EVB_REDIS_BACKOFF || was == EVB_REDIS_CLOSING)
        return;
    evb_fault_set(&redis->fault, error, text);
    hang_up(redis);
    evb_outbox_link_lost(&redis->outbox);
    evb_count(redis->metrics,
              was == EVB_REDIS_READY ? EVB_COUNT_disconnects : EVB_COUNT_connect_errors, 1);
    if (error == EVBUS_EPARSE)
        evb_count(redis->metrics, EVB_COUNT_protocol_errors, 1);
    bool first = was == EVB_REDIS_READY || redis->backoff.attempts == 0;
    evb_log(redis->log, first ? EVBUS_LOG_WARNING : EVBUS_LOG_INFO, "redis: %s (%s)", text,
            evbus_strerror(error));
    if (was == EVB_REDIS_DIALING && evb_target_next(&redis->target)) {
        dial(redis);
        return;
    }
    back_off(redis, error, text);
}

int evb_redis_load(struct evb_redis *redis)
{
    int rc = evb_login_load(&redis->login);
    return rc == 0 ? evb_tls_load(&redis->tls, redis->log) : rc;
}

static void dial(struct evb_redis *redis)
{
    const struct evb_address *address = evb_target_now(&redis->target);
    const struct evb_tls *tls = redis->tls.set.enabled ? &redis->tls : NULL;
    enter(redis, EVB_REDIS_DIALING, address->path ? address->path : address->host);
    arm(redis->timer, redis->set.connect_timeout_ms);
    int rc = evb_redis_load(redis);
    if (rc == 0)
        rc = evb_login_check(&redis->login, address, tls != NULL, redis->log);
    if (rc == 0)
        rc = evb_link_open(&redis->publisher, address, tls);
    if (rc == 0)
        rc = evb_link_open(&redis->subscriber, address, tls);
    if (rc != 0)
        lose(redis, rc, evbus_last_error());
}

static void on_found(const char *why, void *user)
{
    if (why)
        lose(user, EVBUS_ENOENT, why);
    else
        dial(user);
}

void evb_redis_start(struct evb_redis *redis)
{
    enum evb_redis_state state = state_of(redis);
    if (state != EVB_REDIS_OFF && state != EVB_REDIS_BACKOFF)
        return;
    event_del(redis->timer);
    atomic_store(&redis->retry_at_ms, 0);
    if (!evb_target_is_known(&redis->target)) {
        enter(redis, EVB_REDIS_RESOLVING, redis->set.host);
        arm(redis->timer, redis->set.connect_timeout_ms);
    }
    int rc = evb_target_find(&redis->target);
    if (rc == 1)
        dial(redis);
    else if (rc != 0)
        lose(redis, rc, evbus_last_error());
}

void evb_redis_stop(struct evb_redis *redis)
{
    if (state_of(redis) == EVB_REDIS_CLOSING)
        return;
    enter(redis, EVB_REDIS_CLOSING, "the bus closes");
    hang_up(redis);
    event_del(redis->expiry);
    enter(redis, EVB_REDIS_OFF, "the bus closes");
}

static void on_timer(struct evb_redis *redis)
{
    char why[128];
    snprintf(why, sizeof why, "no connection within %lld ms%s",
             (long long)redis->set.connect_timeout_ms, evb_link_silence(&redis->publisher));
    switch (state_of(redis)) {
    case EVB_REDIS_BACKOFF:
        evb_redis_start(redis);
        break;
    case EVB_REDIS_READY:
        beat(redis);
        break;
    default:
        lose(redis, EVBUS_ETIMEDOUT, why);
    }
}

static void retry(struct evb_redis *redis)
{
    evb_outbox_retry(&redis->outbox);
}

static void expire(struct evb_redis *redis)
{
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
    evb_heart_init(&redis->heart, settings->inbox, on_role, on_fence_reply, redis);
    evb_subs_init(&redis->subs, on_decided, on_lack, redis);
    evb_target_init(&redis->target, loop, settings->host, settings->path, settings->port, on_found,
                    redis);
    evb_backoff_init(&redis->backoff, settings->backoff_ms, settings->backoff_max_ms);
    redis->timer = event_new(loop->base, -1, 0, fire_on_timer, redis);
    redis->deadline = event_new(loop->base, -1, 0, fire_judge, redis);
    redis->pause = event_new(loop->base, -1, 0, fire_retry, redis);
    redis->expiry = event_new(loop->base, -1, 0, fire_expire, redis);
    if (!redis->timer || !redis->deadline || !redis->pause || !redis->expiry)
        return evb_fail_memory();
    return evb_subs_add(&redis->subs, settings->inbox, strlen(settings->inbox), false);
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
