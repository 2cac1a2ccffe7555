/*
 * sub_keep_fixture.h - subscriptions whose handler keeps what it gets, and where it ran. Included
 * by a program's only file.
 */
#ifndef SUB_KEEP_FIXTURE_H
#define SUB_KEEP_FIXTURE_H
#include "sub_fixture.h"
#include <evbus.h>

static uint64_t got[20000];
static atomic_int got_count, on_loop, in_callback;
static int answer;

static inline int keep(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)user;
    atomic_fetch_add(&on_loop, evb_loop_is_here(&sub_loop));
    atomic_fetch_add(&in_callback, evb_thread_in_callback());
    got[atomic_load(&got_count)] = event->seq;
    atomic_fetch_add(&got_count, 1);
    return answer;
}

static inline void setup(void)
{
    atomic_store(&got_count, 0);
    atomic_store(&on_loop, 0);
    atomic_store(&in_callback, 0);
    answer = 0;
    evb_thread_self()->handled = 0;
}

static inline void end(evbus_sub *sub)
{
    evb_sub_end(sub);
    ck_assert_int_eq(evb_sub_wait_ended(sub, -1), 0);
    evb_sub_unref(sub);
}

enum {
    LOCAL = EVB_FROM_LOCAL,
    REDIS = EVB_FROM_REDIS,
    BOTH = EVB_FROM_LOCAL | EVB_FROM_REDIS,
    SELF = EVB_FROM_SELF
};

#endif
