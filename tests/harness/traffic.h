/*
 * traffic.h - four threads that publish numbered events, with a report each, while the test breaks
 * things; two recorders in the same process (inline, loop) that must miss nothing; and the other
 * process, asked how soon it can be talked to again. The test's main thread.
 */
#ifndef HARNESS_TRAFFIC_H
#define HARNESS_TRAFFIC_H
#include "harness/peer.h"
#include "harness/recorder.h"
#include <stdatomic.h>

enum { TRAFFIC_THREADS = 4, TRAFFIC_OUTCOMES = 7, TRAFFIC_MOST = 200000 };

enum traffic_promise {                /* what it costs the peer that its link broke */
                       TRAFFIC_KEPT,  /* nothing, and no gap is announced: the history has it */
                       TRAFFIC_MIXED, /* not all is kept, and it heard of it: a gap for each break */
                       TRAFFIC_FLUSHED, /* the server lost the history each time: a gap for each break */
                       TRAFFIC_UNKEPT /* no history: a gap for each break, and for being away from the start */
};

struct traffic_event {
    struct traffic *traffic;
    int64_t published_us, reported_us; /* Unix time */
    int reports, outcome;
};

struct traffic {
    evbus *bus;
    int pace_us, padding;
    int64_t
        judged_from_us; /* losses of events that ended before are nobody's, for the peer was away from the start; 0: it was not */
    atomic_int stop;
    atomic_int outcomes[TRAFFIC_OUTCOMES], refused;
    struct recorder here, loop;
    struct traffic_thread {
        struct traffic *traffic;
        pthread_t thread;
        int id;
        atomic_int published;
        struct traffic_event *events; /* owned; by number - 1 */
    } threads[TRAFFIC_THREADS];
};

struct traffic *traffic_start(evbus *bus, int pace_us); /* types traffic.0 to traffic.3 */
void traffic_stop(struct traffic *traffic);
/* After traffic_stop(): flushes, then ends the test unless every local event came once and in
 * order, every event has one report, the reports are what the counters say, and the outbox's
 * accounts are even. */
void traffic_expect_even(struct traffic *traffic, const char *what);
/* What the peer recorded of "traffic.*" may lack events only within its gaps, and keeps a promise. */
void traffic_expect_promise(struct traffic *traffic, struct peer *peer,
                            enum traffic_promise promise, const char *what);
void traffic_free(struct traffic *traffic);

struct talk { /* a question that the other process answers */
    evbus *bus;
    atomic_int answered; /* the highest number that came back */
    int asked;
};

void talk_start(struct talk *talk, evbus *bus, struct peer *peer);
/* Asks until an answer comes; milliseconds from `since_us` (monotonic). */
double talk_again(struct talk *talk, int64_t since_us);

/* Stops; ends the test unless all is even and acknowledged, and the peer's promise is kept; then
 * ends the peer and the bus. */
void traffic_close(struct traffic *traffic, struct talk *talk, struct peer *peer,
                   enum traffic_promise promise, const char *what);

#endif
