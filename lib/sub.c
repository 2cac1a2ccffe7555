/* sub.c - delivery to one subscription, and its end. Any thread. */
#include "sub.h"
#include "alloc.h"
#include "clock.h"
#include "err.h"
#include "fork.h"
#include "wait.h"
#include <errno.h>
#include <evbus.h>
#include <string.h>

/* Not part of the short way: a frame of its own, so that the short way needs none. */
#define AWAY __attribute__((noinline))

enum { LOOK_MS = 100 };

static void item_drop(struct evb_fifo_item *item)
{
    evbus_event_unref(item->event);
}

evbus_sub *evb_sub_new(void)
{
    evbus_sub *sub = evb_calloc(1, sizeof *sub);
    if (!sub) {
        evb_fail_memory();
        return NULL;
    }
    atomic_init(&sub->refs, 1);
    atomic_init(&sub->state, EVB_SUB_LIVE);
    sub->generation = evb_fork_generation();
    sub->created_ms = evb_clock_mono_ms();
    sub->job.run = evb_sub_run_job;
    sub->work.run = evb_sub_run_work;
    evb_list_init(&sub->work.node);
    evb_list_init(&sub->node);
    evb_lock_init(&sub->lock);
    evb_cond_init(&sub->ended);
    evb_fifo_init(&sub->fifo, 0, 0, 0, item_drop);
    return sub;
}

void evb_sub_ref(evbus_sub *sub)
{
    atomic_fetch_add_explicit(&sub->refs, 1, memory_order_relaxed);
}

void evb_sub_unref(evbus_sub *sub)
{
    if (atomic_fetch_sub_explicit(&sub->refs, 1, memory_order_acq_rel) != 1)
        return;
    evb_fifo_fini(&sub->fifo);
    evb_lanes_free(sub->lanes);
    evb_slow_free(sub->slow);
    evb_tally_free(sub->tally);
    evb_free(sub->limit);
    pthread_cond_destroy(&sub->ended);
    pthread_mutex_destroy(&sub->lock);
    if (sub->release)
        sub->release(sub);
    evb_free(sub);
}

/* ENDING -> ENDED, by whoever finds that no handler runs any more. on_free comes before ENDED, so
 * that nothing of the caller's is touched once evbus_unsubscribe() has returned. */
static AWAY void try_end(evbus_sub *sub)
{
    evb_hazard_barrier();
    if (evb_hazard_held(sub))
        return;
    pthread_mutex_lock(&sub->lock);
    bool mine = atomic_load(&sub->state) == EVB_SUB_ENDING && !sub->freeing;
    sub->freeing = sub->freeing || mine;
    evbus_free_fn on_free = sub->on_free;
    pthread_mutex_unlock(&sub->lock);
    if (!mine)
        return;
    if (on_free) {
        struct evb_thread *thread = evb_thread_self();
        if (thread)
            thread->callbacks++;
        on_free(sub->user);
        if (thread)
            thread->callbacks--;
    }
    pthread_mutex_lock(&sub->lock);
    atomic_store(&sub->state, EVB_SUB_ENDED);
    pthread_cond_broadcast(&sub->ended);
    pthread_mutex_unlock(&sub->lock);
    if (sub->limit)
        sub->limit->leave(sub);
}

void evb_sub_end(evbus_sub *sub)
{
    int live = EVB_SUB_LIVE;
    evb_sub_ref(sub);
    atomic_compare_exchange_strong(&sub->state, &live, EVB_SUB_ENDING);
    if (atomic_load(&sub->state) == EVB_SUB_ENDING)
        try_end(sub);
    evb_sub_unref(sub);
}

static bool has_ended(const evbus_sub *sub)
{
    return atomic_load(&sub->state) == EVB_SUB_ENDED;
}

static void wait_until(evbus_sub *sub, int64_t deadline_ms)
{
    int rc = 0;
    pthread_mutex_lock(&sub->lock);
    while (!has_ended(sub) && rc != ETIMEDOUT)
        rc = evb_cond_wait(&sub->ended, &sub->lock, deadline_ms);
    pthread_mutex_unlock(&sub->lock);
}

