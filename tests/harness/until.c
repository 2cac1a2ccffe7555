/* until.c - conditions with a deadline. */
#include "harness/until.h"
#include "harness/suite.h"
#include <stdio.h>
#include <time.h>

static int64_t clock_us(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

int64_t now_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

int64_t now_wall_us(void)
{
    return clock_us(CLOCK_REALTIME);
}

int64_t time_us_of(const char *rfc3339)
{
    struct tm tm = {0};
    int ms = 0;
    int parts = rfc3339 ? sscanf(rfc3339, "%d-%d-%dT%d:%d:%d.%dZ", &tm.tm_year, &tm.tm_mon,
                                 &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &ms)
                        : 0;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    return parts == 7 ? ((int64_t)timegm(&tm) * 1000 + ms) * 1000 : -1;
}

void nap_us(int64_t us)
{
    struct timespec span = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    nanosleep(&span, NULL);
}

struct wait wait_for(int ms)
{
    return (struct wait){now_us() + (int64_t)suite_patience(ms) * 1000};
}

bool wait_more(struct wait *wait)
{
    if (now_us() >= wait->until_us)
        return false;
    nap_us(1000);
    return true;
}

bool until(bool (*condition)(void *arg), void *arg, int ms)
{
    struct wait wait = wait_for(ms);
    bool met;
    while (!(met = condition(arg)) && wait_more(&wait))
        ;
    return met;
}

bool until_count(atomic_int *count, int at_least, int ms)
{
    struct wait wait = wait_for(ms);
    while (atomic_load(count) < at_least && wait_more(&wait))
        ;
    return atomic_load(count) >= at_least;
}

void expect_count(atomic_int *count, int at_least, int ms)
{
    if (!until_count(count, at_least, ms))
        ck_abort_msg("waited %d ms for %d, there are %d", suite_patience(ms), at_least,
                     atomic_load(count));
}

void expect_mode(evbus *bus, int mode, int ms)
{
    struct wait wait = wait_for(ms);
    while (evbus_mode(bus) != mode && wait_more(&wait))
        ;
    if (evbus_mode(bus) != mode)
        ck_abort_msg("waited %d ms for mode %s, it is %s", suite_patience(ms),
                     evbus_mode_name(mode), evbus_mode_name(evbus_mode(bus)));
}

void expect_stat(evbus *bus, const char *name, int64_t at_least, int ms)
{
    struct wait wait = wait_for(ms);
    while (evbus_stat(bus, name) < at_least && wait_more(&wait))
        ;
    if (evbus_stat(bus, name) < at_least)
        ck_abort_msg("waited %d ms for %s >= %lld, it is %lld", suite_patience(ms), name,
                     (long long)at_least, (long long)evbus_stat(bus, name));
}

void expect_connected(evbus *bus, int ms)
{
    int rc = evbus_wait_connected(bus, suite_patience(ms));
    if (rc != 0)
        ck_abort_msg("not connected within %d ms: %s", suite_patience(ms), evbus_last_error());
}
