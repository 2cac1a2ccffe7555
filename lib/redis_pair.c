/* redis_pair.c - how the two connections come and go. Loop only. */
#include "redis_pair.h"
#include "clock.h"
#include "err.h"
#include <evbus.h>
#include <event2/event.h>
#include <stdio.h>

/* A wrong password sent again and again locks accounts and fills logs. */
enum { AUTH_PAUSE_MS = 30000 };

static void dial(struct evb_redis *redis);

enum evb_redis_state evb_pair_state(const struct evb_redis *redis)
{
    return (enum evb_redis_state)atomic_load_explicit(&redis->state, memory_order_relaxed);
}

void evb_pair_enter(struct evb_redis *redis, enum evb_redis_state to, const char *why)
{
    enum evb_redis_state from = evb_pair_state(redis);
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

void evb_pair_arm(struct event *timer, int64_t ms)
{
    struct timeval in = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    event_add(timer, &in);
}

static void hang_up(struct evb_redis *redis)
{
    evb_target_stop(&redis->target);
    evb_link_close(&redis->publisher);
    evb_link_close(&redis->subscriber);
    evb_subs_reset(&redis->subs);
    event_del(redis->timer);
    event_del(redis->deadline);
    event_del(redis->pause);
    evb_stream_link_lost(&redis->stream);
    evb_recovery_lost(&redis->recovery);
    evb_asks_lost(&redis->asks);
    evb_grouped_lost(&redis->grouped);
    evb_heart_reset(&redis->heart);
    redis->lacks.told = 0;
    redis->publisher_hello.left = redis->subscriber_hello.left = 0;
    atomic_store(&redis->rtt_us, -1);
}

static void back_off(struct evb_redis *redis, int error, const char *why)
{
    evb_pair_enter(redis, EVB_REDIS_BACKOFF, why);
    atomic_store(&redis->attempts, redis->backoff.attempts + 1);
    if (redis->set.max_retries >= 0 && redis->backoff.attempts >= redis->set.max_retries) {
        evb_log(redis->log, EVBUS_LOG_ERROR,
                "redis: gave up after %d failures (%s): local only until evbus_reconnect()",
                redis->backoff.attempts + 1, why);
        atomic_store(&redis->retry_at_ms, 0);
        evb_pair_enter(redis, EVB_REDIS_OFF, why);
        return;
    }
    int64_t wait_ms = evb_backoff_next_ms(&redis->backoff);
    wait_ms = error == EVBUS_EAUTH ? AUTH_PAUSE_MS : wait_ms;
    atomic_store(&redis->retry_at_ms, evb_clock_mono_ms() + wait_ms);
    evb_pair_arm(redis->timer, wait_ms);
}

void evb_pair_lose(struct evb_redis *redis, int error, const char *why)
{
    enum evb_redis_state was = evb_pair_state(redis);
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
    evb_pair_enter(redis, EVB_REDIS_DIALING, address->path ? address->path : address->host);
    evb_pair_arm(redis->timer, redis->set.connect_timeout_ms);
    int rc = evb_redis_load(redis);
    if (rc == 0)
        rc = evb_login_check(&redis->login, address, tls != NULL, redis->log);
    if (rc == 0)
        rc = evb_link_open(&redis->publisher, address, tls);
    if (rc == 0)
        rc = evb_link_open(&redis->subscriber, address, tls);
    if (rc != 0)
        evb_pair_lose(redis, rc, evbus_last_error());
}

void evb_pair_found(const char *why, void *user)
{
    if (why)
        evb_pair_lose(user, EVBUS_ENOENT, why);
    else
        dial(user);
}

void evb_redis_start(struct evb_redis *redis)
{
    enum evb_redis_state state = evb_pair_state(redis);
    if (state != EVB_REDIS_OFF && state != EVB_REDIS_BACKOFF)
        return;
    event_del(redis->timer);
    atomic_store(&redis->retry_at_ms, 0);
    if (!evb_target_is_known(&redis->target)) {
        evb_pair_enter(redis, EVB_REDIS_RESOLVING, redis->set.host);
        evb_pair_arm(redis->timer, redis->set.connect_timeout_ms);
    }
    int rc = evb_target_find(&redis->target);
    if (rc == 1)
        dial(redis);
    else if (rc != 0)
        evb_pair_lose(redis, rc, evbus_last_error());
}

void evb_redis_stop(struct evb_redis *redis)
{
    if (evb_pair_state(redis) == EVB_REDIS_CLOSING)
        return;
    evb_pair_enter(redis, EVB_REDIS_CLOSING, "the bus closes");
    hang_up(redis);
    event_del(redis->expiry);
    redis->expiry_ms = 0;
    atomic_store(&redis->retry_at_ms, 0);
    evb_pair_enter(redis, EVB_REDIS_OFF, "the bus closes");
}
