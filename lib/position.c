/* position.c - places in the history. Pure. */
#include "position.h"
#include <inttypes.h>
#include <stdio.h>

/* Behind the digits, or NULL: none, or more than 64 bits take. */
static const char *read_number(const char *p, const char *end, uint64_t *out)
{
    const char *first = p;
    uint64_t value = 0;
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        unsigned digit = (unsigned)(*p - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return NULL;
        value = value * 10 + digit;
    }
    *out = value;
    return p > first ? p : NULL;
}

bool evb_position_read(const char *text, size_t length, struct evb_position *out)
{
    const char *end = text + length, *p;
    struct evb_position position;
    p = read_number(text, end, &position.ms);
    if (!p || p == end || *p != '-')
        return false;
    p = read_number(p + 1, end, &position.n);
    if (p != end)
        return false;
    *out = position;
    return true;
}

size_t evb_position_write(struct evb_position position, char out[EVB_POSITION_TEXT])
{
    return (size_t)snprintf(out, EVB_POSITION_TEXT, "%" PRIu64 "-%" PRIu64, position.ms,
                            position.n);
}

int evb_position_compare(struct evb_position a, struct evb_position b)
{
    if (a.ms != b.ms)
        return a.ms < b.ms ? -1 : 1;
    return a.n < b.n ? -1 : a.n > b.n;
}

bool evb_position_is_none(struct evb_position position)
{
    return position.ms == 0 && position.n == 0;
}
