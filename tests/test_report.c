/* test_report.c - what the bus tells of itself: names, numbers and the shape of its JSON. */
#include "bus_fixture.h"
#include "list.h"
#include "metrics.h"
#include <jansson.h>

static json_t *load(char *text)
{
    json_error_t error;
    ck_assert_msg(text != NULL, "%s", evbus_last_error());
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    ck_assert_msg(json != NULL, "%s: %s", error.text, text);
    evbus_string_free(text);
    return json;
}

/* "key:type" words: s string, i integer, r real, b boolean, n null, o object, a array; "x|n" either
 */
static void shape(const json_t *json, const char *want)
{
    char name[40], types[8];
    int used, count = 0;
    for (; sscanf(want, " %39[^:]:%7s%n", name, types, &used) == 2; want += used, count++) {
        json_t *value = json_object_get(json, name);
        ck_assert_msg(value != NULL, "no %s", name);
        char type = "oasirbbn"[json_typeof(value)];
        ck_assert_msg(strchr(types, type) != NULL, "%s is %c, not %s", name, type, types);
    }
    ck_assert_uint_eq(json_object_size(json), (size_t)count);
}

#define HEALTH                                                                                     \
    "status:s live:b ready:b mode:s redis:o subscriptions:o outbox:o uptime_ms:i version:s "       \
    "node:s history:o checks:o"
#define REDIS                                                                                      \
    "connected:b address:s tls:b state:s attempts:i role:s|n latency_ms:r|n retry_in_ms:i|n "      \
    "last_error:s|n error_code:i tls_verify:s|n"

static json_t *health(void)
{
    json_t *json = load(evbus_health_json(bus));
    shape(json, HEALTH);
    shape(json_object_get(json, "redis"), REDIS);
    shape(json_object_get(json, "subscriptions"), "local:i redis:i");
    shape(json_object_get(json, "outbox"), "events:i limit:i");
    shape(json_object_get(json, "history"), "enabled:b state:s reason:s|n");
    return json;
}

static const char *text_at(json_t *json, const char *outer, const char *inner)
{
    json_t *object = outer ? json_object_get(json, outer) : json;
    return json_string_value(json_object_get(object, inner));
}

START_TEST(healthy)
{
    bus = open_on(_i, NULL);
    evbus_sub *both = subscribe("a", NULL, ""), *local = subscribe("b", "scope=local", ""),
              *remote = subscribe("c", "scope=redis", "");
    if (_i)
        await_mode(EVBUS_MODE_HYBRID);
    json_t *json = health(), *subs = json_object_get(json, "subscriptions");
    ck_assert_str_eq(text_at(json, NULL, "status"), "healthy");
    ck_assert_str_eq(text_at(json, NULL, "mode"), _i ? "hybrid" : "local-only");
    ck_assert_str_eq(text_at(json, "redis", "state"), _i ? "ready" : "off");
    ck_assert_int_eq(json_integer_value(json_object_get(subs, "local")), 2);
    ck_assert_int_eq(json_integer_value(json_object_get(subs, "redis")), _i ? 2 : 0);
    ck_assert_int_eq(json_is_true(json_object_get(json_object_get(json, "redis"), "connected")),
                     _i);
    if (_i)
        ck_assert_str_eq(text_at(json, "redis", "role"), "master");
    ck_assert_ptr_null(text_at(json, "redis", "last_error"));
    ck_assert_str_eq(text_at(json, NULL, "node"), evbus_node(bus));
    ck_assert_int_eq(evbus_ready(bus), 1);
    json_decref(json);
    evbus_unsubscribe(both);
    evbus_unsubscribe(local);
    evbus_unsubscribe(remote);
}
END_TEST

START_TEST(away)
{
    scripted_listen(server, false);
    bus = open_on(true, "health.require.redis", _i ? "yes" : "no", "reconnect.backoff", "1h",
                  "reconnect.backoff.max", "1h", NULL);
    evbus_publish(bus, "t", NULL);
    while (!evbus_stat(bus, "connect_errors"))
        event_base_loop(base, EVLOOP_ONCE);
    json_t *json = health();
    ck_assert_str_eq(text_at(json, NULL, "status"), _i ? "unhealthy" : "degraded");
    ck_assert_str_eq(text_at(json, "redis", "state"), "backoff");
    ck_assert_ptr_nonnull(text_at(json, "redis", "last_error"));
    ck_assert(json_is_integer(json_object_get(json_object_get(json, "redis"), "retry_in_ms")));
    ck_assert(json_is_null(json_object_get(json_object_get(json, "redis"), "role")));
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(json, "outbox"), "events")),
                     1);
    ck_assert_int_eq(evbus_ready(bus), !_i);
    json_decref(json);
}
END_TEST

