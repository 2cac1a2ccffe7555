/*
 * server.h - a real redis-server of the test's own: a Unix socket in the suite's folder, a TCP port
 * of 127.0.0.1 if wanted. It dies with the process that started it, whatever happens. Main thread
 * only: a server ends with the thread that started it. Failures end the test.
 *
 * EVB_TEST_ACL: rules of the access list that are all that the tests' user may do. A command that
 * was denied ends the test in server_free().
 */
#ifndef HARNESS_SERVER_H
#define HARNESS_SERVER_H
#include "harness/certs.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct server {
    pid_t pid;          /* 0: not running */
    int port, tls_port; /* 0: no TCP, no TLS */
    char folder[80], socket[100], config[100];
    struct redisContext *busy; /* runs a script that does not end; NULL: nobody does */
};

struct server *server_plan(bool tcp,
                           const char *lines); /* address known, nothing runs; extra lines */
/* The same, with TLS instead of plain TCP; `ca_file` is whom it trusts, if lines make it ask
 * clients for a certificate. */
struct server *server_plan_tls(const struct cert *cert, const char *ca_file, const char *lines);
void server_run(struct server *server);    /* starts on the same address; returns when it answers */
void server_launch(struct server *server); /* starts, does not wait */
struct server *server_start(const char *lines); /* plan without TCP, and run */
void server_kill(struct server *server);        /* -9, reaped */
void server_stop(struct server *server);        /* SIGSTOP */
void server_continue(struct server *server);
void server_free(struct server *server); /* kills what runs */
bool server_answers(struct server *server);

/* One command on a connection of its own, in hiredis's printf form. An integer reply, or 0 for
 * another one; -1 for an error or no answer (its text in server_error()). */
long long server_command(struct server *server, const char *format, ...);
const char *server_error(void);
/* The reply as text ("" for nil), an array's items each on a line; the caller frees. */
char *server_text(struct server *server, const char *format, ...);
/* Somebody's script does not end: everybody gets BUSY until it is killed. */
void server_be_busy(struct server *server);
void server_be_calm(struct server *server);
/* PUBLISH bytes that may hold NULs; receivers. */
long long server_publish(struct server *server, const char *channel, const void *bytes,
                         size_t length);

#endif
