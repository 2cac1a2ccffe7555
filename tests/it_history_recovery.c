/* it_history_recovery.c - who gets what was missed: patterns like exact types, not the refused, not
 * those that came later, its own events not twice; within bounded memory. */
#include "harness/bus.h"
#include "harness/listener.h"
#include "harness/process.h"
#include "harness/peer.h"
#include "harness/stream.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON = 15000 };

static struct server *server;
static evbus *bus;
static struct listener ear;

static void open_both(const char *key, const char *value)
{
    server = server_start(NULL);
    ck_assert_int_eq(server_command(server, "ACL SETUSER half on nopass +@all ~* resetchannels "
                                            "&evbus:inbox:* &evbus:events:yes.*"),
                     0);
    bus = server_bus(server, "outbox.events", "1000000", NULL);
    listener_open(&ear, server, "yes.*", key, value, NULL);
    expect_connected(bus, SOON);
}

static void close_both(void)
{
    ck_assert_int_eq(ear.got.doubled, 0);
    ck_assert_int_eq(ear.got.reordered, 0);
    listener_close(&ear);
    bus_end(bus);
    server_free(server);
}

static void publish(const char *type, int publisher, int first, int last)
{
    for (int n = first; n <= last; n++)
        ck_assert_int_gt(publish_numbered(bus, type, publisher, n), 0);
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
}

/* ---- who gets it ---- */

static const char *const patterns[] = {"yes.a", "yes.*", "yes.>", ">", "glob:*a", "yes.b", "no.a"};
enum { PATTERNS = sizeof patterns / sizeof patterns[0] };

static struct taker {
    struct recorder got;
    atomic_int replayed, not_replayed;
} takers[PATTERNS + 1];

static int take(evbus_sub *sub, evbus_event *event, void *user)
{
    struct taker *taker = user;
    bool replay = evbus_event_origin(event) == EVBUS_ORIGIN_REPLAY;
    atomic_fetch_add(replay ? &taker->replayed : &taker->not_replayed, 1);
    return recorder_handle(sub, event, &taker->got);
}

static void take_all(void)
{
    for (int i = 0; i < PATTERNS + 1; i++) {
        recorder_init(&takers[i].got);
        if (i < PATTERNS)
            bus_subscribe(ear.bus, patterns[i], NULL, take, &takers[i]);
    }
}

static void expect_taken(int index, int publisher, int first, int last)
{
    for (int n = first; n <= last; n++)
        ck_assert_msg(recorder_has(&takers[index].got, publisher, n), "%s never got %d/%d",
                      patterns[index], publisher, n);
}

/* Overlapping ones: each event comes once to each of them, whichever Redis names lead there. */
START_TEST(patterns_and_types)
{
    open_both("bus.mode", "hybrid");
    take_all();
    expect_connected(ear.bus, SOON);
    listener_cut(&ear);
    publish("yes.a", 0, 1, 200);
    publish("yes.b", 1, 1, 200);
    publish("yes.b.c", 2, 1, 200);
    listener_back(&ear);
    publish("yes.a", 0, 201, 201);
    listener_expect(&ear, 0, 201);
    for (int i = 0; i < PATTERNS; i++) {
        ck_assert_int_eq(takers[i].got.doubled, 0);
        ck_assert_int_eq(takers[i].got.reordered, 0);
    }
    static const int wanted[PATTERNS] = {200, 400, 600, 600, 200, 200, 0};
    for (int i = 0; i < PATTERNS; i++) {
        struct wait wait = wait_for(SOON); /* that of 201 goes to each in turn */
        while (recorder_received(&takers[i].got) < wanted[i] && wait_more(&wait))
            ;
        ck_assert_msg(recorder_received(&takers[i].got) >= wanted[i],
                      "%s: %ld of %d, by replay %d; lost %ld %ld %ld; dropped %lld", patterns[i],
                      recorder_received(&takers[i].got), wanted[i], takers[i].replayed,
                      recorder_lost(&takers[i].got, 0, 200), recorder_lost(&takers[i].got, 1, 200),
                      recorder_lost(&takers[i].got, 2, 200),
                      (long long)evbus_stat(ear.bus, "dropped"));
        ck_assert_int_ge(atomic_load(&takers[i].replayed), wanted[i]);
    }
    expect_taken(0, 0, 1, 200);
    expect_taken(1, 1, 1, 200);
    expect_taken(2, 2, 1, 200);
    expect_taken(3, 2, 1, 200);
    expect_taken(4, 0, 1, 200);
    expect_taken(5, 1, 1, 200);
    listener_expect_no_gap(&ear);
    close_both();
}
END_TEST

