/* test_bus.c - the doors of the bus: which calls are let in, its names and its features. */
#include "bus.h"
#include "bus_fixture.h"
#include "list.h"
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

START_TEST(library)
{
    static const char *const yes[] = {"redis",    "unix",    "resp2",   "queue",   "report",
                                      "libevent", "tls",     "workers", "history", "history-local",
                                      "batch",    "request", "claim"};
    static const char *const no[] = {"", "TLS", "Redis", "redis ", "History"};
    char version[32];
    int number = evbus_version_number();
    ck_assert_int_eq(number, EVBUS_VERSION_NUMBER);
    snprintf(version, sizeof version, "%d.%d.%d", number >> 16, number >> 8 & 255, number & 255);
    ck_assert_str_eq(evbus_version(), version);
    for (size_t i = 0; i < EVB_COUNT(yes); i++)
        ck_assert_int_eq(evbus_has(yes[i]), 1);
    for (size_t i = 0; i < EVB_COUNT(no); i++)
        ck_assert_int_eq(evbus_has(no[i]), 0);
    ck_assert_int_eq(evbus_has(NULL), 0);
}
END_TEST

START_TEST(mode_names)
{
    static const char *const names[] = {"closed", "local-only", "hybrid", "redis-only", "degraded"};
    for (int i = 0; i < (int)EVB_COUNT(names); i++)
        ck_assert_str_eq(evbus_mode_name(i), names[i]);
    ck_assert_str_eq(evbus_mode_name(-1), "unknown");
    ck_assert_str_eq(evbus_mode_name(5), "unknown");
    ck_assert_str_eq(evbus_mode_name(EVBUS_EFORK), "unknown");
}
END_TEST

static void ignore(int result, void *user)
{
    (void)result;
    (void)user;
}

static const struct {
    bool redis;
    const char *mode;
    int away, up;
} modes[] = {
    {false, "auto", EVBUS_MODE_LOCAL_ONLY, EVBUS_MODE_LOCAL_ONLY},
    {true, "auto", EVBUS_MODE_DEGRADED, EVBUS_MODE_HYBRID},
    {true, "hybrid", EVBUS_MODE_DEGRADED, EVBUS_MODE_HYBRID},
    {true, "redis-only", EVBUS_MODE_DEGRADED, EVBUS_MODE_REDIS_ONLY},
    {true, "local-only", EVBUS_MODE_LOCAL_ONLY, EVBUS_MODE_LOCAL_ONLY},
};

START_TEST(mode)
{
    bus = open_on(modes[_i].redis, "bus.mode", modes[_i].mode, NULL);
    ck_assert_int_eq(evbus_mode(bus), modes[_i].away);
    await_mode(modes[_i].up);
    turn();
    ck_assert_int_eq(evbus_mode(bus), modes[_i].up);
    evbus_close_async(bus, -1, ignore, NULL);
    await_mode(EVBUS_MODE_CLOSED);
}
END_TEST

START_TEST(nodes)
{
    char first[17];
    bus = open_on(false, NULL);
    snprintf(first, sizeof first, "%s", evbus_node(bus));
    ck_assert_uint_eq(strspn(first, "0123456789abcdef"), 16);
    evbus_free(bus);
    bus = open_on(false, NULL);
    ck_assert_str_ne(evbus_node(bus), first);
    ck_assert_ptr_null(evbus_node(NULL));
    ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
}
END_TEST

static void *may_wait(void *user)
{
    (void)user;
    return (void *)(intptr_t)evb_bus_may_wait(bus, "evbus_x", -1);
}

START_TEST(door)
{
    pthread_t thread;
    void *answer;
    int status;
    bus = open_on(false, NULL);
    ck_assert_int_eq(evb_bus_check(bus, false), 0);
    ck_assert_int_eq(evb_bus_check(NULL, true), EVBUS_EINVAL);
    ck_assert_int_eq(evb_bus_may_wait(bus, "evbus_x", -1), EVBUS_EDEADLK);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "evbus_x"));
    ck_assert_int_eq(evb_bus_may_wait(bus, "evbus_x", 0), 0);
    pthread_create(&thread, NULL, may_wait, NULL);
    pthread_join(thread, &answer);
    ck_assert_int_eq((intptr_t)answer, 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(evb_bus_check(bus, true) == EVBUS_EFORK && evb_bus_check(bus, false) == EVBUS_EFORK);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(WEXITSTATUS(status), 1);
    evbus_close(bus, 0);
    ck_assert_int_eq(evb_bus_check(bus, false), EVBUS_ECLOSED);
    ck_assert_int_eq(evb_bus_check(bus, true), 0);
    turn();
    evbus_free(bus);
    bus = NULL;
    live = failing_live();
}
END_TEST

static long fails_at;

static void *subscribe_to_be_polled(void *sub)
{
    failing_at(fails_at, true);
    *(evbus_sub **)sub = evbus_subscribe(bus, "t", "poll=10ms when=always", on_event, NULL);
    return failing_off() ? sub : NULL;
}

/* A thread that finds no memory for its record is told so, or what it asked the loop for is done. */
START_TEST(no_memory_for_the_record)
{
    void *failed = &failed;
    bus = open_on(false, NULL);
    evbus_unsubscribe(subscribe("t", NULL, "")); /* what the bus keeps of it is there */
    for (fails_at = 0; failed; fails_at++) {
        pthread_t thread;
        evbus_sub *sub;
        ck_assert_int_lt(fails_at, 100);
        pthread_create(&thread, NULL, subscribe_to_be_polled, &sub);
        pthread_join(thread, &failed);
        ck_assert(sub || failed);
        if (!sub)
            continue;
        await("evbus.poll ");
        story[0] = '\0';
        evbus_unsubscribe(sub);
    }
    evbus_free(bus); /* and what it keeps of threads is there to stay */
    bus = NULL;
    live = failing_live();
}
END_TEST

/* Its memory outlives it as long as a handle is left, and no longer. */
START_TEST(handles_outlive_it)
{
    bus = open_on(false, NULL);
    evbus_sub *sub = subscribe("t", NULL, "");
    evbus_queue *queue = evbus_queue_open(bus, NULL);
    evbus_sub *of_queue = evbus_queue_subscribe(queue, "t", NULL, 0);
    evbus_publish(bus, "t", NULL);
    evbus_free(bus);
    bus = NULL;
    evbus_event *event = NULL;
    ck_assert_int_eq(evbus_queue_next(queue, 0, &event, NULL), 1);
    ck_assert_int_eq(evbus_queue_next(queue, 0, &event, NULL), EVBUS_ECLOSED);
    ck_assert_str_eq(evbus_sub_pattern(sub), "t");
    ck_assert_int_eq(evbus_sub_wait(sub, 0), EVBUS_ECLOSED);
    evbus_event_unref(event);
    evbus_unsubscribe(of_queue);
    evbus_queue_free(queue);
    ck_assert_int_gt(failing_live(), live);
    evbus_unsubscribe(sub);
    ck_assert_int_eq(failing_live(), live);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bus");
    TCase *tests = tcase_create("bus");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, library);
    tcase_add_test(tests, mode_names);
    tcase_add_loop_test(tests, mode, 0, (int)EVB_COUNT(modes));
    tcase_add_test(tests, nodes);
    tcase_add_test(tests, door);
    tcase_add_test(tests, no_memory_for_the_record);
    tcase_add_test(tests, handles_outlive_it);
    return run(suite);
}
