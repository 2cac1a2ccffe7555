/*
 * wire.c - libevbus and Redis:
 *   wire capture FILE  frames for the other programs
 *   wire publish       the rate at which events are made, encoded, published and answered; the CPU
 *   wire receive       the same for events that are received, decoded and handled
 *   wire drain         the rate at which those that waited for the link go out when it is up
 *   wire idle          a connected bus without traffic: how often its threads wake up, its memory
 *   wire heartbeat     the same with frequent heartbeats: wake-ups for each
 * With "tls" as the last word, over TLS; with "history", events are kept in Redis, too.
 */
#include "probe.h"
#include "resp.h"
#include "wire.h"
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PUBLISH_EVENTS 400000
#define PUBLISH_WARMUP 20000
#define KEPT_EVENTS    200000 /* with history; so many go into the stream's bounds */
#define RECEIVE_EVENTS 300000
#define RECEIVE_WARMUP 20000
#define IDLE_MS        2000
#define BEAT_MS        250

struct receiver {
    int64_t count;            /* of the loop */
    int64_t times[2], cpu[2]; /* after the warm-up, at the end */
    sem_t done;
};

void wire_set(evbus_config *config, const char *key, const char *value)
{
    if (evbus_config_set(config, key, value) < 0)
        probe_fail("%s", evbus_last_error());
}

static bool over_tls, with_history;

evbus_config *wire_config(void)
{
    evbus_config *config = evbus_config_new();
    char port[16];
    snprintf(port, sizeof port, "%s", over_tls ? getenv("BENCH_TLS_PORT") : getenv("BENCH_PORT"));
    wire_set(config, "bus.name", "bench");
    wire_set(config, "redis.host", "127.0.0.1");
    wire_set(config, "redis.port", port);
    wire_set(config, "history.enabled", with_history ? "yes" : "no");
    if (over_tls) {
        wire_set(config, "tls.enabled", "yes");
        wire_set(config, "tls.ca.file", getenv("BENCH_CERTIFICATE"));
    }
    return config;
}

evbus *wire_open(evbus_config *config)
{
    evbus *bus = evbus_open(config);
    if (!bus || evbus_wait_connected(bus, 5000) < 0)
        probe_fail("opening: %s", evbus_last_error());
    evbus_config_free(config);
    return bus;
}

evbus_sub *wire_subscribe(evbus *bus, const char *options, evbus_event_fn fn, void *user)
{
    evbus_sub *sub = evbus_subscribe(bus, PROBE_TYPE, options, fn, user);
    if (!sub || evbus_sub_wait(sub, 5000) < 0)
        probe_fail("subscribing: %s", evbus_last_error());
    return sub;
}

void wire_publish(evbus *bus, int count)
{
    char data[PROBE_DATA + 1];
    probe_data(data, 17);
    for (int i = 0; i < count;) {
        int result = evbus_publish(bus, PROBE_TYPE, data);
        if (result > 0)
            i++;
        else if (result == EVBUS_EFULL)
            probe_sleep_ms(1); /* the outbox holds far more than Redis takes in that time */
        else
            probe_fail("publishing: %s", evbus_last_error());
    }
}

void wire_flush(evbus *bus)
{
    if (evbus_flush(bus, 30000) < 0)
        probe_fail("flushing: %s", evbus_last_error());
}

static void publish_all(evbus *bus, int count)
{
    wire_publish(bus, count);
    wire_flush(bus);
}

static void run_capture(const char *path)
{
    int fd = resp_connect();
    resp_subscribe(fd, PROBE_CHANNEL);
    evbus *bus = wire_open(wire_config());
    publish_all(bus, RESP_FRAMES);
    frames_capture(fd, path);
    evbus_free(bus);
    close(fd);
}

static void check_kept(int64_t count)
{
    int fd = resp_connect();
    if (resp_number(fd, "XLEN " RESP_HISTORY) != count)
        probe_fail("not all events were kept");
    close(fd);
    resp_clear();
}

