/* fork.c - the count of forks, kept by pthread_atfork. Set up when the library is loaded. */
#include "fork.h"
#include <pthread.h>

/* Written in a child before it has a second thread. */
unsigned evb_fork_count;

static void count_fork(void)
{
    evb_fork_count++;
}

__attribute__((constructor)) static void fork_start(void)
{
    pthread_atfork(NULL, NULL, count_fork);
}
