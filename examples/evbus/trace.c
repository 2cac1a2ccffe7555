/* trace.c - one correlation id's events across services. Main thread. */
#include "trace.h"
#include "cli.h"
#include "print.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 8, LANE_INDENT = 2, SOURCE_WIDTH = 12, LEFT_WIDTH = 10 + 1 + 11 + 2 };

struct lanes { /* sources in the order of their first event; what comes later shares the last */
    const char *source[LANES]; /* borrowed from the events */
    int count;
};

static int lane_of(struct lanes *lanes, const char *source)
{
    for (int i = 0; i < lanes->count; i++)
        if (strcmp(lanes->source[i], source) == 0)
            return i;
    if (lanes->count == LANES)
        return LANES - 1;
    lanes->source[lanes->count] = source;
    return lanes->count++;
}

/* "12.3 ms", "1.250 s", "2m03s", "1h02m" */
static void span_text(char *out, size_t room, const char *sign, int64_t us)
{
    int64_t seconds = us / 1000000;
    if (us < 1000000)
        snprintf(out, room, "%s%.1f ms", sign, (double)us / 1000);
    else if (seconds < 60)
        snprintf(out, room, "%s%.3f s", sign, (double)us / 1000000);
    else if (seconds < 3600)
        snprintf(out, room, "%s%" PRId64 "m%02" PRId64 "s", sign, seconds / 60, seconds % 60);
    else
        snprintf(out, room, "%s%" PRId64 "h%02" PRId64 "m", sign, seconds / 3600,
                 seconds / 60 % 60);
}

/* The event in print.h's format, in `width` columns at most, "..." for what is left out. */
static void put_cut(FILE *out, const char *format, evbus_event *event, int width, bool pad)
{
    char *text = NULL;
    size_t length, end = 0, cut = 0;
    int columns = 0;
    FILE *memory = open_memstream(&text, &length);
    if (!memory)
        return;
    print_format(memory, format, event);
    if (fclose(memory) == 0 && length > 0) {
        length--; /* the line's end */
        for (; end < length; end++) {
            bool starts = ((unsigned char)text[end] & 0xc0) != 0x80;
            if (starts && columns == width)
                break;
            if (starts && columns <= width - 3)
                cut = end;
            columns += starts;
        }
        if (end < length)
            fprintf(out, "%.*s...", (int)cut, text);
        else
            fwrite(text, 1, end, out);
        if (pad)
            fprintf(out, "%*s", width - columns, "");
    }
    free(text);
}

void trace_print(FILE *out, evbus_event **events, int count, int width)
{
    struct lanes lanes = {.count = 0};
    char since_first[32], since_last[32];
    if (count == 0)
        return;
    int64_t first_us = evbus_event_time_us(events[0]), last_us = first_us;
    print_format(out, "%c from %T on", events[0]);
    for (int i = 0; i < count; i++) {
        int64_t us = evbus_event_time_us(events[i]);
        int indent = LANE_INDENT * lane_of(&lanes, evbus_event_source(events[i]));
        span_text(since_first, sizeof since_first, "", us - first_us);
        span_text(since_last, sizeof since_last, "+", us - last_us);
        last_us = us;
        fprintf(out, "%10s %11s  ", since_first, i ? since_last : "");
        put_cut(out, "%s", events[i], SOURCE_WIDTH, true);
        fprintf(out, " %*s", indent, "");
        put_cut(out, "%t %d", events[i], width - LEFT_WIDTH - SOURCE_WIDTH - 1 - indent, false);
        putc('\n', out);
    }
}

/* ---- envelopes in a file ---- */

/* Behind those that are not later: what was written down is nearly in order. */
static int add(evbus_event ***events, int count, evbus_event *event)
{
    int at = count;
    if ((count & (count - 1)) == 0) { /* full at each power of two */
        size_t room = count ? (size_t)count * 2 : 1;
        evbus_event **more = realloc(*events, room * sizeof *more);
        if (!more)
            return -1;
        *events = more;
    }
    for (; at > 0 && evbus_event_time_us((*events)[at - 1]) > evbus_event_time_us(event); at--)
        (*events)[at] = (*events)[at - 1];
    (*events)[at] = event;
    return count + 1;
}

static int read_lines(FILE *file, const char *correlation, evbus_event ***events, int *bad)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    int count = 0;
    for (int number = 1; count >= 0 && (length = getline(&line, &room, file)) >= 0; number++) {
        length -= length > 0 && line[length - 1] == '\n';
        if (length == 0)
            continue;
        evbus_event *event = evbus_event_from_json(line, (size_t)length);
        if (!event) {
            cli_error("line %d: %s", number, evbus_last_error());
            ++*bad;
        } else if (strcmp(evbus_event_correlation(event), correlation) != 0) {
            evbus_event_unref(event);
        } else {
            count = add(events, count, event);
        }
    }
    free(line);
    return ferror(file) ? -1 : count;
}

int trace_read(const char *path, const char *correlation, evbus_event ***events, int *bad)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "re");
    *events = NULL;
    *bad = 0;
    int count = file ? read_lines(file, correlation, events, bad) : -1;
    if (count < 0)
        cli_error("%s: %s", path, strerror(errno));
    if (file && !is_stdin)
        fclose(file);
    return count;
}
