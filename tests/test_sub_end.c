/* test_sub_end.c - the end of a subscription: after it no handler runs, and on_free came once. */
#include "sub_fixture.h"
#include "wait.h"
#include <evbus.h>

enum { THREADS = 4 };

static atomic_int inside, handled, freed, freed_late;
static atomic_bool let_go, over, ended;

static void count_free(void *user)
{
    (void)user;
    atomic_fetch_add(&freed, 1);
}

static void count_own(void *user)
{
    count_free(NULL);
    atomic_fetch_add((atomic_int *)user, 1);
}

static int count(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    (void)user;
    atomic_fetch_add(&handled, 1);
    return 0;
}

static int stay(evbus_sub *sub, evbus_event *event, void *user)
{
    count(sub, event, user);
    atomic_fetch_add(&inside, 1);
    while (!atomic_load(&let_go))
        sched_yield();
    atomic_fetch_sub(&inside, 1);
    return 0;
}

static void setup(void)
{
    atomic_store(&inside, 0);
    atomic_store(&handled, 0);
    atomic_store(&freed, 0);
    atomic_store(&freed_late, 0);
    atomic_store(&let_go, false);
    atomic_store(&over, false);
    atomic_store(&ended, false);
    open_base();
}

static void teardown(void)
{
    close_base();
}

static void *deliver_one(void *sub)
{
    deliver_local(sub, 1);
    return NULL;
}

START_TEST(at_once_when_none_runs)
{
    evbus_sub *sub = sub_of(EVB_DELIVER_INLINE, count, NULL);
    ck_assert_int_eq(evbus_sub_on_free(sub, count_free), 0);
    ck_assert_int_eq(evb_sub_wait_ended(sub, 0), EVBUS_ETIMEDOUT);
    deliver_local(sub, 1);
    evb_sub_end(sub);
    ck_assert_int_eq(atomic_load(&sub->state), EVB_SUB_ENDED);
    ck_assert_int_eq(atomic_load(&freed), 1);
    evb_sub_end(sub); /* again is fine */
    deliver_local(sub, 2);
    ck_assert_int_eq(atomic_load(&handled), 1);
    ck_assert_int_eq(evb_sub_wait_ended(sub, 0), 0);
    ck_assert_int_eq(atomic_load(&freed), 1);
    ck_assert_int_eq(atomic_load(&sub_released), 0);
    evb_sub_unref(sub);
    ck_assert_int_eq(atomic_load(&sub_released), 1);
}
END_TEST

START_TEST(on_free_asked_for)
{
    atomic_int first = 0, second = 0;
    evbus_sub *sub = sub_of(EVB_DELIVER_INLINE, count, &first);
    ck_assert_int_eq(evbus_sub_on_free(NULL, count_own), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_sub_on_free(sub, NULL), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_sub_on_free(sub, count_own), 0);
    ck_assert_int_eq(evbus_sub_on_free(sub, count_own), 0); /* the last one given counts */
    evb_sub_end(sub);
    ck_assert_int_eq(atomic_load(&first), 1);
    sub->user = &second;
    ck_assert_int_eq(evbus_sub_on_free(sub, count_own), 0); /* that is over: at once */
    ck_assert_int_eq(atomic_load(&second), 1);
    ck_assert_int_eq(atomic_load(&first), 1);
    evb_sub_unref(sub);
    sub = sub_of(EVB_DELIVER_INLINE, count, NULL); /* nobody asked */
    evb_sub_end(sub);
    evb_sub_unref(sub);
    ck_assert_int_eq(atomic_load(&freed), 2);
}
END_TEST

