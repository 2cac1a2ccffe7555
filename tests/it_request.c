/* it_request.c - asking and answering through a real server: other processes, other software, many
 * at a time, links that break, responders that die, ends in the middle. */
#include "harness/bus.h"
#include "harness/child.h"
#include "harness/peer.h"
#include "harness/process.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SOON = 10000, FLIGHT = 10000 };

/* How a request ended. */
struct asked {
    atomic_int ends;
    int error;
    long number; /* the reply's data, -1: none */
    char type[64], correlation[64], why[128];
};

static void on_reply(evbus_event *reply, int error, void *user)
{
    struct asked *asked = user;
    asked->error = error;
    asked->number = -1;
    if (reply && evbus_event_data(reply, NULL))
        asked->number = strtol(evbus_event_data(reply, NULL), NULL, 10);
    snprintf(asked->type, sizeof asked->type, "%s", reply ? evbus_event_type(reply) : "");
    snprintf(asked->correlation, sizeof asked->correlation, "%s",
             reply ? evbus_event_correlation(reply) : "");
    snprintf(asked->why, sizeof asked->why, "%s", error ? evbus_last_error() : "");
    atomic_fetch_add(&asked->ends, 1);
}

static evbus_event *event_of(const char *type, long number)
{
    char json[32];
    int length = snprintf(json, sizeof json, "%ld", number);
    evbus_event *event = evbus_event_new(type);
    ck_assert_int_eq(evbus_event_set_json(event, json, (size_t)length), 0);
    return event;
}

static int try_ask(evbus *bus, long number, const char *options, struct asked *asked)
{
    evbus_event *event = event_of("ask", number);
    int rc = evbus_request_async(bus, event, options, on_reply, asked);
    evbus_event_unref(event);
    return rc;
}

static void ask(evbus *bus, long number, const char *options, struct asked *asked)
{
    int rc = try_ask(bus, number, options, asked);
    if (rc != 0)
        ck_abort_msg("evbus_request_async: %s", evbus_last_error());
}

static void expect_end(struct asked *asked, int error)
{
    expect_count(&asked->ends, 1, SOON);
    if (asked->error != error)
        ck_abort_msg("ended with %d (%s), not %d", asked->error, asked->why, error);
}

static int answer(evbus_sub *sub, evbus_event *request, void *user)
{
    size_t length;
    const char *data = evbus_event_data(request, &length);
    evbus_event *reply = evbus_event_new("answer");
    (void)sub;
    int rc = evbus_event_set_json(reply, data, length);
    if (rc == 0)
        rc = evbus_reply(*(evbus **)user, request, reply);
    evbus_event_unref(reply);
    return rc;
}

static struct server *server;
static evbus *bus;

static struct peer *start_peer(const char *settings)
{
    struct peer *peer = peer_start(server, settings);
    peer_ask(peer, "answer ask size=100000");
    peer_ask(peer, "connected %d", suite_patience(SOON));
    return peer;
}

static void start(void)
{
    server = server_start(NULL);
    bus = server_bus(server, NULL);
    expect_connected(bus, SOON);
}

static void end(void)
{
    int64_t ends = evbus_stat(bus, "replies") + evbus_stat(bus, "request_timeouts") +
                   evbus_stat(bus, "no_responder") + evbus_stat(bus, "request_failures") +
                   evbus_stat(bus, "requests_pending");
    ck_assert_int_eq(ends, evbus_stat(bus, "requests"));
    bus_end(bus);
    server_free(server);
}

/* ---- two processes ---- */

START_TEST(across)
{
    struct asked asked = {0}, none = {0};
    start();
    ask(bus, 6, NULL, &none); /* nobody is there yet */
    expect_end(&none, EVBUS_ENORESPONDER);
    struct peer *peer = start_peer("");
    evbus_event *event = event_of("ask", 7);
    ck_assert_int_eq(evbus_event_set_correlation(event, "order-7"), 0);
    ck_assert_int_eq(evbus_request_async(bus, event, NULL, on_reply, &asked), 0);
    evbus_event_unref(event);
    expect_end(&asked, 0);
    ck_assert_int_eq(asked.number, 7);
    ck_assert_str_eq(asked.type, "answer");
    ck_assert_str_eq(asked.correlation, "order-7");
    event = event_of("ask", 8);
    evbus_event *reply = evbus_request(bus, event, suite_patience(SOON));
    ck_assert_msg(reply != NULL, "%s", evbus_last_error());
    ck_assert_str_eq(evbus_event_data(reply, NULL), "8");
    ck_assert_int_eq(evbus_event_origin(reply), EVBUS_ORIGIN_REDIS);
    evbus_event_unref(reply);
    evbus_event_unref(event);
    ck_assert_int_eq(atoi(peer_ask(peer, "stat answered")), 2);
    ck_assert_int_eq(evbus_stat(bus, "late_replies"), 0);
    /* nothing of it is kept */
    bus_publish(bus, "kept", "1");
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    ck_assert_int_eq(server_command(server, "XLEN evbus:history:{0}"), 1);
    peer_stop(peer);
    end();
}
END_TEST

