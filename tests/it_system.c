/* it_system.c - what the bus tells: system events, refused subscriptions, health, statistics, the
 * log. */
#include "harness/bus.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON = 10000 };

/* Everything under evbus.*, as lines of "type data". */
static struct {
    pthread_mutex_t lock;
    char text[16384]; /* under lock */
    atomic_int count;
} story = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int tell(evbus_sub *sub, evbus_event *event, void *user)
{
    char line[1024];
    (void)sub;
    (void)user;
    snprintf(line, sizeof line, "%s %s\n", evbus_event_type(event), evbus_event_data(event, NULL));
    pthread_mutex_lock(&story.lock);
    if (strlen(story.text) + strlen(line) < sizeof story.text)
        strcat(story.text, line);
    pthread_mutex_unlock(&story.lock);
    atomic_fetch_add(&story.count, 1);
    return evbus_event_is_json(event) ? 0 : 1;
}

static bool told(void *part)
{
    pthread_mutex_lock(&story.lock);
    bool found = strstr(story.text, part) != NULL;
    pthread_mutex_unlock(&story.lock);
    return found;
}

static void expect_told(const char *part)
{
    if (!until(told, (void *)(uintptr_t)part, SOON))
        ck_abort_msg("never said: %s; but:\n%s", part, story.text);
}

static bool tried(void *bus)
{
    return evbus_stat(bus, "connect_errors") > 0;
}

START_TEST(system_events_of_an_outage)
{
    struct server *server = server_plan(false, NULL);
    evbus *bus = server_bus(server, "outbox.events", "10", NULL);
    atomic_int all = 0;
    bus_subscribe(bus, "evbus.>", "deliver=inline", tell, NULL);
    bus_subscribe(bus, ">", "deliver=inline", handle_count, &all); /* sees none of them */
    ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_DEGRADED);
    ck_assert(until(tried, bus, SOON));
    server_run(server);
    expect_mode(bus, EVBUS_MODE_HYBRID, SOON);
    expect_told("evbus.mode {\"from\":\"degraded\",\"to\":\"hybrid\"");
    ck_assert_int_eq(evbus_stat(bus, "gaps"), 0); /* what was kept since it was opened is read */
    bus_subscribe(bus, "some.type", NULL, handle_count, &all);
    expect_told("evbus.subscribed {\"pattern\":\"some.type\"");
    server_kill(server);
    expect_told("evbus.mode {\"from\":\"hybrid\",\"to\":\"degraded\"");
    ck_assert_int_eq(atomic_load(&all), 0);
    for (int n = 0; n < 9; n++)
        bus_publish(bus, "t", NULL);
    expect_told("evbus.outbox {\"level\":\"high\"");
    server_run(server);
    expect_mode(bus, EVBUS_MODE_HYBRID, SOON);
    expect_told("evbus.gap {\"from\":\""); /* the server kept nothing */
    expect_told("\"cause\":\"flushed\",\"reason\":\"Redis lost the history");
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    expect_told("evbus.outbox {\"level\":\"low\"");
    ck_assert_int_eq(evbus_stat(bus, "gaps"), 1);
    ck_assert_int_eq(evbus_close(bus, suite_patience(SOON)), 0);
    expect_told("evbus.stopping");
    bus_end(bus);
    server_free(server);
}
END_TEST

