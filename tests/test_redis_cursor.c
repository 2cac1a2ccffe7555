/* test_redis_cursor.c - what is lost behind a cursor, by the history's facts. */
#include "list.h"
#include "redis_cursor.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

enum { TTL_MS = 10000, NOW_MS = 1000000 };

/* "now" is NOW_MS. */
static const struct {
    const char *what;
    struct {
        const char *epoch;
        struct evb_position at, ahead;
        bool exact;
    } cursor;
    struct evb_stream_facts facts; /* epoch, last, first, length, begun */
    enum evb_loss loss;
    int64_t count;
    struct evb_position start;
    bool expect;
} judgements[] = {
    /* ---- from an entry ---- */
    {"nothing came",
     {"e", {900, 5}, {0, 0}, true},
     {"e", {900, 5}, {100, 1}, 5, 0, 0},
     EVB_LOSS_NONE,
     0,
     {900, 5},
     false},
    {"nothing was ever there",
     {"e", {0, 0}, {0, 0}, true},
     {"e", {0, 0}, {0, 0}, -1, 0, 0},
     EVB_LOSS_NONE,
     0,
     {0, 0},
     false},
    {"the first ones came",
     {"e", {0, 0}, {0, 0}, true},
     {"e", {950, 3}, {940, 1}, 3, 0, 0},
     EVB_LOSS_NONE,
     0,
     {0, 0},
     false},
    {"more came",
     {"e", {900, 5}, {0, 0}, true},
     {"e", {950, 9}, {100, 1}, 9, 0, 0},
     EVB_LOSS_NONE,
     0,
     {900, 5},
     true},
    {"more came, and ours is the first that is left",
     {"e", {900, 5}, {0, 0}, true},
     {"e", {950, 9}, {900, 5}, 5, 0, 0},
     EVB_LOSS_NONE,
     0,
     {900, 5},
     true},
    {"ours was let go, the next is there",
     {"e", {900, 5}, {0, 0}, true},
     {"e", {950, 9}, {910, 6}, 4, 0, 0},
     EVB_LOSS_NONE,
     0,
     {900, 5},
     false},
    {"the next was let go",
     {"e", {900, 5}, {0, 0}, true},
     {"e", {950, 9}, {920, 7}, 3, 0, 0},
     EVB_LOSS_TRIMMED,
     1,
     {900, 5},
     false},
    {"all but one were",
     {"e", {900, 5}, {0, 0}, true},
     {"e", {950, 9}, {950, 9}, 1, 0, 0},
     EVB_LOSS_TRIMMED,
     3,
     {900, 5},
     false},
    {"all were, the stream is empty",
     {"e", {900, 5}, {0, 0}, true},
     {"e", {950, 9}, {0, 0}, 0, 0, 0},
     EVB_LOSS_TRIMMED,
     4,
     {900, 5},
     false},
    {"all were that there was, and nothing came",
     {"e", {900, 5}, {0, 0}, true},
     {"e", {900, 5}, {0, 0}, 0, 0, 0},
     EVB_LOSS_NONE,
     0,
     {900, 5},
     false},
    {"the newest that arrived counts",
     {"e", {900, 5}, {930, 8}, true},
     {"e", {950, 9}, {930, 8}, 2, 0, 0},
     EVB_LOSS_NONE,
     0,
     {930, 8},
     true},
    {"the older of the two does not",
     {"e", {900, 5}, {890, 4}, true},
     {"e", {900, 5}, {890, 4}, 2, 0, 0},
     EVB_LOSS_NONE,
     0,
     {900, 5},
     false},

    /* ---- the stream is gone ---- */
    {"deleted, and nothing came",
     {"e", {900, 5}, {0, 0}, true},
     {"e", {900, 5}, {0, 0}, -1, 5, 0},
     EVB_LOSS_NONE,
     0,
     {900, 5},
     false},
    {"three came, then it was deleted",
     {"e", {900, 5}, {0, 0}, true},
     {"e", {950, 8}, {0, 0}, -1, 8, 0},
     EVB_LOSS_EVICTED,
     3,
     {900, 5},
     false},
    {"deleted after three, then two came",
     {"e", {900, 5}, {0, 0}, true},
     {"e", {960, 10}, {955, 9}, 2, 8, 0},
     EVB_LOSS_EVICTED,
     3,
     {900, 5},
     false},
    {"deleted before anything came",
     {"e", {900, 5}, {0, 0}, true},
     {"e", {960, 7}, {955, 6}, 2, 5, 0},
     EVB_LOSS_NONE,
     0,
     {900, 5},
     false},
    {"a server that cannot tell when it began",
     {"e", {900, 5}, {0, 0}, true},
     {"e", {960, 10}, {955, 9}, 2, 0, 0},
     EVB_LOSS_TRIMMED,
     3,
     {900, 5},
     false},

    /* ---- another history ---- */
    {"flushed, nothing since",
     {"e", {900, 5}, {0, 0}, true},
     {"f", {0, 0}, {0, 0}, -1, 0, 0},
     EVB_LOSS_FLUSHED,
     -1,
     {0, 0},
     false},
    {"flushed, and more there than before",
     {"e", {900, 5}, {0, 0}, true},
     {"f", {990, 50}, {950, 1}, 50, 0, 0},
     EVB_LOSS_FLUSHED,
     -1,
     {0, 0},
     false},
    {"flushed, from a time",
     {"e", {900, 0}, {0, 0}, false},
     {"f", {990, 5}, {950, 1}, 5, 0, 0},
     EVB_LOSS_FLUSHED,
     -1,
     {0, 0},
     false},

    /* ---- its end is gone ---- */
    {"rolled back",
     {"e", {200000, 5}, {0, 0}, true},
     {"e", {150000, 4}, {100, 1}, 4, 0, 0},
     EVB_LOSS_ROLLED_BACK,
     -1,
     {140000, 0},
     false},
    {"rolled back, early",
     {"e", {900, 5}, {0, 0}, true},
     {"e", {800, 4}, {100, 1}, 4, 0, 0},
     EVB_LOSS_ROLLED_BACK,
     -1,
     {0, 0},
     false},
    {"rolled back to nothing",
     {"e", {900, 5}, {0, 0}, true},
     {"e", {0, 0}, {0, 0}, -1, 0, 0},
     EVB_LOSS_ROLLED_BACK,
     -1,
     {0, 0},
     false},
    {"what arrived is gone",
     {"e", {900, 5}, {930, 8}, true},
     {"e", {920, 7}, {100, 1}, 7, 0, 0},
     EVB_LOSS_ROLLED_BACK,
     -1,
     {0, 0},
     false},

    /* ---- from a time ---- */
    {"nothing was ever there",
     {"", {NOW_MS - 500, 0}, {0, 0}, false},
     {"e", {0, 0}, {0, 0}, -1, 0, NOW_MS},
     EVB_LOSS_NONE,
     0,
     {NOW_MS - 500, 0},
     false},
    {"an older one is there",
     {"", {NOW_MS - 500, 0}, {0, 0}, false},
     {"e", {NOW_MS, 9}, {NOW_MS - 600, 5}, 5, 4, NOW_MS},
     EVB_LOSS_NONE,
     0,
     {NOW_MS - 500, 0},
     false},
    {"one of that moment is there",
     {"", {NOW_MS - 500, 0}, {0, 0}, false},
     {"e", {NOW_MS, 9}, {NOW_MS - 500, 5}, 5, 4, NOW_MS},
     EVB_LOSS_NONE,
     0,
     {NOW_MS - 500, 0},
     false},
    {"all younger, none was let go",
     {"", {NOW_MS - 500, 0}, {0, 0}, false},
     {"e", {NOW_MS, 9}, {NOW_MS - 400, 1}, 9, 0, NOW_MS},
     EVB_LOSS_NONE,
     0,
     {NOW_MS - 500, 0},
     false},
    {"all younger, some were let go",
     {"", {NOW_MS - 500, 0}, {0, 0}, false},
     {"e", {NOW_MS, 9}, {NOW_MS - 400, 2}, 8, 0, NOW_MS},
     EVB_LOSS_TRIMMED,
     -1,
     {NOW_MS - 500, 0},
     false},
    {"all too old and let go",
     {"", {NOW_MS - 500, 0}, {0, 0}, false},
     {"e", {NOW_MS - TTL_MS, 9}, {0, 0}, 0, 0, NOW_MS},
     EVB_LOSS_NONE,
     0,
     {NOW_MS - 500, 0},
     false},
    {"younger than that may have been too old, too",
     {"", {NOW_MS - TTL_MS, 0}, {0, 0}, false},
     {"e", {NOW_MS - TTL_MS, 9}, {0, 0}, 0, 0, NOW_MS},
     EVB_LOSS_TRIMMED,
     -1,
     {NOW_MS - TTL_MS, 0},
     false},
    {"deleted",
     {"", {NOW_MS - 500, 0}, {0, 0}, false},
     {"e", {NOW_MS, 9}, {0, 0}, -1, 9, NOW_MS},
     EVB_LOSS_EVICTED,
     -1,
     {NOW_MS - 500, 0},
     false},
    {"of the same history",
     {"e", {NOW_MS - 500, 0}, {0, 0}, false},
     {"e", {NOW_MS, 9}, {NOW_MS - 600, 5}, 5, 4, NOW_MS},
     EVB_LOSS_NONE,
     0,
     {NOW_MS - 500, 0},
     false},
};

