/*
 * close.c - waiting for a bus, flushing it, ending it; the process's default bus. Any thread; jobs:
 * loop.
 *
 * Closing: OPEN -> CLOSING (nothing is accepted any more; reports are given, handlers empty their
 * queues) -> CLOSED (Redis is left, every subscription has ended). evbus_free() goes there at once.
 */
#include "close.h"
#include "alloc.h"
#include "batch.h"
#include "claim.h"
#include "durable.h"
#include "err.h"
#include "fork.h"
#include "group.h"
#include "history.h"
#include "interest.h"
#include "leader.h"
#include "poll.h"
#include "pool.h"
#include "replay.h"
#include "request.h"
#include "route.h"
#include "subscribe.h"
#include "wait.h"
#include "waiter.h"
#include <sched.h>
#include <stdlib.h>

/* A worker's handler may have begun to wait for the loop just before that came to its end. */
enum { REST_MS = 10 };

/* ---- waiting for the connection ---- */

static void connected_job(struct evb_job *job)
{
    struct evb_waiter *waiter = evb_waiter_of(job);
    struct evbus *bus = waiter->bus;
    if (atomic_load(&bus->state) == EVB_BUS_CLOSED)
        evb_waiter_end(waiter, EVBUS_ECLOSED);
    else if (evb_bus_connected(bus))
        evb_waiter_end(waiter, 0);
    else
        evb_waiter_add(waiter, &bus->waiters);
}

int evbus_wait_connected(evbus *bus, int timeout_ms)
{
    char why[256];
    int rc = evb_bus_check(bus, false);
    if (rc == 0)
        rc = evb_bus_may_wait(bus, "evbus_wait_connected", timeout_ms);
    if (rc == 0 && !bus->wants_redis)
        rc = evb_fail(EVBUS_ENOTSUP, "the bus has no Redis to wait for: set redis.url");
    if (rc != 0)
        return rc;
    if (timeout_ms == 0 && atomic_load(&bus->redis.state) == EVB_REDIS_READY &&
        !evb_registry_is_pending(&bus->registry))
        return 0;
    struct evb_wait *wait = evb_wait_new();
    struct evb_waiter *waiter =
        wait ? evb_waiter_new(bus, connected_job, evb_wait_done, wait) : NULL;
    if (!waiter) {
        if (wait)
            evb_wait_cancel(wait);
        return EVBUS_ENOMEM;
    }
    evb_waiter_post(waiter);
    rc = evb_wait_for(wait, timeout_ms);
    if (rc == EVBUS_ECLOSED)
        return evb_fail(rc, "the bus was closed meanwhile");
    if (rc != EVBUS_ETIMEDOUT)
        return rc;
    evb_fault_read(&bus->redis.fault, why, sizeof why);
    return evb_fail(rc, "no connection to Redis within %d ms%s%s", timeout_ms, why[0] ? ": " : "",
                    why);
}

static void reconnect_job(struct evb_job *job)
{
    struct evb_waiter *waiter = evb_waiter_of(job);
    struct evbus *bus = waiter->bus;
    if (atomic_load(&bus->state) == EVB_BUS_OPEN) {
        evb_backoff_reset(&bus->redis.backoff);
        evb_interest_again(bus);
        evb_redis_start(&bus->redis);
    }
    evb_waiter_end(waiter, 0);
}

int evbus_reconnect(evbus *bus)
{
    int rc = evb_bus_check(bus, false);
    if (rc == 0 && !bus->wants_redis)
        rc = evb_fail(EVBUS_ENOTSUP, "the bus has no Redis to reconnect to: set redis.url");
    if (rc != 0)
        return rc;
    struct evb_waiter *waiter = evb_waiter_new(bus, reconnect_job, NULL, NULL);
    if (!waiter)
        return EVBUS_ENOMEM;
    evb_waiter_post(waiter);
    return 0;
}

/* ---- flush ---- */

static void mark_job(struct evb_job *job)
{
    struct evb_item *item = evb_container(job, struct evb_item, job);
    struct evbus *bus = item->owner;
    evb_outbox_take(&bus->redis.outbox, item);
}

/* The open batches go first; the mark then stands behind what they posted. */
static void batches_job(struct evb_job *job)
{
    struct evb_item *item = evb_container(job, struct evb_item, job);
    struct evbus *bus = item->owner;
    if (!evb_batch_flush(bus)) {
        mark_job(job);
        return;
    }
    job->run = mark_job;
    evb_loop_post(&bus->loop, job);
}

