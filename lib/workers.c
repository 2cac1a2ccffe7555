/* workers.c - threads that run work in the order in which it was asked for. Any thread. */
#include "workers.h"
#include "alloc.h"
#include "err.h"
#include "thread.h"
#include "wait.h"
#include <errno.h>
#include <evbus.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

void evb_workers_init(struct evb_workers *workers)
{
    memset(workers, 0, sizeof *workers);
    evb_lock_init(&workers->lock);
    evb_cond_init(&workers->wanted);
    evb_cond_init(&workers->changed);
    evb_list_init(&workers->queue);
}

void evb_workers_fini(struct evb_workers *workers)
{
    pthread_cond_destroy(&workers->changed);
    pthread_cond_destroy(&workers->wanted);
    pthread_mutex_destroy(&workers->lock);
}

/* ---- the threads ---- */

/* The next work, or NULL: leave. One whose work is wanted by more goes behind the others, so that
 * each has its turn. Lock held. */
static struct evb_work *next_work(struct evb_workers *workers)
{
    while (evb_list_empty(&workers->queue) && workers->state == EVB_WORKERS_RUNNING) {
        workers->sleeping++;
        pthread_cond_wait(&workers->wanted, &workers->lock);
        workers->sleeping--;
    }
    if (evb_list_empty(&workers->queue))
        return NULL;
    struct evb_work *work = evb_container(workers->queue.next, struct evb_work, node);
    evb_list_remove(&work->node);
    if (--work->asked > 0)
        evb_list_push(&workers->queue, &work->node);
    atomic_fetch_sub_explicit(&workers->waiting, 1, memory_order_relaxed);
    return work;
}

/* Lock held, as after it. */
static void run_all(struct evb_workers *workers)
{
    struct evb_work *work;
    while ((work = next_work(workers))) {
        workers->busy++;
        pthread_mutex_unlock(&workers->lock);
        work->run(work);
        pthread_mutex_lock(&workers->lock);
        if (--workers->busy == 0 && evb_list_empty(&workers->queue))
            pthread_cond_broadcast(&workers->changed);
    }
}

static void *worker_main(void *arg)
{
    struct evb_workers *workers = arg;
    bool good = evb_thread_self() != NULL;
    pthread_mutex_lock(&workers->lock);
    workers->arrived++;
    workers->failed += !good;
    pthread_cond_broadcast(&workers->changed);
    while (workers->state == EVB_WORKERS_STARTING)
        pthread_cond_wait(&workers->changed, &workers->lock);
    run_all(workers);
    bool last = --workers->alive == 0 && workers->state == EVB_WORKERS_LEAVING;
    void (*gone)(void *user) = last ? workers->gone : NULL;
    pthread_mutex_unlock(&workers->lock);
    if (gone)
        gone(workers->user);
    return NULL;
}

/* ---- starting ---- */

static int create_one(struct evb_workers *workers, const char *name)
{
    char text[128], shortened[32]; /* pthread_setname_np(3): 16 with the NUL */
    pthread_t *thread = &workers->threads[workers->thread_count];
    int rc = pthread_create(thread, NULL, worker_main, workers);
    if (rc != 0)
        return evb_fail(EVBUS_ESYS,
                        "worker thread %d of %d does not start: %s: lower the setting workers, or "
                        "raise the process's limits",
                        workers->thread_count + 1, workers->count,
                        strerror_r(rc, text, sizeof text));
    snprintf(shortened, sizeof shortened, "%.9s-w%d", name, workers->thread_count);
    pthread_setname_np(*thread, shortened);
    workers->thread_count++;
    return 0;
}

