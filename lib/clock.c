/* clock.c - the two clocks and RFC 3339. Any thread; no locale, no time zone, no libc time tables.
 */
#include "clock.h"
#include <stdbool.h>
#include <string.h>
#include <time.h>

static int64_t (*wall_clock)(void);
static int64_t (*mono_clock)(void);

static int64_t read_us(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t evb_clock_us(void)
{
    return wall_clock ? wall_clock() : read_us(CLOCK_REALTIME);
}

int64_t evb_clock_mono_us(void)
{
    return mono_clock ? mono_clock() : read_us(CLOCK_MONOTONIC);
}

int64_t evb_clock_mono_ms(void)
{
    return evb_clock_mono_us() / 1000;
}

int64_t evb_clock_boot_ms(void)
{
    return mono_clock ? mono_clock() / 1000 : read_us(CLOCK_BOOTTIME) / 1000;
}

int64_t evb_clock_rough_ms(void)
{
    return mono_clock ? mono_clock() / 1000 : read_us(CLOCK_MONOTONIC_COARSE) / 1000;
}

int64_t evb_clock_boot_us(void)
{
    return mono_clock ? mono_clock() : read_us(CLOCK_BOOTTIME);
}

void evb_clock_set(int64_t (*wall_us)(void), int64_t (*mono_us)(void))
{
    wall_clock = wall_us;
    mono_clock = mono_us;
}

/* Days since 1970-01-01 of a civil date, and back: Howard Hinnant, "chrono-Compatible Low-Level
 * Date Algorithms" (eras of 400 years that begin on 1 March). */
static int64_t days_from_civil(int64_t year, int month, int day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static void civil_from_days(int64_t days, int *year, int *month, int *day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t of_era = days - era * 146097;
    int64_t years = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * years + years / 4 - years / 100);
    int64_t shifted = (5 * of_year + 2) / 153;
    *day = (int)(of_year - (153 * shifted + 2) / 5 + 1);
    *month = (int)(shifted < 10 ? shifted + 3 : shifted - 9);
    *year = (int)(years + era * 400 + (*month <= 2));
}

static void put(char *out, int value, int digits)
{
    while (digits--) {
        out[digits] = (char)('0' + value % 10);
        value /= 10;
    }
}

/* The second is written once and remembered: events come many a second. */
void evb_time_write(int64_t unix_us, char out[EVB_TIME_TEXT])
{
    static _Thread_local struct {
        int64_t second;
        char text[EVB_TIME_TEXT];
    } cache = {.second = INT64_MIN};
    const int64_t first = INT64_C(-62167219200) * 1000000, end = INT64_C(253402300800) * 1000000;
    unix_us = unix_us < first ? first : unix_us >= end ? end - 1 : unix_us;
    int64_t second = unix_us / 1000000 - (unix_us % 1000000 < 0);
    int milli = (int)((unix_us - second * 1000000) / 1000);
    if (second != cache.second) {
        int64_t days = second / 86400 - (second % 86400 < 0);
        int rest = (int)(second - days * 86400), year, month, day;
        civil_from_days(days, &year, &month, &day);
        memcpy(cache.text, "0000-00-00T00:00:00.000Z", EVB_TIME_TEXT);
        put(cache.text, year, 4);
        put(cache.text + 5, month, 2);
        put(cache.text + 8, day, 2);
        put(cache.text + 11, rest / 3600, 2);
        put(cache.text + 14, rest / 60 % 60, 2);
        put(cache.text + 17, rest % 60, 2);
        cache.second = second;
    }
    memcpy(out, cache.text, EVB_TIME_TEXT);
    put(out + 20, milli, 3);
}

/* Two decimal digits; -1: they are none. */
static inline int two_digits(const char *p)
{
    unsigned tens = (unsigned)(p[0] - '0'), ones = (unsigned)(p[1] - '0');
    return tens < 10 && ones < 10 ? (int)(tens * 10 + ones) : -1;
}

/* The same at *p, and then the byte `after` (0: nothing). */
static int take(const char **p, const char *end, char after)
{
    int length = 2 + (after != 0);
    if (end - *p < length || (after && (*p)[2] != after))
        return -1;
    *p += length;
    return two_digits(*p - length);
}

static bool take_fraction(const char **p, const char *end, int64_t *us)
{
    static const int units[] = {100000, 10000, 1000, 100, 10, 1};
    *us = 0;
    if (*p == end || **p != '.')
        return true;
    const char *first = ++*p;
    for (; *p < end && **p >= '0' && **p <= '9'; ++*p)
        if (*p - first < 6)
            *us += (**p - '0') * units[*p - first];
    return *p > first;
}

static bool take_offset(const char **p, const char *end, int64_t *minutes)
{
    if (*p == end)
        return false;
    char sign = *(*p)++;
    *minutes = 0;
    if (sign == 'Z' || sign == 'z')
        return true;
    if (sign != '+' && sign != '-')
        return false;
    int hours = take(p, end, ':'), rest = take(p, end, 0);
    if (hours < 0 || hours > 23 || rest < 0 || rest > 59)
        return false;
    *minutes = (sign == '-' ? -1 : 1) * (hours * 60 + rest);
    return true;
}

/* Unix time in seconds of "2026-11-21T02:42:34", so many bytes. */
static bool read_second(const char *p, int64_t *second)
{
    static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int century = two_digits(p), year = two_digits(p + 2), month = two_digits(p + 5);
    int day = two_digits(p + 8), hour = two_digits(p + 11), minute = two_digits(p + 14);
    int rest = two_digits(p + 17);
    if (century < 0 || year < 0 || p[4] != '-' || p[7] != '-' || !memchr("Tt ", p[10], 3) ||
        p[13] != ':' || p[16] != ':')
        return false;
    year += 100 * century;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (month < 1 || month > 12 || day < 1 || day > month_days[month - 1] + (month == 2 && leap) ||
        hour < 0 || hour > 23 || minute < 0 || minute > 59 || rest < 0 || rest > 60)
        return false;
    *second = (days_from_civil(year, month, day) * 24 + hour) * 3600 + minute * 60 + rest;
    return true;
}

/* The second is read once and remembered, as it is written. */
int evb_time_read(const char *text, size_t length, int64_t *unix_us)
{
    enum { SECOND = sizeof "1970-01-01T00:00:00" - 1 };
    static _Thread_local struct {
        int64_t second;
        char text[SECOND + 1];
    } last = {.text = "1970-01-01T00:00:00"};
    const char *p = text + SECOND, *end = text + length;
    int64_t second, fraction, offset;
    if (length <= SECOND)
        return -1;
    if (memcmp(text, last.text, SECOND) != 0) {
        if (!read_second(text, &second))
            return -1;
        memcpy(last.text, text, SECOND);
        last.second = second;
    }
    if (!take_fraction(&p, end, &fraction) || !take_offset(&p, end, &offset) || p != end)
        return -1;
    *unix_us = (last.second - offset * 60) * 1000000 + fraction;
    return 0;
}
