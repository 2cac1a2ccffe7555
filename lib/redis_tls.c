/* redis_tls.c - OpenSSL 3 and hiredis's input and output. Loop only. */
#include "redis_tls.h"
#include "ending.h"
#include "err.h"
#include "list.h"
#include <errno.h>
#include <evbus.h>
#include <hiredis/hiredis.h>
#include <hiredis/sds.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TOO_LATE "the process ends"

/* ---- the socket below: OpenSSL's own would raise SIGPIPE ---- */

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static int socket_done(BIO *bio, ssize_t n)
{
    BIO_clear_retry_flags(bio);
    return n >= 0 ? (int)n : -1;
}

static int socket_write(BIO *bio, const char *bytes, int length)
{
    int fd = *(int *)BIO_get_data(bio);
    ssize_t n = send(fd, bytes, (size_t)length, MSG_NOSIGNAL);
    int rc = socket_done(bio, n);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_write(bio);
    return rc;
}

static int socket_read(BIO *bio, char *bytes, int room)
{
    int fd = *(int *)BIO_get_data(bio);
    ssize_t n = recv(fd, bytes, (size_t)room, 0);
    int rc = socket_done(bio, n);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_read(bio);
    else if (n == 0)
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return rc;
}

static long socket_control(BIO *bio, int command, long number, void *pointer)
{
    (void)number;
    (void)pointer;
    if (command == BIO_CTRL_EOF)
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    return command == BIO_CTRL_FLUSH;
}

static void prepare(void)
{
    /* What OpenSSL clears away at exit is not needed by the loops any more: either it clears
     * nothing, or, where the host has started it before, our gate is shut before. */
    OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL);
    evb_ending_register(NULL);
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "evbus socket");
    if (!method)
        return;
    BIO_meth_set_write(method, socket_write);
    BIO_meth_set_read(method, socket_read);
    BIO_meth_set_ctrl(method, socket_control);
}

/* ---- sentences ---- */

static const struct {
    long code;
    const char *remedy;
} verdicts[] = {
    {X509_V_ERR_HOSTNAME_MISMATCH, "it is for another name: set tls.server.name if that is right"},
    {X509_V_ERR_IP_ADDRESS_MISMATCH,
     "it is not for this address: connect by its name, or set tls.server.name"},
    {X509_V_ERR_CERT_HAS_EXPIRED, "renew it on the server; is this machine's clock right?"},
    {X509_V_ERR_CERT_NOT_YET_VALID, "is this machine's clock right?"},
    {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "name it, or its issuer, in tls.ca.file"},
    {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "name its issuer in tls.ca.file"},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "name its issuer in tls.ca.file"},
    {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, "name its issuer in tls.ca.file"},
    {X509_V_ERR_CERT_SIGNATURE_FAILURE,
     "tls.ca.file has another issuer of that name: name the right one"},
    {X509_V_ERR_EE_KEY_TOO_SMALL, "the server needs a key of 2048 bits, or an elliptic curve"},
    {X509_V_ERR_CA_KEY_TOO_SMALL, "its issuer needs a key of 2048 bits, or an elliptic curve"},
    {X509_V_ERR_CA_MD_TOO_WEAK, "its issuer must sign by SHA-256 or better"},
    {X509_V_ERR_CERT_REVOKED, "the server needs another one"},
    {X509_V_ERR_INVALID_PURPOSE, "it is not made for servers"},
};

static const struct {
    int reason; /* of ERR_LIB_SSL */
    const char *remedy;
} alerts[] = {
    {SSL_R_WRONG_VERSION_NUMBER,
     "the server speaks no TLS on this port: use its TLS port, or redis://"},
    {SSL_R_PACKET_LENGTH_TOO_LONG, "the server speaks no TLS on this port"},
    {SSL_R_UNSUPPORTED_PROTOCOL, "the server offers only versions below tls.min.version"},
    {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "the server offers only other versions: tls.min.version"},
    {SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE,
     "no cipher in common, or the server wants a client certificate (tls.cert.file)"},
    {SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED,
     "the server wants a client certificate: set tls.cert.file and tls.key.file"},
    {SSL_R_TLSV1_ALERT_UNKNOWN_CA, "the server does not know the issuer of tls.cert.file"},
    {SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, "the server refuses tls.cert.file"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, "tls.cert.file has expired"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, "the server refuses tls.cert.file"},
};