/* What Redis does not let it hear, it is not given from the history either. */
START_TEST(refused_takes_no_part)
{
    open_both("redis.username", "half");
    recorder_init(&takers[0].got);
    recorder_init(&takers[1].got);
    evbus_sub *no = bus_subscribe(ear.bus, "no.a", NULL, take, &takers[0]);
    evbus_sub *yes = bus_subscribe(ear.bus, "yes.b", NULL, take, &takers[1]);
    ck_assert_int_eq(evbus_sub_wait(no, suite_patience(SOON)), EVBUS_EDENIED);
    ck_assert_int_eq(evbus_sub_wait(yes, suite_patience(SOON)), 0);
    listener_cut(&ear);
    publish("no.a", 0, 1, 50);
    publish("yes.b", 1, 1, 50);
    listener_back(&ear);
    publish("yes.b", 1, 51, 51);
    struct wait wait = wait_for(SOON);
    while (!recorder_has(&takers[1].got, 1, 51) && wait_more(&wait))
        ;
    ck_assert_int_eq(recorder_received(&takers[1].got), 51);
    ck_assert_int_eq(recorder_received(&takers[0].got), 0);
    listener_expect_no_gap(&ear);
    close_both();
}
END_TEST

/* A time apart from what was and what will be, in the server's milliseconds. */
static void let_a_moment_pass(void)
{
    int64_t start = now_wall_us() / 1000;
    while (now_wall_us() / 1000 < start + 20)
        nap_us(1000);
}

START_TEST(subscribed_while_away)
{
    open_both("bus.mode", "hybrid");
    recorder_init(&takers[0].got);
    publish("yes.a", 0, 1, 10);
    listener_expect(&ear, 0, 10);
    listener_cut(&ear);
    publish("yes.a", 0, 11, 100);
    let_a_moment_pass();
    bus_subscribe(ear.bus, "yes.a", NULL, take, &takers[0]);
    let_a_moment_pass();
    publish("yes.a", 0, 101, 200);
    listener_back(&ear);
    publish("yes.a", 0, 201, 201);
    struct wait wait = wait_for(SOON);
    while (!recorder_has(&takers[0].got, 0, 201) && wait_more(&wait))
        ;
    listener_expect(&ear, 0, 201);
    ck_assert_int_eq(recorder_lost(&ear.got, 0, 201), 0);
    ck_assert_int_eq(recorder_received(&takers[0].got), 101);
    expect_taken(0, 0, 101, 201);
    listener_expect_no_gap(&ear);
    close_both();
}
END_TEST

/* It listens from its opening on, whether Redis was there or not. */
START_TEST(opened_while_away)
{
    server = server_start("appendonly yes\nappendfsync always");
    bus = server_bus(server, NULL);
    expect_connected(bus, SOON);
    publish("yes.a", 0, 1, 100);
    bus_end(bus);
    server_kill(server);
    let_a_moment_pass();
    listener_open(&ear, server, "yes.*", NULL);
    expect_stat(ear.bus, "connect_errors", 1, SOON);
    let_a_moment_pass();
    server_run(server);
    bus = server_bus(server, NULL);
    expect_connected(bus, SOON);
    publish("yes.a", 0, 101, 200);
    listener_back(&ear);
    publish("yes.a", 0, 201, 201);
    listener_expect(&ear, 0, 201);
    ck_assert_int_eq(recorder_received(&ear.got), 101);
    ck_assert_int_eq(recorder_lost(&ear.got, 0, 201), 100);
    ck_assert_int_ge(atomic_load(&ear.replayed), 100);
    listener_expect_no_gap(&ear);
    close_both();
}
END_TEST

