/* it_foreign.c - publishers and subscribers that are not this library: redis-cli, python3-redis,
 * and the message forms of the four systems that the library can replace, as their programs write
 * them. */
#include "harness/bus.h"
#include "harness/child.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON = 10000 };

static struct server *server;
static evbus *bus;

struct last { /* the last event that came */
    pthread_mutex_t lock;
    evbus_event *event; /* under lock, owned */
    atomic_int count;
};

static int keep(evbus_sub *sub, evbus_event *event, void *user)
{
    struct last *last = user;
    (void)sub;
    pthread_mutex_lock(&last->lock);
    evbus_event_unref(last->event);
    last->event = evbus_event_ref(event);
    pthread_mutex_unlock(&last->lock);
    atomic_fetch_add(&last->count, 1);
    return 0;
}

static struct last last = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void open_with(const char *prefix, const char *foreign)
{
    server = server_start(NULL);
    bus = server_bus(server, "channel.prefix", prefix, "wire.foreign", foreign, NULL);
    evbus_sub *sub = bus_subscribe(bus, ">", NULL, keep, &last);
    expect_connected(bus, SOON);
    ck_assert_int_eq(evbus_sub_wait(sub, suite_patience(SOON)), 0);
}

static void close_all(void)
{
    bus_end(bus);
    evbus_event_unref(last.event);
    last.event = NULL;
    server_free(server);
}

/* Publishes text on a channel and waits for its event: borrowed until the next. */
static evbus_event *send_text(const char *channel, const char *text)
{
    int before = atomic_load(&last.count);
    ck_assert_int_eq(server_publish(server, channel, text, strlen(text)), 1);
    expect_count(&last.count, before + 1, SOON);
    return last.event;
}

/* The text at a path of keys ("a.b") of the event's data; numbers as text. */
static void expect_data(const evbus_event *event, const char *key, const char *wanted)
{
    json_t *data = json_loads(evbus_event_data(event, NULL), JSON_DECODE_ANY, NULL);
    ck_assert_msg(data, "data is not JSON: %s", evbus_event_data(event, NULL));
    char *text = json_dumps(json_object_get(data, key), JSON_ENCODE_ANY | JSON_COMPACT);
    ck_assert_msg(text && !strcmp(text, wanted), "%s is %s instead of %s", key, text, wanted);
    free(text);
    json_decref(data);
}

/* ---- the four systems' forms ---- */

START_TEST(form_of_go_task_scheduling)
{
    open_with("", "deliver");
    evbus_event *event = send_text(
        "task.created", "{\"type\":\"task.created\",\"timestamp\":1734861000,\"data\":{\"task_id\":"
                        "\"6f1\",\"circuit_type\":\"merkle_proof\"}}");
    ck_assert_str_eq(evbus_event_type(event), "task.created");
    ck_assert_int_eq(evbus_event_time_us(event), INT64_C(1734861000000000));
    ck_assert_str_eq(evbus_event_timestamp(event), "2024-12-22T09:50:00.000Z");
    ck_assert_int_eq(evbus_event_origin(event), EVBUS_ORIGIN_REDIS);
    ck_assert_ptr_null(evbus_event_node(event));
    expect_data(event, "task_id", "\"6f1\"");
    expect_data(event, "circuit_type", "\"merkle_proof\"");
    event = send_text("worker.joined", "{\"Type\":\"worker.joined\",\"data\":{\"id\":7}}");
    ck_assert_str_eq(evbus_event_type(event), "worker.joined");
    expect_data(event, "id", "7");
    close_all();
}
END_TEST

