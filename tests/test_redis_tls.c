/* test_redis_tls.c - the files, the handshake and whom it refuses, bytes both ways; the peer is
 * OpenSSL itself at the other end of a socket pair. */
#include "err.h"
#include "harness/certs.h"
#include "harness/suite.h"
#include "list.h"
#include "redis_tls.h"
#include <evbus.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <hiredis/sds.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct cert ca, other_ca;
static struct evb_log logger;
static char lines[2000];

static void on_log(int level, const char *line, void *user)
{
    size_t at = strlen(lines);
    (void)user;
    snprintf(lines + at, sizeof lines - at, "%d %s\n", level, line);
}

static void setup(void)
{
    ca = cert_make("ca", (struct cert_wish){.name = "Test CA", .authority = true});
    other_ca = cert_make("other", (struct cert_wish){.name = "Other CA", .authority = true});
    lines[0] = '\0';
    evb_log_init(&logger, "test", EVBUS_LOG_DEBUG);
    evb_log_set(&logger, EVBUS_LOG_DEBUG, on_log, NULL);
}

static struct evb_tls_settings settings(void)
{
    return (struct evb_tls_settings){.enabled = true,
                                     .ca_file = ca.cert,
                                     .ca_dir = "",
                                     .cert_file = "",
                                     .key_file = "",
                                     .server_name = "redis.test"};
}

/* ---- the files ---- */

START_TEST(files_that_are_no_good)
{
    struct cert one = cert_make("one", (struct cert_wish){.name = "one", .issuer = &ca});
    struct cert two = cert_make("two", (struct cert_wish){.name = "two", .issuer = &ca});
    const struct {
        const char *ca_file, *ca_dir, *cert, *key, *says;
    } bad[] = {
        {"/no/ca.pem", "", "", "", "tls.ca.file: /no/ca.pem: No such file or directory"},
        {"/dev/null", "", "", "", "tls.ca.file: /dev/null: "},
        {"", "/no/folder", "", "", "tls.ca.dir: /no/folder: No such file or directory"},
        {ca.cert, "", "/no/cert", "/no/cert", "tls.cert.file: /no/cert: No such file or directory"},
        {ca.cert, "", one.cert, "/no/key", "tls.key.file: /no/key: "},
        {ca.cert, "", one.cert, one.cert, "tls.key.file: "},
        {ca.cert, "", one.cert, two.key, "is not the key of tls.cert.file"},
    };
    for (size_t i = 0; i < EVB_COUNT(bad); i++) {
        struct evb_tls tls;
        struct evb_tls_settings set = settings();
        set.ca_file = bad[i].ca_file;
        set.ca_dir = bad[i].ca_dir;
        set.cert_file = bad[i].cert;
        set.key_file = bad[i].key;
        evb_tls_init(&tls, &set);
        ck_assert_int_eq(evb_tls_load(&tls, &logger), EVBUS_ETLS);
        ck_assert_msg(strstr(evbus_last_error(), bad[i].says) != NULL, "%s", evbus_last_error());
        ck_assert_ptr_null(tls.context);
        evb_tls_fini(&tls);
    }
}
END_TEST

/* Nobody may be asked for it on the terminal. */
START_TEST(key_with_a_passphrase)
{
    struct cert own = cert_make("own", (struct cert_wish){.name = "own", .issuer = &ca});
    FILE *file = fopen(own.key, "re");
    EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
    file = fopen(own.key, "we");
    ck_assert(
        PEM_write_PrivateKey(file, key, EVP_aes_128_cbc(), (unsigned char *)"x", 1, NULL, NULL));
    fclose(file);
    EVP_PKEY_free(key);
    struct evb_tls tls;
    struct evb_tls_settings set = settings();
    set.cert_file = own.cert;
    set.key_file = own.key;
    evb_tls_init(&tls, &set);
    ck_assert_int_eq(evb_tls_load(&tls, &logger), EVBUS_ETLS);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "tls.key.file: "));
    evb_tls_fini(&tls);
}
END_TEST

START_TEST(files_change)
{
    struct cert own = cert_make("own", (struct cert_wish){.name = "own", .issuer = &ca});
    struct cert next = cert_make("next", (struct cert_wish){.name = "next", .issuer = &ca});
    struct evb_tls tls;
    struct evb_tls_settings set = settings();
    set.cert_file = own.cert;
    set.key_file = own.key;
    evb_tls_init(&tls, &set);
    ck_assert_int_eq(evb_tls_load(&tls, &logger), 0);
    struct ssl_ctx_st *first = tls.context;
    ck_assert_int_eq(evb_tls_load(&tls, &logger), 0);
    ck_assert_ptr_eq(tls.context, first); /* read once */
    ck_assert_int_eq(rename(next.cert, own.cert), 0);
    ck_assert_int_eq(evb_tls_load(&tls, &logger), 0); /* half of a rotation */
    ck_assert_ptr_eq(tls.context, first);
    ck_assert_ptr_nonnull(strstr(lines, "the certificates from before stay in use"));
    ck_assert_int_eq(rename(next.key, own.key), 0);
    ck_assert_int_eq(evb_tls_load(&tls, &logger), 0);
    ck_assert_ptr_ne(tls.context, first);
    evb_tls_fini(&tls);
}
END_TEST

