/* it_tls_bad.c - whom a bus must not tell its password: servers with every kind of wrong
 * certificate, with none, or that are none. Each keeps all that it gets; each turns good at last,
 * and then the same bus signs in by itself. */
#include "harness/bus.h"
#include "harness/certs.h"
#include "harness/middle.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <jansson.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

#define CANARY        "canary-5f1c-sings-in-no-cage"
#define GOOD_NAMES    "DNS:redis.test,DNS:localhost,IP:127.0.0.1"
#define HALF_A_RECORD "\x16\x03\x03\x01\x05 of these records this is none"
#define GARBAGE       "\xc3\x28\xff\xfe\x80 a poem about birds\xa0\xa1"
#define HTTP          "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

enum { SOON = 10000 };
enum signer { CA, OTHER_CA, OLD_CA, BETWEEN, ITSELF };

struct bad {
    const char *what;
    struct middle_act act; /* its certificate is `wish`, signed by `signer` */
    struct cert_wish wish;
    enum signer signer;
    bool named;         /* the bus asks for redis.test, not for 127.0.0.1 */
    bool first_is_good; /* the first of the two connections meets a good server */
    int timeout_ms;     /* redis.connect.timeout; 0: one that nothing waits for */
    const char *fault, *remedy;
};

#define TLS_ACT   .act = {.kind = MIDDLE_TLS}
#define GOOD_CERT TLS_ACT, .wish = {.alt = GOOD_NAMES}