static bool is_empty(void *unused)
{
    (void)unused;
    return stream_length(server) == 0;
}

/* The same, and what was before has gone by its age, which is no loss; or, with some of what came
 * since, by their number. */
START_TEST(opened_while_away_from_a_short_history)
{
    const char *key = _i ? "history.max.events" : "history.ttl", *value = _i ? "200" : "1s";
    server = server_start("appendonly yes\nappendfsync always");
    bus = server_bus(server, key, value, NULL);
    expect_connected(bus, SOON);
    publish("yes.a", 0, 1, 100);
    bus_end(bus);
    server_kill(server);
    let_a_moment_pass();
    listener_open(&ear, server, "yes.*", key, value, NULL);
    expect_stat(ear.bus, "connect_errors", 1, SOON);
    let_a_moment_pass();
    server_run(server);
    bus = server_bus(server, key, value, "redis.ping.interval", "50ms", NULL);
    expect_connected(bus, SOON);
    int64_t before_us = now_wall_us();
    if (!_i)
        ck_assert(until(is_empty, NULL, SOON));
    publish("yes.a", 0, 101, 1000);
    listener_back(&ear);
    publish("yes.a", 0, 1001, 1001);
    listener_expect(&ear, 0, 1001);
    if (_i)
        listener_expect_gap(&ear, "trimmed", before_us, before_us);
    else
        listener_expect_no_gap(&ear);
    ck_assert(_i ? recorder_received(&ear.got) < 901 : recorder_received(&ear.got) == 901);
    close_both();
}
END_TEST

/* ---- its own ---- */

static void publish_own(int flags, int publisher, int first, int last)
{
    for (int n = first; n <= last; n++) {
        evbus_event *event = event_numbered("yes.own", publisher, n, 0);
        ck_assert_int_gt(evbus_publish_event(ear.bus, event, flags), 0);
        evbus_event_unref(event);
    }
}

/* Local ones came at once; those that go through Redis come from there, live or read, but once. */
START_TEST(own_events_once)
{
    open_both("bus.mode", "hybrid");
    int own = 0;
    for (int i = 0; i < suite_scaled(20); i++, own += 30) {
        publish_own(0, 0, own + 1, own + 20);
        publish_own(EVBUS_REDIS_ONLY, 1, own + 1, own + 20);
        listener_cut(&ear);
        publish_own(0, 0, own + 21, own + 30);
        publish_own(EVBUS_REDIS_ONLY, 1, own + 21, own + 30);
        publish("yes.a", 2, own + 1, own + 30);
        listener_back(&ear);
    }
    ck_assert_int_eq(evbus_flush(ear.bus, suite_patience(SOON)), 0);
    for (int p = 0; p < 3; p++)
        listener_expect(&ear, p, own);
    int published[] = {own, own, own};
    recorder_expect_perfect(&ear.got, "own events and others, cut in between", 3, published);
    stream_expect_sound(server, NULL);
    ck_assert_int_eq(stream_length(server), 3 * own);
    listener_expect_no_gap(&ear);
    close_both();
}
END_TEST

static atomic_bool enough;

static void *publish_on(void *count)
{
    int n = 0;
    while (!atomic_load(&enough)) {
        if (publish_numbered(ear.bus, "yes.own", 0, n + 1) > 0)
            n++;
        nap_us(50);
    }
    *(int *)count = n;
    return NULL;
}

/* With one subscription that gets them from Redis the others still got them at once, what comes
 * back in the midst of a recovery included. */
