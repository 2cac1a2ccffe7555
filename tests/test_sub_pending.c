/* test_sub_pending.c - what waits for a subscription's handler: in which order it comes, in which
 * turns, and that all of it does. */
#include "sub_pending_fixture.h"

START_TEST(loop_in_order)
{
    enum { EVENTS = 15000 };
    open_thread();
    start_thread();
    evbus_sub *sub = sub_of(EVB_DELIVER_LOOP, keep, NULL);
    for (uint64_t i = 0; i < EVENTS; i++)
        deliver_local(sub, i);
    await_count(&got_count, EVENTS);
    close_thread();
    for (uint64_t i = 0; i < EVENTS; i++)
        ck_assert_uint_eq(got[i], i);
    ck_assert_int_eq(atomic_load(&on_loop), EVENTS);
    ck_assert_int_eq(atomic_load(&in_callback), EVENTS);
    ck_assert_int_eq(evbus_sub_stat(sub, "delivered"), EVENTS);
    ck_assert(evb_sub_idle(sub));
    ck_assert_int_eq(atomic_load(&sub->refs), 1);
    end(sub);
}
END_TEST

static const struct {
    int full;
    uint64_t first;
} bounds[] = {{EVB_FULL_DROP_OLDEST, 4}, {EVB_FULL_DROP_NEWEST, 0}};

START_TEST(bounded_and_counted)
{
    open_base();
    evbus_sub *sub = sub_of(EVB_DELIVER_LOOP, keep, NULL);
    sub->fifo.full = bounds[_i].full;
    sub->fifo.max_events = 6;
    for (uint64_t i = 0; i < 10; i++)
        deliver_local(sub, i);
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 6);
    ck_assert(!evb_sub_idle(sub));
    turn();
    ck_assert_int_eq(atomic_load(&got_count), 6);
    for (uint64_t i = 0; i < 6; i++)
        ck_assert_uint_eq(got[i], bounds[_i].first + i);
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 0);
    ck_assert_int_eq(evbus_sub_stat(sub, "peak"), 6);
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), 4);
    ck_assert_int_eq(evbus_sub_stat(sub, "delivered"), 6);
    ck_assert_int_eq(evb_metrics_read(&sub_metrics, EVB_COUNT_dropped), 4);
    ck_assert(evb_sub_idle(sub));
    end(sub);
    close_base();
}
END_TEST

static int echo_some(evbus_sub *sub, evbus_event *event, void *user)
{
    keep(sub, event, user);
    if (event->seq < 300) {
        deliver_local(sub, event->seq + 100);
        deliver_number(sub, event->seq + 200, REDIS);
    }
    return 0;
}

START_TEST(handlers_feed_themselves)
{
    open_base();
    evbus_sub *sub = sub_of(EVB_DELIVER_LOOP, echo_some, NULL);
    deliver_local(sub, 100);
    deliver_local(sub, 101);
    turn();
    static const uint64_t want[] = {100, 101, 200, 300, 201, 301, 300, 400, 301, 401};
    ck_assert_int_eq(atomic_load(&got_count), (int)EVB_COUNT(want));
    ck_assert_mem_eq(got, want, sizeof want);
    end(sub);
    close_base();
}
END_TEST

/* 2,000 each: the second begins before the first is through. */
START_TEST(everybody_has_a_turn)
{
    enum { EVENTS = 2000 };
    open_base();
    evbus_sub *a = sub_of(EVB_DELIVER_LOOP, keep, NULL), *b = sub_of(EVB_DELIVER_LOOP, keep, NULL);
    for (uint64_t i = 0; i < EVENTS; i++)
        deliver_local(a, i);
    for (uint64_t i = 0; i < EVENTS; i++)
        deliver_local(b, 10000 + i);
    turn();
    uint64_t next[2] = {0, 10000};
    int last_of_a = 0, first_of_b = -1;
    for (int i = 0; i < 2 * EVENTS; i++) {
        int which = got[i] >= 10000;
        ck_assert_uint_eq(got[i], next[which]++);
        if (which && first_of_b < 0)
            first_of_b = i;
        if (!which)
            last_of_a = i;
    }
    ck_assert_int_lt(first_of_b, last_of_a);
    end(a);
    end(b);
    close_base();
}
END_TEST

/* Without memory for its thread's record nothing can be handed over: later it can. */
START_TEST(loop_without_memory)
{
    open_thread();
    evbus_sub *sub = sub_of(EVB_DELIVER_LOOP, keep, NULL);
    deliver_local(sub, 1);
    deliver_local(sub, 2);
    atomic_store(&memory_left, 0);
    start_thread();
    await_count(&got_count, 2);
    atomic_store(&memory_left, -1);
    close_thread();
    ck_assert(evb_sub_idle(sub));
    end(sub);
}
END_TEST