static const struct bad bads[] = {
    {"other name", TLS_ACT, .wish = {.alt = "DNS:other.test,IP:127.0.0.1"}, .named = true,
     .fault = "hostname mismatch", .remedy = "tls.server.name"},
    {"longer name", TLS_ACT, .wish = {.alt = "DNS:redis.test.evil.test,DNS:xredis.test"},
     .named = true, .fault = "hostname mismatch", .remedy = "tls.server.name"},
    {"wildcard for all", TLS_ACT, .wish = {.alt = "DNS:*.test,DNS:*"}, .named = true,
     .fault = "hostname mismatch", .remedy = "tls.server.name"},
    {"right common name only beside another name", TLS_ACT,
     .wish = {.name = "redis.test", .alt = "DNS:other.test"}, .named = true,
     .fault = "hostname mismatch", .remedy = "tls.server.name"},
    {"address where a name was asked for", TLS_ACT, .wish = {.alt = "IP:127.0.0.1"}, .named = true,
     .fault = "hostname mismatch", .remedy = "tls.server.name"},
    {"other address", TLS_ACT, .wish = {.alt = "DNS:localhost,IP:127.0.0.2"},
     .fault = "IP address mismatch", .remedy = "tls.server.name"},
    {"name where an address was asked for", TLS_ACT,
     .wish = {.name = "127.0.0.1", .alt = "DNS:127.0.0.1,DNS:localhost"},
     .fault = "IP address mismatch", .remedy = "tls.server.name"},
    {"expired", TLS_ACT, .wish = {.alt = GOOD_NAMES, .from_days = -9, .to_days = -1},
     .fault = "certificate has expired", .remedy = "renew it"},
    {"not yet valid", TLS_ACT, .wish = {.alt = GOOD_NAMES, .from_days = 1, .to_days = 9},
     .fault = "not yet valid", .remedy = "clock"},
    {"self-signed", GOOD_CERT, .signer = ITSELF, .fault = "self-signed certificate",
     .remedy = "tls.ca.file"},
    {"other CA of the same name", GOOD_CERT, .signer = OTHER_CA, .fault = "refused",
     .remedy = "tls.ca.file"},
    {"expired CA", GOOD_CERT, .signer = OLD_CA, .fault = "certificate has expired",
     .remedy = "issuer: renew it, in tls.ca.file"},
    {"missing intermediate", GOOD_CERT, .signer = BETWEEN,
     .fault = "unable to get local issuer certificate", .remedy = "tls.ca.file"},
    {"certificate for clients", TLS_ACT, .wish = {.alt = GOOD_NAMES, .usage = "clientAuth"},
     .fault = "refused", .remedy = "not made for servers"},
    {"weak key", TLS_ACT, .wish = {.alt = GOOD_NAMES, .rsa_bits = 1024}, .fault = "key too weak",
     .remedy = "2048"},
    {"TLS 1.1", .act = {.kind = MIDDLE_TLS, .most_version = TLS1_1_VERSION},
     .wish = {.alt = GOOD_NAMES}, .fault = "version", .remedy = "tls.min.version"},
    {"asks for a certificate, TLS 1.2",
     .act = {.kind = MIDDLE_TLS, .most_version = TLS1_2_VERSION, .client_ca = "ca"},
     .wish = {.alt = GOOD_NAMES}, .fault = "handshake failure", .remedy = "tls.cert.file"},
    {"asks for a certificate, TLS 1.3", .act = {.kind = MIDDLE_TLS, .client_ca = "ca"},
     .wish = {.alt = GOOD_NAMES}, .fault = "certificate required", .remedy = "tls.cert.file"},
    {"plaintext Redis", .act = {.kind = MIDDLE_PASS}, .timeout_ms = 300, .fault = "TLS",
     .remedy = "redis://"},
    {"HTTP", .act = {.kind = MIDDLE_ANSWER, .says = HTTP}, .fault = "TLS",
     .remedy = "speaks no TLS"},
    {"Redis that greets", .act = {.kind = MIDDLE_ANSWER, .says = "-ERR who are you?\r\n"},
     .fault = "TLS", .remedy = "redis://"},
    {"closes after the ClientHello", .act = {.kind = MIDDLE_ANSWER, .says = ""}, .fault = "TLS",
     .remedy = "speak TLS"},
    {"resets after the ClientHello", .act = {.kind = MIDDLE_ANSWER, .says = "", .reset = true},
     .fault = "TLS", .remedy = "speak TLS"},
    {"closes in the middle of its flight", .act = {.kind = MIDDLE_TLS, .cut_at = 300},
     .wish = {.alt = GOOD_NAMES}, .fault = "TLS", .remedy = "speak TLS"},
    {"half a record", .act = {.kind = MIDDLE_ANSWER, .says = HALF_A_RECORD},
     .fault = "closed by the server", .remedy = "speak TLS"},
    {"garbage", .act = {.kind = MIDDLE_ANSWER, .says = GARBAGE}, .fault = "TLS",
     .remedy = "speaks no TLS"},
    {"silent for ever", .act = {.kind = MIDDLE_ANSWER}, .timeout_ms = 300,
     .fault = "no connection within", .remedy = "speak TLS"},
    {"bad for the subscriber alone", TLS_ACT, .wish = {.alt = "DNS:other.test"}, .named = true,
     .first_is_good = true, .fault = "hostname mismatch", .remedy = "tls.server.name"},
};

static struct server *server;
static struct middle *middle;
static struct cert authorities[ITSELF], good;
static char trust[120];
static evbus *bus;
static atomic_int heard, leaks_in_log;

static void on_log(int level, const char *line, void *user)
{
    (void)level;
    (void)user;
    if (strstr(line, CANARY))
        atomic_fetch_add(&leaks_in_log, 1);
}

static void open_server(void)
{
    struct cert *by = authorities;
    by[CA] = cert_make("ca", (struct cert_wish){.name = "Test CA", .authority = true});
    by[OTHER_CA] = cert_make("other", (struct cert_wish){.name = "Test CA", .authority = true});
    by[OLD_CA] = cert_make(
        "old",
        (struct cert_wish){.name = "Old CA", .authority = true, .from_days = -9, .to_days = -1});
    by[BETWEEN] = cert_make("between",
                            (struct cert_wish){.name = "Between", .authority = true, .issuer = by});
    good = cert_make("good",
                     (struct cert_wish){.name = "good", .alt = GOOD_NAMES, .issuer = &by[BETWEEN]});
    cert_append(good.cert, by[BETWEEN].cert);
    snprintf(trust, sizeof trust, "%s/trust.pem", suite_folder());
    remove(trust);
    cert_append(trust, by[CA].cert);
    cert_append(trust, by[OLD_CA].cert);
    server = server_start("requirepass " CANARY);
    middle = middle_start();
}