int evb_sub_wait_ended(evbus_sub *sub, int timeout_ms)
{
    int64_t deadline_ms = evb_deadline_ms(timeout_ms);
    if (evb_thread_in_callback())
        return 0;
    do { /* a thread that was ended inside the handler tells nobody: this one looks */
        int64_t look_ms = evb_deadline_ms(LOOK_MS);
        wait_until(sub, look_ms < deadline_ms ? look_ms : deadline_ms);
        if (!has_ended(sub))
            try_end(sub);
    } while (!has_ended(sub) && evb_time_left_ms(deadline_ms) != 0);
    return has_ended(sub) ? 0 : evb_fail(EVBUS_ETIMEDOUT, "a handler still runs");
}

void evb_sub_count_shared(evbus_sub *sub, struct evb_thread *thread)
{
    struct evb_thread *nobody = NULL;
    if (!atomic_load_explicit(&sub->counting, memory_order_relaxed) &&
        atomic_compare_exchange_strong(&sub->counting, &nobody, thread))
        evb_sub_count(sub, thread);
    else
        atomic_fetch_add_explicit(&sub->delivered_elsewhere, 1, memory_order_relaxed);
}

static AWAY void count_failed(evbus_sub *sub, int rc)
{
    if (sub->guarded && rc == EVB_CALL_NONE)
        return;
    atomic_fetch_add_explicit(&sub->failed, 1, memory_order_relaxed);
    evb_count(sub->metrics, EVB_COUNT_failed, 1);
}

/* In place: it is most of what a delivery costs. */
static inline __attribute__((always_inline)) void call(evbus_sub *sub, evbus_event *event,
                                                       struct evb_thread *thread)
{
    unsigned slot = evb_hazard_hold(thread, sub), callbacks = thread->callbacks;
    if (atomic_load(&sub->state) == EVB_SUB_LIVE) {
        thread->callbacks = callbacks + 1;
        int rc = sub->fn(sub, event, sub->user);
        thread->callbacks = callbacks;
        if (rc == 0) {
            thread->handled++;
            evb_sub_count(sub, thread);
        } else {
            count_failed(sub, rc);
        }
    }
    evb_hazard_release_slot(thread, slot);
    if (atomic_load(&sub->state) == EVB_SUB_ENDING)
        try_end(sub);
}

void evb_sub_call(evbus_sub *sub, evbus_event *event, struct evb_thread *thread)
{
    call(sub, event, thread);
}

/* The fn of those that have a limit. It ends with the last call, when those that began before have
 * returned, too; this thread goes all the way when it holds the subscription no longer. */
static int call_limited(evbus_sub *sub, evbus_event *event, void *user)
{
    struct evb_limit *limit = sub->limit;
    if (atomic_fetch_add(&limit->begun, 1) >= limit->most)
        return EVB_CALL_NONE;
    int rc = limit->fn(sub, event, user);
    if (rc != 0 && !(sub->member && rc == EVBUS_LATER))
        rc = EVB_CALL_FAILED;
    if (atomic_fetch_add(&limit->done, 1) + 1 == limit->most)
        evb_sub_end(sub);
    return rc;
}

int evb_sub_set_limit(evbus_sub *sub, int64_t most, void (*leave)(evbus_sub *sub))
{
    sub->limit = evb_calloc(1, sizeof *sub->limit);
    if (!sub->limit)
        return evb_fail_memory();
    sub->limit->most = most;
    sub->limit->leave = leave;
    sub->limit->fn = sub->fn;
    sub->fn = call_limited;
    sub->guarded = true;
    return 0;
}

static bool is_spent(const evbus_sub *sub)
{
    return sub->limit && atomic_load(&sub->limit->begun) >= sub->limit->most;
}

/* ---- delivering ---- */

/* Straight from the socket to the handler, when nothing waits in front. */
static bool may_call_now(evbus_sub *sub, unsigned how, const struct evb_thread *thread)
{
    if (!(how & EVB_FROM_REDIS) || thread->callbacks || sub->hold)
        return false;
    pthread_mutex_lock(&sub->lock);
    bool empty = !sub->scheduled;
    pthread_mutex_unlock(&sub->lock);
    return empty;
}

