/* test_redis_cursor.c - how far the history was heard, and what is lost since. */
#include "list.h"
#include "redis_cursor.h"
#include "harness/check.h"
#include <stdlib.h>
#include <string.h>

/* From an entry, or the place behind one, on: what a jump means. */
static const struct {
    const char *what;
    struct evb_position from;
    const char *epoch; /* of `from` */
    struct evb_position to;
    const char *now;
    uint64_t begun;
    enum evb_loss loss;
    int64_t count;
} jumps[] = {
    {"the next was let go", {900, 5}, "e", {920, 7}, "e", 0, EVB_LOSS_TRIMMED, 1},
    {"all but the last were", {900, 5}, "e", {950, 9}, "e", 0, EVB_LOSS_TRIMMED, 3},
    {"all were, from the first on", {0, 0}, "e", {950, 9}, "e", 0, EVB_LOSS_TRIMMED, 8},
    {"deleted after three", {900, 5}, "e", {955, 9}, "e", 8, EVB_LOSS_EVICTED, 3},
    {"deleted after the next", {900, 5}, "e", {955, 9}, "e", 6, EVB_LOSS_EVICTED, 3},
    {"deleted before the next, then trimmed", {900, 5}, "e", {955, 9}, "e", 5, EVB_LOSS_TRIMMED, 3},
    {"nobody knew the epoch", {900, 5}, "", {920, 7}, "e", 0, EVB_LOSS_TRIMMED, 1},
    {"flushed", {900, 5}, "e", {990, 50}, "f", 0, EVB_LOSS_FLUSHED, -1},
    {"flushed, and behind where it was", {900, 5}, "e", {990, 1}, "f", 0, EVB_LOSS_FLUSHED, -1},
    {"flushed, then deleted", {900, 5}, "e", {990, 50}, "f", 40, EVB_LOSS_FLUSHED, -1},
    {"flushed, and nobody began anew", {900, 5}, "e", {0, 1}, "", 0, EVB_LOSS_FLUSHED, -1},
    {"rolled back", {900, 5}, "e", {800, 4}, "e", 0, EVB_LOSS_ROLLED_BACK, -1},
    {"rolled back to nothing", {900, 5}, "e", {0, 1}, "e", 0, EVB_LOSS_ROLLED_BACK, -1},
    {"another entry of that number", {900, 5}, "e", {910, 5}, "e", 0, EVB_LOSS_ROLLED_BACK, -1},
    {"rolled back, nobody knew the epoch", {9, 5}, "", {8, 4}, "e", 9, EVB_LOSS_ROLLED_BACK, -1},
};

START_TEST(between)
{
    int64_t count = 77;
    enum evb_loss loss = evb_loss_between(jumps[_i].from, jumps[_i].epoch, jumps[_i].to,
                                          jumps[_i].now, jumps[_i].begun, &count);
    ck_assert_msg(loss == jumps[_i].loss, "%s: %s", jumps[_i].what, evb_loss_name(loss));
    ck_assert_msg(count == jumps[_i].count, "%s: %lld", jumps[_i].what, (long long)count);
}
END_TEST

/* From a time on: may anything of it have been let go? */
static const struct {
    const char *what;
    struct evb_position last, first, gone;
    int64_t length;
    enum evb_loss loss;
} times[] = {
    {"nothing was ever there", {0, 0}, {0, 0}, {0, 0}, -1, EVB_LOSS_NONE},
    {"an older one is there", {950, 9}, {899, 5}, {800, 4}, 5, EVB_LOSS_NONE},
    {"one of that moment is", {950, 9}, {900, 5}, {900, 4}, 5, EVB_LOSS_NONE},
    {"all younger, none let go", {950, 9}, {901, 1}, {0, 0}, 9, EVB_LOSS_NONE},
    {"all younger, older ones let go", {950, 9}, {901, 2}, {899, 1}, 8, EVB_LOSS_NONE},
    {"all younger, one of that moment let go", {950, 9}, {901, 2}, {900, 1}, 8, EVB_LOSS_TRIMMED},
    {"all younger, one perhaps let go", {950, 9}, {901, 2}, {901, 1}, 8, EVB_LOSS_TRIMMED},
    {"let go by hand behind those", {950, 9}, {901, 3}, {899, 1}, 7, EVB_LOSS_TRIMMED},
    {"let go by hand", {950, 9}, {901, 2}, {0, 0}, 8, EVB_LOSS_TRIMMED},
    {"all let go, none since", {899, 9}, {0, 0}, {899, 9}, 0, EVB_LOSS_NONE},
    {"all let go, perhaps one since", {900, 9}, {0, 0}, {900, 9}, 0, EVB_LOSS_TRIMMED},
    {"all let go by hand", {950, 9}, {0, 0}, {899, 5}, 0, EVB_LOSS_TRIMMED},
    {"deleted", {950, 9}, {0, 0}, {899, 5}, -1, EVB_LOSS_EVICTED},
    {"deleted, nothing since", {899, 9}, {0, 0}, {800, 5}, -1, EVB_LOSS_NONE},
    {"deleted, and made anew", {950, 9}, {940, 8}, {800, 5}, 2, EVB_LOSS_TRIMMED},
};

