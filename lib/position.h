/*
 * position.h - a place in the history: the id of a stream entry (redis.io/docs/data-types/streams,
 * "Entry IDs"), "<ms>-<n>". Here n counts the entries of the stream from its beginning, so that two
 * positions tell how many entries lie between them. Pure; any thread.
 */
#ifndef EVB_POSITION_H
#define EVB_POSITION_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EVB_POSITION_TEXT = 42 }; /* two numbers, a dash, NUL */

struct evb_position { /* 0-0: before all, or none */
    uint64_t ms;      /* Unix time of the server */
    uint64_t n;
};

/* False: no position, and *out stays. */
bool evb_position_read(const char *text, size_t length, struct evb_position *out);
size_t evb_position_write(struct evb_position position, char out[EVB_POSITION_TEXT]);
int evb_position_compare(struct evb_position a, struct evb_position b); /* < 0, 0, > 0 */
bool evb_position_is_none(struct evb_position position);

#endif
