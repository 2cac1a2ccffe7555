/*
 * option.c - reads option strings and single values against a table. Called by subscribe and queue
 * open (options) and by config.c (values). Any thread.
 */
#include "option.h"
#include "alloc.h"
#include "buf.h"
#include "err.h"
#include "list.h"
#include <evbus.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct unit {
    const char *name;
    int64_t factor;
};

/* Each from small to large: rule_text() looks for the largest that divides. */
static const struct unit size_units[] = {
    {"B", 1},
    {"kB", 1000},
    {"KiB", 1024},
    {"MB", 1000000},
    {"MiB", 1024 * 1024},
    {"GB", 1000000000},
    {"GiB", 1024 * 1024 * 1024},
};
static const struct unit time_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000},
};
static const struct unit truths[] = {
    {"yes", 1}, {"no", 0}, {"on", 1}, {"off", 0}, {"true", 1}, {"false", 0}, {"1", 1}, {"0", 0},
};

struct pending { /* what one row is to become; nothing is written before all is read */
    bool given;
    int64_t number;
    char *text; /* owned */
};

static const char *digits_read(const char *text, int64_t *out)
{
    int64_t n = 0;
    const char *p = text;

    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *p - '0', &n))
            return NULL;
    *out = n;
    return p == text ? NULL : p;
}

static bool int_read(const char *text, int64_t *out)
{
    bool negative = *text == '-';
    const char *rest = digits_read(text + negative, out);

    if (!rest || *rest)
        return false;
    if (negative)
        *out = -*out;
    return true;
}

static bool unit_read(const struct unit *units, size_t count, const char *text, int64_t bare,
                      int64_t *out)
{
    int64_t n;
    const char *rest = digits_read(text, &n);

    if (!rest)
        return false;
    if (*rest == '\0')
        return (bare || n == 0) && !__builtin_mul_overflow(n, bare, out);
    for (size_t i = 0; i < count; i++)
        if (strcmp(rest, units[i].name) == 0)
            return !__builtin_mul_overflow(n, units[i].factor, out);
    return false;
}

static bool truth_read(const char *text, int64_t *out)
{
    for (size_t i = 0; i < EVB_COUNT(truths); i++) {
        if (strcasecmp(text, truths[i].name) != 0)
            continue;
        *out = truths[i].factor;
        return true;
    }
    return false;
}

static bool choice_read(const char *choices, const char *text, int64_t *out)
{
    size_t length = strlen(text);
    int64_t index = 0;

    while (length > 0 && choices) {
        const char *bar = strchrnul(choices, '|');

        if ((size_t)(bar - choices) == length && strncasecmp(choices, text, length) == 0) {
            *out = index;
            return true;
        }
        index++;
        choices = *bar ? bar + 1 : NULL;
    }
    return false;
}

static bool value_read(enum evb_value_kind kind, const char *choices, const char *text,
                       int64_t *out)
{
    switch (kind) {
    case EVB_VALUE_INT:
        return int_read(text, out);
    case EVB_VALUE_SIZE:
        return unit_read(size_units, EVB_COUNT(size_units), text, 1, out);
    case EVB_VALUE_DURATION:
        return unit_read(time_units, EVB_COUNT(time_units), text, 0, out);
    case EVB_VALUE_BOOL:
        return truth_read(text, out);
    case EVB_VALUE_CHOICE:
        return choice_read(choices, text, out);
    case EVB_VALUE_TEXT:
        break;
    }
    *out = (int64_t)strlen(text);
    return true;
}

static void bound_text(char *out, size_t room, const struct evb_option *row, int64_t n)
{
    const struct unit *units = row->kind == EVB_VALUE_SIZE ? size_units : time_units;
    size_t i = row->kind == EVB_VALUE_SIZE ? EVB_COUNT(size_units) : EVB_COUNT(time_units);

    if (row->kind == EVB_VALUE_INT || n == 0) {
        snprintf(out, room, "%" PRId64, n);
        return;
    }
    while (--i > 0 && n % units[i].factor != 0)
        ;
    snprintf(out, room, "%" PRId64 "%s", n / units[i].factor, units[i].name);
}

