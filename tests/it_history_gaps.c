/* it_history_gaps.c - what a node misses while it is away: read from the history and no gap, or one
 * gap that says why, between which times, and how many at most. */
#include "harness/bus.h"
#include "harness/listener.h"
#include "harness/stream.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SOON = 15000 };

static struct server *server;
static evbus *bus; /* publishes; has no subscription */
static struct listener ear;
static int sent;                /* numbers of publisher 0 */
static int64_t lost_us, end_us; /* Unix time: around what is to be lost */

static void open_both(const char *lines, const char *key, const char *value)
{
    sent = 0;
    server = server_start(lines);
    bus = server_bus(server, "outbox.events", "1000000", "reconnect.backoff", "1ms",
                     "reconnect.backoff.max", "50ms", key, value, NULL);
    listener_open(&ear, server, "t.*", key, value, NULL);
    expect_connected(bus, SOON);
}

static void close_both(void)
{
    ck_assert_int_eq(ear.got.doubled, 0);
    ck_assert_int_eq(ear.got.reordered, 0);
    ck_assert_int_eq(ear.got.foreign, 0);
    listener_close(&ear);
    bus_end(bus);
    server_free(server);
}

static void publish(int count)
{
    for (int i = 0; i < count; i++)
        ck_assert_int_gt(publish_numbered(bus, "t.a", 0, ++sent), 0);
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
}

static void publish_lost(int count)
{
    lost_us = now_wall_us();
    publish(count);
    end_us = now_wall_us();
}

/* One more event, live: what came before it has come. */
static void come_to_rest(void)
{
    publish(1);
    listener_expect(&ear, 0, sent);
}

/* Another break, with nothing lost: what was told once is not told again. */
static void drop_once_more(void)
{
    int before = listener_gap_count(&ear);
    listener_cut(&ear);
    publish(10);
    listener_back(&ear);
    come_to_rest();
    ck_assert_int_eq(listener_gap_count(&ear), before);
}

static void command(const char *text)
{
    ck_assert_msg(server_command(server, text) >= 0, "%s: %s", text, server_error());
}

static void restart(void)
{
    server_kill(server);
    expect_mode(ear.bus, EVBUS_MODE_DEGRADED, SOON);
    expect_mode(bus, EVBUS_MODE_DEGRADED, SOON);
    server_run(server);
    expect_connected(bus, SOON);
}

/* ---- nothing is lost ---- */

START_TEST(read_from_the_history)
{
    open_both(NULL, "bus.mode", "hybrid");
    publish(100);
    listener_expect(&ear, 0, 100);
    for (int i = 0; i < 5; i++) {
        listener_cut(&ear);
        publish(500);
        listener_back(&ear);
        come_to_rest();
    }
    ck_assert_int_eq(recorder_lost(&ear.got, 0, sent), 0);
    ck_assert_int_ge(atomic_load(&ear.replayed), 5 * 500);
    ck_assert_int_eq(atomic_load(&ear.replayed), evbus_stat(ear.bus, "replayed"));
    ck_assert_int_eq(atomic_load(&ear.live) + atomic_load(&ear.replayed), sent);
    ck_assert_int_eq(evbus_stat(ear.bus, "gaps"), 0);
    listener_expect_no_gap(&ear);
    close_both();
}
END_TEST

START_TEST(restarted_with_its_data)
{
    open_both("appendonly yes\nappendfsync always", "bus.mode", "hybrid");
    for (int i = 0; i < 3; i++) {
        publish(300);
        listener_expect(&ear, 0, sent);
        restart();
        publish(300);
        listener_back(&ear);
        come_to_rest();
    }
    ck_assert_int_eq(recorder_lost(&ear.got, 0, sent), 0);
    listener_expect_no_gap(&ear);
    close_both();
}
END_TEST

/* Its own are rare, those of others many, and the history is small: fences tell it that it missed
 * nothing. */
