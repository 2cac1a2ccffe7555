/*
 * scripted.h - a server that looks like Redis, on the test's own event base: nothing runs but what
 * the test lets run. It answers as Redis does, until it is told other answers. One thread.
 */
#ifndef HARNESS_SCRIPTED_H
#define HARNESS_SCRIPTED_H
#include <stdbool.h>
#include <stddef.h>

struct event_base;
struct scripted;

enum {
    SCRIPTED_PUBLISHER = 1,
    SCRIPTED_SUBSCRIBER = 2
}; /* connections that have (not) subscribed */

struct scripted *scripted_start(struct event_base *base); /* on a Unix socket */
void scripted_free(struct scripted *server);
const char *scripted_path(const struct scripted *server);
void scripted_listen(struct scripted *server, bool on); /* off: connections are refused */
/* From now on `command` (upper case) is answered with these bytes; "" is silence; NULL: as Redis
 * does. `times` 0: always. */
void scripted_answer(struct scripted *server, const char *command, const char *bytes, int times);
/* Answers EVAL and EVALSHA: the reply's bytes, which are freed. fn NULL: nobody may run scripts. */
typedef char *(*scripted_eval_fn)(char **word, int count, void *user);
void scripted_eval(struct scripted *server, scripted_eval_fn fn, void *user);
int scripted_count(const struct scripted *server, const char *command);
const char *scripted_last(const struct scripted *server, const char *command); /* "HELLO 2" or "" */
int scripted_connections(const struct scripted *server, int who);
void scripted_send(struct scripted *server, int who, const char *bytes, size_t length);
void scripted_close(struct scripted *server, int who);
/* Deaf: reads no more, says no more, its sockets stay open. */
void scripted_deafen(struct scripted *server, int who, bool deaf);
/* To those who subscribed to it; how many. */
int scripted_publish(struct scripted *server, const char *channel, const char *bytes,
                     size_t length);

/* Runs the base until the condition holds; false: not within ms. */
bool run_until(struct event_base *base, bool (*condition)(void *arg), void *arg, int ms);
void run_for(struct event_base *base,
             int ms); /* lets what is due come: proves that nothing comes */

#endif