static void close_server(void)
{
    middle_free(middle);
    server_free(server);
}

static void open_bus(bool named, int timeout_ms)
{
    char url[64], timeout[32];
    snprintf(url, sizeof url, "rediss://127.0.0.1:%d", middle_port(middle));
    snprintf(timeout, sizeof timeout, "%dms", suite_patience(timeout_ms ? timeout_ms : SOON));
    evbus_set_log(NULL, EVBUS_LOG_DEBUG, on_log, NULL);
    bus = bus_with("redis.url", url, "redis.password", CANARY, "tls.ca.file", trust,
                   "tls.server.name", named ? "redis.test" : "", "redis.connect.timeout", timeout,
                   "reconnect.backoff", "1ms", "reconnect.backoff.max", "20ms", NULL);
    bus_subscribe(bus, "local.*", "scope=local deliver=inline", handle_count, &heard);
}

/* The act of a good server: the real one behind it. */
static struct middle_act good_act(void)
{
    return (struct middle_act){.kind = MIDDLE_TLS, .path = server->socket, .cert = &good};
}

static void expect_nothing_told(const char *what)
{
    static const char *const secrets[] = {CANARY, "AUTH", "HELLO", "PUBLISH"};
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++) {
        ck_assert_msg(!middle_got(middle, secrets[i]), "%s: %s in clear", what, secrets[i]);
        ck_assert_msg(!middle_read(middle, secrets[i]), "%s: %s, decrypted", what, secrets[i]);
    }
    ck_assert_msg(middle_no_tls(middle) == 0, "%s: something else than TLS came", what);
    ck_assert_int_eq(atomic_load(&leaks_in_log), 0);
}

static void expect_sentence(const struct bad *bad)
{
    char *text = evbus_health_json(bus);
    json_t *health = json_loads(text, 0, NULL), *redis = json_object_get(health, "redis");
    const char *error = json_string_value(json_object_get(redis, "last_error"));
    ck_assert_ptr_nonnull(error);
    ck_assert_str_eq(json_string_value(json_object_get(redis, "tls_verify")), "full");
    printf("%s: %s\n", bad->what, error);
    ck_assert_msg(strstr(error, bad->fault) && strstr(error, bad->remedy), "%s: \"%s\"", bad->what,
                  error);
    ck_assert_ptr_null(strstr(text, CANARY));
    json_decref(health);
    evbus_string_free(text);
}

/* The proof that the recorder can read, and that nothing else kept the bus away. */
static void expect_turn_to_good(const char *what)
{
    struct middle_act act = good_act();
    middle_become(middle, &act, NULL);
    expect_connected(bus, SOON);
    ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_HYBRID);
    ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
    ck_assert_int_eq(evbus_stat(bus, "acked"), atomic_load(&heard));
    ck_assert_msg(middle_read(middle, CANARY) && middle_read(middle, "PUBLISH"), "%s", what);
    ck_assert(!middle_got(middle, CANARY) && !middle_got(middle, "HELLO"));
    ck_assert_int_eq(middle_no_tls(middle), 0);
    ck_assert_int_eq(atomic_load(&leaks_in_log), 0);
}

static void expect_local_events(int more)
{
    for (int i = 0; i < more; i++)
        ck_assert_int_eq(bus_publish(bus, "local.one", "{}"), EVBUS_SENT_LOCAL | EVBUS_SENT_OUTBOX);
    ck_assert_int_eq(atomic_load(&heard), more);
}