/* "started" comes from the loop's first turn: who subscribes before the base runs gets it. */
START_TEST(system_events_are_local)
{
    struct server *server = server_start(NULL);
    evbus *one = server_bus(server, NULL), *two = server_bus(server, NULL);
    expect_connected(one, SOON);
    bus_subscribe(two, "evbus.>", "deliver=inline", tell, NULL);
    evbus_sub *redis = bus_subscribe(two, "evbus.mode", "scope=redis", tell, NULL);
    expect_connected(two, SOON);
    ck_assert_int_eq(evbus_sub_wait(redis, suite_patience(SOON)), 0);
    pthread_mutex_lock(&story.lock);
    story.text[0] = '\0';
    pthread_mutex_unlock(&story.lock);
    /* neither another bus nor a forger reaches evbus.* */
    ck_assert_int_eq(evbus_publish(one, "evbus.mode", "{\"forged\":1}"), EVBUS_EINVAL);
    server_publish(server, "evbus:events:evbus.mode", "{\"data\":{\"forged\":1}}", 21);
    evbus_event *event = evbus_event_from_json("{\"type\":\"evbus.mode\",\"data\":1}", 30);
    ck_assert(!event || evbus_publish_event(one, event, 0) == EVBUS_EINVAL);
    evbus_event_unref(event);
    atomic_int arrived = 0;
    evbus_sub *after = bus_subscribe(two, "after", "scope=redis", handle_count, &arrived);
    ck_assert_int_eq(evbus_sub_wait(after, suite_patience(SOON)), 0);
    bus_publish(one, "after", NULL);
    expect_count(&arrived, 1, SOON);
    ck_assert(!told((void *)(uintptr_t) "forged"));
    bus_end(one);
    bus_end(two);
    server_free(server);
}
END_TEST

START_TEST(refused_by_the_access_list)
{
    struct server *server =
        server_start("user default off\n"
                     "user evb on >pw ~* +@all &evbus:inbox:* &evbus:events:ok*\n"
                     "user root on >root ~* +@all &*");
    evbus *bus = server_bus(server, "redis.username", "evb", "redis.password", "pw", NULL);
    atomic_int secret = 0, good = 0, local = 0;
    bus_subscribe(bus, "evbus.>", "deliver=inline", tell, NULL);
    evbus_sub *ok = bus_subscribe(bus, "ok.here", NULL, handle_count, &good);
    evbus_sub *no = bus_subscribe(bus, "secret.plans", "deliver=inline", handle_count, &secret);
    evbus_sub *wide = bus_subscribe(bus, "secret.*", NULL, handle_count, &local);
    expect_connected(bus, SOON); /* confirmed or refused */
    ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_HYBRID);
    ck_assert_int_eq(evbus_sub_wait(ok, suite_patience(SOON)), 0);
    ck_assert_int_eq(evbus_sub_wait(no, suite_patience(SOON)), EVBUS_EDENIED);
    ck_assert_msg(strstr(evbus_last_error(), "secret.plans"), "%s", evbus_last_error());
    ck_assert_int_eq(evbus_sub_wait(wide, suite_patience(SOON)), EVBUS_EDENIED);
    expect_told("evbus.refused {\"pattern\":\"secret.plans\"");
    expect_told("evbus.refused {\"pattern\":\"secret.*\"");
    ck_assert_int_eq(evbus_stat(bus, "refused_subscriptions"), 2);
    bus_publish(bus, "ok.here", NULL); /* the others work */
    expect_count(&good, 1, SOON);
    bus_publish(bus, "secret.plans", NULL); /* local events come */
    expect_count(&local, 1, SOON);
    ck_assert_int_eq(atomic_load(&secret), 1);
    expect_stat(bus, "failed_redis", 1, SOON); /* PUBLISH there is refused as well */
    ck_assert_int_eq(evbus_stat(bus, "disconnects"), 0);
    char *health = evbus_health_json(bus), *stats = evbus_stats_json(bus);
    ck_assert_msg(strstr(stats, "\"refused\""), "%s", stats);
    ck_assert(!strstr(health, "\"pw\"") && !strstr(stats, "\"pw\""));
    evbus_string_free(health);
    evbus_string_free(stats);
    bus_end(bus);
    server_free(server);
}
END_TEST

static void log_line(int level, const char *line, void *user)
{
    (void)level;
    if (strstr(line, "s3cret"))
        atomic_fetch_add((atomic_int *)user, 1000000);
    atomic_fetch_add((atomic_int *)user, 1);
}

