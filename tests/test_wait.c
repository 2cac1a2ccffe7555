/* test_wait.c - results that one thread brings another, and deadlines on the monotonic clock. */
#include "clock.h"
#include "unit.h"
#include "wait.h"
#include <errno.h>
#include <evbus.h>
#include <limits.h>

static long before;

static void setup(void)
{
    before = atomic_load(&memory_live);
}

static void teardown(void)
{
    evb_clock_set(NULL, NULL);
    ck_assert_int_eq(atomic_load(&memory_live), before);
}

START_TEST(brought_before)
{
    static const int timeouts[] = {-1, 0, 1, 100000, INT_MAX};
    struct evb_wait *wait = evb_wait_new();
    evb_wait_done(-4711, wait);
    ck_assert_int_eq(evb_wait_for(wait, timeouts[_i]), -4711);
}
END_TEST

static void *bring(void *wait)
{
    evb_wait_done(7, wait);
    return NULL;
}

START_TEST(brought_meanwhile)
{
    for (int i = 0; i < 500; i++) {
        struct evb_wait *wait = evb_wait_new();
        pthread_t thread = thread_start(bring, wait);
        ck_assert_int_eq(evb_wait_for(wait, i % 2 ? -1 : 60000), 7);
        thread_join(thread);
    }
}
END_TEST

START_TEST(brought_too_late)
{
    struct evb_wait *wait = evb_wait_new();
    ck_assert_int_eq(evb_wait_for(wait, 0), EVBUS_ETIMEDOUT);
    evb_wait_done(7, wait); /* nobody is there any more: the last reference */
    int64_t start = unit_now_us();
    wait = evb_wait_new();
    ck_assert_int_eq(evb_wait_for(wait, 30), EVBUS_ETIMEDOUT);
    ck_assert_int_ge(unit_now_us() - start, 29000);
    evb_wait_done(7, wait);
}
END_TEST

/* Both at once: whoever is last frees it. */
START_TEST(brought_at_the_deadline)
{
    for (int i = 0; i < 500; i++) {
        struct evb_wait *wait = evb_wait_new();
        pthread_t thread = thread_start(bring, wait);
        int rc = evb_wait_for(wait, i % 3 ? 0 : 1);
        ck_assert(rc == 7 || rc == EVBUS_ETIMEDOUT);
        thread_join(thread);
    }
}
END_TEST

START_TEST(nobody_brings)
{
    evb_wait_cancel(evb_wait_new());
}
END_TEST

static int64_t mono_us;

static int64_t test_mono(void)
{
    return mono_us;
}

START_TEST(deadlines)
{
    ck_assert_int_eq(evb_deadline_ms(-1), INT64_MAX);
    ck_assert_int_eq(evb_deadline_ms(INT_MIN), INT64_MAX);
    ck_assert_int_eq(evb_time_left_ms(INT64_MAX), -1);
    ck_assert_int_eq(evb_time_left_ms(0), 0);
    ck_assert_int_eq(evb_time_left_ms(evb_deadline_ms(0)), 0);
    ck_assert_int_eq(evb_time_left_ms(INT64_MAX - 1), INT_MAX);
    int left = evb_time_left_ms(evb_deadline_ms(100000));
    ck_assert(left > 50000 && left <= 100000);
    left = evb_time_left_ms(evb_deadline_ms(INT_MAX));
    ck_assert(left > INT_MAX - 50000);
    mono_us = INT64_C(1) << 50; /* a test's clock moves no deadline */
    int64_t deadline_ms = evb_deadline_ms(100000);
    evb_clock_set(NULL, test_mono);
    left = evb_time_left_ms(deadline_ms);
    ck_assert(left > 50000 && left <= 100000);
    ck_assert_int_lt(evb_deadline_ms(100000) - deadline_ms, 50000);
}
END_TEST

START_TEST(conditions_know_the_monotonic_clock)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t cond;
    evb_cond_init(&cond);
    pthread_mutex_lock(&lock);
    ck_assert_int_eq(evb_cond_wait(&cond, &lock, 0), ETIMEDOUT);
    ck_assert_int_eq(evb_cond_wait(&cond, &lock, evb_deadline_ms(0)), ETIMEDOUT);
    int64_t start = unit_now_us(), deadline_ms = evb_deadline_ms(20);
    while (evb_cond_wait(&cond, &lock, deadline_ms) != ETIMEDOUT)
        continue;
    ck_assert_int_ge(unit_now_us() - start, 19000);
    pthread_mutex_unlock(&lock);
    pthread_cond_destroy(&cond);
}
END_TEST

static void make(bool fails)
{
    struct evb_wait *wait = evb_wait_new();
    ck_assert_int_eq(!wait, fails && memory_failed());
    if (!wait) {
        ck_assert_int_eq(evbus_last_code(), EVBUS_ENOMEM);
        return;
    }
    evb_wait_done(1, wait);
    ck_assert_int_eq(evb_wait_for(wait, -1), 1);
}

START_TEST(memory_runs_out)
{
    ck_assert_int_eq(memory_fail_each(make), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("wait");
    TCase *tests = unit_case(suite, "wait");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, brought_before, 0, 5);
    tcase_add_test(tests, brought_meanwhile);
    tcase_add_test(tests, brought_too_late);
    tcase_add_test(tests, brought_at_the_deadline);
    tcase_add_test(tests, nobody_brings);
    tcase_add_test(tests, deadlines);
    tcase_add_test(tests, conditions_know_the_monotonic_clock);
    tcase_add_test(tests, memory_runs_out);
    return unit_run(suite);
}