/* Who heard requests alone missed nothing that anybody counts on: an outage is no gap. */
START_TEST(no_gap_for_requests)
{
    struct asked asked[2] = {0};
    start();
    struct peer *peer = start_peer("reconnect.backoff=20ms reconnect.backoff.max=50ms");
    peer_ask(peer, "gaps");
    ask(bus, 1, NULL, &asked[0]);
    expect_end(&asked[0], 0);
    ck_assert_int_ge(server_command(server, "CLIENT KILL TYPE pubsub"), 2);
    expect_connected(bus, SOON);
    struct wait wait = wait_for(SOON);
    while (atoi(peer_ask(peer, "stat connects")) < 2 && wait_more(&wait))
        continue;
    peer_ask(peer, "connected %d", suite_patience(SOON));
    expect_connected(bus, SOON);
    ask(bus, 2, NULL, &asked[1]);
    expect_end(&asked[1], 0);
    ck_assert_str_eq(peer_ask(peer, "windows"), "[]");
    peer_stop(peer);
    end();
}
END_TEST

/* ---- many ---- */

static void expect_ends(struct asked *asked, int count, int ms)
{
    struct wait wait = wait_for(ms);
    for (int i = 0; i < count; i++)
        while (atomic_load(&asked[i].ends) == 0)
            if (!wait_more(&wait))
                ck_abort_msg("request %d of %d has no end: %lld are pending", i, count,
                             (long long)evbus_stat(bus, "requests_pending"));
}

/* How many got their reply; none has two ends, and none another one's reply. */
static int judge(const struct asked *asked, int count)
{
    int answered = 0;
    for (int i = 0; i < count; i++) {
        ck_assert_int_eq(atomic_load(&asked[i].ends), 1);
        if (asked[i].error == 0)
            ck_assert_int_eq(asked[i].number, i);
        answered += asked[i].error == 0;
        ck_assert(asked[i].error == 0 || asked[i].error == EVBUS_ETIMEDOUT ||
                  asked[i].error == EVBUS_ENORESPONDER);
    }
    return answered;
}

START_TEST(ten_thousand_in_flight)
{
    struct asked *asked = calloc(FLIGHT, sizeof *asked);
    start();
    struct peer *peer = start_peer("");
    int64_t start_us = now_us();
    for (int i = 0; i < FLIGHT; i++)
        ask(bus, i, "timeout=60s", &asked[i]);
    expect_ends(asked, FLIGHT, 60000);
    printf("figure: %d requests in flight: %.0f ms\n", FLIGHT, (double)(now_us() - start_us) / 1e3);
    ck_assert_int_eq(judge(asked, FLIGHT), FLIGHT);
    ck_assert_int_eq(evbus_stat(bus, "replies"), FLIGHT);
    ck_assert_int_eq(evbus_stat(bus, "late_replies"), 0);
    ck_assert_int_eq(atoi(peer_ask(peer, "stat answered")), FLIGHT);
    peer_stop(peer);
    end();
    free(asked);
}
END_TEST

