/*
 * outbox_fixture.h - an outbox on a clock of the test's own; what happens to its events is told in one
 * line. Included by one program's only file.
 */
#ifndef OUTBOX_FIXTURE_H
#define OUTBOX_FIXTURE_H
#include "clock.h"
#include "config.h"
#include "harness/failing.h"
#include "pool.h"
#include "redis_answer.h"
#include "thread.h"
#include "harness/check.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What happened, a word each: "a1" id 1 acked, f failed, u unknown, v evicted, x expired, l local,
 * m mark, W and w high and low water. */
static char story[4096];
static struct evb_metrics metrics;
static struct evb_outbox outbox;
static int64_t now_ms;
static int last_error;
static int64_t last_receivers;
static long live; /* blocks that belong to the thread */

static inline int64_t test_clock(void)
{
    return now_ms * 1000;
}

__attribute__((format(printf, 1, 2))) static inline void tell(const char *format, ...)
{
    size_t at = strlen(story);
    va_list args;
    va_start(args, format);
    vsnprintf(story + at, sizeof story - at, format, args);
    va_end(args);
}

static inline void on_water(bool high, void *user)
{
    ck_assert_ptr_eq(user, &outbox);
    tell("%c ", high ? 'W' : 'w');
}

static inline void on_report(evbus_event *event, int outcome, int error, int64_t receivers,
                             void *user)
{
    (void)event;
    last_error = error;
    last_receivers = receivers;
    tell("%c%d ", "?alxvfu"[outcome], (int)(intptr_t)user);
}

static inline void on_mark(int result, void *user)
{
    last_error = result;
    tell("m%d ", (int)(intptr_t)user);
}

static inline void begin(int full, int64_t events, int64_t bytes, int64_t age_ms)
{
    memset(&outbox, 0, sizeof outbox);
    evb_metrics_init(&metrics);
    evb_outbox_init(&outbox, &metrics, on_water, &outbox);
    outbox.full = full;
    outbox.max_events = events;
    outbox.max_bytes = bytes;
    outbox.max_age_ms = age_ms;
    outbox.may_resend = true;
    story[0] = '\0';
}

static inline void setup(void)
{
    failing_install();
    ck_assert_ptr_nonnull(evb_thread_self());
    live = failing_live();
    now_ms = 1000000;
    evb_clock_set(NULL, test_clock);
    begin(EVB_FULL_DROP_OLDEST, 100, 100000, 0);
}

static inline struct evb_item *item(int id, size_t size)
{
    static const char head[] = "*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$16\r\n";
    struct evb_item *made = evb_pool_take(sizeof *made + sizeof head + 32, NULL);
    ck_assert_ptr_nonnull(made);
    evb_item_init(made);
    made->bytes = (char *)(made + 1);
    made->seq_slot = made->bytes + sizeof head - 1;
    made->length = sizeof head - 1 + 16;
    memcpy(made->bytes, head, sizeof head);
    memset(made->seq_slot, ' ', 16);
    made->size = size;
    made->user = (void *)(intptr_t)id;
    made->accepted_ms = now_ms;
    made->report = on_report;
    return made;
}

static inline void take_ttl(int id, int64_t ttl_ms)
{
    struct evb_item *made = item(id, 10);
    ck_assert_int_eq(evb_outbox_admit(&outbox, 10), EVB_ADMIT);
    if (ttl_ms)
        made->expires_ms = now_ms + ttl_ms;
    evb_outbox_take(&outbox, made);
}

static inline void take(int from, int to)
{
    for (int id = from; id <= to; id++)
        take_ttl(id, 0);
}

static inline void mark(int id)
{
    struct evb_item *made = item(id, 0);
    made->report = NULL;
    made->mark = on_mark;
    evb_outbox_take(&outbox, made);
}

/* The next to write by itself; NULL: none. */
static inline struct evb_item *next_item(void)
{
    struct evb_item *item;
    return evb_outbox_next(&outbox, &item, 1) ? item : NULL;
}

/* Writes `count` (-1: all) and answers "id:seq " of each. */
static inline const char *wire(int count)
{
    static char text[1024];
    struct evb_item *next;
    text[0] = '\0';
    while (count-- && (next = next_item()))
        snprintf(text + strlen(text), sizeof text - strlen(text), "%d:%lu ",
                 (int)(intptr_t)next->user, strtoul(next->seq_slot, NULL, 10));
    return text;
}

static inline void expect(const char *want)
{
    ck_assert_str_eq(story, want);
    story[0] = '\0';
}

/* Ends what is left; nothing is owed after, nothing leaked. */
static inline void end(const char *want)
{
    evb_outbox_abandon(&outbox, EVBUS_ECLOSED);
    expect(want);
    ck_assert_int_eq(evb_outbox_events(&outbox), 0);
    ck_assert_int_eq(evb_outbox_bytes(&outbox), 0);
    ck_assert_int_eq(atomic_load(&outbox.owed.events), 0);
    ck_assert_int_eq(failing_live(), live);
}

static inline int run(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
