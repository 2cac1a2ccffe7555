/*
 * wire_drain.c - libevbus after an outage:
 *   wire drain    Redis ends the connections, events wait for it, the link comes up again
 */
#include "probe.h"
#include "resp.h"
#include "wire.h"
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PLAIN_EVENTS 500000
#define KEPT_EVENTS  200000 /* with history; so many go into the stream's bounds */
#define PATIENCE_MS  5000

static _Atomic int64_t ready_ns;

static int on_mode(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)user;
    if (strstr(evbus_event_data(event, NULL), "\"to\":\"hybrid\""))
        atomic_store(&ready_ns, probe_now_ns());
    return 0;
}

static void await_mode(const evbus *bus, int mode)
{
    for (int left = PATIENCE_MS; evbus_mode(bus) != mode && left > 0; left--)
        probe_sleep_ms(1);
    if (evbus_mode(bus) != mode)
        probe_fail("the bus is not %s: it is %s", evbus_mode_name(mode),
                   evbus_mode_name(evbus_mode(bus)));
}

/* Without a try of its own to come back: it waits for evbus_reconnect(). */
static evbus *open_patient(void)
{
    evbus_config *config = wire_config();
    wire_set(config, "reconnect.max.retries", "0");
    wire_set(config, "outbox.full", "reject");
    wire_set(config, "outbox.events", "1000000");
    wire_set(config, "outbox.bytes", "2GiB");
    wire_set(config, "outbox.age", "1h");
    evbus *bus = wire_open(config);
    if (!evbus_subscribe(bus, "evbus.mode", "deliver=inline", on_mode, NULL))
        probe_fail("subscribing: %s", evbus_last_error());
    return bus;
}

void wire_drain(bool history)
{
    int count = history ? KEPT_EVENTS : PLAIN_EVENTS;
    resp_clear();
    int control = resp_connect();
    evbus *bus = open_patient();
    resp_number(control, "CLIENT KILL TYPE pubsub");
    resp_number(control, "CLIENT KILL TYPE normal"); /* but this one */
    await_mode(bus, EVBUS_MODE_DEGRADED);
    wire_publish(bus, count);
    if (evbus_stat(bus, "acked") != 0)
        probe_fail("events went out during the outage");
    if (evbus_reconnect(bus) < 0)
        probe_fail("reconnecting: %s", evbus_last_error());
    wire_flush(bus);
    probe_report("ns", (double)(probe_now_ns() - atomic_load(&ready_ns)) / count);
    if (evbus_stat(bus, "acked") != count)
        probe_fail("%lld events were answered", (long long)evbus_stat(bus, "acked"));
    if (history && resp_number(control, "XLEN " RESP_HISTORY) != count)
        probe_fail("not all events were kept");
    resp_clear();
    close(control);
    evbus_free(bus);
}
