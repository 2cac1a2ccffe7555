/* it_workers_end.c - deliver=workers: how subscriptions and buses end while handlers run, from
 * outside and from a worker's handler: nothing runs after it, nothing is left, and no thread joins
 * itself. */
#include "workers_fixture.h"
#include <event2/event.h>
#include <evbus_libevent.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- unsubscribing and what runs ---- */

struct race {
    evbus *bus;
    atomic_int over, wrong, calls, stop; /* over: no handler may begin or be inside */
};

static int check_over(evbus_sub *sub, evbus_event *event, void *user)
{
    struct race *race = user;
    (void)sub;
    (void)event;
    atomic_fetch_add(&race->calls, 1);
    if (atomic_load(&race->over))
        atomic_fetch_add(&race->wrong, 1);
    sched_yield();
    if (atomic_load(&race->over))
        atomic_fetch_add(&race->wrong, 1);
    return 0;
}

static void *publish_on(void *arg)
{
    struct race *race = arg;
    while (!atomic_load(&race->stop)) {
        evbus_publish(race->bus, "t", NULL);
        sched_yield();
    }
    return NULL;
}

START_TEST(none_runs_after_unsubscribe)
{
    struct race race = {.bus = two_workers()};
    pthread_t thread;
    pthread_create(&thread, NULL, publish_on, &race);
    for (int i = 0; i < suite_scaled(RACES); i++) {
        atomic_store(&race.over, 0);
        int before = atomic_load(&race.calls);
        evbus_sub *sub = evbus_subscribe(race.bus, "t", PARALLEL, check_over, &race);
        if (i % 4 == 0)
            expect_count(&race.calls, before + 1, SOON);
        ck_assert_int_eq(evbus_unsubscribe(sub), 0);
        atomic_store(&race.over, 1);
    }
    atomic_store(&race.stop, 1);
    pthread_join(thread, NULL);
    ck_assert_int_eq(atomic_load(&race.wrong), 0);
    ck_assert_int_gt(atomic_load(&race.calls), 0);
    bus_end(race.bus);
}
END_TEST

enum { CLOSE, CLOSE_TWICE, FREE, WAYS };

/* The bus ends while events wait and handlers run; with _i how. */
START_TEST(none_runs_after_the_end)
{
    struct level level = level_now();
    for (int i = 0; i < suite_scaled(RACES); i++) {
        struct race race = {.bus = two_workers()};
        evbus_sub *sub = evbus_subscribe(race.bus, "t", PARALLEL, check_over, &race);
        for (int n = 0; n < i % 8; n++)
            bus_publish(race.bus, "t", NULL);
        if (_i != FREE)
            ck_assert_int_eq(evbus_close(race.bus, suite_patience(SOON)), 0);
        if (_i != FREE)
            ck_assert_int_eq(atomic_load(&race.calls), i % 8); /* all that was accepted */
        if (_i == CLOSE_TWICE)
            ck_assert_int_eq(evbus_close(race.bus, 0), 0);
        if (_i == FREE)
            evbus_free(race.bus);
        atomic_store(&race.over, 1);
        if (_i != FREE)
            evbus_free(race.bus);
        ck_assert_int_eq(atomic_load(&race.wrong), 0);
        ck_assert_int_eq(evbus_unsubscribe(sub), 0);
    }
    ck_assert(until(is_level, &level, SOON));
}
END_TEST

/* ---- the bus ends inside a handler ---- */

static int end_the_bus(evbus_sub *sub, evbus_event *event, void *user)
{
    struct act *act = user;
    (void)event;
    (void)sub;
    if (atomic_fetch_add(&act->calls, 1) > 0)
        return 0;
    ck_assert_int_eq(evbus_close(act->bus, -1), 0); /* starts and returns */
    ck_assert_int_eq(evbus_publish(act->bus, "t", NULL), EVBUS_ECLOSED);
    if (atomic_load(&act->go_on))
        evbus_free(act->bus);
    return 0;
}