START_TEST(idle_beside_many)
{
    int others = suite_scaled(100000);
    server = server_start(NULL);
    bus = server_bus(server, "outbox.events", "1000000", "history.max.events", "1000", NULL);
    listener_open(&ear, server, "rare", "history.max.events", "1000", "redis.ping.interval", "50ms",
                  NULL);
    expect_connected(bus, SOON);
    ck_assert_int_gt(publish_numbered(bus, "rare", 0, 1), 0);
    for (int n = 1; n <= others; n++) {
        ck_assert_int_gt(publish_numbered(bus, "t.a", 1, n), 0);
        if (n % 10000 == 0 || n == others) /* all of them reach Redis */
            ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    }
    ck_assert_int_eq(evbus_stat(bus, "acked"), others + 1);
    ck_assert_int_lt(stream_length(server), 1300);
    expect_stat(ear.bus, "bytes_in", evbus_stat(ear.bus, "bytes_in") + 3000, SOON); /* heartbeats */
    listener_cut(&ear);
    ck_assert_int_gt(publish_numbered(bus, "rare", 0, 2), 0);
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    listener_back(&ear);
    ck_assert_int_gt(publish_numbered(bus, "rare", 0, 3), 0);
    listener_expect(&ear, 0, 3);
    ck_assert_int_eq(recorder_received(&ear.got), 3);
    listener_expect_no_gap(&ear);
    close_both();
}
END_TEST

/* ---- something is ---- */

START_TEST(trimmed)
{
    open_both(NULL, "history.max.events", "1000");
    publish(100);
    listener_expect(&ear, 0, 100);
    listener_cut(&ear);
    publish_lost(5000);
    long long first = stream_expect_sound(server, NULL).first;
    ck_assert_int_gt(first, 3000);
    listener_back(&ear);
    come_to_rest();
    struct gap gap = listener_expect_gap(&ear, "trimmed", lost_us, lost_us);
    ck_assert_int_eq(recorder_lost(&ear.got, 0, sent), first - 101);
    ck_assert_int_eq(gap.count, first - 101);
    ck_assert_int_le(gap.to_us, end_us + 1000);
    drop_once_more();
    close_both();
}
END_TEST

/* The stream alone is deleted; `after` it was made anew. */
START_TEST(evicted)
{
    int after = _i ? 50 : 0;
    open_both(NULL, "bus.mode", "hybrid");
    publish(100);
    listener_expect(&ear, 0, 100);
    listener_cut(&ear);
    publish_lost(200);
    command("DEL " STREAM_KEY);
    publish(after);
    listener_back(&ear);
    come_to_rest();
    struct gap gap = listener_expect_gap(&ear, "evicted", lost_us, end_us);
    ck_assert_int_eq(gap.count, 200);
    ck_assert_int_eq(recorder_lost(&ear.got, 0, sent), 200);
    drop_once_more();
    close_both();
}
END_TEST

START_TEST(flushed)
{
    int after = _i % 2 ? 50 : 0;
    open_both(NULL, "bus.mode", "hybrid");
    publish(100);
    listener_expect(&ear, 0, 100);
    listener_cut(&ear);
    publish_lost(200);
    if (_i < 2)
        command("FLUSHALL");
    else
        server_kill(server), server_run(server), expect_connected(bus, SOON);
    publish(after);
    listener_back(&ear);
    come_to_rest();
    struct gap gap = listener_expect_gap(&ear, "flushed", lost_us, end_us);
    ck_assert_int_eq(gap.count, -1);
    ck_assert_int_eq(recorder_lost(&ear.got, 0, sent), 200);
    drop_once_more();
    close_both();
}
END_TEST

/* Started again with older data, in which `after` events were added before the node came back:
 * less, as many, and more than were lost. */