/* Remembers whose certificate is no good: the server's (NULL), or an issuer's. */
static int on_verdict(int fine, X509_STORE_CTX *store)
{
    static char issuer[] = "issuer";
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    if (!fine)
        SSL_set_app_data(ssl, X509_STORE_CTX_get_error_depth(store) > 0 ? issuer : NULL);
    return fine;
}

static const char *verdict_remedy(SSL *ssl)
{
    long verdict = SSL_get_verify_result(ssl);
    if (verdict == X509_V_ERR_CERT_HAS_EXPIRED && SSL_get_app_data(ssl))
        return "that of an issuer: renew it, in tls.ca.file or on the server";
    for (size_t i = 0; i < EVB_COUNT(verdicts); i++)
        if (verdicts[i].code == verdict)
            return verdicts[i].remedy;
    return NULL;
}

static const char *alert_remedy(int reason)
{
    for (size_t i = 0; i < EVB_COUNT(alerts); i++)
        if (alerts[i].reason == reason)
            return alerts[i].remedy;
    return NULL;
}

/* OpenSSL's words for what failed last, with a remedy where one is known. */
static void explain(SSL *ssl, int result, bool shaking_hands, char *why, size_t room)
{
    int error = errno, kind = SSL_get_error(ssl, result);
    unsigned long code = ERR_peek_last_error();
    int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    bool refused = reason == SSL_R_CERTIFICATE_VERIFY_FAILED;
    bool cut = !code || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING;
    const char *what = "closed by the server", *remedy = alert_remedy(reason);
    char text[128];
    if (refused) {
        what = X509_verify_cert_error_string(SSL_get_verify_result(ssl));
        remedy = verdict_remedy(ssl);
    } else if (!cut) {
        what = ERR_reason_error_string(code);
    } else if (kind == SSL_ERROR_SYSCALL && error) {
        what = strerror_r(error, text, sizeof text);
    }
    if (cut && shaking_hands)
        remedy = "does this port speak TLS? If it does, see the server's log; else use redis://";
    snprintf(why, room, "TLS: %s%s%s%s%s", refused ? "the server's certificate is refused: " : "",
             what ? what : "failed", remedy ? " (" : "", remedy ? remedy : "", remedy ? ")" : "");
}

/* ---- hiredis's input and output ---- */

static int fail_context(redisContext *context, SSL *ssl, int result)
{
    int kind = SSL_get_error(ssl, result);
    bool over = kind == SSL_ERROR_ZERO_RETURN || (kind == SSL_ERROR_SYSCALL && !ERR_peek_error());
    if (ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        over = true; /* redis-server ends so */
    context->err = over ? REDIS_ERR_EOF : REDIS_ERR_OTHER;
    explain(ssl, result, false, context->errstr, sizeof context->errstr);
    return -1;
}

static bool must_wait(SSL *ssl, int result)
{
    int kind = SSL_get_error(ssl, result);
    return kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE;
}

/* Once the process ends these two do as if nothing could be done now: what a failure would free is
 * not to be touched any more. */
static ssize_t tls_read(redisContext *context, char *bytes, size_t room)
{
    SSL *ssl = context->privctx;
    if (!evb_ending_enter())
        return 0;
    ERR_clear_error();
    ssize_t n = SSL_read(ssl, bytes, (int)room);
    if (n <= 0)
        n = must_wait(ssl, (int)n) ? 0 : fail_context(context, ssl, (int)n);
    evb_ending_leave();
    return n;
}

/* Who hangs up may have answered before, and have said why: TLS 1.3 refuses a client's certificate
 * after the handshake. The end is left to reading, which comes to it behind all that. */
static bool peer_is_gone(SSL *ssl, int result)
{
    return SSL_get_error(ssl, result) == SSL_ERROR_SYSCALL &&
           (errno == EPIPE || errno == ECONNRESET);
}

/* All that the kernel takes now, a record at a time. */
static ssize_t write_records(redisContext *context)
{
    SSL *ssl = context->privctx;
    size_t length = sdslen(context->obuf), done = 0;
    while (done < length) {
        size_t n = 0;
        ERR_clear_error();
        int rc = SSL_write_ex(ssl, context->obuf + done, length - done, &n);
        if (rc <= 0)
            return must_wait(ssl, rc) || peer_is_gone(ssl, rc) ? (ssize_t)done
                                                               : fail_context(context, ssl, rc);
        done += n;
    }
    return (ssize_t)done;
}

static ssize_t tls_write(redisContext *context)
{
    if (!evb_ending_enter())
        return 0;
    ssize_t n = write_records(context);
    evb_ending_leave();
    return n;
}

static void tls_free(void *privctx)
{
    if (!evb_ending_enter())
        return;
    SSL_free(privctx);
    evb_ending_leave();
}

void evb_tls_bye(struct redisContext *context)
{
    if (!evb_ending_enter())
        return;
    SSL_shutdown(context->privctx);
    ERR_clear_error();
    evb_ending_leave();
}

bool evb_tls_wants_write(struct redisContext *context)
{
    return SSL_want_write((SSL *)context->privctx);
}

bool evb_tls_wants_read(struct redisContext *context)
{
    return SSL_want_read((SSL *)context->privctx);
}

bool evb_tls_has_pending(struct redisContext *context)
{
    return SSL_pending(context->privctx) > 0;
}

/* ---- a connection ---- */

static bool is_address(const char *name)
{
    ASN1_OCTET_STRING *address = a2i_IPADDRESS(name);
    ASN1_OCTET_STRING_free(address);
    ERR_clear_error();
    return address != NULL;
}

static bool name_peer(SSL *ssl, const struct evb_tls_settings *set)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    char name[256];
    size_t length = strlen(set->server_name);
    if (length > 1 && set->server_name[length - 1] == '.') /* no certificate's name has it */
        length--;
    if (length >= sizeof name)
        return false;
    snprintf(name, sizeof name, "%.*s", (int)length, set->server_name);
    bool numeric = is_address(name);
    if (!numeric && SSL_set_tlsext_host_name(ssl, name) != 1)
        return false;
    if (set->verify != EVB_TLS_FULL)
        return true;
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return (numeric ? X509_VERIFY_PARAM_set1_ip_asc(param, name)
                    : X509_VERIFY_PARAM_set1_host(param, name, 0)) == 1;
}

