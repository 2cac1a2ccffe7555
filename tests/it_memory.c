/* it_memory.c - memory stays within the settings, also while a server or the loop itself takes
 * nothing. */
#include "harness/bus.h"
#include "harness/process.h"
#include "harness/recorder.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON = 15000, MIB = 1024 * 1024, OUTBOX_MIB = 16, QUEUE_MIB = 4, EVENTS = 120000 };

static struct server *server;
static evbus *bus;
static atomic_int gate; /* 0: the handler was not entered, 1: it holds the loop, 2: it may go */

static int hold_the_loop(evbus_sub *sub, evbus_event *event, void *user)
{
    int entered = 0;
    (void)sub;
    (void)event;
    (void)user;
    atomic_compare_exchange_strong(&gate, &entered, 1);
    while (atomic_load(&gate) != 2)
        nap_us(1000);
    return 0;
}

/* Growth of the peak since `before_kib` within limit_mib + 25 % + 4 MiB. */
static void expect_growth(const char *what, long before_kib, int limit_mib)
{
    double growth = (double)(process_peak_kib() - before_kib) / 1024.0;
    double allowed = limit_mib * 1.25 + 4;
    printf("figure: %d MB, %s: RSS grew by %.1f MiB at most, %.1f allowed\n",
           suite_scaled(EVENTS) / 1000, what, growth, allowed);
    if (suite_sanitized())
        printf("SKIPPED: %s: memory is not judged under a sanitizer\n", what);
    else
        ck_assert_msg(growth <= allowed, "%s: RSS grew by %.1f MiB, %.1f allowed", what, growth,
                      allowed);
}

static long mark(void)
{
    for (int n = 0; n < 2000; n++) /* what a first use costs is no growth */
        evbus_event_unref(event_numbered("warm", 0, 1, 1000));
    process_peak_reset();
    return process_rss_kib();
}

static void publish_all(int flags)
{
    for (int n = 1; n <= suite_scaled(EVENTS); n++) {
        evbus_event *event = event_numbered("t", 0, n, 1000);
        int sent = evbus_publish_event(bus, event, flags);
        ck_assert_msg(sent > 0, "%s", evbus_last_error());
        evbus_event_unref(event);
    }
}

static void open_all(bool connected, const char *full)
{
    server = server_plan(false, NULL);
    if (connected)
        server_run(server);
    bus = server_bus(server, "outbox.bytes", "16MiB", "outbox.events", "1000000000", "outbox.full",
                     full, "queue.bytes", "4MiB", "queue.size", "1000000", NULL);
    if (connected)
        expect_connected(bus, SOON);
}

static void close_all(void)
{
    expect_accounts(bus);
    bus_end(bus);
    server_free(server);
}

START_TEST(server_away)
{
    open_all(false, _i ? "drop-newest" : "drop-oldest");
    long before = mark();
    publish_all(0);
    expect_growth(_i ? "published while away, drop-newest" : "published while away, drop-oldest",
                  before, OUTBOX_MIB);
    ck_assert_int_le(evbus_stat(bus, "outbox_bytes"), OUTBOX_MIB * MIB * 9 / 8);
    ck_assert_int_gt(evbus_stat(bus, "evicted"), 0);
    server_run(server);
    expect_connected(bus, SOON);
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    expect_growth("and after its return", before, OUTBOX_MIB);
    ck_assert_int_eq(evbus_stat(bus, "outbox_bytes"), 0);
    close_all();
}
END_TEST

START_TEST(server_stopped)
{
    open_all(true, "drop-oldest");
    long before = mark();
    server_stop(server);
    publish_all(0);
    expect_growth("published to a stopped server", before, OUTBOX_MIB);
    ck_assert_int_gt(evbus_stat(bus, "evicted"), 0);
    server_continue(server);
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    expect_growth("and after it goes on", before, OUTBOX_MIB);
    close_all();
}
END_TEST

/* Somebody else publishes meanwhile: Redis has to keep it. */
static void flood_from_outside(void)
{
    static char text[16384];
    memset(text, ' ', sizeof text);
    memcpy(text, "{\"data\":1}", 10);
    for (int n = 0; n < suite_scaled(1200); n++) /* below its limit of 32 MB */
        server_publish(server, "evbus:events:hold", text, sizeof text);
}

