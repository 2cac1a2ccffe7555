/* test_sub_limit.c - a subscription's limit: that many handler calls, or events in its queue, and
 * one end, whichever threads deliver. */
#include "queue.h"
#include "sub_fixture.h"

enum { LIMIT = 500, THREADS = 4 };

static atomic_int calls, left, freed;
static evbus_queue *queue;

static int count_call(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    (void)user;
    return atomic_fetch_add(&calls, 1) % 2; /* a failed one is a call as well */
}

static void on_leave(evbus_sub *sub)
{
    ck_assert_int_eq(atomic_load(&sub->state), EVB_SUB_ENDED);
    atomic_fetch_add(&left, 1);
}

static void on_free(void *user)
{
    (void)user;
    atomic_fetch_add(&freed, 1);
}

static void setup(void)
{
    atomic_store(&calls, 0);
    atomic_store(&left, 0);
    atomic_store(&freed, 0);
    open_base();
}

static evbus_sub *limited(int deliver, int64_t limit)
{
    evbus_sub *sub = sub_of(deliver, count_call, NULL);
    ck_assert_int_eq(evb_sub_set_limit(sub, limit, on_leave), 0);
    ck_assert_int_eq(evbus_sub_on_free(sub, on_free), 0);
    return sub;
}

static void expect_over(evbus_sub *sub, int limit)
{
    ck_assert_int_eq(atomic_load(&calls), limit);
    ck_assert_int_eq(atomic_load(&left), 1);
    ck_assert_int_eq(atomic_load(&freed), 1);
    ck_assert_int_eq(atomic_load(&sub->state), EVB_SUB_ENDED);
    ck_assert_int_eq(evbus_sub_stat(sub, "delivered") + evbus_sub_stat(sub, "failed"), limit);
}

static void *deliver_many(void *sub)
{
    for (uint64_t n = 0; n < LIMIT; n++)
        deliver_local(sub, n);
    return NULL;
}

static const int ways[] = {EVB_DELIVER_INLINE, EVB_DELIVER_LOOP, EVB_DELIVER_WORKERS};

START_TEST(exactly_so_many_calls)
{
    evbus_sub *sub = limited(ways[_i], LIMIT);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        threads[i] = thread_start(deliver_many, sub);
    for (int i = 0; i < THREADS; i++)
        thread_join(threads[i]);
    turn();
    expect_over(sub, LIMIT);
    deliver_local(sub, 1);
    turn();
    expect_over(sub, LIMIT);
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 0);
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), 0);
    close_base();
    ck_assert_int_eq(atomic_load(&sub->refs), 1);
    evb_sub_unref(sub);
}
END_TEST

START_TEST(one)
{
    evbus_sub *sub = limited(ways[_i], 1);
    for (uint64_t n = 0; n < 5; n++)
        deliver_local(sub, n);
    turn();
    expect_over(sub, 1);
    close_base();
    evb_sub_unref(sub);
}
END_TEST

/* Two workers have an event each in hand, and only one may go on. */
static bool both_have_tried(void *sub)
{
    return atomic_load(&((evbus_sub *)sub)->limit->begun) == 2;
}

static int wait_for_the_other(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)event;
    (void)user;
    atomic_fetch_add(&calls, 1);
    await(both_have_tried, sub);
    return 0;
}

/* Both wait before a worker looks: what is delivered later is not even let in. */
static void push_pair(evbus_sub *sub)
{
    bool ready;
    for (int n = 0; n < 2; n++)
        ck_assert_int_eq(evb_lanes_push(sub->lanes, event_of("t", 0), 0, &ready), 0);
    sub->helpers = 2;
    for (int n = 0; n < 2; n++) {
        evb_sub_ref(sub);
        ck_assert(evb_workers_ask(sub->workers, &sub->work));
    }
}

START_TEST(one_of_two_at_a_time)
{
    evbus_sub *sub = limited(EVB_DELIVER_WORKERS, 1);
    evb_lanes_free(sub->lanes);
    sub->lanes = evb_lanes_new("none", 10, 100000, EVB_FULL_DROP_OLDEST);
    sub->limit->fn = wait_for_the_other;
    push_pair(sub);
    turn();
    ck_assert_int_eq(atomic_load(&calls), 1);
    close_base();
    evb_sub_unref(sub);
}
END_TEST

/* What is dropped was not delivered. */
START_TEST(dropped_ones_do_not_count)
{
    evbus_sub *sub = limited(EVB_DELIVER_LOOP, 5);
    sub->fifo.max_events = 3;
    sub->fifo.full = _i ? EVB_FULL_DROP_NEWEST : EVB_FULL_DROP_OLDEST;
    for (uint64_t n = 0; n < 20; n++)
        deliver_local(sub, n);
    turn();
    ck_assert_int_eq(atomic_load(&calls), 3);
    ck_assert_int_eq(atomic_load(&left), 0);
    for (uint64_t n = 0; n < 3; n++)
        deliver_local(sub, n);
    turn();
    expect_over(sub, 5);
    close_base();
    evb_sub_unref(sub);
}
END_TEST

