/* it_group.c - groups on a real redis-server: each event to one member, until it is handled. */
#include "harness/bus.h"
#include "harness/certs.h"
#include "harness/process.h"
#include "harness/recorder.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SOON = 15000 };

#define STREAM "evbus:group:{0}:g:evbus:events:job"

static struct server *server;
static evbus *bus, *other;

static evbus *open_quick(const char *key, const char *value)
{
    return server_bus(server, "redis.ping.interval", "200ms", "group.reclaim", "1s",
                      "group.retry.delay", "20ms", "bus.mode", "hybrid", "reconnect.backoff.max",
                      "100ms", key, value, NULL);
}

static void begin(const char *key, const char *value)
{
    server = server_start(NULL);
    bus = open_quick(key, value);
    other = open_quick(key, value);
    expect_connected(bus, SOON);
    expect_connected(other, SOON);
}

static void end(void)
{
    bus_end(bus);
    bus_end(other);
    server_free(server);
}

static evbus_sub *member(evbus *of, const char *options, evbus_event_fn fn, void *user)
{
    evbus_sub *sub = bus_subscribe(of, "job", options, fn, user);
    int rc = evbus_sub_wait(sub, SOON);
    ck_assert_msg(rc == 0, "%s", evbus_last_error());
    return sub;
}

static bool is_drained(void *key)
{
    return server_command(server, "XLEN %s", key) == 0;
}

static void expect_drained(void)
{
    char key[] = STREAM;
    if (!until(is_drained, key, SOON))
        ck_abort_msg("%lld entries left: %s", server_command(server, "XLEN %s", key),
                     server_text(server, "XPENDING %s evbus - + 10", key));
}

static int wanted;

static bool is_of_length(void *key)
{
    return server_command(server, "XLEN %s", key) == wanted;
}

static void expect_length(int length)
{
    char key[] = STREAM;
    wanted = length;
    ck_assert(until(is_of_length, key, SOON));
}

/* ---- one of all ---- */

static const struct {
    const char *key, *value, *options;
    int flags;
} ways[] = {
    {"workers", "0", "group=g", 0},
    {"workers", "3", "group=g deliver=workers key=none size=7", 0},
    {"workers", "2", "group=g deliver=inline size=1", EVBUS_REDIS_ONLY},
    {"history.enabled", "no", "group=g", 0},
    {"history.exclude", "job", "group=g", 0},
    {"workers", "0", "group=g", EVBUS_NO_HISTORY},
};

static int64_t acks(void)
{
    return evbus_stat(bus, "group_acks") + evbus_stat(other, "group_acks");
}

START_TEST(each_event_to_one_member)
{
    int count = suite_scaled(2000);
    struct recorder all;
    recorder_init(&all);
    begin(ways[_i].key, ways[_i].value);
    evbus_sub *one = member(bus, ways[_i].options, recorder_handle, &all);
    evbus_sub *two = member(other, ways[_i].options, recorder_handle, &all);
    for (int n = 1; n <= count; n++) {
        evbus_event *event = event_numbered("job", 0, n, 0);
        ck_assert_int_gt(evbus_publish_event(n % 2 ? bus : other, event, ways[_i].flags), 0);
        evbus_event_unref(event);
    }
    for (struct wait w = wait_for(SOON); recorder_received(&all) < count && wait_more(&w);)
        continue;
    expect_drained();
    ck_assert_int_eq(recorder_lost(&all, 0, count), 0);
    ck_assert_int_eq(all.doubled, 0);
    ck_assert_int_eq(recorder_received(&all), count);
    ck_assert_int_gt(evbus_sub_stat(one, "delivered"), 0);
    ck_assert_int_gt(evbus_sub_stat(two, "delivered"), 0);
    for (struct wait w = wait_for(SOON); acks() < count && wait_more(&w);)
        continue;
    ck_assert_int_eq(acks(), count);
    ck_assert_int_eq(evbus_stat(bus, "group_redeliveries"), 0);
    end();
    recorder_fini(&all);
}
END_TEST