/* Both connections of both sides are cut, again and again: each request has one end. */
START_TEST(ten_thousand_and_cuts)
{
    struct asked *asked = calloc(FLIGHT, sizeof *asked);
    start();
    struct peer *peer =
        start_peer("reconnect.backoff=10ms reconnect.backoff.max=20ms outbox.age=60s");
    int cuts = 0;
    for (int i = 0; i < FLIGHT; i++) {
        ask(bus, i, "timeout=3s", &asked[i]);
        if (i % (FLIGHT / 5) == FLIGHT / 10) {
            server_command(server, "CLIENT KILL TYPE %s", cuts++ % 2 ? "pubsub" : "normal");
            nap_us(1000); /* what is under way is under way */
        }
    }
    expect_ends(asked, FLIGHT, 20000);
    int answered = judge(asked, FLIGHT);
    printf("figure: %d requests, %d cuts: %d answered, %lld late replies, %lld timeouts\n", FLIGHT,
           cuts, answered, (long long)evbus_stat(bus, "late_replies"),
           (long long)evbus_stat(bus, "request_timeouts"));
    ck_assert_int_eq(evbus_stat(bus, "requests_pending"), 0);
    expect_connected(bus, SOON);
    peer_ask(peer, "connected %d", suite_patience(SOON));
    struct asked after = {0};
    ask(bus, 1, NULL, &after); /* and it goes on */
    expect_end(&after, 0);
    peer_stop(peer);
    end();
    free(asked);
}
END_TEST

/* ---- those who are away, or gone ---- */

START_TEST(responder_dies)
{
    struct asked *silent = calloc(3, sizeof *silent);
    start();
    struct peer *peer = peer_start(server, "");
    peer_ask(peer, "record ask size=100000"); /* it listens, and says nothing */
    peer_ask(peer, "connected %d", suite_patience(SOON));
    ask(bus, 1, "timeout=400ms", &silent[0]);
    ask(bus, 2, "timeout=60s", &silent[1]);
    expect_end(&silent[0], EVBUS_ETIMEDOUT);
    peer_kill(peer);
    struct wait wait = wait_for(SOON);
    while (server_command(server, "PUBLISH evbus:events:ask {}") > 0 && wait_more(&wait))
        continue;
    ask(bus, 3, "timeout=60s", &silent[2]);
    expect_end(&silent[2], EVBUS_ENORESPONDER);
    ck_assert_int_eq(atomic_load(&silent[1].ends), 0); /* nobody can know */
    end();
    expect_end(&silent[1], EVBUS_ECLOSED);
    free(silent);
}
END_TEST

START_TEST(while_redis_is_away)
{
    struct asked here = {0}, late = {0}, waits = {0};
    server = server_plan(false, NULL);
    bus = server_bus(server, "reconnect.backoff", "10ms", "reconnect.backoff.max", "50ms", NULL);
    evbus_sub *sub = bus_subscribe(bus, "ask", NULL, answer, &bus);
    ask(bus, 1, NULL, &here); /* needs nobody else */
    expect_end(&here, 0);
    bus_unsubscribe(sub);
    ask(bus, 2, "timeout=50ms", &late);
    expect_end(&late, EVBUS_ETIMEDOUT);
    ask(bus, 3, "timeout=60s", &waits);
    server_run(server);
    expect_end(&waits, EVBUS_ENORESPONDER); /* sent, and nobody there */
    expect_stat(bus, "expired", 1, SOON);
    end();
}
END_TEST

/* Through Redis although it is the same process. */
START_TEST(redis_only)
{
    struct asked asked = {0}, none = {0};
    server = server_start(NULL);
    bus = server_bus(server, "bus.mode", "redis-only", NULL);
    expect_mode(bus, EVBUS_MODE_REDIS_ONLY, SOON);
    ask(bus, 1, NULL, &none);
    expect_end(&none, EVBUS_ENORESPONDER);
    evbus_sub *sub = bus_subscribe(bus, "ask", NULL, answer, &bus);
    ck_assert_int_eq(evbus_sub_wait(sub, suite_patience(SOON)), 0);
    ask(bus, 2, NULL, &asked);
    expect_end(&asked, 0);
    ck_assert_int_eq(asked.number, 2);
    end();
}
END_TEST

