/* redis_blocking.c - the connection that waits for entries. Loop only. */
#include "redis_blocking.h"
#include "clock.h"
#include "err.h"
#include "redis_pair.h"
#include <evbus.h>
#include <event2/event.h>
#include <stdio.h>

enum {
    AUTH_PAUSE_MS = 30000, /* as the pair does */
    STREAMS_DEPTH = 5      /* streams, one, its entries, one, its fields */
};

static void on_up(struct evb_link *link, void *user)
{
    struct evb_blocking *blocking = user;
    evb_hello_send(&blocking->hello, link, &blocking->redis->login);
}

static void on_reply(struct evb_link *link, const struct evb_reply *reply, void *user)
{
    struct evb_blocking *blocking = user;
    char why[EVB_FAULT_TEXT];
    if (blocking->hello.left) {
        int rc = evb_hello_reply(&blocking->hello, reply, &blocking->server, why, sizeof why);
        if (rc != 0) {
            evb_link_fail(link, rc, why);
        } else if (blocking->hello.left == 0) {
            event_del(blocking->timer);
            blocking->state = EVB_BLOCKING_IDLE;
            blocking->hooks->up(blocking->user);
        }
        return;
    }
    if (blocking->state != EVB_BLOCKING_READING) {
        evb_link_fail(link, EVBUS_EPARSE, "protocol error: an answer that nobody asked for");
        return;
    }
    event_del(blocking->timer);
    evb_backoff_reset(&blocking->backoff);
    blocking->state = EVB_BLOCKING_IDLE;
    blocking->hooks->answer(reply, blocking->user);
}

/* The shard may live on without it: it comes back alone. */
static void on_down(struct evb_link *link, int error, const char *why, void *user)
{
    struct evb_blocking *blocking = user;
    (void)link;
    blocking->state = EVB_BLOCKING_PAUSED;
    if (error == EVBUS_EPARSE)
        evb_count(blocking->redis->metrics, EVB_COUNT_protocol_errors, 1);
    evb_log(blocking->redis->log, EVBUS_LOG_INFO, "redis: %s (%s)", why, evbus_strerror(error));
    int64_t wait_ms = evb_backoff_next_ms(&blocking->backoff);
    evb_pair_arm(blocking->timer, error == EVBUS_EAUTH ? AUTH_PAUSE_MS : wait_ms);
    blocking->hooks->down(error, why, blocking->user);
}

static const struct evb_link_hooks hooks = {on_up, on_reply, on_down};

static void open_now(struct evb_blocking *blocking)
{
    struct evb_redis *redis = blocking->redis;
    const struct evb_tls *tls = redis->tls.set.enabled ? &redis->tls : NULL;
    blocking->state = EVB_BLOCKING_OPENING;
    evb_pair_arm(blocking->timer, redis->set.connect_timeout_ms);
    int rc = evb_link_open(&blocking->link, evb_target_now(&redis->target), tls);
    blocking->link.gate.max_depth = STREAMS_DEPTH;
    if (rc != 0)
        on_down(&blocking->link, rc, evbus_last_error(), blocking);
}

/* Reads first: neither a loop that was held up nor a long answer that still comes makes it dead. */
static void judge(struct evb_blocking *blocking)
{
    int64_t limit_ms = blocking->redis->set.ping_timeout_ms;
    evb_link_read(&blocking->link);
    bool waits = blocking->state == EVB_BLOCKING_OPENING || blocking->state == EVB_BLOCKING_READING;
    if (!waits || event_pending(blocking->timer, EV_TIMEOUT, NULL))
        return;
    if (blocking->state == EVB_BLOCKING_READING &&
        evb_clock_mono_us() - blocking->link.last_read_us < limit_ms * 1000)
        evb_pair_arm(blocking->timer, limit_ms);
    else
        evb_link_fail(&blocking->link, EVBUS_ETIMEDOUT, "no answer in time");
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct evb_blocking *blocking = arg;
    struct evb_loop *loop = blocking->redis->loop;
    (void)fd;
    (void)what;
    evb_loop_begin(loop);
    if (blocking->state == EVB_BLOCKING_PAUSED)
        open_now(blocking);
    else
        judge(blocking);
    evb_loop_end(loop);
}

int evb_blocking_init(struct evb_blocking *blocking, struct evb_redis *redis,
                      const struct evb_blocking_hooks *own, void *user)
{
    *blocking = (struct evb_blocking){.redis = redis, .hooks = own, .user = user};
    evb_link_init(&blocking->link, redis->loop, redis->metrics, "group", redis->set.max_frame,
                  &hooks, blocking);
    evb_backoff_init(&blocking->backoff, redis->set.backoff_ms, redis->set.backoff_max_ms);
    blocking->timer = event_new(redis->loop->base, -1, 0, on_timer, blocking);
    return blocking->timer ? 0 : evb_fail_memory();
}

void evb_blocking_fini(struct evb_blocking *blocking)
{
    evb_link_close(&blocking->link);
    if (blocking->timer)
        event_free(blocking->timer);
    blocking->timer = NULL;
}

void evb_blocking_open(struct evb_blocking *blocking)
{
    if (blocking->state == EVB_BLOCKING_CLOSED)
        open_now(blocking);
}

void evb_blocking_close(struct evb_blocking *blocking)
{
    evb_link_close(&blocking->link);
    event_del(blocking->timer);
    blocking->hello.left = 0;
    blocking->state = EVB_BLOCKING_CLOSED;
}

void evb_blocking_ask(struct evb_blocking *blocking, const struct evb_buf *command,
                      int64_t block_ms)
{
    blocking->state = EVB_BLOCKING_READING;
    blocking->asked_ms = evb_clock_mono_ms();
    evb_pair_arm(blocking->timer, block_ms + blocking->redis->set.ping_timeout_ms);
    if (command->failed)
        blocking->link.gate.error = evb_gate_no_memory;
    else
        evb_link_send(&blocking->link, command->data, command->length);
    evb_link_flush(&blocking->link);
}

void evb_blocking_drop(struct evb_blocking *blocking)
{
    evb_link_drop(&blocking->link);
}
