/* it_redis.c - buses that meet through a real server: who gets what, once, and what is reported. */
#include "harness/bus.h"
#include "harness/peer.h"
#include "harness/recorder.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON = 10000, BOTH = EVBUS_SENT_LOCAL | EVBUS_SENT_REDIS };

static struct server *server;
static evbus *one, *two;

static void open_two(void)
{
    server = server_start(NULL);
    one = server_bus(server, "bus.name", "one", NULL);
    two = server_bus(server, "bus.name", "two", NULL);
    expect_connected(one, SOON);
    expect_connected(two, SOON);
}

static void close_two(void)
{
    bus_end(one);
    bus_end(two);
    server_free(server);
}

static evbus_sub *subscribe_live(evbus *bus, const char *pattern, const char *options,
                                 evbus_event_fn fn, void *user)
{
    evbus_sub *sub = bus_subscribe(bus, pattern, options, fn, user);
    ck_assert_msg(evbus_sub_wait(sub, suite_patience(SOON)) == 0, "%s: %s", pattern,
                  evbus_last_error());
    return sub;
}

/* All that `from` published has reached `to`, and been handled there: events keep their order. */
static void settle(evbus *from, evbus *to)
{
    static int number;
    char type[64];
    atomic_int arrived = 0;
    snprintf(type, sizeof type, "settle.%d", ++number);
    evbus_sub *sub = subscribe_live(to, type, "scope=both", handle_count, &arrived);
    bus_publish(from, type, NULL);
    expect_count(&arrived, 1, SOON);
    bus_unsubscribe(sub);
}

START_TEST(both_ways)
{
    open_two();
    struct recorder at_one, at_two;
    int count = suite_scaled(20000), sent[2] = {count, count};
    recorder_init(&at_one);
    recorder_init(&at_two);
    subscribe_live(one, "n", "size=1000000 bytes=1GiB", recorder_handle, &at_one);
    subscribe_live(two, "n", "size=1000000 bytes=1GiB", recorder_handle, &at_two);
    ck_assert_int_eq(evbus_mode(one), EVBUS_MODE_HYBRID);
    for (int n = 1; n <= count; n++) {
        ck_assert_int_eq(publish_numbered(one, "n", 0, n), BOTH);
        ck_assert_int_eq(publish_numbered(two, "n", 1, n), BOTH);
    }
    ck_assert_int_eq(evbus_flush(one, suite_patience(SOON)), 0);
    ck_assert_int_eq(evbus_flush(two, suite_patience(SOON)), 0);
    settle(one, two);
    settle(two, one);
    recorder_expect_perfect(&at_one, "two buses, at the first", 2, sent);
    recorder_expect_perfect(&at_two, "two buses, at the second", 2, sent);
    ck_assert_int_ge(evbus_stat(one, "echoes"), count);
    ck_assert_int_ge(evbus_stat(one, "received"), count);
    ck_assert_int_eq(evbus_stat(one, "forged") + evbus_stat(one, "decode_errors") +
                         evbus_stat(one, "protocol_errors") + evbus_stat(one, "duplicates"),
                     0);
    close_two();
    recorder_fini(&at_one);
    recorder_fini(&at_two);
}
END_TEST

START_TEST(two_processes)
{
    server = server_start(NULL);
    struct peer *peer = peer_start(server, "bus.name=peer");
    int count = suite_scaled(20000);
    struct recorder back;
    recorder_init(&back);
    one = server_bus(server, NULL);
    expect_connected(one, SOON);
    peer_ask(peer, "connected %d", suite_patience(SOON));
    peer_ask(peer, "record n size=1000000 bytes=1GiB");
    peer_ask(peer, "echo n back");
    peer_ask(peer, "connected %d", suite_patience(SOON));
    subscribe_live(one, "back", "scope=redis size=1000000 bytes=1GiB", recorder_handle, &back);
    for (int n = 1; n <= count; n++)
        ck_assert_int_eq(publish_numbered(one, "n", 0, n), BOTH);
    struct wait wait = wait_for(SOON);
    while (recorder_received(&back) < count && wait_more(&wait))
        ;
    ck_assert_str_eq(peer_ask(peer, "lost 0 %d", count), "");
    char totals[64];
    snprintf(totals, sizeof totals, "%d 0 0 0", count);
    ck_assert_str_eq(peer_ask(peer, "totals"), totals);
    recorder_expect_perfect(&back, "to the other process and back", 1, &count);
    peer_stop(peer);
    bus_end(one);
    server_free(server);
    recorder_fini(&back);
}
END_TEST

