/*
 * middle.h - who stands between a bus and its server and is not to be trusted: on a port of
 * 127.0.0.1 it speaks TLS by any certificate and passes on what is inside, or passes on what comes,
 * whole or damaged, or talks nonsense. Unless told to forget it keeps every byte that it gets from the bus, as it came
 * and decrypted. One thread of its own; the calls below come from the test's thread.
 */
#ifndef HARNESS_MIDDLE_H
#define HARNESS_MIDDLE_H
#include "harness/certs.h"
#include <stdbool.h>
#include <stddef.h>

enum middle_kind {
    MIDDLE_PASS,  /* passes on bytes as they are */
    MIDDLE_TLS,   /* TLS ends here */
    MIDDLE_ANSWER /* answers the first bytes by `says` and hangs up; NULL: silence for ever */
};

struct middle_act { /* what becomes of a connection, from its beginning on */
    enum middle_kind kind;
    const char *path; /* the server behind: its Unix socket, */
    int port;         /* or its port */
    const struct cert *cert;
    const char *client_ca; /* a file: the bus has to show a certificate by this authority */
    int most_version;      /* TLS1_2_VERSION; 0: any */
    const char *says;
    size_t cut_at;              /* hangs up after so many bytes to the bus; 0: never */
    size_t flip_in_at, flip_at; /* that byte from, to the bus becomes another one; 0: none */
    bool reset;                 /* hangs up by RST */
    bool forget;                /* keeps none of what it gets */
    bool drip;                  /* every byte to the bus in a write of its own */
};

struct middle;

struct middle *middle_start(void);
void middle_free(struct middle *middle);
int middle_port(const struct middle *middle);
/* What it is from now on, and what for every second connection (NULL: the same): both borrowed
 * until the next call. Connections that are open are cut; nothing is counted or kept of before. */
void middle_become(struct middle *middle, const struct middle_act *act,
                   const struct middle_act *second);
void middle_cut(struct middle *middle); /* hangs up on everybody */
/* The connections that are open end, each when so many more bytes have passed it one way; 0: now. */
void middle_cut_after(struct middle *middle, size_t bytes, bool reset);
void middle_swallow(struct middle *middle); /* those that are open pass on nothing any more */
/* From now on, until it hangs up: what the server says is swallowed. */
void middle_mute(struct middle *middle);
int middle_accepted(struct middle *middle);
int middle_no_tls(struct middle *middle); /* connections that brought what is no TLS record */
bool middle_got(struct middle *middle, const char *text);  /* as it came on the wire */
bool middle_read(struct middle *middle, const char *text); /* decrypted */

#endif
