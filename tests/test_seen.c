/* test_seen.c - marks of nodes and the window of foreign ids. */
#include "event.h"
#include "seen.h"
#include "harness/check.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define A "aaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbb"

static struct evb_seen seen;

static void setup(void)
{
    ck_assert_int_eq(evb_seen_init(&seen, 3, 1000), 0);
}

static void teardown(void)
{
    evb_seen_fini(&seen);
}

static bool id(const char *text, int64_t now_ms)
{
    return evb_seen_id(&seen, text, strlen(text), now_ms);
}

START_TEST(marks_rise)
{
    ck_assert(evb_seen_seq(&seen, A, 5, true, 0));
    ck_assert(!evb_seen_seq(&seen, A, 5, true, 0)); /* SUBSCRIBE and PSUBSCRIBE both sent it */
    ck_assert(!evb_seen_seq(&seen, A, 4, true, 0));
    ck_assert(evb_seen_seq(&seen, B, 4, true, 0));
    ck_assert(evb_seen_seq(&seen, A, 7, true, 0)); /* 6 went elsewhere */
    ck_assert(!evb_seen_seq(&seen, A, 6, true, 0));
    ck_assert(!evb_seen_seq(&seen, B, 4, true, 0));
    ck_assert(evb_seen_seq(&seen, A, UINT64_MAX, true, 0));
    ck_assert(!evb_seen_seq(&seen, A, 8, true, 0));
}
END_TEST

/* What has no position may come late, once, if it is not too late. */
START_TEST(late_ones)
{
    ck_assert(evb_seen_seq(&seen, A, 5, false, 0));
    ck_assert(!evb_seen_seq(&seen, A, 5, false, 0));
    ck_assert(evb_seen_seq(&seen, A, 4, false, 0));
    ck_assert(!evb_seen_seq(&seen, A, 4, false, 0));
    ck_assert(evb_seen_seq(&seen, A, 70, false, 0)); /* over a word's edge */
    ck_assert(evb_seen_seq(&seen, A, 64, false, 0));
    ck_assert(evb_seen_seq(&seen, A, 63, false, 0));
    ck_assert(!evb_seen_seq(&seen, A, 4, false, 0));
    ck_assert(!evb_seen_seq(&seen, A, 64, false, 0));
    ck_assert(evb_seen_seq(&seen, B, 4, false, 0));
    ck_assert(evb_seen_seq(&seen, A, 6 + EVB_SEEN_LATE, false, 0));
    ck_assert(!evb_seen_seq(&seen, A, 6, false, 0)); /* too late */
    ck_assert(evb_seen_seq(&seen, A, 7, false, 0));
    ck_assert(!evb_seen_seq(&seen, A, 70, false, 0));
    ck_assert(evb_seen_seq(&seen, A, UINT64_MAX, false, 0));
    ck_assert(!evb_seen_seq(&seen, A, 8 + EVB_SEEN_LATE, false, 0));
    ck_assert(evb_seen_seq(&seen, A, UINT64_MAX - EVB_SEEN_LATE + 1, false, 0));
}
END_TEST

/* Each number at random once and again, within the window: as a list of all would have it. */
START_TEST(late_at_random)
{
    enum { COUNT = 300000, NEAR = 2 * EVB_SEEN_LATE };
    static bool came[COUNT + NEAR];
    unsigned seed = 20261129;
    uint64_t mark = 0;
    int late = 0;
    for (int i = 1; i < COUNT; i++) {
        uint64_t back = (uint64_t)rand_r(&seed) % NEAR >> (unsigned)rand_r(&seed) % 17;
        uint64_t seq = mark + 1 + (uint64_t)rand_r(&seed) % 3;
        if (i % 2 && back < mark)
            seq = mark - back;
        bool wanted = !came[seq] && (seq > mark || mark - seq < EVB_SEEN_LATE);
        late += wanted && seq < mark;
        ck_assert_int_eq(evb_seen_seq(&seen, A, seq, false, 0), wanted);
        came[seq] = came[seq] || wanted;
        mark = seq > mark ? seq : mark;
        if (mark >= COUNT)
            break;
    }
    ck_assert_int_gt(late, 10000);
}
END_TEST