/* What would be right: "a size from 1B to 256MiB, such as 64KiB". */
static void rule_text(char *out, size_t room, const struct evb_option *row)
{
    static const char *const nouns[] = {
        [EVB_VALUE_INT] = "a whole number",  [EVB_VALUE_SIZE] = "a size",
        [EVB_VALUE_DURATION] = "a duration", [EVB_VALUE_BOOL] = "yes or no",
        [EVB_VALUE_CHOICE] = "one of ",
    };
    static const char *const examples[] = {
        [EVB_VALUE_SIZE] = ", such as 64KiB",
        [EVB_VALUE_DURATION] = ", such as 500ms or 2s",
        [EVB_VALUE_CHOICE] = "",
    };
    char low[32], high[32], range[80] = "";

    if (row->kind == EVB_VALUE_CHOICE || row->kind == EVB_VALUE_BOOL) {
        snprintf(out, room, "%s%s", nouns[row->kind],
                 row->kind == EVB_VALUE_CHOICE ? row->choices : "");
        return;
    }
    if (row->min || row->max) {
        bound_text(low, sizeof low, row, row->min);
        bound_text(high, sizeof high, row, row->max);
        snprintf(range, sizeof range, " from %s to %s", low, high);
    }
    snprintf(out, room, "%s%s%s", nouns[row->kind], range,
             examples[row->kind] ? examples[row->kind] : "");
}

void evb_shown(char out[EVB_SHOWN], const char *text, size_t length)
{
    size_t keep = length < EVB_SHOWN ? length : EVB_SHOWN - 4;

    while (keep < length && keep > 0 && ((unsigned char)text[keep] & 0xc0) == 0x80)
        keep--;
    for (size_t i = 0; i < keep; i++)
        out[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i];
    memcpy(out + keep, keep < length ? "..." : "", keep < length ? 4 : 1);
}

int evb_value_check(const char *label, const struct evb_option *row, const char *text, int64_t *out)
{
    char rule[256], shown[EVB_SHOWN];
    int64_t n = 0;
    bool bounded = (row->min || row->max) && row->kind < EVB_VALUE_BOOL;

    if (value_read(row->kind, row->choices, text, &n) &&
        !(bounded && (n < row->min || n > row->max))) {
        *out = n;
        return 0;
    }
    if (row->kind == EVB_VALUE_TEXT) /* may be a secret: only its length is told */
        return evb_fail(EVBUS_EINVAL,
                        "%s: is %" PRId64 " bytes long, must be %" PRId64 " to %" PRId64, label, n,
                        row->min, row->max);
    rule_text(rule, sizeof rule, row);
    evb_shown(shown, text, strlen(text));
    return evb_fail(EVBUS_EINVAL, "%s: \"%s\" is not %s", label, shown, rule);
}

/* The end of a quoted value's inside (its closing quote), or NULL. `p` stands behind the first. */
static const char *quote_end(const char *p)
{
    for (; (p = strchr(p, '\'')) != NULL; p += 2)
        if (p[1] != '\'')
            return p;
    return NULL;
}

