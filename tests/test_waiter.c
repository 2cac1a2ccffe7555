/* test_waiter.c - those who wait on a bus's loop: told once, by who ends them or by the clock. */
#include "bus_fixture.h"
#include "list.h"
#include "waiter.h"

static struct evb_node waiting;

static void on_done(int result, void *user)
{
    tell("%s%d ", (const char *)user, result);
}

static void join(struct evb_job *job)
{
    evb_waiter_add(evb_waiter_of(job), &waiting);
}

static void end_now(struct evb_job *job)
{
    evb_waiter_end(evb_waiter_of(job), 7);
}

static void end_all(struct evb_job *job)
{
    evb_waiter_end_all(&waiting, -1);
    evb_waiter_end(evb_waiter_of(job), 0);
}

static struct evb_waiter *post(void (*run_job)(struct evb_job *), const char *name, int timeout_ms)
{
    struct evb_waiter *waiter = evb_waiter_new(bus, run_job, name ? on_done : NULL, (void *)name);
    ck_assert_ptr_nonnull(waiter);
    waiter->timeout_ms = timeout_ms;
    evb_waiter_post(waiter);
    return waiter;
}

static void open_one(void)
{
    evb_list_init(&waiting);
    bus = open_on(false, NULL);
    turn();
}

START_TEST(a_turn)
{
    open_one();
    post(end_now, "a", -1);
    post(end_now, NULL, -1); /* nobody is told */
    post(end_now, "b", 0);
    expect("");
    turn();
    expect("a7 b7 ");
}
END_TEST

START_TEST(ended_or_timed_out)
{
    open_one();
    post(join, "never", -1);
    post(join, "late", 100000);
    post(join, "soon", 5);
    post(join, "now", 0);
    post(join, NULL, 1);
    turn();
    await("soon");
    run_for(base, 5);
    expect("now-3 soon-3 "); /* EVBUS_ETIMEDOUT */
    post(end_all, "all", -1);
    turn();
    expect("never-1 late-1 all0 ");
    ck_assert(evb_list_empty(&waiting));
}
END_TEST

static void adds_one(int result, void *user)
{
    on_done(result, user);
    post(join, "next", 1);
}

/* What a callback starts is not ended with it. */
START_TEST(callbacks_may_wait)
{
    open_one();
    struct evb_waiter *waiter = evb_waiter_new(bus, join, adds_one, "first");
    evb_waiter_post(waiter);
    turn();
    post(end_all, NULL, -1);
    await("next");
    expect("first-1 next-3 ");
}
END_TEST

static void frees(int result, void *user)
{
    on_done(result, user);
    ck_assert(evb_thread_in_callback());
    evbus_free(bus);
    bus = NULL;
}

/* The last one frees the bus that it waited on. */
START_TEST(callbacks_may_free)
{
    open_one();
    struct evb_waiter *waiter = evb_waiter_new(bus, join, frees, "x");
    waiter->timeout_ms = _i ? 1 : -1;
    evb_waiter_post(waiter);
    if (!_i)
        post(end_all, NULL, -1);
    await("x");
    turn();
    expect(_i ? "x-3 " : "x-1 ");
}
END_TEST

START_TEST(no_memory)
{
    open_one();
    long before = failing_live();
    failing_at(0, _i);
    ck_assert_ptr_null(evb_waiter_new(bus, join, on_done, ""));
    ck_assert_int_eq(evbus_last_code(), EVBUS_ENOMEM);
    ck_assert(failing_off());
    ck_assert_int_eq(failing_live(), before);
    expect("");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("waiter");
    TCase *tests = tcase_create("waiter");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, a_turn);
    tcase_add_test(tests, ended_or_timed_out);
    tcase_add_test(tests, callbacks_may_wait);
    tcase_add_loop_test(tests, callbacks_may_free, 0, 2);
    tcase_add_loop_test(tests, no_memory, 0, 2);
    return run(suite);
}