START_TEST(own_events_once_beside_a_reader)
{
    pthread_t thread;
    int own = 0;
    open_both("history.local.events", "100000");
    recorder_init(&takers[0].got);
    bus_subscribe(ear.bus, "yes.*", "from=all", take, &takers[0]);
    ck_assert_int_eq(pthread_create(&thread, NULL, publish_on, &own), 0);
    for (int i = 1; i <= 20; i++) {
        publish("yes.a", 1, i * 100 - 99, i * 100);
        listener_drop(&ear);
        nap_us(50000);
    }
    atomic_store(&enough, true);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_int_eq(evbus_flush(ear.bus, suite_patience(SOON)), 0);
    listener_expect(&ear, 0, own);
    listener_expect(&ear, 1, 2000);
    struct wait wait = wait_for(SOON);
    while (!recorder_has(&takers[0].got, 0, own) && wait_more(&wait))
        ;
    int published[] = {own, 2000};
    recorder_expect_perfect(&takers[0].got, "who reads", 2, published);
    recorder_expect_perfect(&ear.got, "who does not", 2, published);
    evbus_list *kept = evbus_history(ear.bus, "source=local type=yes.own limit=100000", 0);
    ck_assert_int_eq(evbus_list_count(kept), own);
    evbus_list_free(kept);
    close_both();
}
END_TEST

/* ---- memory ---- */

START_TEST(memory_is_bounded)
{
    int many = suite_scaled(300000);
    server = server_start(NULL);
    bus = server_bus(server, "outbox.events", "1000000", "outbox.bytes", "1GiB", NULL);
    struct peer *peer = peer_start(server, "bus.name=peer reconnect.max.retries=0");
    peer_ask(peer, "gaps");
    peer_ask(peer, "record yes.* size=10");
    peer_ask(peer, "connected %d", suite_patience(SOON));
    expect_connected(bus, SOON);
    char *list = server_text(server, "CLIENT LIST"), *state = NULL;
    for (char *line = strtok_r(list, "\n", &state); line; line = strtok_r(NULL, "\n", &state))
        if (strstr(line, " name=peer "))
            server_command(server, "CLIENT KILL ID %ld", strtol(line + 3, NULL, 10));
    free(list);
    int64_t start = now_us();
    for (int n = 1; n <= many; n++) {
        evbus_event *event = event_numbered("yes.a", 0, n, 280);
        ck_assert_int_gt(evbus_publish_event(bus, event, 0), 0);
        evbus_event_unref(event);
    }
    ck_assert_int_eq(evbus_flush(bus, suite_patience(4 * SOON)), 0);
    int64_t published = now_us();
    ck_assert_str_eq(peer_ask(peer, "stat disconnects"), "1");
    peer_ask(peer, "lost 0 %d", many); /* what records them grows before, not in between */
    long before = strtol(peer_ask(peer, "peak reset"), NULL, 10);
    peer_ask(peer, "reconnect now");
    char wanted[40];
    snprintf(wanted, sizeof wanted, "%d 0 0 0", many);
    struct wait wait = wait_for(4 * SOON);
    while (strcmp(peer_ask(peer, "totals"), wanted) != 0 && wait_more(&wait))
        ;
    ck_assert_str_eq(peer_ask(peer, "totals"), wanted);
    long grown = strtol(peer_ask(peer, "peak read"), NULL, 10) - before;
    printf("figure: %d events of 300 bytes published in %lld ms, read in %lld ms; memory grew by "
           "%ld KiB\n",
           many, (long long)(published - start) / 1000, (long long)(now_us() - published) / 1000,
           grown);
    if (!suite_sanitized())
        ck_assert_int_le(grown, 12 * 1024);
    ck_assert_str_eq(peer_ask(peer, "windows"), "[]");
    peer_stop(peer);
    bus_end(bus);
    server_free(server);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("history_recovery");
    suite_add(suite, "patterns_and_types", patterns_and_types, 40);
    suite_add(suite, "refused_takes_no_part", refused_takes_no_part, 40);
    suite_add(suite, "subscribed_while_away", subscribed_while_away, 40);
    suite_add(suite, "opened_while_away", opened_while_away, 40);
    TCase *brief = tcase_create("opened_while_away_from_a_short_history");
    tcase_set_timeout(brief, suite_patience(40));
    tcase_add_loop_test(brief, opened_while_away_from_a_short_history, 0, 2);
    suite_add_tcase(suite, brief);
    suite_add(suite, "own_events_once", own_events_once, 40);
    suite_add(suite, "own_events_once_beside_a_reader", own_events_once_beside_a_reader, 40);
    suite_add(suite, "memory_is_bounded", memory_is_bounded, 90);
    return suite_run(suite, argc, argv);
}
