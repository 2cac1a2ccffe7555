/* test_workers.c - the threads: started once or not at all, several at a time, in turn, and gone. */
#include "unit.h"
#include "wait.h"
#include "workers.h"
#include <evbus.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

enum { COUNT = 4, SOON = 20000, RACES = 1000 };

static struct evb_workers workers;

struct task {
    struct evb_work work;
    atomic_int begun, ended, hold; /* while `hold` is set none of them ends */
};

static void run_task(struct evb_work *work)
{
    struct task *task = evb_container(work, struct task, work);
    atomic_fetch_add(&task->begun, 1);
    while (atomic_load(&task->hold))
        sched_yield();
    atomic_fetch_add(&task->ended, 1);
}

static void task_init(struct task *task, bool hold)
{
    memset(task, 0, sizeof *task);
    evb_list_init(&task->work.node);
    task->work.run = run_task;
    atomic_store(&task->hold, hold);
}

static void count_gone(void *user)
{
    atomic_fetch_add((atomic_int *)user, 1);
}

static void setup(void)
{
    evb_workers_init(&workers);
    workers.count = COUNT;
}

static void teardown(void)
{
    evb_workers_join(&workers);
    evb_workers_fini(&workers);
}

static void start(void)
{
    ck_assert_int_eq(evb_workers_start(&workers, "orders-service"), 0);
    ck_assert_int_eq(evb_workers_running(&workers), COUNT);
}

static void leave(void)
{
    evb_workers_leave(&workers, NULL, NULL);
    evb_workers_join(&workers);
}

/* ---- what they are ---- */

struct look {
    struct evb_work work;
    char name[16];
    sigset_t blocked;
    atomic_int looked;
};

static void look(struct evb_work *work)
{
    struct look *it = evb_container(work, struct look, work);
    pthread_getname_np(pthread_self(), it->name, sizeof it->name);
    pthread_sigmask(SIG_SETMASK, NULL, &it->blocked);
    atomic_store(&it->looked, 1);
}

START_TEST(named_and_deaf)
{
    struct look it = {.work.run = look};
    sigset_t before, after;
    evb_list_init(&it.work.node);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    start();
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int i = 1; i < NSIG; i++)
        ck_assert_int_eq(sigismember(&before, i), sigismember(&after, i));
    ck_assert(evb_workers_ask(&workers, &it.work));
    await_count(&it.looked, 1);
    ck_assert_int_eq(strncmp(it.name, "orders-se-w", 11), 0);
    ck_assert_int_ge(it.name[11], '0');
    ck_assert_int_lt(it.name[11], '0' + COUNT);
    ck_assert(sigismember(&it.blocked, SIGTERM) && sigismember(&it.blocked, SIGPIPE) &&
              sigismember(&it.blocked, SIGUSR1));
    leave();
}
END_TEST

START_TEST(started_once)
{
    start();
    pthread_t first = workers.threads[0];
    start();
    ck_assert(pthread_equal(first, workers.threads[0]));
    ck_assert_int_eq(workers.thread_count, COUNT);
    leave();
    ck_assert_int_eq(evb_workers_running(&workers), 0);
    ck_assert_int_eq(evb_workers_start(&workers, "late"), EVBUS_ECLOSED);
}
END_TEST

static void *start_too(void *unused)
{
    (void)unused;
    start();
    return NULL;
}

START_TEST(started_once_by_many)
{
    pthread_t threads[COUNT];
    for (int i = 0; i < COUNT; i++)
        threads[i] = thread_start(start_too, NULL);
    for (int i = 0; i < COUNT; i++)
        thread_join(threads[i]);
    ck_assert_int_eq(workers.thread_count, COUNT);
    leave();
}
END_TEST

/* ---- work ---- */

START_TEST(several_at_a_time)
{
    struct task task;
    task_init(&task, true);
    start();
    for (int i = 0; i < COUNT + 1; i++)
        ck_assert(evb_workers_ask(&workers, &task.work));
    await_count(&task.begun, COUNT); /* each has the others beside it */
    ck_assert(evb_workers_crowded(&workers));
    ck_assert(!evb_workers_wait_idle(&workers, 5));
    ck_assert_int_eq(atomic_load(&task.begun), COUNT);
    atomic_store(&task.hold, 0);
    ck_assert(evb_workers_wait_idle(&workers, SOON));
    ck_assert_int_eq(atomic_load(&task.ended), COUNT + 1); /* as often as it was asked for */
    ck_assert(!evb_workers_crowded(&workers));
    ck_assert(evb_workers_wait_idle(&workers, 0));
    leave();
}
END_TEST

static struct task turns[2];
static char order[64];
static atomic_int written;

static void note_turn(struct evb_work *work)
{
    order[atomic_fetch_add(&written, 1)] = work == &turns[0].work ? 'a' : 'b';
}

START_TEST(in_turn)
{
    struct task stopper;
    workers.count = 1;
    task_init(&stopper, true);
    task_init(&turns[0], false);
    task_init(&turns[1], false);
    turns[0].work.run = turns[1].work.run = note_turn;
    ck_assert_int_eq(evb_workers_start(&workers, "one"), 0);
    evb_workers_ask(&workers, &stopper.work);
    await_count(&stopper.begun, 1);
    for (int i = 0; i < 3; i++)
        evb_workers_ask(&workers, &turns[0].work);
    for (int i = 0; i < 3; i++)
        evb_workers_ask(&workers, &turns[1].work);
    atomic_store(&stopper.hold, 0);
    ck_assert(evb_workers_wait_idle(&workers, SOON));
    ck_assert_str_eq(order, "ababab");
    leave();
}
END_TEST