/* ---- handing over ---- */

static void deliver_request(evbus_sub *sub, uint64_t number, int64_t deadline_ms)
{
    evbus_event *event = numbered(number);
    struct evb_exchange *exchange = evb_event_exchange(event);
    ck_assert_ptr_nonnull(exchange);
    exchange->deadline_ms = deadline_ms;
    event->exchange = exchange;
    evb_sub_put(sub, event, LOCAL);
}

START_TEST(late_requests_are_nobodys)
{
    evbus_sub *sub = bounded(ways[_i], 10);
    deliver_request(sub, 1, evb_clock_us() / 1000 - 1);
    deliver_request(sub, 2, INT64_MAX);
    deliver_request(sub, 3, evb_clock_us() / 1000 + 600000);
    deliver_local(sub, 4);
    hand_over(sub);
    static const uint64_t want[] = {2, 3, 4};
    ck_assert_int_eq(atomic_load(&got_count), 3);
    ck_assert_mem_eq(got, want, sizeof want);
    ck_assert_int_eq(evb_metrics_read(&sub_metrics, EVB_COUNT_late_requests), 1);
    ck_assert_int_eq(evb_metrics_read(&sub_metrics, EVB_COUNT_handled), 3);
    ck_assert_int_eq(evbus_sub_stat(sub, "delivered"), 3);
    end(sub);
    close_base();
}
END_TEST

static int keep_and_be_late(evbus_sub *sub, evbus_event *event, void *user)
{
    keep(sub, event, user);
    sub_loop.late = sub_loop.late || event->seq == 0; /* as after a handler that takes its time */
    return 0;
}

static void on_mark(struct evb_job *job)
{
    (void)job;
    tell("mark:%d ", atomic_load(&got_count));
}

/* Sockets and timers have waited for long: the rest comes in a later round. */
START_TEST(stops_when_the_loop_is_late)
{
    struct evb_job mark = {.run = on_mark};
    evbus_sub *sub = bounded(EVB_DELIVER_LOOP, 100);
    sub->fn = keep_and_be_late;
    deliver_numbers(sub, 0, 90);
    evb_loop_post(&sub_loop, &mark);
    hand_over(sub);
    expect("mark:30 "); /* a chunk is what is taken at a time */
    ck_assert_int_eq(atomic_load(&got_count), 90);
    for (uint64_t i = 0; i < 90; i++)
        ck_assert_uint_eq(got[i], i);
    end(sub);
    close_base();
}
END_TEST

/* ---- workers ---- */

static evbus_sub *without_order(int64_t events)
{
    evbus_sub *sub = bounded(EVB_DELIVER_WORKERS, events);
    evb_lanes_free(sub->lanes);
    sub->lanes = evb_lanes_new("none", events, 100000, EVB_FULL_DROP_OLDEST);
    ck_assert_ptr_nonnull(sub->lanes);
    return sub;
}

/* The workers have left, and the subscription is over: this thread drops what it brings. */
START_TEST(too_late_for_workers)
{
    evbus_sub *sub = without_order(10);
    sub->helpers = 0;
    evb_sub_end(sub);
    ck_assert(put(sub, 1, LOCAL));
    ck_assert(put(sub, 2, LOCAL));
    ck_assert_int_eq(atomic_load(&got_count), 0);
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 0);
    ck_assert_int_eq(atomic_load(&sub->refs), 1);
    ck_assert(evb_sub_idle(sub));
    end(sub);
    close_base();
}
END_TEST

static evbus_event *late; /* goes to evb_sub_put() */

static void *put_without_memory(void *sub)
{
    atomic_store(&memory_left, 0); /* for this thread's record */
    bool taken = evb_sub_put(sub, late, LOCAL);
    atomic_store(&memory_left, -1);
    return taken ? sub : NULL;
}

/* The thread that drops it needs no record for that. */
START_TEST(too_late_and_without_memory)
{
    void *taken;
    evbus_sub *sub = without_order(10);
    deliver_numbers(sub, 0, 1); /* room in the lanes is there */
    hand_over(sub);
    sub->helpers = 0;
    evb_sub_end(sub);
    late = numbered(2);
    pthread_t thread = thread_start(put_without_memory, sub);
    ck_assert_int_eq(pthread_join(thread, &taken), 0);
    ck_assert_ptr_eq(taken, sub);
    ck_assert_int_eq(atomic_load(&got_count), 1);
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 0);
    ck_assert(evb_sub_idle(sub));
    end(sub);
    close_base();
}
END_TEST

