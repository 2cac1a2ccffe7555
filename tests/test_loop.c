/* test_loop.c - jobs of many threads, in each one's order, with few wake-ups, on both kinds of
 * base. */
#include "loop.h"
#include "clock.h"
#include "unit.h"
#include <sched.h>
#include <event2/event.h>
#include <evbus.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 6, JOBS = 5000 };

struct task {
    struct evb_job job;
    int thread, number;
};

static struct evb_loop loop;
static struct task tasks[THREADS][JOBS];
static int next_number[THREADS]; /* on the loop */
static atomic_int ran, wrong, idles, posted, posted_last;

static void run_task(struct evb_job *job)
{
    const struct task *task = evb_container(job, struct task, job);
    if (task->number != next_number[task->thread]++ || !evb_loop_is_here(&loop))
        atomic_fetch_add(&wrong, 1);
    atomic_fetch_add(&ran, 1);
}

static void setup(void)
{
    memset(next_number, 0, sizeof next_number);
    atomic_store(&ran, 0);
    atomic_store(&wrong, 0);
    atomic_store(&idles, 0);
    atomic_store(&posted, 0);
    for (int i = 0; i < THREADS; i++)
        for (int j = 0; j < JOBS; j++)
            tasks[i][j] = (struct task){{NULL, run_task}, i, j};
}

static void *post_all(void *own)
{
    struct task *mine = own;
    for (int j = 0; j < JOBS; j++)
        evb_loop_post(&loop, &mine[j].job);
    atomic_fetch_add(&posted, 1);
    return NULL;
}

static bool count_idle(void *user)
{
    return atomic_fetch_add((atomic_int *)user, 1) % 2; /* as if it had written */
}

static void open_own(void)
{
    ck_assert_int_eq(evb_loop_init(&loop, NULL), 0);
    loop.idle = count_idle;
    loop.user = &idles;
    ck_assert_int_eq(evb_loop_start(&loop, "a name too long for a thread"), 0);
}

static struct event_base *open_foreign(void)
{
    struct event_base *base = event_base_new();
    ck_assert_int_eq(evb_loop_init(&loop, base), 0);
    ck_assert_int_eq(evb_loop_start(&loop, "unused"), 0); /* nothing of ours to start */
    return base;
}

static void close_own(void)
{
    evb_loop_stop(&loop);
    evb_loop_join(&loop);
    evb_loop_run_rest(&loop);
    evb_loop_fini(&loop);
}

static bool readable(void)
{
    struct pollfd fd = {.fd = loop.wake_fd, .events = POLLIN};
    return poll(&fd, 1, 0) == 1;
}

START_TEST(own_thread_runs_all_in_order)
{
    pthread_t threads[THREADS];
    open_own();
    ck_assert(!evb_loop_is_here(&loop));
    for (int i = 0; i < THREADS; i++)
        threads[i] = thread_start(post_all, tasks[i]);
    for (int i = 0; i < THREADS; i++)
        thread_join(threads[i]);
    await_count(&ran, THREADS * JOBS);
    close_own();
    ck_assert_int_eq(atomic_load(&ran), THREADS * JOBS);
    ck_assert_int_eq(atomic_load(&wrong), 0);
    ck_assert_int_gt(atomic_load(&idles), 0);
}
END_TEST

static bool turn_until_all(void *base)
{
    event_base_loop(base, EVLOOP_NONBLOCK);
    return atomic_load(&ran) == THREADS * JOBS;
}

START_TEST(foreign_base_runs_all_in_order)
{
    pthread_t threads[THREADS];
    struct event_base *base = open_foreign();
    for (int i = 0; i < THREADS; i++)
        threads[i] = thread_start(post_all, tasks[i]);
    await(turn_until_all, base);
    for (int i = 0; i < THREADS; i++)
        thread_join(threads[i]);
    ck_assert_int_eq(atomic_load(&wrong), 0);
    event_base_loop(base, EVLOOP_NONBLOCK);
    ck_assert_int_eq(atomic_load(&ran), THREADS * JOBS);
    evb_loop_fini(&loop);
    event_base_free(base);
}
END_TEST

/* With a method that knows no edges (select, poll) it sleeps again after its work, too. */
START_TEST(sleeps_on_every_method)
{
    struct event_config *config = event_config_new();
    event_config_avoid_method(config, "epoll");
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    ck_assert_str_ne(event_base_get_method(base), "epoll");
    ck_assert_int_eq(evb_loop_init(&loop, base), 0);
    loop.idle = count_idle;
    loop.user = &idles;
    for (int i = 0; i < 3; i++) {
        evb_loop_post(&loop, &tasks[0][i].job);
        for (int turn = 0; turn < 10; turn++)
            event_base_loop(base, EVLOOP_NONBLOCK);
        ck_assert_int_eq(atomic_load(&ran), i + 1);
    }
    ck_assert_int_lt(atomic_load(&idles), 15);
    evb_loop_fini(&loop);
    event_base_free(base);
}
END_TEST

