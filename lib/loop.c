/* loop.c - the loop and its inbox. Posting: any thread; all else: the loop's thread. */
#include "loop.h"
#include "clock.h"
#include "err.h"
#include <errno.h>
#include <event2/event.h>
#include <evbus.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    JOBS_A_ROUND = 4096,
    ROUNDS_A_TURN = 16, /* then sockets and timers get their turn */
    LATE_MS = 20,       /* or when so much time has gone, if a job asks */
    QUICK_US = 50,      /* a sleep so short cost whoever ended it more than it was worth */
    QUICK_SLEEPS = 16,  /* so many in a row: the loop lingers before the next */
    LINGER_US = 5,      /* about what a sleep costs */
    LINGER_YIELDS = 64  /* at most: a clock may stand */
};

static void wake_up(struct evb_loop *loop)
{
    uint64_t one = 1;
    while (write(loop->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        continue;
}

void evb_loop_post(struct evb_loop *loop, struct evb_job *job)
{
    struct evb_job *newest = atomic_load_explicit(&loop->inbox, memory_order_relaxed);
    do
        job->next = newest;
    while (!atomic_compare_exchange_weak(&loop->inbox, &newest, job));
    if (!newest && atomic_exchange(&loop->asleep, 0))
        wake_up(loop);
}

static bool take_inbox(struct evb_loop *loop)
{
    struct evb_job *job = atomic_exchange(&loop->inbox, NULL);
    while (job) { /* newest first becomes oldest first */
        struct evb_job *older = job->next;
        job->next = loop->pending;
        loop->pending = job;
        job = older;
    }
    return loop->pending != NULL;
}

/* True: something was written to Redis. */
static bool run_jobs(struct evb_loop *loop)
{
    for (int n = 0; n < JOBS_A_ROUND && !loop->late && (loop->pending || take_inbox(loop)); n++) {
        struct evb_job *job = loop->pending;
        loop->pending = job->next;
        job->run(job);
    }
    return loop->idle && loop->idle(loop->user);
}

/* Under load the loop does not sleep between two events: waking it costs a publisher microseconds.
 * Nor does it look before the time is up, so that events gather: each that is taken alone costs all
 * cache lines that both threads write a way to and fro. No pause instruction, which on a virtual
 * machine makes the other cores slower; and who shares this core gets it. True: something came. */
static bool linger(struct evb_loop *loop)
{
    if (!loop->lingers)
        return false;
    int64_t until_us = evb_clock_mono_us() + LINGER_US;
    int yields = 0;
    do
        sched_yield();
    while (++yields < LINGER_YIELDS && evb_clock_mono_us() < until_us);
    bool came = evb_loop_has_rest(loop);
    if (!came)
        loop->quick_sleeps = 0; /* in vain: it is not tried again at once */
    return came;
}

/* Until nothing is left. What is posted while a round writes makes the next round; and who posts to
 * this very core gets it once more before the loop sleeps, so that under load nobody has to wake it
 * for a few events at a time. */
static void run_rounds(struct evb_loop *loop)
{
    for (int n = 0; n < ROUNDS_A_TURN; n++) {
        bool wrote = run_jobs(loop);
        if (wrote && !evb_loop_has_rest(loop))
            sched_yield();
        if (loop->late || (!evb_loop_has_rest(loop) && !linger(loop)))
            return;
    }
}

void evb_loop_begin(struct evb_loop *loop)
{
    if (loop->depth++ == 0) {
        atomic_store_explicit(&loop->thread, pthread_self(), memory_order_relaxed);
        atomic_store(&loop->asleep, 0);
        loop->late = loop->lingers = false;
        atomic_store_explicit(&loop->begun_ms, evb_clock_rough_ms(), memory_order_relaxed);
    }
}

static void end_round(struct evb_loop *loop)
{
    int64_t took_ms = evb_loop_lag_ms(loop);
    if (took_ms > atomic_load_explicit(&loop->longest_ms, memory_order_relaxed))
        atomic_store_explicit(&loop->longest_ms, took_ms, memory_order_relaxed);
    atomic_store_explicit(&loop->begun_ms, 0, memory_order_relaxed);
    if (took_ms >= EVB_LOOP_STALL_MS && loop->stalled)
        loop->stalled(took_ms, loop->user);
}

void evb_loop_end(struct evb_loop *loop)
{
    if (loop->depth > 1) {
        loop->depth--;
        return;
    }
    run_rounds(loop);
    end_round(loop);
    loop->slept_us = evb_clock_mono_us();
    /* From here a post that finds the inbox empty writes the eventfd; what came before is seen
     * here. */
    atomic_store(&loop->asleep, 1);
    if ((loop->pending || atomic_load(&loop->inbox)) && atomic_exchange(&loop->asleep, 0))
        wake_up(loop); /* by the eventfd: event_active() would put it before sockets and timers */
    loop->depth--;
}

/* On its own thread alone: with the caller's base it is the caller's time. */
static bool is_rushed(struct evb_loop *loop)
{
    bool quick = loop->own && evb_clock_mono_us() - loop->slept_us < QUICK_US;
    loop->quick_sleeps = !quick ? 0 : loop->quick_sleeps + (loop->quick_sleeps < QUICK_SLEEPS);
    return loop->quick_sleeps == QUICK_SLEEPS;
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct evb_loop *loop = arg;
    uint64_t count;
    (void)what;
    /* Edge-triggered, every write wakes once and nobody has to read; select and poll know no edge.
     */
    if (!(event_base_get_features(loop->base) & EV_FEATURE_ET))
        (void)!read((int)fd, &count, sizeof count);
    evb_loop_begin(loop);
    loop->lingers = is_rushed(loop);
    evb_loop_end(loop);
    if (!atomic_load(&loop->stopping))
        return;
    if (loop->own)
        event_base_loopbreak(loop->base);
    else if (loop->gone)
        loop->gone(loop->gone_user);
}

static struct event_base *own_base(void)
{
    struct event_config *config = event_config_new();
    if (!config)
        return NULL;
    /* One thread alone touches it: libevent's own locks would only cost. */
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

int evb_loop_init(struct evb_loop *loop, struct event_base *base)
{
    memset(loop, 0, sizeof *loop);
    loop->own = !base;
    atomic_init(&loop->asleep, 1);
    atomic_init(&loop->thread, pthread_self());
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake_fd < 0)
        return evb_fail_errno("eventfd");
    loop->base = base ? base : own_base();
    if (loop->base)
        loop->wake =
            event_new(loop->base, loop->wake_fd, EV_READ | EV_PERSIST | EV_ET, on_wake, loop);
    if (!loop->wake || event_add(loop->wake, NULL) != 0) {
        evb_loop_fini(loop);
        return evb_fail(EVBUS_ENOMEM, "libevent: no event base (memory or descriptors ran out)");
    }
    return 0;
}

static void *loop_main(void *arg)
{
    struct evb_loop *loop = arg;
    evb_loop_begin(loop);
    evb_loop_end(loop);
    while (!atomic_load(&loop->stopping))
        if (event_base_dispatch(loop->base) < 0)
            break;
    if (loop->gone) {
        pthread_detach(pthread_self());
        loop->gone(loop->gone_user);
    }
    return NULL;
}

int evb_loop_start(struct evb_loop *loop, const char *name)
{
    if (!loop->own)
        return 0;
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&thread, NULL, loop_main, loop);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        errno = rc;
        return evb_fail_errno("pthread_create");
    }
    atomic_store(&loop->thread, thread);
    loop->own_thread = thread;
    char shortened[16]; /* pthread_setname_np(3): 16 with the NUL */
    strncpy(shortened, name, sizeof shortened - 1);
    shortened[sizeof shortened - 1] = '\0';
    pthread_setname_np(thread, shortened);
    return 0;
}