static int flush(struct evbus *bus, evbus_done_fn fn, void *user)
{
    struct evb_item *item = evb_pool_take(sizeof *item, NULL);
    if (!item)
        return evb_fail_memory();
    evb_item_init(item);
    item->owner = bus;
    item->mark = fn;
    item->user = user;
    item->job.run = batches_job;
    evb_loop_post(&bus->loop, &item->job);
    return 0;
}

int evbus_flush_async(evbus *bus, evbus_done_fn fn, void *user)
{
    int rc = evb_bus_check(bus, false);
    if (rc == 0 && !fn)
        rc = evb_fail(EVBUS_EINVAL, "evbus_flush_async: no function to call (NULL)");
    return rc != 0 ? rc : flush(bus, fn, user);
}

int evbus_flush(evbus *bus, int timeout_ms)
{
    int rc = evb_bus_check(bus, false);
    if (rc == 0)
        rc = evb_bus_may_wait(bus, "evbus_flush", timeout_ms);
    if (rc != 0)
        return rc;
    if (timeout_ms == 0 && evb_outbox_events(&bus->redis.outbox) == 0)
        return 0;
    struct evb_wait *wait = evb_wait_new();
    if (!wait || flush(bus, evb_wait_done, wait) != 0) {
        if (wait)
            evb_wait_cancel(wait);
        return EVBUS_ENOMEM;
    }
    rc = evb_wait_for(wait, timeout_ms);
    if (rc == EVBUS_ETIMEDOUT)
        return evb_fail(rc, "%lld events still wait for Redis after %d ms (%s)",
                        (long long)atomic_load(&bus->redis.outbox.owed.events), timeout_ms,
                        evbus_mode_name(atomic_load(&bus->mode)));
    return rc == 0 ? 0 : evb_fail(rc, "the bus was closed before all was sent");
}

/* ---- the end ---- */

/* CLOSED, whatever is left. On the loop. */
static void finish(struct evbus *bus)
{
    if (atomic_load(&bus->state) == EVB_BUS_CLOSED)
        return;
    evb_batch_end(bus);
    /* Who waits for one of these needs not wait any more. */
    void (*saved)(void *user) = bus->durables_done, (*left)(void *user) = bus->leases_done;
    bus->durables_done = bus->leases_done = NULL;
    evb_request_end_all(bus);
    evb_history_end_all(bus); /* the bus is what they lack, not the link */
    if (bus->wants_redis)
        evb_redis_stop(&bus->redis);
    evb_outbox_abandon(&bus->redis.outbox, EVBUS_ECLOSED);
    size_t count;
    evbus_sub **subs = evb_registry_close(&bus->registry, &count);
    evb_queues_close(
        bus); /* before their subscriptions end: what waits in them is still to be had */
    for (size_t i = 0; i < count; i++) {
        evb_registry_remove(&bus->registry, subs[i]);
        evb_sub_end(subs[i]);
    }
    bus->ended = subs;
    bus->ended_count = count;
    atomic_store(&bus->mode, EVBUS_MODE_CLOSED);
    atomic_store(&bus->state, EVB_BUS_CLOSED);
    evb_log(&bus->log, EVBUS_LOG_INFO, "closed");
    evb_waiter_end_all(&bus->waiters, EVBUS_ECLOSED);
    evb_replay_end_all(bus);
    evb_durable_end_all(bus);
    evb_claims_end_all(bus);
    evb_group_end_all(bus);
    evb_lease_end_all(bus);
    evb_poll_end_all(bus);
    evb_waiter_end_all(&bus->closers, 0);
    if (saved)
        saved(bus->durables_user);
    if (left)
        left(bus->leases_user);
}

/* Nothing of the bus is to be said to Redis any more. */
static void on_left_lead(void *user)
{
    struct evb_waiter *waiter = user;
    finish(waiter->bus);
    evb_waiter_end(waiter, 0);
}

static void on_saved(void *user)
{
    struct evb_waiter *waiter = user;
    evb_lease_close(waiter->bus, on_left_lead, waiter);
}

/* No event of a group is in this process any more. */
static void on_given_back(void *user)
{
    struct evb_waiter *waiter = user;
    evb_durable_close(waiter->bus, on_saved, waiter);
}

