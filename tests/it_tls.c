/* it_tls.c - buses that meet through a real server by TLS: all ways to be let in, the sentences for
 * those who are not, passwords that change, events of every size. */
#include "harness/bus.h"
#include "harness/certs.h"
#include "harness/recorder.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NAMES "DNS:localhost,IP:127.0.0.1"

enum { SOON = 10000, BOTH = EVBUS_SENT_LOCAL | EVBUS_SENT_REDIS };

static struct cert ca, other_ca, of_server, of_client;
static struct server *server;
static struct wanted_line { /* what the bus logs */
    const char *words;      /* of the lines that are counted */
    const char *unless;     /* ... beside those that hold this */
    int level;              /* at least as important as this */
    atomic_int count, others;
} wanted;

static void setup(void)
{
    ca = cert_make("ca", (struct cert_wish){.name = "Test CA", .authority = true});
    other_ca = cert_make("other", (struct cert_wish){.name = "Other CA", .authority = true});
    of_server = cert_make("server", (struct cert_wish){.name = "s", .alt = NAMES, .issuer = &ca});
    of_client = cert_make("client", (struct cert_wish){.name = "c", .issuer = &ca});
}

static void on_log(int level, const char *line, void *user)
{
    struct wanted_line *line_wanted = user;
    if (line_wanted->words && level <= line_wanted->level && strstr(line, line_wanted->words)) {
        bool other = line_wanted->unless && !strstr(line, line_wanted->unless);
        atomic_fetch_add(other ? &line_wanted->others : &line_wanted->count, 1);
    }
}