/* ---- the end ---- */

START_TEST(none_was_started)
{
    atomic_int gone = 0;
    struct task task;
    task_init(&task, false);
    ck_assert(!evb_workers_ask(&workers, &task.work)); /* whoever asked too early, too */
    evb_workers_leave(&workers, count_gone, &gone);
    ck_assert_int_eq(atomic_load(&gone), 1);
    ck_assert_int_eq(evb_workers_start(&workers, "late"), EVBUS_ECLOSED);
    ck_assert(evb_workers_wait_idle(&workers, 0));
}
END_TEST

START_TEST(the_last_one_tells)
{
    atomic_int gone = 0;
    struct task task, more;
    task_init(&task, true);
    task_init(&more, false);
    start();
    for (int i = 0; i < 2; i++)
        evb_workers_ask(&workers, &task.work);
    await_count(&task.begun, 2);
    for (int i = 0; i < 10; i++)
        evb_workers_ask(&workers, &more.work);
    evb_workers_leave(&workers, count_gone, &gone);
    ck_assert(!evb_workers_ask(&workers, &more.work));
    await_count(&more.ended, 10); /* what was asked for comes */
    ck_assert_int_eq(atomic_load(&gone), 0);
    atomic_store(&task.hold, 0);
    evb_workers_join(&workers);
    ck_assert_int_eq(atomic_load(&gone), 1);
    ck_assert_int_eq(atomic_load(&task.ended), 2);
    ck_assert_int_eq(atomic_load(&more.ended), 10);
}
END_TEST

static void *start_or_not(void *unused)
{
    (void)unused;
    int rc = evb_workers_start(&workers, "race");
    ck_assert(rc == 0 || rc == EVBUS_ECLOSED);
    return NULL;
}

START_TEST(left_while_they_start)
{
    for (int i = 0; i < scaled(RACES); i++) {
        atomic_int gone = 0;
        pthread_t thread = thread_start(start_or_not, NULL);
        if (i % 2)
            sched_yield();
        evb_workers_leave(&workers, count_gone, &gone);
        thread_join(thread);
        teardown();
        ck_assert_int_eq(atomic_load(&gone), 1);
        setup();
    }
}
END_TEST

/* ---- failures ---- */

START_TEST(a_thread_does_not_start)
{
#ifdef UNIT_SLOW
    fprintf(stderr, "skipped: a sanitizer has taken the address space that this test limits\n");
#else
    struct rlimit was, tight;
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &was), 0);
    tight = was;
    tight.rlim_cur = 256 << 20; /* room for some stacks, not for all */
    workers.count = 1024;
    long before = atomic_load(&memory_live);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &tight), 0);
    int rc = evb_workers_start(&workers, "many");
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &was), 0);
    ck_assert_int_eq(rc, EVBUS_ESYS);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "of 1024"));
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "setting workers"));
    ck_assert_ptr_null(strstr(evbus_last_error(), "thread 1 of"));
    ck_assert_int_eq(evb_workers_running(&workers), 0);
    ck_assert_int_eq(workers.thread_count, 0);
    ck_assert_ptr_null(workers.threads);
    ck_assert_int_lt(atomic_load(&memory_live) - before, 100); /* threads' records stay */
    workers.count = COUNT;
    start(); /* another try is fine */
    leave();
#endif
}
END_TEST

START_TEST(a_thread_has_no_memory)
{
    atomic_store(&memory_left, 1 + _i); /* the array of threads, then the threads' records */
    ck_assert_int_eq(evb_workers_start(&workers, "poor"), EVBUS_ENOMEM);
    ck_assert(memory_failed());
    ck_assert_int_eq(evbus_last_code(), EVBUS_ENOMEM);
    ck_assert_int_eq(evb_workers_running(&workers), 0);
    ck_assert_int_eq(workers.thread_count, 0);
    start();
    leave();
}
END_TEST

static void start_and_leave(bool fails)
{
    int rc = evb_workers_start(&workers, "x");
    ck_assert(rc == 0 || (fails && rc == EVBUS_ENOMEM));
    evb_workers_leave(&workers, NULL, NULL);
    teardown();
    setup();
}

START_TEST(nothing_is_left)
{
    start();
    leave();
    teardown();
    setup(); /* the records of threads are there now */
    ck_assert_int_ge(memory_fail_each(start_and_leave), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("workers");
    TCase *tests = unit_case(suite, "workers");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, named_and_deaf);
    tcase_add_test(tests, started_once);
    tcase_add_test(tests, started_once_by_many);
    tcase_add_test(tests, several_at_a_time);
    tcase_add_test(tests, in_turn);
    tcase_add_test(tests, none_was_started);
    tcase_add_test(tests, the_last_one_tells);
    tcase_add_test(tests, left_while_they_start);
    tcase_add_test(tests, a_thread_does_not_start);
    tcase_add_loop_test(tests, a_thread_has_no_memory, 0, COUNT);
    tcase_add_test(tests, nothing_is_left);
    return unit_run(suite);
}
