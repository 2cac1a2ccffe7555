/* it_slow.c - slow subscribers under load, told in turn whatever the threads do; and a handler that
 * holds the loop while a real Redis goes on asking. */
#include "harness/bus.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON = 10000, PUBLISHERS = 2, EVENTS = 60000 };

/* ---- in turn ---- */

static struct {
    const char *name; /* in the event's data */
    atomic_int begun, ended, wrong;
} edges[] = {{.name = "\"pattern\":\"t.loop\""},
             {.name = "\"pattern\":\"t.workers\""},
             {.name = "\"patterns\":[\"t.queue\"]"}};
enum { EDGES = sizeof edges / sizeof edges[0] };

static int on_edge(evbus_sub *sub, evbus_event *event, void *user)
{
    const char *data = evbus_event_data(event, NULL);
    bool begins = strcmp(evbus_event_type(event), "evbus.slow") == 0;
    (void)sub;
    (void)user;
    for (int i = 0; i < EDGES; i++) {
        if (!strstr(data, edges[i].name))
            continue;
        atomic_fetch_add(begins ? &edges[i].begun : &edges[i].ended, 1);
        if (atomic_load(&edges[i].begun) - atomic_load(&edges[i].ended) != begins)
            atomic_fetch_add(&edges[i].wrong, 1);
    }
    return 0;
}

static void *publish_many(void *bus)
{
    for (int n = suite_scaled(EVENTS); n > 0; n--) {
        bus_publish(bus, "t.loop", NULL);
        bus_publish(bus, "t.workers", NULL);
        bus_publish(bus, "t.queue", NULL);
    }
    return NULL;
}

static atomic_int publishing;

static void *pull_all(void *queue)
{
    evbus_event *events[16];
    for (int n;
         (n = evbus_queue_next_many(queue, 1, events, NULL, 16)) > 0 || atomic_load(&publishing);)
        for (int i = 0; i < n; i++)
            evbus_event_unref(events[i]);
    return NULL;
}

static int take(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    atomic_fetch_add((atomic_int *)user, 1);
    return 0;
}

static bool all_over(void *bus)
{
    int begun = 0;
    for (int i = 0; i < EDGES; i++) {
        if (atomic_load(&edges[i].begun) != atomic_load(&edges[i].ended))
            return false;
        begun += atomic_load(&edges[i].begun);
    }
    return begun == evbus_stat(bus, "slow");
}

START_TEST(in_turn_whatever_the_threads_do)
{
    pthread_t publishers[PUBLISHERS], pullers[2];
    atomic_int taken = 0;
    evbus *bus = bus_with("workers", "2", NULL);
    bus_subscribe(bus, "glob:evbus.slow*", "deliver=inline", on_edge, NULL);
    bus_subscribe(bus, "evbus.>", "size=1", take, &taken); /* overflows by the news alone */
    bus_subscribe(bus, "t.loop", "size=40", take, &taken);
    bus_subscribe(bus, "t.workers", "size=40 deliver=workers key=none", take, &taken);
    evbus_queue *queue = evbus_queue_open(bus, "size=40 full=drop-newest");
    evbus_sub *sub = evbus_queue_subscribe(queue, "t.queue", NULL, 0);
    atomic_store(&publishing, 1);
    for (int i = 0; i < 2; i++)
        pthread_create(&pullers[i], NULL, pull_all, queue);
    for (int i = 0; i < PUBLISHERS; i++)
        pthread_create(&publishers[i], NULL, publish_many, bus);
    for (int i = 0; i < PUBLISHERS; i++)
        pthread_join(publishers[i], NULL);
    atomic_store(&publishing, 0);
    for (int i = 0; i < 2; i++)
        pthread_join(pullers[i], NULL);
    ck_assert(until(all_over, bus, SOON));
    for (int i = 0; i < EDGES; i++) {
        printf("figure: %s: slow %d times\n", edges[i].name, atomic_load(&edges[i].begun));
        ck_assert_int_eq(atomic_load(&edges[i].wrong), 0);
    }
    ck_assert_int_gt(evbus_stat(bus, "slow"), 0);
    evbus_queue_free(queue);
    evbus_unsubscribe(sub);
    bus_end(bus);
}
END_TEST

/* Pulled from while the bus ends: an edge that comes too late is nobody's, and harms nobody. */
static void *pull_until_closed(void *queue)
{
    evbus_event *event;
    for (int rc; (rc = evbus_queue_next(queue, 1, &event, NULL)) >= 0;)
        if (rc == 1)
            evbus_event_unref(event);
    return NULL;
}

START_TEST(the_bus_ends_meanwhile)
{
    for (int round = suite_rounds(200); round > 0; round--) {
        pthread_t puller;
        evbus *bus = bus_with("bus.name", "short", NULL);
        evbus_queue *queue = evbus_queue_open(bus, "size=2");
        evbus_sub *sub = evbus_queue_subscribe(queue, "t", NULL, 0);
        for (int n = 0; n < 10; n++)
            evbus_publish(bus, "t", NULL);
        pthread_create(&puller, NULL, pull_until_closed, queue);
        for (int n = 0; n < round % 20; n++)
            evbus_publish(bus, "t", NULL);
        evbus_free(bus);
        pthread_join(puller, NULL);
        ck_assert_int_eq(evbus_queue_stat(queue, "slow"), 0);
        evbus_queue_free(queue);
        evbus_unsubscribe(sub);
    }
}
END_TEST