START_TEST(patterns_over_the_wire)
{
    static const struct {
        const char *pattern, *matching, *other;
    } rows[] = {
        {"task.*", "task.created", "task.a.b"},
        {"task.>", "task.a.b", "tasks.a"},
        {"*.created", "user.created", "a.b.created"},
        {"glob:t?sk.[ab]*", "task.apple", "task.cat"},
        {">", "anything.at/all-1", NULL},
        {"exact.type", "exact.type", "exact.types"},
        {"a.*.c", "a.b.c", "a.b.b.c"},
        {"s[x]*", NULL, NULL},
    };
    open_two();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        atomic_int seen = 0;
        evbus_sub *sub = evbus_subscribe(two, rows[i].pattern, "scope=redis", handle_count, &seen);
        if (!rows[i].matching) {
            ck_assert_ptr_null(sub);
            continue;
        }
        ck_assert_int_eq(evbus_sub_wait(sub, suite_patience(SOON)), 0);
        if (rows[i].other)
            bus_publish(one, rows[i].other, NULL);
        bus_publish(one, rows[i].matching, NULL);
        expect_count(&seen, 1, SOON);
        settle(one, two);
        ck_assert_msg(atomic_load(&seen) == 1 + !strcmp(rows[i].pattern, ">"), "%s got %d",
                      rows[i].pattern, atomic_load(&seen));
        evbus_unsubscribe(sub);
    }
    close_two();
}
END_TEST

struct origins {
    atomic_int local, redis;
};

static int note_origin(evbus_sub *sub, evbus_event *event, void *user)
{
    struct origins *origins = user;
    (void)sub;
    atomic_fetch_add(
        evbus_event_origin(event) == EVBUS_ORIGIN_LOCAL ? &origins->local : &origins->redis, 1);
    return 0;
}

/* What each kind of subscription on the first bus gets of each kind of publish. */
START_TEST(scopes_and_flags)
{
    static const char *const options[] = {"scope=both", "scope=local", "scope=redis", "echo=no",
                                          "scope=redis echo=no"};
    static const struct {
        int flags;
        bool by_other;
        int local[5], redis[5];
    } rows[] = {
        {0, false, {1, 1, 0, 0, 0}, {0, 0, 0, 0, 0}},
        {EVBUS_LOCAL_ONLY, false, {1, 1, 0, 0, 0}, {0, 0, 0, 0, 0}},
        {EVBUS_REDIS_ONLY, false, {0, 0, 0, 0, 0}, {1, 0, 1, 0, 0}},
        {0, true, {0, 0, 0, 0, 0}, {1, 0, 1, 1, 1}},
        {EVBUS_LOCAL_ONLY, true, {0, 0, 0, 0, 0}, {0, 0, 0, 0, 0}},
        {EVBUS_REDIS_ONLY, true, {0, 0, 0, 0, 0}, {1, 0, 1, 1, 1}},
    };
    open_two();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct origins seen[5] = {{0, 0}};
        evbus_sub *subs[5];
        for (int s = 0; s < 5; s++)
            subs[s] = subscribe_live(one, "t", options[s], note_origin, &seen[s]);
        evbus *from = rows[i].by_other ? two : one;
        evbus_event *event = evbus_event_new("t");
        int sent = evbus_publish_event(from, event, rows[i].flags);
        evbus_event_unref(event);
        ck_assert_int_eq(sent, rows[i].flags == EVBUS_LOCAL_ONLY   ? EVBUS_SENT_LOCAL
                               : rows[i].flags == EVBUS_REDIS_ONLY ? EVBUS_SENT_REDIS
                                                                   : BOTH);
        settle(from, one);
        settle(one, one);
        for (int s = 0; s < 5; s++) {
            ck_assert_msg(atomic_load(&seen[s].local) == rows[i].local[s] &&
                              atomic_load(&seen[s].redis) == rows[i].redis[s],
                          "row %zu, %s: %d local, %d from Redis", i, options[s],
                          atomic_load(&seen[s].local), atomic_load(&seen[s].redis));
            bus_unsubscribe(subs[s]);
        }
    }
    close_two();
}
END_TEST

START_TEST(overlapping_subscriptions)
{
    open_two();
    atomic_int exact = 0, words = 0, glob = 0, all = 0;
    evbus_sub *subs[] = {subscribe_live(two, "task.created", "scope=redis", handle_count, &exact),
                         subscribe_live(two, "task.*", "scope=redis", handle_count, &words),
                         subscribe_live(two, "glob:task*", "scope=redis", handle_count, &glob),
                         subscribe_live(two, "task.>", "scope=redis", handle_count, &all)};
    for (int n = 0; n < 100; n++)
        bus_publish(one, "task.created", "{}");
    settle(one, two);
    ck_assert_int_eq(atomic_load(&exact), 100);
    ck_assert_int_eq(atomic_load(&words), 100);
    ck_assert_int_eq(atomic_load(&glob), 100);
    ck_assert_int_eq(atomic_load(&all), 100);
    ck_assert_int_ge(evbus_stat(two, "duplicates"), 100);
    bus_unsubscribe(subs[1]); /* the others go on */
    bus_publish(one, "task.created", "{}");
    settle(one, two);
    ck_assert_int_eq(atomic_load(&exact), 101);
    ck_assert_int_eq(atomic_load(&words), 100);
    close_two();
}
END_TEST

