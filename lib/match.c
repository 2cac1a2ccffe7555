/*
 * match.c - checks event types and patterns, matches one against the other, writes a pattern in
 * Redis's words. Called from publish and receive (matches), subscribe (check, wire). Any thread.
 */
#include "match.h"
#include "err.h"
#include <evbus.h>
#include <string.h>

#define GLOB_MARK   "glob:"
#define MARK_LENGTH (sizeof GLOB_MARK - 1)

static bool is_glob(const char *pattern, size_t length)
{
    return length >= MARK_LENGTH && memcmp(pattern, GLOB_MARK, MARK_LENGTH) == 0;
}

enum { NO_TYPE_BYTE = 0, WORD_BYTE = 1, DOT = 3 };

/* A table: every publish looks at every byte of its type. */
#define W WORD_BYTE
static const unsigned char bytes[256] = {
    ['-'] = W, ['.'] = DOT, ['/'] = W, ['0'] = W, ['1'] = W, ['2'] = W, ['3'] = W, ['4'] = W,
    ['5'] = W, ['6'] = W,   ['7'] = W, ['8'] = W, ['9'] = W, [':'] = W, ['A'] = W, ['B'] = W,
    ['C'] = W, ['D'] = W,   ['E'] = W, ['F'] = W, ['G'] = W, ['H'] = W, ['I'] = W, ['J'] = W,
    ['K'] = W, ['L'] = W,   ['M'] = W, ['N'] = W, ['O'] = W, ['P'] = W, ['Q'] = W, ['R'] = W,
    ['S'] = W, ['T'] = W,   ['U'] = W, ['V'] = W, ['W'] = W, ['X'] = W, ['Y'] = W, ['Z'] = W,
    ['_'] = W, ['a'] = W,   ['b'] = W, ['c'] = W, ['d'] = W, ['e'] = W, ['f'] = W, ['g'] = W,
    ['h'] = W, ['i'] = W,   ['j'] = W, ['k'] = W, ['l'] = W, ['m'] = W, ['n'] = W, ['o'] = W,
    ['p'] = W, ['q'] = W,   ['r'] = W, ['s'] = W, ['t'] = W, ['u'] = W, ['v'] = W, ['w'] = W,
    ['x'] = W, ['y'] = W,   ['z'] = W,
};
#undef W

static bool is_type_byte(unsigned char c)
{
    return bytes[c] != NO_TYPE_BYTE;
}

static int length_check(const char *what, size_t length)
{
    if (length == 0)
        return evb_fail(EVBUS_EINVAL, "%s is empty", what);
    if (length > EVB_TYPE_MAX)
        return evb_fail(EVBUS_EINVAL, "%s is %zu bytes long, at most %d are allowed", what, length,
                        EVB_TYPE_MAX);
    return 0;
}

static int byte_fail(const char *what, const char *text, size_t at)
{
    return evb_fail(EVBUS_EINVAL, "%s: byte 0x%02x at offset %zu is none of A-Z a-z 0-9 . _ - : /",
                    what, (unsigned char)text[at], at);
}

static int type_fail(const char *type, size_t length)
{
    unsigned char before = DOT;
    for (size_t i = 0; i < length; i++) {
        unsigned char now = bytes[(unsigned char)type[i]];
        if (now == NO_TYPE_BYTE)
            return byte_fail("event type", type, i);
        if (now == DOT && (before == DOT || i + 1 == length))
            return evb_fail(EVBUS_EINVAL, "event type has an empty word at offset %zu", i);
        before = now;
    }
    return 0;
}

/* Without a branch for each byte: all are of a type, and no two dots meet, nor one and an end. */
int evb_type_check(const char *type, size_t length)
{
    int error = length_check("event type", length);
    if (error)
        return error;
    unsigned all = WORD_BYTE, dots = 0, before = DOT;
    for (size_t i = 0; i < length; i++) {
        unsigned now = bytes[(unsigned char)type[i]];
        all &= now;
        dots |= now & before & ~(unsigned)WORD_BYTE;
        before = now;
    }
    return all && !dots && before != DOT ? 0 : type_fail(type, length);
}

/* One word of a pattern: 1 if it is a wildcard, 0 if not, or EVBUS_EINVAL. */
static int word_check(const char *pattern, size_t start, size_t end, bool last)
{
    if (start == end)
        return evb_fail(EVBUS_EINVAL, "pattern has an empty word at offset %zu", start);
    if (end - start == 1 && pattern[start] == '*')
        return 1;
    if (end - start == 1 && pattern[start] == '>' && last)
        return 1;
    for (size_t i = start; i < end; i++) {
        if (pattern[i] == '*' || pattern[i] == '>')
            return evb_fail(EVBUS_EINVAL,
                            "pattern: '%c' at offset %zu must be a whole word%s; for a Redis glob "
                            "begin with " GLOB_MARK,
                            pattern[i], i, pattern[i] == '>' ? ", the last one" : "");
        if (!is_type_byte((unsigned char)pattern[i]))
            return byte_fail("pattern", pattern, i);
    }
    return 0;
}

static int glob_check(const char *glob, size_t length)
{
    int error = length_check("pattern behind " GLOB_MARK, length);

    if (error)
        return error;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)glob[i] < 0x20 || glob[i] == 0x7f)
            return evb_fail(EVBUS_EINVAL, "pattern has a control character, byte 0x%02x",
                            (unsigned char)glob[i]);
    return EVB_PATTERN_GLOB;
}

