/* it_guest_neighbours.c - a clock that jumps by a year, and another bus in the same process,
 * disturb nobody. */
#include "clock.h"
#include "harness/bus.h"
#include "harness/recorder.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON = 10000, PUBLISHERS = 2 };

/* ---- the wall clock ---- */

#define YEAR_US (INT64_C(365) * 24 * 3600 * 1000000)

static atomic_llong offset_us;
static atomic_int jumps;

static int64_t jumping_clock(void)
{
    return now_wall_us() + atomic_load(&offset_us);
}

static void jump(void)
{
    static const int years[] = {1, 0, -1, 1, -1, 0};
    int n = atomic_fetch_add(&jumps, 1);
    atomic_store(&offset_us, years[n % 6] * YEAR_US);
}

static struct {
    evbus *bus;
    struct recorder here, loop;
    pthread_t threads[PUBLISHERS];
    atomic_int stop, published[PUBLISHERS];
} traffic;

static void *publish_numbers(void *user)
{
    intptr_t id = (intptr_t)user;
    for (int n = 1; !atomic_load(&traffic.stop); n++) {
        if (publish_numbered(traffic.bus, "n", (int)id, n) < 0)
            break;
        atomic_store(&traffic.published[id], n);
        nap_us(200);
    }
    return NULL;
}

static void start_traffic(void)
{
    recorder_init(&traffic.here);
    recorder_init(&traffic.loop);
    bus_subscribe(traffic.bus, "n", "deliver=inline", recorder_handle, &traffic.here);
    bus_subscribe(traffic.bus, "n", "size=1000000 bytes=1GiB", recorder_handle, &traffic.loop);
    for (intptr_t i = 0; i < PUBLISHERS; i++)
        pthread_create(&traffic.threads[i], NULL, publish_numbers, (void *)i);
}

static void end_traffic(void)
{
    int published[PUBLISHERS];
    atomic_store(&traffic.stop, 1);
    for (int i = 0; i < PUBLISHERS; i++) {
        pthread_join(traffic.threads[i], NULL);
        published[i] = atomic_load(&traffic.published[i]);
        ck_assert_int_gt(published[i], 0);
    }
    ck_assert_int_eq(evbus_flush(traffic.bus, suite_patience(SOON)), 0);
    expect_accounts(traffic.bus);
    ck_assert_int_eq(evbus_close(traffic.bus, suite_patience(SOON)), 0);
    recorder_expect_perfect(&traffic.here, "inline", PUBLISHERS, published);
    recorder_expect_perfect(&traffic.loop, "loop", PUBLISHERS, published);
    recorder_fini(&traffic.here);
    recorder_fini(&traffic.loop);
}

static bool has_pinged(void *server)
{
    char *text = server_text(server, "INFO commandstats");
    const char *row = strstr(text, "cmdstat_hello:calls=");
    long calls = row ? strtol(row + strlen("cmdstat_hello:calls="), NULL, 10) : 0;
    free(text);
    jump();
    return calls >= 12; /* two on connecting, one with each heartbeat */
}

static void on_report(evbus_event *event, int outcome, int error, int64_t receivers, void *user)
{
    (void)event;
    (void)error;
    (void)receivers;
    atomic_store((atomic_int *)user, outcome);
}

static bool expired(void *outcome)
{
    jump();
    return atomic_load((atomic_int *)outcome) == EVBUS_EXPIRED;
}

static bool is_hybrid(void *bus)
{
    jump();
    return evbus_mode(bus) == EVBUS_MODE_HYBRID;
}

/* Heartbeats, an outage, reconnecting, the age of what waits: all by the monotonic clock. */
START_TEST(the_wall_clock_jumps)
{
    atomic_int outcome = 0;
    struct server *server = server_start(NULL);
    evb_clock_set(jumping_clock, NULL);
    traffic.bus = server_bus(server, "redis.ping.interval", "20ms", "outbox.age", "60s", NULL);
    expect_connected(traffic.bus, SOON);
    start_traffic();
    ck_assert(until(has_pinged, server, SOON));
    ck_assert_int_eq(evbus_stat(traffic.bus, "disconnects"), 0);
    server_kill(server);
    expect_mode(traffic.bus, EVBUS_MODE_DEGRADED, SOON);
    evbus_event *event = evbus_event_new("short");
    evbus_event_set_ttl(event, 50);
    ck_assert_int_gt(evbus_publish_report(traffic.bus, event, 0, on_report, &outcome), 0);
    int64_t start = now_us();
    ck_assert(until(expired, &outcome, SOON));
    ck_assert_int_ge(now_us() - start, 40000);
    server_run(server);
    ck_assert(until(is_hybrid, traffic.bus, SOON));
    ck_assert_int_eq(evbus_flush(traffic.bus, suite_patience(SOON)), 0);
    ck_assert_int_eq(evbus_stat(traffic.bus, "disconnects"), 1);
    ck_assert_int_eq(evbus_stat(traffic.bus, "expired"), 1); /* no other was too old */
    end_traffic();
    ck_assert_int_ge(atomic_load(&jumps), 10);
    printf("figure: %d jumps of the wall clock by a year or two\n", atomic_load(&jumps));
    evbus_event_unref(event);
    bus_end(traffic.bus);
    evb_clock_set(NULL, NULL);
    server_free(server);
}
END_TEST