START_TEST(loop_stalled_for_10_seconds)
{
    open_all(true, "drop-oldest");
    evbus_sub *slow = bus_subscribe(bus, "hold", NULL, hold_the_loop, NULL);
    atomic_int seen = 0;
    bus_subscribe(bus, "t", "scope=local deliver=inline", handle_count, &seen);
    ck_assert_int_eq(evbus_sub_wait(slow, suite_patience(SOON)), 0);
    long before = mark();
    int64_t start = now_us();
    bus_publish(bus, "hold", NULL);
    expect_count(&gate, 1, SOON);
    int64_t entered = now_us();
    publish_all(0);
    for (int n = 0; n < suite_scaled(EVENTS); n++)
        bus_publish(bus, "hold", "\"0123456789012345678901234567890123456789\"");
    flood_from_outside();
    expect_growth("loop stalled", before, OUTBOX_MIB + QUEUE_MIB);
    ck_assert_int_eq(atomic_load(&seen), suite_scaled(EVENTS)); /* inline ones notice nothing */
    ck_assert_int_gt(evbus_sub_stat(slow, "dropped"), 0);
    if (start + 10000000 > now_us())
        nap_us(start + 10000000 - now_us());      /* the fault itself: ten seconds */
    int64_t held_us = now_us() - entered - 50000; /* the gauge is a coarse one */
    ck_assert_int_ge(evbus_stat(bus, "loop_lag_us"), held_us);
    atomic_store(&gate, 2);
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    ck_assert_int_ge(evbus_stat(bus, "loop_lag_max_us"), held_us);
    expect_growth("and after it goes on", before, OUTBOX_MIB + QUEUE_MIB);
    expect_connected(bus, SOON);
    printf("figure: a loop stalled for 10 s: %lld breaks of the link\n",
           (long long)evbus_stat(bus, "disconnects"));
    ck_assert_int_eq(evbus_stat(bus, "disconnects"), 0); /* the peer was alive all the time */
    close_all();
}
END_TEST

START_TEST(queue_nobody_pulls)
{
    open_all(false, "off");
    evbus_queue *queue = evbus_queue_open(bus, NULL);
    evbus_sub *sub = evbus_queue_subscribe(queue, "t", NULL, 0);
    long before = mark();
    publish_all(0);
    expect_growth("a queue that nobody pulls", before, QUEUE_MIB);
    ck_assert_int_gt(evbus_queue_stat(queue, "dropped"), 0);
    ck_assert_int_eq(evbus_queue_stat(queue, "dropped") + evbus_queue_stat(queue, "queued"),
                     suite_scaled(EVENTS));
    evbus_queue_free(queue);
    evbus_unsubscribe(sub);
    close_all();
}
END_TEST

/* Open batches and those in the outbox within one bound. Members take half of it at most, for their
 * batch is counted with them; what they leave malloc may keep beside batches that fill all of it. */
START_TEST(batched_while_away)
{
    open_all(false, _i ? "reject" : "drop-oldest");
    long before = mark();
    int accepted = 0;
    for (int n = 1; n <= suite_scaled(EVENTS); n++) {
        evbus_event *event = event_numbered("t", 0, n, 1000);
        int sent = evbus_publish_event(bus, event, EVBUS_BATCH);
        ck_assert_msg(sent == EVBUS_SENT_BATCH || sent == EVBUS_EFULL, "%s", evbus_last_error());
        accepted += sent > 0;
        evbus_event_unref(event);
    }
    expect_growth(_i ? "batched while away, reject" : "batched while away, drop-oldest", before,
                  OUTBOX_MIB + OUTBOX_MIB / 2);
    ck_assert_int_le(evbus_stat(bus, "outbox_bytes"),
                     OUTBOX_MIB * MIB * 9 / 8 + MIB / 4); /* and the one that is being made */
    server_run(server);
    expect_connected(bus, SOON);
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    ck_assert_int_eq(evbus_stat(bus, "batched"), accepted);
    ck_assert_int_eq(evbus_stat(bus, "batched_dropped"), 0);
    ck_assert_int_eq(evbus_stat(bus, "outbox_bytes"), 0);
    printf("figure: of %d events %d were accepted, %lld batches sent, %lld evicted\n",
           suite_scaled(EVENTS), accepted, (long long)evbus_stat(bus, "acked"),
           (long long)evbus_stat(bus, "evicted"));
    close_all();
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("memory");
    TCase *away = tcase_create("server_away");
    tcase_set_timeout(away, suite_patience(40));
    tcase_add_loop_test(away, server_away, 0, 2);
    suite_add_tcase(suite, away);
    TCase *batched = tcase_create("batched_while_away");
    tcase_set_timeout(batched, suite_patience(40));
    tcase_add_loop_test(batched, batched_while_away, 0, 2);
    suite_add_tcase(suite, batched);
    suite_add(suite, "server_stopped", server_stopped, 60);
    suite_add(suite, "loop_stalled_for_10_seconds", loop_stalled_for_10_seconds, 60);
    suite_add(suite, "queue_nobody_pulls", queue_nobody_pulls, 30);
    return suite_run(suite, argc, argv);
}
