/* test_sub_pending_full.c - where no more may wait for a subscription's handler: what is dropped,
 * who is told that it is slow, and when there is room again. */
#include "sub_pending_fixture.h"

/* "slow:<that waited> ", "over:<that waited>,<dropped> " */
static void on_edge(evbus_sub *sub)
{
    struct evb_slow_news news;
    while (evb_slow_next(sub->slow, &news))
        if (news.over)
            tell("over:%d,%d ", (int)news.events, (int)news.dropped);
        else
            tell("slow:%d ", (int)news.events);
}

static void on_roomy(void *keeper)
{
    tell("roomy:%d ", atomic_load(&((evbus_sub *)keeper)->refs) > 0 ? atomic_load(&got_count) : -1);
}

/* Tells of its edges, and of room. */
static evbus_sub *watched(int deliver, int64_t events)
{
    evbus_sub *sub = bounded(deliver, events);
    sub->slow_edge = on_edge;
    sub->roomy = on_roomy;
    sub->keeper = sub;
    return sub;
}

static void set_bytes(evbus_sub *sub, int64_t bytes)
{
    sub->fifo.max_bytes = bytes;
    if (sub->lanes)
        sub->lanes->max_bytes = bytes;
}

static void set_full(evbus_sub *sub, int full)
{
    sub->fifo.full = full;
    if (sub->lanes)
        sub->lanes->full = full;
}

static bool put_without_memory(evbus_sub *sub, uint64_t number, unsigned how)
{
    evbus_event *event = numbered(number);
    atomic_store(&memory_left, 0);
    bool answer_put = evb_sub_put(sub, event, how);
    ck_assert(memory_failed());
    atomic_store(&memory_left, -1);
    return answer_put;
}

static const char *const ends[] = {"over:0,4 ", "over:3,4 "}; /* a chunk at a time; one event */

START_TEST(slow_is_told)
{
    evbus_sub *sub = watched(ways[_i], 6);
    deliver_numbers(sub, 0, 6);
    expect("");
    deliver_numbers(sub, 6, 10);
    expect("slow:6 "); /* once */
    ck_assert_int_eq(evbus_sub_stat(sub, "slow"), 1);
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), 4);
    hand_over(sub);
    expect(ends[_i]);
    ck_assert_int_eq(evbus_sub_stat(sub, "slow"), 0);
    ck_assert_int_eq(evb_metrics_read(&sub_metrics, EVB_COUNT_slow), 1);
    ck_assert_int_eq(evb_metrics_read(&sub_metrics, EVB_COUNT_dropped), 4);
    sub->slow_edge = NULL; /* nobody asks */
    occupy(sub);
    deliver_numbers(sub, 0, 8);
    hand_over(sub);
    expect("");
    ck_assert_int_eq(evb_metrics_read(&sub_metrics, EVB_COUNT_slow), 2);
    ck_assert_int_eq(atomic_load(&got_count), 12);
    end(sub);
    close_base();
}
END_TEST

/* An event that tells of a slow one makes nobody slow, but counts where somebody is. */
START_TEST(told_of_slow_ones)
{
    evbus_sub *sub = watched(ways[_i], 2);
    deliver_numbers(sub, 0, 2);
    deliver_number(sub, 2, LOCAL | EVB_OF_SLOW);
    expect("");
    ck_assert_int_eq(evbus_sub_stat(sub, "slow"), 0);
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), 1);
    deliver_local(sub, 3);
    expect("slow:2 ");
    deliver_number(sub, 4, LOCAL | EVB_OF_SLOW);
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), 3);
    hand_over(sub);
    expect(_i ? "over:1,2 " : "over:0,2 ");
    end(sub);
    close_base();
}
END_TEST

/* Dropped and counted; without memory for being slow, it is with the next one. */
START_TEST(no_memory)
{
    evbus_sub *sub = watched(ways[_i], 2);
    ck_assert(put_without_memory(sub, 1, LOCAL));
    ck_assert(!put_without_memory(sub, 2, LOCAL | EVB_ALLOWED));
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), 2);
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 0);
    deliver_numbers(sub, 3, 5);
    evb_slow_free(sub->slow); /* of those without memory: it was not slow */
    sub->slow = NULL;
    ck_assert(put_without_memory(sub, 5, LOCAL));
    ck_assert_int_eq(evbus_sub_stat(sub, "slow"), 0);
    expect("");
    deliver_local(sub, 6);
    expect("slow:2 ");
    hand_over(sub);
    ck_assert(got[0] == 5 && got[1] == 6 && atomic_load(&got_count) == 2);
    end(sub);
    close_base();
}
END_TEST