START_TEST(waits_for_all_that_run)
{
    pthread_t threads[THREADS];
    evbus_sub *sub = sub_of(EVB_DELIVER_INLINE, stay, NULL);
    evbus_sub_on_free(sub, count_free);
    for (int i = 0; i < THREADS; i++)
        threads[i] = thread_start(deliver_one, sub);
    await_count(&inside, THREADS);
    evb_sub_end(sub);
    ck_assert_int_eq(atomic_load(&sub->state), EVB_SUB_ENDING);
    ck_assert_int_eq(evb_sub_wait_ended(sub, 10), EVBUS_ETIMEDOUT);
    ck_assert_int_eq(evbus_last_code(), EVBUS_ETIMEDOUT);
    ck_assert_int_eq(atomic_load(&freed), 0);
    deliver_local(sub, 2); /* none begins any more */
    ck_assert_int_eq(atomic_load(&handled), THREADS);
    atomic_store(&let_go, true);
    ck_assert_int_eq(evb_sub_wait_ended(sub, -1), 0);
    ck_assert_int_eq(atomic_load(&freed), 1);
    ck_assert_int_eq(atomic_load(&inside), 0);
    for (int i = 0; i < THREADS; i++)
        thread_join(threads[i]);
    ck_assert_int_eq(evbus_sub_stat(sub, "delivered"), THREADS);
    evb_sub_unref(sub);
}
END_TEST

static evbus_event *left_behind;

static int never_return(evbus_sub *sub, evbus_event *event, void *user)
{
    stay(sub, event, user);
    left_behind = event;
    pthread_exit(NULL);
}

/* Nobody comes back from the handler to tell of it. */
START_TEST(thread_ends_in_its_handler)
{
    pthread_t thread;
    evbus_sub *sub = sub_of(EVB_DELIVER_INLINE, never_return, NULL);
    evbus_sub_on_free(sub, count_free);
    pthread_create(&thread, NULL, deliver_one, sub);
    while (atomic_load(&inside) < 1)
        sched_yield();
    evb_sub_end(sub);
    ck_assert_int_eq(evb_sub_wait_ended(sub, 150), EVBUS_ETIMEDOUT);
    atomic_store(&let_go, true);
    ck_assert_int_eq(evb_sub_wait_ended(sub, 10000), 0);
    ck_assert_int_eq(atomic_load(&freed), 1);
    pthread_join(thread, NULL);
    evbus_event_unref(left_behind);
    evb_sub_unref(sub);
}
END_TEST

START_TEST(waits_for_the_loop)
{
    close_base();
    open_thread();
    start_thread();
    evbus_sub *sub = sub_of(EVB_DELIVER_LOOP, stay, NULL);
    evbus_sub_on_free(sub, count_free);
    for (int i = 0; i < 100; i++)
        deliver_local(sub, 1);
    await_count(&inside, 1);
    evb_sub_end(sub);
    ck_assert_int_eq(evb_sub_wait_ended(sub, 5), EVBUS_ETIMEDOUT);
    atomic_store(&let_go, true);
    ck_assert_int_eq(evb_sub_wait_ended(sub, -1), 0);
    ck_assert_int_eq(atomic_load(&freed), 1);
    close_thread();
    ck_assert_int_eq(atomic_load(&handled), 1); /* what waited is nobody's any more */
    ck_assert_int_eq(atomic_load(&sub->refs), 1);
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 0);
    evb_sub_unref(sub);
    open_base();
}
END_TEST

/* ENDED while the waiter's time runs out: it has ended, so the waiter is told that. */
static void *wait_briefly(void *sub)
{
    atomic_fetch_add(&inside, 1);
    return evb_sub_wait_ended(sub, 50) == 0 ? sub : NULL;
}

START_TEST(ended_at_the_deadline)
{
    void *told;
    evbus_sub *sub = sub_of(EVB_DELIVER_INLINE, count, NULL);
    pthread_t thread = thread_start(wait_briefly, sub);
    await_count(&inside, 1);
    for (int64_t from = unit_now_us(); unit_now_us() - from < 20000;)
        sched_yield(); /* it waits by now, or will find the lock taken */
    pthread_mutex_lock(&sub->lock);
    for (int64_t from = unit_now_us(); unit_now_us() - from < 100000;)
        sched_yield(); /* its time is up, and it wants the lock back */
    atomic_store(&sub->state, EVB_SUB_ENDED);
    pthread_mutex_unlock(&sub->lock);
    ck_assert_int_eq(pthread_join(thread, &told), 0);
    ck_assert_ptr_nonnull(told);
    evb_sub_unref(sub);
}
END_TEST