/* The asker and two responders in one process, on buses of their own. */
START_TEST(two_buses)
{
    struct asked asked = {0};
    start();
    evbus *other = server_bus(server, NULL);
    evbus *local = bus_with(NULL);
    evbus_sub *sub = bus_subscribe(other, "ask", "deliver=inline", answer, &other);
    bus_subscribe(local, "ask", NULL, answer, &local); /* hears nothing of it */
    expect_connected(other, SOON);
    ck_assert_int_eq(evbus_sub_wait(sub, suite_patience(SOON)), 0);
    ask(bus, 5, NULL, &asked);
    expect_end(&asked, 0);
    ck_assert_int_eq(asked.number, 5);
    ck_assert_int_eq(evbus_stat(local, "answered"), 0);
    /* on the asker's own bus, without Redis */
    struct asked again = {0};
    bus_unsubscribe(sub);
    sub = bus_subscribe(other, "ask", NULL, answer, &bus);
    ck_assert_int_eq(evbus_sub_wait(sub, suite_patience(SOON)), 0);
    ask(bus, 6, NULL, &again);
    expect_end(&again, 0);
    ck_assert_int_eq(evbus_stat(bus, "answered"), 1);
    bus_end(other);
    bus_end(local);
    end();
}
END_TEST

/* ---- other software ---- */

static const char python[] =
    "import json, sys, redis\n"
    "r = redis.Redis(unix_socket_path=sys.argv[1])\n"
    "p = r.pubsub()\n"
    "p.subscribe('evbus:events:ask', 'evbus:inbox:python')\n"
    "ready = 0\n"
    "for m in p.listen():\n"
    "    if m['type'] == 'subscribe':\n"
    "        ready += 1\n"
    "        if ready == 2:\n"
    "            print('ready', flush=True)\n"
    "        continue\n"
    "    e = json.loads(m['data'])\n"
    "    if 'inReplyTo' in e:\n"
    "        print(e['inReplyTo'], e.get('data'), e.get('error'), flush=True)\n"
    "    elif e['data'] == 1:\n"
    "        r.publish(e['replyTo'], json.dumps({'inReplyTo': e['eventId'], 'data': 2}))\n"
    "    elif e['data'] == 3:\n"
    "        r.publish(e['replyTo'], json.dumps({'inReplyTo': e['eventId'], 'error': 'no'}))\n"
    "        r.publish('evbus:events:price', json.dumps({'eventId': 'mine', 'data': 4,\n"
    "            'replyTo': 'evbus:inbox:python', 'deadline': e['deadline']}))\n"
    "    else:\n"
    "        break\n";

static int refuse_four(evbus_sub *sub, evbus_event *request, void *user)
{
    (void)sub;
    (void)user;
    ck_assert_str_eq(evbus_event_data(request, NULL), "4");
    return evbus_reply_error(bus, request, "too dear");
}

START_TEST(python_asks_and_answers)
{
    struct asked good = {0}, bad = {0}, last = {0};
    start();
    const char *words[] = {"/usr/bin/python3", "-c", python, server->socket, NULL};
    struct child child;
    child_start(&child, words);
    const char *line = child_line(&child);
    ck_assert_msg(line && !strcmp(line, "ready"), "python3 with its redis module: %s",
                  line ? line : "no answer");
    evbus_sub *sub = bus_subscribe(bus, "price", NULL, refuse_four, NULL);
    ck_assert_int_eq(evbus_sub_wait(sub, suite_patience(SOON)), 0);
    ask(bus, 1, NULL, &good);
    expect_end(&good, 0);
    ck_assert_int_eq(good.number, 2);
    ask(bus, 3, NULL, &bad);
    expect_end(&bad, EVBUS_EREMOTE);
    ck_assert_str_eq(bad.why, "no");
    ck_assert_str_eq(child_line(&child), "mine None too dear");
    ask(bus, 5, "timeout=60s", &last);
    ck_assert_int_eq(child_wait(&child), 0);
    end();
    expect_end(&last, EVBUS_ECLOSED);
}
END_TEST

/* ---- ends in the middle ---- */

START_TEST(in_a_child)
{
    struct asked asked = {0};
    bus = bus_with(NULL);
    evbus_sub *sub = evbus_subscribe(bus, "ask", NULL, answer, &bus);
    evbus_event *event = event_of("ask", 1), *request = event_of("ask", 2);
    ask(bus, 1, NULL, &asked);
    expect_end(&asked, 0);
    ck_assert(until(process_others_sleep, NULL, SOON));
    pid_t pid = fork();
    if (pid == 0) {
        bool good = evbus_request_async(bus, event, NULL, on_reply, &asked) == EVBUS_EFORK &&
                    !evbus_request(bus, event, 100) && evbus_last_code() == EVBUS_EFORK &&
                    evbus_reply(bus, request, event) == EVBUS_EFORK &&
                    evbus_reply_error(bus, request, "no") == EVBUS_EFORK;
        evbus_free(bus);
        _exit(good ? 0 : 1);
    }
    int status = -1;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    evbus_event_unref(event);
    evbus_event_unref(request);
    evbus_free(bus);
    evbus_unsubscribe(sub);
}
END_TEST

