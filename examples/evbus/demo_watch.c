/* demo_watch.c - what happens during the demo: this bus's queue, the peer's lines, signals; and the
 * screen. Main thread. */
#include "demo.h"
#include "signals.h"
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <langinfo.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- the screen ---- */

static void clear_live(struct watch *watch)
{
    if (watch->live)
        printf("\r\033[K");
    watch->live = false;
}

void say_title(struct watch *watch, int number, const char *text)
{
    clear_live(watch);
    printf(watch->cli->colour ? "\n\033[1m%d  %s\033[0m\n" : "\n%d  %s\n", number, text);
    fflush(stdout);
}

void say(struct watch *watch, const char *label, const char *format, ...)
{
    va_list args;
    clear_live(watch);
    printf(watch->cli->colour ? "   \033[36m%-8s\033[0m " : "   %-8s ", label);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
}

void say_bar(struct watch *watch, const char *label, int64_t value, int64_t full)
{
    enum { WIDTH = 40 };
    int filled = full > 0 ? (int)(value * WIDTH / full) : 0;
    if (!watch->cli->colour) /* no terminal: only what stays is said */
        return;
    bool utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    const char *full_cell = utf8 ? "\u2588" : "#", *empty_cell = utf8 ? "\u2591" : ".";
    printf("\r\033[K   \033[36m%-8s\033[0m ", label);
    for (int i = 0; i < WIDTH; i++)
        printf("%s", i < filled ? full_cell : empty_cell);
    printf(" %" PRId64, value);
    fflush(stdout);
    watch->live = true;
}

/* ---- events ---- */

void numbered_see(struct numbered *numbered, int64_t number)
{
    numbered->received++;
    if (number <= numbered->last) {
        numbered->doubles++; /* or out of order: neither may be */
        return;
    }
    numbered->missing += number - numbered->last - 1;
    numbered->last = number;
}

static int64_t read_time_us(const char *text)
{
    struct tm tm = {0};
    int ms = 0;
    const char *rest = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
    if (!rest)
        return 0;
    sscanf(rest, ".%3d", &ms);
    return (int64_t)timegm(&tm) * 1000000 + ms * 1000;
}

static const char *text_of(json_t *data, const char *name)
{
    const char *text = json_string_value(json_object_get(data, name));
    return text ? text : "?";
}

static void on_mode(struct watch *watch, const evbus_event *event, json_t *data)
{
    const char *to = text_of(data, "to");
    watch->connected = strcmp(to, "hybrid") == 0;
    if (watch->connected && !watch->since_us)
        watch->since_us = evbus_event_time_us(event);
    say(watch, "mode", "%s -> %s (%s)", text_of(data, "from"), to, text_of(data, "reason"));
}

/* Only the time of the day, for the eye. */
static const char *clock_of(const char *time)
{
    const char *t = strchr(time, 'T');
    return t ? t + 1 : time;
}

static void on_gap(struct watch *watch, json_t *data)
{
    const char *from = text_of(data, "from"), *to = text_of(data, "to");
    say(watch, "gap", "events of others from %s to %s may be missing", clock_of(from),
        clock_of(to));
    if (watch->gap_count < GAPS_MAX)
        watch->gaps[watch->gap_count++] = (struct gap){read_time_us(from), read_time_us(to)};
}

static void on_tick(struct watch *watch, int64_t number)
{
    if (number < 1 || number >= TICKS_MAX)
        return;
    watch->tick_doubles += watch->tick_came[number];
    watch->tick_received += !watch->tick_came[number];
    watch->tick_came[number] = true;
}

static void on_event(struct watch *watch, evbus_event *event, int64_t tag)
{
    const char *type = evbus_event_type(event), *text = evbus_event_data(event, NULL);
    json_t *data = text ? json_loads(text, 0, NULL) : NULL;
    int64_t number = json_integer_value(json_object_get(data, "n"));
    if (tag == TAG_DEMO)
        numbered_see(&watch->local, number);
    else if (tag == TAG_TICK)
        on_tick(watch, number);
    else if (strcmp(type, "evbus.mode") == 0)
        on_mode(watch, event, data);
    else if (strcmp(type, "evbus.gap") == 0)
        on_gap(watch, data);
    json_decref(data);
}

/* ---- the peer's lines ---- */

static void on_line(struct watch *watch, const char *line)
{
    struct numbered *remote = &watch->remote;
    int64_t number = 0, us = 0;
    if (strcmp(line, "ready") == 0)
        watch->peer_ready = true;
    else if (strcmp(line, "gap") == 0)
        watch->peer_gaps++;
    else if (sscanf(line, "tick %" SCNd64 " %" SCNd64, &number, &us) == 2 && number < TICKS_MAX)
        watch->tick_us[watch->tick_sent = number] = us;
    else if (sscanf(line, "report %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64, &remote->received,
                    &remote->missing, &remote->doubles, &remote->last) == 4)
        watch->peer_reported = true;
}

/* 0, or -1 when the peer is gone. */
static int read_lines(struct watch *watch)
{
    ssize_t n = read(watch->peer->from, watch->line + watch->line_length,
                     sizeof watch->line - 1 - watch->line_length);
    if (n <= 0)
        return n < 0 && errno == EINTR ? 0 : -1;
    watch->line_length += (size_t)n;
    watch->line[watch->line_length] = '\0';
    char *line = watch->line, *end;
    while ((end = strchr(line, '\n')) != NULL) {
        *end = '\0';
        on_line(watch, line);
        line = end + 1;
    }
    watch->line_length = strlen(line);
    memmove(watch->line, line, watch->line_length + 1);
    if (watch->line_length == sizeof watch->line - 1)
        watch->line_length = 0; /* no line of the peer's is that long */
    return 0;
}

/* ---- looking ---- */

static int look(struct watch *watch, int64_t ms)
{
    struct pollfd fds[] = {{.fd = evbus_queue_fd(watch->queue), .events = POLLIN},
                           {.fd = signals_fd(), .events = POLLIN},
                           {.fd = watch->peer->from, .events = POLLIN}}; /* -1: none, skipped */
    evbus_event *event;
    int64_t tag;
    poll(fds, 3, (int)ms);
    signals_drain();
    if (signals_end()) {
        clear_live(watch);
        cli_error("ended by a signal");
        return -1;
    }
    while (evbus_queue_next(watch->queue, 0, &event, &tag) == 1) {
        on_event(watch, event, tag);
        evbus_event_unref(event);
    }
    if (fds[2].revents && read_lines(watch) != 0) {
        cli_error("the second process is gone");
        return -1;
    }
    return 0;
}

int watch_pump(struct watch *watch, int64_t ms)
{
    int64_t end_ms = cli_now_ms() + ms;
    do {
        int64_t left_ms = end_ms - cli_now_ms();
        if (look(watch, left_ms > 0 ? left_ms : 0) != 0)
            return -1;
    } while (cli_now_ms() < end_ms);
    return 0;
}

int watch_until(struct watch *watch, bool (*done)(const struct watch *watch), int64_t ms,
                const char *what)
{
    int64_t end_ms = cli_now_ms() + ms;
    while (!done(watch)) {
        if (cli_now_ms() >= end_ms) {
            clear_live(watch);
            cli_error("still not after %g s: %s", (double)ms / 1000, what);
            return -1;
        }
        if (look(watch, 10) != 0)
            return -1;
    }
    return 0;
}