static int attach(const struct evb_tls *tls, struct redisContext *context,
                  struct redisContextFuncs *funcs)
{
    SSL *ssl = SSL_new(tls->context);
    BIO *bio = ssl ? BIO_new(method) : NULL;
    if (!bio || !name_peer(ssl, &tls->set)) {
        BIO_free(bio);
        SSL_free(ssl);
        return evb_fail_memory();
    }
    BIO_set_data(bio, &context->fd);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_connect_state(ssl);
    context->privctx = ssl;
    funcs->free_privctx = tls_free;
    funcs->read = tls_read;
    funcs->write = tls_write;
    return 0;
}

int evb_tls_attach(const struct evb_tls *tls, struct redisContext *context,
                   struct redisContextFuncs *funcs)
{
    if (!evb_ending_enter())
        return evb_fail(EVBUS_ECLOSED, TOO_LATE);
    int rc = attach(tls, context, funcs);
    evb_ending_leave();
    return rc;
}

int evb_tls_handshake(struct redisContext *context, char *why, size_t room)
{
    SSL *ssl = context->privctx;
    if (!evb_ending_enter())
        return 0;
    ERR_clear_error();
    int rc = SSL_do_handshake(ssl);
    if (rc != 1 && must_wait(ssl, rc)) {
        rc = 0;
    } else if (rc != 1) {
        explain(ssl, rc, true, why, room);
        rc = EVBUS_ETLS;
    }
    evb_ending_leave();
    return rc;
}

/* ---- the files ---- */

static int file_fail(const char *key, const char *path)
{
    unsigned long first = ERR_peek_error(), last = ERR_peek_last_error();
    const char *reason = ERR_SYSTEM_ERROR(first) ? strerrordesc_np(ERR_GET_REASON(first))
                                                 : ERR_reason_error_string(last);
    return evb_fail(EVBUS_ETLS, "%s: %s: %s", key, path, reason ? reason : "not usable");
}

static int load_trust(SSL_CTX *context, const struct evb_tls_settings *set)
{
    if (set->ca_file[0] && SSL_CTX_load_verify_file(context, set->ca_file) != 1)
        return file_fail("tls.ca.file", set->ca_file);
    if (set->ca_dir[0] && access(set->ca_dir, R_OK | X_OK) != 0)
        return evb_fail(EVBUS_ETLS, "tls.ca.dir: %s: %s", set->ca_dir, strerrordesc_np(errno));
    if (set->ca_dir[0] && SSL_CTX_load_verify_dir(context, set->ca_dir) != 1)
        return file_fail("tls.ca.dir", set->ca_dir);
    if (!set->ca_file[0] && !set->ca_dir[0] && set->verify != EVB_TLS_NONE &&
        SSL_CTX_set_default_verify_paths(context) != 1)
        return file_fail("the system's trusted certificates", X509_get_default_cert_file());
    return 0;
}

