/*
 * stream.h - the history as it stands in Redis, read by hand: the keys that a bus with the default
 * key.prefix keeps there. Failures end the test.
 */
#ifndef HARNESS_STREAM_H
#define HARNESS_STREAM_H
#include "harness/recorder.h"
#include "harness/server.h"

#define STREAM_KEY    "evbus:history:{0}"
#define STREAM_STATE  STREAM_KEY ":state"
#define STREAM_LATEST STREAM_KEY ":latest"
#define STREAM_MARK   STREAM_KEY ":mark:" /* and the node */

struct stream_sum {
    long entries;
    long long first, last; /* the numbers behind the dash of the positions at both ends; 0: none */
};

/* Reads all. Ends the test unless positions rise, by one each, and each node's events stand there
 * by rising seq. Events of numbered publishers are noted in `recorder` (NULL: none). */
struct stream_sum stream_expect_sound(struct server *server, struct recorder *recorder);
long long stream_length(struct server *server);

#endif
