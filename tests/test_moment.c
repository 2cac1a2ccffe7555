/* test_moment.c - points in history as text. */
#include "moment.h"
#include "unit.h"
#include <inttypes.h>
#include <stdio.h>

static const int64_t now_ms = INT64_C(1700000000000);

static const struct {
    const char *text;
    struct evb_moment moment;
} good[] = {
    {"now", {EVB_MOMENT_NOW, 0, 0}},
    {"last", {EVB_MOMENT_LAST, 0, 0}},
    {"all", {EVB_MOMENT_ALL, 0, 0}},
    {"10m", {EVB_MOMENT_TIME, INT64_C(1699999400000), 0}},
    {"-10m", {EVB_MOMENT_TIME, INT64_C(1699999400000), 0}},
    {"1h", {EVB_MOMENT_TIME, INT64_C(1699996400000), 0}},
    {"0s", {EVB_MOMENT_TIME, INT64_C(1700000000000), 0}},
    {"250ms", {EVB_MOMENT_TIME, INT64_C(1699999999750), 0}},
    {"100000d", {EVB_MOMENT_TIME, 0, 0}}, /* older than 1970 */
    {"0-0", {EVB_MOMENT_POSITION, 0, 0}},
    {"0-1", {EVB_MOMENT_POSITION, 0, 1}},
    {"1700000000000-7", {EVB_MOMENT_POSITION, INT64_C(1700000000000), 7}},
    {"9223372036854775807-18446744073709551615", {EVB_MOMENT_POSITION, INT64_MAX, UINT64_MAX}},
    {"2023-11-14T22:13:20Z", {EVB_MOMENT_TIME, INT64_C(1700000000000), 0}},
    {"2023-11-14T22:13:20.123456Z", {EVB_MOMENT_TIME, INT64_C(1700000000123), 0}},
    {"2023-11-14T23:13:20+01:00", {EVB_MOMENT_TIME, INT64_C(1700000000000), 0}},
    {"1969-12-31T23:59:59.9995Z", {EVB_MOMENT_TIME, -1, 0}},
};

START_TEST(reads)
{
    struct evb_moment moment = {EVB_MOMENT_LAST, 5, 5};
    const struct evb_moment *want = &good[_i].moment;
    ck_assert_msg(evb_moment_read("since", good[_i].text, now_ms, &moment) == 0, "%s: %s",
                  good[_i].text, evbus_last_error());
    ck_assert_msg(moment.kind == want->kind && moment.ms == want->ms && moment.n == want->n,
                  "%s: %d %" PRId64 " %" PRIu64, good[_i].text, (int)moment.kind, moment.ms,
                  moment.n);
}
END_TEST

static const char *const bad[] = {
    "",
    "-",
    "Now",
    "now ",
    " now",
    "0",
    "-0",
    "10",
    "10 m",
    "10x",
    "--10m",
    "+10m",
    "1.5h",
    "m",
    "-m",
    "1-",
    "-1",
    "1--1",
    "1-2-3",
    "1-+2",
    "a-1",
    "1-a",
    "9223372036854775808-0",
    "1-18446744073709551616",
    "99999999999999999999d",
    "9223372036854775807d",
    "2023-11-14",
    "2023-11-14T22:13:20",
    "2023-02-30T00:00:00Z",
    "2023-11-14T22:13:20Zx",
    "$",
    "*",
    ">",
};

START_TEST(refuses)
{
    struct evb_moment moment = {EVB_MOMENT_LAST, 5, 6};
    char quoted[64];
    ck_assert_msg(evb_moment_read("option since", bad[_i], now_ms, &moment) == EVBUS_EINVAL,
                  "\"%s\"", bad[_i]);
    ck_assert(moment.kind == EVB_MOMENT_LAST && moment.ms == 5 && moment.n == 6);
    snprintf(quoted, sizeof quoted, "option since: \"%s\" is no point in history", bad[_i]);
    ck_assert_msg(strstr(evbus_last_error(), quoted) != NULL, "%s", evbus_last_error());
}
END_TEST

START_TEST(what_it_shows_is_short_and_plain)
{
    struct evb_moment moment;
    char text[400];
    memset(text, 'x', sizeof text);
    text[0] = '\033';
    text[sizeof text - 1] = '\0';
    ck_assert_int_eq(evb_moment_read("from", text, now_ms, &moment), EVBUS_EINVAL);
    ck_assert_ptr_null(strchr(evbus_last_error(), '\033'));
    ck_assert_uint_lt(strlen(evbus_last_error()), 250);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("moment");
    TCase *tests = unit_case(suite, "moment");
    tcase_add_loop_test(tests, reads, 0, (int)EVB_COUNT(good));
    tcase_add_loop_test(tests, refuses, 0, (int)EVB_COUNT(bad));
    tcase_add_test(tests, what_it_shows_is_short_and_plain);
    return unit_run(suite);
}
