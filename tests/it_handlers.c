/* it_handlers.c - what a handler may do: publish, subscribe, end itself and others, close and free
 * its bus; and what unsubscribe promises to those outside. */
#include "harness/recorder.h"
#include "harness/bus.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <stdio.h>
#include <string.h>

enum { SOON = 5000 };

static const char *const deliveries[] = {"deliver=inline", "deliver=loop"};

/* ---- publishing ---- */

struct chain {
    evbus *bus;
    atomic_int steps, limit;
};

static int next_step(evbus_sub *sub, evbus_event *event, void *user)
{
    struct chain *chain = user;
    (void)sub;
    (void)event;
    if (atomic_fetch_add(&chain->steps, 1) + 1 < atomic_load(&chain->limit) &&
        evbus_publish(chain->bus, "step", NULL) <= 0)
        return 1;
    return 0;
}

START_TEST(publishes)
{
    for (int i = 0; i < 2; i++) {
        evbus *bus = evbus_open(NULL);
        struct chain chain = {.bus = bus, .limit = 10000};
        evbus_sub *sub = bus_subscribe(bus, "step", deliveries[i], next_step, &chain);
        ck_assert_int_eq(evbus_publish(bus, "step", NULL), EVBUS_SENT_LOCAL);
        expect_count(&chain.steps, 10000, SOON);
        bus_unsubscribe(sub);
        bus_end(bus);
    }
}
END_TEST

struct sequence {
    evbus *bus;
    char seen[2][64]; /* by subscriber */
};

static int cause_first(evbus_sub *sub, evbus_event *event, void *user)
{
    struct sequence *sequence = user;
    const char *type = evbus_event_type(event);
    (void)sub;
    strcat(sequence->seen[0], type);
    if (!strcmp(type, "cause"))
        ck_assert_int_gt(evbus_publish(sequence->bus, "effect", NULL), 0);
    strcat(sequence->seen[0], "."); /* the effect comes after this */
    return 0;
}

static int watch(evbus_sub *sub, evbus_event *event, void *user)
{
    struct sequence *sequence = user;
    (void)sub;
    strcat(sequence->seen[1], evbus_event_type(event));
    strcat(sequence->seen[1], ".");
    return 0;
}

START_TEST(no_effect_before_its_cause)
{
    evbus *bus = evbus_open(NULL);
    struct sequence sequence = {.bus = bus};
    bus_subscribe(bus, ">", "deliver=inline", cause_first, &sequence);
    bus_subscribe(bus, ">", "deliver=inline", watch, &sequence);
    evbus_publish(bus, "cause", NULL);
    ck_assert_str_eq(sequence.seen[0], "cause.effect.");
    ck_assert_str_eq(sequence.seen[1], "cause.effect.");
    bus_end(bus);
}
END_TEST

/* ---- subscribing and unsubscribing ---- */

struct grower {
    evbus *bus;
    atomic_int calls, added;
    evbus_sub *sub;
};

static int subscribe_once(evbus_sub *sub, evbus_event *event, void *user)
{
    struct grower *grower = user;
    (void)sub;
    (void)event;
    if (atomic_fetch_add(&grower->calls, 1) == 0)
        grower->sub =
            evbus_subscribe(grower->bus, "t", "deliver=inline", handle_count, &grower->added);
    return 0;
}

START_TEST(subscribes)
{
    for (int i = 0; i < 2; i++) {
        evbus *bus = evbus_open(NULL);
        struct grower grower = {.bus = bus};
        bus_subscribe(bus, "t", deliveries[i], subscribe_once, &grower);
        evbus_publish(bus, "t", NULL);
        expect_count(&grower.calls, 1, SOON);
        evbus_publish(bus, "t", NULL);
        expect_count(&grower.added, 1, SOON);
        expect_count(&grower.calls, 2, SOON);
        ck_assert_int_eq(atomic_load(&grower.added), 1);
        ck_assert_int_eq(evbus_unsubscribe(grower.sub), 0);
        bus_end(bus);
    }
}
END_TEST

struct end {
    atomic_int calls, freed, inside, after;
    evbus_sub *other;
    struct end *other_end;
};

static void on_free(void *user)
{
    struct end *end = user;
    if (atomic_load(&end->inside))
        atomic_fetch_add(&end->after, 1); /* too early: its handler still runs */
    atomic_fetch_add(&end->freed, 1);
}

