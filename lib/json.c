/* json.c - the hot path's pieces of JSON. Called for every event bound for or come from Redis, on
 * the publisher's thread and on the loop. */
#include "json.h"
#include <endian.h>
#include <stdint.h>
#include <string.h>

#define EACH_BYTE UINT64_C(0x0101010101010101)

/* The high bit of each byte that is a control, a quote, a backslash or not ASCII. The lowest bit
 * set is exact: a borrow only comes out of a byte that is itself marked. */
static inline uint64_t special_bytes(uint64_t word)
{
    uint64_t quote = word ^ EACH_BYTE * '"', backslash = word ^ EACH_BYTE * '\\';
    return (word | (word - EACH_BYTE * 0x20) | (quote - EACH_BYTE) | (backslash - EACH_BYTE)) &
           EACH_BYTE * 0x80;
}

static inline bool is_special(unsigned char c)
{
    return c < 0x20 || c >= 0x80 || c == '"' || c == '\\';
}

static inline uint64_t special_at(const char *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return special_bytes(le64toh(word));
}

static inline const char *plain_end(const char *p, const char *end)
{
    for (uint64_t special; end - p >= 8; p += 8)
        if ((special = special_at(p)))
            return p + (__builtin_ctzll(special) >> 3);
    while (p < end && !is_special((unsigned char)*p))
        p++;
    return p;
}