START_TEST(rolled_back)
{
    static const int afters[] = {0, 50, 100, 150, 700};
    open_both(NULL, "bus.mode", "hybrid");
    publish(100);
    command("SAVE");
    publish(100); /* heard, and lost by the server */
    listener_expect(&ear, 0, 200);
    listener_cut(&ear);
    publish_lost(0);
    server_kill(server);
    server_run(server);
    expect_connected(bus, SOON);
    publish(afters[_i]);
    listener_back(&ear);
    come_to_rest();
    listener_expect_gap(&ear, "rolled-back", lost_us, end_us);
    ck_assert_int_eq(recorder_lost(&ear.got, 0, sent), 0);
    drop_once_more();
    close_both();
}
END_TEST

START_TEST(limit_of_events)
{
    open_both(NULL, "recovery.max.events", "100");
    publish(10);
    listener_expect(&ear, 0, 10);
    listener_cut(&ear);
    publish(100);
    lost_us = now_wall_us();
    publish(900);
    listener_back(&ear);
    come_to_rest();
    listener_expect_gap(&ear, "limit", lost_us, now_wall_us() - 1000000);
    ck_assert_int_eq(atomic_load(&ear.replayed), 100);
    ck_assert_int_eq(recorder_lost(&ear.got, 0, sent), 900);
    drop_once_more();
    close_both();
}
END_TEST

START_TEST(limit_of_time)
{
    open_both(NULL, "recovery.max.time", "1ms");
    listener_cut(&ear);
    publish(suite_scaled(20000));
    listener_back(&ear);
    come_to_rest();
    listener_await_gap(&ear);
    ck_assert_int_eq(listener_gap_count(&ear), 1);
    ck_assert_str_eq(listener_gap(&ear, 0).cause, "limit");
    ck_assert_int_lt(atomic_load(&ear.replayed), sent);
    ck_assert_int_eq(recorder_lost(&ear.got, 0, sent) + atomic_load(&ear.replayed) + 1, sent);
    close_both();
}
END_TEST

START_TEST(refused)
{
    server = server_start(NULL);
    command("ACL SETUSER deaf on nopass +@all -xrange ~* &*");
    bus = server_bus(server, NULL);
    listener_open(&ear, server, "t.*", "redis.username", "deaf", NULL);
    expect_connected(bus, SOON);
    sent = 0;
    publish(10);
    listener_expect(&ear, 0, 10);
    for (int i = 0; i < 5; i++)
        listener_drop(&ear);
    come_to_rest();
    listener_expect_no_gap(&ear); /* there was nothing to read */
    listener_cut(&ear);
    publish_lost(20);
    listener_back(&ear);
    come_to_rest();
    listener_expect_gap(&ear, "refused", lost_us, end_us);
    ck_assert_int_eq(recorder_lost(&ear.got, 0, sent), 20);
    close_both();
}
END_TEST

/* ---- trouble while it reads ---- */

static bool has_read_some(void *user)
{
    return evbus_stat(ear.bus, "replayed") > *(int64_t *)user;
}

/* Cut off again and again while it reads, after a gap: that is told once, nothing comes twice. */
START_TEST(dropped_while_it_reads)
{
    int many = suite_scaled(40000), drops = 0;
    char most[16];
    snprintf(most, sizeof most, "%d", _i ? many / 2 : many * 2);
    open_both(NULL, "history.max.events", most);
    publish(100);
    listener_expect(&ear, 0, 100);
    listener_cut(&ear);
    publish_lost(many);
    long long first = stream_expect_sound(server, NULL).first;
    int64_t read = 0;
    do {
        listener_back(&ear);
        ck_assert(until(has_read_some, &read, SOON));
        listener_cut(&ear);
        read = evbus_stat(ear.bus, "replayed");
        drops++;
    } while (drops < 10 && !recorder_has(&ear.got, 0, sent));
    printf("figure: cut off %d times while it reads %lld events\n", drops, (long long)read);
    ck_assert_int_ge(drops, 2);
    listener_back(&ear);
    come_to_rest();
    long lost = recorder_lost(&ear.got, 0, sent);
    ck_assert_int_eq(lost, _i ? first - 101 : 0);
    if (lost)
        ck_assert_int_eq(listener_expect_gap(&ear, "trimmed", lost_us, lost_us).count, lost);
    else
        listener_expect_no_gap(&ear);
    close_both();
}
END_TEST