START_TEST(closed_and_freed_inside)
{
    struct level level = level_now();
    for (int i = 0; i < suite_scaled(RACES / 2); i++) {
        struct act act = {.bus = two_workers(), .go_on = _i};
        evbus_sub *sub = evbus_subscribe(act.bus, "t", PARALLEL, end_the_bus, &act);
        evbus_sub_on_free(sub, count_freed);
        for (int n = 0; n <= i % 4; n++) /* refused once a handler has closed the bus */
            evbus_publish(act.bus, "t", NULL);
        expect_count(&act.freed, 1, SOON);
        if (!_i) {
            ck_assert_int_eq(evbus_close(act.bus, suite_patience(SOON)), 0);
            evbus_free(act.bus);
        }
        ck_assert_int_eq(evbus_unsubscribe(sub), 0);
    }
    ck_assert(until(is_level, &level, SOON));
}
END_TEST

/* ---- closing and handlers that take their time ---- */

static int stay(evbus_sub *sub, evbus_event *event, void *user)
{
    struct act *act = user;
    (void)sub;
    (void)event;
    atomic_fetch_add(&act->calls, 1);
    until_count(&act->go_on, 1, 2 * SOON);
    atomic_fetch_add(&act->result, 1);
    return 0;
}

START_TEST(close_waits_for_queues)
{
    struct act act = {.bus = two_workers()};
    bus_subscribe(act.bus, "t", PARALLEL, stay, &act);
    for (int i = 0; i < 500; i++)
        bus_publish(act.bus, "t", NULL);
    expect_count(&act.calls, WORKERS, SOON);
    ck_assert_int_eq(evbus_close(act.bus, 20), EVBUS_ETIMEDOUT);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "handler"));
    ck_assert_int_eq(evbus_close(act.bus, 0), EVBUS_ETIMEDOUT);
    ck_assert_int_eq(atomic_load(&act.result), 0);
    atomic_store(&act.go_on, 1);
    ck_assert_int_eq(evbus_close(act.bus, suite_patience(SOON)), 0);
    ck_assert_int_eq(atomic_load(&act.result), 500);
    bus_end(act.bus);
}
END_TEST

static int end_and_stay(evbus_sub *sub, evbus_event *event, void *user)
{
    int rc = evbus_unsubscribe(sub);
    stay(sub, event, user);
    return rc;
}

static void *let_go_on(void *arg)
{
    struct act *act = arg;
    nap_us(20000); /* closing may come too early in that time, and must not */
    atomic_store(&act->go_on, 1);
    return NULL;
}

/* The subscription is gone already, its handler is not. */
START_TEST(close_waits_for_the_last_call)
{
    struct act act = {.bus = two_workers()};
    pthread_t thread;
    evbus_subscribe(act.bus, "t", PARALLEL, end_and_stay, &act);
    bus_publish(act.bus, "t", NULL);
    expect_count(&act.calls, 1, SOON);
    ck_assert_int_eq(evbus_close(act.bus, 5), EVBUS_ETIMEDOUT);
    pthread_create(&thread, NULL, let_go_on, &act);
    ck_assert_int_eq(evbus_close(act.bus, suite_patience(SOON)), 0);
    ck_assert_int_eq(atomic_load(&act.result), 1);
    pthread_join(thread, NULL);
    bus_end(act.bus);
}
END_TEST

/* It waits for the workers by sleeping: the loop has nothing to do meanwhile. */
START_TEST(closing_costs_no_time)
{
    struct act act = {.bus = two_workers()};
    struct timespec before, after;
    bus_subscribe(act.bus, "t", PARALLEL, stay, &act);
    bus_publish(act.bus, "t", NULL);
    expect_count(&act.calls, 1, SOON);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    ck_assert_int_eq(evbus_close(act.bus, 300), EVBUS_ETIMEDOUT);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    double spent_ms = (double)(after.tv_sec - before.tv_sec) * 1e3 +
                      (double)(after.tv_nsec - before.tv_nsec) / 1e6;
    printf("figure: 300 ms of closing: %.1f ms of the processor\n", spent_ms);
    ck_assert(spent_ms < suite_patience(100));
    atomic_store(&act.go_on, 1);
    bus_end(act.bus);
}
END_TEST