START_TEST(a_sleeper_is_woken_once)
{
    pthread_t threads[THREADS];
    uint64_t writes = 0;
    struct event_base *base = open_foreign();
    for (int i = 0; i < THREADS; i++)
        threads[i] = thread_start(post_all, tasks[i]);
    for (int i = 0; i < THREADS; i++)
        thread_join(threads[i]);
    ck_assert_int_eq(read(loop.wake_fd, &writes, sizeof writes), sizeof writes);
    ck_assert_uint_eq(writes, 1);
    evb_loop_begin(&loop); /* somebody else woke it */
    evb_loop_end(&loop);
    await(turn_until_all, base); /* more than a round: no post wakes it for the rest */
    ck_assert(!readable());
    evb_loop_fini(&loop);
    event_base_free(base);
}
END_TEST

START_TEST(work_in_between_wakes_nobody)
{
    struct event_base *base = open_foreign();
    evb_loop_begin(&loop);
    post_all(tasks[0]);
    evb_loop_begin(&loop); /* nested: the outer end runs them */
    post_all(tasks[1]);
    evb_loop_end(&loop);
    ck_assert_int_eq(atomic_load(&ran), 0);
    ck_assert(!readable());
    evb_loop_end(&loop);
    ck_assert_int_ge(atomic_load(&ran), 1000); /* a round's worth */
    for (int i = 0; i < 10; i++)
        event_base_loop(base, EVLOOP_NONBLOCK);
    ck_assert_int_eq(atomic_load(&ran), 2 * JOBS);
    ck_assert(!readable());
    ck_assert_int_eq(atomic_load(&wrong), 0);
    evb_loop_fini(&loop);
    event_base_free(base);
}
END_TEST

/* A chain: each job posts the next from inside. */
static void run_and_post(struct evb_job *job)
{
    struct task *task = evb_container(job, struct task, job);
    run_task(job);
    if (task->number + 1 < JOBS) {
        task[1].job.run = run_and_post;
        evb_loop_post(&loop, &task[1].job);
    }
}

START_TEST(jobs_post_jobs)
{
    open_own();
    for (int i = 0; i < THREADS; i++) {
        tasks[i][0].job.run = run_and_post;
        evb_loop_post(&loop, &tasks[i][0].job);
    }
    await_count(&ran, THREADS * JOBS);
    close_own();
    ck_assert_int_eq(atomic_load(&wrong), 0);
}
END_TEST

enum { TOO_MANY = 5000000 }; /* jobs before a timer of a millisecond */

static bool timer_came;

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    timer_came = true;
}

static void run_for_ever(struct evb_job *job)
{
    atomic_fetch_add(&ran, 1);
    if (!timer_came && atomic_load(&ran) < TOO_MANY)
        evb_loop_post(&loop, job);
}

START_TEST(timers_get_their_turn)
{
    struct timeval soon = {0, 1000};
    struct evb_job job = {NULL, run_for_ever};
    struct event_base *base = open_foreign();
    timer_came = false;
    event_base_once(base, -1, EV_TIMEOUT, on_timer, NULL, &soon);
    evb_loop_post(&loop, &job);
    for (int64_t end = unit_now_us() + 20000000; !timer_came && unit_now_us() < end;)
        event_base_loop(base, EVLOOP_ONCE);
    ck_assert(timer_came);
    ck_assert_int_gt(atomic_load(&ran), 1);
    ck_assert_int_lt(atomic_load(&ran), TOO_MANY);
    evb_loop_fini(&loop);
    event_base_free(base);
}
END_TEST

/* ---- lingering: the loop's own base, turned by the test, with a clock that posts ---- */

enum { MANY_QUICK = 100, SELDOM_US = 1000 };

static int64_t clock_us;
static struct task cause, effect;
static bool clock_stands;
static bool caused; /* `cause` has run, and nobody has looked at the clock since */

static int64_t clock_that_posts(void)
{
    if (caused) {
        caused = false;
        evb_loop_post(&loop, &effect.job);
    }
    clock_us += !clock_stands;
    return clock_us;
}

static void run_cause(struct evb_job *job)
{
    run_task(job);
    caused = true;
}

static void turn(struct evb_job *job)
{
    evb_loop_post(&loop, job);
    event_base_loop(loop.base, EVLOOP_ONCE);
}

