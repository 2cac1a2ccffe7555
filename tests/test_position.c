/* test_position.c - places in the history: there and back, in order. */
#include "list.h"
#include "position.h"
#include "harness/check.h"
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *text;
    uint64_t ms, n;
} good[] = {
    {"0-0", 0, 0},
    {"1-2", 1, 2},
    {"1763712345678-42", 1763712345678, 42},
    {"18446744073709551615-18446744073709551615", UINT64_MAX, UINT64_MAX},
};

START_TEST(there_and_back)
{
    struct evb_position position;
    char text[EVB_POSITION_TEXT];
    ck_assert(evb_position_read(good[_i].text, strlen(good[_i].text), &position));
    ck_assert_uint_eq(position.ms, good[_i].ms);
    ck_assert_uint_eq(position.n, good[_i].n);
    ck_assert_uint_eq(evb_position_write(position, text), strlen(good[_i].text));
    ck_assert_str_eq(text, good[_i].text);
    ck_assert_int_eq(evb_position_is_none(position), _i == 0);
}
END_TEST

static const char *const bad[] = {
    "",
    "-",
    "1",
    "1-",
    "-1",
    "1-2-3",
    "1-2 ",
    " 1-2",
    "a-1",
    "1-b",
    "18446744073709551616-0",
    "0-99999999999999999999",
};

START_TEST(refused)
{
    struct evb_position position = {3, 4};
    ck_assert_msg(!evb_position_read(bad[_i], strlen(bad[_i]), &position), "%s", bad[_i]);
    ck_assert_uint_eq(position.ms, 3);
    ck_assert_uint_eq(position.n, 4);
}
END_TEST

START_TEST(order)
{
    const struct evb_position rising[] = {{0, 0}, {0, 1}, {1, 0}, {1, 1}, {2, 0}, {UINT64_MAX, 0}};
    for (size_t a = 0; a < EVB_COUNT(rising); a++)
        for (size_t b = 0; b < EVB_COUNT(rising); b++) {
            int got = evb_position_compare(rising[a], rising[b]);
            ck_assert_int_eq((got > 0) - (got < 0), (a > b) - (a < b));
        }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("position");
    TCase *tests = tcase_create("position");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_add_loop_test(tests, there_and_back, 0, (int)EVB_COUNT(good));
    tcase_add_loop_test(tests, refused, 0, (int)EVB_COUNT(bad));
    tcase_add_test(tests, order);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
