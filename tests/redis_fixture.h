/*
 * redis_fixture.h - one shard against a script, both on the test's own loop; what happens is told
 * in one line. Included by one program's only file.
 */
#ifndef REDIS_FIXTURE_H
#define REDIS_FIXTURE_H
#include "clock.h"
#include "config.h"
#include "err.h"
#include "harness/failing.h"
#include "harness/scripted.h"
#include "list.h"
#include "pool.h"
#include "redis.h"
#include "thread.h"
#include "harness/check.h"
#include <event2/event.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INBOX "evbus:inbox:0123456789abcdef"

static struct event_base *base;
static struct scripted *server;
static struct evb_loop loop;
static struct evb_log evb_test_log;
static struct evb_metrics metrics;
static struct evb_redis redis;
static struct evb_redis_settings set;
static char story[2000], last_why[300]; /* the states entered; events' ends; messages */
static long live;
static void (*when_ready)(void); /* NULL: nothing more */

__attribute__((format(printf, 1, 2))) static inline void tell(const char *format, ...)
{
    size_t at = strlen(story);
    va_list args;
    va_start(args, format);
    vsnprintf(story + at, sizeof story - at, format, args);
    va_end(args);
}

static inline void on_state(enum evb_redis_state from, enum evb_redis_state to, const char *why,
                            void *user)
{
    ck_assert_ptr_eq(user, &redis);
    ck_assert_int_ne(from == to && to != EVB_REDIS_DIALING, 1);
    ck_assert_int_eq(atomic_load(&redis.state), (int)to);
    ck_assert_int_eq(atomic_load(&redis.outbox.up), to == EVB_REDIS_READY);
    tell("%s ", evb_redis_state_name(to));
    snprintf(last_why, sizeof last_why, "%s", why);
    if (when_ready && to == EVB_REDIS_READY)
        when_ready();
}

static inline void on_message(const struct evb_reply *channel, const struct evb_reply *payload,
                              const struct evb_reply *pattern, void *user)
{
    (void)user;
    tell("<%s%s%s=%s> ", pattern ? pattern->text : "", pattern ? "|" : "", channel->text,
         payload->text);
}

static inline void on_decided(const struct evb_topic *topic, void *user)
{
    (void)user;
    tell("%c%s ", topic->state == EVB_TOPIC_LIVE ? '+' : '-', topic->name);
}

static inline void on_inbox(const struct evb_reply *payload, void *user)
{
    (void)payload;
    (void)user;
}

static inline void on_water(bool high, void *user)
{
    (void)high;
    (void)user;
}

static inline void on_log(int level, const char *line, void *user)
{
    (void)user;
    (void)level;
    ck_assert_msg(!strstr(line, "no way from"), "%s", line);
}

static inline void on_report(evbus_event *event, int outcome, int error, int64_t receivers,
                             void *user)
{
    (void)event;
    (void)error;
    (void)receivers;
    tell("%c%d ", "?alxvfu"[outcome], (int)(intptr_t)user);
}

static inline bool idle(void *user)
{
    return evb_redis_idle(user);
}

static struct evb_redis_hooks hooks = {
    on_state, on_message, on_decided, on_water, NULL, {NULL, NULL, NULL, NULL, NULL}, on_inbox};

static inline int open_redis(void)
{
    memset(&redis, 0, sizeof redis);
    evb_fault_init(&redis.fault);
    redis.outbox.max_events = 100;
    redis.outbox.max_bytes = 100000;
    redis.outbox.full = EVB_FULL_REJECT;
    redis.outbox.may_resend = true;
    return evb_redis_init(&redis, &set, &loop, &evb_test_log, &metrics, &hooks, &redis);
}