static int end_itself(evbus_sub *sub, evbus_event *event, void *user)
{
    struct end *end = user;
    (void)event;
    atomic_store(&end->inside, 1);
    atomic_fetch_add(&end->calls, 1);
    int rc = evbus_unsubscribe(sub);
    atomic_store(&end->inside, 0);
    return rc;
}

START_TEST(unsubscribes_itself)
{
    for (int i = 0; i < 2; i++) {
        evbus *bus = evbus_open(NULL);
        struct end end = {.calls = 0};
        evbus_sub *sub = bus_subscribe(bus, "t", deliveries[i], end_itself, &end);
        bus_forget(sub);
        ck_assert_int_eq(evbus_sub_on_free(sub, on_free), 0);
        for (int n = 0; n < 20; n++)
            evbus_publish(bus, "t", NULL);
        expect_count(&end.freed, 1, SOON);
        ck_assert_int_eq(evbus_close(bus, suite_patience(SOON)), 0);
        bus_end(bus);
        ck_assert_int_eq(atomic_load(&end.calls), 1);
        ck_assert_int_eq(atomic_load(&end.freed), 1);
        ck_assert_int_eq(atomic_load(&end.after), 0);
    }
}
END_TEST

static int end_other(evbus_sub *sub, evbus_event *event, void *user)
{
    struct end *end = user;
    (void)sub;
    (void)event;
    atomic_store(&end->inside, 1);
    if (atomic_fetch_add(&end->calls, 1) == 0)
        evbus_unsubscribe(end->other);
    atomic_store(&end->inside, 0);
    return 0;
}

static void *publish_once(void *user)
{
    evbus_publish(user, "t", NULL);
    return NULL;
}

/* Two inline handlers on two threads remove each other: neither may wait for the other. */
START_TEST(two_handlers_end_each_other)
{
    for (int round = 0; round < suite_scaled(300); round++) {
        pthread_t threads[2];
        evbus *bus = evbus_open(NULL);
        struct end a = {.calls = 0}, b = {.calls = 0};
        b.other = bus_subscribe(bus, "t", "deliver=inline", end_other, &a);
        a.other = bus_subscribe(bus, "t", "deliver=inline", end_other, &b);
        bus_forget(a.other);
        bus_forget(b.other);
        evbus_sub_on_free(b.other, on_free);
        evbus_sub_on_free(a.other, on_free);
        for (int i = 0; i < 2; i++)
            pthread_create(&threads[i], NULL, publish_once, bus);
        for (int i = 0; i < 2; i++)
            pthread_join(threads[i], NULL);
        ck_assert_int_eq(evbus_close(bus, suite_patience(SOON)), 0);
        bus_end(bus);
        ck_assert_int_eq(atomic_load(&a.freed) + atomic_load(&b.freed), 2);
        ck_assert_int_eq(atomic_load(&a.after) + atomic_load(&b.after), 0);
        if (atomic_load(&a.calls) == 0) /* the handle that nobody gave back */
            evbus_unsubscribe(a.other);
        if (atomic_load(&b.calls) == 0)
            evbus_unsubscribe(b.other);
    }
}
END_TEST

/* ---- unsubscribe from outside, under traffic ---- */

struct probe {
    atomic_int over; /* 1: unsubscribe has returned */
    atomic_int calls, late, freed;
};

static int probe_call(evbus_sub *sub, evbus_event *event, void *user)
{
    struct probe *probe = user;
    (void)sub;
    (void)event;
    atomic_fetch_add(&probe->calls, 1);
    if (atomic_load(&probe->over))
        atomic_fetch_add(&probe->late, 1);
    return 0;
}

static void probe_freed(void *user)
{
    struct probe *probe = user;
    atomic_fetch_add(&probe->freed, 1);
}

struct churn {
    pthread_t thread;
    evbus *bus;
    atomic_int *stop;
    const char *delivery;
    int rounds;
    int late, freed, calls;
};