/* The server's words are the server's: whatever bytes they are, the JSON stands. */
START_TEST(odd_words)
{
    static const char *const words[] = {"-ERR \xff\xfe\r\n", "-ERR \"\\\x01\x1f\r\n",
                                        "-ERR \xc3\r\n", "-ERR \xed\xa0\x80\r\n"};
    scripted_answer(server, "HELLO", words[_i], 0);
    bus = open_on(true, "reconnect.backoff", "1h", "reconnect.backoff.max", "1h", NULL);
    evbus_sub *sub = subscribe("evbus.>", NULL, "");
    while (!evbus_stat(bus, "connect_errors"))
        event_base_loop(base, EVLOOP_ONCE);
    json_t *json = health();
    const char *error = text_at(json, "redis", "last_error");
    ck_assert_ptr_nonnull(error);
    ck_assert_ptr_nonnull(strstr(error, "HELLO refused"));
    json_decref(json);
    evbus_unsubscribe(sub);
}
END_TEST

START_TEST(odd_names)
{
    bus = open_on(true, "bus.name", "caf\xe9", "redis.path", "/no\xff/where", "reconnect.backoff",
                  "1h", "reconnect.backoff.max", "1h", NULL);
    evbus_sub *sub = subscribe("glob:caf\xe9*", NULL, "");
    json_decref(health());
    json_t *json = load(evbus_stats_json(bus));
    ck_assert(json_is_string(json_object_get(json, "bus")));
    ck_assert_uint_eq(json_array_size(json_object_get(json, "per_subscription")), 1);
    json_decref(json);
    evbus_unsubscribe(sub);
}
END_TEST

START_TEST(statistics)
{
    static const char *const gauges[] = {"outbox_events", "outbox_bytes", "subscriptions",
                                         "uptime_ms"};
    bus = open_on(true, NULL);
    evbus_sub *sub = subscribe("a", NULL, "");
    await_mode(EVBUS_MODE_HYBRID);
    evbus_publish(bus, "a", NULL);
    turn();
    json_t *json = load(evbus_stats_json(bus)), *rows = json_object_get(json, "per_subscription");
    for (int i = 0; i < EVB_COUNTER_COUNT; i++) {
        const char *name = evb_metrics_name((enum evb_counter)i);
        ck_assert(json_is_integer(json_object_get(json, name)));
        ck_assert_int_ge(evbus_stat(bus, name), 0);
    }
    for (size_t i = 0; i < EVB_COUNT(gauges); i++) {
        ck_assert(json_is_integer(json_object_get(json, gauges[i])));
        ck_assert_int_ge(evbus_stat(bus, gauges[i]), 0);
    }
    ck_assert_int_ge(evbus_stat(bus, "rtt_us"), 0);
    ck_assert_int_eq(evbus_stat(bus, "published_local"), 1);
    ck_assert_int_eq(evbus_stat(bus, "handled"), 1);
    ck_assert_uint_eq(json_array_size(rows), 1);
    shape(json_array_get(rows, 0), "pattern:s redis:s delivered:i failed:i dropped:i queued:i "
                                   "peak:i polled:i leading:i slow:b");
    ck_assert_str_eq(text_at(json_array_get(rows, 0), NULL, "redis"), "live");
    ck_assert_int_eq(evbus_stat(bus, "no such"), EVBUS_ENOENT);
    ck_assert_int_eq(evbus_stat(bus, NULL), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_stat(NULL, "handled"), EVBUS_EINVAL);
    ck_assert_ptr_null(evbus_stats_json(NULL));
    ck_assert_ptr_null(evbus_health_json(NULL));
    ck_assert_int_eq(evbus_ready(NULL), 0);
    json_decref(json);
    evbus_unsubscribe(sub);
}
END_TEST

/* Every n-th allocation fails: the whole text, or NULL; never half of it. */
START_TEST(no_memory)
{
    bool failed = true;
    bus = open_on(false, NULL);
    evbus_sub *sub = subscribe("a", NULL, "");
    for (long n = 0; failed; n++) {
        ck_assert_int_lt(n, 20);
        failing_at(n, false);
        char *stats = evbus_stats_json(bus);
        failed = failing_off();
        ck_assert(stats ? strstr(stats, "\"pattern\":\"a\"") != NULL
                        : evbus_last_code() == EVBUS_ENOMEM);
        evbus_string_free(stats);
        failing_at(n, false);
        char *text = evbus_health_json(bus);
        failed = failing_off() || failed;
        ck_assert(text ? strstr(text, "\"subscriptions\":{\"local\":1") != NULL
                       : evbus_last_code() == EVBUS_ENOMEM);
        evbus_string_free(text);
    }
    evbus_unsubscribe(sub);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("report");
    TCase *tests = tcase_create("report");

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, suite_patience(60));
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, healthy, 0, 2);
    tcase_add_loop_test(tests, away, 0, 2);
    tcase_add_loop_test(tests, odd_words, 0, 4);
    tcase_add_test(tests, odd_names);
    tcase_add_test(tests, statistics);
    tcase_add_test(tests, no_memory);
    return run(suite);
}
