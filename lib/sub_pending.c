/* sub_pending.c - what waits for a subscription's handler, on the loop or for workers. Any thread.
 */
#include "alloc.h"
#include "sub.h"
#include <string.h>

enum { DRAIN_A_TURN = 1024 }; /* then the next subscription has its turn */

static void count_dropped(evbus_sub *sub, int n)
{
    atomic_fetch_add_explicit(&sub->dropped, n, memory_order_relaxed);
    evb_count(sub->metrics, EVB_COUNT_dropped, n);
}

struct evb_fill evb_sub_fill(const evbus_sub *sub)
{
    const struct evb_fifo *fifo = &sub->fifo;
    const struct evb_lanes *lanes = sub->lanes;
    struct evb_fill fill = {fifo->count, fifo->bytes, fifo->max_events, fifo->max_bytes};
    if (lanes)
        fill = (struct evb_fill){lanes->count, lanes->bytes, lanes->max_events, lanes->max_bytes};
    fill.events += sub->held_events;
    fill.bytes += sub->held_bytes;
    return fill;
}

/* Lock held. True: an edge is to be told. */
static bool became_slow(evbus_sub *sub, int dropped, unsigned how)
{
    if (how & EVB_OF_SLOW && !evb_slow_is(sub->slow))
        return false;
    if (!sub->slow)
        sub->slow = evb_slow_new(sub, &sub->lock);
    return sub->slow && evb_slow_dropped(sub->slow, dropped, evb_sub_fill(sub), sub->metrics);
}

static void tell_edge(evbus_sub *sub)
{
    if (sub->slow_edge)
        sub->slow_edge(sub);
}

static bool well_again(evbus_sub *sub)
{
    struct evb_fill fill = evb_sub_fill(sub);
    sub->starved = !evb_fill_is_well(&fill);
    return !sub->starved;
}

/* Lock held. False: no room, and the event comes again. */
static bool has_room(evbus_sub *sub, const evbus_event *event, bool *edge)
{
    struct evb_fill fill = evb_sub_fill(sub);
    if ((fill.events < fill.max_events && fill.bytes + event->size <= fill.max_bytes) ||
        event->size > fill.max_bytes)
        return true;
    *edge = became_slow(sub, 0, 0);
    return false;
}

static bool refuse(evbus_sub *sub, evbus_event *event, bool edge)
{
    pthread_mutex_unlock(&sub->lock);
    evbus_event_unref(event);
    if (edge)
        tell_edge(sub);
    return false;
}

/* As evb_sub_put(). */
static bool push(evbus_sub *sub, evbus_event *event, unsigned how)
{
    struct evb_fifo_item item = {.event = event};
    bool edge = false;
    pthread_mutex_lock(&sub->lock);
    if (how & EVB_WHEN_IDLE && sub->scheduled)
        return refuse(sub, event, false);
    if (how & EVB_MAY_LAG && !has_room(sub, event, &edge))
        return refuse(sub, event, edge);
    int dropped = evb_fifo_push(&sub->fifo, item);
    edge = dropped && became_slow(sub, dropped, how);
    bool schedule = !sub->scheduled;
    sub->scheduled = true;
    pthread_mutex_unlock(&sub->lock);
    if (dropped)
        count_dropped(sub, dropped);
    if (schedule) {
        evb_sub_ref(sub); /* the job's */
        evb_loop_post(sub->loop, &sub->job);
    }
    if (edge)
        tell_edge(sub);
    return !(how & (EVB_ALLOWED | EVB_WHEN_IDLE)) || dropped == 0;
}

/* The next events, in exchange for the used-up chunk; NULL: the job is done, and gone. */
static struct evb_chunk *next_chunk(evbus_sub *sub, struct evb_chunk *used)
{
    evb_fifo_give(used);
    pthread_mutex_lock(&sub->lock);
    struct evb_chunk *chunk = evb_fifo_take(&sub->fifo);
    if (sub->slow) /* told here: who waits for the job waits for a whole turn */
        evb_slow_taken(sub->slow, evb_sub_fill(sub));
    bool edge = evb_slow_untold(sub->slow), roomy = sub->starved && well_again(sub);
    if (!chunk)
        sub->scheduled = false;
    pthread_mutex_unlock(&sub->lock);
    if (edge)
        tell_edge(sub);
    if (roomy)
        sub->roomy(sub->keeper);
    return chunk;
}

