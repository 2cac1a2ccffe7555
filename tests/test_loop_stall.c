/* test_loop_stall.c - how long a round of the loop lasts, as others see it, and who is told. */
#include "loop.h"
#include "clock.h"
#include "unit.h"
#include <event2/event.h>

struct task {
    struct evb_job job;
    int takes_ms;
};

static struct evb_loop loop;
static _Atomic int64_t clock_us;
static int64_t stall_ms; /* the last one told */
static int stalls;

static int64_t read_clock(void)
{
    return atomic_load(&clock_us);
}

static void on_stalled(int64_t ms, void *user)
{
    stall_ms = ms;
    stalls++;
    ck_assert_ptr_eq(user, &loop);
    ck_assert_int_eq(evb_loop_lag_ms(&loop), 0); /* it is over */
}

static void take_time(struct evb_job *job)
{
    const struct task *task = evb_container(job, struct task, job);
    ck_assert_int_eq(evb_loop_lag_ms(&loop), 0);
    atomic_fetch_add(&clock_us, task->takes_ms * 1000);
    ck_assert_int_eq(evb_loop_lag_ms(&loop), task->takes_ms);
    ck_assert_int_ge(evb_loop_longest_ms(&loop), task->takes_ms);
}

START_TEST(a_stall_is_told_once)
{
    static const struct {
        int took_ms, longest_ms, stalls;
    } rounds[] = {{999, 999, 0}, {1000, 1000, 1}, {10000, 10000, 2}, {5, 10000, 2}};
    atomic_store(&clock_us, 7000000);
    evb_clock_set(NULL, read_clock);
    stalls = 0;
    struct event_base *base = event_base_new();
    ck_assert_int_eq(evb_loop_init(&loop, base), 0);
    loop.stalled = on_stalled;
    loop.user = &loop;
    ck_assert_int_eq(evb_loop_longest_ms(&loop), 0);
    for (size_t i = 0; i < EVB_COUNT(rounds); i++) {
        struct task task = {{NULL, take_time}, rounds[i].took_ms};
        evb_loop_post(&loop, &task.job);
        event_base_loop(base, EVLOOP_NONBLOCK);
        ck_assert_int_eq(evb_loop_lag_ms(&loop), 0);
        ck_assert_int_eq(evb_loop_longest_ms(&loop), rounds[i].longest_ms);
        ck_assert_int_eq(stalls, rounds[i].stalls);
        atomic_fetch_add(&clock_us, 3000000); /* asleep: nobody's stall */
    }
    ck_assert_int_eq(stall_ms, 10000);
    evb_clock_set(NULL, NULL);
    evb_loop_fini(&loop);
    event_base_free(base);
}
END_TEST

static atomic_int may_go;

static void hold(struct evb_job *job)
{
    (void)job;
    await_count(&may_go, 1);
}

static bool is_held(void *arg)
{
    (void)arg;
    return evb_loop_lag_ms(&loop) >= 30;
}

static bool is_idle(void *arg)
{
    (void)arg;
    return evb_loop_lag_ms(&loop) == 0;
}

START_TEST(others_see_it_meanwhile)
{
    struct evb_job job = {.run = hold};
    atomic_store(&may_go, 0);
    ck_assert_int_eq(evb_loop_init(&loop, NULL), 0);
    ck_assert_int_eq(evb_loop_start(&loop, "test"), 0);
    evb_loop_post(&loop, &job);
    await(is_held, NULL);
    ck_assert_int_ge(evb_loop_longest_ms(&loop), 30);
    atomic_store(&may_go, 1);
    await(is_idle, NULL);
    ck_assert_int_ge(evb_loop_longest_ms(&loop), 30);
    evb_loop_stop(&loop);
    evb_loop_join(&loop);
    evb_loop_fini(&loop);
}
END_TEST

/* A job without end, that asks: others get their turn whenever it has taken 20 ms. */
static int turns;

static void go_on(struct evb_job *job)
{
    turns++;
    ck_assert_int_lt(evb_loop_lag_ms(&loop), 20);
    atomic_fetch_add(&clock_us, 5000);
    ck_assert_int_eq(evb_loop_is_late(&loop), evb_loop_lag_ms(&loop) >= 20);
    evb_loop_post(&loop, job);
}

START_TEST(a_job_that_asks_leaves_room)
{
    struct evb_job job = {.run = go_on};
    atomic_store(&clock_us, 7000000);
    evb_clock_set(NULL, read_clock);
    turns = 0;
    struct event_base *base = event_base_new();
    ck_assert_int_eq(evb_loop_init(&loop, base), 0);
    evb_loop_post(&loop, &job);
    for (int round = 1; round <= 3; round++) {
        event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        ck_assert_int_eq(turns, 4 * round);
        ck_assert_int_eq(evb_loop_longest_ms(&loop), 20);
    }
    evb_clock_set(NULL, NULL);
    evb_loop_fini(&loop);
    event_base_free(base);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loop stall");
    TCase *tests = unit_case(suite, "stall");
    tcase_add_test(tests, a_stall_is_told_once);
    tcase_add_test(tests, a_job_that_asks_leaves_room);
    tcase_add_test(tests, others_see_it_meanwhile);
    return unit_run(suite);
}
