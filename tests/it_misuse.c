/* it_misuse.c - bad input gets its code and a sentence, and changes nothing. One table; NULL, wrong
 * types and patterns, data that is not JSON, too large, unknown options and settings, closed buses,
 * waiting on the loop, forked children. */
#include "harness/bus.h"
#include "harness/process.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <event2/event.h>
#include <evbus_libevent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SOON = 5000, MAX_DATA = 1000 };

static evbus *bus, *closed;
static evbus_queue *queue;
static evbus_config *config;
static evbus_event *event, *published;
static evbus_sub *sub;
static atomic_int calls;
static char big[MAX_DATA + 10];

static void on_done(int result, void *user)
{
    (void)result;
    atomic_fetch_add((atomic_int *)user, 1);
}

static void on_report(evbus_event *reported, int outcome, int error, int64_t receivers, void *user)
{
    (void)reported;
    (void)outcome;
    (void)error;
    (void)receivers;
    atomic_fetch_add((atomic_int *)user, 1);
}

static void on_free(void *user)
{
    (void)user;
}

/* The pointer's answer as a code. */
static int null_code(const void *pointer)
{
    return pointer ? 1 : evbus_last_code();
}

static int publish_type(const char *type)
{
    return evbus_publish(bus, type, "{}");
}

static int publish_json(const char *json)
{
    return evbus_publish(bus, "t", json);
}

static int publish_data(const char *json, size_t length, int flags)
{
    evbus_event *made = evbus_event_new("t");
    int rc = evbus_event_set_json(made, json, length);
    rc = rc != 0 ? rc : evbus_publish_event(bus, made, flags);
    evbus_event_unref(made);
    return rc;
}

static int subscribe(const char *pattern, const char *options)
{
    return null_code(evbus_subscribe(bus, pattern, options, handle_count, &calls));
}

static int set(const char *key, const char *value)
{
    return evbus_config_set(config, key, value);
}

static const char *types[] = {"",     ".",     "a..b", ".a",  "a.",      "a b",   "a*",
                              "a\nb", "task>", "ä",    "a,b", "evbus.x", "a\x7f", NULL};
static const char *patterns[] = {"",  "a..b", "a.>.b", "a*", "*a",  ">.a",
                                 ".", "a b",  "glob:", "ä",  "a\n", NULL};
static const char *texts[] = {"{",       "nul", "{\"a\":1,}", "[1,]", "\"\x01\"",    "01",
                              "{'a':1}", "1 2", "\"\xff\"",   "+1",   "\"\\ud800\"", NULL};
static const char *options[] = {"size",        "size=",        "size=0",
                                "size=-1",     "size=x",       "color=red",
                                "scope=all",   "echo=perhaps", "deliver=workers2",
                                "size=1 size", "name='open",   "size=99999999999999999999",
                                "bytes=1XiB",  "full=explode", "=1",
                                NULL};
static const char *urls[] = {"http://u:s3cret@h/",
                             "redis://u:s3cret@h:99999/",
                             "redis://u:s3cret@h:x/0",
                             "redis://u:s3cret@[::1/0",
                             "redis://:s3cret@h/notadb",
                             "unix://u:s3cret@",
                             NULL};

static void judge(const char *what, const char *with, int got, int wanted)
{
    const char *sentence = evbus_last_error();
    ck_assert_msg(got == wanted, "%s(%s): %d instead of %d (%s)", what, with ? with : "NULL", got,
                  wanted, sentence);
    ck_assert_msg(evbus_last_code() == wanted, "%s(%s): evbus_last_code() is %d", what,
                  with ? with : "NULL", evbus_last_code());
    ck_assert_msg(strlen(sentence) > 8 && !strchr(sentence, '\n'), "%s(%s): no sentence: \"%s\"",
                  what, with ? with : "NULL", sentence);
    ck_assert_msg(!strstr(sentence, "s3cret"), "%s(%s): tells a secret: %s", what, with, sentence);
}

