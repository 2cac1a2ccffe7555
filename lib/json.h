/*
 * json.h - the few pieces of JSON (RFC 8259) that the hot path needs: check, skip, quote, unquote,
 * base64. One validating pass, no allocation. Pure; any thread.
 */
#ifndef EVB_JSON_H
#define EVB_JSON_H
#include "buf.h"
#include <stdbool.h>
#include <stddef.h>

#define EVB_JSON_DEPTH 2048 /* as deep as jansson reads */

/* Checks one JSON value that fills `text` (white space around it allowed). NULL: good. Else what is
 * wrong, static text, and *at (may be NULL) its byte offset. Scalars count as a level, too. */
const char *evb_json_check(const char *text, size_t length, size_t *at);

/* Checks one value from `p` on and answers the first byte behind it, NULL with *why if there is
 * none. `p` stands on the value's first byte (no white space). */
const char *evb_json_skip(const char *p, const char *end, const char **why);
/* Checks a string from behind its opening quote; answers where the closing one is. */
const char *evb_json_string(const char *p, const char *end, bool *escaped, const char **why);
/* The first byte that is a control, a quote, a backslash or not ASCII, or `end`. */
const char *evb_json_plain(const char *p, const char *end);
/* The first byte that is no white space. */
static inline const char *evb_json_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}
/* UTF-8 without NUL, and without control characters unless `lines`. */
bool evb_text_good(const char *text, size_t length, bool lines);

/* Undoes the escapes of a checked string's inside, in place; answers the new length. */
size_t evb_json_unescape(char *inside, size_t length);
void evb_json_quote(struct evb_buf *out, const char *text, size_t length); /* with the quotes; bytes
                                                       that are no UTF-8 become U+FFFD */

void evb_base64_write(struct evb_buf *out, const void *bytes,
                      size_t length); /* RFC 4648 section 4 */
/* In place; -1 when it is none. Padding is required, white space is not taken. The text is spoilt.
 */
ptrdiff_t evb_base64_read(char *text, size_t length);

#endif
