/* bus.c - buses of tests. */
#include "harness/bus.h"
#include "harness/check.h"
#include <jansson.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { SUBS_MOST = 256 };

static struct {
    evbus *bus;
    evbus_sub *sub;
} subs[SUBS_MOST];

static void set_pairs(evbus_config *config, va_list args)
{
    const char *key;
    while ((key = va_arg(args, const char *)))
        if (evbus_config_set(config, key, va_arg(args, const char *)) != 0)
            ck_abort_msg("%s", evbus_last_error());
}

static evbus *open_and_free(evbus_config *config)
{
    evbus *bus = evbus_open(config);
    evbus_config_free(config);
    if (!bus)
        ck_abort_msg("evbus_open: %s", evbus_last_error());
    return bus;
}

static evbus_config *config_for(struct server *server, va_list args)
{
    evbus_config *config = evbus_config_new();
    ck_assert_ptr_nonnull(config);
    ck_assert_int_eq(evbus_config_set(config, "redis.path", server->socket), 0);
    set_pairs(config, args);
    return config;
}

evbus_config *server_config(struct server *server, ...)
{
    va_list args;
    va_start(args, server);
    evbus_config *config = config_for(server, args);
    va_end(args);
    return config;
}

evbus *server_bus(struct server *server, ...)
{
    va_list args;
    va_start(args, server);
    evbus_config *config = config_for(server, args);
    va_end(args);
    return open_and_free(config);
}

evbus *bus_with(const char *key, ...)
{
    evbus_config *config = evbus_config_new();
    va_list args;
    ck_assert_ptr_nonnull(config);
    va_start(args, key);
    if (key) {
        if (evbus_config_set(config, key, va_arg(args, const char *)) != 0)
            ck_abort_msg("%s", evbus_last_error());
        set_pairs(config, args);
    }
    va_end(args);
    return open_and_free(config);
}

evbus_sub *bus_subscribe(evbus *bus, const char *pattern, const char *options, evbus_event_fn fn,
                         void *user)
{
    int slot = 0;
    while (slot < SUBS_MOST && subs[slot].sub)
        slot++;
    ck_assert_int_lt(slot, SUBS_MOST);
    evbus_sub *sub = evbus_subscribe(bus, pattern, options, fn, user);
    if (!sub)
        ck_abort_msg("subscribe %s %s: %s", pattern, options ? options : "", evbus_last_error());
    subs[slot].bus = bus;
    return subs[slot].sub = sub;
}

void bus_forget(evbus_sub *sub)
{
    for (int i = 0; i < SUBS_MOST; i++)
        if (subs[i].sub == sub)
            subs[i].sub = NULL;
}

void bus_unsubscribe(evbus_sub *sub)
{
    bus_forget(sub);
    ck_assert_int_eq(evbus_unsubscribe(sub), 0);
}

void bus_end(evbus *bus)
{
    evbus_free(bus);
    for (int i = 0; i < SUBS_MOST; i++)
        if (subs[i].sub && subs[i].bus == bus)
            bus_unsubscribe(subs[i].sub);
}

int bus_publish(evbus *bus, const char *type, const char *json)
{
    int sent = evbus_publish(bus, type, json);
    if (sent <= 0)
        ck_abort_msg("publish %s: %d %s", type, sent, evbus_last_error());
    return sent;
}

int handle_count(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    atomic_fetch_add((atomic_int *)user, 1);
    return 0;
}

void expect_accounts(evbus *bus)
{
    static const char *const parts[] = {"acked",   "failed_redis", "unknown",
                                        "evicted", "expired",      "outbox_events"};
    char *text = evbus_stats_json(bus);
    json_t *json = text ? json_loads(text, 0, NULL) : NULL;
    long long sum = 0, total = json_integer_value(json_object_get(json, "published_redis"));
    ck_assert_ptr_nonnull(json);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        sum += json_integer_value(json_object_get(json, parts[i]));
    ck_assert_msg(sum == total, "accounts: %lld accepted for Redis, %lld accounted for: %s", total,
                  sum, text);
    json_decref(json);
    evbus_string_free(text);
}