/* Other work waits, but nobody would come back to this: it is done to the end. */
START_TEST(crowded_when_all_leave)
{
    evbus_sub *sub = without_order(10);
    deliver_numbers(sub, 0, 5);
    atomic_store(&sub_workers.waiting, 1);
    hand_over(sub);
    atomic_store(&sub_workers.waiting, 0);
    ck_assert_int_eq(atomic_load(&got_count), 5);
    end(sub);
    close_base();
}
END_TEST

static atomic_bool go_on;

static int keep_and_wait(evbus_sub *sub, evbus_event *event, void *user)
{
    keep(sub, event, user);
    while (!atomic_load(&go_on))
        sched_yield();
    return 0;
}

/* One worker: after the event in hand, the other subscription has its turn. */
START_TEST(others_have_their_turn)
{
    static const uint64_t want[] = {1, 10, 2, 3};
    evbus_sub *busy = without_order(10), *other = without_order(10);
    sub_workers.count = 1;
    ck_assert_int_eq(evb_workers_start(&sub_workers, "test"), 0);
    busy->helpers = other->helpers = 0;
    busy->fn = keep_and_wait;
    atomic_store(&go_on, false);
    deliver_numbers(busy, 1, 4);
    await_count(&got_count, 1);
    ck_assert(!evb_sub_idle(busy));
    deliver_local(other, 10);
    atomic_store(&go_on, true);
    turn();
    ck_assert_int_eq(atomic_load(&got_count), (int)EVB_COUNT(want));
    ck_assert_mem_eq(got, want, sizeof want);
    ck_assert(evb_sub_idle(busy) && atomic_load(&busy->refs) == 1);
    end(busy);
    end(other);
    close_base();
}
END_TEST

/* At the end: what waits is handled, what comes is dropped, and the last worker says it goes. */
START_TEST(drains)
{
    struct evb_job mark = {.run = on_mark};
    evbus_sub *sub = without_order(4);
    deliver_numbers(sub, 0, 3);
    ck_assert(evb_sub_drain(sub, _i ? &mark : NULL));
    ck_assert(evb_sub_drain(sub, NULL)); /* who asked before is told all the same */
    deliver_numbers(sub, 3, 5);
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), 2);
    ck_assert_int_eq(evbus_sub_stat(sub, "slow"), 0);
    for (int worker = 0; worker < 2; worker++) {
        turn();
        expect("");
        evb_sub_ref(sub);
        evb_sub_run_work(&sub->work);
        ck_assert_int_eq(atomic_load(&got_count), 3);
        ck_assert_int_eq(evb_sub_idle(sub), worker == 1);
    }
    turn();
    expect(_i ? "mark:3 " : "");
    ck_assert(!evb_sub_drain(sub, &mark)); /* it is idle: nobody posts that any more */
    hand_over(sub);
    expect("");
    end(sub);
    close_base();
}
END_TEST

/* ---- when idle ---- */

enum { ALONE = 1000 };

/* Where something runs or waits it is refused; where nothing does it is handled. */
START_TEST(when_idle)
{
    static const uint64_t want[] = {1, ALONE, 3};
    evbus_sub *sub = bounded(ways[_i], 5);
    deliver_numbers(sub, 1, 2);
    ck_assert(!put(sub, 2, LOCAL | EVB_WHEN_IDLE));
    hand_over(sub);
    ck_assert(put(sub, ALONE, LOCAL | EVB_WHEN_IDLE));
    if (!sub->lanes) /* there are no workers: it was handled at once */
        ck_assert(!put(sub, 2, LOCAL | EVB_WHEN_IDLE));
    deliver_numbers(sub, 3, 4);
    hand_over(sub);
    ck_assert_int_eq(atomic_load(&got_count), (int)EVB_COUNT(want));
    ck_assert_mem_eq(got, want, sizeof want);
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), 0);
    end(sub);
    close_base();
}
END_TEST

static atomic_int running, beside;

/* Events may run beside each other; an ALONE one never. */
static int note_beside(evbus_sub *sub, evbus_event *event, void *user)
{
    bool alone = event->seq == ALONE;
    int others = atomic_fetch_add(&running, alone ? ALONE : 1);
    (void)sub;
    (void)user;
    if (alone ? others > 0 : others >= ALONE)
        atomic_fetch_add(&beside, 1);
    for (int i = 0; i < 20; i++)
        sched_yield();
    atomic_fetch_sub(&running, alone ? ALONE : 1);
    return 0;
}

static int wait_or_meet(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)user;
    if (event->seq == ALONE)
        await_count(&running, 1); /* the test's sign */
    else if (atomic_fetch_add(&running, 1) > 0)
        await_count(&running, 3);
    return 0;
}

