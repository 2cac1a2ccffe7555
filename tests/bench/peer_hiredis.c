/*
 * peer_hiredis.c - stock hiredis, its asynchronous API on libevent:
 *   peer_hiredis publish    redisAsyncCommand("PUBLISH %s %b") with libevbus's own frames
 *   peer_hiredis receive    a subscription whose messages are counted and freed
 *   peer_hiredis idle       two connections and an event base, doing nothing
 */
#include "probe.h"
#include "resp.h"
#include <event2/event.h>
#include <hiredis/adapters/libevent.h>
#include <hiredis/async.h>
#include <string.h>

#define PUBLISH_EVENTS 400000
#define PUBLISH_WARMUP 20000
#define PUBLISH_WINDOW 5000 /* asked and not yet answered */
#define RECEIVE_EVENTS 300000
#define RECEIVE_WARMUP 20000

struct client {
    struct event_base *base;
    redisAsyncContext *redis;
    struct frames frames;
    int64_t sent, answered, total;
    int64_t times[2], cpu[2]; /* after the warm-up, at the end */
    int *gate;
};

static struct client client;

static redisAsyncContext *dial(struct event_base *base)
{
    redisAsyncContext *redis = redisAsyncConnect("127.0.0.1", resp_port());
    if (!redis || redis->err)
        probe_fail("hiredis: %s", redis ? redis->errstr : "out of memory");
    redisLibeventAttach(redis, base);
    return redis;
}

static void mark(int at)
{
    client.times[at] = probe_now_ns();
    client.cpu[at] = probe_cpu_ns();
}

static void report(double events)
{
    probe_report("ns", (double)(client.times[1] - client.times[0]) / events);
    probe_report("cpu_ns", (double)(client.cpu[1] - client.cpu[0]) / events);
}

static void on_published(redisAsyncContext *redis, void *reply, void *user);

static void refill(void)
{
    struct frames *frames = &client.frames;
    while (client.sent < client.total && client.sent - client.answered < PUBLISH_WINDOW) {
        int i = (int)(client.sent++ % RESP_FRAMES);
        redisAsyncCommand(client.redis, on_published, NULL, "PUBLISH %s %b", PROBE_CHANNEL,
                          frames->bytes + frames->payload_at[i], frames->payload_length[i]);
    }
}

static void on_published(redisAsyncContext *redis, void *reply, void *user)
{
    (void)redis;
    (void)user;
    if (!reply || ((redisReply *)reply)->type != REDIS_REPLY_INTEGER)
        probe_fail("PUBLISH was refused");
    client.answered++;
    if (client.answered == client.total)
        event_base_loopbreak(client.base);
    refill();
}

static void publish(int64_t count)
{
    client.sent = client.answered = 0;
    client.total = count;
    refill();
    event_base_dispatch(client.base);
}

static void run_publish(void)
{
    frames_load(&client.frames, FRAMES_PLAIN);
    client.redis = dial(client.base);
    publish(PUBLISH_WARMUP);
    mark(0);
    publish(PUBLISH_EVENTS);
    mark(1);
    report(PUBLISH_EVENTS);
}

static void on_message(redisAsyncContext *redis, void *data, void *user)
{
    redisReply *reply = data;
    (void)redis;
    (void)user;
    if (!reply || reply->type != REDIS_REPLY_ARRAY || reply->elements != 3)
        probe_fail("that was no message");
    if (reply->element[2]->type == REDIS_REPLY_INTEGER) {
        probe_gate_go(client.gate); /* the subscription is confirmed */
        return;
    }
    client.answered++;
    if (client.answered == RECEIVE_WARMUP)
        mark(0);
    if (client.answered == RECEIVE_EVENTS) {
        mark(1);
        event_base_loopbreak(client.base);
    }
}

static void run_receive(int gate[2], int feeder)
{
    client.gate = gate;
    client.redis = dial(client.base);
    redisAsyncCommand(client.redis, on_message, NULL, "SUBSCRIBE %s", PROBE_CHANNEL);
    event_base_dispatch(client.base);
    probe_join(feeder);
    report(RECEIVE_EVENTS - RECEIVE_WARMUP);
}

static void on_ready(redisAsyncContext *redis, void *reply, void *user)
{
    (void)redis;
    (void)user;
    if (!reply)
        probe_fail("Redis closed an idle connection");
    if (++client.answered == 2)
        event_base_loopbreak(client.base);
}

static void run_idle(int64_t before)
{
    redisAsyncCommand(dial(client.base), on_ready, NULL, "PING");
    redisAsyncCommand(dial(client.base), on_ready, NULL, "SUBSCRIBE %s", PROBE_CHANNEL);
    event_base_dispatch(client.base);
    probe_report("kib", (double)(probe_private_kib() - before));
}

int main(int argc, char **argv)
{
    const char *what = argc == 2 ? argv[1] : "";
    int64_t before = probe_private_kib();
    int gate[2], feeder = 0;
    probe_pin(PROBE_CLIENT_CORE);
    if (!strcmp(what, "receive")) {
        probe_gate_init(gate);
        feeder = frames_feeder(gate, RECEIVE_EVENTS, FRAMES_PLAIN);
    }
    client.base = event_base_new();
    if (!strcmp(what, "publish"))
        run_publish();
    else if (!strcmp(what, "receive"))
        run_receive(gate, feeder);
    else if (!strcmp(what, "idle"))
        run_idle(before);
    else
        probe_fail("usage: peer_hiredis publish | receive | idle");
    return 0;
}