/* True: the event's reference was given, and is kept. */
static bool queue_up(evbus_sub *sub, evbus_event *event, unsigned how)
{
    bool given = how & EVB_GIVEN;
    if (is_spent(sub))
        return false;
    if (!given)
        evbus_event_ref(event);
    evb_sub_put(sub, event, how);
    return given;
}

/* To those that are not called inline: at once where nothing waits in front, or in the queue. */
static AWAY bool deliver_on(evbus_sub *sub, evbus_event *event, unsigned how,
                            struct evb_thread *thread)
{
    if (sub->deliver != EVB_DELIVER_LOOP || !may_call_now(sub, how, thread))
        return queue_up(sub, event, how);
    call(sub, event, thread);
    return false;
}

static inline bool wants(const evbus_sub *sub, unsigned how)
{
    return atomic_load_explicit(&sub->scope, memory_order_relaxed) & (int)how &&
           (sub->echo || !(how & EVB_FROM_SELF));
}

bool evb_sub_deliver(evbus_sub *sub, evbus_event *event, unsigned how, struct evb_thread *thread)
{
    if (!wants(sub, how))
        return false;
    if (sub->deliver != EVB_DELIVER_INLINE)
        return deliver_on(sub, event, how, thread);
    call(sub, event, thread);
    return false;
}

bool evb_sub_wants(const evbus_sub *sub, unsigned how)
{
    return wants(sub, how);
}

bool evb_sub_offer(evbus_sub *sub, evbus_event *event, unsigned how, struct evb_thread *thread)
{
    if (!evb_sub_wants(sub, how) || is_spent(sub))
        return true;
    if (sub->deliver == EVB_DELIVER_INLINE ||
        (sub->deliver == EVB_DELIVER_LOOP && may_call_now(sub, how, thread))) {
        evb_sub_call(sub, event, thread);
        return true;
    }
    return evb_sub_put(sub, evbus_event_ref(event), (how & ~EVB_GIVEN) | EVB_MAY_LAG);
}

/* Its lock may have been held when the child began: there it must not be touched. */
static int check_fork(const evbus_sub *sub)
{
    if (sub->generation == evb_fork_generation())
        return 0;
    return evb_fail(EVBUS_EFORK, "the subscription belongs to the parent process");
}

int evbus_sub_on_free(evbus_sub *sub, evbus_free_fn fn)
{
    if (!sub || !fn)
        return evb_fail(EVBUS_EINVAL, "evbus_sub_on_free: needs a subscription and a function");
    if (check_fork(sub) != 0)
        return EVBUS_EFORK;
    pthread_mutex_lock(&sub->lock);
    bool over = atomic_load(&sub->state) == EVB_SUB_ENDED || sub->freeing;
    if (!over)
        sub->on_free = fn;
    pthread_mutex_unlock(&sub->lock);
    if (over)
        fn(sub->user);
    return 0;
}

int64_t evbus_sub_stat(const evbus_sub *sub, const char *name)
{
    if (!sub || !name)
        return -1;
    if (check_fork(sub) != 0)
        return EVBUS_EFORK;
    if (!strcmp(name, "delivered"))
        return atomic_load(&sub->delivered_there) + atomic_load(&sub->delivered_elsewhere);
    if (!strcmp(name, "failed"))
        return atomic_load(&sub->failed);
    if (!strcmp(name, "dropped"))
        return atomic_load(&sub->dropped);
    if (!strcmp(name, "polled"))
        return atomic_load(&sub->polled);
    if (!strcmp(name, "leading"))
        return atomic_load(&sub->leading);
    pthread_mutex_t *lock = (pthread_mutex_t *)&sub->lock;
    pthread_mutex_lock(lock);
    int64_t queued = evb_sub_fill(sub).events,
            peak = sub->lanes ? sub->lanes->peak : sub->fifo.peak;
    int64_t value = !strcmp(name, "queued") ? queued
                    : !strcmp(name, "peak") ? peak
                    : !strcmp(name, "slow") ? evb_slow_is(sub->slow)
                                            : -1;
    pthread_mutex_unlock(lock);
    return value;
}
