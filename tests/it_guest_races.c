/* it_guest_races.c - once unsubscribe, close or free has returned, no handler and no report runs,
 * whatever other threads and Redis were doing. Local unsubscribes under traffic: it_handlers.c. */
#include "harness/bus.h"
#include "harness/process.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { SOON = 10000, PUBLISHERS = 2 };

struct probe {
    atomic_int over; /* 1: the call that ends it has returned */
    atomic_int calls, late;
};

static void note(struct probe *probe)
{
    atomic_fetch_add(&probe->calls, 1);
    if (atomic_load(&probe->over))
        atomic_fetch_add(&probe->late, 1);
}

static int on_event(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    note(user);
    return 0;
}

static void on_report(evbus_event *event, int outcome, int error, int64_t receivers, void *user)
{
    (void)event;
    (void)outcome;
    (void)error;
    (void)receivers;
    note(user);
}

static void spin(unsigned turns)
{
    for (volatile unsigned i = 0; i < turns; i++)
        ;
}

/* ---- threads that publish ---- */

struct publisher {
    pthread_t thread;
    evbus *bus;
    atomic_int *stop; /* NULL: until the bus is closed */
    struct probe *probe;
    int accepted, refused_with;
};

static void *publish_all(void *user)
{
    struct publisher *me = user;
    for (int n = 0; !me->stop || !atomic_load(me->stop); n++) {
        evbus_event *event = evbus_event_new("t");
        int rc = n % 8 ? evbus_publish(me->bus, "t", "{}")
                       : evbus_publish_report(me->bus, event, 0, on_report, me->probe);
        evbus_event_unref(event);
        if (rc <= 0 && rc != EVBUS_EFULL) {
            me->refused_with = rc;
            break;
        }
        me->accepted += rc > 0;
    }
    return NULL;
}

static void start(struct publisher *publishers, evbus *bus, atomic_int *stop, struct probe *probe)
{
    for (int i = 0; i < PUBLISHERS; i++) {
        publishers[i] = (struct publisher){.bus = bus, .stop = stop, .probe = probe};
        pthread_create(&publishers[i].thread, NULL, publish_all, &publishers[i]);
    }
}

static void join(struct publisher *publishers)
{
    for (int i = 0; i < PUBLISHERS; i++)
        pthread_join(publishers[i].thread, NULL);
}

/* ---- unsubscribe and Redis ---- */

static const char *const from_redis[] = {"scope=redis deliver=loop", "scope=redis deliver=inline"};

START_TEST(unsubscribe_and_redis)
{
    unsigned seed = suite_seed("unsubscribe and Redis");
    struct server *server = server_start(NULL);
    evbus *bus = server_bus(server, NULL), *other = server_bus(server, NULL);
    struct publisher publishers[PUBLISHERS];
    struct probe reports = {.over = 0};
    atomic_int stop = 0, steady = 0;
    int late = 0, calls = 0, rounds = suite_rounds(300);
    bus_subscribe(bus, "t", NULL, handle_count, &steady); /* so the channel stays subscribed */
    bus_subscribe(bus, "*", NULL, handle_count, &steady);
    expect_connected(bus, SOON);
    expect_connected(other, SOON);
    start(publishers, other, &stop, &reports);
    expect_count(&steady, 1, SOON);
    for (int i = 0; i < rounds; i++) {
        struct probe probe = {.over =
                                  0}; /* on the stack: a late call would be a use after return */
        evbus_sub *sub =
            evbus_subscribe(bus, i % 2 ? "t" : "*", from_redis[i / 2 % 2], on_event, &probe);
        ck_assert_ptr_nonnull(sub);
        if (i % 4 != 3) /* a call at least, if one comes soon; else whenever the dice say */
            for (int n = 0; atomic_load(&probe.calls) == 0 && n < 20000; n++)
                spin(10);
        else
            spin((unsigned)rand_r(&seed) % 20000);
        ck_assert_int_eq(evbus_unsubscribe(sub), 0);
        atomic_store(&probe.over, 1);
        spin((unsigned)rand_r(&seed) % 2000);
        calls += atomic_load(&probe.calls);
        late += atomic_load(&probe.late);
    }
    atomic_store(&stop, 1);
    join(publishers);
    printf("figure: unsubscribe and Redis: %d rounds, %d handler calls, %d late\n", rounds, calls,
           late);
    ck_assert_int_eq(late, 0);
    ck_assert_int_gt(calls, 0);
    bus_end(other);
    bus_end(bus);
    server_free(server);
}
END_TEST

/* ---- close and publish ---- */

/* Everything that was accepted has its report before close returns; nothing is accepted after. */
START_TEST(close_and_publish)
{
    unsigned seed = suite_seed("close and publish");
    int late = 0, calls = 0, rounds = suite_rounds(300);
    for (int i = 0; i < rounds; i++) {
        struct probe handlers = {.over = 0}, reports = {.over = 0};
        struct publisher publishers[PUBLISHERS];
        evbus *bus = evbus_open(NULL);
        bus_subscribe(bus, "t", "deliver=inline", on_event, &handlers);
        bus_subscribe(bus, "t", "deliver=loop", on_event, &handlers);
        start(publishers, bus, NULL, &reports);
        spin((unsigned)rand_r(&seed) % 50000);
        ck_assert_int_eq(evbus_close(bus, suite_patience(SOON)), 0);
        atomic_store(&handlers.over, 1);
        atomic_store(&reports.over, 1);
        join(publishers);
        for (int p = 0; p < PUBLISHERS; p++)
            ck_assert_int_eq(publishers[p].refused_with, EVBUS_ECLOSED);
        bus_end(bus); /* what had been late in its inbox would come now */
        calls += atomic_load(&handlers.calls);
        late += atomic_load(&handlers.late);
        ck_assert_msg(atomic_load(&reports.late) == 0, "round %d: %d reports after close", i,
                      atomic_load(&reports.late));
    }
    printf("figure: close and publish: %d rounds, %d handler calls, %d late\n", rounds, calls,
           late);
    ck_assert_int_eq(late, 0);
    ck_assert_int_gt(calls, 0);
}
END_TEST

