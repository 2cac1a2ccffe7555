/*
 * moment.h - a point in the history of events, as text: "now", "last", "all", "10m" or "-10m"
 * (ago), a position "1700000000000-0" (the id of a Redis stream's entry,
 * redis.io/docs/latest/develop/data-types/streams), or a time of RFC 3339. Pure; any thread.
 */
#ifndef EVB_MOMENT_H
#define EVB_MOMENT_H
#include <stdint.h>

enum evb_moment_kind {
    EVB_MOMENT_ALL,      /* before everything that there is */
    EVB_MOMENT_TIME,     /* ms */
    EVB_MOMENT_POSITION, /* ms, n */
    EVB_MOMENT_LAST,     /* the latest of each type */
    EVB_MOMENT_NOW       /* behind everything that there is */
};

struct evb_moment {
    enum evb_moment_kind kind;
    int64_t ms; /* Unix time */
    uint64_t n; /* of the position: which of that millisecond's */
};

/* Reads `text`; an age counts back from now_ms (Unix time). 0, or EVBUS_EINVAL with a sentence that
 * begins with `label`; then *moment is as it was. */
int evb_moment_read(const char *label, const char *text, int64_t now_ms, struct evb_moment *moment);

#endif