START_TEST(form_of_python_task_updates)
{
    open_with("", "deliver");
    evbus_event *event =
        send_text("task_updates", "{\"status\": \"in_progress\", \"message\": \"Processing "
                                  "commission...\", \"progress\": 50}");
    ck_assert_str_eq(evbus_event_type(event), "task_updates");
    expect_data(event, "status", "\"in_progress\"");
    expect_data(event, "progress", "50");
    event =
        send_text("general_updates", "{\"type\": \"system_notification\", \"message\": \"System "
                                     "maintenance scheduled\"}");
    ck_assert_str_eq(evbus_event_type(event), "general_updates"); /* the channel decides */
    expect_data(event, "message", "\"System maintenance scheduled\"");
    expect_data(event, "type", "\"system_notification\"");
    event = send_text("task_updates",
                      "{\"task_id\": \"task-123\", \"update\": {\"status\": \"done\", \"text\": "
                      "\"\\u00e4 \\ud83c\\udfaf\"}}"); /* as json.dumps writes it */
    expect_data(event, "update", "{\"status\":\"done\",\"text\":\"ä 🎯\"}");
    close_all();
}
END_TEST

START_TEST(form_of_hybrid_event_bus)
{
    open_with("", "deliver");
    evbus_event *event = send_text(
        "booking.created",
        "{\"type\":\"booking.created\",\"userId\":\"user123\",\"organizationId\":\"org456\","
        "\"timestamp\":\"2024-12-22T10:30:00.250Z\",\"correlationId\":\"booking_789\","
        "\"metadata\":{\"bookingId\":\"789\",\"status\":\"confirmed\"}}");
    ck_assert_str_eq(evbus_event_type(event), "booking.created");
    ck_assert_str_eq(evbus_event_correlation(event), "booking_789");
    ck_assert_str_eq(evbus_event_timestamp(event), "2024-12-22T10:30:00.250Z");
    ck_assert_str_eq(evbus_event_attr(event, "userId"), "user123");
    ck_assert_str_eq(evbus_event_attr(event, "organizationId"), "org456");
    expect_data(event, "bookingId", "\"789\"");
    expect_data(event, "status", "\"confirmed\"");
    event =
        send_text("custom.event", "{\"type\":\"custom.event\",\"payload\":{\"data\":\"example\"},"
                                  "\"options\":{\"localOnly\":false}}");
    expect_data(event, "data", "\"example\"");
    event = send_text("user.login", "{\"timestamp\":1734861000123,\"payload\":[1,2]}");
    ck_assert_int_eq(evbus_event_time_us(event), INT64_C(1734861000123000)); /* Date.now() */
    ck_assert_str_eq(evbus_event_data(event, NULL), "[1,2]");
    close_all();
}
END_TEST

START_TEST(form_of_standard_events)
{
    open_with("aiponge:events:", "deliver");
    evbus_event *event = send_text(
        "aiponge:events:analytics.events.batch",
        "{\"eventId\":\"evt_abc123\",\"type\":\"analytics.events.batch\",\"version\":\"1.0\","
        "\"timestamp\":\"2024-12-22T10:30:00Z\",\"source\":\"music-service\",\"data\":{\"events\":"
        "[{\"n\":1},{\"n\":2}]}}");
    ck_assert_str_eq(evbus_event_type(event), "analytics.events.batch");
    ck_assert_str_eq(evbus_event_id(event), "evt_abc123");
    ck_assert_str_eq(evbus_event_version(event), "1.0");
    ck_assert_str_eq(evbus_event_source(event), "music-service");
    ck_assert_int_eq(evbus_event_time_us(event), INT64_C(1734863400000000));
    expect_data(event, "events", "[{\"n\":1},{\"n\":2}]");
    char *text = evbus_event_to_json(event);
    json_t *json = json_loads(text, 0, NULL);
    ck_assert_msg(json, "%s", text);
    ck_assert_str_eq(json_string_value(json_object_get(json, "eventId")), "evt_abc123");
    json_decref(json);
    evbus_string_free(text);
    /* the same id once more is the same event: a resend */
    server_publish(server, "aiponge:events:analytics.events.batch",
                   "{\"eventId\":\"evt_abc123\",\"data\":1}", 33);
    event = send_text("aiponge:events:config.cache.invalidate", "{\"data\":{}}");
    ck_assert_int_eq(atomic_load(&last.count), 2);
    ck_assert_int_eq(evbus_stat(bus, "duplicates"), 1);
    close_all();
}
END_TEST

/* ---- what is no JSON object ---- */