START_TEST(late_bounded)
{
    char node[EVB_NODE_LENGTH + 1];
    for (uint64_t i = 0; i < EVB_SEEN_LATE_NODES; i++) {
        snprintf(node, sizeof node, "%016" PRIx64, i);
        ck_assert(evb_seen_seq(&seen, node, 9, true, 0)); /* takes no window */
        ck_assert(evb_seen_seq(&seen, node, 9, false, 1));
        ck_assert(evb_seen_seq(&seen, node, 8, false, 1));
    }
    ck_assert(evb_seen_seq(&seen, A, 9, false, 2));
    ck_assert(!evb_seen_seq(&seen, A, 8, false, 2)); /* as if it were old */
    ck_assert(evb_seen_seq(&seen, A, 10, false, 2));
    ck_assert_uint_eq(seen.late_nodes, EVB_SEEN_LATE_NODES);
    evb_seen_prune(&seen, 3, 1);
    ck_assert_uint_eq(seen.late_nodes, 0);
    ck_assert_uint_eq(seen.nodes.count, 1);
    ck_assert(evb_seen_seq(&seen, A, 20, false, 3)); /* there is room for its window now */
    ck_assert(!evb_seen_seq(&seen, A, 9, false, 3)); /* which came before, is not known: it came */
    ck_assert(evb_seen_seq(&seen, A, 90, false, 3));
    ck_assert(evb_seen_seq(&seen, A, 89, false, 3));
    ck_assert_uint_eq(seen.late_nodes, 1);
}
END_TEST

/* What has a place in the history may come after what was numbered later and has none. */
START_TEST(two_marks)
{
    ck_assert(evb_seen_seq(&seen, A, 9, false, 0));
    ck_assert(evb_seen_seq(&seen, A, 3, true, 0));
    ck_assert(!evb_seen_seq(&seen, A, 3, true, 0));
    ck_assert(evb_seen_seq(&seen, A, 8, true, 0));
    ck_assert(evb_seen_seq(&seen, A, 20, true, 0));
    ck_assert(evb_seen_seq(&seen, A, 10, false, 0)); /* nor does it hide what has none */
    ck_assert(!evb_seen_seq(&seen, A, 10, true, 0));
    ck_assert(evb_seen_seq(&seen, B, 5, true, 0)); /* whichever came first */
    ck_assert(evb_seen_seq(&seen, B, 1, false, 0));
    ck_assert(!evb_seen_seq(&seen, B, 5, true, 0));
    ck_assert(!evb_seen_seq(&seen, B, 1, false, 0));
    ck_assert_uint_eq(seen.nodes.count, 2); /* one node, forgotten as one */
    evb_seen_prune(&seen, 1000, 400);
    ck_assert(evb_seen_seq(&seen, A, 1, true, 1000));
    ck_assert(evb_seen_seq(&seen, A, 1, false, 1000));
}
END_TEST

START_TEST(no_seq_is_new)
{
    ck_assert(evb_seen_seq(&seen, A, 0, false, 0));
    ck_assert(evb_seen_seq(&seen, A, 0, false, 0));
    ck_assert_uint_eq(seen.nodes.count, 0);
}
END_TEST

START_TEST(prune_idle)
{
    ck_assert(evb_seen_seq(&seen, A, 1, false, 0));
    ck_assert(evb_seen_seq(&seen, B, 1, false, 100));
    ck_assert(!evb_seen_seq(&seen, A, 1, false, 500)); /* heard again, though it said nothing new */
    evb_seen_prune(&seen, 600, 400);
    ck_assert_uint_eq(seen.nodes.count, 1);
    ck_assert(!evb_seen_seq(&seen, A, 1, false, 600));
    ck_assert(evb_seen_seq(&seen, B, 1, false, 600));
    evb_seen_prune(&seen, 10000, 400);
    ck_assert_uint_eq(seen.nodes.count, 0);
    evb_seen_prune(&seen, 20000, 400);
    ck_assert(evb_seen_seq(&seen, A, 1, false, 20000));
}
END_TEST

