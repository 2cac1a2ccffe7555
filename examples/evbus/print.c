/* print.c - one event as one line. Main thread. */
#include "print.h"
#include <string.h>

/* How many bytes from `text` on are one character beyond ASCII that may be shown; 0: escape the
 * byte. C1, U+0080 to U+009F, are control characters to a terminal too. */
static size_t wide(const unsigned char *text, size_t length)
{
    size_t size = text[0] >= 0xc2 && text[0] < 0xe0   ? 2
                  : text[0] >= 0xe0 && text[0] < 0xf0 ? 3
                  : text[0] >= 0xf0 && text[0] < 0xf5 ? 4
                                                      : 0;
    if (size > length || (text[0] == 0xc2 && text[1] < 0xa0))
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    return size;
}

/* Control characters could drive the reader's terminal, and a line end would look like another
 * event. In JSON they can stand only between tokens. */
static void put_safe(FILE *out, const char *text, size_t length, bool json)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t size;
    for (size_t i = 0; i < length; i += size) {
        unsigned char byte = bytes[i];
        bool plain = byte >= ' ' && byte < 0x7f;
        size = byte < 0x80 ? 0 : wide(bytes + i, length - i);
        if (size > 0 || plain)
            fwrite(bytes + i, 1, size > 0 ? size : 1, out);
        else if (json && (byte == '\n' || byte == '\r' || byte == '\t'))
            putc(' ', out);
        else
            fprintf(out, "\\x%02x", byte);
        size += size == 0;
    }
}

static void put_text(FILE *out, const char *text)
{
    text = text && text[0] ? text : "-";
    put_safe(out, text, strlen(text), false);
}

static void put_data(FILE *out, evbus_event *event)
{
    size_t length = 0;
    const char *data = evbus_event_data(event, &length);
    if (data)
        put_safe(out, data, length, evbus_event_is_json(event) == 1);
}

const char *print_origin(const evbus_event *event)
{
    return evbus_event_origin(event) == EVBUS_ORIGIN_LOCAL ? "local" : "redis";
}

/* ---- --format ---- */

static const char conversions[] = "tdiscTno%";

const char *print_format_check(const char *format)
{
    for (const char *p = format; (p = strchr(p, '%')) != NULL; p += 2)
        if (p[1] == '\0' || !strchr(conversions, p[1]))
            return p + 1;
    return NULL;
}

static void put_conversion(FILE *out, char letter, evbus_event *event)
{
    switch (letter) {
    case 't':
        put_text(out, evbus_event_type(event));
        break;
    case 'd':
        put_data(out, event);
        break;
    case 'i':
        put_text(out, evbus_event_id(event));
        break;
    case 's':
        put_text(out, evbus_event_source(event));
        break;
    case 'c':
        put_text(out, evbus_event_correlation(event));
        break;
    case 'T':
        put_text(out, evbus_event_timestamp(event));
        break;
    case 'n':
        put_text(out, evbus_event_node(event));
        break;
    case 'o':
        put_text(out, print_origin(event));
        break;
    default:
        putc('%', out);
    }
}

void print_format(FILE *out, const char *format, evbus_event *event)
{
    for (const char *p = format; *p; p++) {
        if (*p == '%')
            put_conversion(out, *++p, event);
        else if (*p == '\\' && (p[1] == 'n' || p[1] == 't'))
            putc(*++p == 'n' ? '\n' : '\t', out);
        else
            putc(*p, out);
    }
    putc('\n', out);
}

/* ---- the other two forms ---- */

void print_line(FILE *out, evbus_event *event, bool colour)
{
    if (colour)
        fprintf(out, "\033[2m");
    put_text(out, evbus_event_timestamp(event));
    fprintf(out, colour ? "\033[0m \033[1;36m" : " ");
    put_text(out, evbus_event_type(event));
    fprintf(out, colour ? "\033[0m " : " ");
    put_data(out, event);
    putc('\n', out);
}

void print_json(FILE *out, evbus_event *event)
{
    char *json = evbus_event_to_json(event);
    if (!json)
        return;
    for (char *p = json; (p = strpbrk(p, "\n\r\t")) != NULL;)
        *p = ' ';
    fprintf(out, "%s\n", json);
    evbus_string_free(json);
}
