/*
 * thread.h - what the library remembers of a thread: its hazard pointers (Maged Michael, "Hazard
 * Pointers", IEEE TPDS 2004), whether it stands inside a callback, and what it delivers afterwards.
 * Records are the process's, reused when a thread ends, and never freed.
 */
#ifndef EVB_THREAD_H
#define EVB_THREAD_H
#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#define EVB_HAZARDS 9

struct evb_deferred;

struct evb_thread {
    struct evb_thread *next; /* fixed after init */
    atomic_int used;
    atomic_uint life; /* how many threads that had it have ended */
    const void *_Atomic hazard[EVB_HAZARDS]; /* written by its thread, read by all */

    /* own thread only */
    unsigned hazards;   /* slots in use */
    unsigned callbacks; /* depth of callbacks of any bus */
    unsigned handled;   /* handler calls not counted yet */
    bool delivering;    /* a snapshot is being walked: further deliveries wait behind it */
    struct evb_deferred *deferred, **deferred_end;
    size_t deferred_count, deferred_bytes;
};

extern _Thread_local struct evb_thread *evb_thread_known __attribute__((visibility("hidden")));
struct evb_thread *evb_thread_adopt(void); /* for evb_thread_self(): gives it a record */

static inline struct evb_thread *evb_thread_self(void)
{ /* NULL: no memory, and the error is set */
    return evb_thread_known ? evb_thread_known : evb_thread_adopt();
}

bool evb_thread_in_callback(void);

/*
 * A hazard is set and cleared by plain stores where the kernel has membarrier(2): whoever looks at
 * the hazards then makes all threads pass a barrier first. So each delivery is cheap and each
 * removal dear. Fixed after the first evb_thread_self().
 */
extern bool evb_hazard_light __attribute__((visibility("hidden")));

static inline void evb_hazard_set(struct evb_thread *thread, unsigned slot, const void *object)
{
    if (!evb_hazard_light) {
        atomic_store(&thread->hazard[slot], object);
        return;
    }
    atomic_store_explicit(&thread->hazard[slot], object, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst); /* the compiler's part; membarrier does the other */
}

static inline unsigned evb_hazard_hold(struct evb_thread *thread, const void *object)
{ /* one that is safe right now; answers its slot */
    unsigned slot = thread->hazards;
    assert(slot < EVB_HAZARDS);
    thread->hazards = slot + 1;
    evb_hazard_set(thread, slot, object);
    return slot;
}

static inline void evb_hazard_release_slot(struct evb_thread *thread, unsigned slot)
{ /* the one taken last: who knows it need not wait for memory to tell */
    thread->hazards = slot;
    evb_hazard_set(thread, slot, NULL);
}

static inline void evb_hazard_release(struct evb_thread *thread)
{ /* the slot taken last */
    assert(thread->hazards > 0);
    evb_hazard_set(thread, --thread->hazards, NULL);
}

static inline const void *evb_hazard_acquire(struct evb_thread *thread, const void *_Atomic *source)
{ /* takes the thread's next slot and holds what *source points to until evb_hazard_release() */
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

static inline void evb_hazard_swap(struct evb_thread *thread)
{ /* releases the slot taken before the last one */
    assert(thread->hazards > 1);
    unsigned last = thread->hazards - 1;
    const void *object = atomic_load_explicit(&thread->hazard[last], memory_order_relaxed);
    evb_hazard_set(thread, last - 1, object); /* held twice for a moment, never not at all */
    evb_hazard_release(thread);
}

/* Before looking at hazards: what any thread has set by now is seen by evb_hazard_held(). */
void evb_hazard_barrier(void);
bool evb_hazard_held(const void *object); /* by any thread */

#endif
