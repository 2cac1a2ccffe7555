/* sub_fixture.h - subscriptions on a loop, without a bus around them. */
#ifndef SUB_FIXTURE_H
#define SUB_FIXTURE_H
#include "config.h"
#include "sub.h"
#include "unit.h"
#include <event2/event.h>

static struct evb_loop sub_loop;
static struct evb_metrics sub_metrics;
static struct evb_workers sub_workers; /* two, from the first subscription that needs them */
static struct event_base *sub_base;    /* NULL: the loop has a thread of its own */
static atomic_int sub_released;

static inline void sub_release(evbus_sub *sub)
{
    (void)sub;
    atomic_fetch_add(&sub_released, 1);
}

static inline void need_workers(void)
{
    if (sub_workers.count)
        return;
    evb_workers_init(&sub_workers);
    sub_workers.count = 2;
    ck_assert_int_eq(evb_workers_start(&sub_workers, "test"), 0);
}

static inline evbus_sub *sub_of(int deliver, evbus_event_fn fn, void *user)
{
    evbus_sub *sub = evb_sub_new();
    ck_assert_ptr_nonnull(sub);
    sub->deliver = deliver;
    sub->scope = EVB_FROM_LOCAL | EVB_FROM_REDIS;
    sub->echo = true;
    sub->fn = fn;
    sub->user = user;
    sub->loop = &sub_loop;
    sub->metrics = &sub_metrics;
    sub->release = sub_release;
    sub->fifo.max_events = 100000;
    sub->fifo.max_bytes = INT64_C(1) << 40;
    sub->fifo.full = EVB_FULL_DROP_OLDEST;
    if (deliver == EVB_DELIVER_WORKERS) {
        need_workers();
        sub->workers = &sub_workers;
        sub->lanes = evb_lanes_new(NULL, 100000, INT64_C(1) << 40, EVB_FULL_DROP_OLDEST);
    }
    return sub;
}

/* An event with a number, delivered as `how` says. */
static inline void deliver_number(evbus_sub *sub, uint64_t number, unsigned how)
{
    evbus_event *event = event_of("t", 0);
    event->seq = number;
    if (!evb_sub_deliver(sub, event, how, evb_thread_self()))
        evbus_event_unref(event);
}

static inline void deliver_local(evbus_sub *sub, uint64_t number)
{
    deliver_number(sub, number, EVB_FROM_LOCAL | EVB_FROM_SELF);
}

/* A loop that this thread turns. */
static inline void open_base(void)
{
    evb_metrics_init(&sub_metrics);
    atomic_store(&sub_released, 0);
    sub_base = event_base_new();
    ck_assert_int_eq(evb_loop_init(&sub_loop, sub_base), 0);
}

static inline void turn(void)
{
    for (int i = 0; i < 3 || evb_loop_has_rest(&sub_loop); i++)
        event_base_loop(sub_base, EVLOOP_NONBLOCK);
    if (sub_workers.count)
        ck_assert(evb_workers_wait_idle(&sub_workers, 20000));
}

static inline void close_base(void)
{
    turn();
    if (sub_workers.count) {
        evb_workers_leave(&sub_workers, NULL, NULL);
        evb_workers_join(&sub_workers);
        evb_workers_fini(&sub_workers);
        sub_workers.count = 0;
    }
    evb_loop_fini(&sub_loop);
    event_base_free(sub_base);
    sub_base = NULL;
}

/* A loop with a thread, started by start_thread(). */
static inline void open_thread(void)
{
    evb_metrics_init(&sub_metrics);
    atomic_store(&sub_released, 0);
    ck_assert_int_eq(evb_loop_init(&sub_loop, NULL), 0);
}

static inline void start_thread(void)
{
    ck_assert_int_eq(evb_loop_start(&sub_loop, "test"), 0);
}

static inline void close_thread(void)
{
    evb_loop_stop(&sub_loop);
    evb_loop_join(&sub_loop);
    evb_loop_run_rest(&sub_loop);
    evb_loop_fini(&sub_loop);
}

#endif