/* Some in the middle, by hand. */
START_TEST(hole_in_the_middle)
{
    open_both(NULL, "bus.mode", "hybrid");
    publish(10);
    listener_expect(&ear, 0, 10);
    listener_cut(&ear);
    publish(100);
    char *page = server_text(server, "XRANGE " STREAM_KEY " - + COUNT 52"), *id = NULL;
    for (char *line = page; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (strspn(line, "0123456789") == 13 && line[13] == '-')
            id = line;
    ck_assert_ptr_nonnull(id);
    id[strcspn(id, "\n")] = '\0';
    ck_assert_int_eq(server_command(server, "XDEL " STREAM_KEY " %s", id), 1);
    free(page);
    listener_back(&ear);
    come_to_rest();
    listener_await_gap(&ear);
    ck_assert_int_eq(listener_gap_count(&ear), 1);
    struct gap gap = listener_gap(&ear, 0);
    ck_assert_str_eq(gap.cause, "trimmed");
    ck_assert_int_eq(gap.count, 1);
    ck_assert(!recorder_has(&ear.got, 0, 52));
    ck_assert_int_eq(recorder_lost(&ear.got, 0, sent), 1);
    drop_once_more();
    close_both();
}
END_TEST

static const struct removal {
    const char *command, *cause;
} removals[] = {
    {"XTRIM " STREAM_KEY " MAXLEN 500", "trimmed"},
    {"DEL " STREAM_KEY, "evicted"},
    {"FLUSHALL", "flushed"},
};

/* What it is about to read goes away under its hands. */
START_TEST(removed_while_it_reads)
{
    const struct removal *removal = &removals[_i];
    int64_t none = 0;
    open_both(NULL, "bus.mode", "hybrid");
    publish(100);
    listener_expect(&ear, 0, 100);
    listener_cut(&ear);
    publish_lost(suite_scaled(60000));
    listener_back(&ear);
    ck_assert(until(has_read_some, &none, SOON));
    command(removal->command);
    come_to_rest();
    long lost = recorder_lost(&ear.got, 0, sent);
    printf("figure: %s while it reads: %ld are lost\n", removal->command, lost);
    ck_assert_int_gt(lost, 0); /* else the machine was too quick for this test */
    struct gap gap = listener_expect_gap(&ear, removal->cause, end_us, end_us - 1000000);
    ck_assert(gap.count == -1 || gap.count == lost);
    drop_once_more();
    close_both();
}
END_TEST

static void add_loop(Suite *suite, const char *name, const TTest *test, int count)
{
    TCase *tcase = tcase_create(name);
    tcase_set_timeout(tcase, suite_patience(40));
    tcase_add_loop_test(tcase, test, 0, count);
    suite_add_tcase(suite, tcase);
}

int main(int argc, char **argv)
{
    Suite *suite = suite_create("history_gaps");
    suite_add(suite, "read_from_the_history", read_from_the_history, 40);
    suite_add(suite, "restarted_with_its_data", restarted_with_its_data, 40);
    suite_add(suite, "idle_beside_many", idle_beside_many, 40);
    suite_add(suite, "trimmed", trimmed, 40);
    add_loop(suite, "evicted", evicted, 2);
    add_loop(suite, "flushed", flushed, 4);
    add_loop(suite, "rolled_back", rolled_back, 5);
    suite_add(suite, "limit_of_events", limit_of_events, 40);
    suite_add(suite, "limit_of_time", limit_of_time, 40);
    suite_add(suite, "refused", refused, 40);
    add_loop(suite, "dropped_while_it_reads", dropped_while_it_reads, 2);
    suite_add(suite, "hole_in_the_middle", hole_in_the_middle, 40);
    add_loop(suite, "removed_while_it_reads", removed_while_it_reads, 3);
    return suite_run(suite, argc, argv);
}
