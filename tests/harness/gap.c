/* gap.c - reads an evbus.gap. */
#include "harness/gap.h"
#include "harness/check.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

static int64_t read_time(const char *text)
{
    struct tm tm;
    int ms = 0;
    memset(&tm, 0, sizeof tm);
    int parts = text ? sscanf(text, "%d-%d-%dT%d:%d:%d.%dZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
                              &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &ms)
                     : 0;
    ck_assert_msg(parts == 7, "no time: %s", text ? text : "none");
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    return ((int64_t)timegm(&tm) * 1000 + ms) * 1000;
}

struct gap gap_read(const json_t *json)
{
    struct gap gap = {.from_us = read_time(json_string_value(json_object_get(json, "from"))),
                      .to_us = read_time(json_string_value(json_object_get(json, "to"))) + 1000,
                      .count = json_integer_value(json_object_get(json, "count"))};
    const char *reason = json_string_value(json_object_get(json, "reason"));
    const char *cause = json_string_value(json_object_get(json, "cause"));
    ck_assert_int_lt(gap.from_us, gap.to_us);
    ck_assert(json_is_integer(json_object_get(json, "count")));
    ck_assert(reason && reason[0]);
    ck_assert(cause && cause[0]);
    snprintf(gap.cause, sizeof gap.cause, "%s", cause);
    return gap;
}
