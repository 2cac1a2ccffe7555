/* it_tls_rotate.c - every certificate and both authorities are exchanged under traffic, by halves
 * and with links cut in between: two processes talk on, all accounts are even. */
#include "harness/bus.h"
#include "harness/certs.h"
#include "harness/suite.h"
#include "harness/traffic.h"
#include "harness/until.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES "DNS:localhost,IP:127.0.0.1"

enum { SOON = 10000, PACE_US = 1000, EVENTS_BETWEEN = 100 };

static struct cert old_ca, new_ca, strange_ca, of_server, of_client;
static char trust[120]; /* the authorities that both sides trust */
static struct server *server;
static evbus *bus;
static struct peer *peer;
static struct talk talk;
static struct traffic *traffic;
static atomic_int kept_old; /* lines that say so */

static void on_log(int level, const char *line, void *user)
{
    (void)level;
    (void)user;
    if (strstr(line, "the certificates from before stay in use"))
        atomic_fetch_add(&kept_old, 1);
}

static struct cert next_server(const struct cert *issuer)
{
    return cert_make("server.next",
                     (struct cert_wish){.name = "s", .alt = NAMES, .issuer = issuer});
}

static void trust_in(const struct cert *first, const struct cert *second)
{
    char next[130];
    snprintf(next, sizeof next, "%s.next", trust);
    remove(next);
    cert_append(next, first->cert);
    if (second)
        cert_append(next, second->cert);
    ck_assert_int_eq(rename(next, trust), 0);
}

/* Redis reads the files again, whether their names are others or not; 0, or -1: it refuses them. */
static int server_reads_files(void)
{
    return (int)server_command(server,
                               "CONFIG SET tls-cert-file %s tls-key-file %s tls-ca-cert-file %s",
                               of_server.cert, of_server.key, trust);
}

static void open_all(void)
{
    char settings[700], url[64];
    old_ca = cert_make("old", (struct cert_wish){.name = "Old CA", .authority = true});
    new_ca = cert_make("new", (struct cert_wish){.name = "New CA", .authority = true});
    strange_ca = cert_make("strange", (struct cert_wish){.name = "Strange", .authority = true});
    of_server =
        cert_make("server", (struct cert_wish){.name = "s", .alt = NAMES, .issuer = &old_ca});
    of_client = cert_make("client", (struct cert_wish){.name = "c", .issuer = &old_ca});
    snprintf(trust, sizeof trust, "%s/trust.pem", suite_folder());
    trust_in(&old_ca, NULL);
    server = server_plan_tls(&of_server, trust, "tls-auth-clients yes");
    server_run(server);
    snprintf(url, sizeof url, "rediss://127.0.0.1:%d", server->tls_port);
    snprintf(settings, sizeof settings,
             "redis.url=%s tls.ca.file=%s tls.cert.file=%s tls.key.file=%s bus.name=peer "
             "reconnect.backoff=10ms reconnect.backoff.max=100ms",
             url, trust, of_client.cert, of_client.key);
    evbus_set_log(NULL, EVBUS_LOG_WARNING, on_log, NULL);
    bus = bus_with("redis.url", url, "tls.ca.file", trust, "tls.cert.file", of_client.cert,
                   "tls.key.file", of_client.key, "outbox.events", "1000000", "reconnect.backoff",
                   "10ms", "reconnect.backoff.max", "100ms", NULL);
    peer = peer_start(NULL, settings);
    peer_ask(peer, "gaps");
    peer_ask(peer, "record traffic.* size=10000000 bytes=4GiB");
    talk_start(&talk, bus, peer);
    expect_connected(bus, SOON);
    peer_ask(peer, "connected %d", suite_patience(SOON));
    talk_again(&talk, now_us());
    traffic = traffic_start(bus, PACE_US);
}

static void close_all(enum traffic_promise promise, const char *what)
{
    traffic_close(traffic, &talk, peer, promise, what);
    server_free(server);
}

static bool some_traffic(void *user)
{
    return evbus_stat(bus, "published_local") >= *(int64_t *)user;
}

static void let_pass(int events)
{
    int64_t wanted = evbus_stat(bus, "published_local") + events;
    ck_assert(until(some_traffic, &wanted, SOON));
}

static void kill_links(void)
{
    int64_t breaks = evbus_stat(bus, "disconnects");
    let_pass(EVENTS_BETWEEN);
    server_command(server, "CLIENT KILL TYPE normal");
    server_command(server, "CLIENT KILL TYPE pubsub");
    expect_stat(bus, "disconnects", breaks + 1, SOON);
}

/* All links are made anew, with what files there are. */
static void cut(void)
{
    for (int i = 0; i < 2; i++) {
        kill_links();
        talk_again(&talk, now_us());
    }
}

static void replace(const char *at, const char *by)
{
    ck_assert_int_eq(rename(by, at), 0);
}

START_TEST(all_certificates)
{
    open_all();
    trust_in(&old_ca, &new_ca);
    ck_assert_int_eq(server_reads_files(), 0);
    cut();

    struct cert next = next_server(&new_ca);
    replace(of_server.cert, next.cert);
    ck_assert_int_eq(server_reads_files(), -1); /* its key is still the old one */
    cut();
    replace(of_server.key, next.key);
    ck_assert_int_eq(server_reads_files(), 0);
    cut();

    next = cert_make("client.next", (struct cert_wish){.name = "c", .issuer = &new_ca});
    ck_assert_int_eq(atomic_load(&kept_old), 0);
    replace(of_client.cert, next.cert);
    cut();
    ck_assert_int_ge(atomic_load(&kept_old), 2);
    replace(of_client.key, next.key);
    cut();

    trust_in(&new_ca, NULL); /* whoever still used anything of the old one would stay outside */
    ck_assert_int_eq(server_reads_files(), 0);
    cut();
    close_all(TRAFFIC_KEPT, "certificates rotated");
}
END_TEST

/* Somebody installs the wrong one; it is put right a while later. */
START_TEST(wrong_for_a_while)
{
    open_all();
    for (int i = 0; i < suite_scaled(4); i++) {
        struct cert next = next_server(&strange_ca);
        int64_t errors = evbus_stat(bus, "connect_errors");
        cert_replace(&of_server, &next);
        ck_assert_int_eq(server_reads_files(), 0);
        kill_links();
        expect_stat(bus, "connect_errors", errors + 3, SOON);
        ck_assert_int_eq(evbus_mode(bus), EVBUS_MODE_DEGRADED);
        next = next_server(&old_ca);
        cert_replace(&of_server, &next);
        ck_assert_int_eq(server_reads_files(), 0);
        talk_again(&talk, now_us());
    }
    close_all(TRAFFIC_KEPT, "wrong certificate for a while");
}
END_TEST

START_TEST(server_restarted_with_another)
{
    open_all();
    for (int i = 0; i < suite_scaled(6); i++) {
        struct cert next = next_server(&old_ca);
        let_pass(EVENTS_BETWEEN);
        cert_replace(&of_server, &next);
        server_kill(server);
        server_run(server);
        talk_again(&talk, now_us());
    }
    close_all(TRAFFIC_FLUSHED, "server restarted with another certificate");
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("tls_rotate");
    suite_add(suite, "all_certificates", all_certificates, 60);
    suite_add(suite, "wrong_for_a_while", wrong_for_a_while, 60);
    suite_add(suite, "server_restarted_with_another", server_restarted_with_another, 60);
    return suite_run(suite, argc, argv);
}