/* Wakes the loop so often, each time when it has slept for so long. */
static void turn_often(int times, int64_t slept_us)
{
    for (int i = 0; i < times; i++) {
        struct task task = {{NULL, run_task}, 1, next_number[1]};
        clock_us += slept_us;
        turn(&task.job);
    }
}

/* Events written since the last time: nobody reads where edges are known. */
static uint64_t wake_ups(void)
{
    uint64_t writes = 0;
    return read(loop.wake_fd, &writes, sizeof writes) == sizeof writes ? writes : 0;
}

/* Is what comes when the jobs have run still part of the turn, or does it wake the loop? */
static bool lingers(void)
{
    wake_ups();
    cause = (struct task){{NULL, run_cause}, 0, next_number[0]};
    effect = (struct task){{NULL, run_task}, 0, next_number[0] + 1};
    turn(&cause.job);
    bool in_one_turn = next_number[0] == effect.number + 1;
    if (!in_one_turn)
        event_base_loop(loop.base, EVLOOP_ONCE);
    ck_assert_int_eq(next_number[0], effect.number + 1);
    ck_assert_uint_eq(wake_ups(), in_one_turn ? 1 : 2);
    ck_assert_int_eq(atomic_load(&wrong), 0);
    return in_one_turn;
}

static void open_idle_clock(struct event_base *base)
{
    clock_us = 7000000;
    evb_clock_set(NULL, clock_that_posts);
    ck_assert_int_eq(evb_loop_init(&loop, base), 0);
}

static void close_idle_clock(void)
{
    evb_loop_fini(&loop);
    evb_clock_set(NULL, NULL);
}

static int tries_until_it_lingers(void)
{
    int tries = 1;
    for (; !lingers(); tries++) {
        turn_often(1, 0); /* so that it is not always the second turn of a pair that lingers */
        ck_assert_int_lt(tries, MANY_QUICK);
    }
    return tries;
}

START_TEST(lingers_only_under_load)
{
    open_idle_clock(NULL);
    turn_often(MANY_QUICK, SELDOM_US);
    ck_assert(!lingers());
    tries_until_it_lingers();
    int tries = tries_until_it_lingers(); /* the one before ended in vain, as each does here */
    ck_assert_int_gt(tries, 2);
    for (int i = 1; i < tries; i++)
        ck_assert(!lingers());
    turn_often(1, SELDOM_US); /* it sleeps long once, and is not rushed any more */
    ck_assert_int_eq(tries_until_it_lingers(), tries);
    close_idle_clock();
}
END_TEST

START_TEST(lingering_ends_where_the_clock_stands)
{
    open_idle_clock(NULL);
    clock_stands = true;
    turn_often(MANY_QUICK, 0);
    ck_assert_int_eq(atomic_load(&ran), MANY_QUICK);
    clock_stands = false;
    close_idle_clock();
}
END_TEST

START_TEST(a_foreign_base_never_lingers)
{
    struct event_base *base = event_base_new();
    open_idle_clock(base);
    for (int i = 0; i < MANY_QUICK; i++)
        ck_assert(!lingers());
    close_idle_clock();
    event_base_free(base);
}
END_TEST

static sigset_t blocked;
static char name[16];

static void look_around(struct evb_job *job)
{
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    pthread_getname_np(pthread_self(), name, sizeof name);
    run_task(job);
}

START_TEST(its_thread_gets_no_signals)
{
    sigset_t mine;
    open_own();
    tasks[0][0].job.run = look_around;
    evb_loop_post(&loop, &tasks[0][0].job);
    await_count(&ran, 1);
    close_own();
    for (int i = 1; i < 32; i++)
        if (i != SIGKILL && i != SIGSTOP)
            ck_assert_int_eq(sigismember(&blocked, i), 1);
    ck_assert_str_eq(name, "a name too long");
    pthread_sigmask(SIG_BLOCK, NULL, &mine);
    ck_assert_int_eq(sigismember(&mine, SIGUSR1), 0);
}
END_TEST

static void *post_and_stop(void *own)
{
    struct task *mine = own;
    for (int j = 0; j < JOBS; j++) {
        if (j == JOBS / 2 && mine[0].thread == 0)
            evb_loop_stop(&loop);
        evb_loop_post(&loop, &mine[j].job);
    }
    return NULL;
}

