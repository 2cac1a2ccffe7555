/* buf.h - a growing byte buffer. One owner, no lock. A failed growth sticks: check once at the end.
 */
#ifndef EVB_BUF_H
#define EVB_BUF_H
#include <stdbool.h>
#include <stddef.h>

struct evb_buf {
    char *data; /* owned; NUL behind the last byte once anything was written */
    size_t length;
    size_t room;
    bool failed; /* memory ran out: contents are short */
    bool fixed;  /* data is somebody else's and does not grow */
};

void evb_buf_init(struct evb_buf *buf);
void evb_buf_fini(struct evb_buf *buf);
bool evb_buf_reserve(struct evb_buf *buf, size_t more);
void evb_buf_add(struct evb_buf *buf, const void *bytes, size_t length);
void evb_buf_text(struct evb_buf *buf, const char *text);
void evb_buf_char(struct evb_buf *buf, char c);
void evb_buf_printf(struct evb_buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
char *evb_buf_take(struct evb_buf *buf); /* the text, now the caller's; NULL if growth had failed */

#endif