static void *free_it(void *bus)
{
    evbus_free(bus);
    return NULL;
}

START_TEST(free_waits_for_handlers)
{
    struct act act = {.bus = two_workers()};
    pthread_t thread;
    evbus_sub *sub = evbus_subscribe(act.bus, "t", PARALLEL, stay, &act);
    evbus_sub_on_free(sub, count_freed);
    for (int i = 0; i < 100; i++)
        bus_publish(act.bus, "t", NULL);
    expect_count(&act.calls, WORKERS, SOON);
    pthread_create(&thread, NULL, free_it, act.bus);
    nap_us(20000); /* it may come too early in that time, and must not */
    ck_assert_int_eq(atomic_load(&act.freed), 0);
    atomic_store(&act.go_on, 1);
    pthread_join(thread, NULL);
    ck_assert_int_eq(atomic_load(&act.freed), 1);
    ck_assert_int_eq(atomic_load(&act.result), WORKERS); /* what waited is nobody's any more */
    ck_assert_int_eq(evbus_unsubscribe(sub), 0);
}
END_TEST

static int check_slowly(evbus_sub *sub, evbus_event *event, void *user)
{
    nap_us(2000);
    return check_over(sub, event, user);
}

/* Others publish more than the handlers can take while this bus closes: it closes all the same. */
START_TEST(closes_under_traffic)
{
    struct server *server = server_start(NULL);
    evbus *bus = server_bus(server, "workers", "2", NULL);
    struct race race = {.bus = server_bus(server, NULL)};
    pthread_t thread;
    evbus_sub *sub = bus_subscribe(bus, "t", PARALLEL " size=50", check_slowly, &race);
    ck_assert_int_eq(evbus_sub_wait(sub, suite_patience(SOON)), 0);
    pthread_create(&thread, NULL, publish_on, &race);
    expect_count(&race.calls, 20, SOON);
    ck_assert_int_eq(evbus_close(bus, suite_patience(SOON)), 0);
    atomic_store(&race.over, 1);
    atomic_store(&race.stop, 1);
    pthread_join(thread, NULL);
    ck_assert_int_eq(atomic_load(&race.wrong), 0);
    bus_end(bus);
    bus_end(race.bus);
    server_free(server);
}
END_TEST

/* ---- a bus on the caller's own loop ---- */

static evbus *bus_on(struct event_base *base)
{
    evbus_config *config = evbus_config_new();
    evbus_config_set(config, "workers", "2");
    evbus *bus = evbus_open_on(base, config);
    evbus_config_free(config);
    ck_assert_ptr_nonnull(bus);
    return bus;
}

static bool freed_on_base(void *arg)
{
    void **both = arg;
    event_base_loop(both[0], EVLOOP_NONBLOCK);
    return atomic_load(&((struct act *)both[1])->freed) == 1;
}

static bool level_on_base(void *arg)
{
    void **both = arg;
    event_base_loop(both[0], EVLOOP_NONBLOCK);
    return is_level(both[1]);
}

START_TEST(on_the_callers_loop)
{
    struct event_base *base = event_base_new();
    struct level level = level_now();
    for (int i = 0; i < suite_scaled(100); i++) {
        struct act act = {.bus = bus_on(base), .go_on = _i};
        evbus_sub *sub = evbus_subscribe(act.bus, "t", PARALLEL, _i ? end_the_bus : stay, &act);
        evbus_sub_on_free(sub, count_freed);
        bus_publish(act.bus, "t", NULL);
        expect_count(&act.calls, 1, SOON); /* nobody turns the loop */
        if (_i) {
            ck_assert(until(freed_on_base, (void *[]){base, &act}, SOON));
            ck_assert(until(level_on_base, (void *[]){base, &level}, SOON));
        } else {
            atomic_store(&act.go_on, 1);
            evbus_free(act.bus);
            ck_assert_int_eq(atomic_load(&act.freed), 1);
            ck_assert(until(is_level, &level, SOON));
        }
        ck_assert_int_eq(evbus_unsubscribe(sub), 0);
    }
    event_base_free(base);
}
END_TEST