enum { THREADS = 3 };

struct asker {
    evbus *bus;
    struct asked *asked; /* owned */
    int count, room;
    atomic_int *started;
};

static void *ask_until_closed(void *user)
{
    struct asker *asker = user;
    int rc = 0;
    while (asker->count < asker->room && rc != EVBUS_ECLOSED) {
        rc = try_ask(asker->bus, asker->count, "timeout=1h", &asker->asked[asker->count]);
        asker->count += rc == 0;
        ck_assert(rc == 0 || rc == EVBUS_ECLOSED || rc == EVBUS_EFULL);
        atomic_fetch_add(asker->started, 1);
    }
    return NULL;
}

/* Close and free end what is pending, once each, by the time that close has returned. */
START_TEST(closed_in_the_middle)
{
    static const char *const options[] = {NULL, "deliver=inline", "deliver=workers"};
    for (int round = suite_rounds(60); round > 0; round--) {
        struct asker askers[THREADS];
        pthread_t threads[THREADS];
        atomic_int started = 0;
        bus = bus_with("workers", "2", "request.pending", "500", NULL);
        evbus_sub *sub =
            evbus_subscribe(bus, "ask", options[round % 3], round % 4 ? answer : handle_count,
                            round % 4 ? (void *)&bus : (void *)&started);
        for (int i = 0; i < THREADS; i++) {
            askers[i] =
                (struct asker){bus, calloc(20000, sizeof(struct asked)), 0, 20000, &started};
            pthread_create(&threads[i], NULL, ask_until_closed, &askers[i]);
        }
        expect_count(&started, 1 + round * 7, SOON);
        ck_assert_int_eq(evbus_close(bus, suite_patience(SOON)), 0);
        for (int i = 0; i < THREADS; i++) {
            pthread_join(threads[i], NULL);
            for (int k = 0; k < askers[i].count; k++)
                ck_assert_int_eq(atomic_load(&askers[i].asked[k].ends), 1);
            free(askers[i].asked);
        }
        ck_assert_int_eq(evbus_stat(bus, "requests_pending"), 0);
        evbus_free(bus);
        evbus_unsubscribe(sub);
    }
}
END_TEST

/* Freed without closing, with requests on all their ways. */
START_TEST(freed_in_the_middle)
{
    enum { ROUND = 50 };
    server = server_start(NULL);
    for (int round = suite_rounds(20); round > 0; round--) {
        struct asked *asked = calloc(ROUND, sizeof *asked);
        bus = server_bus(server, NULL);
        if (round % 2)
            expect_connected(bus, SOON);
        evbus_sub *sub = round % 3 ? evbus_subscribe(bus, "ask", NULL, answer, &bus) : NULL;
        for (int i = 0; i < ROUND; i++)
            ask(bus, i, "timeout=1h", &asked[i]);
        evbus_free(bus);
        for (int i = 0; i < ROUND; i++)
            ck_assert_int_eq(atomic_load(&asked[i].ends), 1);
        if (sub)
            evbus_unsubscribe(sub);
        free(asked);
    }
    server_free(server);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("request");
    suite_add(suite, "across", across, 40);
    suite_add(suite, "no_gap_for_requests", no_gap_for_requests, 40);
    suite_add(suite, "ten_thousand_in_flight", ten_thousand_in_flight, 90);
    suite_add(suite, "ten_thousand_and_cuts", ten_thousand_and_cuts, 90);
    suite_add(suite, "responder_dies", responder_dies, 40);
    suite_add(suite, "while_redis_is_away", while_redis_is_away, 40);
    suite_add(suite, "redis_only", redis_only, 40);
    suite_add(suite, "two_buses", two_buses, 40);
    suite_add(suite, "python_asks_and_answers", python_asks_and_answers, 40);
    suite_add(suite, "in_a_child", in_a_child, 40);
    suite_add(suite, "closed_in_the_middle", closed_in_the_middle, 90);
    suite_add(suite, "freed_in_the_middle", freed_in_the_middle, 90);
    return suite_run(suite, argc, argv);
}