static const char *const strange[] = {"hello",    "",     "[1,2,3]", "42",
                                      "\"text\"", "true", "null",    "plain text, with {braces}"};

START_TEST(foreign_deliver)
{
    open_with("", "deliver");
    for (size_t i = 0; i < sizeof strange / sizeof strange[0]; i++) {
        evbus_event *event = send_text("raw", strange[i]);
        size_t length;
        const char *data = evbus_event_data(event, &length);
        ck_assert_str_eq(evbus_event_type(event), "raw");
        ck_assert_int_eq(evbus_event_is_json(event), 0);
        ck_assert_uint_eq(length, strlen(strange[i]));
        ck_assert_mem_eq(data, strange[i], length);
    }
    ck_assert_int_eq(evbus_stat(bus, "foreign_dropped"), 0);
    close_all();
}
END_TEST

START_TEST(foreign_drop)
{
    int count = (int)(sizeof strange / sizeof strange[0]);
    open_with("", "drop");
    for (int i = 0; i < count; i++)
        server_publish(server, "raw", strange[i], strlen(strange[i]));
    evbus_event *event = send_text("raw", "{\"good\":1}");
    expect_data(event, "good", "1");
    ck_assert_int_eq(atomic_load(&last.count), 1);
    ck_assert_int_eq(evbus_stat(bus, "foreign_dropped"), count);
    close_all();
}
END_TEST

/* ---- other programs ---- */

/* What a program that subscribed got of the event {"n":1} with attribute userId. */
static void check_envelope(const char *text, const char *type)
{
    json_t *json = json_loads(text, 0, NULL);
    ck_assert_msg(json, "no JSON: %s", text);
    static const char *const keys[] = {"node",      "eventId", "type",         "version",
                                       "timestamp", "source",  "correlationId"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        ck_assert_msg(json_is_string(json_object_get(json, keys[i])), "no %s: %s", keys[i], text);
    ck_assert_str_eq(json_string_value(json_object_get(json, "type")), type);
    ck_assert_str_eq(json_string_value(json_object_get(json, "version")), "1.0");
    ck_assert_int_gt(json_integer_value(json_object_get(json, "seq")), 0);
    ck_assert(json_is_true(json_object_get(json, "local")));
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(json, "data"), "n")), 1);
    ck_assert_str_eq(json_string_value(json_object_get(json_object_get(json, "attrs"), "userId")),
                     "u1");
    json_decref(json);
}

static void publish_one(const char *type)
{
    evbus_event *event = evbus_event_new(type);
    evbus_event_set_json(event, "{\"n\":1}", 7);
    evbus_event_set_attr(event, "userId", "u1");
    ck_assert_int_eq(evbus_publish_event(bus, event, 0), EVBUS_SENT_LOCAL | EVBUS_SENT_REDIS);
    evbus_event_unref(event);
}

static void await_line(struct child *child, const char *wanted)
{
    const char *line;
    do {
        line = child_line(child);
        ck_assert_msg(line, "the program ended before it said %s", wanted);
    } while (strcmp(line, wanted) != 0);
}

START_TEST(redis_cli_subscribes)
{
    open_with("evbus:events:", "deliver");
    const char *words[] = {
        "redis-cli", "-s", server->socket, "SUBSCRIBE", "evbus:events:order.paid", NULL};
    struct child child;
    child_start(&child, words);
    await_line(&child, "subscribe");
    await_line(&child, "1");
    publish_one("order.paid");
    await_line(&child, "message");
    await_line(&child, "evbus:events:order.paid");
    check_envelope(child_line(&child), "order.paid");
    child_kill(&child);
    close_all();
}
END_TEST

START_TEST(redis_cli_publishes)
{
    open_with("evbus:events:", "deliver");
    const char *words[] = {"redis-cli", "-s", server->socket, "PUBLISH", "evbus:events:order.paid",
                           "{\"n\":1}", NULL};
    struct child child;
    child_start(&child, words);
    ck_assert_str_eq(child_line(&child), "1");
    ck_assert_int_eq(child_wait(&child), 0);
    expect_count(&last.count, 1, SOON);
    ck_assert_str_eq(evbus_event_type(last.event), "order.paid");
    expect_data(last.event, "n", "1");
    close_all();
}
END_TEST

