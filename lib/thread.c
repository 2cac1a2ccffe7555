/* thread.c - one record a thread. Any thread. */
#include "thread.h"
#include "alloc.h"
#include "err.h"
#include "log.h"
#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct evb_thread *_Atomic records;
_Thread_local struct evb_thread *evb_thread_known;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void thread_gone(void *record)
{
    struct evb_thread *thread = record;
    for (int i = 0; i < EVB_HAZARDS; i++) /* pthread_exit() inside a handler left them */
        atomic_store(&thread->hazard[i], NULL);
    thread->hazards = thread->callbacks = thread->handled = 0;
    thread->delivering = false;
    evb_thread_known = NULL;
    atomic_fetch_add(&thread->life, 1);
    atomic_store(&thread->used, 0);
}

/* The other threads do not exist in the child, whatever their records held. */
static void forked(void)
{
    for (struct evb_thread *t = atomic_load(&records); t; t = t->next) {
        if (t == evb_thread_known)
            continue;
        for (int i = 0; i < EVB_HAZARDS; i++)
            atomic_store(&t->hazard[i], NULL);
        t->hazards = t->callbacks = 0;
        t->delivering = false;
        t->deferred = NULL;
        t->deferred_end = &t->deferred;
        t->deferred_count = t->deferred_bytes = 0;
        atomic_fetch_add(&t->life, 1);
        atomic_store(&t->used, 0);
    }
}

bool evb_hazard_light;

static long membarrier(int command)
{
    return syscall(SYS_membarrier, command, 0, 0);
}

static void start(void)
{
    evb_hazard_light = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
    pthread_key_create(&key, thread_gone);
    pthread_atfork(NULL, NULL, forked);
}

static struct evb_thread *record_take(void)
{
    for (struct evb_thread *t = atomic_load(&records); t; t = t->next) {
        int unused = 0;
        if (atomic_compare_exchange_strong(&t->used, &unused, 1))
            return t;
    }
    struct evb_thread *t = evb_calloc(1, sizeof *t);
    if (!t)
        return NULL;
    atomic_init(&t->used, 1);
    t->deferred_end = &t->deferred;
    t->next = atomic_load(&records);
    while (!atomic_compare_exchange_weak(&records, &t->next, t))
        continue;
    return t;
}

struct evb_thread *evb_thread_adopt(void)
{
    pthread_once(&once, start);
    struct evb_thread *thread = record_take();
    if (!thread || pthread_setspecific(key, thread) != 0) {
        if (thread)
            atomic_store(&thread->used, 0);
        evb_fail_memory();
        return NULL;
    }
    return evb_thread_known = thread;
}

bool evb_thread_in_callback(void)
{
    return (evb_thread_known && evb_thread_known->callbacks > 0) || evb_log_is_calling();
}

void evb_hazard_barrier(void)
{
    pthread_once(&once, start);
    atomic_thread_fence(memory_order_seq_cst);
    if (evb_hazard_light)
        membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}

/* From the last slot to the first: evb_hazard_swap() moves an object down, and must not slip
 * past. */
bool evb_hazard_held(const void *object)
{
    for (struct evb_thread *t = atomic_load(&records); t; t = t->next)
        for (int n = EVB_HAZARDS - 1; n >= 0; n--)
            if (atomic_load(&t->hazard[n]) == object)
                return true;
    return false;
}
