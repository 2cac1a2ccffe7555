/* waiter.c - those who wait on the loop. */
#include "waiter.h"
#include "alloc.h"
#include "err.h"
#include <event2/event.h>

struct evb_waiter *evb_waiter_new(struct evbus *bus, void (*run)(struct evb_job *),
                                  evbus_done_fn fn, void *user)
{
    struct evb_waiter *waiter = evb_calloc(1, sizeof *waiter);
    if (!waiter) {
        evb_fail_memory();
        return NULL;
    }
    evb_list_init(&waiter->node);
    evb_bus_ref(bus);
    waiter->job.run = run;
    waiter->bus = bus;
    waiter->fn = fn;
    waiter->user = user;
    waiter->timeout_ms = -1;
    return waiter;
}

void evb_waiter_post(struct evb_waiter *waiter)
{
    evb_loop_post(&waiter->bus->loop, &waiter->job);
}

struct evb_waiter *evb_waiter_of(struct evb_job *job)
{
    return evb_container(job, struct evb_waiter, job);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct evb_waiter *waiter = arg;
    struct evbus *bus = waiter->bus;
    (void)fd;
    (void)what;
    evb_bus_ref(bus);
    evb_loop_begin(&bus->loop);
    evb_waiter_end(waiter, EVBUS_ETIMEDOUT);
    evb_loop_end(&bus->loop);
    evb_bus_unref(bus);
}

void evb_waiter_add(struct evb_waiter *waiter, struct evb_node *list)
{
    evb_list_push(list, &waiter->node);
    if (waiter->timeout_ms < 0)
        return;
    struct timeval in = {waiter->timeout_ms / 1000, waiter->timeout_ms % 1000 * 1000};
    waiter->timer = event_new(waiter->bus->loop.base, -1, 0, on_timer, waiter);
    if (!waiter->timer || event_add(waiter->timer, &in) != 0)
        evb_waiter_end(waiter, evb_fail_memory());
}

void evb_waiter_end(struct evb_waiter *waiter, int result)
{
    struct evb_thread *thread = evb_thread_self();
    evb_list_remove(&waiter->node);
    if (waiter->timer)
        event_free(waiter->timer);
    if (thread)
        thread->callbacks++;
    if (waiter->fn)
        waiter->fn(result, waiter->user);
    if (thread)
        thread->callbacks--;
    evb_bus_unref(waiter->bus);
    evb_free(waiter);
}

void evb_waiter_end_all(struct evb_node *list, int result)
{
    while (!evb_list_empty(list))
        evb_waiter_end(evb_container(list->next, struct evb_waiter, node), result);
}