/* Ordinary subscribers get theirs as ever; each group gets its own. */
START_TEST(beside_others)
{
    atomic_int plain = 0, away = 0, first = 0, second = 0;
    begin("workers", "0");
    bus_subscribe(bus, "job", NULL, handle_count, &plain);
    bus_subscribe(other, "*", NULL, handle_count, &away);
    expect_connected(other, SOON);
    member(bus, "group=g", handle_count, &first);
    member(bus, "group=h", handle_count, &second);
    expect_connected(bus, SOON);
    for (int n = 0; n < 100; n++)
        ck_assert_int_eq(bus_publish(other, "job", "{}"), EVBUS_SENT_LOCAL | EVBUS_SENT_REDIS);
    expect_count(&first, 100, SOON);
    expect_count(&second, 100, SOON);
    expect_count(&plain, 100, SOON);
    expect_drained();
    ck_assert_int_eq(atomic_load(&first), 100);
    ck_assert_int_eq(atomic_load(&second), 100);
    ck_assert_int_eq(atomic_load(&plain), 100);
    ck_assert_int_eq(atomic_load(&away), 100);
    end();
}
END_TEST

/* ---- a queue ---- */

static evbus_event *next_of(evbus_queue *queue)
{
    evbus_event *event = NULL;
    ck_assert_int_eq(evbus_queue_next(queue, SOON, &event, NULL), 1);
    return event;
}

START_TEST(pulled)
{
    begin("workers", "0");
    evbus_queue *queue = evbus_queue_open(bus, "size=2");
    evbus_sub *sub = evbus_queue_subscribe(queue, "job", "group=g", 7);
    ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
    for (int n = 1; n <= 5; n++)
        publish_numbered(other, "job", 0, n);
    ck_assert_int_eq(evbus_flush(other, SOON), 0);
    for (int n = 1; n <= 5; n++) {
        evbus_event *event = next_of(queue);
        ck_assert_int_eq(event_number(event), n);
        ck_assert_int_eq(evbus_event_attempt(event), 1);
        ck_assert_int_ge(server_command(server, "XLEN " STREAM), 6 - n); /* not handled yet */
        if (n == 3)
            ck_assert_int_eq(evbus_event_nack(event, 0), 0);
        if (n == 4)
            ck_assert_int_eq(evbus_event_ack(event), 0);
        if (n == 4)
            ck_assert_int_eq(evbus_event_ack(event), EVBUS_ENOENT);
        evbus_event_unref(event);
    }
    evbus_event *again = next_of(queue);
    ck_assert_int_eq(event_number(again), 3);
    ck_assert_int_eq(evbus_event_attempt(again), 2);
    expect_length(1);
    evbus_event_unref(again);
    ck_assert_int_eq(evbus_queue_next(queue, 0, &again, NULL), 0);
    expect_drained();
    evbus_queue_free(queue);
    evbus_unsubscribe(sub);
    end();
}
END_TEST

/* ack=call: the next pull says nothing; what was let go of without a word comes again. */
START_TEST(pulled_and_answered_by_hand)
{
    begin("workers", "0");
    evbus_queue *queue = evbus_queue_open(bus, NULL);
    evbus_sub *sub = evbus_queue_subscribe(queue, "job", "group=g ack=call", 0);
    ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
    for (int n = 1; n <= 2; n++)
        publish_numbered(other, "job", 0, n);
    evbus_event *first = next_of(queue), *second = next_of(queue), *none;
    ck_assert_int_eq(evbus_queue_next(queue, 50, &none, NULL), 0);
    ck_assert_int_eq(server_command(server, "XLEN " STREAM), 2);
    evbus_event_unref(second);
    ck_assert_int_eq(evbus_event_ack(first), 0);
    evbus_event_unref(first);
    second = next_of(queue);
    ck_assert_int_eq(event_number(second), 2);
    ck_assert_int_eq(evbus_event_attempt(second), 2);
    ck_assert_int_eq(evbus_event_ack(second), 0);
    expect_drained();
    evbus_event_unref(second);
    evbus_queue_free(queue);
    evbus_unsubscribe(sub);
    end();
}
END_TEST

