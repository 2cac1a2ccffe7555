/* moment.c - reads points in history for queries and subscriptions. Any thread. */
#include "moment.h"
#include "clock.h"
#include "err.h"
#include "list.h"
#include "option.h"
#include <evbus.h>
#include <stdbool.h>
#include <string.h>

static const struct {
    const char *name;
    enum evb_moment_kind kind;
} words[] = {{"now", EVB_MOMENT_NOW}, {"last", EVB_MOMENT_LAST}, {"all", EVB_MOMENT_ALL}};

/* Decimal digits without a sign up to `end`; false: there are none, or they are above `most`. */
static bool digits_read(const char *text, const char *end, uint64_t most, uint64_t *out)
{
    uint64_t n = 0;
    if (text == end)
        return false;
    for (; text < end; text++) {
        uint64_t digit = (uint64_t)(*text - '0');
        if (*text < '0' || *text > '9' || n > (most - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    *out = n;
    return true;
}

static bool position_read(const char *text, struct evb_moment *out)
{
    const char *dash = strchr(text, '-');
    uint64_t ms, n;
    if (!dash || !digits_read(text, dash, INT64_MAX, &ms) ||
        !digits_read(dash + 1, text + strlen(text), UINT64_MAX, &n))
        return false;
    *out = (struct evb_moment){EVB_MOMENT_POSITION, (int64_t)ms, n};
    return true;
}

static bool age_read(const char *text, int64_t now_ms, struct evb_moment *out)
{
    const char *digits = text + (*text == '-');
    size_t length = strlen(digits);
    int64_t age_ms, ms;
    if (length == 0 || digits[length - 1] <= '9' || /* a bare 0 is many things elsewhere */
        evb_value_read(EVB_VALUE_DURATION, NULL, digits, &age_ms) != 0 ||
        __builtin_sub_overflow(now_ms, age_ms, &ms))
        return false;
    *out = (struct evb_moment){EVB_MOMENT_TIME, ms < 0 ? 0 : ms, 0};
    return true;
}

static bool time_read(const char *text, struct evb_moment *out)
{
    int64_t us;
    if (evb_time_read(text, strlen(text), &us) != 0)
        return false;
    int64_t ms = us / 1000 - (us % 1000 < 0);
    *out = (struct evb_moment){EVB_MOMENT_TIME, ms, 0};
    return true;
}

int evb_moment_read(const char *label, const char *text, int64_t now_ms, struct evb_moment *moment)
{
    char shown[EVB_SHOWN];
    for (size_t i = 0; i < EVB_COUNT(words); i++)
        if (strcmp(text, words[i].name) == 0) {
            *moment = (struct evb_moment){words[i].kind, 0, 0};
            return 0;
        }
    if (position_read(text, moment) || age_read(text, now_ms, moment) || time_read(text, moment))
        return 0;
    evb_shown(shown, text, strlen(text));
    return evb_fail(EVBUS_EINVAL,
                    "%s: \"%s\" is no point in history: write now, last, all, an age (10m), a time "
                    "(2026-01-02T03:04:05Z) or a position (1700000000000-0)",
                    label, shown);
}