static inline void setup(void)
{
    failing_install();
    ck_assert_ptr_nonnull(evb_thread_self());
    base = event_base_new();
    server = scripted_start(base);
    ck_assert_int_eq(evb_loop_init(&loop, base), 0);
    loop.idle = idle;
    loop.user = &redis;
    evb_log_init(&evb_test_log, "test", EVBUS_LOG_DEBUG);
    evb_log_set(&evb_test_log, EVBUS_LOG_DEBUG, on_log, NULL);
    evb_metrics_init(&metrics);
    set = (struct evb_redis_settings){.host = "127.0.0.1",
                                      .path = scripted_path(server),
                                      .port = 1,
                                      .login = {"", "", "", "test", 0, true, NULL, false},
                                      .tls = {.ca_file = ""},
                                      .inbox = INBOX,
                                      .connect_timeout_ms = 10000,
                                      .ping_interval_ms = 10000,
                                      .ping_timeout_ms = 5000,
                                      .backoff_ms = 1,
                                      .backoff_max_ms = 5,
                                      .max_retries = -1,
                                      .max_frame = 1 << 20};
    live = failing_live();
}

static inline void teardown(void)
{
    evb_redis_stop(&redis);
    evb_outbox_abandon(&redis.outbox, EVBUS_ECLOSED);
    evb_redis_fini(&redis);
    loop.idle = NULL;
    run_for(base, 1);
    ck_assert_int_eq(failing_live(), live);
    evb_log_fini(&evb_test_log);
    scripted_free(server);
    evb_loop_fini(&loop);
    event_base_free(base);
}

static inline void start(void)
{
    evb_loop_begin(&loop);
    evb_redis_start(&redis);
    evb_loop_end(&loop);
}

static inline void stop(void)
{
    evb_loop_begin(&loop);
    evb_redis_stop(&redis);
    evb_loop_end(&loop);
}

static inline bool is_in(void *state)
{
    return atomic_load(&redis.state) == *(int *)state;
}

static inline void await(int state)
{
    ck_assert_msg(run_until(base, is_in, &state, 20000), "%s", story);
}

static inline void come_up(void)
{
    ck_assert_int_eq(open_redis(), 0);
    start();
    await(EVB_REDIS_READY);
    ck_assert_msg(!strcmp(story, "dialing handshake ready "), "%s: %s", story, last_why);
    story[0] = '\0';
}

static inline bool is_told(void *what)
{
    return strstr(story, what) != NULL;
}

static inline void await_story(char *what)
{
    ck_assert_msg(run_until(base, is_told, what, 20000), "%s", story);
}

static inline bool is_hung_up(void *readable)
{
    struct pollfd peer = {.fd = event_get_fd(readable)};
    return poll(&peer, 1, 0) == 1 && peer.revents & POLLHUP;
}

/* Only then does writing fail: what is written before is lost without a word. */
static inline void await_hang_up(struct evb_link *link)
{
    ck_assert(run_until(base, is_hung_up, link->readable, 20000));
}

static inline void publish_as(int id, int64_t ttl_ms, bool history)
{
    static const char head[] = "*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$16\r\n";
    struct evb_item *item = evb_pool_take(sizeof *item + 100, NULL);
    ck_assert_int_eq(evb_outbox_admit(&redis.outbox, 10), EVB_ADMIT);
    evb_item_init(item);
    item->bytes = (char *)(item + 1);
    memcpy(item->bytes, head, sizeof head);
    item->seq_slot = item->bytes + sizeof head - 1;
    memcpy(item->seq_slot, "                \r\n", 18);
    item->length = sizeof head - 1 + 18;
    item->size = 10;
    item->user = (void *)(intptr_t)id;
    item->accepted_ms = evb_clock_mono_ms();
    item->expires_ms = ttl_ms ? item->accepted_ms + ttl_ms : INT64_MAX;
    item->report = on_report;
    item->history = history;
    evb_loop_begin(&loop);
    evb_outbox_take(&redis.outbox, item);
    evb_loop_end(&loop);
}

static inline void publish(int id, int64_t ttl_ms)
{
    publish_as(id, ttl_ms, false);
}

static inline void want(const char *name, bool pattern)
{
    evb_loop_begin(&loop);
    ck_assert_int_eq(evb_subs_add(&redis.subs, name, strlen(name), pattern), 0);
    evb_loop_end(&loop);
}

static inline int run_suite(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
