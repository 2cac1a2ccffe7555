/* rows.c - the goals; see rows.h. */
#include "rows.h"
#include <string.h>

#define GSIGNAL "vs GSignal"
#define MIB_KIB 1024

const struct bench_row bench_rows[] = {
    {"local.1", "inline, 1 type x 1 subscriber " GSIGNAL, "local inline 1", "peer_gsignal 1", "ns",
     "ns", GOAL_RATIO_MOST, 0.6},
    {"local.10", "inline, 10 subscribers " GSIGNAL, "local inline 10", "peer_gsignal 10", "ns",
     "ns", GOAL_RATIO_MOST, 0.15},
    {"local.100", "inline, 100 subscribers " GSIGNAL, "local inline 100", "peer_gsignal 100", "ns",
     "ns", GOAL_RATIO_MOST, 0.06},
    {"local.stamped", "id and timestamp read vs not", "local stamped 1", "local inline 1", "ns",
     "ns", GOAL_EXTRA_MOST, 150},
    {"local.types", "1,000 types x 1 subscriber vs 1 x 1", "local types 1000", "local inline 1",
     "ns", "ns", GOAL_RATIO_MOST, 1.3},
    {"local.patterns", "10,000 patterns, one matches, vs 1 x 1", "local patterns 10000",
     "local inline 1", "ns", "ns", GOAL_RATIO_MOST, 3},
    {"threads.own", "2 publishing threads, own types, vs 1", "threads own 2", "threads own 1", "ns",
     "ns", GOAL_RATIO_MOST, 1.3},
    {"threads.same", "2 publishing threads, same type, vs 1", "threads same 2", "threads same 1",
     "ns", "ns", GOAL_RATIO_MOST, 1.3},
    {"loop.rate", "thread to loop, rate vs zmq inproc PUB/SUB", "threads loop", "peer_zmq", "ns",
     "M/s", GOAL_RATE_LEAST, 5},
    {"loop.wakes", "wake-ups of the loop under load, an event", "threads loop", NULL, "wakes", "",
     GOAL_VALUE_MOST, 0.05},
    {"publish.rate", "publish 128 B, rate vs raw sockets", "wire publish", "peer_raw publish", "ns",
     "M/s", GOAL_RATE_LEAST, 0.95},
    {"publish.bare", "publish 128 B, rate vs raw without envelope", "wire publish", "peer_raw bare",
     "ns", "M/s", GOAL_NONE, 0},
    {"publish.cpu", "publish 128 B, client CPU vs redisAsyncCommand", "wire publish",
     "peer_hiredis publish", "cpu_ns", "ns", GOAL_RATIO_MOST, 0.5},
    {"receive.rate", "receive 128 B, rate vs hiredis async", "wire receive", "peer_hiredis receive",
     "ns", "M/s", GOAL_RATE_LEAST, 0.98},
    {"receive.cpu", "receive 128 B, client CPU vs hiredis async", "wire receive",
     "peer_hiredis receive", "cpu_ns", "ns", GOAL_RATIO_MOST, 1.0},
    {"history.publish", "with history, 128 B, rate vs raw XADD + PUBLISH", "wire publish history",
     "peer_raw history", "ns", "M/s", GOAL_RATE_LEAST, 0.9},
    {"history.server", "with history, the server's CPU vs the same", "wire publish history",
     "peer_raw history", "server_ns", "ns", GOAL_NONE, 0},
    {"history.receive", "receive with positions, rate vs without", "wire receive history",
     "wire receive", "ns", "M/s", GOAL_NONE, 0},
    {"history.cpu", "receive with positions, client CPU vs without", "wire receive history",
     "wire receive", "cpu_ns", "ns", GOAL_NONE, 0},
    {"drain.plain", "what waited for the link, rate vs publish", "wire drain", "wire publish", "ns",
     "M/s", GOAL_RATE_LEAST, 0.9},
    {"drain.history", "the same with history, each", "wire drain history", "wire publish history",
     "ns", "M/s", GOAL_NONE, 0},
    {"latency.loop", "p50 at 10,000/s, from the loop, vs raw sockets", "wire latency loop",
     "peer_raw latency", "us", "us", GOAL_RATIO_MOST, 1.15},
    {"latency.thread", "p50 at 10,000/s, from a thread, vs raw sockets", "wire latency thread",
     "peer_raw latency", "us", "us", GOAL_RATIO_MOST, 1.4},
    {"request.latency", "request to reply, asked by handler, vs raw one way", "wire request",
     "peer_raw latency", "us", "us", GOAL_RATIO_MOST, 2.2},
    {"request.paced", "request to reply, asked by timer, vs raw one way", "wire request paced",
     "peer_raw latency", "us", "us", GOAL_NONE, 0},
    {"request.raw", "there and back by raw sockets, vs raw one way", "peer_raw request",
     "peer_raw latency", "us", "us", GOAL_NONE, 0},
    {"request.rawpace", "the same, asked by timer", "peer_raw request paced", "peer_raw latency",
     "us", "us", GOAL_NONE, 0},
    {"tls.publish", "publish 128 B over TLS, rate vs plaintext", "wire publish tls", "wire publish",
     "ns", "M/s", GOAL_RATE_LEAST, 0.8},
    {"tls.receive", "receive 128 B over TLS, rate vs plaintext", "wire receive tls", "wire receive",
     "ns", "M/s", GOAL_RATE_LEAST, 0.8},
    {"tls.latency", "p50 at 10,000/s over TLS vs plaintext", "wire latency loop tls",
     "wire latency loop", "us", "us", GOAL_RATIO_MOST, 1.6},
    {"memory.exact", "memory a subscription, exact types", "local memory exact", NULL, "bytes", "B",
     GOAL_VALUE_MOST, 512},
    {"memory.pattern", "memory a subscription, patterns", "local memory pattern", NULL, "bytes",
     "B", GOAL_VALUE_MOST, 512},
    {"idle.wakes", "idle 2 s between heartbeats: wake-ups", "wire idle", NULL, "wakes", "",
     GOAL_VALUE_MOST, 0},
    {"idle.heartbeat", "idle: wake-ups a heartbeat", "wire heartbeat", NULL, "wakes", "", GOAL_NONE,
     0},
    {"idle.memory", "idle: memory over bare hiredis + libevent", "wire idle", "peer_hiredis idle",
     "kib", "KiB", GOAL_EXTRA_MOST, MIB_KIB},
};

const size_t bench_row_count = sizeof bench_rows / sizeof *bench_rows;

const char *bench_package(const char *command)
{
    static const char *const packages[][2] = {{"peer_gsignal", "libglib2.0-dev"},
                                              {"peer_zmq", "libzmq3-dev"}};
    size_t length = strcspn(command, " ");
    for (size_t i = 0; i < sizeof packages / sizeof *packages; i++) {
        if (strlen(packages[i][0]) == length && !strncmp(command, packages[i][0], length))
            return packages[i][1];
    }
    return NULL;
}