/* The length of the well-formed sequence at `p`, no ASCII (Unicode 15.0 table 3-7); 0: none. */
static inline size_t sequence_length(const char *p, const char *end)
{
    unsigned char lead = (unsigned char)p[0], low = 0x80, high = 0xbf;
    if (lead < 0xe0)
        return lead >= 0xc2 && end - p >= 2 && ((unsigned char)p[1] & 0xc0) == 0x80 ? 2 : 0;
    size_t length = lead < 0xf0 ? 3 : 4;
    if (lead > 0xf4 || (size_t)(end - p) < length)
        return 0;
    if (lead == 0xe0)
        low = 0xa0;
    else if (lead == 0xed)
        high = 0x9f;
    else if (lead == 0xf0)
        low = 0x90;
    else if (lead == 0xf4)
        high = 0x8f;
    unsigned char second = (unsigned char)p[1];
    if (second < low || second > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if (((unsigned char)p[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

static inline int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits behind "\u", or -1. */
static inline int32_t hex4(const char *p, const char *end)
{
    int32_t value = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

struct fault {
    const char *why; /* static text */
    const char *at;
};

static const char *fail(struct fault *fault, const char *at, const char *why)
{
    fault->at = at;
    fault->why = why;
    return NULL;
}

/* `p` stands on the backslash; answers the first byte behind the escape. */
static const char *skip_escape(const char *p, const char *end, struct fault *fault)
{
    if (end - p >= 2 && p[1] && strchr("\"\\/bfnrt", p[1]))
        return p + 2;
    if (end - p < 2 || p[1] != 'u')
        return fail(fault, p, "bad escape in a string");
    int32_t unit = hex4(p + 2, end);
    if (unit < 0)
        return fail(fault, p, "\\u without four hex digits");
    if (unit < 0xd800 || unit > 0xdfff)
        return p + 6;
    if (unit > 0xdbff || end - p < 8 || p[6] != '\\' || p[7] != 'u')
        return fail(fault, p, "half of a surrogate pair");
    unit = hex4(p + 8, end);
    if (unit < 0xdc00 || unit > 0xdfff)
        return fail(fault, p, "half of a surrogate pair");
    return p + 12;
}

/* `p` stands behind the opening quote; answers where the closing one is. */
static inline const char *string_end(const char *p, const char *end, bool *escaped,
                                     struct fault *fault)
{
    for (;;) {
        p = plain_end(p, end);
        if (p == end)
            return fail(fault, p, "a string without its end");
        if (*p == '"')
            return p;
        if (*p == '\\') {
            *escaped = true;
            p = skip_escape(p, end, fault);
            if (!p)
                return NULL;
            continue;
        }
        if ((unsigned char)*p < 0x20)
            return fail(fault, p, "a raw control byte in a string");
        size_t length;
        do {
            length = sequence_length(p, end);
            if (!length)
                return fail(fault, p, "not UTF-8");
            p += length;
        } while (p < end && (unsigned char)*p >= 0x80);
    }
}

static inline const char *digits_end(const char *p, const char *end)
{
    while (p < end && (unsigned)(*p - '0') < 10)
        p++;
    return p;
}

/* RFC 8259 section 6, of any size. */
static const char *number_end(const char *p, const char *end, struct fault *fault)
{
    const char *first = p += p < end && *p == '-';
    p = digits_end(p, end);
    if (p == first || (*first == '0' && p - first > 1))
        return fail(fault, first, "bad number");
    if (p < end && *p == '.') {
        first = ++p;
        p = digits_end(p, end);
        if (p == first)
            return fail(fault, p, "no digits behind a number's point");
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        p += p < end && (*p == '+' || *p == '-');
        first = p;
        p = digits_end(p, end);
        if (p == first)
            return fail(fault, p, "no digits in a number's exponent");
    }
    return p;
}

static const char *literal_end(const char *p, const char *end, const char *literal,
                               struct fault *fault)
{
    size_t length = strlen(literal);
    if ((size_t)(end - p) < length || memcmp(p, literal, length) != 0)
        return fail(fault, p, "not a JSON value");
    return p + length;
}

static inline const char *scalar_end(const char *p, const char *end, struct fault *fault)
{
    bool escaped;
    if (p == end)
        return fail(fault, p, "a value is missing");
    switch (*p) {
    case '"':
        p = string_end(p + 1, end, &escaped, fault);
        return p ? p + 1 : NULL;
    case 't':
        return literal_end(p, end, "true", fault);
    case 'f':
        return literal_end(p, end, "false", fault);
    case 'n':
        return literal_end(p, end, "null", fault);
    default:
        return number_end(p, end, fault);
    }
}

/* From a key's quote to the first byte of its value. */
static inline const char *key_end(const char *p, const char *end, struct fault *fault)
{
    bool escaped;
    if (p == end || *p != '"')
        return fail(fault, p, "a key in quotes is missing");
    p = string_end(p + 1, end, &escaped, fault);
    if (!p)
        return NULL;
    p = evb_json_space(p + 1, end);
    if (p == end || *p != ':')
        return fail(fault, p, "':' is missing behind a key");
    return evb_json_space(p + 1, end);
}

/* The containers that are open: a bit a level, set for an object. */
struct levels {
    size_t depth;
    uint64_t objects[EVB_JSON_DEPTH / 64];
};

static inline void level_push(struct levels *levels, bool object)
{
    uint64_t bit = UINT64_C(1) << (levels->depth % 64),
             *word = &levels->objects[levels->depth / 64];
    if (levels->depth++ % 64 == 0)
        *word = 0;
    *word = object ? *word | bit : *word & ~bit;
}

static inline bool level_is_object(const struct levels *levels)
{
    size_t top = levels->depth - 1;
    return levels->objects[top / 64] >> (top % 64) & 1;
}

/* Behind a value: closes what ends here. Answers the next value's first byte, or with depth 0 the
 * end. */
static inline const char *next_value(const char *p, const char *end, struct levels *levels,
                                     struct fault *fault)
{
    while (levels->depth) {
        bool object = level_is_object(levels);
        p = evb_json_space(p, end);
        if (p == end)
            return fail(fault, p,
                        object ? "an object without its end" : "an array without its end");
        if (*p == ',') {
            p = evb_json_space(p + 1, end);
            return object ? key_end(p, end, fault) : p;
        }
        if (*p != (object ? '}' : ']'))
            return fail(fault, p, object ? "',' or '}' is missing" : "',' or ']' is missing");
        p++;
        levels->depth--;
    }
    return p;
}

static const char *value_end(const char *p, const char *end, struct fault *fault)
{
    struct levels levels;
    levels.depth = 0;
    do {
        if (levels.depth == EVB_JSON_DEPTH)
            return fail(fault, p, "nested too deep");
        if (p < end && (*p == '{' || *p == '[')) {
            bool object = *p == '{';
            level_push(&levels, object);
            p = evb_json_space(p + 1, end);
            if (p == end || *p != (object ? '}' : ']')) {
                p = object ? key_end(p, end, fault) : p;
                continue;
            }
        } else {
            p = scalar_end(p, end, fault);
        }
        if (p)
            p = next_value(p, end, &levels, fault);
    } while (p && levels.depth);
    return p;
}

const char *evb_json_check(const char *text, size_t length, size_t *at)
{
    struct fault fault = {NULL, NULL};
    const char *end = text + length, *p = value_end(evb_json_space(text, end), end, &fault);
    if (p) {
        p = evb_json_space(p, end);
        if (p < end)
            fail(&fault, p, "more behind the value");
    }
    if (at && fault.why)
        *at = (size_t)(fault.at - text);
    return fault.why;
}

const char *evb_json_skip(const char *p, const char *end, const char **why)
{
    struct fault fault;
    p = value_end(p, end, &fault);
    if (!p)
        *why = fault.why;
    return p;
}

const char *evb_json_string(const char *p, const char *end, bool *escaped, const char **why)
{
    struct fault fault;
    *escaped = false;
    p = string_end(p, end, escaped, &fault);
    if (!p)
        *why = fault.why;
    return p;
}

const char *evb_json_plain(const char *p, const char *end)
{
    return plain_end(p, end);
}

bool evb_text_good(const char *text, size_t length, bool lines)
{
    const char *p = text, *end = text + length;
    while ((p = plain_end(p, end)) < end) {
        size_t step = (unsigned char)*p >= 0x80   ? sequence_length(p, end)
                      : (unsigned char)*p >= 0x20 ? 1
                                                  : lines && *p != '\0';
        if (!step)
            return false;
        p += step;
    }
    return true;
}

/* A code point below 0x110000 as UTF-8; answers how many bytes. */
static size_t write_utf8(char *out, uint32_t point)
{
    static const unsigned char leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t length = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i; i--, point >>= 6)
        out[i] = (char)(0x80 | (point & 0x3f));
    out[0] = (char)(leads[length] | point);
    return length;
}

/* One escape at *p, checked before; *p goes behind it. */
static size_t write_unescaped(char *out, const char **p)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    char name = (*p)[1];
    if (name != 'u') {
        *p += 2;
        *out = values[strchr(names, name) - names];
        return 1;
    }
    uint32_t point = (uint32_t)hex4(*p + 2, *p + 6);
    *p += 6;
    if (point >= 0xd800 && point <= 0xdbff) {
        uint32_t low = (uint32_t)hex4(*p + 2, *p + 6);
        *p += 6;
        point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
    }
    return write_utf8(out, point);
}

size_t evb_json_unescape(char *inside, size_t length)
{
    const char *p = inside, *end = inside + length;
    char *out = inside;
    while (p < end) {
        const char *next = memchr(p, '\\', (size_t)(end - p));
        size_t run = (size_t)((next ? next : end) - p);
        memmove(out, p, run);
        out += run;
        p += run;
        if (next)
            out += write_unescaped(out, &p);
    }
    return (size_t)(out - inside);
}

/* One byte or sequence that cannot stand as it is; answers the first behind it. */
static const char *quote_special(struct evb_buf *out, const char *p, const char *end)
{
    static const char names[] = "\"\\\b\f\n\r\t", escapes[] = "\"\\bfnrt",
                      hex[] = "0123456789abcdef";
    unsigned char c = (unsigned char)*p;
    if (c >= 0x80) {
        size_t length = sequence_length(p, end);
        evb_buf_add(out, length ? p : "\xef\xbf\xbd", length ? length : 3);
        return p + (length ? length : 1);
    }
    const char *name = c ? strchr(names, c) : NULL;
    if (name)
        evb_buf_add(out, (char[]){'\\', escapes[name - names]}, 2);
    else
        evb_buf_add(out, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
    return p + 1;
}

/* The same of a whole text: its last eight bytes are looked at again rather than one by one. */
static inline const char *plain_text_end(const char *text, const char *end)
{
    const char *p = text;
    while (end - p >= 8 && !special_at(p))
        p += 8;
    bool plain = p > text && end - p < 8 && (p == end || !special_at(end - 8));
    return plain ? end : plain_end(p, end);
}

void evb_json_quote(struct evb_buf *out, const char *text, size_t length)
{
    const char *end = text + length, *p = plain_text_end(text, end);
    if (!evb_buf_reserve(out, length + 2))
        return;
    char *at = out->data + out->length;
    *at = '"';
    memcpy(at + 1, text, (size_t)(p - text));
    out->length += (size_t)(p - text) + 1;
    if (p == end) { /* mostly */
        memcpy(at + 1 + length, "\"", 2);
        out->length++;
        return;
    }
    while (p < end) {
        p = quote_special(out, p, end);
        const char *run = p;
        p = plain_end(p, end);
        evb_buf_add(out, run, (size_t)(p - run));
    }
    evb_buf_char(out, '"');
}

void evb_base64_write(struct evb_buf *out, const void *bytes, size_t length)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = bytes;
    if (!evb_buf_reserve(out, length / 3 * 4 + 4))
        return;
    char *at = out->data + out->length;
    for (; length >= 3; length -= 3, p += 3) {
        uint32_t group = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
        for (int shift = 18; shift >= 0; shift -= 6)
            *at++ = digits[group >> shift & 63];
    }
    if (length) {
        uint32_t group = (uint32_t)p[0] << 16 | (length > 1 ? (uint32_t)p[1] << 8 : 0);
        *at++ = digits[group >> 18];
        *at++ = digits[group >> 12 & 63];
        *at++ = length > 1 ? digits[group >> 6 & 63] : '=';
        *at++ = '=';
    }
    out->length = (size_t)(at - out->data);
    *at = '\0';
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

ptrdiff_t evb_base64_read(char *text, size_t length)
{
    char *out = text;
    size_t pads = 0;
    if (length % 4)
        return -1;
    while (pads < 2 && pads < length && text[length - 1 - pads] == '=')
        pads++;
    uint32_t group = 0;
    for (size_t i = 0; i < length - pads; i++) {
        int digit = base64_digit(text[i]);
        if (digit < 0)
            return -1;
        group = group << 6 | (uint32_t)digit;
        if (i % 4)
            *out++ = (char)(group >> (6 - i % 4 * 2));
    }
    /* RFC 4648 section 3.5: the bits that padding leaves over are zero. */
    if (pads && group & (pads == 1 ? 3 : 15))
        return -1;
    return out - text;
}
