/* it_seeds.c - the environments that services of other kinds have already, against a real server
 * as their owners run it: with TLS, a password, a user, another database. */
#include "harness/bus.h"
#include "harness/certs.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON = 10000, VARIABLES = 10 };

#define PASSWORD "pa ss/w@rd%"
#define ENCODED  "pa%20ss%2Fw%40rd%25"

static struct server *server;
static char plain_port[16], tls_port[16], plain_url[128], tls_url[128];
static struct cert ca;

static const struct {
    const char *who, *prefix;
    struct {
        const char *name, *value; /* a value in <> is made at run time */
    } set[VARIABLES];
    const char *source, *channel;
    bool tls;
} seeds[] = {
    {"a coordinator with a prefix of its own",
     "COORDINATOR_",
     {{"COORDINATOR_REDIS_HOST", "127.0.0.1"},
      {"COORDINATOR_REDIS_PORT", "<tls port>"},
      {"COORDINATOR_REDIS_PASSWORD", PASSWORD},
      {"COORDINATOR_REDIS_DB", "3"},
      {"COORDINATOR_REDIS_TLS", "true"},
      {"COORDINATOR_REDIS_TLS_CA", "<ca>"},
      {"COORDINATOR_BUS_NAME", "coordinator"}},
     "coordinator",
     "evbus:events:task.created",
     true},
    {"a gateway beside it, without TLS",
     "API_GATEWAY_",
     {{"API_GATEWAY_REDIS_HOST", "127.0.0.1"},
      {"API_GATEWAY_REDIS_PORT", "<plain port>"},
      {"API_GATEWAY_REDIS_PASSWORD", PASSWORD},
      {"API_GATEWAY_REDIS_DB", "0"},
      {"REDIS_HOST", "host.of.somebody.else"},
      {"EVBUS_CHANNEL_PREFIX", ""}},
     NULL,
     "task.created",
     false},
    {"host, port and a switch for TLS",
     NULL,
     {{"REDIS_HOST", "localhost"},
      {"REDIS_PORT", "<tls port>"},
      {"REDIS_DB", "0"},
      {"REDIS_PASSWORD", PASSWORD},
      {"REDIS_SSL", "true"},
      {"REDIS_TLS_CA", "<ca>"}},
     NULL,
     "evbus:events:task.created",
     true},
    {"the same with the switch off",
     NULL,
     {{"REDIS_HOST", "127.0.0.1"},
      {"REDIS_PORT", "<plain port>"},
      {"REDIS_DB", "0"},
      {"REDIS_PASSWORD", PASSWORD},
      {"REDIS_SSL", "false"}},
     NULL,
     "evbus:events:task.created",
     false},
    {"a URL, and events through Redis on demand",
     NULL,
     {{"ENABLE_REDIS_EVENTS", "true"},
      {"SERVICE_NAME", "platform"},
      {"REDIS_URL", "<plain url>"},
      {"EVENT_CHANNEL_PREFIX", "platform:events:"},
      {"LOG_LEVEL", "warn"}},
     "platform",
     "platform:events:task.created",
     false},
    {"a secret URL in a pod",
     NULL,
     {{"REDIS_URL", "<tls url>"},
      {"REDIS_TLS_CA", "<ca>"},
      {"SERVICE_NAME", "pod"},
      {"EVENT_BUS_BATCH_SIZE", "100"},
      {"EVENT_BUS_BATCH_INTERVAL_MS", "30000"}},
     "pod",
     "evbus:events:task.created",
     true},
};

static const char *value_of(const char *value)
{
    const struct {
        const char *mark, *value;
    } made[] = {{"<tls port>", tls_port},
                {"<plain port>", plain_port},
                {"<tls url>", tls_url},
                {"<plain url>", plain_url},
                {"<ca>", ca.cert}};
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++)
        if (!strcmp(value, made[i].mark))
            return made[i].value;
    return value;
}