START_TEST(since)
{
    struct evb_stream_facts facts = {.last = times[_i].last,
                                     .first = times[_i].first,
                                     .gone = times[_i].gone,
                                     .length = times[_i].length};
    enum evb_loss loss = evb_loss_since((struct evb_position){900, 0}, &facts);
    ck_assert_msg(loss == times[_i].loss, "%s: %s", times[_i].what, evb_loss_name(loss));
}
END_TEST

static const struct {
    const char *what, *epoch;
    struct evb_position at, ahead, last;
    bool exact, is_at_end;
} ends[] = {
    {"the last", "e", {900, 5}, {0, 0}, {900, 5}, true, true},
    {"the last came live", "e", {900, 5}, {910, 6}, {910, 6}, true, true},
    {"nothing ever was", "e", {0, 0}, {0, 0}, {0, 0}, true, true},
    {"one more", "e", {900, 5}, {0, 0}, {910, 6}, true, false},
    {"one less", "e", {900, 5}, {0, 0}, {890, 4}, true, false},
    {"another one of that number", "e", {900, 5}, {0, 0}, {910, 5}, true, false},
    {"another history", "d", {900, 5}, {0, 0}, {900, 5}, true, false},
    {"nobody knows which", "", {900, 5}, {0, 0}, {900, 5}, true, false},
    {"all before that time", "e", {900, 0}, {0, 0}, {899, 5}, false, true},
    {"one of that time", "e", {900, 0}, {0, 0}, {900, 5}, false, false},
    {"a time of another history", "d", {900, 0}, {0, 0}, {899, 5}, false, false},
};

START_TEST(at_end)
{
    struct evb_stream_facts facts = {.epoch = "e", .last = ends[_i].last};
    struct evb_cursor cursor;
    evb_cursor_set(&cursor, ends[_i].epoch, ends[_i].at);
    cursor.ahead = ends[_i].ahead;
    cursor.exact = ends[_i].exact;
    ck_assert_msg(evb_cursor_is_at_end(&cursor, &facts) == ends[_i].is_at_end, "%s", ends[_i].what);
}
END_TEST

static void expect_position(struct evb_position got, struct evb_position want, const char *what)
{
    ck_assert_msg(evb_position_compare(got, want) == 0, "%s: %llu-%llu", what,
                  (unsigned long long)got.ms, (unsigned long long)got.n);
}

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

/* Read on to there: what arrived before counts no more. */
START_TEST(moves)
{
    struct evb_cursor cursor;
    evb_cursor_set_time(&cursor, "e", 900);
    evb_cursor_see(&cursor, (struct evb_position){950, 7}, 1000);
    evb_cursor_move(&cursor, (struct evb_position){940, 6});
    ck_assert(cursor.known && cursor.exact);
    ck_assert_str_eq(cursor.epoch, "e");
    expect_position(evb_cursor_end(&cursor), (struct evb_position){940, 6}, "moved");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis cursor");
    TCase *tests = tcase_create("redis cursor");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_add_loop_test(tests, between, 0, (int)EVB_COUNT(jumps));
    tcase_add_loop_test(tests, since, 0, (int)EVB_COUNT(times));
    tcase_add_loop_test(tests, at_end, 0, (int)EVB_COUNT(ends));
    tcase_add_test(tests, names);
    tcase_add_test(tests, sees);
    tcase_add_test(tests, proves);
    tcase_add_test(tests, moves);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
