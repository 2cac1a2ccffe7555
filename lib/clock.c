/* clock.c - the two clocks and RFC 3339. Any thread; no locale, no time zone, no libc time tables.
 */
#include "clock.h"
#include <stdbool.h>
#include <string.h>
#include <time.h>

#define US_PER_DAY INT64_C(86400000000)

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

/* `digits` decimal digits at *p, then the byte `after` (0: nothing); -1 when they are not there. */
static int take(const char **p, const char *end, int digits, char after)
{
    int value = 0;
    if (end - *p < digits + (after != 0))
        return -1;
    for (; digits; digits--, ++*p) {
        if (**p < '0' || **p > '9')
            return -1;
        value = value * 10 + (**p - '0');
    }
    if (after && *(*p)++ != after)
        return -1;
    return value;
}

static bool take_fraction(const char **p, const char *end, int64_t *us)
{
    int64_t unit = 100000;
    *us = 0;
    if (*p == end || **p != '.')
        return true;
    const char *first = ++*p;
    for (; *p < end && **p >= '0' && **p <= '9'; ++*p, unit /= 10)
        *us += (**p - '0') * unit;
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
    int hours = take(p, end, 2, ':'), rest = take(p, end, 2, 0);
    if (hours < 0 || hours > 23 || rest < 0 || rest > 59)
        return false;
    *minutes = (sign == '-' ? -1 : 1) * (hours * 60 + rest);
    return true;
}

int evb_time_read(const char *text, size_t length, int64_t *unix_us)
{
    static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const char *p = text, *end = text + length;
    int year = take(&p, end, 4, '-'), month = take(&p, end, 2, '-'), day = take(&p, end, 2, 0);
    if (year < 0 || month < 1 || month > 12 || day < 1 || p == end)
        return -1;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day > month_days[month - 1] + (month == 2 && leap) || !memchr("Tt ", *p++, 3))
        return -1;
    int hour = take(&p, end, 2, ':'), minute = take(&p, end, 2, ':'), second = take(&p, end, 2, 0);
    int64_t fraction, offset;
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60 ||
        !take_fraction(&p, end, &fraction) || !take_offset(&p, end, &offset) || p != end)
        return -1;
    *unix_us = days_from_civil(year, month, day) * US_PER_DAY +
               ((hour * 60 + minute - offset) * 60 + second) * 1000000 + fraction;
    return 0;
}