/* ---- a held loop ---- */

static atomic_int gate; /* 0: the handler was not entered, 1: it holds the loop, 2: it may go */

static int hold_the_loop(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    (void)user;
    atomic_store(&gate, 1);
    while (atomic_load(&gate) != 2)
        nap_us(1000);
    return 0;
}

static atomic_int lines;
static char line_text[300];

static void on_line(int level, const char *line, void *user)
{
    (void)user;
    if (level != EVBUS_LOG_WARNING || !strstr(line, "held the loop"))
        return;
    snprintf(line_text, sizeof line_text, "%s", line);
    atomic_fetch_add(&lines, 1);
}

START_TEST(a_held_loop_is_told_and_does_no_harm)
{
    atomic_int seen = 0;
    struct server *server = server_start(NULL);
    evbus *bus = server_bus(server, "redis.ping.interval", "100ms", "redis.ping.timeout", "200ms",
                            "reconnect.backoff", "10ms", NULL);
    evbus *other = server_bus(server, NULL);
    evbus_set_log(bus, EVBUS_LOG_WARNING, on_line, NULL);
    expect_connected(bus, SOON);
    expect_connected(other, SOON);
    bus_subscribe(bus, "hold", "scope=local", hold_the_loop, NULL);
    evbus_sub *sub = bus_subscribe(bus, "t", NULL, handle_count, &seen);
    ck_assert_int_eq(evbus_sub_wait(sub, suite_patience(SOON)), 0);
    bus_publish(bus, "hold", NULL);
    expect_count(&gate, 1, SOON);
    expect_stat(bus, "loop_lag_us", 300000, SOON);
    bus_publish(other, "t", NULL); /* waits in the socket */
    bus_publish(bus, "t", NULL);
    expect_stat(bus, "loop_lag_us", 1300000, SOON); /* six times what a ping may take */
    ck_assert_int_ge(evbus_stat(bus, "loop_lag_max_us"), 1300000);
    ck_assert_int_eq(atomic_load(&lines) + atomic_load(&seen), 0);
    atomic_store(&gate, 2);
    expect_count(&seen, 2, SOON);
    expect_count(&lines, 1, SOON);
    ck_assert_msg(strstr(line_text, "a handler held the loop for 1."), "%s", line_text);
    expect_stat(bus, "loop_lag_max_us", 1300000, 0);
    for (int n = 0; n < 20; n++) { /* pings go on as before */
        int64_t rtt_us = evbus_stat(bus, "rtt_us");
        bus_publish(other, "t", NULL);
        ck_assert_int_ge(rtt_us, 0);
        nap_us(20000);
    }
    expect_count(&seen, 22, SOON);
    ck_assert_int_eq(evbus_stat(bus, "disconnects"), 0);
    ck_assert_int_eq(evbus_stat(bus, "gaps"), 0);
    ck_assert_int_eq(atomic_load(&lines), 1);
    ck_assert_int_lt(evbus_stat(bus, "loop_lag_us"), 1000000);
    bus_end(bus);
    bus_end(other);
    server_free(server);
}
END_TEST

/* Each handler is quick enough, and many of them wait: the loop still serves others in between. */
static int take_a_millisecond(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    nap_us(1000);
    atomic_fetch_add((atomic_int *)user, 1);
    return 0;
}

START_TEST(many_handlers_leave_room)
{
    enum { MANY = 1500 };
    atomic_int taken = 0;
    struct server *server = server_start(NULL);
    evbus *bus = server_bus(server, NULL), *other = server_bus(server, NULL);
    expect_connected(other, SOON);
    bus_subscribe(bus, "t", "scope=local size=2000", take_a_millisecond, &taken);
    atomic_int seen = 0;
    evbus_sub *sub = bus_subscribe(bus, "u", "scope=redis", handle_count, &seen);
    ck_assert_int_eq(evbus_sub_wait(sub, suite_patience(SOON)), 0);
    for (int n = 0; n < MANY; n++)
        bus_publish(bus, "t", NULL);
    bus_publish(other, "u", NULL);
    expect_count(&seen, 1, SOON);
    ck_assert_int_lt(atomic_load(&taken), MANY); /* it did not wait for all of them */
    expect_count(&taken, MANY, SOON);
    ck_assert_int_lt(evbus_stat(bus, "loop_lag_max_us"), 1000000);
    bus_end(bus);
    bus_end(other);
    server_free(server);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("slow subscribers");
    suite_add(suite, "in_turn_whatever_the_threads_do", in_turn_whatever_the_threads_do, 40);
    suite_add(suite, "the_bus_ends_meanwhile", the_bus_ends_meanwhile, 30);
    suite_add(suite, "a_held_loop_is_told_and_does_no_harm", a_held_loop_is_told_and_does_no_harm,
              30);
    suite_add(suite, "many_handlers_leave_room", many_handlers_leave_room, 30);
    return suite_run(suite, argc, argv);
}
