/*
 * bus.h - buses of tests and what hangs on them. Failures end the test; subscriptions are
 * remembered with their bus and given back by bus_end(), so that no handle is left over. The test's
 * main thread.
 */
#ifndef HARNESS_BUS_H
#define HARNESS_BUS_H
#include "harness/server.h"
#include <evbus.h>

/* Settings that lead to this server's socket, and more pairs of key, value; ends with NULL. */
evbus_config *server_config(struct server *server, ...); /* the caller frees */
evbus *server_bus(struct server *server, ...);           /* opened with such settings */
evbus *bus_with(const char *key, ...);                   /* pairs of key, value; ends with NULL */

evbus_sub *bus_subscribe(evbus *bus, const char *pattern, const char *options, evbus_event_fn fn,
                         void *user);
void bus_unsubscribe(evbus_sub *sub);
int bus_publish(evbus *bus, const char *type, const char *json); /* the EVBUS_SENT_* bits */
void bus_forget(evbus_sub *sub);                                 /* somebody else gives it back */
void bus_end(evbus *bus); /* evbus_free(), and gives its subscriptions back */

/* published_redis = acked + failed + unknown + evicted + expired + waiting; at a quiet moment */
void expect_accounts(evbus *bus);
int handle_count(evbus_sub *sub, evbus_event *event, void *user); /* user: atomic_int */

#endif
