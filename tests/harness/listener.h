/*
 * listener.h - another node in the same process, that records numbered events and what gaps it
 * announces, goes away when told to, and stays away until told to come back. Failures end the test.
 * The test's main thread.
 */
#ifndef HARNESS_LISTENER_H
#define HARNESS_LISTENER_H
#include "harness/gap.h"
#include "harness/recorder.h"
#include "harness/server.h"
#include <evbus.h>
#include <pthread.h>
#include <stdatomic.h>

enum { LISTENER_GAPS = 64 };

struct listener {
    struct server *server;
    evbus *bus;
    struct recorder got;
    atomic_int live, replayed; /* by evbus_event_origin() */
    pthread_mutex_t lock;
    struct gap gaps[LISTENER_GAPS]; /* under lock */
    int gap_count;                  /* under lock */
};

/* Subscribed to `pattern`; more pairs of key, value; ends with NULL. It is connected if the server
 * runs. */
void listener_open(struct listener *listener, struct server *server, const char *pattern, ...);
void listener_cut(struct listener *listener); /* from the server's side; it is away then */
void listener_back(struct listener *listener);
void listener_drop(struct listener *listener); /* cut and back */
/* Until number n of publisher p is there: all that was published before it came before it. */
void listener_expect(struct listener *listener, int publisher, int number);
int listener_gap_count(struct listener *listener);
struct gap listener_gap(struct listener *listener, int index);
/* Until it has announced one, which may come after what followed it: another subscription's turn is
 * another one. */
void listener_await_gap(struct listener *listener);
void listener_expect_no_gap(struct listener *listener);
/* There is one gap, of this cause, and one that lies around these times (Unix, microseconds). */
struct gap listener_expect_gap(struct listener *listener, const char *cause, int64_t from_us,
                               int64_t to_us);
void listener_close(struct listener *listener);

#endif
