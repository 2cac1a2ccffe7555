/* it_poll.c - poll=: the handler looks for itself while Redis is away, and once when it is back. */
#include "harness/bus.h"
#include "harness/recorder.h"
#include "harness/suite.h"
#include "harness/until.h"
#include "share/leader_book.h"
#include "share/leader_member.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON = 20000, INTERVAL_MS = 100 };

static struct server *server;
static evbus *bus;

static struct {
    atomic_int away, back, interval, takeover, events, running, nested;
    atomic_int hold_ms;
    char since[40]; /* of the last poll; read when nothing comes any more */
} seen;

static void note_since(const char *data)
{
    const char *since = strstr(data, "\"since\":\"");
    ck_assert_ptr_nonnull(since);
    snprintf(seen.since, sizeof seen.since, "%.24s", since + 9);
}

static int on_event(evbus_sub *sub, evbus_event *event, void *user)
{
    const char *data = evbus_event_data(event, NULL);
    bool poll = !strcmp(evbus_event_type(event), "evbus.poll");
    (void)sub;
    (void)user;
    atomic_fetch_add(&seen.nested, atomic_fetch_add(&seen.running, 1) > 0 && poll);
    if (poll)
        note_since(data);
    if (seen.hold_ms)
        nap_us(seen.hold_ms * INT64_C(1000));
    atomic_fetch_sub(&seen.running, 1);
    atomic_fetch_add(!poll                          ? &seen.events
                     : strstr(data, "\"away\"")     ? &seen.away
                     : strstr(data, "\"back\"")     ? &seen.back
                     : strstr(data, "\"interval\"") ? &seen.interval
                                                    : &seen.takeover,
                     1);
    return 0;
}

static int polls(void)
{
    return seen.away + seen.back + seen.interval + seen.takeover;
}

static void begin(void)
{
    memset(&seen, 0, sizeof seen);
    server = server_start(NULL);
    bus = server_bus(server, "reconnect.backoff", "10ms", "reconnect.backoff.max", "50ms",
                     "workers", "2", "poll.interval", "100ms", NULL);
    expect_connected(bus, SOON);
}

static void end(void)
{
    bus_end(bus);
    server_free(server);
}

static const char *const ways[] = {"poll=100ms", "poll=yes deliver=workers", "poll=100ms from=all",
                                   "poll=100ms scope=redis"};

/* Nothing while connected; at the interval while away; once afterwards. */
START_TEST(away_and_back)
{
    begin();
    evbus_sub *sub = bus_subscribe(bus, "t.*", ways[_i], on_event, NULL);
    ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
    for (int round = 1; round <= 2; round++) {
        int before = polls();
        nap_us(3 * INTERVAL_MS * 1000);
        ck_assert_int_eq(polls(), before);
        int64_t from_us = now_wall_us();
        server_kill(server);
        expect_count(&seen.away, before + 3, SOON);
        ck_assert_int_ge(now_wall_us() - from_us, suite_sanitized() ? 0 : 290000);
        server_run(server);
        expect_count(&seen.back, round, SOON);
        nap_us(3 * INTERVAL_MS * 1000);
        ck_assert_int_eq(seen.back, round);
        ck_assert_int_le(time_us_of(seen.since), from_us + 1000000);
        ck_assert_int_ge(time_us_of(seen.since), from_us - 10000000);
    }
    ck_assert_int_eq(evbus_sub_stat(sub, "polled"), polls());
    ck_assert_int_eq(evbus_stat(bus, "polls"), polls());
    ck_assert_int_eq(evbus_sub_stat(sub, "delivered"), seen.events);
    ck_assert_int_eq(seen.events, 0);
    ck_assert_int_eq(seen.interval + seen.takeover + seen.nested, 0);
    end();
}
END_TEST

START_TEST(always)
{
    begin();
    evbus_sub *sub = bus_subscribe(bus, "t.*", "poll=100ms when=always", on_event, NULL);
    expect_count(&seen.interval, 3, SOON);
    server_kill(server);
    expect_count(&seen.away, 2, SOON);
    server_run(server);
    expect_count(&seen.back, 1, SOON);
    expect_count(&seen.interval, 5, SOON);
    bus_publish(bus, "t.a", "1");
    expect_count(&seen.events, 1, SOON);
    ck_assert_int_eq(evbus_sub_stat(sub, "delivered"), 1);
    bus_unsubscribe(sub);
    int after = polls();
    nap_us(3 * INTERVAL_MS * 1000);
    ck_assert_int_eq(polls(), after);
    end();
}
END_TEST

/* Events and polls that take longer than the interval: never one inside or behind another. */
START_TEST(busy)
{
    static const char *const busy_ways[] = {"poll=20ms when=always",
                                            "poll=20ms when=always deliver=workers key=all",
                                            "poll=20ms when=always deliver=workers key=none"};
    begin();
    evbus_sub *sub = bus_subscribe(bus, "t.*", busy_ways[_i], on_event, NULL);
    seen.hold_ms = 30;
    for (int n = 0; n < 20; n++)
        bus_publish(bus, "t.a", "1");
    expect_count(&seen.events, 20, SOON);
    ck_assert_int_le(seen.interval, 2); /* before the first, or behind the last */
    expect_count(&seen.interval, 4, SOON);
    ck_assert_int_eq(seen.nested, 0);
    ck_assert_int_le(evbus_sub_stat(sub, "peak"), 20);
    end();
}
END_TEST