/* ---- failures ---- */

static int refuse(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    atomic_int *attempts = user;
    ck_assert_int_eq(evbus_event_attempt(event), atomic_fetch_add(attempts, 1) + 1);
    return 5;
}

static evbus_event *letter;

static int keep_letter(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    if (!letter)
        letter = evbus_event_ref(event);
    atomic_fetch_add((atomic_int *)user, 1);
    return 0;
}

static void expect_attr(const char *name, const char *value)
{
    const char *is = evbus_event_attr(letter, name);
    ck_assert_msg(is && (!value || !strcmp(is, value)), "%s is %s", name, is ? is : "not there");
}

START_TEST(dead_letters)
{
    atomic_int attempts = 0, letters = 0;
    begin("workers", "0");
    bus_subscribe(bus, "job.dead", NULL, keep_letter, &letters);
    member(bus, "group=g retries=3", refuse, &attempts);
    expect_connected(bus, SOON);
    evbus_event *event = evbus_event_new("job");
    evbus_event_set_json(event, "{\"x\":1}", 7);
    evbus_event_set_correlation(event, "c-1");
    evbus_event_set_attr(event, "userId", "u7");
    ck_assert_int_gt(evbus_publish_event(other, event, 0), 0);
    expect_count(&letters, 1, SOON);
    expect_drained();
    ck_assert_int_eq(atomic_load(&attempts), 4);
    ck_assert_str_eq(evbus_event_data(letter, NULL), "{\"x\":1}");
    ck_assert_str_eq(evbus_event_correlation(letter), "c-1");
    expect_attr("userId", "u7");
    expect_attr("dead.group", "g");
    expect_attr("dead.attempts", "4");
    expect_attr("dead.id", evbus_event_id(event));
    expect_attr("dead.time", evbus_event_timestamp(event));
    expect_attr("dead.position", NULL);
    expect_attr("dead.reason", "its handler failed");
    ck_assert_int_eq(evbus_stat(bus, "group_dead"), 1);
    ck_assert_int_eq(evbus_stat(bus, "group_redeliveries"), 3);
    ck_assert_int_eq(atomic_load(&letters), 1);
    evbus_event_unref(event);
    evbus_event_unref(letter);
    letter = NULL;
    end();
}
END_TEST

static evbus_event *kept;

static int later(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    kept = evbus_event_ref(event);
    atomic_fetch_add((atomic_int *)user, 1);
    return EVBUS_LATER;
}

/* For longer than others would wait for a dead member, and after the bus's end even. */
START_TEST(answered_later)
{
    atomic_int given = 0, elsewhere = 0;
    begin("workers", "0");
    evbus_sub *mine = member(bus, "group=g", later, &given);
    publish_numbered(bus, "job", 0, 1);
    expect_count(&given, 1, SOON);
    member(other, "group=g", handle_count, &elsewhere);
    int64_t until_us = now_us() + 2500000;
    for (struct wait w = wait_for(SOON); now_us() < until_us && wait_more(&w);)
        ck_assert_int_eq(atomic_load(&elsewhere), 0);
    ck_assert_int_eq(evbus_event_ack(kept), 0);
    expect_drained();
    evbus_event_unref(kept);
    ck_assert_int_eq(atomic_load(&elsewhere), 0);

    for (int n = 2; atomic_load(&given) < 2; n++) {
        publish_numbered(bus, "job", 0, n);
        nap_us(1000);
    }
    ck_assert_int_eq(evbus_close(bus, SOON), 0);
    ck_assert_int_eq(evbus_event_ack(kept), EVBUS_ECLOSED);
    expect_drained(); /* the other has it, and all that came after it */
    (void)mine;
    bus_end(bus);
    ck_assert_int_eq(evbus_event_nack(kept, 0), EVBUS_ECLOSED);
    evbus_event_unref(kept);
    bus_end(other);
    server_free(server);
}
END_TEST

/* ---- giving back ---- */