/* What stands for files that are known only when the test runs. */
static const char *known(const char *value)
{
    const struct {
        const char *word, *path;
    } words[] = {{"CA", ca.cert},
                 {"OTHER-CA", other_ca.cert},
                 {"CERT", of_client.cert},
                 {"KEY", of_client.key},
                 {"FOLDER", suite_folder()}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (!strcmp(value, words[i].word))
            return words[i].path;
    return value;
}

/* "key=value key=value" beside the address. */
static evbus *open_bus(const char *scheme, const char *host, int port, const char *settings)
{
    char url[128], copy[512], *state = NULL;
    evbus_config *config = evbus_config_new();
    snprintf(url, sizeof url, "%s://%s:%d", scheme, host, port);
    snprintf(copy, sizeof copy, "%s", settings);
    ck_assert_int_eq(evbus_config_set(config, "redis.url", url), 0);
    ck_assert_int_eq(evbus_config_set(config, "reconnect.backoff", "1ms"), 0);
    ck_assert_int_eq(evbus_config_set(config, "reconnect.backoff.max", "20ms"), 0);
    for (char *key = strtok_r(copy, " ", &state); key; key = strtok_r(NULL, " ", &state)) {
        char *value = strchr(key, '=');
        *value++ = '\0';
        if (evbus_config_set(config, key, known(value)) != 0)
            ck_abort_msg("%s", evbus_last_error());
    }
    evbus_set_log(NULL, EVBUS_LOG_DEBUG, on_log, &wanted);
    evbus *bus = evbus_open(config);
    evbus_config_free(config);
    if (!bus)
        ck_abort_msg("%s: %s", settings, evbus_last_error());
    return bus;
}

static evbus *open_tls(const char *settings)
{
    return open_bus("rediss", "127.0.0.1", server->tls_port, settings);
}

static void expect_health(evbus *bus, const char *key, const char *words)
{
    char *text = evbus_health_json(bus);
    json_t *health = json_loads(text, 0, NULL), *redis = json_object_get(health, "redis");
    const char *value = json_string_value(json_object_get(redis, key));
    ck_assert_msg(value && strstr(value, words), "%s should say \"%s\": %s", key, words, text);
    json_decref(health);
    evbus_string_free(text);
}

/* An event each way. */
static void expect_talk(evbus *bus)
{
    atomic_int got = 0;
    int64_t acked = evbus_stat(bus, "acked");
    evbus_sub *sub = bus_subscribe(bus, "talk.*", "scope=redis", handle_count, &got);
    ck_assert_int_eq(evbus_sub_wait(sub, suite_patience(SOON)), 0);
    ck_assert_int_gt(server_publish(server, "evbus:events:talk.in", "{}", 2), 0);
    expect_count(&got, 1, SOON);
    ck_assert_int_eq(bus_publish(bus, "talk.out", "{}"), EVBUS_SENT_REDIS | EVBUS_SENT_LOCAL);
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    ck_assert_int_eq(evbus_stat(bus, "acked"), acked + 1);
    bus_unsubscribe(sub);
}

/* ---- who is let in ---- */

static const struct way {
    const char *what, *host, *settings;
    const char *lines; /* of the server's configuration */
    const char *names; /* of its certificate; NULL: NAMES */
    bool untrusted;    /* it is signed by the other authority */
} ways[] = {
    {"by name", "localhost", "tls.ca.file=CA", "", NULL, false},
    {"by address", "127.0.0.1", "tls.ca.file=CA", "", NULL, false},
    {"by another name", "127.0.0.1", "tls.ca.file=CA tls.server.name=redis.test", "",
     "DNS:redis.test", false},
    {"a folder of authorities", "127.0.0.1", "tls.ca.dir=FOLDER", "", NULL, false},
    {"the system's trust", "127.0.0.1", "", "", NULL, false},
    {"chain alone", "127.0.0.1", "tls.ca.file=CA tls.verify=ca", "", "DNS:redis.test", false},
    {"nothing verified", "127.0.0.1", "tls.verify=none", "", "DNS:redis.test", true},
    {"TLS 1.2", "127.0.0.1", "tls.ca.file=CA", "tls-protocols TLSv1.2", NULL, false},
    {"TLS 1.3", "127.0.0.1", "tls.ca.file=CA tls.min.version=1.3", "tls-protocols TLSv1.3", NULL,
     false},
    {"password", "127.0.0.1", "tls.ca.file=CA redis.password=open-sesame",
     "requirepass open-sesame", NULL, false},
    {"user", "127.0.0.1", "tls.ca.file=CA redis.username=ann redis.password=open-sesame",
     "requirepass other\nuser ann on >open-sesame ~* &* +@all", NULL, false},
    {"client certificate", "127.0.0.1", "tls.ca.file=CA tls.cert.file=CERT tls.key.file=KEY",
     "tls-auth-clients yes", NULL, false},
    {"client certificate, TLS 1.2", "127.0.0.1",
     "tls.ca.file=CA tls.cert.file=CERT tls.key.file=KEY",
     "tls-auth-clients yes\ntls-protocols TLSv1.2", NULL, false},
    {"its key in the same file", "127.0.0.1", "tls.ca.file=CA tls.cert.file=CERT",
     "tls-auth-clients yes", NULL, false},
    {"none, where one may be shown", "127.0.0.1", "tls.ca.file=CA", "tls-auth-clients optional",
     NULL, false},
};

START_TEST(let_in)
{
    const struct way *way = &ways[_i];
    bool checked = !strstr(way->settings, "verify=none");
    cert_link(&ca, suite_folder());
    cert_append(of_client.cert, of_client.key);
    ck_assert_int_eq(setenv("SSL_CERT_FILE", ca.cert, 1), 0); /* this process's alone */
    of_server = cert_make("server", (struct cert_wish){.name = "s",
                                                       .alt = way->names ? way->names : NAMES,
                                                       .issuer = way->untrusted ? &other_ca : &ca});
    server = server_plan_tls(&of_server, ca.cert, way->lines);
    server_launch(server);
    wanted.words = "tls.verify=none: nobody checks who the server is";
    wanted.level = EVBUS_LOG_WARNING;
    evbus *bus = open_bus("rediss", way->host, server->tls_port, way->settings);
    expect_connected(bus, SOON);
    ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_HYBRID);
    ck_assert_msg((atomic_load(&wanted.count) > 0) == !checked, "%s", way->what);
    expect_health(bus, "tls_verify",
                  !checked                             ? "none"
                  : strstr(way->settings, "verify=ca") ? "ca"
                                                       : "full");
    if (!strstr(way->lines, "requirepass"))
        expect_talk(bus);
    bus_end(bus);
    server_free(server);
}
END_TEST

/* ---- who is not ---- */

