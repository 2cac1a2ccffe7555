/*
 * keeper.h - the history of a scripted server: it runs the scripts of redis_script.h as Redis
 * does, on entries in memory, until it is told other answers. It tells them apart by their number
 * of keys, and a leader's lease by its name. Its clock goes on by a millisecond with each entry, or call. One thread.
 */
#ifndef HARNESS_KEEPER_H
#define HARNESS_KEEPER_H
#include "harness/scripted.h"

enum { KEEPER_READ, KEEPER_FENCE, KEEPER_APPEND, KEEPER_CURSOR, KEEPER_LEASE, KEEPER_SCRIPTS };

enum { KEEPER_MS = 1000000 }; /* its clock when it starts */

struct keeper;

struct keeper *keeper_start(struct scripted *server);
void keeper_free(struct keeper *keeper);

/* Somebody else's event: kept, and published to whoever listens. Its n. */
int keeper_add(struct keeper *keeper, const char *channel, const char *envelope);
/* The same, kept alone: what a subscriber missed. */
int keeper_put(struct keeper *keeper, const char *channel, const char *envelope);
/* Asked for the time it says one that is so far behind its entries' own, which are made faster than
 * a millisecond each. Else, on a busy machine, a subscription that begins now begins behind them. */
void keeper_be_behind(struct keeper *keeper, long ms);
void keeper_trim(struct keeper *keeper, int left);       /* only the newest are left */
void keeper_delete(struct keeper *keeper);               /* DEL of the stream */
void keeper_flush(struct keeper *keeper);                /* FLUSHALL */
void keeper_roll_back(struct keeper *keeper, int count); /* the newest were never there */
/* A part of a call was run, and run again: the state counts so many less than the stream has. */
void keeper_count_back(struct keeper *keeper, int count);
void keeper_forget(struct keeper *keeper); /* SCRIPT FLUSH */

/* Where the one durable subscription was; its lease does not end by itself. */
void keeper_place(struct keeper *keeper, const char *place, const char *epoch);

/* The one lease of a leader, which does not end by itself: somebody else has it ("": nobody), with
 * this number, and this is kept as the place of all that ask. */
void keeper_lease(struct keeper *keeper, const char *owner, long long fence, const char *place);

/* From now on this script is answered with these bytes, and not run; "" is silence; NULL: as Redis
 * does. `times` 0: always. */
void keeper_answer(struct keeper *keeper, int script, const char *bytes, int times);
/* Called when a script was run, before its reply is sent; once. */
void keeper_after(struct keeper *keeper, int script, void (*fn)(void *user), void *user);
int keeper_count(const struct keeper *keeper, int script); /* how often it was called */
/* The last call's words, without text and digest: "EVAL 2 s s:state 0-0 1 + 256 1048576". */
const char *keeper_last(const struct keeper *keeper, int script);
int keeper_length(const struct keeper *keeper); /* of the stream */

#endif