static void start_server(void)
{
    ca = cert_make("ca", (struct cert_wish){.name = "Test CA", .authority = true});
    struct cert own = cert_make(
        "own", (struct cert_wish){.name = "s", .alt = "DNS:localhost,IP:127.0.0.1", .issuer = &ca});
    char lines[1000];
    server = server_plan(true, NULL);
    int port = server->port;
    server_free(server);
    snprintf(lines, sizeof lines, "port %d\nrequirepass \"%s\"\nuser app on \">%s\" ~* &* +@all",
             port, PASSWORD, PASSWORD);
    server = server_plan_tls(&own, ca.cert, lines);
    server_run(server);
    snprintf(plain_port, sizeof plain_port, "%d", port);
    snprintf(tls_port, sizeof tls_port, "%d", server->tls_port);
    snprintf(plain_url, sizeof plain_url, "redis://:%s@localhost:%d", ENCODED, port);
    snprintf(tls_url, sizeof tls_url, "rediss://app:%s@127.0.0.1:%d/1", ENCODED, server->tls_port);
}

static evbus *open_seed(int i)
{
    evbus_config *config = evbus_config_new();
    for (int v = 0; v < VARIABLES && seeds[i].set[v].name; v++)
        setenv(seeds[i].set[v].name, value_of(seeds[i].set[v].value), 1);
    ck_assert_msg(evbus_config_load_env(config, seeds[i].prefix) == 0, "%s: %s", seeds[i].who,
                  evbus_last_error());
    evbus *bus = evbus_open(config);
    ck_assert_msg(bus != NULL, "%s: %s", seeds[i].who, evbus_last_error());
    evbus_config_free(config);
    for (int v = 0; v < VARIABLES && seeds[i].set[v].name; v++)
        unsetenv(seeds[i].set[v].name);
    ck_assert_msg(evbus_wait_connected(bus, suite_patience(SOON)) == 0, "%s: %s", seeds[i].who,
                  evbus_last_error());
    return bus;
}

static int on_task(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    if (!strcmp(evbus_event_type(event), "task.created") &&
        !strcmp(evbus_event_data(event, NULL), "{\"id\":7}"))
        atomic_fetch_add((atomic_int *)user, 1);
    return 0;
}

static long long listeners(const char *channel)
{
    redisContext *context = redisConnectUnix(server->socket);
    freeReplyObject(redisCommand(context, "AUTH %s", PASSWORD));
    redisReply *reply = redisCommand(context, "PUBSUB NUMSUB %s", channel);
    ck_assert(reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2);
    long long count = reply->element[1]->integer;
    freeReplyObject(reply);
    redisFree(context);
    return count;
}

/* Two services with the same environment talk to each other, and on the channel one expects. */
START_TEST(environments)
{
    atomic_int here = 0, there = 0;
    start_server();
    evbus *a = open_seed(_i), *b = open_seed(_i);
    evbus_sub *sub_a = bus_subscribe(a, "task.*", NULL, on_task, &here);
    evbus_sub *sub_b = bus_subscribe(b, "task.created", NULL, on_task, &there);
    ck_assert_int_eq(evbus_sub_wait(sub_a, suite_patience(SOON)), 0);
    ck_assert_int_eq(evbus_sub_wait(sub_b, suite_patience(SOON)), 0);
    evbus_event *event = evbus_event_new("task.created");
    ck_assert_int_eq(evbus_event_set_json(event, "{\"id\":7}", 8), 0);
    ck_assert_int_eq(evbus_publish_event(a, event, 0), EVBUS_SENT_LOCAL | EVBUS_SENT_REDIS);
    expect_count(&there, 1, SOON);
    expect_count(&here, 1, SOON);
    if (seeds[_i].source)
        ck_assert_str_eq(evbus_event_source(event), seeds[_i].source);
    evbus_event_unref(event);
    char *health = evbus_health_json(a);
    ck_assert_ptr_nonnull(strstr(health, seeds[_i].tls ? "\"tls\":true" : "\"tls\":false"));
    ck_assert_ptr_null(strstr(health, "pa ss"));
    evbus_string_free(health);
    ck_assert_msg(listeners(seeds[_i].channel) >= 1, "%s: nobody on %s", seeds[_i].who,
                  seeds[_i].channel);
    bus_end(a);
    bus_end(b);
    server_free(server);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("seeds");
    TCase *tests = tcase_create("environments");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, environments, 0, (int)(sizeof seeds / sizeof seeds[0]));
    suite_add_tcase(suite, tests);
    return suite_run(suite, argc, argv);
}