/* What waited for it goes to as many workers as without it. */
START_TEST(side_by_side_again)
{
    evbus_sub *sub = without_order(10);
    sub_workers.count = 2;
    sub->helpers = 0;
    sub->fn = wait_or_meet;
    ck_assert_int_eq(evb_workers_start(&sub_workers, "test"), 0);
    ck_assert(put(sub, ALONE, LOCAL | EVB_WHEN_IDLE));
    deliver_numbers(sub, 1, 3);
    atomic_store(&running, 1);
    await_count(&running, 3);
    turn();
    end(sub);
    close_base();
}
END_TEST

/* Busy or not by turns: none is lost, and nothing comes beside one that is to be alone. */
START_TEST(alone_on_workers)
{
    enum { ROUNDS = 2000 };
    int taken = 0, rounds = scaled(ROUNDS);
    evbus_sub *sub = without_order(INT64_MAX);
    sub_workers.count = 3;
    sub->helpers = 0;
    sub->fn = note_beside;
    ck_assert_int_eq(evb_workers_start(&sub_workers, "test"), 0);
    for (int i = 0; i < rounds; i++) {
        for (int n = 0; n < i % 4; n++)
            deliver_local(sub, (uint64_t)n);
        taken += put(sub, ALONE, LOCAL | EVB_WHEN_IDLE);
        if (i % 3 == 0)
            turn();
    }
    turn();
    ck_assert_int_eq(atomic_load(&beside), 0);
    ck_assert_int_ge(taken, rounds / 12);
    int64_t events = (int64_t)rounds / 4 * 6 + (rounds % 4) * (rounds % 4 - 1) / 2;
    ck_assert_int_eq(evbus_sub_stat(sub, "delivered"), events + taken);
    ck_assert(evb_sub_idle(sub) && atomic_load(&sub->refs) == 1);
    end(sub);
    close_base();
}
END_TEST

/* ---- threads ---- */

enum { THREADS = 4, EACH = 5000 };

static atomic_int through; /* threads that have delivered all */

static int count_it(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    (void)user;
    atomic_fetch_add(&got_count, 1);
    return 0;
}

static void *deliver_each(void *sub)
{
    deliver_numbers(sub, 0, (uint64_t)scaled(EACH));
    atomic_fetch_add(&through, 1);
    return NULL;
}

/* Each is handled or dropped, whoever delivers meanwhile. */
START_TEST(nothing_is_lost)
{
    pthread_t threads[THREADS];
    evbus_sub *sub = sub_of(ways[_i], count_it, NULL);
    atomic_store(&through, 0);
    sub->fifo.max_events = 50;
    if (sub->lanes)
        sub->lanes->max_events = 50;
    for (int i = 0; i < THREADS; i++)
        threads[i] = thread_start(deliver_each, sub);
    while (atomic_load(&through) < THREADS) {
        event_base_loop(sub_base, EVLOOP_NONBLOCK);
        sched_yield();
    }
    for (int i = 0; i < THREADS; i++)
        thread_join(threads[i]);
    turn();
    ck_assert(evb_sub_idle(sub));
    int64_t dropped = evbus_sub_stat(sub, "dropped");
    ck_assert_int_eq(atomic_load(&got_count) + dropped, THREADS * scaled(EACH));
    ck_assert_int_eq(evb_metrics_read(&sub_metrics, EVB_COUNT_dropped), dropped);
    ck_assert_int_eq(evbus_sub_stat(sub, "queued") + evbus_sub_stat(sub, "slow"), 0);
    ck_assert_int_eq(atomic_load(&sub->refs), 1);
    end(sub);
    close_base();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sub pending");
    TCase *tests = unit_case(suite, "sub pending");
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, loop_in_order);
    tcase_add_loop_test(tests, bounded_and_counted, 0, (int)EVB_COUNT(bounds));
    tcase_add_test(tests, handlers_feed_themselves);
    tcase_add_test(tests, everybody_has_a_turn);
    tcase_add_test(tests, loop_without_memory);
    tests = unit_case(suite, "turns");
    tcase_add_checked_fixture(tests, begin_base, NULL);
    tcase_add_loop_test(tests, late_requests_are_nobodys, 0, 2);
    tcase_add_test(tests, stops_when_the_loop_is_late);
    tcase_add_test(tests, too_late_for_workers);
    tcase_add_test(tests, too_late_and_without_memory);
    tcase_add_test(tests, crowded_when_all_leave);
    tcase_add_test(tests, others_have_their_turn);
    tcase_add_loop_test(tests, drains, 0, 2);
    tcase_add_loop_test(tests, when_idle, 0, 2);
    tcase_add_test(tests, side_by_side_again);
    tcase_add_test(tests, alone_on_workers);
    tcase_add_loop_test(tests, nothing_is_lost, 0, 2);
    return unit_run(suite);
}