static void open_all(void)
{
    bus = bus_with("event.max.bytes", "1000", "event.check", "always", NULL);
    closed = bus_with(NULL);
    queue = evbus_queue_open(bus, NULL);
    config = evbus_config_new();
    event = evbus_event_new("t");
    published = evbus_event_new("t");
    ck_assert_int_eq(evbus_publish_event(bus, published, 0), EVBUS_SENT_LOCAL);
    sub = bus_subscribe(bus, "t", "deliver=inline", handle_count, &calls);
    ck_assert_int_eq(evbus_close(closed, SOON), 0);
    memset(big, '1', sizeof big - 1);
}

static void close_all(void)
{
    bus_end(closed);
    evbus_event_unref(event);
    evbus_event_unref(published);
    evbus_config_free(config);
    evbus_queue_free(queue);
    bus_end(bus);
}

START_TEST(wrong_texts)
{
    open_all();
    char *before = evbus_config_dump(config), *after;
    for (int i = 0; types[i]; i++)
        judge("publish type", types[i], publish_type(types[i]), EVBUS_EINVAL);
    for (int i = 0; types[i]; i++)
        if (strcmp(types[i], "evbus.x") != 0)
            judge("event_new", types[i], null_code(evbus_event_new(types[i])), EVBUS_EINVAL);
    for (int i = 0; texts[i]; i++)
        judge("publish json", texts[i], publish_json(texts[i]), EVBUS_EINVAL);
    for (int i = 0; patterns[i]; i++)
        judge("pattern", patterns[i], subscribe(patterns[i], NULL), EVBUS_EINVAL);
    for (int i = 0; options[i]; i++) {
        judge("subscribe options", options[i], subscribe("t", options[i]), EVBUS_EINVAL);
        judge("queue options", options[i], null_code(evbus_queue_open(bus, options[i])),
              EVBUS_EINVAL);
        judge("queue_subscribe options", options[i],
              null_code(evbus_queue_subscribe(queue, "t", options[i], 0)), EVBUS_EINVAL);
    }
    for (int i = 0; urls[i]; i++)
        judge("redis.url", urls[i], set("redis.url", urls[i]), EVBUS_EINVAL);
    judge("redis.url", "rediss", set("redis.url", "rediss://u:s3cret@h/x"), EVBUS_EINVAL);
    judge("set", "redis.hots", set("redis.hots", "x"), EVBUS_EINVAL);
    ck_assert_msg(strstr(evbus_last_error(), "redis.host"), "no near key named: %s",
                  evbus_last_error());
    judge("set", "redis.port", set("redis.port", "70000"), EVBUS_EINVAL);
    judge("set", "outbox.full", set("outbox.full", "maybe"), EVBUS_EINVAL);
    judge("set", "redis.connect.timeout", set("redis.connect.timeout", "fast"), EVBUS_EINVAL);
    judge("too large", "json", publish_json(big), EVBUS_ETOOBIG);
    judge("too large", "event", publish_data(big, MAX_DATA + 1, 0), EVBUS_ETOOBIG);
    judge("flags", "99", evbus_publish_event(bus, event, 99), EVBUS_EINVAL);
    judge("flags", "both", evbus_publish_event(bus, event, 3), EVBUS_EINVAL);
    judge("published", "again", evbus_publish_event(bus, published, 0), EVBUS_EINVAL);
    judge("published", "set", evbus_event_set_attr(published, "a", "b"), EVBUS_EINVAL);
    judge("batched", "again", evbus_publish_event(bus, published, EVBUS_BATCH), EVBUS_EINVAL);
    judge("batched", "too large for a batch", publish_data(big, MAX_DATA - 10, EVBUS_BATCH),
          EVBUS_ETOOBIG);
    judge("redis only", "without Redis", evbus_publish_event(bus, event, EVBUS_REDIS_ONLY),
          EVBUS_EAWAY);
    judge("wait_connected", "without Redis", evbus_wait_connected(bus, 0), EVBUS_ENOTSUP);
    judge("reconnect", "without Redis", evbus_reconnect(bus), EVBUS_ENOTSUP);
    judge("stat", "nonsense", (int)evbus_stat(bus, "nonsense"), EVBUS_ENOENT);
    after = evbus_config_dump(config);
    ck_assert_str_eq(before, after); /* nothing changed */
    ck_assert_int_eq(atomic_load(&calls), 0);
    ck_assert_int_eq(evbus_stat(bus, "subscriptions"), 1);
    ck_assert_int_eq(evbus_stat(bus, "published_local"), 1);
    ck_assert_int_eq(bus_publish(bus, "t", "{}"), EVBUS_SENT_LOCAL); /* and all goes on */
    ck_assert_int_eq(atomic_load(&calls), 1);
    evbus_string_free(before);
    evbus_string_free(after);
    close_all();
}
END_TEST