START_TEST(bad_server)
{
    const struct bad *bad = &bads[_i];
    struct middle_act act = bad->act, fine;
    struct cert_wish wish = bad->wish;
    struct cert cert;
    open_server();
    if (act.kind == MIDDLE_TLS) {
        wish.name = wish.name ? wish.name : "bad";
        wish.issuer = bad->signer == ITSELF ? NULL : &authorities[bad->signer];
        cert = cert_make("bad", wish);
        act.cert = &cert;
    }
    act.path = act.kind == MIDDLE_ANSWER ? NULL : server->socket;
    act.client_ca = act.client_ca ? authorities[CA].cert : NULL;
    fine = good_act();
    middle_become(middle, bad->first_is_good ? &fine : &act, &act);
    open_bus(bad->named, bad->timeout_ms);
    expect_stat(bus, "connect_errors", 2, SOON);
    ck_assert_int_ge(middle_accepted(middle), 2);
    ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_DEGRADED);
    expect_local_events(10);
    expect_stat(bus, "connect_errors", 3, SOON);
    ck_assert_int_eq(evbus_stat(bus, "connects"), 0);
    expect_sentence(bad);
    expect_nothing_told(bad->what);
    expect_turn_to_good(bad->what);
    bus_end(bus);
    close_server();
}
END_TEST

/* It was good once: that is no reason to trust who answers the next time. */
START_TEST(good_once)
{
    open_server();
    struct cert other = cert_make(
        "bad",
        (struct cert_wish){.name = "bad", .alt = "DNS:other.test", .issuer = &authorities[CA]});
    struct middle_act act = good_act();
    middle_become(middle, &act, NULL);
    open_bus(true, 0);
    expect_connected(bus, SOON);
    for (int i = 0; i < 3; i++) {
        int64_t errors = evbus_stat(bus, "connect_errors");
        act.cert = &other;
        act.most_version = i == 1 ? TLS1_2_VERSION : 0;
        middle_become(middle, &act, NULL);
        expect_mode(bus, EVBUS_MODE_DEGRADED, SOON);
        expect_stat(bus, "connect_errors", errors + 2, SOON);
        expect_nothing_told("good once");
        bus_publish(bus, "local.one", "{}");
        expect_turn_to_good("good once");
    }
    bus_end(bus);
    close_server();
}
END_TEST

/* However TLS was asked for: a server that speaks plaintext, and would do, gets none. */
START_TEST(no_way_back_to_plaintext)
{
    static const char *const schemes[] = {"rediss", "redis"}; /* tls.enabled=yes */
    char url[64];
    open_server();
    struct middle_act plain = {.kind = MIDDLE_PASS, .path = server->socket};
    middle_become(middle, &plain, NULL);
    snprintf(url, sizeof url, "%s://127.0.0.1:%d", schemes[_i], middle_port(middle));
    bus = bus_with("redis.url", url, "tls.enabled", "yes", "redis.password", CANARY,
                   "redis.connect.timeout", "300ms", "reconnect.backoff", "1ms", NULL);
    bus_publish(bus, "some.event", "{}");
    expect_stat(bus, "connect_errors", 3, SOON);
    expect_nothing_told("in use");
    bus_end(bus); /* nor while it closes */
    expect_nothing_told("closed");
    close_server();
}
END_TEST

/* A certificate's authority is named, TLS is not asked for: nobody may believe in it. */
START_TEST(half_asked_for)
{
    char url[64];
    evbus_config *config = evbus_config_new();
    open_server();
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", middle_port(middle));
    ck_assert_int_eq(evbus_config_set(config, "redis.url", url), 0);
    ck_assert_int_eq(evbus_config_set(config, "redis.password", CANARY), 0);
    ck_assert_int_eq(evbus_config_set(config, "tls.ca.file", trust), 0);
    ck_assert_ptr_null(evbus_open(config));
    ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "tls.enabled=yes"));
    ck_assert_int_eq(middle_accepted(middle), 0);
    evbus_config_free(config);
    close_server();
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("tls_bad");
    TCase *tests = tcase_create("tls_bad");
    tcase_set_timeout(tests, suite_patience(40));
    tcase_add_loop_test(tests, bad_server, 0, sizeof bads / sizeof bads[0]);
    tcase_add_test(tests, good_once);
    tcase_add_loop_test(tests, no_way_back_to_plaintext, 0, 2);
    tcase_add_test(tests, half_asked_for);
    suite_add_tcase(suite, tests);
    return suite_run(suite, argc, argv);
}
