/*
 * sub_pending_fixture.h - subscriptions whose events wait until the test lets them be handled, on
 * the loop or as by a worker. Included by a program's only file.
 */
#ifndef SUB_PENDING_FIXTURE_H
#define SUB_PENDING_FIXTURE_H
#include "sub_keep_fixture.h"
#include <stdarg.h>
#include <stdio.h>

static const int ways[] = {EVB_DELIVER_LOOP, EVB_DELIVER_WORKERS};
static char story[200]; /* what was told, a word each */

__attribute__((format(printf, 1, 2))) static inline void tell(const char *format, ...)
{
    size_t at = strlen(story);
    va_list args;
    va_start(args, format);
    vsnprintf(story + at, sizeof story - at, format, args);
    va_end(args);
}

static inline void expect(const char *want)
{
    ck_assert_str_eq(story, want);
    story[0] = '\0';
}

static inline void occupy(evbus_sub *sub)
{
    sub->helpers = sub->lanes ? 2 : 0;
}

/* Its workers are as good as busy with something else, until hand_over(). */
static inline evbus_sub *bounded(int deliver, int64_t events)
{
    if (!sub_workers.count)
        evb_workers_init(&sub_workers);
    sub_workers.count = 2; /* which are never started */
    evbus_sub *sub = sub_of(deliver, keep, NULL);
    sub->fifo.max_events = events;
    if (sub->lanes)
        sub->lanes->max_events = events;
    occupy(sub);
    return sub;
}

/* What waits is handled. */
static inline void hand_over(evbus_sub *sub)
{
    if (sub->lanes) {
        sub->helpers = 1;
        evb_sub_ref(sub);
        evb_sub_run_work(&sub->work);
    }
    turn();
    ck_assert(evb_sub_idle(sub));
    ck_assert_int_eq(atomic_load(&sub->refs), 1);
}

static inline void deliver_numbers(evbus_sub *sub, uint64_t first, uint64_t end)
{
    for (; first < end; first++)
        deliver_local(sub, first);
}

static inline evbus_event *numbered(uint64_t number)
{
    evbus_event *event = event_of("t", 0);
    event->seq = number;
    return event;
}

static inline bool put(evbus_sub *sub, uint64_t number, unsigned how)
{
    return evb_sub_put(sub, numbered(number), how);
}

static inline void begin_base(void)
{
    setup();
    story[0] = '\0';
    open_base();
}

#endif
