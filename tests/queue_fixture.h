/*
 * queue_fixture.h - a pull queue and a subscription into it, on a loop that nobody turns. Included
 * by a program's only file.
 */
#ifndef QUEUE_FIXTURE_H
#define QUEUE_FIXTURE_H
#include "queue.h"
#include "sub_fixture.h"
#include <evbus.h>

static evbus_queue *queue;
static evbus_sub *sub;
static int kept; /* references to the keeper */

static inline void keeper_unref(void *keeper)
{
    --*(int *)keeper;
}

static inline evbus_queue *queue_of(int64_t max_events, int full)
{
    evbus_queue *made = evb_queue_new(max_events, INT64_C(1) << 40, full);
    ck_assert_ptr_nonnull(made);
    made->metrics = &sub_metrics;
    made->loop = &sub_loop;
    made->keeper = &kept;
    made->keeper_unref = keeper_unref;
    kept++;
    return made;
}

static inline evbus_sub *sub_into(evbus_queue *to, int64_t tag)
{
    evbus_sub *made = sub_of(EVB_DELIVER_QUEUE, NULL, NULL);
    made->queue = to;
    made->door = &evb_queue_door;
    made->tag = tag;
    return made;
}

static inline void setup(void)
{
    open_thread(); /* never started: nobody stands on the loop */
    atomic_store(&sub_loop.thread, (pthread_t)0);
    queue = queue_of(1000, EVB_FULL_DROP_OLDEST);
    sub = sub_into(queue, 42);
}

static inline void teardown(void)
{
    ck_assert_int_eq(atomic_load(&sub->refs), 1);
    evb_sub_unref(sub);
    evb_queue_unref(queue);
    ck_assert_int_eq(kept, 0);
    evb_loop_fini(&sub_loop);
}

/* The number of the next event: -1 none, or an error. */
static inline int64_t next(evbus_queue *from, int timeout_ms)
{
    evbus_event *event = NULL;
    int rc = evbus_queue_next(from, timeout_ms, &event, NULL);
    if (rc <= 0)
        return rc == 0 ? -1 : rc;
    int64_t number = (int64_t)event->seq;
    evbus_event_unref(event);
    return number;
}

#endif
