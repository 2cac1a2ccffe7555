/*
 * redis_hello.h - the first words on a connection: HELLO 2 with AUTH, CLIENT SETNAME, SELECT, and
 * what the server says of itself (redis.io/commands/hello, Redis 6.0 and later). Loop only.
 */
#ifndef EVB_REDIS_HELLO_H
#define EVB_REDIS_HELLO_H
#include "redis_login.h"

struct evb_server {
    char version[32];
    char role[16]; /* "master", "replica" */
    char mode[16]; /* "standalone", "sentinel", "cluster" */
};

struct evb_hello {                 /* one connection's */
    const struct evb_login *login; /* borrowed: what was sent */
    bool select;
    int left;     /* replies still to come; 0: signed in */
    bool unnamed; /* the access list refused CLIENT SETNAME */
};

void evb_hello_send(struct evb_hello *hello, struct evb_link *link, const struct evb_login *login);
/* The next reply: 0, or the error that ends this connection, with a sentence in `why`. */
int evb_hello_reply(struct evb_hello *hello, const struct evb_reply *reply,
                    struct evb_server *server, char *why, size_t room);
/* Is it that version of Redis, or a later one? True where it tells none. */
bool evb_server_is(const struct evb_server *server, int major, int minor);
/* HELLO without arguments tells the role again. */
int evb_hello_read(const struct evb_reply *reply, struct evb_server *server, char *why,
                   size_t room);

#endif
