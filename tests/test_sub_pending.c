/* test_sub_pending.c - what waits for a subscription's handler: in which order and how much of it
 * comes, and what is told when there is no room. */
#include "sub_keep_fixture.h"

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
    return unit_run(suite);
}
