/* event_fixture.h - a clock that stands, dice that are known, and events, for the tests of them. */
#ifndef EVENT_FIXTURE_H
#define EVENT_FIXTURE_H
#include "event.h"
#include "unit.h"
#include <stdio.h>

#define NODE "0123456789abcdef"

static inline int64_t stopped_clock(void)
{
    return INT64_C(1645557742000123); /* RFC 9562 appendix A.6: 2022-02-22T19:22:22.000Z */
}

/* So that the next ten bytes drawn are those of the RFC's example, but for version and variant. */
static inline void rfc_dice(void *out, size_t length)
{
    static const unsigned char tail[10] = {0xfc, 0xc3, 0xd8, 0xc4, 0xdc,
                                           0x0c, 0x0c, 0x07, 0x39, 0x8f};
    memset(out, 0, length);
    memcpy((unsigned char *)out + length - sizeof tail, tail, sizeof tail);
}

static inline evbus_event *make(const char *json)
{
    evbus_event *event = evb_event_make("task.created", 12, json, json ? strlen(json) : 0, true);
    ck_assert_ptr_nonnull(event);
    return event;
}

static inline void refused(int result)
{
    ck_assert_int_eq(result, EVBUS_EINVAL);
    ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
    ck_assert_int_gt((int)strlen(evbus_last_error()), 0);
    evbus_event_unref(evbus_event_new(NULL)); /* another sentence, so that the next one is seen */
}

static inline evbus_event *full_of_attrs(const char *first)
{
    evbus_event *event = evbus_event_new("full");
    char name[16];
    ck_assert_int_eq(evbus_event_set_attr(event, first, "old"), 0);
    for (int i = 1; i < EVB_ATTR_MAX; i++) {
        snprintf(name, sizeof name, "name%d", i);
        ck_assert_int_eq(evbus_event_set_attr(event, name, "x"), 0);
    }
    return event;
}

static char big[200]; /* beyond the spare room of an event's allocation */

static inline void big_setup(void)
{
    memset(big, 'x', sizeof big - 1);
}

/* It came through, or an allocation failed, and it says so. */
static inline bool came_through(int result, bool fails)
{
    if (result == 0)
        return true;
    ck_assert(fails && memory_failed());
    ck_assert_int_eq(result, EVBUS_ENOMEM);
    ck_assert_int_eq(evbus_last_code(), EVBUS_ENOMEM);
    return false;
}

#endif