START_TEST(same_interest_is_one_subscription)
{
    open_two();
    atomic_int seen = 0;
    evbus_sub *subs[50];
    for (int i = 0; i < 50; i++)
        subs[i] = subscribe_live(two, "same", "scope=redis", handle_count, &seen);
    char *answer = server_text(server, "PUBSUB NUMSUB evbus:events:same");
    ck_assert_str_eq(answer, "evbus:events:same\n1\n");
    free(answer);
    bus_publish(one, "same", NULL);
    expect_count(&seen, 50, SOON);
    for (int i = 0; i < 50; i++)
        bus_unsubscribe(subs[i]);
    struct wait wait = wait_for(SOON);
    do {
        answer = server_text(server, "PUBSUB NUMSUB evbus:events:same");
        ck_assert_msg(wait_more(&wait), "still subscribed: %s", answer);
    } while (strcmp(answer, "evbus:events:same\n0\n") != 0 && (free(answer), true));
    free(answer);
    ck_assert_int_eq(atomic_load(&seen), 50);
    close_two();
}
END_TEST

/* ---- reports, flush, close ---- */

struct reports {
    atomic_int count, acked, local_done, other;
    _Atomic int64_t receivers;
};

static void on_report(evbus_event *event, int outcome, int error, int64_t receivers, void *user)
{
    struct reports *reports = user;
    (void)event;
    (void)error;
    atomic_fetch_add(&reports->count, 1);
    atomic_fetch_add(outcome == EVBUS_ACKED        ? &reports->acked
                     : outcome == EVBUS_LOCAL_DONE ? &reports->local_done
                                                   : &reports->other,
                     1);
    atomic_store(&reports->receivers, receivers);
}

static void publish_reported(evbus *bus, const char *type, int flags, struct reports *reports)
{
    evbus_event *event = evbus_event_new(type);
    int sent = evbus_publish_report(bus, event, flags, on_report, reports);
    ck_assert_msg(sent > 0, "%s", evbus_last_error());
    evbus_event_unref(event);
}

START_TEST(reports_and_receivers)
{
    open_two();
    struct reports reports = {.count = 0};
    atomic_int seen = 0;
    publish_reported(one, "nobody", 0, &reports);
    ck_assert_int_eq(evbus_flush(one, suite_patience(SOON)), 0);
    ck_assert_int_eq(atomic_load(&reports.acked), 1);
    ck_assert_int_eq(atomic_load(&reports.receivers), 0);
    subscribe_live(two, "t", NULL, handle_count, &seen);
    publish_reported(one, "t", 0, &reports);
    ck_assert_int_eq(evbus_flush(one, suite_patience(SOON)), 0);
    ck_assert_int_eq(atomic_load(&reports.receivers), 1);
    subscribe_live(one, "t", NULL, handle_count, &seen);
    publish_reported(one, "t", EVBUS_REDIS_ONLY, &reports);
    ck_assert_int_eq(evbus_flush(one, suite_patience(SOON)), 0);
    ck_assert_int_eq(atomic_load(&reports.receivers), 2);
    publish_reported(one, "t", EVBUS_LOCAL_ONLY, &reports);
    ck_assert_int_eq(evbus_flush(one, suite_patience(SOON)), 0);
    ck_assert_int_eq(atomic_load(&reports.local_done), 1);
    ck_assert_int_eq(atomic_load(&reports.receivers), -1);
    ck_assert_int_eq(atomic_load(&reports.count), 4);
    ck_assert_int_eq(atomic_load(&reports.other), 0);
    close_two();
}
END_TEST

START_TEST(flush_covers_what_was_accepted)
{
    open_two();
    struct reports reports = {.count = 0};
    for (int round = 1; round <= 20; round++) {
        for (int n = 0; n < 500; n++)
            publish_reported(one, "t", 0, &reports);
        ck_assert_int_eq(evbus_flush(one, suite_patience(SOON)), 0);
        ck_assert_int_eq(atomic_load(&reports.count), round * 500);
    }
    ck_assert_int_eq(atomic_load(&reports.acked), 20 * 500);
    ck_assert_int_eq(evbus_stat(one, "outbox_events"), 0);
    ck_assert_int_eq(evbus_stat(one, "outbox_bytes"), 0);
    close_two();
}
END_TEST