static int count_last(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    atomic_fetch_add((atomic_int *)user, strcmp(evbus_event_type(event), "last") == 0);
    return 0;
}

/* With bare types a wide pattern covers the channels of others' fences and replies: no events. */
START_TEST(inboxes_are_no_events)
{
    static const char reply[] = "{\"inReplyTo\":\"x\",\"data\":1}";
    atomic_int came = 0;
    char inbox[64];
    open_with("", "deliver");
    bus_subscribe(bus, ">", NULL, count_last, &came);
    evbus *other = server_bus(server, "channel.prefix", "", NULL);
    expect_connected(other, SOON); /* and its first fence went by */
    snprintf(inbox, sizeof inbox, "evbus:inbox:%s", evbus_node(other));
    ck_assert_int_eq(server_publish(server, inbox, reply, sizeof reply - 1), 2);
    bus_publish(other, "last", NULL);
    expect_count(&came, 1, SOON); /* all else came before it */
    ck_assert_int_eq(evbus_stat(bus, "received"), 1);
    ck_assert_int_eq(evbus_stat(bus, "decode_errors"), 0);
    expect_stat(other, "late_replies", 1, SOON);
    bus_end(other);
    close_all();
}
END_TEST

/* argv: socket. Answers each event on "ping" with its data on "pong", by psubscribe; ends after
 * "stop". */
static const char python[] =
    "import json, sys, redis\n"
    "r = redis.Redis(unix_socket_path=sys.argv[1])\n"
    "p = r.pubsub()\n"
    "p.psubscribe('evbus:events:py.*')\n"
    "for m in p.listen():\n"
    "    if m['type'] == 'psubscribe':\n"
    "        print('ready', flush=True)\n"
    "        continue\n"
    "    e = json.loads(m['data'])\n"
    "    print(m['data'].decode(), flush=True)\n"
    "    if m['channel'].endswith(b'stop'):\n"
    "        break\n"
    "    r.publish('evbus:events:pong', json.dumps({'eventId': e['eventId'] + '-answer',\n"
    "        'correlationId': e['correlationId'], 'data': {'got': e['data']['n']}}))\n";

START_TEST(python_redis_both_ways)
{
    open_with("evbus:events:", "deliver");
    const char *words[] = {"/usr/bin/python3", "-c", python, server->socket, NULL};
    struct child child;
    child_start(&child, words);
    const char *line = child_line(&child);
    ck_assert_msg(line && !strcmp(line, "ready"), "python3 with its redis module: %s",
                  line ? line : "no answer");
    publish_one("py.ping");
    check_envelope(child_line(&child), "py.ping");
    expect_count(&last.count, 2, SOON); /* the ping here, and the answer */
    ck_assert_str_eq(evbus_event_type(last.event), "pong");
    expect_data(last.event, "got", "1");
    ck_assert_ptr_null(evbus_event_node(last.event));
    publish_one("py.stop");
    check_envelope(child_line(&child), "py.stop");
    ck_assert_int_eq(child_wait(&child), 0);
    close_all();
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("foreign");
    suite_add(suite, "form_of_go_task_scheduling", form_of_go_task_scheduling, 20);
    suite_add(suite, "form_of_python_task_updates", form_of_python_task_updates, 20);
    suite_add(suite, "form_of_hybrid_event_bus", form_of_hybrid_event_bus, 20);
    suite_add(suite, "form_of_standard_events", form_of_standard_events, 20);
    suite_add(suite, "foreign_deliver", foreign_deliver, 20);
    suite_add(suite, "foreign_drop", foreign_drop, 20);
    suite_add(suite, "redis_cli_subscribes", redis_cli_subscribes, 30);
    suite_add(suite, "redis_cli_publishes", redis_cli_publishes, 30);
    suite_add(suite, "inboxes_are_no_events", inboxes_are_no_events, 30);
    suite_add(suite, "python_redis_both_ways", python_redis_both_ways, 40);
    return suite_run(suite, argc, argv);
}