/* What a stop leaves behind is run once by run_rest, in order. */
START_TEST(nothing_is_lost_at_the_end)
{
    for (int round = 0; round < 20; round++) {
        pthread_t threads[THREADS];
        setup();
        open_own();
        for (int i = 0; i < THREADS; i++)
            threads[i] = thread_start(post_and_stop, tasks[i]);
        for (int i = 0; i < THREADS; i++)
            thread_join(threads[i]);
        evb_loop_join(&loop);
        evb_loop_post(&loop, &(struct task){{NULL, run_task}, 0, JOBS}.job);
        ck_assert(evb_loop_has_rest(&loop));
        int before = atomic_load(&wrong);
        evb_loop_run_rest(&loop); /* not on its thread */
        ck_assert(!evb_loop_has_rest(&loop));
        ck_assert_int_eq(atomic_load(&ran), THREADS * JOBS + 1);
        ck_assert_int_eq(before, 0);
        for (int i = 0; i < THREADS; i++)
            ck_assert_int_eq(next_number[i], JOBS + (i == 0));
        evb_loop_fini(&loop);
    }
}
END_TEST

START_TEST(stop_before_anything)
{
    for (int i = 0; i < 200; i++) {
        open_own();
        close_own();
    }
    ck_assert_int_eq(evb_loop_init(&loop, NULL), 0); /* never started */
    evb_loop_fini(&loop);
    evb_loop_fini(&loop);
}
END_TEST

static atomic_int gone_on_loop;

static void note_gone(void *user)
{
    struct evb_loop *ended = user;
    int here = evb_loop_is_here(ended) ? 1 : 2;
    while (!atomic_load(&posted_last))
        sched_yield();
    evb_loop_run_rest(ended);
    evb_loop_fini(ended);
    atomic_store(&gone_on_loop, here);
}

static void stop_alone(struct evb_job *job)
{
    run_task(job);
    evb_loop_stop_alone(&loop, note_gone, &loop);
}

START_TEST(goes_by_itself)
{
    open_own();
    tasks[0][0].job.run = stop_alone;
    evb_loop_post(&loop, &tasks[0][0].job);
    atomic_store(&posted_last, 1);
    await_count(&gone_on_loop, 1);
    ck_assert_int_eq(atomic_load(&gone_on_loop), 1);
    ck_assert_int_eq(atomic_load(&ran), 1);
}
END_TEST

enum { FDS = 256 };

static void look_at_descriptors(int flags[FDS])
{
    for (int fd = 0; fd < FDS; fd++)
        flags[fd] = fcntl(fd, F_GETFD);
}

START_TEST(descriptors)
{
    int before[FDS], now[FDS];
    struct rlimit was, none;
    look_at_descriptors(before);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &was), 0);
    none = (struct rlimit){0, was.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    int rc = evb_loop_init(&loop, NULL);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &was), 0);
    ck_assert_int_eq(rc, EVBUS_ESYS);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "eventfd: "));
    open_own();
    look_at_descriptors(now);
    for (int fd = 0; fd < FDS; fd++)
        ck_assert(now[fd] == before[fd] || (before[fd] < 0 && now[fd] == FD_CLOEXEC));
    close_own();
    look_at_descriptors(now);
    ck_assert_mem_eq(now, before, sizeof now);
}
END_TEST

/* A child gives up its descriptors; the parent's loop hears as before. */
START_TEST(dropped_in_a_child)
{
    int status;
    struct event_base *base = open_foreign();
    pid_t child = fork();
    if (child == 0) {
        evb_loop_drop(&loop);
        _exit(loop.wake_fd == -1 ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    evb_loop_post(&loop, &tasks[0][0].job);
    event_base_loop(base, EVLOOP_NONBLOCK);
    ck_assert_int_eq(atomic_load(&ran), 1);
    evb_loop_fini(&loop);
    event_base_free(base);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loop");
    TCase *tests = unit_case(suite, "loop");
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, own_thread_runs_all_in_order);
    tcase_add_test(tests, foreign_base_runs_all_in_order);
    tcase_add_test(tests, sleeps_on_every_method);
    tcase_add_test(tests, a_sleeper_is_woken_once);
    tcase_add_test(tests, work_in_between_wakes_nobody);
    tcase_add_test(tests, jobs_post_jobs);
    tcase_add_test(tests, timers_get_their_turn);
    tcase_add_test(tests, lingers_only_under_load);
    tcase_add_test(tests, lingering_ends_where_the_clock_stands);
    tcase_add_test(tests, a_foreign_base_never_lingers);
    tcase_add_test(tests, its_thread_gets_no_signals);
    tcase_add_test(tests, nothing_is_lost_at_the_end);
    tcase_add_test(tests, stop_before_anything);
    tcase_add_test(tests, goes_by_itself);
    tcase_add_test(tests, descriptors);
    tcase_add_test(tests, dropped_in_a_child);
    return unit_run(suite);
}