static int end_itself(evbus_sub *sub, evbus_event *event, void *user)
{
    count(sub, event, user);
    evb_sub_end(sub);
    bool running = atomic_load(&sub->state) == EVB_SUB_ENDING && atomic_load(&freed) == 0;
    return running && evb_sub_wait_ended(sub, -1) == 0 ? 0 : -1;
}

START_TEST(inside_its_own_handler)
{
    evbus_sub *sub = sub_of(EVB_DELIVER_INLINE, end_itself, NULL);
    evbus_sub_on_free(sub, count_free);
    deliver_local(sub, 1);
    ck_assert_int_eq(evbus_sub_stat(sub, "delivered"), 1);
    ck_assert_int_eq(atomic_load(&sub->state), EVB_SUB_ENDED);
    ck_assert_int_eq(atomic_load(&freed), 1);
    deliver_local(sub, 2);
    ck_assert_int_eq(atomic_load(&handled), 1);
    evb_sub_unref(sub);
}
END_TEST

static int end_other(evbus_sub *sub, evbus_event *event, void *user)
{
    evbus_sub *other = *(evbus_sub **)user;
    count(sub, event, user);
    atomic_fetch_add(&inside, 1);
    while (atomic_load(&inside) < 2)
        sched_yield();
    evb_sub_end(other);
    return evb_sub_wait_ended(other, -1); /* starts and returns: no deadlock */
}

START_TEST(handlers_ending_each_other)
{
    for (int round = 0; round < scaled(200); round++) {
        evbus_sub *a, *b;
        a = sub_of(EVB_DELIVER_INLINE, end_other, &b);
        b = sub_of(EVB_DELIVER_INLINE, end_other, &a);
        evbus_sub_on_free(a, count_free);
        evbus_sub_on_free(b, count_free);
        atomic_store(&inside, 0);
        atomic_store(&freed, 0);
        pthread_t thread = thread_start(deliver_one, a);
        deliver_local(b, 1);
        thread_join(thread);
        ck_assert_int_eq(evb_sub_wait_ended(a, -1), 0);
        ck_assert_int_eq(evb_sub_wait_ended(b, -1), 0);
        ck_assert_int_eq(atomic_load(&freed), 2);
        evb_sub_unref(a);
        evb_sub_unref(b);
    }
}
END_TEST

static evbus_sub *chained;

static void end_chained(void *user)
{
    if (!evb_thread_in_callback())
        atomic_fetch_add(&freed_late, 1);
    count_free(user);
    if (chained) {
        evb_sub_end(chained);
        if (evb_sub_wait_ended(chained, -1) != 0)
            atomic_fetch_add(&freed_late, 1);
    }
}

START_TEST(on_free_is_a_callback)
{
    evbus_sub *sub = sub_of(EVB_DELIVER_INLINE, count, NULL);
    chained = sub_of(EVB_DELIVER_INLINE, count, NULL);
    evbus_sub_on_free(sub, end_chained);
    evbus_sub_on_free(chained, count_free);
    evb_sub_end(sub);
    ck_assert(!evb_thread_in_callback());
    ck_assert_int_eq(atomic_load(&freed), 2);
    ck_assert_int_eq(atomic_load(&freed_late), 0);
    evb_sub_unref(sub);
    evb_sub_unref(chained);
    chained = NULL;
}
END_TEST

/* ---- races: what must not happen is counted, and must come to nothing ---- */

struct race {
    evbus_sub *_Atomic sub; /* NULL between rounds */
    atomic_int round, ready, quiet, bad;
};

static struct race race;

static int seen_late(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    (void)user;
    if (atomic_load(&ended))
        atomic_fetch_add(&race.bad, 1);
    atomic_fetch_add(&handled, 1);
    return 0;
}

static void freed_while_live(void *user)
{
    (void)user;
    if (atomic_load(&ended) || atomic_fetch_add(&freed, 1) != 0)
        atomic_fetch_add(&race.bad, 1);
}

