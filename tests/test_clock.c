/* test_clock.c - RFC 3339 there and back over ten thousand years, and a clock of the test's own. */
#include "clock.h"
#include "unit.h"
#include <stdio.h>

#define YEAR_0 INT64_C(-62167219200) /* seconds */

/* From memory of exactly that size, so that a sanitizer sees a look beyond the end. */
static int read_exact(const char *text, size_t length, int64_t *us)
{
    char *exact = malloc(length ? length : 1);
    memcpy(exact, text, length);
    int rc = evb_time_read(exact, length, us);
    free(exact);
    return rc;
}

static const struct {
    const char *text;
    int64_t us;
} known[] = {
    {"1970-01-01T00:00:00.000Z", 0},
    {"1970-01-01T00:00:00.001Z", 1000},
    {"1969-12-31T23:59:59.999Z", -1000},
    {"2000-02-29T12:34:56.789Z", INT64_C(951827696789000)},
    {"2023-11-14T22:13:20.123Z", INT64_C(1700000000123000)},
    {"2038-01-19T03:14:08.000Z", INT64_C(2147483648000000)},
    {"1900-03-01T00:00:00.000Z", INT64_C(-2203891200000000)},
    {"0000-01-01T00:00:00.000Z", YEAR_0 * 1000000},
    {"9999-12-31T23:59:59.999Z", INT64_C(253402300799999000)},
};

START_TEST(known_times)
{
    char text[EVB_TIME_TEXT];
    int64_t us;
    evb_time_write(known[_i].us, text);
    ck_assert_str_eq(text, known[_i].text);
    ck_assert_int_eq(read_exact(text, strlen(text), &us), 0);
    ck_assert_int_eq(us, known[_i].us);
}
END_TEST

static const struct {
    int64_t us;
    const char *text;
} rounded[] = {
    {999, "1970-01-01T00:00:00.000Z"},
    {1999, "1970-01-01T00:00:00.001Z"},
    {-1, "1969-12-31T23:59:59.999Z"},
    {-999999, "1969-12-31T23:59:59.000Z"},
    {-1000001, "1969-12-31T23:59:58.999Z"},
    {YEAR_0 * 1000000 - 1, "0000-01-01T00:00:00.000Z"},
    {INT64_MIN, "0000-01-01T00:00:00.000Z"},
    {INT64_C(253402300800000000), "9999-12-31T23:59:59.999Z"},
    {INT64_MAX, "9999-12-31T23:59:59.999Z"},
};

START_TEST(down_to_the_millisecond_and_kept_in_bounds)
{
    char text[EVB_TIME_TEXT];
    evb_time_write(rounded[_i].us, text);
    ck_assert_str_eq(text, rounded[_i].text);
}
END_TEST