/* ---- NULL ---- */

static void null_buses(void)
{
    const int wrong = EVBUS_EINVAL;
    judge("publish", NULL, evbus_publish(NULL, "t", "{}"), wrong);
    judge("publish_event", NULL, evbus_publish_event(NULL, event, 0), wrong);
    judge("publish_report", NULL, evbus_publish_report(NULL, event, 0, on_report, &calls), wrong);
    judge("close", NULL, evbus_close(NULL, 0), wrong);
    judge("close_async", NULL, evbus_close_async(NULL, 0, on_done, &calls), wrong);
    judge("flush", NULL, evbus_flush(NULL, 0), wrong);
    judge("flush_async", NULL, evbus_flush_async(NULL, on_done, &calls), wrong);
    judge("wait_connected", NULL, evbus_wait_connected(NULL, 0), wrong);
    judge("reconnect", NULL, evbus_reconnect(NULL), wrong);
    judge("mode", NULL, evbus_mode(NULL), wrong);
    judge("node", NULL, null_code(evbus_node(NULL)), wrong);
    judge("stat", NULL, (int)evbus_stat(NULL, "acked"), wrong);
    judge("stats_json", NULL, null_code(evbus_stats_json(NULL)), wrong);
    judge("health_json", NULL, null_code(evbus_health_json(NULL)), wrong);
    judge("queue_open", NULL, null_code(evbus_queue_open(NULL, NULL)), wrong);
    judge("open_on", NULL, null_code(evbus_open_on(NULL, NULL)), wrong);
    judge("subscribe", NULL, null_code(evbus_subscribe(NULL, "t", NULL, handle_count, &calls)),
          wrong);
    ck_assert_int_eq(evbus_ready(NULL), 0);
    evbus_free(NULL);
}