START_TEST(close_flushes)
{
    open_two();
    struct recorder recorder;
    struct reports reports = {.count = 0};
    int count = suite_scaled(5000);
    recorder_init(&recorder);
    subscribe_live(two, "n", "size=1000000 bytes=1GiB", recorder_handle, &recorder);
    for (int n = 1; n <= count; n++) {
        evbus_event *event = event_numbered("n", 0, n, 100);
        ck_assert_int_eq(evbus_publish_report(one, event, 0, on_report, &reports), BOTH);
        evbus_event_unref(event);
    }
    ck_assert_int_eq(evbus_close(one, suite_patience(SOON)), 0);
    ck_assert_int_eq(atomic_load(&reports.acked), count);
    struct wait wait = wait_for(SOON);
    while (recorder_received(&recorder) < count && wait_more(&wait))
        ;
    recorder_expect_perfect(&recorder, "published and closed at once", 1, &count);
    close_two();
    recorder_fini(&recorder);
}
END_TEST

START_TEST(zero_looks_once)
{
    open_two();
    atomic_int seen = 0;
    evbus_sub *sub = subscribe_live(one, "t", NULL, handle_count, &seen);
    ck_assert_int_eq(evbus_sub_wait(sub, 0), 0);
    ck_assert_int_eq(evbus_wait_connected(one, suite_patience(SOON)), 0);
    ck_assert_int_eq(evbus_wait_connected(one, 0), 0);
    ck_assert_int_eq(evbus_flush(one, 0), 0);
    ck_assert_int_eq(evbus_close(one, suite_patience(SOON)), 0);
    ck_assert_int_eq(evbus_close(one, 0), 0);
    close_two();
}
END_TEST

START_TEST(redis_only_bus)
{
    open_two();
    atomic_int seen = 0, other = 0;
    evbus *bus = server_bus(server, "bus.mode", "redis-only", NULL);
    expect_mode(bus, EVBUS_MODE_REDIS_ONLY, SOON);
    subscribe_live(bus, "t", NULL, handle_count, &seen);
    subscribe_live(two, "t", NULL, handle_count, &other);
    ck_assert_int_eq(bus_publish(bus, "t", NULL), EVBUS_SENT_REDIS);
    expect_count(&seen, 1, SOON);
    expect_count(&other, 1, SOON);
    settle(two, bus);
    ck_assert_int_eq(atomic_load(&seen), 1);
    bus_end(bus);
    close_two();
}
END_TEST

START_TEST(large_events)
{
    server = server_start("client-output-buffer-limit pubsub 0 0 0"); /* it has one of 32 MB */
    one = server_bus(server, "event.max.bytes", "9MiB", NULL);
    two = server_bus(server, "event.max.bytes", "9MiB", NULL);
    struct recorder recorder;
    int count = 4;
    recorder_init(&recorder);
    expect_connected(one, SOON);
    subscribe_live(two, "n", "bytes=1GiB", recorder_handle, &recorder);
    for (int n = 1; n <= count; n++) {
        evbus_event *event = event_numbered("n", 0, n, 8 << 20);
        ck_assert_int_eq(evbus_publish_event(one, event, 0), BOTH);
        evbus_event_unref(event);
    }
    struct wait wait = wait_for(SOON);
    while (recorder_received(&recorder) < count && wait_more(&wait))
        ;
    recorder_expect_perfect(&recorder, "events of 8 MiB", 1, &count);
    close_two();
    recorder_fini(&recorder);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("redis");
    suite_add(suite, "both_ways", both_ways, 30);
    suite_add(suite, "two_processes", two_processes, 30);
    suite_add(suite, "patterns_over_the_wire", patterns_over_the_wire, 30);
    suite_add(suite, "scopes_and_flags", scopes_and_flags, 30);
    suite_add(suite, "overlapping_subscriptions", overlapping_subscriptions, 30);
    suite_add(suite, "same_interest_is_one_subscription", same_interest_is_one_subscription, 30);
    suite_add(suite, "reports_and_receivers", reports_and_receivers, 30);
    suite_add(suite, "flush_covers_what_was_accepted", flush_covers_what_was_accepted, 30);
    suite_add(suite, "close_flushes", close_flushes, 30);
    suite_add(suite, "zero_looks_once", zero_looks_once, 30);
    suite_add(suite, "redis_only_bus", redis_only_bus, 30);
    suite_add(suite, "large_events", large_events, 30);
    return suite_run(suite, argc, argv);
}
