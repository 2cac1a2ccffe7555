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
 * wrong, static text, and *at (may be NULL) its byte offset. */
const char *evb_json_check(const char *text, size_t length, size_t *at);

/* Checks one value from `p` on and answers the first byte behind it, NULL with *why if there is none.
 * `p` stands on the value's first byte (no white space). */
const char *evb_json_skip(const char *p, const char *end, const char **why);
const char *evb_json_space(const char *p, const char *end); /* the first byte that is none */

/* Undoes the escapes of a checked string's inside, in place; answers the new length. */
size_t evb_json_unescape(char *inside, size_t length);
void evb_json_quote(struct evb_buf *out, const char *text, size_t length); /* with the quotes; bytes that
                                                       are no UTF-8 become U+FFFD */

void evb_base64_write(struct evb_buf *out, const void *bytes, size_t length); /* RFC 4648 section 4 */
/* In place; -1 when it is none. Padding is required, white space is not taken. */
ptrdiff_t evb_base64_read(char *text, size_t length);

#endif