/* All reports are given: what handlers have not had yet comes first, in its order. */
static void drain_job(struct evb_job *job)
{
    struct evb_waiter *waiter = evb_waiter_of(job);
    struct evbus *bus = waiter->bus;
    bool idle = true, told = false; /* told: the last worker will post the waiter */
    size_t count = 0;
    if (evb_claims_drain(bus, job, EVB_CLAIMS_ASKING))
        return;
    evbus_sub **subs = evb_registry_list(&bus->registry, &count);
    for (size_t i = 0; i < count; i++) {
        if (subs[i]->deliver == EVB_DELIVER_WORKERS)
            told = evb_sub_drain(subs[i], told ? NULL : job) || told;
        else
            idle = evb_sub_idle(subs[i]) && idle;
        evb_sub_unref(subs[i]);
    }
    evb_free(subs);
    if (told)
        return;
    if (!idle && atomic_load(&bus->state) != EVB_BUS_CLOSED) {
        evb_waiter_post(waiter);
        return;
    }
    if (!evb_claims_drain(bus, job, EVB_CLAIMS_SETTLING))
        evb_group_close(bus, on_given_back, waiter);
}

static void on_flushed(int result, void *user)
{
    struct evb_waiter *waiter = user;
    (void)result;
    waiter->job.run = drain_job;
    evb_waiter_post(waiter);
}

/* When no publish is half-way any more (route.c: it holds the state while it posts). */
static void stopping_job(struct evb_job *job)
{
    struct evb_waiter *waiter = evb_waiter_of(job);
    if (evb_hazard_held(&waiter->bus->state)) {
        sched_yield();
        evb_waiter_post(waiter);
        return;
    }
    evb_route_system(waiter->bus, "evbus.stopping", "{}");
    evb_group_stop(waiter->bus);
    if (flush(waiter->bus, on_flushed, waiter) != 0)
        on_flushed(EVBUS_ENOMEM, waiter);
}

static void closing_job(struct evb_job *job)
{
    evb_hazard_barrier(); /* who looks at the state from now on sees that it is CLOSING */
    evb_waiter_of(job)->job.run = stopping_job;
    stopping_job(job);
}

static void join_closers_job(struct evb_job *job)
{
    struct evb_waiter *waiter = evb_waiter_of(job);
    if (atomic_load(&waiter->bus->state) == EVB_BUS_CLOSED)
        evb_waiter_end(waiter, 0);
    else
        evb_waiter_add(waiter, &waiter->bus->closers);
}

static int close_with(struct evbus *bus, int timeout_ms, evbus_done_fn fn, void *user)
{
    int open = EVB_BUS_OPEN;
    struct evb_waiter *closer = evb_waiter_new(bus, join_closers_job, fn, user);
    struct evb_waiter *closing = evb_waiter_new(bus, closing_job, NULL, NULL);
    if (!closer || !closing) {
        if (closer) {
            closer->fn = NULL;
            evb_waiter_end(closer, 0);
        }
        if (closing)
            evb_waiter_end(closing, 0);
        return EVBUS_ENOMEM;
    }
    closer->timeout_ms = timeout_ms;
    evb_waiter_post(closer);
    if (atomic_compare_exchange_strong(&bus->state, &open, EVB_BUS_CLOSING))
        evb_waiter_post(closing);
    else
        evb_waiter_end(closing, 0);
    return 0;
}

int evbus_close_async(evbus *bus, int timeout_ms, evbus_done_fn fn, void *user)
{
    int rc = evb_bus_check(bus, true);
    if (rc == 0 && !fn)
        rc = evb_fail(EVBUS_EINVAL, "evbus_close_async: no function to call (NULL)");
    return rc != 0 ? rc : close_with(bus, timeout_ms, fn, user);
}

/* Handlers that run on other threads return in their own time. */
static int wait_handlers(struct evbus *bus, int64_t deadline_ms)
{
    int rc = 0;
    for (size_t i = 0; i < bus->ended_count && rc == 0; i++)
        rc = evb_sub_wait_ended(bus->ended[i], evb_time_left_ms(deadline_ms));
    if (rc == 0 && !evb_workers_wait_idle(&bus->workers, evb_time_left_ms(deadline_ms)))
        rc = evb_fail(EVBUS_ETIMEDOUT, "a handler of deliver=workers still runs");
    return rc;
}

int evbus_close(evbus *bus, int timeout_ms)
{
    int64_t deadline_ms = evb_deadline_ms(timeout_ms);
    int rc = evb_bus_check(bus, true);
    if (rc == 0 && evb_thread_in_callback())
        return close_with(bus, -1, NULL, NULL);
    if (rc == 0 && atomic_load(&bus->state) == EVB_BUS_CLOSED)
        return wait_handlers(bus, deadline_ms);
    if (rc == 0)
        rc = evb_bus_may_wait(bus, "evbus_close", timeout_ms);
    if (rc != 0)
        return rc;
    struct evb_wait *wait = evb_wait_new();
    if (!wait || close_with(bus, -1, evb_wait_done, wait) != 0) {
        if (wait)
            evb_wait_cancel(wait);
        return EVBUS_ENOMEM;
    }
    rc = evb_wait_for(wait, timeout_ms);
    if (rc == EVBUS_ETIMEDOUT)
        return evb_fail(
            rc,
            "still closing after %d ms: %lld events wait for Redis, or a handler for its "
            "end; call again, or evbus_free()",
            timeout_ms, (long long)atomic_load(&bus->redis.outbox.owed.events));
    return rc != 0 ? rc : wait_handlers(bus, deadline_ms);
}