/* A request that waited here for longer than its asker does is nobody's. */
static void call(evbus_sub *sub, evbus_event *event, struct evb_thread *thread)
{
    if (event->exchange && evb_event_time_left_ms(event) == 0)
        evb_count(sub->metrics, EVB_COUNT_late_requests, 1);
    else
        evb_sub_call(sub, event, thread);
}

static unsigned call_all(evbus_sub *sub, struct evb_chunk *chunk, struct evb_thread *thread)
{
    for (uint32_t i = chunk->first; i < chunk->end; i++) {
        call(sub, chunk->items[i].event, thread);
        evbus_event_unref(chunk->items[i].event);
    }
    return chunk->end - chunk->first;
}

/* On the loop: hands over what waits, a turn's worth. */
void evb_sub_run_job(struct evb_job *job)
{
    evbus_sub *sub = evb_container(job, evbus_sub, job);
    struct evb_thread *thread = evb_thread_self();
    struct evb_chunk *chunk = NULL;
    unsigned turn = 0;
    if (!thread) { /* no memory for its record: what waits goes on waiting */
        evb_loop_post(sub->loop, &sub->job);
        return;
    }
    while (turn < DRAIN_A_TURN && (chunk = next_chunk(sub, chunk))) {
        turn += call_all(sub, chunk, thread);
        if (evb_loop_is_late(sub->loop))
            break;
    }
    evb_sub_flush_count(sub->metrics, thread);
    if (!chunk) {
        evb_sub_unref(sub);
        return;
    }
    evb_fifo_give(chunk);
    evb_loop_post(sub->loop, &sub->job);
}

/* ---- on workers ---- */

/* They are counted as helpers already. */
static void ask(evbus_sub *sub, int workers)
{
    for (; workers > 0; workers--) {
        evb_sub_ref(sub); /* the worker's */
        if (!evb_workers_ask(sub->workers, &sub->work))
            evb_sub_run_work(&sub->work);
    }
}

/* As evb_sub_put(). */
static bool push_alone(evbus_sub *sub, evbus_event *event)
{
    pthread_mutex_lock(&sub->lock);
    if (sub->helpers)
        return refuse(sub, event, false);
    bool ready = evb_lanes_push_alone(sub->lanes, event);
    sub->helpers += ready;
    pthread_mutex_unlock(&sub->lock);
    ask(sub, ready);
    return ready;
}

/* As many workers as have something to do are asked for, at most all: each takes one event after
 * the other until none is left whose key is free. As evb_sub_put(). */
static bool push_lane(evbus_sub *sub, evbus_event *event, unsigned how)
{
    uint64_t key = evb_lanes_key(sub->lanes, event);
    bool ready, edge = false;
    pthread_mutex_lock(&sub->lock);
    if (how & EVB_MAY_LAG && !has_room(sub, event, &edge))
        return refuse(sub, event, edge);
    int dropped = evb_lanes_push(sub->lanes, event, key, &ready);
    edge = dropped && !sub->lanes->closed && became_slow(sub, dropped, how);
    bool more = ready && sub->helpers < sub->workers->count;
    sub->helpers += more;
    pthread_mutex_unlock(&sub->lock);
    if (dropped)
        count_dropped(sub, dropped);
    if (edge)
        tell_edge(sub);
    ask(sub, more);
    return !(how & EVB_ALLOWED) || dropped == 0;
}

/* The next event, when `used` is handled; NULL: the worker has done its part, or (*again) lets
 * other work go first. */
static struct evb_lane_item *next_item(evbus_sub *sub, struct evb_lane_item *used, bool *again)
{
    struct evb_lane_item *item = NULL;
    struct evb_job *when_idle = NULL;
    int more = 0;
    pthread_mutex_lock(&sub->lock);
    if (used && evb_lanes_done(sub->lanes, used))
        more = sub->workers->count - sub->helpers;
    sub->helpers += more;
    *again = used && !evb_list_empty(&sub->lanes->ready) && evb_workers_crowded(sub->workers);
    if (!*again && !(item = evb_lanes_take(sub->lanes)) && --sub->helpers == 0) {
        when_idle = sub->when_idle;
        sub->when_idle = NULL;
    }
    bool edge = sub->slow && evb_slow_taken(sub->slow, evb_sub_fill(sub));
    bool roomy = sub->starved && well_again(sub);
    pthread_mutex_unlock(&sub->lock);
    if (edge)
        tell_edge(sub);
    if (roomy)
        sub->roomy(sub->keeper);
    if (when_idle)
        evb_loop_post(sub->loop, when_idle);
    ask(sub, more);
    return item;
}