/* Each holds a reference for its deliveries of a round, as a snapshot does. */
static void *deliver_rounds(void *is_ender)
{
    for (int round = 1;; round++) {
        while (atomic_load(&race.round) < round)
            sched_yield();
        evbus_sub *sub = atomic_load(&race.sub);
        if (!sub)
            return NULL;
        evb_sub_ref(sub);
        atomic_fetch_add(&race.ready, 1);
        for (int i = 0; i < 20 || !atomic_load(&ended); i++) {
            deliver_local(sub, (uint64_t)i);
            if (is_ender && i == 5)
                evb_sub_end(sub);
        }
        evb_sub_unref(sub);
        atomic_fetch_add(&race.quiet, 1);
    }
}

/* Deliverers go on while this thread (and in odd runs one of them too) ends the subscription. */
START_TEST(ending_while_others_deliver)
{
    pthread_t threads[THREADS];
    memset(&race, 0, sizeof race);
    for (int i = 0; i < THREADS; i++)
        threads[i] = thread_start(deliver_rounds, _i && i == 0 ? &race : NULL);
    for (int round = 1; round <= scaled(100); round++) {
        evbus_sub *sub = sub_of(EVB_DELIVER_INLINE, seen_late, NULL);
        evbus_sub_on_free(sub, freed_while_live);
        atomic_store(&ended, false);
        atomic_store(&freed, 0);
        atomic_store(&race.ready, 0);
        atomic_store(&race.quiet, 0);
        atomic_store(&race.sub, sub);
        atomic_store(&race.round, round);
        while (atomic_load(&race.ready) < THREADS)
            sched_yield();
        evb_sub_end(sub);
        ck_assert_int_eq(evb_sub_wait_ended(sub, -1), 0);
        ck_assert_int_eq(atomic_load(&freed), 1);
        atomic_store(&ended, true);
        evb_sub_unref(sub);
        while (atomic_load(&race.quiet) < THREADS)
            sched_yield();
    }
    atomic_store(&race.sub, NULL);
    atomic_store(&race.round, INT32_MAX);
    for (int i = 0; i < THREADS; i++)
        thread_join(threads[i]);
    ck_assert_int_eq(atomic_load(&race.bad), 0);
    ck_assert_int_gt(atomic_load(&handled), 0);
}
END_TEST

static void *end_it(void *sub)
{
    atomic_fetch_add(&inside, 1);
    while (!atomic_load(&let_go))
        sched_yield();
    evb_sub_end(sub);
    if (evb_sub_wait_ended(sub, -1) != 0 || atomic_load(&freed) != 1)
        atomic_fetch_add(&race.bad, 1);
    return NULL;
}

START_TEST(ended_by_many)
{
    for (int round = 0; round < scaled(300); round++) {
        pthread_t threads[THREADS];
        evbus_sub *sub = sub_of(EVB_DELIVER_INLINE, count, NULL);
        atomic_store(&freed, 0);
        atomic_store(&inside, 0);
        atomic_store(&let_go, false);
        evbus_sub_on_free(sub, count_free);
        for (int i = 0; i < THREADS; i++)
            threads[i] = thread_start(end_it, sub);
        await_count(&inside, THREADS);
        atomic_store(&let_go, true);
        for (int i = 0; i < THREADS; i++)
            thread_join(threads[i]);
        ck_assert_int_eq(atomic_load(&freed), 1);
        ck_assert_int_eq(atomic_load(&sub->refs), 1);
        evb_sub_unref(sub);
    }
    ck_assert_int_eq(atomic_load(&race.bad), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sub end");
    TCase *tests = unit_case(suite, "sub end");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, at_once_when_none_runs);
    tcase_add_test(tests, on_free_asked_for);
    tcase_add_test(tests, waits_for_all_that_run);
    tcase_add_test(tests, thread_ends_in_its_handler);
    tcase_add_test(tests, waits_for_the_loop);
    tcase_add_test(tests, ended_at_the_deadline);
    tcase_add_test(tests, inside_its_own_handler);
    tcase_add_test(tests, handlers_ending_each_other);
    tcase_add_test(tests, on_free_is_a_callback);
    tcase_add_loop_test(tests, ending_while_others_deliver, 0, 2);
    tcase_add_test(tests, ended_by_many);
    return unit_run(suite);
}