void evb_bus_teardown(struct evbus *bus)
{
    evb_workers_join(&bus->workers);
    evb_hazard_barrier();
    /* Who pulls from a queue may be posting; what a handler published may be on its way. */
    while (evb_hazard_held(&bus->state) || evb_hazard_held(&bus->registry) ||
           atomic_load(&bus->posting))
        sched_yield();
    do { /* what was posted last, and what its ends post */
        evb_loop_run_rest(&bus->loop);
        if (bus->redis.loop) /* else opening the bus did not get so far */
            evb_outbox_abandon(&bus->redis.outbox, EVBUS_ECLOSED);
    } while (evb_loop_has_rest(&bus->loop));
    for (size_t i = 0; i < bus->ended_count; i++)
        evb_sub_unref(bus->ended[i]);
    evb_free(bus->ended);
    bus->ended = NULL;
    bus->ended_count = 0;
    evb_requests_fini(bus);
    evb_interest_fini(bus);
    evb_batch_fini(bus);
    evb_redis_fini(&bus->redis);
    evb_claims_fini(bus);
    evb_loop_fini(&bus->loop);
    evb_seen_fini(&bus->seen);
    evb_recent_fini(&bus->recent);
    evb_registry_purge(&bus->registry);
    evb_bus_unref(bus);
}

/* Whoever asked for it may not be back from waking the loop yet, whose descriptor goes here; nor
 * may the publisher of the event whose handler asked. */
static void teardown_later(void *user)
{
    struct evbus *bus = user;
    evb_hazard_barrier();
    while (!atomic_load(&bus->free_posted) || evb_hazard_held(bus) || evb_hazard_held(&bus->state))
        sched_yield();
    evb_bus_teardown(bus);
}

/* On the last worker, which teardown joins before it ends the loop. */
static void on_left(void *user)
{
    struct evbus *bus = user;
    evb_loop_post(&bus->loop, &bus->left_job);
}

/* CLOSED; `left` comes on the loop, which goes on meanwhile: handlers may wait for it. */
static void finish_and_leave(struct evb_job *job, void (*left)(struct evb_job *job))
{
    struct evb_waiter *waiter = evb_waiter_of(job);
    struct evbus *bus = waiter->bus;
    finish(bus);
    bus->left_job.run = left;
    evb_workers_leave(&bus->workers, on_left, bus);
    evb_waiter_end(waiter, 0);
}

/* evbus_free() inside a callback: the loop ends the bus when that has returned. */
static void stop_alone_job(struct evb_job *job)
{
    struct evbus *bus = evb_container(job, struct evbus, left_job);
    evb_loop_stop_alone(&bus->loop, teardown_later, bus);
}

static void free_later_job(struct evb_job *job)
{
    finish_and_leave(job, stop_alone_job);
}

static void stop_job(struct evb_job *job)
{
    evb_loop_stop(&evb_container(job, struct evbus, left_job)->loop);
}

static void free_now_job(struct evb_job *job)
{
    finish_and_leave(job, stop_job);
}

static void free_on_base(struct evbus *bus)
{
    evb_loop_begin(&bus->loop);
    finish(bus);
    evb_waiter_end(bus->free_waiter, 0);
    evb_loop_end(&bus->loop);
    evb_workers_leave(&bus->workers, NULL, NULL);
    while (!evb_workers_wait_idle(&bus->workers, REST_MS))
        evb_loop_run_rest(&bus->loop);
    wait_handlers(bus, INT64_MAX);
    evb_bus_teardown(bus);
}

void evb_bus_free(evbus *bus)
{
    if (bus->generation != evb_fork_generation()) {
        evb_redis_drop(&bus->redis);
        evb_group_drop(bus);
        evb_loop_drop(&bus->loop);
        return;
    }
    bool later = evb_thread_in_callback();
    if (!later && !bus->loop.own) {
        free_on_base(bus);
        return;
    }
    bus->free_waiter->job.run = later ? free_later_job : free_now_job;
    evb_waiter_post(bus->free_waiter);
    if (later) {
        atomic_store(&bus->free_posted, 1);
        return;
    }
    evb_loop_join(&bus->loop);
    wait_handlers(bus, INT64_MAX);
    evb_bus_teardown(bus);
}