static void run_publish(void)
{
    int count = with_history ? KEPT_EVENTS : PUBLISH_EVENTS;
    evbus_config *config = wire_config();
    wire_set(config, "outbox.full", "reject");
    wire_set(config, "outbox.events", "20000");
    if (with_history)
        resp_clear();
    evbus *bus = wire_open(config);
    publish_all(bus, PUBLISH_WARMUP);
    double server = resp_server_cpu_ns();
    int64_t time = probe_now_ns(), cpu = probe_cpu_ns();
    publish_all(bus, count);
    probe_report("ns", (double)(probe_now_ns() - time) / count);
    probe_report("cpu_ns", (double)(probe_cpu_ns() - cpu) / count);
    probe_report("server_ns", (resp_server_cpu_ns() - server) / count);
    if (evbus_stat(bus, "acked") < count + PUBLISH_WARMUP)
        probe_fail("%lld events were answered", (long long)evbus_stat(bus, "acked"));
    if (with_history)
        check_kept(count + PUBLISH_WARMUP);
    evbus_free(bus);
}

static int on_event(evbus_sub *sub, evbus_event *event, void *user)
{
    struct receiver *receiver = user;
    (void)sub;
    receiver->count++;
    if (receiver->count == RECEIVE_WARMUP || receiver->count == RECEIVE_EVENTS) {
        int at = receiver->count == RECEIVE_EVENTS;
        receiver->times[at] = probe_now_ns();
        receiver->cpu[at] = probe_cpu_ns();
        if (at)
            sem_post(&receiver->done);
    }
    if (with_history != (evbus_event_position(event) != NULL))
        probe_fail("events with a position: %s", with_history ? "not all" : "some");
    return evbus_event_data(event, NULL)[0] != '{';
}

static void run_receive(void)
{
    static struct receiver receiver;
    int gate[2];
    probe_gate_init(gate);
    int feeder =
        frames_feeder(gate, RECEIVE_EVENTS, with_history ? FRAMES_POSITIONED : FRAMES_PLAIN);
    sem_init(&receiver.done, 0, 0);
    evbus *bus = wire_open(wire_config());
    wire_subscribe(bus, "size=100000 bytes=1GiB", on_event, &receiver);
    probe_gate_go(gate);
    sem_wait(&receiver.done);
    double events = RECEIVE_EVENTS - RECEIVE_WARMUP;
    probe_report("ns", (double)(receiver.times[1] - receiver.times[0]) / events);
    probe_report("cpu_ns", (double)(receiver.cpu[1] - receiver.cpu[0]) / events);
    probe_join(feeder);
    evbus_free(bus);
}

static void run_idle(bool beating)
{
    static struct receiver receiver;
    int64_t before = probe_private_kib();
    char beat[16];
    snprintf(beat, sizeof beat, "%dms", BEAT_MS);
    evbus_config *config = wire_config();
    wire_set(config, "redis.ping.interval", beating ? beat : "1h");
    evbus *bus = wire_open(config);
    wire_subscribe(bus, NULL, on_event, &receiver);
    probe_sleep_ms(IDLE_MS / 4);
    probe_report("kib", (double)(probe_private_kib() - before));
    int64_t switches = probe_other_switches();
    probe_sleep_ms(IDLE_MS);
    double wakes = (double)(probe_other_switches() - switches);
    probe_report("wakes", beating ? wakes * BEAT_MS / IDLE_MS : wakes);
    evbus_free(bus);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    probe_pin(PROBE_CLIENT_CORE);
    resp_port(); /* says so if there is no server */
    over_tls = argc > 2 && !strcmp(argv[argc - 1], "tls");
    with_history = argc > 2 && !strcmp(argv[argc - 1], "history");
    argc -= over_tls || with_history;
    if (!strcmp(what, "capture") && argc == 3)
        run_capture(argv[2]);
    else if (!strcmp(what, "publish"))
        run_publish();
    else if (!strcmp(what, "receive"))
        run_receive();
    else if (!strcmp(what, "drain"))
        wire_drain(with_history);
    else if (!strcmp(what, "idle") || !strcmp(what, "heartbeat"))
        run_idle(what[0] == 'h');
    else if (!strcmp(what, "latency") && argc == 3)
        wire_latency(!strcmp(argv[2], "loop"));
    else if (!strcmp(what, "request"))
        wire_request(argc == 3 && !strcmp(argv[2], "paced"));
    else
        probe_fail("usage: wire capture FILE | publish | receive | drain | idle | heartbeat | "
                   "latency loop|thread | request [paced] [tls|history]");
    return 0;
}
