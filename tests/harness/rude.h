/*
 * rude.h - a server that looks like Redis (HELLO, CLIENT, SELECT, PING, SUBSCRIBE and its kin,
 * PUBLISH) until it is told to misbehave. One thread of its own; the calls below come from the
 * test's thread.
 */
#ifndef HARNESS_RUDE_H
#define HARNESS_RUDE_H
#include <stdbool.h>
#include <stddef.h>

enum { RUDE_PUBLISHER = 1, RUDE_SUBSCRIBER = 2 }; /* connections that have (not) subscribed: bits */

struct rude;

struct rude *rude_start(void); /* on 127.0.0.1 */
void rude_free(struct rude *rude);
int rude_port(const struct rude *rude);

/* From now on `command` (upper case) is answered with these bytes; "" is silence; NULL: as Redis
 * does. `times` 0: always. Connections that are open count from now, too. */
void rude_answer(struct rude *rude, const char *command, const char *bytes, int times);
/* Sends bytes, as they are, to the connections named; how many connections took them. */
int rude_send(struct rude *rude, int who, const void *bytes, size_t length);
/* The same, one byte a write. */
int rude_drip(struct rude *rude, int who, const void *bytes, size_t length);
void rude_close(struct rude *rude, int who);
void rude_set_mute(struct rude *rude, bool mute); /* reads and answers nothing at all */
/* Every byte of an answer in a write of its own. */
void rude_set_drip(struct rude *rude, bool drip);
/* Speaks HTTP: every connection gets this and is closed. NULL: Redis again. */
void rude_set_greeting(struct rude *rude, const char *bytes);
int rude_count(struct rude *rude, const char *command); /* commands of that name since the start */
int rude_connections(struct rude *rude, int who);       /* that are open */
int rude_accepted(struct rude *rude);                   /* connections so far */
/* A message in the RESP2 form, to every subscriber, subscribed to it or not. */
int rude_message(struct rude *rude, const char *channel, const void *bytes, size_t length);

#endif