static void *churn(void *user)
{
    struct churn *churn = user;
    for (int i = 0; i < churn->rounds; i++) {
        struct probe probe = {.calls =
                                  0}; /* on the stack: a late call would be a use after return */
        evbus_sub *sub =
            evbus_subscribe(churn->bus, i % 2 ? "t" : "*", churn->delivery, probe_call, &probe);
        evbus_sub_on_free(sub, probe_freed);
        for (int spin = 0; atomic_load(&probe.calls) == 0 && spin < 100000; spin++)
            ;
        evbus_unsubscribe(sub);
        atomic_store(&probe.over, 1);
        churn->calls += atomic_load(&probe.calls);
        churn->freed += atomic_load(&probe.freed);
        churn->late += atomic_load(&probe.late);
    }
    return NULL;
}

static void *publish_until_stopped(void *user)
{
    struct churn *churn = user;
    while (!atomic_load(churn->stop))
        evbus_publish(churn->bus, "t", NULL);
    return NULL;
}

START_TEST(unsubscribe_under_traffic)
{
    for (int d = 0; d < 2; d++) {
        struct churn churns[4], traffic[2];
        atomic_int stop = 0, steady = 0;
        int late = 0, freed = 0, calls = 0, rounds = suite_scaled(2500);
        evbus *bus = evbus_open(NULL);
        bus_subscribe(bus, "t", "deliver=inline", handle_count, &steady);
        for (int i = 0; i < 2; i++) {
            traffic[i] = (struct churn){.bus = bus, .stop = &stop};
            pthread_create(&traffic[i].thread, NULL, publish_until_stopped, &traffic[i]);
        }
        for (int i = 0; i < 4; i++) {
            churns[i] = (struct churn){.bus = bus, .delivery = deliveries[d], .rounds = rounds};
            pthread_create(&churns[i].thread, NULL, churn, &churns[i]);
        }
        for (int i = 0; i < 4; i++) {
            pthread_join(churns[i].thread, NULL);
            late += churns[i].late;
            freed += churns[i].freed;
            calls += churns[i].calls;
        }
        atomic_store(&stop, 1);
        for (int i = 0; i < 2; i++)
            pthread_join(traffic[i].thread, NULL);
        printf("figure: %s: %d unsubscribes, %d handler calls, %d late\n", deliveries[d],
               4 * rounds, calls, late);
        ck_assert_int_eq(late, 0);
        ck_assert_int_eq(freed, 4 * rounds); /* once each, before unsubscribe returned */
        ck_assert_int_eq(evbus_stat(bus, "subscriptions"), 1);
        bus_end(bus);
    }
}
END_TEST

/* ---- closing and freeing from inside ---- */

struct closer {
    evbus *bus;
    atomic_int calls, done, result;
    bool free_too;
};

static void on_closed(int result, void *user)
{
    struct closer *closer = user;
    atomic_store(&closer->result, result);
    atomic_fetch_add(&closer->done, 1);
}

static int close_inside(evbus_sub *sub, evbus_event *event, void *user)
{
    struct closer *closer = user;
    (void)sub;
    (void)event;
    if (atomic_fetch_add(&closer->calls, 1) > 0)
        return 0;
    if (closer->free_too)
        evbus_free(closer->bus);
    else
        ck_assert_int_eq(evbus_close_async(closer->bus, 5000, on_closed, closer), 0);
    return 0;
}

START_TEST(closes_its_bus)
{
    for (int i = 0; i < 2; i++) {
        struct closer closer = {.bus = evbus_open(NULL)};
        evbus_sub *sub = bus_subscribe(closer.bus, "t", deliveries[i], close_inside, &closer);
        ck_assert_int_gt(evbus_publish(closer.bus, "t", NULL), 0);
        expect_count(&closer.done, 1, SOON);
        ck_assert_int_eq(atomic_load(&closer.result), 0);
        ck_assert_int_eq(evbus_mode(closer.bus), EVBUS_MODE_CLOSED);
        ck_assert_int_eq(evbus_publish(closer.bus, "t", NULL), EVBUS_ECLOSED);
        evbus_free(closer.bus);
        ck_assert_int_eq(evbus_sub_wait(sub, 0), EVBUS_ECLOSED);
        bus_unsubscribe(sub);
        ck_assert_int_eq(atomic_load(&closer.calls), 1);
    }
}
END_TEST

START_TEST(frees_its_bus)
{
    for (int i = 0; i < 2; i++) {
        struct closer closer = {.bus = evbus_open(NULL), .free_too = true};
        struct end end = {.calls = 0};
        evbus_sub *sub = bus_subscribe(closer.bus, "t", deliveries[i], close_inside, &closer);
        evbus_sub *other = bus_subscribe(closer.bus, "other", NULL, end_other, &end);
        evbus_sub_on_free(other, on_free);
        evbus_publish(closer.bus, "t", NULL);
        expect_count(&closer.calls, 1, SOON);
        expect_count(&end.freed, 1, SOON);
        bus_unsubscribe(sub); /* handles outlive the bus */
        bus_unsubscribe(other);
    }
}
END_TEST