static int block(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    atomic_int *state = user; /* 1: in it; 2: to go on */
    int idle = 0;
    if (!atomic_compare_exchange_strong(state, &idle, 1))
        return 0;
    for (struct wait w = wait_for(SOON); atomic_load(state) == 1 && wait_more(&w);)
        continue;
    return 0;
}

static void *let_go(void *state)
{
    nap_us(300000);
    atomic_store((atomic_int *)state, 2);
    return NULL;
}

/* Nothing comes from the dead while a test runs. */
static evbus *open_patient(void)
{
    evbus *made =
        server_bus(server, "group.reclaim", "1h", "bus.mode", "hybrid", "workers", "1", NULL);
    expect_connected(made, SOON);
    return made;
}

/* What no handler has begun goes to others at once; who runs, finishes and is acknowledged. */
START_TEST(gives_back)
{
    atomic_int state = 0, elsewhere = 0;
    pthread_t thread;
    server = server_start(NULL);
    bus = open_patient();
    other = open_patient();
    evbus_sub *sub = bus_subscribe(bus, "job", "group=g deliver=workers size=1000", block, &state);
    ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
    for (int n = 1; n <= 10; n++)
        publish_numbered(other, "job", 0, n);
    expect_count(&state, 1, SOON);
    expect_stat(bus, "group_deliveries", 10, SOON);
    member(other, "group=g", handle_count, &elsewhere);
    ck_assert_int_eq(pthread_create(&thread, NULL, let_go, &state), 0);
    if (_i == 0)
        bus_unsubscribe(sub);
    else
        ck_assert_int_eq(evbus_close(bus, SOON), 0);
    expect_count(&elsewhere, 9, SOON);
    expect_drained();
    pthread_join(thread, NULL);
    ck_assert_int_eq(atomic_load(&elsewhere), 9);
    ck_assert_int_eq(evbus_stat(other, "group_redeliveries"), 0); /* it was nobody's try */
    end();
}
END_TEST

/* What waits together is larger than any answer that a bus takes: it comes in parts. */
START_TEST(large_ones_wait)
{
    enum { COUNT = 40, SIZE = 1000000 };
    atomic_int none = 0;
    struct recorder done;
    recorder_init(&done);
    begin("workers", "0");
    bus_unsubscribe(member(other, "group=g", handle_count, &none));
    for (int n = 1; n <= COUNT; n++) {
        evbus_event *event = event_numbered("job", 0, n, SIZE);
        ck_assert_int_gt(evbus_publish_event(bus, event, 0), 0);
        evbus_event_unref(event);
    }
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    expect_length(COUNT);
    member(bus, "group=g size=1000", recorder_handle, &done); /* knows of no size yet */
    expect_drained();
    ck_assert_int_eq(recorder_received(&done), COUNT); /* in any order */
    ck_assert_int_eq(done.doubled, 0);
    ck_assert_int_ge(evbus_stat(bus, "protocol_errors"), 1); /* the first answer, of them all */
    if (!suite_sanitized()) { /* a slow build's link may break once more, amid the second */
        ck_assert_int_eq(evbus_stat(bus, "protocol_errors"), 1);
        ck_assert_int_eq(evbus_stat(bus, "group_redeliveries"), 0); /* nobody saw them before */
    }
    recorder_fini(&done);
    end();
}
END_TEST

START_TEST(with_a_limit)
{
    atomic_int few = 0, rest = 0;
    begin("workers", "0");
    member(bus, "group=g limit=3", handle_count, &few);
    for (int n = 1; n <= 20; n++)
        publish_numbered(other, "job", 0, n);
    expect_count(&few, 3, SOON);
    member(other, "group=g", handle_count, &rest);
    expect_count(&rest, 17, SOON);
    expect_drained();
    ck_assert_int_eq(atomic_load(&few), 3);
    ck_assert_int_eq(atomic_load(&rest), 17);
    end();
}
END_TEST

/* ---- elsewhere ---- */