static void expect_position(struct evb_position got, struct evb_position want, const char *what)
{
    ck_assert_msg(evb_position_compare(got, want) == 0, "%s: %llu-%llu", what,
                  (unsigned long long)got.ms, (unsigned long long)got.n);
}

START_TEST(judged)
{
    struct evb_cursor cursor = {.at = judgements[_i].cursor.at,
                                .ahead = judgements[_i].cursor.ahead,
                                .exact = judgements[_i].cursor.exact,
                                .known = true};
    struct evb_position start = {77, 77};
    int64_t count = 77;
    bool expect = true;
    strcpy(cursor.epoch, judgements[_i].cursor.epoch);
    enum evb_loss loss =
        evb_cursor_judge(&cursor, &judgements[_i].facts, TTL_MS, &count, &start, &expect);
    ck_assert_msg(loss == judgements[_i].loss, "%s: %s", judgements[_i].what, evb_loss_name(loss));
    ck_assert_msg(count == judgements[_i].count, "%s: %lld", judgements[_i].what, (long long)count);
    ck_assert_msg(expect == judgements[_i].expect, "%s: %d", judgements[_i].what, expect);
    expect_position(start, judgements[_i].start, judgements[_i].what);
}
END_TEST

START_TEST(names)
{
    static const char *const want[] = {"none", "trimmed", "evicted", "flushed", "rolled-back"};
    for (int loss = EVB_LOSS_NONE; loss <= EVB_LOSS_ROLLED_BACK; loss++) {
        ck_assert_str_eq(evb_loss_name((enum evb_loss)loss), want[loss]);
        ck_assert_uint_gt(strlen(evb_loss_words((enum evb_loss)loss)), 10);
        for (int other = EVB_LOSS_NONE; other < loss; other++)
            ck_assert_str_ne(evb_loss_words((enum evb_loss)loss),
                             evb_loss_words((enum evb_loss)other));
    }
}
END_TEST

