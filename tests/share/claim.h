/*
 * claim.h - many processes that get every event and share their handling by claims, while some of
 * them are killed; and the judgement, by what each has written down at the begin and the end of
 * each handler call. Inside a test of Check, on its main thread; whoever calls suite_run() asks
 * share_member_main() first. Times are microseconds of CLOCK_BOOTTIME, which all processes share.
 */
#ifndef SHARE_CLAIM_H
#define SHARE_CLAIM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { SHARE_MEMBERS = 8, SHARE_WORKERS = 3, SHARE_LEASE_MS = 1000, SHARE_KEEP_MS = 5 };

struct share_plan {
    int events, kills;
    int rate; /* events a second */
    unsigned seed;
    const char *command; /* repeats it */
};

struct share_call {  /* of a handler */
    int event, life; /* a life: one process, from its start to its end */
    int64_t begin_us;
    int64_t end_us; /* 0: it never returned */
    int rc;
    /* Of one whose process was killed, before it had told Redis that it is done: when the lease
     * ended that it held then, as Redis said after the death. 0: there was none. */
    int64_t free_us;
};

struct share_calls {
    struct share_call *call; /* owned */
    size_t count, room;
};

struct share_verdict {
    int handled, unhandled;               /* events with, without a call that returned 0 */
    int calls, failed, unfinished, again; /* again: handled by a process that died before it told */
    int overlapping;                      /* two calls at a time */
    int doubled;                          /* a call after one that returned 0 and was not let go */
    int early;                            /* a call before the lease of one that died had ended */
    int64_t soonest_us, latest_us;        /* from such a lease's end to the next call */
};

int64_t share_now_us(void);
void share_add(struct share_calls *calls, struct share_call call);
/* Of events 1..events; sorts the calls. */
struct share_verdict share_judge(struct share_calls *calls, int events);
bool share_is_clean(const struct share_verdict *verdict);
/* Ends the test if a promise is broken; prints a table before. */
void share_run(const struct share_plan *plan);
/* -1: this process is no member. */
int share_member_main(int argc, char **argv);

#endif