static int load_own(SSL_CTX *context, const struct evb_tls_settings *set)
{
    if (!set->cert_file[0])
        return 0;
    if (SSL_CTX_use_certificate_chain_file(context, set->cert_file) != 1)
        return file_fail("tls.cert.file", set->cert_file);
    if (SSL_CTX_use_PrivateKey_file(context, set->key_file, SSL_FILETYPE_PEM) == 1)
        return 0;
    if (ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH)
        return evb_fail(EVBUS_ETLS, "tls.key.file: %s is not the key of tls.cert.file %s",
                        set->key_file, set->cert_file);
    return file_fail("tls.key.file", set->key_file);
}

/* A key with a passphrase must not make the library ask the terminal for it. */
static int no_passphrase(char *out, int room, int writing, void *user)
{
    (void)out;
    (void)room;
    (void)writing;
    (void)user;
    return -1;
}

static int make_context(const struct evb_tls_settings *set, SSL_CTX **out)
{
    static const int versions[] = {[EVB_TLS_1_2] = TLS1_2_VERSION, [EVB_TLS_1_3] = TLS1_3_VERSION};
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!context)
        return evb_fail_memory();
    SSL_CTX_set_min_proto_version(context, versions[set->min_version]);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(context, set->verify == EVB_TLS_NONE ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
                       on_verdict);
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    int rc = load_trust(context, set);
    if (rc == 0)
        rc = load_own(context, set);
    ERR_clear_error();
    if (rc == 0)
        *out = context;
    else
        SSL_CTX_free(context);
    return rc;
}

/* True: a file is another one than before. */
static bool look_at_files(struct evb_tls *tls)
{
    const char *const paths[EVB_TLS_FILES] = {tls->set.ca_file, tls->set.cert_file,
                                              tls->set.key_file};
    bool changed = false;
    for (int i = 0; i < EVB_TLS_FILES; i++) {
        struct stat now = {0}, *seen = &tls->seen[i];
        if (paths[i][0])
            (void)stat(paths[i], &now);
        changed = changed || now.st_ino != seen->st_ino || now.st_size != seen->st_size ||
                  now.st_dev != seen->st_dev || now.st_mtim.tv_sec != seen->st_mtim.tv_sec ||
                  now.st_mtim.tv_nsec != seen->st_mtim.tv_nsec;
        *seen = now;
    }
    return changed;
}

static int load(struct evb_tls *tls)
{
    SSL_CTX *context = NULL;
    if (!method)
        return evb_fail_memory();
    if (!look_at_files(tls) && tls->context)
        return 0;
    int rc = make_context(&tls->set, &context);
    if (rc != 0) {
        memset(tls->seen, 0, sizeof tls->seen); /* perhaps half of a rotation: look again */
        return rc;
    }
    SSL_CTX_free(tls->context);
    tls->context = context;
    return 0;
}

int evb_tls_load(struct evb_tls *tls, struct evb_log *log)
{
    if (!tls->set.enabled)
        return 0;
    pthread_once(&method_once, prepare);
    if (tls->set.verify == EVB_TLS_NONE && tls->context) /* at each attempt, not when opened */
        evb_log(log, EVBUS_LOG_WARNING,
                "redis: tls.verify=none: nobody checks who the server is; whoever stands on the "
                "way reads the password and all events");
    if (!evb_ending_enter())
        return evb_fail(EVBUS_ECLOSED, TOO_LATE);
    int rc = load(tls);
    evb_ending_leave();
    if (rc == 0 || !tls->context)
        return rc;
    evb_log(log, EVBUS_LOG_WARNING, "redis: %s: the certificates from before stay in use",
            evbus_last_error());
    return 0;
}

void evb_tls_init(struct evb_tls *tls, const struct evb_tls_settings *settings)
{
    *tls = (struct evb_tls){.set = *settings};
}

void evb_tls_fini(struct evb_tls *tls)
{
    if (!tls->context || !evb_ending_enter())
        return;
    SSL_CTX_free(tls->context);
    tls->context = NULL;
    evb_ending_leave();
}