START_TEST(wrong_password)
{
    struct server *server = server_start("requirepass right");
    atomic_int lines = 0;
    evbus_config *config = server_config(server, "redis.password", "s3cret", NULL);
    evbus_set_log(NULL, EVBUS_LOG_DEBUG, log_line, &lines);
    evbus *bus = evbus_open(config);
    ck_assert_str_ne(evbus_config_get(config, "redis.password"), "s3cret");
    for (int tries = 1; tries <= 3; tries++) { /* by itself it waits for half a minute */
        expect_stat(bus, "connect_errors", tries, SOON);
        ck_assert_int_eq(evbus_reconnect(bus), 0);
    }
    ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_DEGRADED);
    ck_assert_int_eq(evbus_wait_connected(bus, 50), EVBUS_ETIMEDOUT);
    ck_assert_msg(strstr(evbus_last_error(), "WRONGPASS"), "%s", evbus_last_error());
    char *health = evbus_health_json(bus), *dump = evbus_config_dump(config);
    ck_assert_msg(!strstr(health, "s3cret"), "%s", health);
    ck_assert_msg(!strstr(dump, "s3cret"), "%s", dump);
    ck_assert_int_gt(atomic_load(&lines), 0);
    ck_assert_int_lt(atomic_load(&lines), 1000000);
    evbus_string_free(health);
    evbus_string_free(dump);
    evbus_config_free(config);
    ck_assert_int_eq(server_command(server, "PING"), -1); /* it is guarded indeed */
    bus_end(bus);
    server_free(server);
}
END_TEST

/* ---- health and statistics ---- */

static json_t *parse(char *text)
{
    json_error_t error;
    ck_assert_msg(text, "%s", evbus_last_error());
    json_t *json = json_loads(text, 0, &error);
    ck_assert_msg(json, "%s in %s", error.text, text);
    evbus_string_free(text);
    return json;
}

/* The value at "a.b.c". */
static json_t *at(json_t *json, const char *path)
{
    char keys[128], *state = NULL;
    snprintf(keys, sizeof keys, "%s", path);
    for (char *key = strtok_r(keys, ".", &state); key; key = strtok_r(NULL, ".", &state))
        json = json_object_get(json, key);
    ck_assert_msg(json, "there is no %s", path);
    return json;
}

static void expect_text(json_t *json, const char *path, const char *wanted)
{
    ck_assert_msg(!strcmp(json_string_value(at(json, path)), wanted), "%s is %s", path,
                  json_string_value(at(json, path)));
}

START_TEST(health)
{
    struct server *server = server_start(NULL);
    evbus *bus = server_bus(server, "health.require.redis", "yes", NULL);
    atomic_int seen = 0;
    bus_subscribe(bus, "a", NULL, handle_count, &seen);
    bus_subscribe(bus, "b", "scope=local", handle_count, &seen);
    expect_connected(bus, SOON);
    json_t *json = parse(evbus_health_json(bus));
    expect_text(json, "status", "healthy");
    expect_text(json, "mode", "hybrid");
    expect_text(json, "node", evbus_node(bus));
    expect_text(json, "version", evbus_version());
    expect_text(json, "redis.state", "ready");
    expect_text(json, "redis.role", "master");
    ck_assert(json_is_true(at(json, "live")) && json_is_true(at(json, "ready")));
    ck_assert(json_is_true(at(json, "redis.connected")));
    ck_assert(json_is_true(at(json, "checks.eventBus.connected")));
    ck_assert(json_is_true(at(json, "checks.eventBus.redisEnabled")));
    ck_assert(json_is_null(at(json, "redis.last_error")));
    ck_assert(json_is_null(at(json, "redis.retry_in_ms")));
    ck_assert_int_eq(json_integer_value(at(json, "subscriptions.local")), 2);
    ck_assert_int_eq(json_integer_value(at(json, "subscriptions.redis")), 1);
    ck_assert_int_eq(json_integer_value(at(json, "outbox.events")), 0);
    ck_assert_int_eq(json_integer_value(at(json, "outbox.limit")), 100000);
    ck_assert_int_ge(json_integer_value(at(json, "uptime_ms")), 0);
    ck_assert_int_eq(evbus_ready(bus), 1);
    json_decref(json);
    server_kill(server);
    expect_mode(bus, EVBUS_MODE_DEGRADED, SOON);
    bus_publish(bus, "a", NULL);
    json = parse(evbus_health_json(bus));
    expect_text(json, "status", "unhealthy"); /* by health.require.redis */
    expect_text(json, "mode", "degraded");
    ck_assert(json_is_true(at(json, "live")) && json_is_false(at(json, "ready")));
    ck_assert(json_is_false(at(json, "redis.connected")));
    ck_assert_int_gt(strlen(json_string_value(at(json, "redis.last_error"))), 3);
    ck_assert_int_eq(json_integer_value(at(json, "outbox.events")), 1);
    ck_assert_int_eq(evbus_ready(bus), 0);
    json_decref(json);
    bus_end(bus);
    server_free(server);
}
END_TEST

