/*
 * workers.h - the bus's threads for handlers that take their time. They know no subscription: they
 * run what is asked of them, whoever asked first. Started by the first subscription that needs
 * them. Lock: workers (a leaf).
 */
#ifndef EVB_WORKERS_H
#define EVB_WORKERS_H
#include "list.h"
#include <pthread.h>
#include <stdatomic.h>

enum {
    EVB_WORKERS_NONE,
    EVB_WORKERS_STARTING,
    EVB_WORKERS_GIVING_UP, /* one did not start: those that did are leaving */
    EVB_WORKERS_RUNNING,
    EVB_WORKERS_LEAVING
};

struct evb_work { /* embedded in what is worked on */
    struct evb_node node;
    int asked; /* workers that are to run it and have not begun */
    void (*run)(struct evb_work *work);
};

struct evb_workers {
    int count; /* threads there are to be; the owner sets it before the first start */

    pthread_mutex_t lock;
    pthread_cond_t wanted;  /* work was asked for, or all leave */
    pthread_cond_t changed; /* another state; a thread has arrived; nobody works */
    /* under lock */
    int state;             /* EVB_WORKERS_* */
    struct evb_node queue; /* of work that is asked for */
    int sleeping, busy;    /* threads that wait for work; that run some */
    int arrived, failed;   /* threads that began to run; that found no memory */
    int alive;             /* threads that have not left */
    void (*gone)(void *user);
    void *user;

    pthread_t *threads; /* owned; the starter's, then fixed */
    int thread_count;   /* of them */
    atomic_int waiting; /* works asked for and not begun */
};

void evb_workers_init(struct evb_workers *workers);
/* All `count` of them, named after the bus, signals blocked; nothing if they run already. 0, or
 * EVBUS_ESYS, EVBUS_ENOMEM (none runs then), EVBUS_ECLOSED. */
int evb_workers_start(struct evb_workers *workers, const char *name);
/* One more worker is to run work->run(work); several may at a time. False: they are leaving, and
 * nobody will. */
bool evb_workers_ask(struct evb_workers *workers, struct evb_work *work);
/* Other work waits for a worker: who runs some should come to a stop and ask again. */
bool evb_workers_crowded(const struct evb_workers *workers);
/* Until nothing is asked for and nothing runs; false: the time is up. Not on a worker's thread. */
bool evb_workers_wait_idle(struct evb_workers *workers, int timeout_ms);
/* No thread sleeps any more: each leaves when nothing is left to do. The last one calls gone(user)
 * (NULL: nobody is told), or this call does where none was started. Never waits for a handler. */
void evb_workers_leave(struct evb_workers *workers, void (*gone)(void *user), void *user);
void evb_workers_join(struct evb_workers *workers); /* after leave; not on a worker's thread */
void evb_workers_fini(struct evb_workers *workers);
int evb_workers_running(const struct evb_workers *workers); /* threads there are */

#endif