START_TEST(sees)
{
    struct evb_cursor cursor = {.known = false};
    evb_cursor_see(&cursor, (struct evb_position){5, 5}, 1000); /* from nowhere */
    expect_position(evb_cursor_end(&cursor), (struct evb_position){0, 0}, "unknown");
    evb_cursor_set(&cursor, "e", (struct evb_position){900, 5});
    ck_assert(cursor.known && cursor.exact);
    ck_assert_str_eq(cursor.epoch, "e");
    evb_cursor_see(&cursor, (struct evb_position){950, 7}, 1000);
    expect_position(evb_cursor_end(&cursor), (struct evb_position){950, 7}, "newer");
    evb_cursor_see(&cursor, (struct evb_position){940, 6}, 1000);
    evb_cursor_see(&cursor, (struct evb_position){800, 1}, 1000);
    expect_position(evb_cursor_end(&cursor), (struct evb_position){950, 7}, "older");
    evb_cursor_see(&cursor, (struct evb_position){2001, 8}, 1000);
    expect_position(evb_cursor_end(&cursor), (struct evb_position){950, 7}, "forged");
    evb_cursor_see(&cursor, (struct evb_position){UINT64_MAX, UINT64_MAX}, 1000);
    expect_position(evb_cursor_end(&cursor), (struct evb_position){950, 7}, "forged");
    evb_cursor_see(&cursor, (struct evb_position){2000, 8}, 1000); /* clocks are no metronomes */
    expect_position(evb_cursor_end(&cursor), (struct evb_position){2000, 8}, "of now");
}
END_TEST

START_TEST(proves)
{
    struct evb_stream_facts facts = {.epoch = "f", .last = {940, 6}};
    struct evb_cursor cursor;
    evb_cursor_set_time(&cursor, "e", 900);
    ck_assert(cursor.known && !cursor.exact);
    expect_position(evb_cursor_end(&cursor), (struct evb_position){900, 0}, "time");
    evb_cursor_see(&cursor, (struct evb_position){1500, 99}, 1000); /* forged within the slack */
    evb_cursor_prove(&cursor, &facts);
    ck_assert(cursor.known && cursor.exact);
    ck_assert_str_eq(cursor.epoch, "f");
    expect_position(evb_cursor_end(&cursor), (struct evb_position){940, 6}, "proven");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis cursor");
    TCase *tests = tcase_create("redis cursor");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_add_loop_test(tests, judged, 0, (int)EVB_COUNT(judgements));
    tcase_add_test(tests, names);
    tcase_add_test(tests, sees);
    tcase_add_test(tests, proves);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