static const struct refusal {
    const char *what, *scheme, *settings, *lines;
    bool to_plain; /* the port of a server without TLS */
    const char *fault, *remedy;
} refusals[] = {
    {"no client certificate", "rediss", "tls.ca.file=CA", "tls-auth-clients yes", false,
     "certificate required", "tls.cert.file"},
    {"no client certificate, TLS 1.2", "rediss", "tls.ca.file=CA",
     "tls-auth-clients yes\ntls-protocols TLSv1.2", false, "handshake failure", "tls.cert.file"},
    {"client certificate by another authority", "rediss",
     "tls.ca.file=CA tls.cert.file=CERT tls.key.file=KEY", "tls-auth-clients yes", false,
     "unknown ca", "issuer of tls.cert.file"},
    {"the same, TLS 1.2", "rediss", "tls.ca.file=CA tls.cert.file=CERT tls.key.file=KEY",
     "tls-auth-clients yes\ntls-protocols TLSv1.2", false, "unknown ca", "issuer of tls.cert.file"},
    {"old version", "rediss", "tls.ca.file=CA tls.min.version=1.3", "tls-protocols TLSv1.2", false,
     "version", "tls.min.version"},
    {"unknown to the system", "rediss", "", "", false, "refused", "tls.ca.file"},
    {"chain alone, by another authority", "rediss", "tls.ca.file=OTHER-CA tls.verify=ca", "", false,
     "refused", "tls.ca.file"},
    {"plaintext to the TLS port", "redis", "", "", false, "does this port speak TLS?",
     "use rediss://"},
    {"TLS to the plaintext port", "rediss", "tls.ca.file=CA redis.connect.timeout=300ms", "", true,
     "no answer to TLS", "use redis://"},
    {"wrong password", "rediss", "tls.ca.file=CA redis.password=guess", "requirepass right", false,
     "WRONGPASS", "redis.password"},
};

START_TEST(kept_out)
{
    const struct refusal *row = &refusals[_i];
    int tries = strstr(row->what, "password") ? 1 : strstr(row->what, "plaintext port") ? 2 : 12;
    ck_assert_int_eq(setenv("SSL_CERT_FILE", other_ca.cert, 1), 0);
    of_client = cert_make("client", (struct cert_wish){.name = "c", .issuer = &other_ca});
    server = row->to_plain ? server_plan(true, row->lines)
                           : server_plan_tls(&of_server, ca.cert, row->lines);
    server_run(server);
    wanted.words = " connection"; /* each try's line */
    wanted.unless = row->fault;
    wanted.level = EVBUS_LOG_DEBUG;
    evbus *bus = open_bus(row->scheme, "127.0.0.1", row->to_plain ? server->port : server->tls_port,
                          row->settings);
    expect_stat(bus, "connect_errors", tries, SOON);
    ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_DEGRADED);
    ck_assert_int_eq(evbus_stat(bus, "connects"), 0);
    expect_health(bus, "last_error", row->fault);
    expect_health(bus, "last_error", row->remedy);
    ck_assert_msg(atomic_load(&wanted.others) == 0, "%s: %d lines of %d do not say %s", row->what,
                  atomic_load(&wanted.others), atomic_load(&wanted.count), row->fault);
    bus_end(bus);
    server_free(server);
}
END_TEST

/* ---- passwords that change ---- */

static void write_password(const char *password)
{
    char path[128], next[128];
    snprintf(path, sizeof path, "%s/password", suite_folder());
    snprintf(next, sizeof next, "%s/password.new", suite_folder());
    FILE *file = fopen(next, "we");
    ck_assert_ptr_nonnull(file);
    fprintf(file, "%s\n", password);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(rename(next, path), 0);
}

START_TEST(password_rotates)
{
    char settings[256];
    server = server_plan_tls(&of_server, ca.cert, "user svc on >first ~* &* +@all");
    server_run(server);
    write_password("first");
    snprintf(settings, sizeof settings,
             "tls.ca.file=CA redis.username=svc redis.password.file=%s/password", suite_folder());
    evbus *bus = open_tls(settings);
    expect_connected(bus, SOON);
    expect_talk(bus);
    for (int i = 0; i < 5; i++) {
        char password[32];
        int64_t connects = evbus_stat(bus, "connects");
        snprintf(password, sizeof password, "next-%d", i);
        server_command(server, "ACL SETUSER svc resetpass >%s", password);
        write_password(password);
        ck_assert_int_ge(server_command(server, "CLIENT KILL USER svc"), 2);
        expect_stat(bus, "connects", connects + 1, SOON);
        expect_connected(bus, SOON);
        expect_talk(bus);
    }
    /* Cut before the file was there: it says so, waits long, and is told to try. */
    server_command(server, "ACL SETUSER svc resetpass >late");
    server_command(server, "CLIENT KILL USER svc");
    expect_stat(bus, "connect_errors", 1, SOON);
    expect_health(bus, "last_error", "WRONGPASS");
    write_password("late");
    ck_assert_int_eq(evbus_reconnect(bus), 0);
    expect_connected(bus, SOON);
    expect_talk(bus);
    bus_end(bus);
    server_free(server);
}
END_TEST

/* ---- events of every size ---- */