static int days_of(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

static void there_and_back(int64_t day, int year, int month, int of_month)
{
    char text[EVB_TIME_TEXT], want[64];
    int of_day = (int)(day * 7919 % 86400); /* another time each day */
    int64_t second = YEAR_0 + day * 86400 + of_day, us = second * 1000000 + day % 1000 * 1000, back;
    snprintf(want, sizeof want, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", year, month, of_month,
             of_day / 3600, of_day / 60 % 60, of_day % 60, (int)(day % 1000));
    evb_time_write(us, text);
    ck_assert_str_eq(text, want);
    ck_assert_int_eq(evb_time_read(text, EVB_TIME_TEXT - 1, &back), 0);
    ck_assert_int_eq(back, us);
}

/* Counts the days as a calendar on the wall does: the first, the last and every 53rd day. */
START_TEST(every_month_of_every_year)
{
    int64_t day = 0;
    for (int year = 0; year <= 9999; year++)
        for (int month = 1; month <= 12; month++)
            for (int d = 1; d <= days_of(year, month); d++, day++)
                if (d == 1 || d == days_of(year, month) || day % 53 == 0)
                    there_and_back(day, year, month, d);
    ck_assert_int_eq(day, 3652425);
}
END_TEST

static const struct {
    const char *text, *same;
} forms[] = {
    {"2024-02-29t01:02:03z", "2024-02-29T01:02:03Z"},
    {"2024-02-29 01:02:03Z", "2024-02-29T01:02:03Z"},
    {"2024-02-29T01:02:03+00:00", "2024-02-29T01:02:03Z"},
    {"2024-02-29T01:02:03-00:00", "2024-02-29T01:02:03Z"},
    {"2024-03-01T01:02:03+05:30", "2024-02-29T19:32:03Z"},
    {"2024-12-31T20:00:00-12:45", "2025-01-01T08:45:00Z"},
    {"2025-01-01T00:00:00+23:59", "2024-12-31T00:01:00Z"},
    {"2024-12-31T00:01:00-23:59", "2025-01-01T00:00:00Z"},
    {"0000-01-01T00:00:00+00:01", NULL}, /* before year 0, still a time */
    {"2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"},
    {"2016-12-31T15:59:60.5-08:00", "2017-01-01T00:00:00.5Z"},
    {"1985-04-12T23:20:50.52Z", "1985-04-12T23:20:50.520000Z"},
    {"1985-04-12T23:20:50.123456Z", "1985-04-12T23:20:50.1234569999Z"},
    {"1985-04-12T23:20:50.000000999999999999999999999999Z", "1985-04-12T23:20:50Z"},
    {"2000-02-29T00:00:00Z", NULL},
    {"0000-02-29T00:00:00Z", NULL},
    {"2400-02-29T00:00:00Z", NULL},
};

START_TEST(forms_of_one_time)
{
    int64_t a, b;
    ck_assert_int_eq(read_exact(forms[_i].text, strlen(forms[_i].text), &a), 0);
    if (!forms[_i].same)
        return;
    ck_assert_int_eq(read_exact(forms[_i].same, strlen(forms[_i].same), &b), 0);
    ck_assert_int_eq(a, b);
}
END_TEST

static const struct {
    const char *text;
    size_t length; /* 0: the text's */
} malformed[] = {
    {"", 0},
    {"2024", 0},
    {"2024-01-01", 0},
    {"2024-01-01T", 0},
    {"2024-01-01T00:00Z", 0},
    {"2024-01-01T00:00:00", 0},
    {"2024-01-01T00:00:00.Z", 0},
    {"2024-01-01T00:00:00.5", 0},
    {"2024-01-01T00:00:00,5Z", 0},
    {"2024-01-01T00:00:00ZZ", 0},
    {"2024-01-01T00:00:00Z ", 0},
    {" 2024-01-01T00:00:00Z", 0},
    {"2024-01-01T00:00:00+0000", 0},
    {"2024-01-01T00:00:00+00", 0},
    {"2024-01-01T00:00:00+24:00", 0},
    {"2024-01-01T00:00:00+00:60", 0},
    {"2024-01-01T00:00:00+-1:00", 0},
    {"2024-01-01T24:00:00Z", 0},
    {"2024-01-01T00:60:00Z", 0},
    {"2024-01-01T00:00:61Z", 0},
    {"2024-00-01T00:00:00Z", 0},
    {"2024-13-01T00:00:00Z", 0},
    {"2024-01-00T00:00:00Z", 0},
    {"2024-01-32T00:00:00Z", 0},
    {"2024-04-31T00:00:00Z", 0},
    {"2023-02-29T00:00:00Z", 0},
    {"1900-02-29T00:00:00Z", 0},
    {"2100-02-29T00:00:00Z", 0},
    {"2024-02-30T00:00:00Z", 0},
    {"20240101T000000Z", 0},
    {"24-01-01T00:00:00Z", 0},
    {"02024-01-01T00:00:00Z", 0},
    {"-024-01-01T00:00:00Z", 0},
    {"+024-01-01T00:00:00Z", 0},
    {"2024-1-01T00:00:00Z", 0},
    {"2024/01/01T00:00:00Z", 0},
    {"2024-01-01T00.00.00Z", 0},
    {"2024-01-01_00:00:00Z", 0},
    {"2024-01-01\00000:00:00Z", 20},
    {"2024-01-01T00:00:00\0", 20},
    {"2024-01-01T00:00:00Z\0", 21},
    {"20\xd9\xa2\xd9\xa4-01-01T00:00:00Z", 0},
};

START_TEST(malformed_times)
{
    const char *text = malformed[_i].text;
    int64_t us = 42;
    ck_assert_int_eq(
        read_exact(text, malformed[_i].length ? malformed[_i].length : strlen(text), &us), -1);
    ck_assert_int_eq(us, 42);
}
END_TEST

static bool may_stand(const char *form, size_t at, char c)
{
    switch (form[at]) {
    case 'd':
        return c >= '0' && c <= '9';
    case 'T':
        return c == 'T' || c == 't' || c == ' ';
    case 'Z':
        return c == 'Z' || c == 'z';
    default:
        return c == form[at];
    }
}

/* Each byte of a good time in turn becomes each other byte, and each end is cut off. */
START_TEST(every_byte_matters)
{
    static const char good[] = "2024-06-15T11:22:33.456Z", form[] = "dddd-dd-ddTdd:dd:dd.dddZ";
    char text[sizeof good];
    int64_t us;
    for (size_t length = 0; length < sizeof good - 1; length++)
        ck_assert_int_eq(read_exact(good, length, &us), -1);
    for (size_t at = 0; at < sizeof good - 1; at++)
        for (int c = 0; c < 256; c++) {
            memcpy(text, good, sizeof good);
            text[at] = (char)c;
            bool read = read_exact(text, sizeof good - 1, &us) == 0;
            ck_assert_msg(!read || may_stand(form, at, (char)c), "byte 0x%02x at %zu", c, at);
        }
}
END_TEST

/* The second that was read last is remembered: nothing else of its text, and none that was bad. */
START_TEST(one_second_after_another)
{
    static const char nothing[24] = {[19] = 'Z'};
    static const struct {
        const char *text;
        int64_t us; /* -1: no time */
    } steps[] = {
        {nothing, -1},
        {"1970-01-01T00:00:00Z", 0},
        {"2023-11-14T22:13:20.123Z", INT64_C(1700000000123000)},
        {"2023-11-14T22:13:20Z", INT64_C(1700000000000000)},
        {"2023-11-14T22:13:20.5+01:00", INT64_C(1699996400500000)},
        {"2023-11-14T22:13:20", -1},
        {"2023-11-14T22:13:20.Z", -1},
        {"2023-11-14T22:13:60.1Z", INT64_C(1700000040100000)},
        {"2023-11-14T22:13:61.1Z", -1},
        {"2023-11-14T22:13:61.1Z", -1},
        {"2023-11-14T22:13:60.2Z", INT64_C(1700000040200000)},
        {"2023-11-14T22:13:21.1Z", INT64_C(1700000001100000)},
    };
    for (size_t i = 0; i < EVB_COUNT(steps); i++) {
        int64_t us = -1;
        size_t length = i ? strlen(steps[i].text) : 20;
        ck_assert_int_eq(read_exact(steps[i].text, length, &us), steps[i].us < 0 ? -1 : 0);
        ck_assert_int_eq(us, steps[i].us);
    }
}
END_TEST

static int64_t wall = INT64_C(1700000000000000), mono = 5000999;

static int64_t test_wall(void)
{
    return wall;
}

static int64_t test_mono(void)
{
    return mono;
}

START_TEST(a_clock_of_its_own)
{
    evb_clock_set(test_wall, test_mono);
    ck_assert_int_eq(evb_clock_us(), wall);
    ck_assert_int_eq(evb_clock_mono_us(), mono);
    ck_assert_int_eq(evb_clock_mono_ms(), 5000);
    ck_assert_int_eq(evb_clock_boot_us(), mono);
    evb_clock_set(NULL, test_mono);
    ck_assert_int_ne(evb_clock_us(), wall);
    evb_clock_set(NULL, NULL);
    int64_t before = unit_now_us(), now = evb_clock_mono_us(), after = unit_now_us();
    ck_assert(before <= now && now <= after);
    ck_assert_int_ge(evb_clock_boot_us(), after); /* it has counted since before */
    ck_assert_int_le(evb_clock_us() / 1000000 - (int64_t)time(NULL), 1);
    ck_assert_int_ge(evb_clock_us() / 1000000 - (int64_t)time(NULL), -1);
}
END_TEST

static void *write_own(void *arg)
{
    int64_t own = *(int64_t *)arg;
    char text[EVB_TIME_TEXT];
    int64_t back;
    for (int i = 0; i < 20000; i++) {
        evb_time_write(own + i / 3 * 100000, text);
        if (evb_time_read(text, EVB_TIME_TEXT - 1, &back) != 0 || back != own + i / 3 * 100000)
            return arg;
    }
    return NULL;
}

START_TEST(threads_share_no_text)
{
    int64_t own[4] = {0, INT64_C(951827696000000), -1000000, INT64_C(1700000000000000)};
    pthread_t threads[4];
    void *failed;
    for (int i = 0; i < 4; i++)
        threads[i] = thread_start(write_own, &own[i]);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(pthread_join(threads[i], &failed), 0);
        ck_assert_ptr_null(failed);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("clock");
    TCase *tests = unit_case(suite, "clock");
    tcase_add_loop_test(tests, known_times, 0, (int)EVB_COUNT(known));
    tcase_add_loop_test(tests, down_to_the_millisecond_and_kept_in_bounds, 0,
                        (int)EVB_COUNT(rounded));
    tcase_add_test(tests, every_month_of_every_year);
    tcase_add_loop_test(tests, forms_of_one_time, 0, (int)EVB_COUNT(forms));
    tcase_add_loop_test(tests, malformed_times, 0, (int)EVB_COUNT(malformed));
    tcase_add_test(tests, every_byte_matters);
    tcase_add_test(tests, one_second_after_another);
    tcase_add_test(tests, a_clock_of_its_own);
    tcase_add_test(tests, threads_share_no_text);
    return unit_run(suite);
}
