/* ending.c - a gate that is shut by exit(3). Any thread. */
#include "ending.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

static pthread_rwlock_t gate = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
static bool shut; /* under gate */
static void (*_Atomic first_call)(void);

static void at_exit(void)
{
    void (*first)(void) = atomic_exchange(&first_call, NULL);
    if (first)
        first();
    pthread_rwlock_wrlock(&gate);
    shut = true;
    pthread_rwlock_unlock(&gate);
}

/* The threads that held it are not there in the child. */
static void forked(void)
{
    gate = (pthread_rwlock_t)PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
}

__attribute__((constructor)) static void ending_start(void)
{
    pthread_atfork(NULL, NULL, forked);
}

bool evb_ending_register(void (*first)(void))
{
    if (first)
        atomic_store(&first_call, first);
    return atexit(at_exit) == 0;
}

bool evb_ending_enter(void)
{
    pthread_rwlock_rdlock(&gate);
    if (!shut)
        return true;
    pthread_rwlock_unlock(&gate);
    return false;
}

void evb_ending_leave(void)
{
    pthread_rwlock_unlock(&gate);
}