/* ---- a pair ---- */

struct pair {
    struct evb_tls tls;
    redisContext *context;
    redisContextFuncs funcs;
    SSL_CTX *server_context;
    SSL *server;
    char why[256];
};

static void pair_open(struct pair *pair, const struct evb_tls_settings *set,
                      const struct cert *server, int most_version)
{
    int fds[2];
    memset(pair, 0, sizeof *pair);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    evb_tls_init(&pair->tls, set);
    ck_assert_int_eq(evb_tls_load(&pair->tls, &logger), 0); /* when it is opened */
    ck_assert_int_eq(evb_tls_load(&pair->tls, &logger), 0); /* when it connects */
    pair->context = redisConnectFd(fds[0]);
    ck_assert_ptr_nonnull(pair->context);
    pair->context->flags &= ~REDIS_BLOCK;
    pair->funcs = *pair->context->funcs;
    ck_assert_int_eq(evb_tls_attach(&pair->tls, pair->context, &pair->funcs), 0);
    pair->context->funcs = &pair->funcs;
    pair->server_context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_security_level(pair->server_context, 0);
    SSL_CTX_set_min_proto_version(pair->server_context, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(pair->server_context, most_version);
    SSL_CTX_use_certificate_file(pair->server_context, server->cert, SSL_FILETYPE_PEM);
    SSL_CTX_use_PrivateKey_file(pair->server_context, server->key, SSL_FILETYPE_PEM);
    pair->server = SSL_new(pair->server_context);
    SSL_set_fd(pair->server, fds[1]);
    SSL_set_accept_state(pair->server);
}

static void pair_close(struct pair *pair)
{
    int fd = SSL_get_fd(pair->server);
    SSL_free(pair->server);
    SSL_CTX_free(pair->server_context);
    close(fd);
    redisFree(pair->context);
    evb_tls_fini(&pair->tls);
}

static int handshake(struct pair *pair)
{
    int rc = 0;
    for (int i = 0; i < 100 && rc == 0; i++) {
        rc = evb_tls_handshake(pair->context, pair->why, sizeof pair->why);
        ERR_clear_error();
        SSL_do_handshake(pair->server);
    }
    return rc;
}

static const struct {
    const char *what, *host;
    struct cert_wish wish;
    int signer; /* 0: the trusted authority, 1: another one, 2: itself */
    int verify, min_version, most_version;
    const char *says; /* NULL: taken */
} peers[] = {
    {"name", "redis.test", {.alt = "DNS:redis.test"}, 0, EVB_TLS_FULL, 0, TLS1_3_VERSION, NULL},
    {"dot at the end",
     "redis.test.",
     {.alt = "DNS:redis.test"},
     0,
     EVB_TLS_FULL,
     0,
     TLS1_3_VERSION,
     NULL},
    {"1.2", "redis.test", {.alt = "DNS:redis.test"}, 0, EVB_TLS_FULL, 0, TLS1_2_VERSION, NULL},
    {"wildcard",
     "one.redis.test",
     {.alt = "DNS:*.redis.test"},
     0,
     EVB_TLS_FULL,
     0,
     TLS1_3_VERSION,
     NULL},
    {"address", "10.0.0.7", {.alt = "IP:10.0.0.7"}, 0, EVB_TLS_FULL, 0, TLS1_3_VERSION, NULL},
    {"address 6", "::1", {.alt = "IP:::1"}, 0, EVB_TLS_FULL, 0, TLS1_3_VERSION, NULL},
    {"other name",
     "redis.test",
     {.alt = "DNS:other.test"},
     0,
     EVB_TLS_FULL,
     0,
     TLS1_3_VERSION,
     "hostname mismatch (it is for another name: set tls.server.name"},
    {"part of a word",
     "redis.test",
     {.alt = "DNS:re*.test"},
     0,
     EVB_TLS_FULL,
     0,
     TLS1_3_VERSION,
     "hostname mismatch"},
    {"other address",
     "10.0.0.7",
     {.alt = "IP:10.0.0.8"},
     0,
     EVB_TLS_FULL,
     0,
     TLS1_3_VERSION,
     "IP address mismatch"},
    {"name for address",
     "10.0.0.7",
     {.alt = "DNS:10.0.0.7"},
     0,
     EVB_TLS_FULL,
     0,
     TLS1_3_VERSION,
     "IP address mismatch"},
    {"expired",
     "redis.test",
     {.alt = "DNS:redis.test", .from_days = -9, .to_days = -1},
     0,
     EVB_TLS_FULL,
     0,
     TLS1_3_VERSION,
     "certificate has expired (renew it"},
    {"not yet",
     "redis.test",
     {.alt = "DNS:redis.test", .from_days = 1, .to_days = 9},
     0,
     EVB_TLS_FULL,
     0,
     TLS1_3_VERSION,
     "not yet valid (is this machine's clock right?"},
    {"self-signed",
     "redis.test",
     {.alt = "DNS:redis.test"},
     2,
     EVB_TLS_FULL,
     0,
     TLS1_3_VERSION,
     "tls.ca.file"},
    {"other CA",
     "redis.test",
     {.alt = "DNS:redis.test"},
     1,
     EVB_TLS_FULL,
     0,
     TLS1_3_VERSION,
     "name its issuer in tls.ca.file"},
    {"for clients",
     "redis.test",
     {.alt = "DNS:redis.test", .usage = "clientAuth"},
     0,
     EVB_TLS_FULL,
     0,
     TLS1_3_VERSION,
     "it is not made for servers"},
    {"TLS 1.1",
     "redis.test",
     {.alt = "DNS:redis.test"},
     0,
     EVB_TLS_FULL,
     0,
     TLS1_1_VERSION,
     "tls.min.version"},
    {"1.2 below 1.3",
     "redis.test",
     {.alt = "DNS:redis.test"},
     0,
     EVB_TLS_FULL,
     EVB_TLS_1_3,
     TLS1_2_VERSION,
     "tls.min.version"},
    {"small key",
     "redis.test",
     {.alt = "DNS:redis.test", .rsa_bits = 1024},
     0,
     EVB_TLS_FULL,
     0,
     TLS1_3_VERSION,
     "key too weak"},
    {"ca, other name",
     "redis.test",
     {.alt = "DNS:other.test"},
     0,
     EVB_TLS_CA,
     0,
     TLS1_3_VERSION,
     NULL},
    {"ca, other CA",
     "redis.test",
     {.alt = "DNS:redis.test"},
     1,
     EVB_TLS_CA,
     0,
     TLS1_3_VERSION,
     "tls.ca.file"},
    {"none, other CA", "redis.test", {.alt = "DNS:x"}, 1, EVB_TLS_NONE, 0, TLS1_3_VERSION, NULL},
};

START_TEST(peer)
{
    struct pair pair;
    struct cert_wish wish = peers[_i].wish;
    struct evb_tls_settings set = settings();
    wish.name = "server";
    wish.issuer = peers[_i].signer == 0 ? &ca : peers[_i].signer == 1 ? &other_ca : NULL;
    struct cert server = cert_make("server", wish);
    set.server_name = peers[_i].host;
    set.verify = peers[_i].verify;
    set.min_version = peers[_i].min_version;
    pair_open(&pair, &set, &server, peers[_i].most_version);
    int rc = handshake(&pair);
    ck_assert_msg(rc == (peers[_i].says ? EVBUS_ETLS : 1), "%s: %d %s", peers[_i].what, rc,
                  pair.why);
    if (peers[_i].says)
        ck_assert_msg(strstr(pair.why, peers[_i].says) != NULL && !strncmp(pair.why, "TLS: ", 5),
                      "%s: %s", peers[_i].what, pair.why);
    ck_assert_int_eq(strstr(lines, "tls.verify=none: nobody checks") != NULL,
                     set.verify == EVB_TLS_NONE);
    pair_close(&pair);
}
END_TEST

/* SNI tells a name, never an address (RFC 6066, section 3). */
START_TEST(name_is_asked_for)
{
    static const char *const hosts[] = {"redis.test", "10.0.0.7"};
    struct cert server = cert_make("server", (struct cert_wish){.name = "s", .issuer = &ca});
    for (size_t i = 0; i < EVB_COUNT(hosts); i++) {
        struct pair pair;
        struct evb_tls_settings set = settings();
        set.verify = EVB_TLS_CA;
        set.server_name = hosts[i];
        pair_open(&pair, &set, &server, TLS1_3_VERSION);
        ck_assert_int_eq(handshake(&pair), 1);
        const char *asked = SSL_get_servername(pair.server, TLSEXT_NAMETYPE_host_name);
        ck_assert_str_eq(asked ? asked : "", i == 0 ? hosts[i] : "");
        pair_close(&pair);
    }
}
END_TEST

/* Half a megabyte each way through a socket that is full most of the time. */
START_TEST(bytes_both_ways)
{
    enum { BYTES = 512 * 1024 };
    struct pair pair;
    struct evb_tls_settings set = settings();
    struct cert server = cert_make(
        "server", (struct cert_wish){.name = "s", .alt = "DNS:redis.test", .issuer = &ca});
    char *bytes = malloc(BYTES), *got = malloc(BYTES);
    size_t there = 0, back = 0;
    int done = 0;
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (char)(i * 31 + i / 251);
    pair_open(&pair, &set, &server, TLS1_3_VERSION);
    ck_assert_int_eq(handshake(&pair), 1);
    pair.context->obuf = sdscatlen(pair.context->obuf, bytes, BYTES);
    while (there < BYTES) {
        ck_assert_int_eq(redisBufferWrite(pair.context, &done), REDIS_OK);
        int n = SSL_read(pair.server, got + there, 7000);
        there += n > 0 ? (size_t)n : 0;
    }
    ck_assert_int_eq(done, 1);
    ck_assert_int_eq(memcmp(bytes, got, BYTES), 0);
    memset(got, 0, BYTES);
    for (size_t sent = 0; back < BYTES;) {
        size_t part = BYTES - sent < 9000 ? BYTES - sent : 9000;
        int n = part ? SSL_write(pair.server, bytes + sent, (int)part) : 0;
        sent += n > 0 ? (size_t)n : 0;
        ssize_t m = pair.funcs.read(pair.context, got + back, BYTES - back);
        ck_assert_int_ge(m, 0);
        back += (size_t)m;
    }
    ck_assert_int_eq(memcmp(bytes, got, BYTES), 0);
    free(bytes);
    free(got);
    pair_close(&pair);
}
END_TEST

/* Whether by an alert or by a cut: it is an end, and no crash by SIGPIPE. */
START_TEST(peer_goes)
{
    struct pair pair;
    struct evb_tls_settings set = settings();
    char byte;
    int done;
    struct cert server = cert_make(
        "server", (struct cert_wish){.name = "s", .alt = "DNS:redis.test", .issuer = &ca});
    pair_open(&pair, &set, &server, TLS1_3_VERSION);
    ck_assert_int_eq(handshake(&pair), 1);
    if (_i)
        SSL_shutdown(pair.server);
    shutdown(SSL_get_fd(pair.server), SHUT_RDWR);
    while (pair.funcs.read(pair.context, &byte, 1) == 0)
        continue;
    ck_assert_int_eq(pair.context->err, REDIS_ERR_EOF);
    pair.context->err = 0;
    pair.context->obuf = sdscat(pair.context->obuf, "PING\r\n");
    ck_assert_int_eq(redisBufferWrite(pair.context, &done), REDIS_ERR);
    evb_tls_bye(pair.context);
    pair_close(&pair);
}
END_TEST

/* A write that comes too late takes away nothing of what the peer has said before it went. */
START_TEST(last_words)
{
    struct pair pair;
    struct evb_tls_settings set = settings();
    char bytes[64];
    int done = 1;
    struct cert server = cert_make(
        "server", (struct cert_wish){.name = "s", .alt = "DNS:redis.test", .issuer = &ca});
    pair_open(&pair, &set, &server, TLS1_3_VERSION);
    ck_assert_int_eq(handshake(&pair), 1);
    ck_assert_int_eq(SSL_write(pair.server, ":1\r\n", 4), 4);
    SSL_shutdown(pair.server);
    shutdown(SSL_get_fd(pair.server), SHUT_RDWR);
    for (int i = 0; i < 2; i++) {
        pair.context->obuf = sdscat(pair.context->obuf, "PING\r\n");
        ck_assert_int_eq(redisBufferWrite(pair.context, &done), REDIS_OK);
        ck_assert_int_eq(done, 0);
    }
    ck_assert_int_eq(pair.funcs.read(pair.context, bytes, sizeof bytes), 4);
    ck_assert_int_eq(memcmp(bytes, ":1\r\n", 4), 0);
    ck_assert_int_eq(pair.funcs.read(pair.context, bytes, sizeof bytes), -1);
    ck_assert_int_eq(pair.context->err, REDIS_ERR_EOF);
    pair_close(&pair);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("redis_tls");
    TCase *tests = tcase_create("redis_tls");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, files_that_are_no_good);
    tcase_add_test(tests, key_with_a_passphrase);
    tcase_add_test(tests, files_change);
    tcase_add_loop_test(tests, peer, 0, (int)EVB_COUNT(peers));
    tcase_add_test(tests, name_is_asked_for);
    tcase_add_test(tests, bytes_both_ways);
    tcase_add_loop_test(tests, peer_goes, 0, 2);
    tcase_add_test(tests, last_words);
    suite_add_tcase(suite, tests);
    return suite_run(suite, argc, argv);
}
