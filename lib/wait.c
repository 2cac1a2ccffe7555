/* wait.c - waiting with a deadline. Any thread. */
#include "wait.h"
#include "alloc.h"
#include "clock.h"
#include "err.h"
#include <errno.h>
#include <evbus.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

struct evb_wait {
    atomic_int refs;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;  /* under lock */
    int result; /* under lock */
};

void evb_lock_init(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(lock, &attr);
    pthread_mutexattr_destroy(&attr);
}

void evb_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

static int64_t now_ms(void)
{
    struct timespec now; /* the kernel's, even where a test has its own clock */
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t evb_deadline_ms(int timeout_ms)
{
    return timeout_ms < 0 ? INT64_MAX : now_ms() + timeout_ms;
}

int evb_time_left_ms(int64_t deadline_ms)
{
    if (deadline_ms == INT64_MAX)
        return -1;
    int64_t left = deadline_ms - now_ms();
    return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

int evb_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t deadline_ms)
{
    struct timespec until = {.tv_sec = deadline_ms / 1000,
                             .tv_nsec = (long)(deadline_ms % 1000) * 1000000};
    if (deadline_ms == INT64_MAX)
        return pthread_cond_wait(cond, lock);
    return pthread_cond_timedwait(cond, lock, &until);
}

struct evb_wait *evb_wait_new(void)
{
    struct evb_wait *wait = evb_calloc(1, sizeof *wait);
    if (!wait) {
        evb_fail_memory();
        return NULL;
    }
    atomic_init(&wait->refs, 2);
    pthread_mutex_init(&wait->lock, NULL);
    evb_cond_init(&wait->cond);
    return wait;
}

static void wait_unref(struct evb_wait *wait)
{
    if (atomic_fetch_sub(&wait->refs, 1) != 1)
        return;
    pthread_cond_destroy(&wait->cond);
    pthread_mutex_destroy(&wait->lock);
    evb_free(wait);
}

void evb_wait_done(int result, void *user)
{
    struct evb_wait *wait = user;
    pthread_mutex_lock(&wait->lock);
    wait->done = true;
    wait->result = result;
    pthread_cond_signal(&wait->cond);
    pthread_mutex_unlock(&wait->lock);
    wait_unref(wait);
}

int evb_wait_for(struct evb_wait *wait, int timeout_ms)
{
    int64_t deadline_ms = evb_deadline_ms(timeout_ms);
    int rc = 0;
    pthread_mutex_lock(&wait->lock);
    while (!wait->done && rc != ETIMEDOUT)
        rc = evb_cond_wait(&wait->cond, &wait->lock, deadline_ms);
    int result = wait->done ? wait->result : EVBUS_ETIMEDOUT;
    pthread_mutex_unlock(&wait->lock);
    wait_unref(wait);
    return result;
}

void evb_wait_cancel(struct evb_wait *wait)
{
    wait_unref(wait);
    wait_unref(wait);
}
