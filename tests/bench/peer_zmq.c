/*
 * peer_zmq.c - ZeroMQ's PUB/SUB over inproc, from one thread to another; type and data in one
 * message. No limit of its own (a full PUB drops), but the window that threads.c keeps to. XPUB is
 * PUB that tells when a subscription has arrived.
 */
#include "probe.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <zmq.h>

#define EVENTS       2000000
#define WARMUP       200000
#define WINDOW       4096
#define WINDOW_CHECK 256
#define ADDRESS      "inproc://bench"
#define MESSAGE      PROBE_TYPE " " PROBE_TEXT

struct receiver {
    void *context;
    _Atomic int64_t count;
    int64_t times[2]; /* after the warm-up, at the end */
};

static void *open_socket(void *context, int type)
{
    void *socket = zmq_socket(context, type);
    int none = 0;
    zmq_setsockopt(socket, ZMQ_SNDHWM, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
    return socket;
}

static void *receive(void *user)
{
    struct receiver *receiver = user;
    char message[128];
    probe_pin(PROBE_CLIENT_CORE);
    void *socket = open_socket(receiver->context, ZMQ_SUB);
    if (zmq_connect(socket, ADDRESS) || zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "task.", 5))
        probe_fail("zmq: %s", zmq_strerror(zmq_errno()));
    for (int64_t count = 1; count <= EVENTS; count++) {
        if (zmq_recv(socket, message, sizeof message, 0) != (int)strlen(MESSAGE))
            probe_fail("zmq: a message of the wrong length");
        if (count == WARMUP)
            receiver->times[0] = probe_now_ns();
        atomic_store_explicit(&receiver->count, count, memory_order_release);
    }
    receiver->times[1] = probe_now_ns();
    zmq_close(socket);
    return NULL;
}

int main(void)
{
    static struct receiver receiver;
    pthread_t thread;
    receiver.context = zmq_ctx_new();
    void *socket = open_socket(receiver.context, ZMQ_XPUB);
    if (zmq_bind(socket, ADDRESS))
        probe_fail("zmq: %s", zmq_strerror(zmq_errno()));
    pthread_create(&thread, NULL, receive, &receiver);
    char subscription[16];
    if (zmq_recv(socket, subscription, sizeof subscription, 0) < 1)
        probe_fail("zmq: %s", zmq_strerror(zmq_errno()));
    probe_pin(PROBE_SERVER_CORE);
    for (int64_t i = 0; i < EVENTS; i++) {
        while (i % WINDOW_CHECK == 0 &&
               i - atomic_load_explicit(&receiver.count, memory_order_acquire) >= WINDOW)
            sched_yield();
        zmq_send(socket, MESSAGE, strlen(MESSAGE), 0);
    }
    pthread_join(thread, NULL);
    zmq_close(socket);
    zmq_ctx_term(receiver.context);
    probe_report("ns", (double)(receiver.times[1] - receiver.times[0]) / (double)(EVENTS - WARMUP));
    return 0;
}