/* ---- those that come again, or must not be lost ---- */

/* No room for more events, or for more bytes: it is slow, and nothing is dropped. */
START_TEST(may_lag)
{
    evbus_sub *sub = watched(ways[_i % 2], _i < 2 ? 2 : 100);
    evbus_event *event = numbered(3);
    set_bytes(sub, (_i < 2 ? 3 : 2) * (int64_t)event->size);
    ck_assert(put(sub, 1, REDIS | EVB_MAY_LAG));
    ck_assert(put(sub, 2, REDIS | EVB_MAY_LAG));
    for (int i = 0; i < 2; i++)
        ck_assert(!evb_sub_put(sub, evbus_event_ref(event), REDIS | EVB_MAY_LAG));
    expect("slow:2 ");
    ck_assert_int_eq(atomic_load(&event->refs), 1);
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 2);
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), 0);
    hand_over(sub);
    expect(_i % 2 ? "over:1,0 " : "over:0,0 ");
    ck_assert(evb_sub_put(sub, event, REDIS | EVB_MAY_LAG));
    evbus_event *huge = event_of("t", 4096); /* beyond all bounds: it would never find room */
    ck_assert(evb_sub_put(sub, huge, REDIS | EVB_MAY_LAG));
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), 1);
    hand_over(sub);
    ck_assert_int_eq(atomic_load(&got_count), 3);
    sub->slow_edge = NULL;
    end(sub);
    close_base();
}
END_TEST

/* Who gave it leave is told if it was dropped. */
START_TEST(allowed)
{
    evbus_sub *sub = watched(ways[_i], 1);
    set_full(sub, EVB_FULL_DROP_NEWEST);
    ck_assert(put(sub, 1, LOCAL | EVB_ALLOWED));
    ck_assert(!put(sub, 2, LOCAL | EVB_ALLOWED));
    ck_assert(put(sub, 3, LOCAL));
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), 2);
    hand_over(sub);
    ck_assert(got[0] == 1 && atomic_load(&got_count) == 1);
    end(sub);
    close_base();
}
END_TEST

static bool hold_answer;

static bool on_hold(evbus_sub *sub, evbus_event *event, unsigned how)
{
    (void)sub;
    tell("held:%d,%u ", (int)event->seq, how);
    evbus_event_unref(event);
    return hold_answer;
}

START_TEST(held)
{
    evbus_sub *sub = watched(ways[_i], 10);
    sub->hold = on_hold;
    for (int i = 0; i < 2; i++) {
        hold_answer = i == 1;
        ck_assert_int_eq(put(sub, 1, LOCAL), hold_answer);
        expect("held:1,1 ");
    }
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 0);
    ck_assert(put(sub, 2, LOCAL | EVB_ALLOWED)); /* it comes back */
    expect("");
    sub->held_events = 3; /* wait, too */
    ck_assert_int_eq(evbus_sub_stat(sub, "queued"), 4);
    hand_over(sub);
    ck_assert_int_eq(atomic_load(&got_count), 1);
    end(sub);
    close_base();
}
END_TEST

START_TEST(held_ones_are_dropped)
{
    evbus_sub *sub = watched(ways[_i], 4);
    evb_sub_held_less(sub); /* it never was slow */
    sub->held_events = 4;
    evb_sub_held_dropped(sub, 1, LOCAL | EVB_OF_SLOW);
    expect("");
    evb_sub_held_dropped(sub, 0, LOCAL); /* no room */
    evb_sub_held_dropped(sub, 3, LOCAL);
    expect("slow:4 ");
    ck_assert_int_eq(evbus_sub_stat(sub, "dropped"), 4);
    ck_assert_int_eq(evb_metrics_read(&sub_metrics, EVB_COUNT_dropped), 4);
    sub->held_events = 3;
    evb_sub_held_less(sub);
    expect("");
    sub->held_events = 2;
    evb_sub_held_less(sub);
    expect("over:2,3 "); /* and nobody waits for room */
    sub->held_events = 3;
    sub->hold = on_hold;
    ck_assert_int_eq(evb_sub_room(sub, 1), 0);
    evb_sub_held_less(sub);
    expect("");
    sub->held_events = 0;
    evb_sub_held_less(sub);
    evb_sub_held_less(sub);
    expect("roomy:0 ");
    sub->helpers = 0;
    end(sub);
    close_base();
}
END_TEST