static void null_parts(void)
{
    const int wrong = EVBUS_EINVAL;
    judge("publish", "type", evbus_publish(bus, NULL, "{}"), wrong);
    judge("publish_event", "event", evbus_publish_event(bus, NULL, 0), wrong);
    judge("publish_report", "event", evbus_publish_report(bus, NULL, 0, on_report, &calls), wrong);
    judge("publish_report", "fn", evbus_publish_report(bus, event, 0, NULL, &calls), wrong);
    judge("flush_async", "fn", evbus_flush_async(bus, NULL, &calls), wrong);
    judge("subscribe", "pattern", subscribe(NULL, NULL), wrong);
    judge("subscribe", "fn", null_code(evbus_subscribe(bus, "t", NULL, NULL, NULL)), wrong);
    judge("stat", "name", (int)evbus_stat(bus, NULL), wrong);
    judge("queue_subscribe", "queue", null_code(evbus_queue_subscribe(NULL, "t", NULL, 0)), wrong);
    judge("queue_subscribe", "pattern", null_code(evbus_queue_subscribe(queue, NULL, NULL, 0)),
          wrong);
    judge("queue_next", "queue", evbus_queue_next(NULL, 0, &event, NULL), wrong);
    judge("queue_next", "event", evbus_queue_next(queue, 0, NULL, NULL), wrong);
    judge("queue_next_many", "max 0", evbus_queue_next_many(queue, 0, &event, NULL, 0), wrong);
    judge("queue_fd", "queue", evbus_queue_fd(NULL), wrong);
    judge("unsubscribe", NULL, evbus_unsubscribe(NULL), wrong);
    judge("sub_wait", NULL, evbus_sub_wait(NULL, 0), wrong);
    judge("sub_on_free", NULL, evbus_sub_on_free(NULL, on_free), wrong);
    judge("sub_on_free", "fn", evbus_sub_on_free(sub, NULL), wrong);
    judge("sub_pattern", NULL, null_code(evbus_sub_pattern(NULL)), wrong);
    ck_assert_int_eq(evbus_sub_stat(NULL, "delivered"), -1);
    ck_assert_int_eq(evbus_sub_stat(sub, "nonsense"), -1);
    ck_assert_int_eq(evbus_sub_stat(sub, NULL), -1);
    ck_assert_int_eq(evbus_queue_stat(NULL, "queued"), -1);
    ck_assert_int_eq(evbus_queue_stat(queue, "nonsense"), -1);
    evbus_queue_free(NULL);
    evbus_event_unref(NULL);
    evbus_config_free(NULL);
    evbus_string_free(NULL);
    ck_assert_str_eq(evbus_strerror(12345), evbus_strerror(-12345));
    ck_assert_ptr_nonnull(evbus_mode_name(99));
    ck_assert_int_eq(evbus_has(NULL), 0);
}

static void null_events_and_settings(void)
{
    const int wrong = EVBUS_EINVAL;
    judge("event_new", NULL, null_code(evbus_event_new(NULL)), wrong);
    judge("event_copy", NULL, null_code(evbus_event_copy(NULL)), wrong);
    judge("event_from_json", NULL, null_code(evbus_event_from_json(NULL, 0)), wrong);
    judge("set_id", NULL, evbus_event_set_id(NULL, "x"), wrong);
    judge("set_version", NULL, evbus_event_set_version(NULL, "x"), wrong);
    judge("set_source", NULL, evbus_event_set_source(NULL, "x"), wrong);
    judge("set_time_us", NULL, evbus_event_set_time_us(NULL, 1), wrong);
    judge("set_correlation", NULL, evbus_event_set_correlation(NULL, "x"), wrong);
    judge("set_cause", NULL, evbus_event_set_cause(NULL, published), wrong);
    judge("set_json", NULL, evbus_event_set_json(NULL, "1", 1), wrong);
    judge("set_bytes", NULL, evbus_event_set_bytes(NULL, "1", 1), wrong);
    judge("set_attr", NULL, evbus_event_set_attr(NULL, "a", "b"), wrong);
    judge("set_ttl", NULL, evbus_event_set_ttl(NULL, 1), wrong);
    judge("set_ttl", "-1", evbus_event_set_ttl(event, -1), wrong);
    judge("set_attr", "name", evbus_event_set_attr(event, NULL, "b"), wrong);
    judge("event_type", NULL, null_code(evbus_event_type(NULL)), wrong);
    judge("event_to_json", NULL, null_code(evbus_event_to_json(NULL)), wrong);
    judge("config_set", NULL, evbus_config_set(NULL, "bus.name", "x"), wrong);
    judge("config_set", "key", evbus_config_set(config, NULL, "x"), wrong);
    judge("config_set", "value", evbus_config_set(config, "bus.name", NULL), wrong);
    judge("config_get", NULL, null_code(evbus_config_get(NULL, "bus.name")), wrong);
    judge("config_get", "key", null_code(evbus_config_get(config, NULL)), wrong);
    judge("config_load_env", NULL, evbus_config_load_env(NULL, NULL), wrong);
    judge("config_load_file", NULL, evbus_config_load_file(NULL, "/dev/null"), wrong);
    judge("config_load_file", "path", evbus_config_load_file(config, NULL), wrong);
    judge("config_dump", NULL, null_code(evbus_config_dump(NULL)), wrong);
}