/* What is owed after an outage waits for a handler that is busy. */
START_TEST(back_waits)
{
    begin();
    bus_subscribe(bus, "t.*", "poll=10s deliver=workers key=all", on_event, NULL);
    server_kill(server);
    expect_mode(bus, EVBUS_MODE_DEGRADED, SOON);
    seen.hold_ms = 50;
    for (int n = 0; n < 10; n++)
        bus_publish(bus, "t.a", "1");
    server_run(server);
    expect_mode(bus, EVBUS_MODE_HYBRID, SOON);
    expect_count(&seen.back, 1, SOON);
    ck_assert_int_eq(seen.nested, 0);
    ck_assert_int_eq(seen.events, 10);
    ck_assert_int_eq(seen.away, 0);
    end();
}
END_TEST

START_TEST(local_only)
{
    memset(&seen, 0, sizeof seen);
    evbus *local = bus_with("bus.mode", "local-only", NULL);
    evbus_sub *sub = bus_subscribe(local, "t.*", "poll=50ms limit=3", on_event, NULL);
    expect_count(&seen.away, 5, SOON); /* the limit is of events */
    for (int n = 0; n < 4; n++)
        bus_publish(local, "t.a", "1");
    expect_count(&seen.events, 3, SOON);
    ck_assert_int_eq(evbus_sub_stat(sub, "delivered"), 3);
    int after = polls();
    nap_us(INTERVAL_MS * 2000);
    ck_assert_int_eq(polls(), after);
    bus_end(local);
}
END_TEST

/* Alone it leads at once, and looks once for itself. */
START_TEST(local_leader)
{
    memset(&seen, 0, sizeof seen);
    evbus *local = bus_with("bus.mode", "local-only", NULL);
    evbus_sub *sub = bus_subscribe(local, "t.*", "leader=c", on_event, NULL);
    ck_assert_int_eq(evbus_sub_wait(sub, SOON), 0);
    ck_assert_int_gt(evbus_sub_stat(sub, "leading"), 1600000000000);
    expect_count(&seen.takeover, 1, SOON);
    bus_publish(local, "t.a", "1");
    expect_count(&seen.events, 1, SOON);
    ck_assert_int_eq(polls(), 1);
    bus_end(local);
}
END_TEST

/* Only where it leads: of three that poll, one does. */
START_TEST(leaders_poll)
{
    enum { MEMBERS = 3 };
    static struct leader_member members[MEMBERS];
    const char *paths[MEMBERS];
    struct leader_book book;
    server = server_start("appendonly yes\nappendfsync always");
    for (int i = 0; i < MEMBERS; i++) {
        struct leader_member *member = &members[i];
        memset(member, 0, sizeof *member);
        snprintf(member->book, sizeof member->book, "%s/poll.%d.%d", suite_folder(), _i, i);
        snprintf(member->pattern, sizeof member->pattern, "t.*");
        snprintf(member->options, sizeof member->options, "leader=c poll=100ms away=%s",
                 _i ? "last" : "none");
        snprintf(member->settings, sizeof member->settings,
                 "lease.ttl=1s reconnect.backoff=10ms reconnect.backoff.max=50ms");
        leader_member_start(member, server);
        ck_assert_int_eq(leader_member_ask(member, "wait %d", suite_patience(SOON)), 0);
        paths[i] = member->book;
    }
    ck_assert_int_gt(leader_member_ask(&members[0], "sub leading"), 0);
    server_kill(server);
    struct wait wait = wait_for(SOON);
    while (leader_member_ask(&members[0], "stat leases_lost") < 1 && wait_more(&wait))
        ;
    long long polled = leader_member_ask(&members[0], "sub polled");
    ck_assert_int_gt(polled, 0); /* under its lease */
    nap_us(5 * INTERVAL_MS * 1000);
    ck_assert_int_eq(leader_member_ask(&members[0], "sub polled") > polled, _i);
    server_run(server);
    do {
        leader_book_read(&book, paths, MEMBERS);
        size_t back = 0;
        for (size_t n = 0; n < book.count; n++)
            back += !strcmp(book.lines[n].word, "back");
        ck_assert_uint_le(back, 1);
        if (back)
            break;
        leader_book_free(&book);
    } while (wait_more(&wait));
    ck_assert_uint_gt(book.count, 0);
    ck_assert_uint_eq(leader_book_unnumbered(&book), 0);
    ck_assert_uint_eq(leader_book_overlaps(&book, NULL), 0);
    for (int i = 1; i < MEMBERS; i++)
        ck_assert_uint_eq(leader_book_count(&book, LEADER_POLL, i), 0);
    leader_book_free(&book);
    for (int i = 0; i < MEMBERS; i++)
        leader_member_end(&members[i]);
    server_free(server);
}
END_TEST

int main(int argc, char **argv)
{
    int status = leader_member_main(argc, argv);
    if (status >= 0)
        return status;
    Suite *suite = suite_create("poll");
    TCase *tests = tcase_create("poll");
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_loop_test(tests, away_and_back, 0, 4);
    tcase_add_test(tests, always);
    tcase_add_loop_test(tests, busy, 0, 3);
    tcase_add_test(tests, back_waits);
    tcase_add_test(tests, local_only);
    tcase_add_test(tests, local_leader);
    tcase_add_loop_test(tests, leaders_poll, 0, 2);
    suite_add_tcase(suite, tests);
    return suite_run(suite, argc, argv);
}
