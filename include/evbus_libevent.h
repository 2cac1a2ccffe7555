/*
 * evbus_libevent.h - a bus on the caller's own libevent loop.
 */
#ifndef EVBUS_LIBEVENT_H
#define EVBUS_LIBEVENT_H
#include <evbus.h>
#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

struct event_base;

/*
 * evbus_open() without a thread of its own: handlers, reports and the link to Redis run wherever
 * `base` is dispatched. Call it on that thread, or before the base runs; the base is borrowed and
 * outlives the bus. evbus_free() is called on the base's thread, or when the base has stopped.
 * Waiting calls say EVBUS_EDEADLK on the base's thread: use the `_async` forms there. (libevent
 * book, R1 and R2.)
 */
evbus *evbus_open_on(struct event_base *base, const evbus_config *config);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