static void expect_clean(evbus *bus)
{
    ck_assert_int_eq(evbus_stat(bus, "disconnects"), 0);
    ck_assert_int_eq(evbus_stat(bus, "decode_errors") + evbus_stat(bus, "protocol_errors") +
                         evbus_stat(bus, "duplicates"),
                     0);
}

START_TEST(many_both_ways)
{
    evbus *buses[2];
    struct recorder recorders[2];
    int count = suite_scaled(20000), sent[2] = {count, count};
    server = server_plan_tls(&of_server, ca.cert, NULL);
    server_run(server);
    for (int i = 0; i < 2; i++) {
        recorder_init(&recorders[i]);
        buses[i] = open_tls("tls.ca.file=CA");
        evbus_sub *sub =
            bus_subscribe(buses[i], "n", "size=1000000 bytes=1GiB", recorder_handle, &recorders[i]);
        ck_assert_int_eq(evbus_sub_wait(sub, suite_patience(SOON)), 0);
    }
    expect_connected(buses[0], SOON);
    expect_connected(buses[1], SOON);
    for (int n = 1; n <= count; n++)
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(publish_numbered(buses[i], "n", i, n), BOTH);
    for (int i = 0; i < 2; i++) {
        struct wait wait = wait_for(SOON);
        ck_assert_int_eq(evbus_flush(buses[i], suite_patience(SOON)), 0);
        while (recorder_received(&recorders[i]) < 2 * count && wait_more(&wait))
            continue;
        recorder_expect_perfect(&recorders[i], "over TLS", 2, sent);
        expect_clean(buses[i]);
    }
    for (int i = 0; i < 2; i++) {
        bus_end(buses[i]);
        recorder_fini(&recorders[i]);
    }
    server_free(server);
}
END_TEST

struct big {
    char *json; /* owned: a string of letters */
    size_t length;
    atomic_int same, other;
};

static int compare(evbus_sub *sub, evbus_event *event, void *user)
{
    struct big *big = user;
    size_t length;
    const char *data = evbus_event_data(event, &length);
    (void)sub;
    bool same = length == big->length && !memcmp(data, big->json, length);
    atomic_fetch_add(same ? &big->same : &big->other, 1);
    return 0;
}

static void make_big(struct big *big, size_t length)
{
    *big = (struct big){.json = malloc(length + 1), .length = length};
    ck_assert_ptr_nonnull(big->json);
    for (size_t i = 0; i < length; i++)
        big->json[i] = (char)('a' + (i * 7 + i / 16411) % 26);
    big->json[0] = big->json[length - 1] = '"';
    big->json[length] = '\0';
}

START_TEST(large)
{
    static const struct {
        size_t length;
        int count;
    } rows[] = {{1 << 20, 12}, {8 * 1000 * 1000, 3}, {16 * 1024, 100}, {16 * 1024 - 7, 100}};
    const char *settings = "tls.ca.file=CA event.max.bytes=9MB outbox.bytes=256MiB";
    struct big big;
    server = server_plan_tls(&of_server, ca.cert, "client-output-buffer-limit pubsub 0 0 0");
    server_run(server);
    make_big(&big, rows[_i].length);
    evbus *from = open_tls(settings), *to = open_tls(settings);
    evbus_sub *sub = bus_subscribe(to, "big", "bytes=256MiB", compare, &big);
    ck_assert_int_eq(evbus_sub_wait(sub, suite_patience(SOON)), 0);
    expect_connected(from, SOON);
    for (int i = 0; i < rows[_i].count; i++) {
        bus_publish(from, "big", big.json);
        bus_publish(to, "big", big.json);
    }
    ck_assert_int_eq(evbus_flush(from, suite_patience(SOON)), 0);
    expect_count(&big.same, 2 * rows[_i].count, SOON);
    ck_assert_int_eq(atomic_load(&big.other), 0);
    expect_clean(from);
    expect_clean(to);
    bus_end(from);
    bus_end(to);
    server_free(server);
    free(big.json);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("tls");
    TCase *tests = tcase_create("tls");
    tcase_set_timeout(tests, suite_patience(40));
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_loop_test(tests, let_in, 0, sizeof ways / sizeof ways[0]);
    tcase_add_loop_test(tests, kept_out, 0, sizeof refusals / sizeof refusals[0]);
    tcase_add_test(tests, password_rotates);
    tcase_add_test(tests, many_both_ways);
    tcase_add_loop_test(tests, large, 0, 4);
    suite_add_tcase(suite, tests);
    return suite_run(suite, argc, argv);
}