/* The connection that waits is encrypted like the others. */
START_TEST(over_tls)
{
    atomic_int seen = 0;
    char url[64];
    struct cert ca = cert_make("ca", (struct cert_wish){.name = "Test CA", .authority = true});
    struct cert own =
        cert_make("server", (struct cert_wish){.name = "s", .alt = "IP:127.0.0.1", .issuer = &ca});
    server = server_plan_tls(&own, ca.cert, "");
    server_run(server);
    snprintf(url, sizeof url, "rediss://127.0.0.1:%d", server->tls_port);
    bus = bus_with("redis.url", url, "tls.ca.file", ca.cert, NULL);
    member(bus, "group=g", handle_count, &seen);
    for (int n = 1; n <= 500; n++)
        publish_numbered(bus, "job", 0, n);
    expect_count(&seen, 500, SOON);
    expect_drained();
    bus_end(bus);
    server_free(server);
}
END_TEST

/* What the parent has in hand is nothing to the child, which may give its handles back. */
START_TEST(in_a_forked_child)
{
    atomic_int given = 0;
    int status = -1;
    begin("workers", "0");
    evbus_sub *sub = member(bus, "group=g", later, &given);
    publish_numbered(bus, "job", 0, 1);
    expect_count(&given, 1, SOON);
    ck_assert(until(process_others_sleep, NULL, SOON));
    pid_t child = fork();
    if (child == 0) {
        bool refused =
            evbus_event_ack(kept) == EVBUS_EFORK && evbus_sub_wait(sub, 0) == EVBUS_EFORK;
        evbus_event_unref(kept);
        evbus_unsubscribe(sub);
        evbus_free(bus);
        _exit(refused ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(evbus_event_ack(kept), 0);
    evbus_event_unref(kept);
    expect_drained();
    end();
}
END_TEST

/* ---- refused ---- */

static const struct {
    const char *pattern, *options, *why;
} refused[] = {
    {"job.*", "group=g", "one exact type"},
    {"evbus.gap", "group=g", "never leaves this process"},
    {"job", "group='a b'", "letters, digits"},
    {"job", "group=g from=all", "from with group"},
    {"job", "group=g durable=d", "durable with group"},
    {"job", "group=g scope=redis", "scope with group"},
    {"job", "group=g echo=no", "echo with group"},
    {"job", "retries=1", "retries: needs group"},
};

START_TEST(options_that_do_not_fit)
{
    begin("workers", "0");
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        ck_assert_ptr_null(
            evbus_subscribe(bus, refused[i].pattern, refused[i].options, handle_count, NULL));
        ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
        ck_assert_msg(strstr(evbus_last_error(), refused[i].why), "%s", evbus_last_error());
    }
    evbus *local = bus_with("bus.mode", "local-only", NULL);
    ck_assert_ptr_null(evbus_subscribe(local, "job", "group=g", handle_count, NULL));
    ck_assert_int_eq(evbus_last_code(), EVBUS_ENOTSUP);
    bus_end(local);
    end();
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("group");
    TCase *loop = tcase_create("each_event_to_one_member");
    tcase_set_timeout(loop, 60);
    tcase_add_loop_test(loop, each_event_to_one_member, 0, (int)(sizeof ways / sizeof ways[0]));
    suite_add_tcase(suite, loop);
    suite_add(suite, "beside_others", beside_others, 40);
    suite_add(suite, "pulled", pulled, 40);
    suite_add(suite, "pulled_and_answered_by_hand", pulled_and_answered_by_hand, 40);
    suite_add(suite, "dead_letters", dead_letters, 40);
    suite_add(suite, "answered_later", answered_later, 40);
    TCase *back = tcase_create("gives_back");
    tcase_set_timeout(back, 40);
    tcase_add_loop_test(back, gives_back, 0, 2);
    suite_add_tcase(suite, back);
    suite_add(suite, "large_ones_wait", large_ones_wait, 40);
    suite_add(suite, "with_a_limit", with_a_limit, 40);
    suite_add(suite, "over_tls", over_tls, 40);
    suite_add(suite, "in_a_forked_child", in_a_forked_child, 40);
    suite_add(suite, "options_that_do_not_fit", options_that_do_not_fit, 40);
    return suite_run(suite, argc, argv);
}
