/* test_slow.c - the edges of slowness: where they are, and that they come in turn whatever the pace
 * of who tells them. */
#include "slow.h"
#include "unit.h"

static struct evb_slow *slow;
static struct evb_metrics metrics;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t clock_us;

static int64_t read_clock(void)
{
    return clock_us;
}

static void setup(void)
{
    clock_us = 5000000;
    evb_clock_set(NULL, read_clock);
    evb_metrics_init(&metrics);
    slow = evb_slow_new(&metrics, &lock);
}

static void teardown(void)
{
    evb_slow_free(slow);
    evb_clock_set(NULL, NULL);
}

static struct evb_fill fill(int64_t events, int64_t bytes)
{
    return (struct evb_fill){events, bytes, 10, 1000};
}

static bool dropped(int n, int64_t events, int64_t bytes)
{
    return evb_slow_dropped(slow, n, fill(events, bytes), &metrics);
}

static bool taken(int64_t events, int64_t bytes)
{
    return evb_slow_taken(slow, fill(events, bytes));
}

/* 's' slow, 'e' its end, '-' nothing. */
static char told(struct evb_slow_news *news)
{
    return evb_slow_next(slow, news) ? news->over ? 'e' : 's' : '-';
}

static int64_t edges(void)
{
    return evb_metrics_read(&metrics, EVB_COUNT_slow);
}

START_TEST(begins_full_and_ends_half_empty)
{
    struct evb_slow_news news;
    ck_assert(!taken(0, 0) && told(&news) == '-');
    ck_assert(dropped(2, 10, 700));
    ck_assert(evb_slow_is(slow) && edges() == 1);
    ck_assert_int_eq(told(&news), 's');
    ck_assert(news.events == 10 && news.bytes == 700);
    ck_assert_int_eq(told(&news), '-');
    ck_assert(!dropped(3, 10, 900)); /* no second edge */
    clock_us += 1500000;
    ck_assert(!taken(6, 100) && !taken(5, 501)); /* above half of either bound */
    ck_assert(evb_slow_is(slow));
    ck_assert(taken(5, 500));
    ck_assert(!evb_slow_is(slow) && !taken(4, 400));
    ck_assert_int_eq(told(&news), 'e');
    ck_assert(news.dropped == 5 && news.lasted_ms == 1500 && news.events == 5 && news.bytes == 500);
    ck_assert_int_eq(told(&news), '-');
    ck_assert(dropped(1, 3, 900)); /* the other bound, and counted anew */
    clock_us += 1000;
    ck_assert(taken(0, 0));
    ck_assert(told(&news) == 's' && told(&news) == 'e' && told(&news) == '-');
    ck_assert(news.dropped == 1 && news.lasted_ms == 1 && edges() == 2);
}
END_TEST

/* Too big for any bound, or no memory: nobody is slow for that. */
START_TEST(a_drop_with_room_is_no_edge)
{
    struct evb_slow_news news;
    ck_assert(!dropped(1, 5, 500));
    ck_assert(!dropped(1, 0, 0));
    ck_assert(told(&news) == '-' && edges() == 0 && !evb_slow_is(slow));
}
END_TEST

START_TEST(what_begins_again_untold_goes_on)
{
    struct evb_slow_news news;
    ck_assert(dropped(1, 10, 0));
    ck_assert(taken(5, 0));        /* over before it was told */
    ck_assert(!dropped(1, 10, 0)); /* and slow again: the first one goes on */
    ck_assert_int_eq(told(&news), 's');
    ck_assert_int_eq(told(&news), '-');
    ck_assert(taken(5, 0));
    ck_assert(!dropped(1, 10, 0)); /* again, its end not told yet */
    ck_assert_int_eq(told(&news), '-');
    clock_us += 7000;
    ck_assert(taken(0, 0));
    ck_assert_int_eq(told(&news), 'e');
    ck_assert(news.dropped == 3 && news.lasted_ms == 7 && edges() == 1);
}
END_TEST

START_TEST(one_post_at_a_time)
{
    ck_assert(evb_slow_post(slow));
    ck_assert(!evb_slow_post(slow));
    evb_slow_unpost(slow);
    ck_assert(evb_slow_post(slow));
}
END_TEST

START_TEST(no_memory)
{
    atomic_store(&memory_left, 0);
    ck_assert_ptr_null(evb_slow_new(&metrics, &lock));
    atomic_store(&memory_left, -1);
    ck_assert(!evb_slow_is(NULL) && !evb_slow_untold(NULL));
    evb_slow_free(NULL);
}
END_TEST

/* One fills and takes, the other tells: what is told alternates, and begins as often as counted. */
static atomic_int filling;

static void *fill_and_take(void *arg)
{
    uint32_t dice = 88172645;
    for (int n = *(int *)arg; n > 0; n--) {
        bool full = roll(&dice) % 2;
        pthread_mutex_lock(&lock);
        if (full)
            dropped(1, 10, 0);
        else
            taken(0, 0);
        pthread_mutex_unlock(&lock);
    }
    atomic_store(&filling, 0);
    return NULL;
}

START_TEST(told_in_turn_by_another_thread)
{
    struct evb_slow_news news;
    int count = scaled(400000), begun = 0, ended = 0;
    evb_clock_set(NULL, NULL);
    atomic_store(&filling, 1);
    pthread_t thread = thread_start(fill_and_take, &count);
    for (bool more = true; more;) {
        more = atomic_load(&filling);
        for (char edge; (edge = told(&news)) != '-';) {
            begun += edge == 's';
            ended += edge == 'e';
            ck_assert_int_eq(begun - ended, edge == 's');
        }
    }
    thread_join(thread);
    ck_assert_int_ge(begun, 1); /* how often depends on whose turn it is */
    ck_assert_int_eq(edges(), begun);
    ck_assert_int_eq(begun - ended, evb_slow_is(slow));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("slow");
    TCase *tests = unit_case(suite, "edges");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, begins_full_and_ends_half_empty);
    tcase_add_test(tests, a_drop_with_room_is_no_edge);
    tcase_add_test(tests, what_begins_again_untold_goes_on);
    tcase_add_test(tests, one_post_at_a_time);
    tcase_add_test(tests, no_memory);
    tcase_add_test(tests, told_in_turn_by_another_thread);
    return unit_run(suite);
}