void evb_loop_stop(struct evb_loop *loop)
{
    atomic_store(&loop->stopping, 1);
    wake_up(loop);
}

void evb_loop_stop_alone(struct evb_loop *loop, void (*gone)(void *user), void *user)
{
    loop->gone = gone;
    loop->gone_user = user;
    evb_loop_stop(loop);
}

void evb_loop_join(struct evb_loop *loop)
{
    if (loop->own)
        pthread_join(loop->own_thread, NULL);
}

bool evb_loop_has_rest(const struct evb_loop *loop)
{
    return loop->pending || atomic_load(&loop->inbox);
}

void evb_loop_run_rest(struct evb_loop *loop)
{
    while (loop->pending || take_inbox(loop)) {
        struct evb_job *job = loop->pending;
        loop->pending = job->next;
        job->run(job);
    }
}

void evb_loop_fini(struct evb_loop *loop)
{
    if (loop->wake)
        event_free(loop->wake);
    if (loop->own && loop->base) {
        event_base_loop(loop->base, EVLOOP_NONBLOCK); /* what libevent put off: a lookup's end */
        event_base_free(loop->base);
    }
    loop->wake = NULL;
    loop->base = NULL;
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    loop->wake_fd = -1;
}

void evb_loop_drop(struct evb_loop *loop)
{
    /* The kernel shares the epoll set with the parent: removing from it here would deafen the
     * parent. */
    close(loop->wake_fd);
    loop->wake_fd = -1;
}

bool evb_loop_is_here(const struct evb_loop *loop)
{
    return pthread_equal(atomic_load_explicit(&loop->thread, memory_order_relaxed), pthread_self());
}

int64_t evb_loop_lag_ms(const struct evb_loop *loop)
{
    int64_t begun_ms = atomic_load_explicit(&loop->begun_ms, memory_order_relaxed);
    int64_t lag_ms = begun_ms ? evb_clock_rough_ms() - begun_ms : 0;
    return lag_ms > 0 ? lag_ms : 0; /* another thread's clock may be a tick behind */
}

int64_t evb_loop_longest_ms(const struct evb_loop *loop)
{
    int64_t longest_ms = atomic_load_explicit(&loop->longest_ms, memory_order_relaxed);
    int64_t lag_ms = evb_loop_lag_ms(loop);
    return lag_ms > longest_ms ? lag_ms : longest_ms;
}

bool evb_loop_is_late(struct evb_loop *loop)
{
    loop->late = loop->late || evb_loop_lag_ms(loop) >= LATE_MS;
    return loop->late;
}

bool evb_loop_turns_here(const struct evb_loop *loop)
{
    return evb_loop_is_here(loop) && loop->depth > 0;
}
