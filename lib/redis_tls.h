/*
 * redis_tls.h - TLS on a connection: OpenSSL under hiredis's input and output functions. Chain and
 * name are verified before the first byte of ours is sent (hiredis alone checks no name, writes
 * with SIGPIPE and hides what it waits for; hence not hiredis_ssl). Loop only.
 */
#ifndef EVB_REDIS_TLS_H
#define EVB_REDIS_TLS_H
#include "log.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

enum { EVB_TLS_FULL, EVB_TLS_CA, EVB_TLS_NONE }; /* tls.verify */
enum { EVB_TLS_1_2, EVB_TLS_1_3 };               /* tls.min.version */
enum { EVB_TLS_FILES = 3 };                      /* CA, certificate, key */

struct redisContext;
struct redisContextFuncs;
struct ssl_ctx_st;

struct evb_tls_settings { /* borrowed texts, "" for none */
    bool enabled;
    int verify, min_version;
    const char *ca_file, *ca_dir, *cert_file, *key_file;
    const char *server_name; /* never "": verified, and asked for (SNI) where it is no address */
};

struct evb_tls {
    struct evb_tls_settings set;     /* fixed after init */
    struct ssl_ctx_st *context;      /* owned; NULL: not loaded */
    struct stat seen[EVB_TLS_FILES]; /* the files that it was made from */
};

void evb_tls_init(struct evb_tls *tls, const struct evb_tls_settings *settings);
void evb_tls_fini(struct evb_tls *tls);
/* Reads the files, again if they changed: certificates are rotated under a running bus. 0, or
 * EVBUS_ETLS / EVBUS_ENOMEM with a sentence that names the setting. What was loaded before stays in
 * use when that fails, and the log says so. */
int evb_tls_load(struct evb_tls *tls, struct evb_log *log);
/* Puts TLS under a connected context; `funcs` is the context's own table. After evb_tls_load(). */
int evb_tls_attach(const struct evb_tls *tls, struct redisContext *context,
                   struct redisContextFuncs *funcs);
/* One step: 1: done, and verified; 0: more is to come; EVBUS_ETLS with a sentence in `why`. */
int evb_tls_handshake(struct redisContext *context, char *why, size_t room);
bool evb_tls_wants_write(struct redisContext *context); /* what it does now waits for room */
bool evb_tls_wants_read(struct redisContext *context); /* ... for the peer, though it is to write */
bool evb_tls_has_pending(struct redisContext *context); /* decrypted already, and not read */
void evb_tls_bye(struct redisContext *context); /* tells the peer of the end, if there is room */

#endif