static int create_all(struct evb_workers *workers, const char *name)
{
    sigset_t all, before;
    int rc = 0;
    workers->threads = evb_alloc((size_t)workers->count * sizeof(pthread_t));
    if (!workers->threads)
        return evb_fail_memory();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (rc == 0 && workers->thread_count < workers->count)
        rc = create_one(workers, name);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static void set_state(struct evb_workers *workers, int state)
{
    pthread_mutex_lock(&workers->lock);
    workers->state = state;
    pthread_cond_broadcast(&workers->changed);
    pthread_mutex_unlock(&workers->lock);
}

/* Every thread has come so far that it can run a handler. */
static int await_arrival(struct evb_workers *workers)
{
    pthread_mutex_lock(&workers->lock);
    while (workers->arrived < workers->count)
        pthread_cond_wait(&workers->changed, &workers->lock);
    int failed = workers->failed;
    pthread_mutex_unlock(&workers->lock);
    return failed ? evb_fail_memory() : 0;
}

void evb_workers_join(struct evb_workers *workers)
{
    for (int i = 0; i < workers->thread_count; i++)
        pthread_join(workers->threads[i], NULL);
    evb_free(workers->threads);
    workers->threads = NULL;
    workers->thread_count = 0;
}

/* This thread alone starts them. */
static int start(struct evb_workers *workers, const char *name)
{
    workers->arrived = workers->failed = 0;
    workers->alive = workers->count;
    int rc = create_all(workers, name);
    if (rc == 0)
        rc = await_arrival(workers);
    if (rc != 0) {
        set_state(workers, EVB_WORKERS_GIVING_UP);
        evb_workers_join(workers);
    }
    set_state(workers, rc == 0 ? EVB_WORKERS_RUNNING : EVB_WORKERS_NONE);
    return rc;
}

/* Until nobody starts any. Lock held. */
static void await_settled(struct evb_workers *workers)
{
    while (workers->state == EVB_WORKERS_STARTING || workers->state == EVB_WORKERS_GIVING_UP)
        pthread_cond_wait(&workers->changed, &workers->lock);
}

int evb_workers_start(struct evb_workers *workers, const char *name)
{
    pthread_mutex_lock(&workers->lock);
    await_settled(workers);
    int state = workers->state;
    if (state == EVB_WORKERS_NONE)
        workers->state = EVB_WORKERS_STARTING;
    pthread_mutex_unlock(&workers->lock);
    if (state == EVB_WORKERS_LEAVING)
        return evb_fail(EVBUS_ECLOSED, "the bus is closed");
    return state == EVB_WORKERS_NONE ? start(workers, name) : 0;
}

/* ---- work ---- */

bool evb_workers_ask(struct evb_workers *workers, struct evb_work *work)
{
    pthread_mutex_lock(&workers->lock);
    bool taken = workers->state == EVB_WORKERS_RUNNING;
    bool wake = taken && workers->sleeping > 0;
    if (taken) {
        if (work->asked++ == 0)
            evb_list_push(&workers->queue, &work->node);
        atomic_fetch_add_explicit(&workers->waiting, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&workers->lock);
    if (wake)
        pthread_cond_signal(&workers->wanted);
    return taken;
}

bool evb_workers_crowded(const struct evb_workers *workers)
{
    return atomic_load_explicit(&workers->waiting, memory_order_relaxed) > 0;
}

bool evb_workers_wait_idle(struct evb_workers *workers, int timeout_ms)
{
    int64_t deadline_ms = evb_deadline_ms(timeout_ms);
    int rc = 0;
    pthread_mutex_lock(&workers->lock);
    while ((workers->busy > 0 || !evb_list_empty(&workers->queue)) && rc != ETIMEDOUT)
        rc = evb_cond_wait(&workers->changed, &workers->lock, deadline_ms);
    bool idle = workers->busy == 0 && evb_list_empty(&workers->queue);
    pthread_mutex_unlock(&workers->lock);
    return idle;
}

int evb_workers_running(const struct evb_workers *workers)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&workers->lock;
    pthread_mutex_lock(lock);
    int count = workers->state == EVB_WORKERS_RUNNING ? workers->count : 0;
    pthread_mutex_unlock(lock);
    return count;
}

void evb_workers_leave(struct evb_workers *workers, void (*gone)(void *user), void *user)
{
    pthread_mutex_lock(&workers->lock);
    await_settled(workers);
    bool none = workers->state == EVB_WORKERS_NONE;
    workers->state = EVB_WORKERS_LEAVING;
    workers->gone = gone;
    workers->user = user;
    pthread_cond_broadcast(&workers->wanted);
    pthread_mutex_unlock(&workers->lock);
    if (none && gone)
        gone(user);
}