int evb_pattern_check(const char *pattern, size_t length)
{
    int kind = EVB_PATTERN_EXACT;
    int error;

    if (is_glob(pattern, length))
        return glob_check(pattern + MARK_LENGTH, length - MARK_LENGTH);
    error = length_check("pattern", length);
    if (error)
        return error;
    for (size_t start = 0, i = 0; i <= length; i++) {
        if (i < length && pattern[i] != '.')
            continue;
        int wild = word_check(pattern, start, i, i == length);
        if (wild < 0)
            return wild;
        if (wild)
            kind = EVB_PATTERN_WORDS;
        start = i + 1;
    }
    return kind;
}

static bool words_match(const char *pattern, size_t pattern_length, const char *type, size_t length)
{
    size_t p = 0, t = 0;

    while (p < pattern_length && t < length) {
        if (pattern[p] == '>')
            return true;
        if (pattern[p] == '*') {
            if (type[t] == '.')
                return false;
            const char *dot = memchr(type + t, '.', length - t);
            t = dot ? (size_t)(dot - type) : length;
        } else if (pattern[p] == type[t]) {
            t++;
        } else {
            return false;
        }
        p++;
    }
    return p == pattern_length && t == length;
}

bool evb_pattern_matches(const char *pattern, size_t pattern_length, const char *type,
                         size_t length)
{
    bool glob = is_glob(pattern, pattern_length);

    if (glob) {
        pattern += MARK_LENGTH;
        pattern_length -= MARK_LENGTH;
    }
    if (evb_type_is_system(type, length) && !evb_type_is_system(pattern, pattern_length))
        return false;
    return glob ? evb_glob_matches(pattern, pattern_length, type, length)
                : words_match(pattern, pattern_length, type, length);
}

/*
 * A class "[...]" with its bracket at glob[0]: how long it is, and whether it takes c. As Redis has
 * it: a range may stand the wrong way round, its end may be ']', and a missing ']' is forgiven.
 */
static size_t class_length(const char *glob, size_t length, unsigned char c, bool *takes)
{
    size_t i = 1;
    bool negated = i < length && glob[i] == '^';
    bool found = false;

    if (negated)
        i++;
    while (i < length && glob[i] != ']') {
        unsigned char low = (unsigned char)glob[i], high = low;

        if (low == '\\' && i + 1 < length) {
            low = high = (unsigned char)glob[i + 1];
            i += 2;
        } else if (i + 2 < length && glob[i + 1] == '-') {
            high = (unsigned char)glob[i + 2];
            i += 3;
        } else {
            i++;
        }
        if (low <= high ? c >= low && c <= high : c >= high && c <= low)
            found = true;
    }
    *takes = found != negated;
    return i < length ? i + 1 : i;
}

/* The length of the piece at glob[0] (not a '*') if it takes c, else 0. */
static size_t piece_taking(const char *glob, size_t length, unsigned char c)
{
    bool takes;
    size_t used;

    switch (glob[0]) {
    case '?':
        return 1;
    case '[':
        used = class_length(glob, length, c, &takes);
        return takes ? used : 0;
    case '\\':
        if (length > 1)
            return (unsigned char)glob[1] == c ? 2 : 0;
        return c == '\\' ? 1 : 0;
    default:
        return (unsigned char)glob[0] == c ? 1 : 0;
    }
}

/* Every piece but '*' takes exactly one byte, so only the last '*' ever has to give back: the work
 * is bounded by the product of the two lengths. */
bool evb_glob_matches(const char *glob, size_t glob_length, const char *text, size_t length)
{
    size_t g = 0, t = 0, star = 0, star_text = 0;
    bool starred = false;

    while (t < length) {
        size_t used;

        if (g < glob_length && glob[g] == '*') {
            if (++g == glob_length)
                return true;
            starred = true;
            star = g;
            star_text = t;
            continue;
        }
        used =
            g < glob_length ? piece_taking(glob + g, glob_length - g, (unsigned char)text[t]) : 0;
        if (used) {
            g += used;
            t++;
        } else if (starred) {
            g = star;
            t = ++star_text;
        } else {
            return false;
        }
    }
    while (g < glob_length && glob[g] == '*')
        g++;
    return g == glob_length;
}

static void add_escaped(struct evb_buf *out, const char *text)
{
    for (; *text; text++) {
        if (strchr("*?[]\\", *text))
            evb_buf_char(out, '\\');
        evb_buf_char(out, *text);
    }
}

int evb_patterns_check(const char *list)
{
    for (const char *p = list + strspn(list, " "); *p; p += strspn(p, " ")) {
        size_t length = strcspn(p, " ");
        int rc = evb_pattern_check(p, length);
        if (rc < 0)
            return rc;
        p += length;
    }
    return 0;
}

bool evb_patterns_match(const char *list, const char *type, size_t length)
{
    for (const char *p = list + strspn(list, " "); *p; p += strspn(p, " ")) {
        size_t word = strcspn(p, " ");
        if (evb_pattern_matches(p, word, type, length))
            return true;
        p += word;
    }
    return false;
}

void evb_pattern_wire(struct evb_buf *out, const char *prefix, const char *pattern, size_t length)
{
    bool glob = is_glob(pattern, length);

    if (!glob && !memchr(pattern, '*', length) && !memchr(pattern, '>', length)) {
        evb_buf_text(out, prefix);
        evb_buf_add(out, pattern, length);
        return;
    }
    add_escaped(out, prefix);
    if (glob) {
        evb_buf_add(out, pattern + MARK_LENGTH, length - MARK_LENGTH);
        return;
    }
    for (size_t i = 0; i < length; i++)
        evb_buf_char(out, pattern[i] == '>' ? '*' : pattern[i]);
}
