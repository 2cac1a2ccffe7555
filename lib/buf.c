/* buf.c - a growing byte buffer. One owner. */
#include "buf.h"
#include "alloc.h"
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

void evb_buf_init(struct evb_buf *buf)
{
    *buf = (struct evb_buf){0};
}

void evb_buf_fini(struct evb_buf *buf)
{
    evb_free(buf->data);
    *buf = (struct evb_buf){0};
}

bool evb_buf_reserve(struct evb_buf *buf, size_t more)
{
    if (buf->failed)
        return false;
    if (more < buf->room - buf->length)
        return true;
    size_t need = buf->length + more + 1, room = buf->room * 2 < 64 ? 64 : buf->room * 2;
    if (buf->fixed || need <= more || buf->room > SIZE_MAX / 2) {
        buf->failed = true;
        return false;
    }
    room = room < need ? need : room;
    char *data = evb_resize(buf->data, room);
    if (!data) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->room = room;
    return true;
}

void evb_buf_add(struct evb_buf *buf, const void *bytes, size_t length)
{
    if (!evb_buf_reserve(buf, length))
        return;
    if (length)
        memcpy(buf->data + buf->length, bytes, length);
    buf->length += length;
    buf->data[buf->length] = '\0';
}

void evb_buf_text(struct evb_buf *buf, const char *text)
{
    evb_buf_add(buf, text, strlen(text));
}

void evb_buf_char(struct evb_buf *buf, char c)
{
    evb_buf_add(buf, &c, 1);
}

void evb_buf_printf(struct evb_buf *buf, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0)
        buf->failed = true;
    else if (evb_buf_reserve(buf, (size_t)n)) {
        vsnprintf(buf->data + buf->length, (size_t)n + 1, format, again);
        buf->length += (size_t)n;
    }
    va_end(again);
}

char *evb_buf_take(struct evb_buf *buf)
{
    evb_buf_add(buf, "", 0);
    if (buf->failed) {
        evb_buf_fini(buf);
        return NULL;
    }
    char *data = buf->data;
    *buf = (struct evb_buf){0};
    return data;
}