static char *unquote(const char *inside, size_t length)
{
    char *out = evb_alloc(length + 1), *to = out;

    for (size_t i = 0; out && i < length; i++) {
        *to++ = inside[i];
        if (inside[i] == '\'')
            i++;
    }
    if (out)
        *to = '\0';
    return out;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static size_t word_length(const char *text, const char *stops)
{
    size_t n = 0;

    while (text[n] && !is_space(text[n]) && !strchr(stops, text[n]))
        n++;
    return n;
}

static const char *value_take(const char *label, const char *p, char **value)
{
    bool quoted = *p == '\'';
    const char *end = quoted ? quote_end(++p) : p + word_length(p, "'");

    if (!end) {
        evb_fail(EVBUS_EINVAL, "%s: the closing quote is missing", label);
        return NULL;
    }
    if (quoted ? end[1] && !is_space(end[1]) : *end == '\'') {
        evb_fail(EVBUS_EINVAL, "%s: write a value with quotes as 'it''s', and a space behind it",
                 label);
        return NULL;
    }
    *value = unquote(p, (size_t)(end - p));
    if (!*value) {
        evb_fail_memory();
        return NULL;
    }
    return end + quoted;
}

static size_t row_find(const struct evb_option *table, const char *name, size_t length)
{
    size_t i = 0;

    while (table[i].name &&
           (strlen(table[i].name) != length || memcmp(table[i].name, name, length) != 0))
        i++;
    return i;
}

static int unknown_fail(const char *what, const struct evb_option *table, const char *name,
                        size_t length)
{
    const char *names[32];
    char shown[EVB_SHOWN], known[256];
    size_t count = 0, used = 0;

    evb_shown(shown, name, length);
    known[0] = '\0';
    for (; table[count].name && count < EVB_COUNT(names); count++) {
        names[count] = table[count].name;
        if (used < sizeof known)
            used += (size_t)snprintf(known + used, sizeof known - used, " %s", names[count]);
    }
    const char *nearest = evb_nearest(shown, names, count);
    if (nearest)
        return evb_fail(EVBUS_EINVAL, "%s \"%s\" is unknown; the nearest is \"%s\"", what, shown,
                        nearest);
    return evb_fail(EVBUS_EINVAL, "%s \"%s\" is unknown; known are%s", what, shown, known);
}

/* One "key=value" at p into its row's pending; what follows, or NULL with the error set. */
static const char *pair_take(const char *what, const char *p, const struct evb_option *table,
                             struct pending *pending, int *error)
{
    size_t length = word_length(p, "='");
    size_t i = row_find(table, p, length);
    char label[160], shown[EVB_SHOWN], *value = NULL;

    evb_shown(shown, p, length);
    if (p[length] != '=') {
        *error = evb_fail(EVBUS_EINVAL, "%s \"%s\" has no value; write key=value", what, shown);
        return NULL;
    }
    if (!table[i].name) {
        *error = unknown_fail(what, table, p, length);
        return NULL;
    }
    snprintf(label, sizeof label, "%s %s", what, table[i].name);
    if (pending[i].given) {
        *error = evb_fail(EVBUS_EINVAL, "%s: is given twice", label);
        return NULL;
    }
    p = value_take(label, p + length + 1, &value);
    if (!p) {
        *error = evbus_last_code();
        return NULL;
    }
    pending[i].given = true;
    pending[i].text = value;
    *error = evb_value_check(label, &table[i], value, &pending[i].number);
    return *error ? NULL : p;
}

static void outs_write(const struct evb_option *table, struct pending *pending)
{
    for (size_t i = 0; table[i].name; i++) {
        if (!pending[i].given)
            continue;
        if (table[i].kind != EVB_VALUE_TEXT) {
            *(int64_t *)table[i].out = pending[i].number;
            continue;
        }
        evb_free(*(char **)table[i].out);
        *(char **)table[i].out = pending[i].text;
        pending[i].text = NULL;
    }
}

int evb_option_parse(const char *what, const char *text, const struct evb_option *table)
{
    size_t count = row_find(table, "", 0); /* no row has an empty name: their number */
    struct pending *pending;
    const char *p = text;
    int error = 0;

    if (!text)
        return 0;
    pending = evb_calloc(count + 1, sizeof *pending);
    if (!pending)
        return evb_fail_memory();
    for (;;) {
        while (is_space(*p))
            p++;
        if (!*p)
            break;
        p = pair_take(what, p, table, pending, &error);
        if (!p)
            break;
    }
    if (!error)
        outs_write(table, pending);
    for (size_t i = 0; i < count; i++)
        evb_free(pending[i].text);
    evb_free(pending);
    return error;
}

int evb_value_read(enum evb_value_kind kind, const char *choices, const char *text, int64_t *out)
{
    int64_t n;

    if (!value_read(kind, choices, text, &n))
        return EVBUS_EINVAL;
    *out = n;
    return 0;
}

enum { NEAR_LONGEST = 63, NEAR_FARTHEST = 3 };

/* Levenshtein's distance by one row; both are at most NEAR_LONGEST bytes. */
static size_t distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t row[NEAR_LONGEST + 1];

    for (size_t j = 0; j <= b_length; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            size_t shift = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;

            diagonal = row[j];
            row[j] = change < shift ? change : shift;
        }
    }
    return row[b_length];
}

const char *evb_nearest(const char *text, const char *const *names, size_t count)
{
    size_t length = strlen(text), best = NEAR_FARTHEST + 1;
    const char *nearest = NULL;

    if (length > NEAR_LONGEST)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        size_t name_length = strlen(names[i]), far;

        if (name_length > NEAR_LONGEST)
            continue;
        far = distance(text, length, names[i], name_length);
        /* a word changed from end to end is another word */
        if (far < best && far < length && far < name_length) {
            best = far;
            nearest = names[i];
        }
    }
    return nearest;
}

char *evbus_quote(const char *text)
{
    struct evb_buf out;

    if (!text) {
        evb_fail(EVBUS_EINVAL, "evbus_quote: text is NULL");
        return NULL;
    }
    evb_buf_init(&out);
    evb_buf_char(&out, '\'');
    for (; *text; text++)
        evb_buf_add(&out, *text == '\'' ? "''" : text, *text == '\'' ? 2 : 1);
    evb_buf_char(&out, '\'');
    char *quoted = evb_buf_take(&out);
    if (!quoted)
        evb_fail_memory();
    return quoted;
}
