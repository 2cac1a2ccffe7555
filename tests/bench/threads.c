/*
 * threads.c - libevbus inside one process, between threads:
 *   threads own N | same N    N publishing threads, handlers inline; each its own type, or all the
 * same threads loop              published on one thread, handled on the bus's loop
 */
#include "probe.h"
#include <evbus.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define MAX_WORKERS  8
#define SLICES       21
#define SLICE_EVENTS 30000
#define LOOP_EVENTS  2000000
#define LOOP_WARMUP  200000
#define WINDOW       4096 /* published and not yet handled; the peer keeps to it too */
#define WINDOW_CHECK                                                                               \
    256 /* how often that is looked at: reading the other core's line would be timed */

struct worker {
    evbus *bus;
    int core;
    char type[32];
    pthread_barrier_t *gate;
    double ns;
};

struct receiver {
    _Atomic int64_t count; /* written by the loop */
    long switches[2];      /* of the loop's thread: after the warm-up, at the end */
    int64_t times[2];
    sem_t done;
};

static int on_data(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)user;
    return evbus_event_data(event, NULL)[0] != PROBE_TEXT[0];
}

static void *publish_slices(void *context)
{
    struct worker *worker = context;
    double slices[SLICES];
    probe_pin(worker->core);
    for (int i = 0; i < SLICES; i++) {
        pthread_barrier_wait(worker->gate);
        int64_t start = probe_now_ns();
        for (int n = 0; n < SLICE_EVENTS; n++)
            evbus_publish(worker->bus, worker->type, PROBE_TEXT);
        slices[i] = (double)(probe_now_ns() - start) / SLICE_EVENTS;
    }
    worker->ns = probe_quantile(slices, SLICES, 0.25); /* others use these cores too */
    return NULL;
}

static void run_publishers(evbus *bus, bool same, int count)
{
    struct worker workers[MAX_WORKERS];
    pthread_t threads[MAX_WORKERS];
    pthread_barrier_t gate;
    pthread_barrier_init(&gate, NULL, (unsigned)count);
    for (int i = 0; i < count; i++) {
        struct worker *worker = &workers[i];
        *worker = (struct worker){.bus = bus, .gate = &gate, .core = (PROBE_CLIENT_CORE + i) % 2};
        snprintf(worker->type, sizeof worker->type, "task.kind.%d", same ? 0 : i);
        if (i == 0 || !same)
            evbus_subscribe(bus, worker->type, "deliver=inline", on_data, NULL);
    }
    for (int i = 0; i < count; i++)
        pthread_create(&threads[i], NULL, publish_slices, &workers[i]);
    double sum = 0;
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        sum += workers[i].ns;
    }
    probe_report("ns", sum / count);
}

static int on_loop(evbus_sub *sub, evbus_event *event, void *user)
{
    struct receiver *receiver = user;
    on_data(sub, event, NULL);
    int64_t count = atomic_load_explicit(&receiver->count, memory_order_relaxed) + 1;
    if (count == LOOP_WARMUP || count == LOOP_EVENTS) {
        struct rusage usage;
        getrusage(RUSAGE_THREAD, &usage);
        receiver->switches[count == LOOP_EVENTS] = usage.ru_nvcsw;
        receiver->times[count == LOOP_EVENTS] = probe_now_ns();
    }
    atomic_store_explicit(&receiver->count, count, memory_order_release);
    if (count == LOOP_EVENTS)
        sem_post(&receiver->done);
    return 0;
}

static void run_loop(evbus *bus)
{
    static struct receiver receiver;
    sem_init(&receiver.done, 0, 0);
    if (!evbus_subscribe(bus, PROBE_TYPE, "size=100000 bytes=1GiB", on_loop, &receiver))
        probe_fail("subscribing: %s", evbus_last_error());
    probe_pin(PROBE_SERVER_CORE); /* the loop stays on the client's core */
    for (int64_t i = 0; i < LOOP_EVENTS; i++) {
        while (i % WINDOW_CHECK == 0 &&
               i - atomic_load_explicit(&receiver.count, memory_order_acquire) >= WINDOW)
            sched_yield();
        evbus_publish(bus, PROBE_TYPE, PROBE_TEXT);
    }
    sem_wait(&receiver.done);
    double events = LOOP_EVENTS - LOOP_WARMUP;
    probe_report("ns", (double)(receiver.times[1] - receiver.times[0]) / events);
    probe_report("wakes", (double)(receiver.switches[1] - receiver.switches[0]) / events);
}

int main(int argc, char **argv)
{
    bool loop = argc == 2 && !strcmp(argv[1], "loop");
    int count = argc == 3 ? atoi(argv[2]) : 0;
    if (!loop && (count < 1 || count > MAX_WORKERS))
        probe_fail("usage: threads own N | same N | loop");
    probe_pin(PROBE_CLIENT_CORE);
    evbus *bus = evbus_open(NULL);
    if (!bus)
        probe_fail("opening: %s", evbus_last_error());
    if (loop)
        run_loop(bus);
    else
        run_publishers(bus, !strcmp(argv[1], "same"), count);
    evbus_free(bus);
    return 0;
}
