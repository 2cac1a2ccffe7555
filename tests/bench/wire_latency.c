/*
 * wire_latency.c - libevbus, publish to handler in another process:
 *   wire latency loop      published on the bus's own loop (evbus_open_on)
 *   wire latency thread    published on another thread, which the loop sleeps through
 */
#include "latency.h"
#include "probe.h"
#include "wire.h"
#include <event2/event.h>
#include <evbus_libevent.h>
#include <semaphore.h>
#include <stdlib.h>
#include <unistd.h>

struct ticker {
    evbus *bus;
    int timer;
    int *gate;
};

static int on_event(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    if (latency_add(probe_stamp(evbus_event_data(event, NULL))))
        sem_post(user);
    return 0;
}

static void publish_now(evbus *bus)
{
    char data[PROBE_DATA + 1];
    probe_data(data, probe_now_ns());
    if (evbus_publish(bus, PROBE_TYPE, data) < 0)
        probe_fail("publishing: %s", evbus_last_error());
}

static void publish_on_thread(int gate[2])
{
    evbus *bus = wire_open(wire_config());
    probe_gate_await(gate);
    for (int64_t next = 0;;) { /* until the subscriber ends this process */
        latency_pace(&next);
        publish_now(bus);
    }
}

static void on_tick(evutil_socket_t fd, short what, void *user)
{
    struct ticker *ticker = user;
    (void)what;
    latency_timer_read(fd);
    publish_now(ticker->bus);
}

static void on_gate(evutil_socket_t fd, short what, void *user)
{
    struct ticker *ticker = user;
    (void)fd;
    (void)what;
    if (evbus_mode(ticker->bus) != EVBUS_MODE_HYBRID)
        probe_fail("the publishing bus did not connect in time");
    probe_gate_await(ticker->gate);
    latency_timer_start(ticker->timer);
}

static void publish_on_loop(int gate[2])
{
    struct event_base *base = event_base_new();
    evbus_config *config = wire_config();
    struct ticker ticker = {evbus_open_on(base, config), latency_timer(), gate};
    evbus_config_free(config);
    if (!ticker.bus)
        probe_fail("opening: %s", evbus_last_error());
    struct event *tick = event_new(base, ticker.timer, EV_READ | EV_PERSIST, on_tick, &ticker);
    struct event *start = event_new(base, gate[0], EV_READ, on_gate, &ticker);
    event_add(tick, NULL);
    event_add(start, NULL);
    event_base_dispatch(base); /* until the subscriber ends this process */
}

void wire_latency(bool on_loop)
{
    int gate[2];
    sem_t done;
    probe_gate_init(gate);
    int publisher = probe_fork();
    if (publisher == 0) {
        if (on_loop)
            publish_on_loop(gate);
        else
            publish_on_thread(gate);
        _exit(1);
    }
    sem_init(&done, 0, 0);
    evbus *bus = wire_open(wire_config());
    wire_subscribe(bus, "size=100000", on_event, &done);
    probe_sleep_ms(100); /* the publisher connects */
    probe_gate_go(gate);
    sem_wait(&done);
    probe_kill(publisher);
    latency_report();
    evbus_free(bus);
}