/* On a worker; or, when they have left, on the thread that came too late: then the subscription is
 * over, and what waits is only dropped. */
void evb_sub_run_work(struct evb_work *work)
{
    evbus_sub *sub = evb_container(work, evbus_sub, work);
    struct evb_thread *thread = evb_thread_self();
    struct evb_lane_item *item = NULL;
    bool again;
    do {
        while ((item = next_item(sub, item, &again))) {
            if (thread) { /* without memory for its record nobody is called any more */
                call(sub, item->event, thread);
                evb_sub_flush_count(sub->metrics, thread);
            }
            evbus_event_unref(item->event);
        }
    } while (again && !evb_workers_ask(sub->workers, work));
    if (!again)
        evb_sub_unref(sub);
}

bool evb_sub_drain(evbus_sub *sub, struct evb_job *job)
{
    pthread_mutex_lock(&sub->lock);
    bool busy = sub->helpers > 0;
    sub->lanes->closed = true;
    if (busy && job)
        sub->when_idle = job;
    pthread_mutex_unlock(&sub->lock);
    return busy;
}

bool evb_sub_put(evbus_sub *sub, evbus_event *event, unsigned how)
{
    if (sub->hold && !(how & EVB_ALLOWED))
        return sub->hold(sub, event, how);
    if (sub->deliver == EVB_DELIVER_LOOP)
        return push(sub, event, how);
    if (sub->deliver == EVB_DELIVER_WORKERS)
        return how & EVB_WHEN_IDLE ? push_alone(sub, event) : push_lane(sub, event, how);
    evb_sub_ref(sub);
    return sub->door->put(sub->queue, (struct evb_fifo_item){.event = event, .sub = sub}, how);
}

int64_t evb_sub_room(evbus_sub *sub, int64_t most)
{
    if (sub->deliver == EVB_DELIVER_QUEUE)
        return sub->door->room(sub->queue, most);
    pthread_mutex_lock(&sub->lock);
    struct evb_fill fill = evb_sub_fill(sub);
    bool direct = sub->deliver == EVB_DELIVER_INLINE ||
                  (sub->deliver == EVB_DELIVER_LOOP && !sub->scheduled && !sub->hold);
    sub->starved = !direct && !evb_fill_is_well(&fill);
    int64_t room = sub->starved ? 0 : direct ? most : fill.max_events - fill.events;
    pthread_mutex_unlock(&sub->lock);
    return room < most ? room : most;
}

void evb_sub_lag(evbus_sub *sub, bool on)
{
    if (sub->deliver == EVB_DELIVER_QUEUE) {
        sub->door->lag(sub->queue, on);
        return;
    }
    pthread_mutex_lock(&sub->lock);
    if (sub->slow)
        sub->slow->lagging = on;
    bool edge = !on && sub->slow && evb_slow_taken(sub->slow, evb_sub_fill(sub));
    pthread_mutex_unlock(&sub->lock);
    if (edge)
        tell_edge(sub);
}

void evb_sub_held_dropped(evbus_sub *sub, int n, unsigned how)
{
    pthread_mutex_lock(&sub->lock);
    bool edge = became_slow(sub, n, how);
    pthread_mutex_unlock(&sub->lock);
    if (n)
        count_dropped(sub, n);
    if (edge)
        tell_edge(sub);
}

void evb_sub_held_less(evbus_sub *sub)
{
    pthread_mutex_lock(&sub->lock);
    bool edge = sub->slow && evb_slow_taken(sub->slow, evb_sub_fill(sub));
    bool roomy = sub->starved && well_again(sub);
    pthread_mutex_unlock(&sub->lock);
    if (edge)
        tell_edge(sub);
    if (roomy)
        sub->roomy(sub->keeper);
}

bool evb_sub_idle(evbus_sub *sub)
{
    pthread_mutex_lock(&sub->lock);
    bool idle = !sub->scheduled && !sub->helpers;
    pthread_mutex_unlock(&sub->lock);
    return idle;
}