/* ---- close, free and Redis ---- */

START_TEST(close_and_redis)
{
    unsigned seed = suite_seed("close and Redis");
    struct server *server = server_start(NULL);
    evbus *other = server_bus(server, NULL);
    struct publisher publishers[PUBLISHERS];
    struct probe reports = {.over = 0};
    atomic_int stop = 0;
    int late = 0, calls = 0, rounds = suite_rounds(100);
    expect_connected(other, SOON);
    start(publishers, other, &stop, &reports);
    for (int i = 0; i < rounds; i++) {
        struct probe probe = {.over = 0};
        evbus *bus = server_bus(server, NULL);
        evbus_sub *sub = evbus_subscribe(bus, "t", from_redis[i % 2], on_event, &probe);
        ck_assert_ptr_nonnull(sub);
        if (i % 3)
            expect_count(&probe.calls, 1, SOON);
        else
            spin((unsigned)rand_r(&seed) % 200000);
        if (i % 2)
            ck_assert_int_eq(evbus_close(bus, suite_patience(SOON)), 0);
        else
            evbus_free(bus);
        atomic_store(&probe.over, 1);
        spin((unsigned)rand_r(&seed) % 20000);
        if (i % 2)
            evbus_free(bus);
        ck_assert_int_eq(evbus_unsubscribe(sub), 0);
        calls += atomic_load(&probe.calls);
        late += atomic_load(&probe.late);
    }
    atomic_store(&stop, 1);
    join(publishers);
    printf("figure: close and Redis: %d rounds, %d handler calls, %d late\n", rounds, calls, late);
    ck_assert_int_eq(late, 0);
    ck_assert_int_gt(calls, 0);
    bus_end(other);
    server_free(server);
}
END_TEST

/* ---- a queue freed under those who pull ---- */

struct puller {
    pthread_t thread;
    evbus_queue *queue;
    bool patient;
    atomic_int got;
    int end;
};

static void *pull_all(void *user)
{
    struct puller *me = user;
    do {
        evbus_event *event = NULL;
        me->end = evbus_queue_next(me->queue, me->patient ? -1 : me->got % 2, &event, NULL);
        me->got += me->end == 1;
        evbus_event_unref(event);
    } while (me->end >= 0);
    return NULL;
}

/* A subscription's handle keeps the queue's memory: so a pull may come as late as it likes. */
START_TEST(queue_free_and_pull)
{
    unsigned seed = suite_seed("queue free and pull");
    evbus *bus = evbus_open(NULL);
    struct publisher publishers[PUBLISHERS];
    struct probe reports = {.over = 0};
    atomic_int stop = 0;
    int got = 0, rounds = suite_rounds(300);
    start(publishers, bus, &stop, &reports);
    for (int i = 0; i < rounds; i++) {
        struct puller pullers[2] = {{.patient = true}, {.patient = false}};
        evbus_queue *queue = evbus_queue_open(bus, "size=100");
        evbus_sub *sub = evbus_queue_subscribe(queue, "t", NULL, 0);
        ck_assert_ptr_nonnull(sub);
        for (int p = 0; p < 2; p++) {
            pullers[p].queue = queue;
            pthread_create(&pullers[p].thread, NULL, pull_all, &pullers[p]);
        }
        if (i % 4 == 0) /* on a busy machine the others may end before anybody has pulled */
            expect_count(&pullers[0].got, 1, SOON);
        spin((unsigned)rand_r(&seed) % 50000);
        evbus_queue_free(queue);
        for (int p = 0; p < 2; p++) {
            pthread_join(pullers[p].thread, NULL);
            ck_assert_int_eq(pullers[p].end, EVBUS_ECLOSED);
            got += pullers[p].got;
        }
        ck_assert_int_eq(evbus_unsubscribe(sub), 0);
    }
    atomic_store(&stop, 1);
    join(publishers);
    printf("figure: queue free and pull: %d rounds, %d pulled\n", rounds, got);
    ck_assert_int_gt(got, 0);
    bus_end(bus);
}
END_TEST

/* Who waits in a pull is let go by evbus_queue_free(), though nothing else keeps the queue. */
START_TEST(queue_free_under_a_waiting_pull)
{
    evbus *bus = evbus_open(NULL);
    for (int i = 0; i < suite_scaled(100); i++) {
        struct puller puller = {.queue = evbus_queue_open(bus, NULL), .patient = true};
        pthread_create(&puller.thread, NULL, pull_all, &puller);
        ck_assert(until(process_others_sleep, NULL, SOON));
        evbus_queue_free(puller.queue);
        pthread_join(puller.thread, NULL);
        ck_assert_int_eq(puller.end, EVBUS_ECLOSED);
    }
    bus_end(bus);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("guest races");
    suite_add(suite, "unsubscribe_and_redis", unsubscribe_and_redis, 120);
    suite_add(suite, "close_and_publish", close_and_publish, 120);
    suite_add(suite, "close_and_redis", close_and_redis, 120);
    suite_add(suite, "queue_free_and_pull", queue_free_and_pull, 120);
    suite_add(suite, "queue_free_under_a_waiting_pull", queue_free_under_a_waiting_pull, 60);
    return suite_run(suite, argc, argv);
}
