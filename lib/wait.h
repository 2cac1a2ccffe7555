/*
 * wait.h - the waiting form of what calls back: a result that one thread brings and another waits
 * for. Also the one piece of arithmetic for deadlines on CLOCK_MONOTONIC. Any thread.
 */
#ifndef EVB_WAIT_H
#define EVB_WAIT_H
#include <pthread.h>
#include <stdint.h>

struct evb_wait;

struct evb_wait *
evb_wait_new(void); /* one reference each for waiter and bringer; NULL: no memory */
void evb_wait_done(int result,
                   void *wait); /* an evbus_done_fn; gives the bringer's reference back */
/* The result, or EVBUS_ETIMEDOUT; gives the waiter's reference back. */
int evb_wait_for(struct evb_wait *wait, int timeout_ms);
void evb_wait_cancel(struct evb_wait *wait); /* nobody will bring: gives both references back */

void evb_lock_init(pthread_mutex_t *lock); /* one held for so short that waiting spins first */
void evb_cond_init(pthread_cond_t *cond);  /* on CLOCK_MONOTONIC */
/* Monotonic end of a wait that begins now; -1 (for ever): INT64_MAX. */
int64_t evb_deadline_ms(int timeout_ms);
int evb_time_left_ms(int64_t deadline_ms); /* at least 0; -1: for ever */
/* Waits until then; ETIMEDOUT as pthread_cond_timedwait() has it. */
int evb_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t deadline_ms);

#endif
