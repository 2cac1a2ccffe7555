/* it_cycles.c - open, use, close, free, many times, in many states: no thread, descriptor or memory
 * stays. */
#include "harness/bus.h"
#include "harness/process.h"
#include "harness/rude.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <stdio.h>
#include <stdlib.h>

enum { SOON = 5000, WARM_UP = 30, CYCLES = 300, SLACK_KIB = 1536 };

struct account {
    int fds, threads;
    long rss_kib;
};

static struct account look(void)
{
    return (struct account){process_fds(), process_threads(), process_rss_kib()};
}

/* A detached loop may need a moment to be gone after a free from inside; here everything is joined.
 */
static void expect_even(const char *what, struct account before, int cycles)
{
    struct account after = look();
    printf("figure: %s: %d cycles: fds %+d, threads %+d, RSS %+ld KiB\n", what, cycles,
           after.fds - before.fds, after.threads - before.threads, after.rss_kib - before.rss_kib);
    ck_assert_int_eq(after.fds, before.fds);
    ck_assert_int_eq(after.threads, before.threads);
    if (!suite_sanitized())
        ck_assert_int_le(after.rss_kib - before.rss_kib, SLACK_KIB);
}

static void repeat(const char *what, int cycles, void (*cycle)(int round, void *user), void *user)
{
    struct account before = {0, 0, 0};
    for (int i = 0; i < WARM_UP + cycles; i++) {
        if (i == WARM_UP)
            before = look();
        cycle(i, user);
    }
    expect_even(what, before, cycles);
}

static void local_cycle(int round, void *user)
{
    atomic_int calls = 0;
    evbus_event *event = NULL;
    evbus *bus = evbus_open(NULL);
    evbus_queue *queue = evbus_queue_open(bus, NULL);
    evbus_sub *pulled = evbus_queue_subscribe(queue, ">", NULL, 0);
    (void)user;
    bus_subscribe(bus, "t.*", round % 2 ? "deliver=inline" : "deliver=loop", handle_count, &calls);
    for (int n = 0; n < 50; n++)
        bus_publish(bus, "t.x", "{\"n\":1}");
    ck_assert_int_ge(evbus_queue_fd(queue), 0);
    ck_assert_int_eq(evbus_queue_next(queue, 0, &event, NULL), 1);
    evbus_event_unref(event);
    if (round % 3 == 0)
        ck_assert_int_eq(evbus_close(bus, suite_patience(SOON)), 0);
    if (round % 3 == 0)
        ck_assert_int_eq(atomic_load(&calls), 50);
    if (round % 2)
        evbus_queue_free(queue);
    bus_end(bus);
    evbus_unsubscribe(pulled);
    if (round % 2 == 0)
        evbus_queue_free(queue);
}

START_TEST(local)
{
    repeat("local buses", suite_scaled(CYCLES), local_cycle, NULL);
}
END_TEST

static void redis_cycle(int round, void *user)
{
    struct server *server = user;
    atomic_int calls = 0;
    evbus *bus = server_bus(server, NULL);
    evbus_sub *sub = bus_subscribe(bus, "t", "scope=redis", handle_count, &calls);
    if (round % 3) { /* the third is freed while it connects */
        expect_connected(bus, SOON);
        ck_assert_int_eq(evbus_sub_wait(sub, suite_patience(SOON)), 0);
        server_publish(server, "evbus:events:t", "{\"n\":1}", 7);
        expect_count(&calls, 1, SOON);
    }
    for (int n = 0; n < 20; n++)
        bus_publish(bus, "u", "{\"n\":1}");
    if (round % 2)
        ck_assert_int_eq(evbus_close(bus, suite_patience(SOON)), 0);
    bus_end(bus);
}

START_TEST(redis)
{
    struct server *server = server_start(NULL);
    repeat("buses on Redis", suite_scaled(CYCLES), redis_cycle, server);
    server_free(server);
}
END_TEST

static void away_cycle(int round, void *user)
{
    struct server *server = user;
    evbus *bus = server_bus(server, NULL);
    for (int n = 0; n < 20; n++)
        ck_assert_int_eq(bus_publish(bus, "u", "{}"), EVBUS_SENT_LOCAL | EVBUS_SENT_OUTBOX);
    if (round % 2)
        ck_assert_int_eq(evbus_close(bus, 5), EVBUS_ETIMEDOUT); /* and free it all the same */
    bus_end(bus);
}

START_TEST(redis_is_away)
{
    struct server *server = server_plan(false, NULL);
    repeat("buses without their Redis", suite_scaled(CYCLES), away_cycle, server);
    server_free(server);
}
END_TEST

static void silent_cycle(int round, void *user)
{
    struct rude *rude = user;
    char port[16];
    snprintf(port, sizeof port, "%d", rude_port(rude));
    evbus *bus = bus_with("redis.port", port, NULL);
    bus_publish(bus, "u", "{}");
    struct wait wait = wait_for(SOON);
    while (round % 2 && rude_connections(rude, RUDE_PUBLISHER) < 2 && wait_more(&wait))
        ;
    bus_end(bus);
    while (rude_connections(rude, RUDE_PUBLISHER | RUDE_SUBSCRIBER) && wait_more(&wait))
        ;
}

START_TEST(redis_is_silent)
{
    struct rude *rude = rude_start();
    rude_set_mute(rude, true);
    repeat("buses in a silent handshake", suite_scaled(CYCLES / 3), silent_cycle, rude);
    rude_free(rude);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("cycles");
    suite_add(suite, "local", local, 60);
    suite_add(suite, "redis", redis, 90);
    suite_add(suite, "redis_is_away", redis_is_away, 60);
    suite_add(suite, "redis_is_silent", redis_is_silent, 60);
    return suite_run(suite, argc, argv);
}