/* ---- two buses ---- */

struct house {
    const char *name;
    evbus *bus;
    pthread_mutex_t lock;
    atomic_int lines, strangers, seen, foreign, system;
    int worst_level; /* under lock */
};

static void on_log(int level, const char *line, void *user)
{
    struct house *house = user;
    size_t length = strlen(house->name);
    atomic_fetch_add(&house->lines, 1);
    if (strncmp(line, house->name, length) != 0 || strncmp(line + length, ": ", 2) != 0)
        atomic_fetch_add(&house->strangers, 1);
    pthread_mutex_lock(&house->lock);
    house->worst_level = level > house->worst_level ? level : house->worst_level;
    pthread_mutex_unlock(&house->lock);
}

static int on_event(evbus_sub *sub, evbus_event *event, void *user)
{
    struct house *house = user;
    (void)sub;
    if (!strncmp(evbus_event_type(event), "evbus.", 6))
        atomic_fetch_add(&house->system, 1);
    else if (!strcmp(evbus_event_source(event), house->name))
        atomic_fetch_add(&house->seen, 1);
    else
        atomic_fetch_add(&house->foreign, 1);
    return 0;
}

static void move_in(struct house *house, struct server *server, const char *prefix,
                    const char *level, const char *limit)
{
    pthread_mutex_init(&house->lock, NULL);
    evbus_set_log(NULL, -1, on_log, house); /* for the bus that is opened next */
    house->bus = server_bus(server, "bus.name", house->name, "key.prefix", prefix, "log.level",
                            level, "outbox.events", limit, NULL);
    bus_subscribe(house->bus, ">", NULL, on_event, house);
    bus_subscribe(house->bus, "evbus.>", NULL, on_event, house);
    expect_connected(house->bus, SOON);
}

static int64_t outbox_limit(evbus *bus)
{
    char *text = evbus_health_json(bus);
    json_t *health = json_loads(text, 0, NULL);
    int64_t limit = json_integer_value(json_object_get(json_object_get(health, "outbox"), "limit"));
    json_decref(health);
    evbus_string_free(text);
    return limit;
}

START_TEST(two_buses)
{
    enum { EVENTS = 200 };
    struct server *server = server_start(NULL);
    static struct house loud = {.name = "loud"}, quiet = {.name = "quiet"};
    move_in(&loud, server, "a:", "debug", "1000");
    move_in(&quiet, server, "b:", "error", "2000");
    ck_assert_str_ne(evbus_node(loud.bus), evbus_node(quiet.bus));
    ck_assert_int_eq(outbox_limit(loud.bus), 1000);
    ck_assert_int_eq(outbox_limit(quiet.bus), 2000);
    for (int n = 0; n < EVENTS; n++) {
        bus_publish(loud.bus, "t", "{}");
        bus_publish(quiet.bus, "t", "{}");
        bus_publish(quiet.bus, "t", "{}");
    }
    ck_assert_int_eq(evbus_flush(loud.bus, suite_patience(SOON)), 0);
    ck_assert_int_eq(evbus_flush(quiet.bus, suite_patience(SOON)), 0);
    expect_count(&loud.seen, EVENTS, SOON);
    expect_count(&quiet.seen, 2 * EVENTS, SOON);
    ck_assert_int_eq(evbus_stat(loud.bus, "published_local"), EVENTS);
    ck_assert_int_eq(evbus_stat(quiet.bus, "published_local"), 2 * EVENTS);
    int heard = atomic_load(&quiet.system);
    ck_assert_int_eq(evbus_close(loud.bus, suite_patience(SOON)), 0);
    bus_publish(quiet.bus, "t", "{}"); /* the other lives on, and has not noticed */
    expect_count(&quiet.seen, 2 * EVENTS + 1, SOON);
    ck_assert_int_eq(atomic_load(&quiet.system), heard);
    ck_assert_int_eq(evbus_mode(quiet.bus), EVBUS_MODE_HYBRID);
    bus_end(loud.bus);
    bus_end(quiet.bus);
    ck_assert_int_eq(atomic_load(&loud.seen), EVENTS);
    ck_assert_int_eq(atomic_load(&quiet.seen), 2 * EVENTS + 1);
    ck_assert_int_eq(atomic_load(&loud.foreign) + atomic_load(&quiet.foreign), 0);
    ck_assert_int_gt(atomic_load(&loud.lines), 0);
    ck_assert_int_eq(atomic_load(&quiet.lines), 0); /* nothing went wrong there */
    ck_assert_int_eq(atomic_load(&loud.strangers), 0);
    ck_assert_int_eq(loud.worst_level, EVBUS_LOG_DEBUG);
    server_free(server);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("guest neighbours");
    suite_add(suite, "the_wall_clock_jumps", the_wall_clock_jumps, 60);
    suite_add(suite, "two_buses", two_buses, 30);
    return suite_run(suite, argc, argv);
}
