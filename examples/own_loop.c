/*
 * own_loop.c - a bus on this program's own libevent loop: no further thread, handlers run between
 * the program's other callbacks and need no lock. Needs libevent to link.
 */
#include <evbus_libevent.h>
#include <event2/event.h>
#include <stdio.h>

enum { TICKS = 3 };

struct app {
    struct event_base *base;
    evbus *bus;
    evbus_sub *sub;
    struct event *timer;
    int ticks;
};

static int on_tick(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub, (void)user;
    printf("%s %s\n", evbus_event_type(event), evbus_event_data(event, NULL));
    return 0;
}

static void on_closed(int result, void *user)
{
    struct app *app = user;
    printf("closed: %s\n", evbus_strerror(result));
    event_base_loopbreak(app->base);
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
    struct app *app = user;
    char json[32];
    (void)fd, (void)what;
    if (app->ticks == TICKS) {
        event_del(app->timer);
        evbus_close_async(app->bus, 1000, on_closed,
                          app); /* evbus_close() would wait for this loop */
        return;
    }
    snprintf(json, sizeof json, "{\"n\":%d}", ++app->ticks);
    evbus_publish(app->bus, "clock.tick", json);
}

int main(void)
{
    struct timeval period = {.tv_usec = 50000};
    struct app app = {.base = event_base_new()};
    app.bus = evbus_open_on(app.base, NULL);
    app.sub = evbus_subscribe(app.bus, "clock.>", NULL, on_tick, NULL);
    app.timer = event_new(app.base, -1, EV_PERSIST, on_timer, &app);
    if (!app.sub || !app.timer) {
        fprintf(stderr, "%s\n", evbus_last_error());
        return 1;
    }
    event_add(app.timer, &period);
    event_base_dispatch(app.base);
    evbus_unsubscribe(app.sub);
    evbus_free(app.bus);
    event_free(app.timer);
    event_base_free(app.base);
    return 0;
}