static int flush_until_the_end(evbus_sub *sub, evbus_event *event, void *user)
{
    struct act *act = user;
    (void)sub;
    (void)event;
    atomic_fetch_add(&act->calls, 1);
    while (evbus_flush(act->bus, -1) == 0)
        continue;
    return 0;
}

/* Handlers wait for the loop, for ever if need be, while the bus is freed: they get an answer. */
START_TEST(freed_while_handlers_wait)
{
    struct event_base *base = event_base_new();
    for (int i = 0; i < suite_scaled(RACES / 4); i++) {
        struct act act = {.bus = _i ? bus_on(base) : two_workers()};
        evbus_sub *sub = evbus_subscribe(act.bus, "t", PARALLEL, flush_until_the_end, &act);
        bus_publish(act.bus, "t", NULL);
        bus_publish(act.bus, "t", NULL);
        expect_count(&act.calls, 1 + i % 2, SOON);
        evbus_free(act.bus);
        ck_assert_int_eq(evbus_unsubscribe(sub), 0);
    }
    event_base_free(base);
}
END_TEST

/* ---- a fork ---- */

START_TEST(in_a_forked_child)
{
    struct act act = {.bus = two_workers()};
    int status = 0;
    evbus_sub *sub = bus_subscribe(act.bus, "t", PARALLEL, stay, &act);
    atomic_store(&act.go_on, 1);
    bus_publish(act.bus, "t", NULL);
    expect_count(&act.result, 1, SOON);
    ck_assert(until(process_others_sleep, NULL, SOON));
    pid_t child = fork();
    if (child == 0) {
        ck_assert_int_eq(evbus_publish(act.bus, "t", NULL), EVBUS_EFORK);
        ck_assert_ptr_null(evbus_subscribe(act.bus, "t", PARALLEL, stay, &act));
        ck_assert_int_eq(evbus_last_code(), EVBUS_EFORK);
        ck_assert_int_eq((int)evbus_sub_stat(sub, "queued"), EVBUS_EFORK);
        ck_assert_int_eq(evbus_close(act.bus, 100), EVBUS_EFORK);
        ck_assert_int_eq(evbus_unsubscribe(sub), 0);
        evbus_free(act.bus);
        if (suite_forks_whole()) {
            atomic_store(&act.result, 0);
            evbus *own = two_workers();
            bus_subscribe(own, "t", PARALLEL, stay, &act);
            bus_publish(own, "t", NULL);
            expect_count(&act.result, 1, SOON);
            bus_end(own);
        } else {
            printf("SKIPPED: a bus of the child's own: this sanitizer starts no thread there\n");
        }
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %x",
                  (unsigned)status);
    bus_publish(act.bus, "t", NULL);
    expect_count(&act.result, 2, SOON);
    bus_end(act.bus);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("workers' end");
    TCase *loops = tcase_create("loops");
    tcase_set_timeout(loops, suite_patience(60));
    tcase_add_loop_test(loops, none_runs_after_the_end, 0, WAYS);
    tcase_add_loop_test(loops, closed_and_freed_inside, 0, 2);
    tcase_add_loop_test(loops, on_the_callers_loop, 0, 2);
    tcase_add_loop_test(loops, freed_while_handlers_wait, 0, 2);
    suite_add_tcase(suite, loops);
    suite_add(suite, "none_runs_after_unsubscribe", none_runs_after_unsubscribe, 60);
    suite_add(suite, "close_waits_for_queues", close_waits_for_queues, 30);
    suite_add(suite, "close_waits_for_the_last_call", close_waits_for_the_last_call, 20);
    suite_add(suite, "closing_costs_no_time", closing_costs_no_time, 20);
    suite_add(suite, "free_waits_for_handlers", free_waits_for_handlers, 20);
    suite_add(suite, "closes_under_traffic", closes_under_traffic, 30);
    suite_add(suite, "in_a_forked_child", in_a_forked_child, 20);
    return suite_run(suite, argc, argv);
}