static const char *const counters[] = {"published_local",
                                       "published_redis",
                                       "publish_errors",
                                       "received",
                                       "handled",
                                       "failed",
                                       "pulled",
                                       "dropped",
                                       "slow",
                                       "dropped_away",
                                       "echoes",
                                       "duplicates",
                                       "forged",
                                       "decode_errors",
                                       "foreign_dropped",
                                       "acked",
                                       "failed_redis",
                                       "unknown",
                                       "evicted",
                                       "expired",
                                       "resent",
                                       "connects",
                                       "disconnects",
                                       "connect_errors",
                                       "protocol_errors",
                                       "refused_subscriptions",
                                       "gaps",
                                       "bytes_in",
                                       "bytes_out",
                                       "outbox_events",
                                       "outbox_bytes",
                                       "subscriptions",
                                       "rtt_us",
                                       "loop_lag_us",
                                       "loop_lag_max_us",
                                       "uptime_ms"};

START_TEST(statistics)
{
    struct server *server = server_start(NULL);
    evbus *bus = server_bus(server, "bus.name", "stat test", NULL);
    atomic_int seen = 0;
    evbus_sub *sub = bus_subscribe(bus, "a", NULL, handle_count, &seen);
    expect_connected(bus, SOON);
    ck_assert_int_eq(evbus_sub_wait(sub, suite_patience(SOON)), 0);
    for (int n = 0; n < 10; n++)
        bus_publish(bus, "a", "{}");
    server_publish(server, "evbus:events:a", "{}", 2);
    expect_count(&seen, 11, SOON);
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    ck_assert_int_eq(evbus_publish(bus, "", NULL), EVBUS_EINVAL);
    json_t *json = parse(evbus_stats_json(bus));
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
        ck_assert_msg(json_is_integer(at(json, counters[i])), "%s", counters[i]);
        ck_assert_int_ne(evbus_stat(bus, counters[i]), EVBUS_ENOENT);
    }
    expect_text(json, "bus", "stat test");
    expect_text(json, "mode", "hybrid");
    ck_assert_int_eq(json_integer_value(at(json, "published_local")), 10);
    ck_assert_int_eq(json_integer_value(at(json, "published_redis")), 10);
    ck_assert_int_eq(json_integer_value(at(json, "acked")), 10);
    ck_assert_int_eq(json_integer_value(at(json, "received")), 1);
    ck_assert_int_eq(json_integer_value(at(json, "handled")), 11);
    ck_assert_int_eq(json_integer_value(at(json, "connects")), 1);
    ck_assert_int_eq(json_integer_value(at(json, "publish_errors")), 1);
    ck_assert_int_gt(json_integer_value(at(json, "bytes_in")), 0);
    ck_assert_int_gt(json_integer_value(at(json, "bytes_out")), 1000);
    json_t *row = json_array_get(at(json, "per_subscription"), 0);
    expect_text(row, "pattern", "a");
    expect_text(row, "redis", "live");
    ck_assert_int_eq(json_integer_value(at(row, "delivered")), 11);
    json_decref(json);
    bus_end(bus);
    server_free(server);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("system");
    suite_add(suite, "system_events_of_an_outage", system_events_of_an_outage, 40);
    suite_add(suite, "system_events_are_local", system_events_are_local, 30);
    suite_add(suite, "refused_by_the_access_list", refused_by_the_access_list, 30);
    suite_add(suite, "wrong_password", wrong_password, 30);
    suite_add(suite, "health", health, 30);
    suite_add(suite, "statistics", statistics, 30);
    return suite_run(suite, argc, argv);
}