/* ---- queues ---- */

static evbus_sub *into_queue(int64_t limit, int64_t size, int full)
{
    queue = evb_queue_new(size, INT64_C(1) << 40, full);
    queue->metrics = &sub_metrics;
    queue->loop = &sub_loop;
    evbus_sub *sub = limited(EVB_DELIVER_QUEUE, limit);
    sub->queue = queue;
    sub->door = &evb_queue_door;
    atomic_store(&sub_loop.thread, (pthread_t)0);
    return sub;
}

static void leave_queue(evbus_sub *sub)
{
    evb_queue_clear(queue);
    ck_assert_int_eq(atomic_load(&sub->refs), 1);
    evb_sub_unref(sub);
    evb_queue_unref(queue);
    close_base();
}

static int64_t next(void)
{
    evbus_event *event;
    if (evbus_queue_next(queue, 0, &event, NULL) != 1)
        return -1;
    int64_t number = (int64_t)event->seq;
    evbus_event_unref(event);
    return number;
}

START_TEST(so_many_in_the_queue)
{
    evbus_sub *sub = into_queue(LIMIT, LIMIT * 2, EVB_FULL_DROP_OLDEST);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        threads[i] = thread_start(deliver_many, sub);
    for (int i = 0; i < THREADS; i++)
        thread_join(threads[i]);
    ck_assert_int_eq(evbus_queue_stat(queue, "queued"), LIMIT);
    ck_assert(atomic_load(&left) == 1 && atomic_load(&freed) == 1);
    int pulled = 0;
    while (next() >= 0) /* they are to be had although it is over */
        pulled++;
    ck_assert_int_eq(pulled, LIMIT);
    ck_assert_int_eq(evbus_sub_stat(sub, "delivered"), LIMIT);
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), 0);
    deliver_local(sub, 1);
    ck_assert_int_eq(next(), -1);
    leave_queue(sub);
}
END_TEST

START_TEST(evicted_ones_do_not_count)
{
    evbus_sub *sub = into_queue(4, 2, _i ? EVB_FULL_DROP_NEWEST : EVB_FULL_DROP_OLDEST);
    for (uint64_t n = 0; n < 10; n++)
        deliver_local(sub, n);
    ck_assert_int_eq(atomic_load(&left), 0);
    ck_assert_int_eq(next(), _i ? 0 : 8);
    ck_assert_int_eq(next(), _i ? 1 : 9);
    deliver_local(sub, 10);
    ck_assert_int_eq(atomic_load(&left), 0);
    deliver_local(sub, 11);
    ck_assert_int_eq(atomic_load(&left), 1);
    deliver_local(sub, 12);
    ck_assert_int_eq(next(), 10);
    ck_assert_int_eq(next(), 11);
    ck_assert_int_eq(next(), -1);
    ck_assert_int_eq(evbus_sub_stat(sub, "delivered"), 4);
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), 8);
    leave_queue(sub);
}
END_TEST

/* Another subscription's events push them out when it is over: nothing takes their place. */
START_TEST(evicted_after_the_end)
{
    evbus_sub *sub = into_queue(2, 2, EVB_FULL_DROP_OLDEST),
              *other = sub_of(EVB_DELIVER_QUEUE, NULL, NULL);
    other->queue = queue;
    other->door = &evb_queue_door;
    deliver_local(sub, 1);
    deliver_local(sub, 2);
    deliver_local(other, 3);
    deliver_local(sub, 4);
    ck_assert(next() == 2 && next() == 3 && next() == -1);
    ck_assert_int_eq(atomic_load(&left), 1);
    evb_sub_unref(other);
    leave_queue(sub);
}
END_TEST

START_TEST(let_go)
{
    evbus_sub *sub = into_queue(2, 10, EVB_FULL_DROP_OLDEST);
    deliver_local(sub, 1);
    deliver_local(sub, 2);
    ck_assert_int_eq(next(), 1);
    atomic_store(&sub->limit->let_go, true); /* as evbus_unsubscribe() does */
    ck_assert_int_eq(next(), -1);
    ck_assert_int_eq(evbus_queue_stat(queue, "queued"), 0);
    leave_queue(sub);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sub limit");
    TCase *tests = unit_case(suite, "limit");
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_loop_test(tests, exactly_so_many_calls, 0, 3);
    tcase_add_loop_test(tests, one, 0, 3);
    tcase_add_test(tests, one_of_two_at_a_time);
    tcase_add_loop_test(tests, dropped_ones_do_not_count, 0, 2);
    tcase_add_test(tests, so_many_in_the_queue);
    tcase_add_loop_test(tests, evicted_ones_do_not_count, 0, 2);
    tcase_add_test(tests, evicted_after_the_end);
    tcase_add_test(tests, let_go);
    return unit_run(suite);
}
