/*
 * rows.h - the table of the suite: which figure of which program is held against which, and the
 * goal. A row's name is group.name; the probes of a group run in turn, so that its rows share their
 * rounds.
 */
#ifndef BENCH_ROWS_H
#define BENCH_ROWS_H
#include <stdbool.h>
#include <stddef.h>

enum bench_goal {
    GOAL_NONE,       /* for information */
    GOAL_RATIO_MOST, /* ours / peer <= bound */
    GOAL_RATE_LEAST, /* peer's time an event / ours >= bound */
    GOAL_EXTRA_MOST, /* ours - peer <= bound */
    GOAL_VALUE_MOST  /* ours <= bound; no peer */
};

struct bench_row {
    const char *name, *title;
    const char *ours, *peer; /* program and arguments; peer NULL: none */
    const char *figure, *unit;
    enum bench_goal goal;
    double bound;
};

extern const struct bench_row bench_rows[];
extern const size_t bench_row_count;

/* The package whose absence leaves a peer's program unbuilt; NULL: it is always built. */
const char *bench_package(const char *command);
#endif