START_TEST(null_where_an_object_belongs)
{
    open_all();
    null_buses();
    null_parts();
    null_events_and_settings();
    ck_assert_int_eq(atomic_load(&calls), 0);
    ck_assert_int_eq(bus_publish(bus, "t", "{}"), EVBUS_SENT_LOCAL);
    close_all();
}
END_TEST

/* ---- closed ---- */

START_TEST(after_close)
{
    open_all();
    const int over = EVBUS_ECLOSED;
    judge("publish", "closed", evbus_publish(closed, "t", "{}"), over);
    judge("publish_event", "closed", evbus_publish_event(closed, event, 0), over);
    judge("publish_report", "closed", evbus_publish_report(closed, event, 0, on_report, &calls),
          over);
    judge("subscribe", "closed",
          null_code(evbus_subscribe(closed, "t", NULL, handle_count, &calls)), over);
    judge("queue_open", "closed", null_code(evbus_queue_open(closed, NULL)), over);
    judge("flush", "closed", evbus_flush(closed, 0), over);
    judge("flush_async", "closed", evbus_flush_async(closed, on_done, &calls), over);
    judge("wait_connected", "closed", evbus_wait_connected(closed, 0), over);
    judge("reconnect", "closed", evbus_reconnect(closed), over);
    ck_assert_int_eq(evbus_close(closed, 0), 0); /* once more is no mistake */
    ck_assert_int_eq(evbus_mode(closed), EVBUS_MODE_CLOSED);
    ck_assert_int_eq(evbus_ready(closed), 0);
    ck_assert_int_eq(evbus_publish_event(bus, event, 0), EVBUS_SENT_LOCAL); /* was not used up */
    close_all();
}
END_TEST

/* ---- waiting on the loop ---- */

static int wait_on_loop(evbus_sub *mine, evbus_event *got, void *user)
{
    evbus_event *none = NULL;
    (void)got;
    judge("flush", "loop", evbus_flush(bus, 1000), EVBUS_EDEADLK);
    judge("wait_connected", "loop", evbus_wait_connected(bus, -1), EVBUS_EDEADLK);
    judge("sub_wait", "loop", evbus_sub_wait(mine, 1000), EVBUS_EDEADLK);
    judge("queue_next", "loop", evbus_queue_next(queue, 1000, &none, NULL), EVBUS_EDEADLK);
    ck_assert_int_eq(evbus_queue_next(queue, 0, &none, NULL), 0); /* looking once is allowed */
    atomic_fetch_add((atomic_int *)user, 1);
    return 0;
}

START_TEST(waiting_on_the_loop)
{
    atomic_int done = 0;
    open_all();
    bus_subscribe(bus, "loop", "deliver=loop", wait_on_loop, &done);
    bus_publish(bus, "loop", NULL);
    expect_count(&done, 1, SOON);
    close_all();
}
END_TEST

START_TEST(waiting_on_the_callers_loop)
{
    struct event_base *base = event_base_new();
    evbus *mine = evbus_open_on(base, NULL);
    atomic_int done = 0;
    bus = mine;
    queue = evbus_queue_open(mine, NULL);
    bus_subscribe(mine, "loop", "deliver=loop", wait_on_loop, &done);
    bus_publish(mine, "loop", NULL);
    struct wait wait = wait_for(SOON);
    while (atomic_load(&done) == 0 && wait_more(&wait))
        event_base_loop(base, EVLOOP_NONBLOCK);
    ck_assert_int_eq(atomic_load(&done), 1);
    evbus_queue_free(queue);
    bus_end(mine);
    event_base_free(base);
}
END_TEST

/* ---- in a forked child ---- */

