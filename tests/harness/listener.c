/* listener.c - a node that goes away and comes back. */
#include "harness/listener.h"
#include "harness/bus.h"
#include "harness/until.h"
#include "harness/check.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON = 15000 };

static int on_event(evbus_sub *sub, evbus_event *event, void *user)
{
    struct listener *listener = user;
    bool replayed = evbus_event_origin(event) == EVBUS_ORIGIN_REPLAY;
    atomic_fetch_add(replayed ? &listener->replayed : &listener->live, 1);
    return recorder_handle(sub, event, &listener->got);
}

static int on_gap(evbus_sub *sub, evbus_event *event, void *user)
{
    struct listener *listener = user;
    json_t *json = json_loads(evbus_event_data(event, NULL), 0, NULL);
    (void)sub;
    pthread_mutex_lock(&listener->lock);
    if (listener->gap_count < LISTENER_GAPS)
        listener->gaps[listener->gap_count++] = gap_read(json);
    pthread_mutex_unlock(&listener->lock);
    json_decref(json);
    return 0;
}

void listener_open(struct listener *listener, struct server *server, const char *pattern, ...)
{
    evbus_config *config =
        server_config(server, "bus.name", "listener", "reconnect.max.retries", "0", NULL);
    const char *key;
    va_list args;
    va_start(args, pattern);
    while ((key = va_arg(args, const char *)))
        if (evbus_config_set(config, key, va_arg(args, const char *)) != 0)
            ck_abort_msg("%s", evbus_last_error());
    va_end(args);
    memset(listener, 0, sizeof *listener);
    listener->server = server;
    recorder_init(&listener->got);
    pthread_mutex_init(&listener->lock, NULL);
    listener->bus = evbus_open(config);
    evbus_config_free(config);
    ck_assert_msg(listener->bus != NULL, "%s", evbus_last_error());
    bus_subscribe(listener->bus, "evbus.gap", NULL, on_gap, listener);
    bus_subscribe(listener->bus, pattern, NULL, on_event, listener);
    if (server->pid)
        expect_connected(listener->bus, SOON);
}

/* The ids of its connections, by the name that it gave them. */
void listener_cut(struct listener *listener)
{
    int64_t breaks = evbus_stat(listener->bus, "disconnects");
    char *list = server_text(listener->server, "CLIENT LIST"), *state = NULL;
    for (char *line = strtok_r(list, "\n", &state); line; line = strtok_r(NULL, "\n", &state))
        if (strstr(line, " name=listener "))
            server_command(listener->server, "CLIENT KILL ID %ld", strtol(line + 3, NULL, 10));
    free(list);
    expect_stat(listener->bus, "disconnects", breaks + 1, SOON);
    expect_mode(listener->bus, EVBUS_MODE_DEGRADED, SOON);
}

void listener_back(struct listener *listener)
{
    ck_assert_int_eq(evbus_reconnect(listener->bus), 0);
    expect_connected(listener->bus, SOON);
}

void listener_drop(struct listener *listener)
{
    listener_cut(listener);
    listener_back(listener);
}

void listener_expect(struct listener *listener, int publisher, int number)
{
    struct wait wait = wait_for(SOON);
    while (!recorder_has(&listener->got, publisher, number) && wait_more(&wait))
        ;
    ck_assert_msg(recorder_has(&listener->got, publisher, number),
                  "event %d/%d never came; %ld others did, by replay %d", publisher, number,
                  recorder_received(&listener->got), atomic_load(&listener->replayed));
}

int listener_gap_count(struct listener *listener)
{
    pthread_mutex_lock(&listener->lock);
    int count = listener->gap_count;
    pthread_mutex_unlock(&listener->lock);
    return count;
}

struct gap listener_gap(struct listener *listener, int index)
{
    pthread_mutex_lock(&listener->lock);
    struct gap gap = listener->gaps[index];
    pthread_mutex_unlock(&listener->lock);
    return gap;
}

void listener_expect_no_gap(struct listener *listener)
{
    if (listener_gap_count(listener))
        ck_abort_msg("%d gaps, the first %s", listener_gap_count(listener),
                     listener_gap(listener, 0).cause);
}

void listener_await_gap(struct listener *listener)
{
    struct wait wait = wait_for(SOON);
    while (!listener_gap_count(listener) && wait_more(&wait))
        ;
}

struct gap listener_expect_gap(struct listener *listener, const char *cause, int64_t from_us,
                               int64_t to_us)
{
    listener_await_gap(listener);
    int count = listener_gap_count(listener);
    ck_assert_msg(count == 1, "%d gaps instead of one: %s", count,
                  count ? listener_gap(listener, count - 1).cause : "none");
    struct gap gap = listener_gap(listener, 0);
    ck_assert_str_eq(gap.cause, cause);
    ck_assert_msg(gap.from_us <= from_us && gap.to_us >= to_us,
                  "the gap is %lld to %lld, what was lost %lld to %lld", (long long)gap.from_us,
                  (long long)gap.to_us, (long long)from_us, (long long)to_us);
    return gap;
}

void listener_close(struct listener *listener)
{
    bus_end(listener->bus);
    recorder_fini(&listener->got);
    pthread_mutex_destroy(&listener->lock);
}