/* ---- room ---- */

static bool door_put(evbus_queue *queue, struct evb_fifo_item item, unsigned how)
{
    (void)queue;
    tell("put:%d,%u ", (int)item.event->seq, how);
    bool answer_put = item.event->seq == 2;
    evbus_event_unref(item.event);
    evb_sub_unref(item.sub);
    return answer_put;
}

static int64_t door_room(evbus_queue *queue, int64_t most)
{
    (void)queue;
    tell("room:%d ", (int)most);
    return 5;
}

static void door_lag(evbus_queue *queue, bool on)
{
    (void)queue;
    tell("lag:%d ", on);
}

static const struct evb_sub_queue told_door = {door_put, door_room, door_lag, NULL};

/* Where nothing waits in front there is room for all. */
START_TEST(room_for_all)
{
    evbus_sub *sub = watched(EVB_DELIVER_INLINE, 10);
    ck_assert_int_eq(evb_sub_room(sub, 100), 100);
    end(sub);
    sub = watched(EVB_DELIVER_LOOP, 10);
    ck_assert_int_eq(evb_sub_room(sub, 100), 100);
    sub->hold = on_hold;
    ck_assert_int_eq(evb_sub_room(sub, 100), 10);
    end(sub);
    close_base();
}
END_TEST

START_TEST(a_queue_is_asked)
{
    evbus_sub *sub = watched(EVB_DELIVER_QUEUE, 10);
    sub->door = &told_door;
    ck_assert(!put(sub, 1, LOCAL));
    ck_assert(put(sub, 2, REDIS | EVB_MAY_LAG));
    expect("put:1,1 put:2,514 ");
    ck_assert_int_eq(evb_sub_room(sub, 100), 5);
    evb_sub_lag(sub, true);
    evb_sub_lag(sub, false);
    expect("room:100 lag:1 lag:0 ");
    ck_assert_int_eq(atomic_load(&sub->refs), 1);
    end(sub);
    close_base();
}
END_TEST

/* None while more than half is taken; then it is told, once, to who asked. */
START_TEST(room)
{
    evbus_sub *sub = watched(ways[_i], 100);
    deliver_numbers(sub, 0, 40);
    ck_assert_int_eq(evb_sub_room(sub, 100), 60);
    ck_assert_int_eq(evb_sub_room(sub, 7), 7);
    hand_over(sub);
    expect("");
    atomic_store(&got_count, 0);
    occupy(sub);
    deliver_numbers(sub, 0, 90);
    ck_assert_int_eq(evb_sub_room(sub, 100), 0);
    hand_over(sub);
    expect(_i ? "roomy:39 " : "roomy:30 "); /* taken event by event, or by chunks */
    ck_assert_int_eq(atomic_load(&got_count), 90);
    end(sub);
    close_base();
}
END_TEST

/* It is slow until it has read what it missed. */
START_TEST(lags)
{
    evbus_sub *sub = watched(ways[_i], 4);
    evb_sub_lag(sub, true); /* it never was slow */
    evb_sub_lag(sub, false);
    deliver_numbers(sub, 0, 6);
    expect("slow:4 ");
    evb_sub_lag(sub, true);
    evb_sub_lag(sub, false); /* and is full as before */
    expect("");
    evb_sub_lag(sub, true);
    hand_over(sub);
    expect("");
    ck_assert_int_eq(evbus_sub_stat(sub, "slow"), 1);
    evb_sub_lag(sub, false);
    expect("over:0,2 ");
    end(sub);
    close_base();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sub pending full");
    TCase *tests = unit_case(suite, "full");
    tcase_add_checked_fixture(tests, begin_base, NULL);
    tcase_add_loop_test(tests, slow_is_told, 0, 2);
    tcase_add_loop_test(tests, told_of_slow_ones, 0, 2);
    tcase_add_loop_test(tests, no_memory, 0, 2);
    tcase_add_loop_test(tests, may_lag, 0, 4);
    tcase_add_loop_test(tests, allowed, 0, 2);
    tcase_add_loop_test(tests, held, 0, 2);
    tcase_add_loop_test(tests, held_ones_are_dropped, 0, 2);
    tcase_add_test(tests, room_for_all);
    tcase_add_test(tests, a_queue_is_asked);
    tcase_add_loop_test(tests, room, 0, 2);
    tcase_add_loop_test(tests, lags, 0, 2);
    return unit_run(suite);
}
