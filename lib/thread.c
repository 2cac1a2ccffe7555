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
static _Thread_local struct evb_thread *self;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void thread_gone(void *record)
{
    struct evb_thread *thread = record;
    for (int i = 0; i < EVB_HAZARDS; i++) /* pthread_exit() inside a handler left them */
        atomic_store(&thread->hazard[i], NULL);
    thread->hazards = thread->callbacks = thread->handled = 0;
    thread->delivering = false;
    self = NULL;
    atomic_store(&thread->used, 0);
}

/* The other threads do not exist in the child, whatever their records held. */
static void forked(void)
{
    for (struct evb_thread *t = atomic_load(&records); t; t = t->next) {
        if (t == self)
            continue;
        for (int i = 0; i < EVB_HAZARDS; i++)
            atomic_store(&t->hazard[i], NULL);
        t->hazards = t->callbacks = 0;
        t->delivering = false;
        t->deferred = NULL;
        t->deferred_end = &t->deferred;
        t->deferred_count = t->deferred_bytes = 0;
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

static struct evb_thread *adopt(void)
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

struct evb_thread *evb_thread_self(void)
{
    if (self)
        return self;
    pthread_once(&once, start);
    struct evb_thread *thread = adopt();
    if (!thread || pthread_setspecific(key, thread) != 0) {
        if (thread)
            atomic_store(&thread->used, 0);
        evb_fail_memory();
        return NULL;
    }
    return self = thread;
}

bool evb_thread_in_callback(void)
{
    return (self && self->callbacks > 0) || evb_log_is_calling();
}

const void *evb_hazard_acquire(struct evb_thread *thread, const void *_Atomic *source)
{
    assert(thread->hazards < EVB_HAZARDS);
    unsigned slot = thread->hazards++;
    const void *object = atomic_load_explicit(source, memory_order_acquire);
    for (;;) {
        evb_hazard_set(thread, slot, object);
        const void *again = atomic_load(source);
        if (again == object)
            return object;
        object = again;
    }
}

void evb_hazard_swap(struct evb_thread *thread)
{
    assert(thread->hazards > 1);
    unsigned last = thread->hazards - 1;
    const void *object = atomic_load_explicit(&thread->hazard[last], memory_order_relaxed);
    evb_hazard_set(thread, last - 1, object); /* held twice for a moment, never not at all */
    evb_hazard_release(thread);
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