START_TEST(nodes_bounded)
{
    char node[EVB_NODE_LENGTH + 1];
    ck_assert(evb_seen_seq(&seen, A, 9, false, 0));
    ck_assert(evb_seen_seq(&seen, B, 9, false, 0));
    ck_assert(!evb_seen_seq(&seen, A, 9, false, 0)); /* B is now the longest idle */
    for (uint64_t i = 0; i < EVB_SEEN_NODES - 1; i++) {
        snprintf(node, sizeof node, "%016" PRIx64, i);
        ck_assert(evb_seen_seq(&seen, node, 1, false, 1));
    }
    ck_assert_uint_eq(seen.nodes.count, EVB_SEEN_NODES);
    ck_assert(!evb_seen_seq(&seen, A, 9, false, 2));
    ck_assert(!evb_seen_seq(&seen, "0000000000000000", 1, false, 2));
    ck_assert(evb_seen_seq(&seen, B, 9, false, 2));
    ck_assert_uint_eq(seen.nodes.count, EVB_SEEN_NODES);
}
END_TEST

START_TEST(ids_window)
{
    ck_assert(id("1", 0));
    ck_assert(!id("1", 0));
    ck_assert(id("2", 0));
    ck_assert(id("3", 0));
    ck_assert(!id("1", 0));
    ck_assert(id("4", 0)); /* overwrites 1 */
    ck_assert(id("1", 0)); /* overwrites 2 */
    ck_assert(!id("3", 0));
    ck_assert(!id("4", 0));
    ck_assert(id("2", 0)); /* overwrites 3 */
    ck_assert(id("3", 0));
    ck_assert_uint_eq(seen.ids.count, 3);
}
END_TEST

START_TEST(ids_age)
{
    ck_assert(id("1", 0));
    ck_assert(!id("1", 1000));
    ck_assert(id("1", 1001));
    ck_assert(!id("1", 2001));
    ck_assert(id("2", 2001));
    ck_assert(id("3", 2001));
    ck_assert(!id("1", 2001)); /* noted anew at 1001, so younger than the ring's first place */
    ck_assert_uint_eq(seen.ids.count, 3);
}
END_TEST

START_TEST(ids_are_bytes)
{
    ck_assert(evb_seen_id(&seen, "a\0b", 3, 0));
    ck_assert(evb_seen_id(&seen, "a\0c", 3, 0));
    ck_assert(evb_seen_id(&seen, "a", 1, 0));
    ck_assert(!evb_seen_id(&seen, "a\0b", 3, 0));
}
END_TEST

START_TEST(no_window)
{
    struct evb_seen none;
    ck_assert_int_eq(evb_seen_init(&none, 0, 1000), 0);
    ck_assert(evb_seen_id(&none, "1", 1, 0));
    ck_assert(evb_seen_id(&none, "1", 1, 0));
    evb_seen_fini(&none);
    evb_seen_fini(&none); /* nothing is left to give back */
}
END_TEST

static void *no_alloc(size_t size)
{
    (void)size;
    return NULL;
}

/* A double beats a loss. */
START_TEST(no_memory)
{
    struct evb_seen none;
    ck_assert_int_eq(evbus_set_allocator(no_alloc, realloc, free), 0);
    ck_assert(evb_seen_seq(&seen, A, 1, false, 0));
    ck_assert(evb_seen_seq(&seen, A, 1, false, 0));
    ck_assert(id("1", 0));
    ck_assert(id("1", 0));
    ck_assert_int_eq(evb_seen_init(&none, 3, 1000), EVBUS_ENOMEM);
    evb_seen_fini(&none);
    evbus_set_allocator(NULL, NULL, NULL);
    ck_assert(evb_seen_seq(&seen, A, 1, false, 0));
    ck_assert(!evb_seen_seq(&seen, A, 1, false, 0));
    ck_assert(id("1", 0));
    ck_assert(!id("1", 0));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("seen");
    TCase *tests = tcase_create("seen");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, marks_rise);
    tcase_add_test(tests, late_ones);
    tcase_add_test(tests, late_at_random);
    tcase_add_test(tests, late_bounded);
    tcase_add_test(tests, two_marks);
    tcase_add_test(tests, no_seq_is_new);
    tcase_add_test(tests, prune_idle);
    tcase_add_test(tests, nodes_bounded);
    tcase_add_test(tests, ids_window);
    tcase_add_test(tests, ids_age);
    tcase_add_test(tests, ids_are_bytes);
    tcase_add_test(tests, no_window);
    tcase_add_test(tests, no_memory);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
