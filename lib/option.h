/*
 * option.h - option strings: "size=100 full=drop-oldest name='it''s'", checked against a table.
 * Pure; any thread. Durations "500ms 2s 1h", sizes "64KiB 1MiB" are read here for settings too.
 */
#ifndef EVB_OPTION_H
#define EVB_OPTION_H
#include <stddef.h>
#include <stdint.h>

enum evb_value_kind {
    EVB_VALUE_TEXT,     /* out: char *, owned by the caller, NULL if never given */
    EVB_VALUE_INT,      /* int64_t */
    EVB_VALUE_SIZE,     /* int64_t bytes: B KiB MiB GiB kB MB GB, bare number: bytes */
    EVB_VALUE_DURATION, /* int64_t milliseconds: ms s m h d; of bare numbers only 0 */
    EVB_VALUE_BOOL,     /* int64_t 0 or 1: yes no on off true false 1 0 */
    EVB_VALUE_CHOICE    /* int64_t index into choices */
};

struct evb_option { /* one row; a table ends with a NULL name */
    const char *name;
    enum evb_value_kind kind;
    const char *choices; /* "both|local|redis" */
    int64_t min, max;    /* INT, SIZE, DURATION; TEXT: of its length in bytes. Both 0: no bound */
    void *out;           /* a TEXT's old value is given back by evb_free() */
};

/* Reads `text` (NULL: nothing given) into the rows' outs; an out not named keeps its value. 0, or
 * EVBUS_EINVAL / EVBUS_ENOMEM with a sentence that names option, value and what would be right;
 * then no out has changed. `what` begins the sentence: "subscription option". */
int evb_option_parse(const char *what, const char *text, const struct evb_option *table);

/* One value by its kind. 0, or EVBUS_EINVAL; the sentence is the caller's. */
int evb_value_read(enum evb_value_kind kind, const char *choices, const char *text, int64_t *out);
/* The same against a row's bounds too; 0, or EVBUS_EINVAL with a sentence that begins with `label`
 * and tells what would be right (a TEXT is not quoted in it: it may be a secret). TEXT: *out is its
 * length. */
int evb_value_check(const char *label, const struct evb_option *row, const char *text,
                    int64_t *out);
/* The one of `names` nearest to `text` (edit distance at most 3), or NULL. */
const char *evb_nearest(const char *text, const char *const *names, size_t count);

enum { EVB_SHOWN = 48 };
/* Text from outside for a sentence: shortened, without control characters. */
void evb_shown(char out[EVB_SHOWN], const char *text, size_t length);

#endif
