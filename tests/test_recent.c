/* test_recent.c - the last events: order, bounds, readers beside writers. */
#include "recent.h"
#include "unit.h"

static struct evb_recent recent;
static struct evb_recent_cursor cursor;
static long live;

static void setup(void)
{
    cursor = (struct evb_recent_cursor){0};
    evb_metrics_shard(); /* this thread's ring is its own */
    live = atomic_load(&memory_live);
}

static void teardown(void)
{
    evb_recent_fini(&recent);
    ck_assert_int_eq(atomic_load(&memory_live), live);
}

static void begin(uint32_t limit)
{
    ck_assert_int_eq(evb_recent_init(&recent, limit), 0);
}

/* An event numbered by its seq. */
static void push(uint64_t number, size_t data_length)
{
    evbus_event *event = event_of("a.b", data_length);
    event->seq = number;
    evb_recent_push(&recent, event);
    evbus_event_unref(event);
}

static void push_range(uint64_t from, uint64_t to)
{
    for (uint64_t number = from; number <= to; number++)
        push(number, 8);
}

/* The next page has these: the first, and each one less. */
static void expect_page(int max, uint64_t first, int count)
{
    evbus_event *events[64];
    int got = evb_recent_read(&recent, &cursor, events, max);
    ck_assert_int_eq(got, count);
    for (int i = 0; i < got; i++) {
        ck_assert_uint_eq(events[i]->seq, first - (uint64_t)i);
        evbus_event_unref(events[i]);
    }
}

START_TEST(none)
{
    expect_page(8, 0, 0);
    begin(4);
    expect_page(8, 0, 0);
    expect_page(8, 0, 0);
}
END_TEST

START_TEST(newest_first)
{
    begin(4);
    push_range(1, 3);
    expect_page(8, 3, 3);
    expect_page(8, 0, 0);
}
END_TEST

START_TEST(oldest_make_room)
{
    begin(4);
    push_range(1, 10);
    expect_page(8, 10, 4);
    expect_page(8, 0, 0);
    ck_assert_int_le(atomic_load(&memory_live) - live, 4 * 2 + 1);
}
END_TEST

START_TEST(pages)
{
    begin(16);
    push_range(1, 20);
    expect_page(5, 20, 5);
    expect_page(5, 15, 5);
    expect_page(5, 10, 5);
    expect_page(5, 5, 1);
    expect_page(5, 0, 0);
}
END_TEST

START_TEST(what_comes_meanwhile)
{
    begin(8);
    push_range(1, 8);
    expect_page(2, 8, 2);
    push_range(9, 11); /* 1 to 3 are gone */
    expect_page(2, 6, 2);
    expect_page(8, 4, 1);
    expect_page(8, 0, 0);
    cursor = (struct evb_recent_cursor){0};
    expect_page(1, 11, 1);
    push_range(12, 40); /* all that this reader has not seen is gone */
    expect_page(8, 0, 0);
}
END_TEST

/* What the ring holds is bounded in bytes, too. */
START_TEST(bytes)
{
    begin(1000000);
    for (uint64_t number = 1; number <= 5000; number++)
        push(number, 4096);
    struct evb_recent_ring *ring = &recent.rings[evb_metrics_shard()];
    ck_assert_uint_le(ring->bytes, EVB_RECENT_BYTES);
    ck_assert_uint_gt(ring->bytes, EVB_RECENT_BYTES - 8192);
    ck_assert_uint_eq(ring->next, 5000);
    expect_page(1, 5000, 1);
    evbus_event *event = event_of("a.b", 8);
    event->size = EVB_RECENT_BYTES + 1; /* larger than all that there is room for */
    evb_recent_push(&recent, event);
    evbus_event_unref(event);
    event = event_of("a.b", 8);
    uint32_t size = event->size;
    event->size = EVB_RECENT_BYTES; /* takes the place of all others */
    evb_recent_push(&recent, event);
    ck_assert_uint_eq(ring->next, 5001);
    ck_assert_uint_eq(ring->first, 5000);
    push(7, 8);
    ck_assert_uint_eq(ring->bytes, size);
    evbus_event_unref(event);
}
END_TEST

static void *push_elsewhere(void *number)
{
    push(*(uint64_t *)number, 8);
    return NULL;
}

START_TEST(rings_of_other_threads)
{
    uint64_t numbers[12];
    int seen = 0;
    begin(64);
    for (uint64_t i = 0; i < 12; i++) {
        numbers[i] = i + 1;
        thread_join(thread_start(push_elsewhere, &numbers[i]));
    }
    evbus_event *events[64];
    for (int count; (count = evb_recent_read(&recent, &cursor, events, 64)) > 0;)
        for (int i = 0; i < count; i++) {
            seen |= 1 << events[i]->seq;
            evbus_event_unref(events[i]);
        }
    ck_assert_int_eq(seen, (1 << 13) - 2);
}
END_TEST

/* ---- races ---- */

enum { WRITERS = 10, ROOM = 100 }; /* more writers than rings of their own */

static atomic_int writing;

static void *write_many(void *arg)
{
    uint64_t thread = *(int *)arg;
    int count = scaled(50000);
    for (int i = 1; i <= count; i++)
        push(thread << 32 | (unsigned)i, (size_t)i % 600);
    atomic_fetch_sub(&writing, 1);
    return NULL;
}

/* Of each thread: newest first, each once, the ends of its own making. */
static int read_all(void)
{
    uint64_t last[WRITERS];
    evbus_event *events[16];
    int total = 0;
    cursor = (struct evb_recent_cursor){0};
    memset(last, 0xff, sizeof last);
    for (int count; (count = evb_recent_read(&recent, &cursor, events, 16)) > 0;)
        for (int i = 0; i < count; i++, total++) {
            uint64_t thread = events[i]->seq >> 32, number = (uint32_t)events[i]->seq;
            ck_assert_uint_lt(thread, WRITERS);
            ck_assert_uint_lt(number, last[thread]);
            ck_assert_uint_eq(events[i]->data.length, number % 600);
            last[thread] = number;
            evbus_event_unref(events[i]);
        }
    return total;
}

START_TEST(readers_beside_writers)
{
    pthread_t threads[WRITERS];
    int ids[WRITERS], rounds = 0;
    begin(ROOM);
    atomic_store(&writing, WRITERS);
    for (int i = 0; i < WRITERS; i++) {
        ids[i] = i;
        threads[i] = thread_start(write_many, &ids[i]);
    }
    while (atomic_load(&writing) > 0) {
        ck_assert_int_le(read_all(), ROOM * EVB_METRIC_SHARDS);
        rounds++;
    }
    for (int i = 0; i < WRITERS; i++)
        thread_join(threads[i]);
    ck_assert_int_gt(rounds, 0);
    ck_assert_int_gt(read_all(), ROOM * 2);
}
END_TEST

START_TEST(memory_runs_out)
{
    atomic_store(&memory_left, 0);
    ck_assert_int_eq(evb_recent_init(&recent, 4), EVBUS_ENOMEM);
    atomic_store(&memory_left, -1);
    ck_assert_uint_eq(recent.limit, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("recent");
    TCase *tests = unit_case(suite, "recent");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, none);
    tcase_add_test(tests, newest_first);
    tcase_add_test(tests, oldest_make_room);
    tcase_add_test(tests, pages);
    tcase_add_test(tests, what_comes_meanwhile);
    tcase_add_test(tests, bytes);
    tcase_add_test(tests, rings_of_other_threads);
    tcase_add_test(tests, readers_beside_writers);
    tcase_add_test(tests, memory_runs_out);
    return unit_run(suite);
}