static void misuse_in_child(void)
{
    const int fork_code = EVBUS_EFORK;
    evbus_event *none = NULL;
    judge("publish", "child", evbus_publish(bus, "t", "{}"), fork_code);
    judge("publish_event", "child", evbus_publish_event(bus, event, 0), fork_code);
    judge("subscribe", "child", subscribe("t", NULL), fork_code);
    judge("queue_open", "child", null_code(evbus_queue_open(bus, NULL)), fork_code);
    judge("queue_next", "child", evbus_queue_next(queue, 100, &none, NULL), fork_code);
    judge("queue_subscribe", "child", null_code(evbus_queue_subscribe(queue, "t", NULL, 0)),
          fork_code);
    judge("flush", "child", evbus_flush(bus, 100), fork_code);
    judge("close", "child", evbus_close(bus, 100), fork_code);
    judge("close_async", "child", evbus_close_async(bus, 100, on_done, &calls), fork_code);
    judge("flush_async", "child", evbus_flush_async(bus, on_done, &calls), fork_code);
    judge("wait_connected", "child", evbus_wait_connected(bus, 100), fork_code);
    judge("reconnect", "child", evbus_reconnect(bus), fork_code);
    judge("mode", "child", evbus_mode(bus), fork_code);
    judge("sub_wait", "child", evbus_sub_wait(sub, 100), fork_code);
    judge("stat", "child", (int)evbus_stat(bus, "acked"), fork_code);
    judge("stats_json", "child", null_code(evbus_stats_json(bus)), fork_code);
    judge("health_json", "child", null_code(evbus_health_json(bus)), fork_code);
    evbus_event_unref(event);
    bus_unsubscribe(sub); /* giving back works, and says nothing */
    evbus_queue_free(queue);
    evbus_free(bus);
}

static void own_bus_in_child(void)
{
    evbus *own = evbus_open(NULL);
    ck_assert_ptr_nonnull(own);
    atomic_store(&calls, 0);
    bus_subscribe(own, "t", "deliver=loop", handle_count, &calls);
    ck_assert_int_eq(bus_publish(own, "t", "{}"), EVBUS_SENT_LOCAL);
    expect_count(&calls, 1, SOON);
    bus_end(own);
    evbus *fresh = evbus_default();
    ck_assert_ptr_nonnull(fresh);
    ck_assert_int_gt(bus_publish(fresh, "t", "{}"), 0);
}

START_TEST(in_a_forked_child)
{
    int status = 0;
    if (!suite_forks_whole())
        printf("SKIPPED: a bus of the child's own: this sanitizer starts no thread after fork()\n");
    open_all();
    evbus *parents_default = evbus_default();
    ck_assert_ptr_nonnull(parents_default);
    ck_assert_int_eq(evbus_flush(parents_default, suite_patience(SOON)), 0);
    ck_assert(until(process_others_sleep, NULL, SOON));
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        misuse_in_child();
        if (suite_forks_whole())
            own_bus_in_child();
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %x",
                  (unsigned)status);
    ck_assert_int_eq(bus_publish(bus, "t", "{}"), EVBUS_SENT_LOCAL); /* the parent's goes on */
    ck_assert_int_eq(atomic_load(&calls), 1);
    ck_assert_ptr_eq(evbus_default(), parents_default);
    evbus_free(parents_default);
    close_all();
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("misuse");
    suite_add(suite, "wrong_texts", wrong_texts, 10);
    suite_add(suite, "null_where_an_object_belongs", null_where_an_object_belongs, 10);
    suite_add(suite, "after_close", after_close, 10);
    suite_add(suite, "waiting_on_the_loop", waiting_on_the_loop, 20);
    suite_add(suite, "waiting_on_the_callers_loop", waiting_on_the_callers_loop, 20);
    suite_add(suite, "in_a_forked_child", in_a_forked_child, 20);
    return suite_run(suite, argc, argv);
}