static int close_waiting(evbus_sub *sub, evbus_event *event, void *user)
{
    struct closer *closer = user;
    (void)sub;
    (void)event;
    atomic_store(&closer->result, evbus_close(closer->bus, 5000));
    atomic_fetch_add(&closer->calls, 1);
    return 0;
}

/* "Inside a handler, close and unsubscribe start and return." */
START_TEST(close_inside_starts_and_returns)
{
    for (int i = 0; i < 2; i++) {
        struct closer closer = {.bus = evbus_open(NULL)};
        bus_subscribe(closer.bus, "t", deliveries[i], close_waiting, &closer);
        evbus_publish(closer.bus, "t", NULL);
        expect_count(&closer.calls, 1, SOON);
        expect_mode(closer.bus, EVBUS_MODE_CLOSED, SOON);
        bus_end(closer.bus);
    }
}
END_TEST

static atomic_int freed;

static void free_in_log(int level, const char *line, void *user)
{
    evbus *_Atomic *bus = user;
    (void)level;
    (void)line;
    evbus *mine = atomic_exchange(bus, NULL);
    if (!mine)
        return;
    evbus_free(mine); /* goes on when this function has returned */
    atomic_fetch_add(&freed, 1);
}

START_TEST(frees_its_bus_in_a_log_function)
{
    for (int i = 0; i < 20; i++) {
        static evbus *_Atomic target;
        atomic_store(&freed, 0);
        evbus *bus = bus_with("redis.path", "/nobody/listens", "reconnect.backoff", "1ms",
                              "log.level", "debug", NULL);
        ck_assert_int_eq(evbus_set_log(bus, -1, free_in_log, (void *)&target), 0);
        evbus_sub *sub = evbus_subscribe(bus, "t", NULL, handle_count, &freed);
        atomic_store(&target, bus);
        expect_count(&freed, 1, SOON);
        while (evbus_sub_wait(sub, 1) != EVBUS_ECLOSED)
            continue;
        evbus_unsubscribe(sub);
    }
}
END_TEST

static void *wait_for_ever(void *user)
{
    return (void *)(intptr_t)evbus_sub_wait(user, -1);
}

START_TEST(a_wait_ends_with_its_bus)
{
    for (int i = 0; i < 100; i++) {
        evbus_sub *subs[50];
        char type[16];
        pthread_t thread;
        void *answer;
        evbus *bus = bus_with("redis.path", "/nobody/listens", NULL);
        for (int n = 0; n < 50; n++) {
            snprintf(type, sizeof type, "t%d", n);
            subs[n] = evbus_subscribe(bus, type, NULL, handle_count, &freed);
        }
        ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_ever, subs[49]), 0);
        evbus_free(bus);
        pthread_join(thread, &answer);
        ck_assert_int_eq((int)(intptr_t)answer, EVBUS_ECLOSED);
        for (int n = 0; n < 50; n++)
            evbus_unsubscribe(subs[n]);
    }
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("handlers");
    suite_add(suite, "publishes", publishes, 20);
    suite_add(suite, "no_effect_before_its_cause", no_effect_before_its_cause, 10);
    suite_add(suite, "subscribes", subscribes, 20);
    suite_add(suite, "unsubscribes_itself", unsubscribes_itself, 20);
    suite_add(suite, "two_handlers_end_each_other", two_handlers_end_each_other, 60);
    suite_add(suite, "unsubscribe_under_traffic", unsubscribe_under_traffic, 90);
    suite_add(suite, "closes_its_bus", closes_its_bus, 20);
    suite_add(suite, "frees_its_bus", frees_its_bus, 20);
    suite_add(suite, "close_inside_starts_and_returns", close_inside_starts_and_returns, 20);
    suite_add(suite, "frees_its_bus_in_a_log_function", frees_its_bus_in_a_log_function, 30);
    suite_add(suite, "a_wait_ends_with_its_bus", a_wait_ends_with_its_bus, 30);
    return suite_run(suite, argc, argv);
}
