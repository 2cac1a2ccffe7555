/*
 * wire_request.c - libevbus, ask and answer between two processes:
 *   wire request [paced]    asked on the bus's own loop one by one, answered in another process: from
 *                           the request to its reply. The next is asked by the reply's handler; or
 *                           a while later by a timer of the caller's, which has to wake the bus
 */
#include "latency.h"
#include "probe.h"
#include "wire.h"
#include <event2/event.h>
#include <evbus_libevent.h>
#include <string.h>
#include <unistd.h>

struct asker {
    evbus *bus;
    struct event_base *base;
    int timer;
    bool paced;
};

static int on_request(evbus_sub *sub, evbus_event *request, void *user)
{
    evbus *bus = *(evbus **)user;
    evbus_event *reply = evbus_event_new("bench.reply");
    const char *data = evbus_event_data(request, NULL);
    (void)sub;
    if (evbus_event_set_json(reply, data, PROBE_DATA) != 0 || evbus_reply(bus, request, reply) != 0)
        probe_fail("replying: %s", evbus_last_error());
    evbus_event_unref(reply);
    return 0;
}

static void answer(int gate[2])
{
    evbus *bus = wire_open(wire_config());
    wire_subscribe(bus, NULL, on_request, &bus);
    probe_gate_go(gate);
    pause(); /* until the asker ends this process */
}

static void ask(struct asker *asker);

static void on_reply(evbus_event *reply, int error, void *user)
{
    struct asker *asker = user;
    if (error == EVBUS_ECLOSED)
        return; /* measured; this one was under way */
    if (!reply)
        probe_fail("no reply: %d: %s", error, evbus_last_error());
    if (latency_add(probe_stamp(evbus_event_data(reply, NULL))))
        event_base_loopbreak(asker->base);
    else if (asker->paced)
        latency_timer_once(asker->timer);
    else
        ask(asker);
}

static void ask(struct asker *asker)
{
    char data[PROBE_DATA + 1];
    probe_data(data, probe_now_ns());
    evbus_event *request = evbus_event_new(PROBE_TYPE);
    if (evbus_event_set_json(request, data, PROBE_DATA) != 0 ||
        evbus_request_async(asker->bus, request, NULL, on_reply, asker) != 0)
        probe_fail("asking: %s", evbus_last_error());
    evbus_event_unref(request);
}

static void on_tick(evutil_socket_t fd, short what, void *user)
{
    (void)what;
    latency_timer_read(fd);
    ask(user);
}

static void begin_asking(evutil_socket_t fd, short what, void *user)
{
    struct asker *asker = user;
    (void)fd;
    (void)what;
    if (evbus_mode(asker->bus) != EVBUS_MODE_HYBRID)
        probe_fail("the asking bus did not connect in time");
    latency_timer_once(asker->timer);
}

void wire_request(bool paced)
{
    const struct timeval soon = {0, 200000}; /* it connects */
    int gate[2];
    probe_gate_init(gate);
    int responder = probe_fork();
    if (responder == 0) {
        answer(gate);
        _exit(1);
    }
    probe_gate_await(gate);
    evbus_config *config = wire_config();
    struct asker asker = {.base = event_base_new(), .timer = latency_timer(), .paced = paced};
    asker.bus = evbus_open_on(asker.base, config);
    evbus_config_free(config);
    if (!asker.bus)
        probe_fail("opening: %s", evbus_last_error());
    struct event *tick = event_new(asker.base, asker.timer, EV_READ | EV_PERSIST, on_tick, &asker);
    event_add(tick, NULL);
    event_base_once(asker.base, -1, EV_TIMEOUT, begin_asking, &asker, &soon);
    event_base_dispatch(asker.base);
    probe_kill(responder);
    latency_report();
    event_free(tick);
    evbus_free(asker.bus);
    event_base_free(asker.base);
}
