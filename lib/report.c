/* report.c - what the bus tells of itself: counters, health and statistics as JSON. Any thread. */
#include "alloc.h"
#include "bus.h"
#include "clock.h"
#include "err.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t gauge_outbox_events(const struct evbus *bus)
{
    return atomic_load(&bus->redis.outbox.owed.events);
}

static int64_t gauge_outbox_bytes(const struct evbus *bus)
{
    return evb_outbox_bytes(&bus->redis.outbox);
}

static int64_t gauge_batch_events(const struct evbus *bus)
{
    return atomic_load(&bus->batches.waiting);
}

static int64_t gauge_requests(const struct evbus *bus)
{
    return atomic_load(&bus->requests);
}

static int64_t gauge_subscriptions(const struct evbus *bus)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&bus->registry.lock;
    pthread_mutex_lock(lock);
    int64_t count = (int64_t)bus->registry.sub_count;
    pthread_mutex_unlock(lock);
    return count;
}

static int64_t gauge_workers(const struct evbus *bus)
{
    return evb_workers_running(&bus->workers);
}

static int64_t gauge_lag(const struct evbus *bus)
{
    return evb_loop_lag_ms(&bus->loop) * 1000;
}

static int64_t gauge_lag_max(const struct evbus *bus)
{
    return evb_loop_longest_ms(&bus->loop) * 1000;
}

static int64_t gauge_rtt(const struct evbus *bus)
{
    return atomic_load(&bus->redis.rtt_us);
}

static int64_t gauge_uptime(const struct evbus *bus)
{
    return evb_clock_mono_ms() - bus->opened_ms;
}

static const struct {
    const char *name;
    int64_t (*read)(const struct evbus *bus);
} gauges[] = {
    {"outbox_events", gauge_outbox_events},
    {"outbox_bytes", gauge_outbox_bytes},
    {"batch_events", gauge_batch_events},
    {"requests_pending", gauge_requests},
    {"subscriptions", gauge_subscriptions},
    {"workers", gauge_workers},
    {"rtt_us", gauge_rtt},
    {"loop_lag_us", gauge_lag},
    {"loop_lag_max_us", gauge_lag_max},
    {"uptime_ms", gauge_uptime},
};

int64_t evbus_stat(const evbus *bus, const char *name)
{
    int rc = evb_bus_check(bus, true);
    if (rc != 0)
        return rc;
    if (!name)
        return evb_fail(EVBUS_EINVAL, "evbus_stat: no name (NULL)");
    for (int i = 0; i < EVB_COUNTER_COUNT; i++)
        if (!strcmp(evb_metrics_name((enum evb_counter)i), name))
            return evb_metrics_read(&bus->metrics, (enum evb_counter)i);
    for (size_t i = 0; i < EVB_COUNT(gauges); i++)
        if (!strcmp(gauges[i].name, name))
            return gauges[i].read(bus);
    return evb_fail(EVBUS_ENOENT, "no statistic is called %s: evbus_stats_json() lists them", name);
}

/* jansson's text in this library's memory; takes the reference. */
static char *dump(json_t *json)
{
    char *text = json ? json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    char *copy = text ? evb_strdup(text) : NULL;
    json_decref(json);
    free(text);
    if (!copy)
        evb_fail_memory();
    return copy;
}

/* Names, paths and the server's words may be any bytes; JSON takes UTF-8 alone. */
static json_t *json_text(const char *text)
{
    json_t *json = json_string(text);
    char *ascii = json ? NULL : evb_strdup(text);
    for (char *p = ascii; p && *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    if (ascii)
        json = json_string(ascii);
    evb_free(ascii);
    return json;
}

static json_t *sub_row(const evbus_sub *sub)
{
    static const char *const stats[] = {"delivered", "failed", "dropped", "queued",
                                        "peak",      "polled", "leading"};
    static const char *const wires[] = {"local", "pending", "live", "refused"};
    pthread_mutex_lock(&sub->entry->registry->lock);
    int wire = sub->scope & EVB_FROM_REDIS ? sub->entry->wire : EVB_WIRE_NONE;
    pthread_mutex_unlock(&sub->entry->registry->lock);
    json_t *row =
        json_pack("{s:o, s:s}", "pattern", json_text(sub->entry->pattern), "redis", wires[wire]);
    for (size_t i = 0; row && i < EVB_COUNT(stats); i++)
        json_object_set_new(row, stats[i], json_integer(evbus_sub_stat(sub, stats[i])));
    if (row)
        json_object_set_new(row, "slow", json_boolean(evbus_sub_stat(sub, "slow") == 1));
    return row;
}

char *evbus_stats_json(const evbus *bus)
{
    if (evb_bus_check(bus, true) != 0)
        return NULL;
    json_t *json = json_object(), *rows = json_array();
    json_object_set_new(json, "bus", json_text(bus->source));
    json_object_set_new(json, "node", json_string(bus->node));
    json_object_set_new(json, "version", json_string(evbus_version()));
    json_object_set_new(json, "mode", json_string(evbus_mode_name(atomic_load(&bus->mode))));
    for (int i = 0; i < EVB_COUNTER_COUNT; i++)
        json_object_set_new(json, evb_metrics_name((enum evb_counter)i),
                            json_integer(evb_metrics_read(&bus->metrics, (enum evb_counter)i)));
    for (size_t i = 0; i < EVB_COUNT(gauges); i++)
        json_object_set_new(json, gauges[i].name, json_integer(gauges[i].read(bus)));
    size_t count;
    evbus_sub **subs = evb_registry_list((struct evb_registry *)&bus->registry, &count);
    bool failed = !subs;
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(rows, sub_row(subs[i]));
        evb_sub_unref(subs[i]);
    }
    evb_free(subs);
    json_object_set_new(json, "per_subscription", rows);
    if (failed) {
        json_decref(json);
        json = NULL;
    }
    return dump(json);
}

static json_t *redis_health(const struct evbus *bus)
{
    static const char *const verify[] = {"full", "ca", "none"};
    const struct evb_redis *redis = &bus->redis;
    char address[600] = "", error[EVB_FAULT_TEXT];
    enum evb_redis_state state = (enum evb_redis_state)atomic_load(&redis->state);
    int64_t rtt_us = atomic_load(&redis->rtt_us), retry_ms = atomic_load(&redis->retry_at_ms);
    if (bus->wants_redis && redis->set.path[0])
        snprintf(address, sizeof address, "unix:%s", redis->set.path);
    else if (bus->wants_redis)
        snprintf(address, sizeof address, "%s:%d", redis->set.host, redis->set.port);
    int code = evb_fault_read((struct evb_fault *)&redis->fault, error, sizeof error);
    json_t *json = json_pack("{s:b, s:o, s:b, s:s, s:I}", "connected", state == EVB_REDIS_READY,
                             "address", json_text(address), "tls", redis->set.tls.enabled, "state",
                             evb_redis_state_name(state), "attempts",
                             (json_int_t)atomic_load(&redis->attempts));
    if (!json)
        return NULL;
    json_object_set_new(json, "role",
                        state == EVB_REDIS_READY ? json_string("master") : json_null());
    json_object_set_new(json, "latency_ms",
                        rtt_us < 0 ? json_null() : json_real((double)rtt_us / 1000.0));
    int64_t left_ms = retry_ms - evb_clock_mono_ms();
    json_object_set_new(json, "retry_in_ms",
                        retry_ms ? json_integer(left_ms > 0 ? left_ms : 0) : json_null());
    json_object_set_new(json, "tls_verify",
                        redis->set.tls.enabled ? json_string(verify[redis->set.tls.verify])
                                               : json_null());
    json_object_set_new(json, "error_code", json_integer(code));
    json_object_set_new(json, "last_error", error[0] ? json_text(error) : json_null());
    return json;
}

static json_t *history_health(const struct evbus *bus)
{
    const struct evb_redis *redis = &bus->redis;
    char reason[EVB_FAULT_TEXT] = "";
    const char *state = evb_stream_state_name(&redis->stream);
    if (atomic_load(&redis->stream.state) == EVB_STREAM_LACKING)
        evb_fault_read((struct evb_fault *)&redis->no_history, reason, sizeof reason);
    return json_pack("{s:b, s:s, s:o}", "enabled", bus->keeps_history, "state", state, "reason",
                     reason[0] ? json_text(reason) : json_null());
}

static bool count_scopes(const struct evbus *bus, int64_t *local, int64_t *remote)
{
    size_t count;
    evbus_sub **subs = evb_registry_list((struct evb_registry *)&bus->registry, &count);
    *local = *remote = 0;
    for (size_t i = 0; i < count; i++) {
        *local += (subs[i]->scope & EVB_FROM_LOCAL) != 0;
        *remote += bus->wants_redis && (subs[i]->scope & EVB_FROM_REDIS);
        evb_sub_unref(subs[i]);
    }
    bool listed = subs != NULL;
    evb_free(subs);
    return listed;
}

int evbus_ready(const evbus *bus)
{
    if (evb_bus_check(bus, true) != 0)
        return 0;
    int mode = atomic_load(&bus->mode);
    return mode != EVBUS_MODE_CLOSED &&
           (mode != EVBUS_MODE_DEGRADED ||
            !evb_config_number(bus->config, EVB_CFG_HEALTH_REQUIRE_REDIS));
}

char *evbus_health_json(const evbus *bus)
{
    int64_t local, remote;
    if (evb_bus_check(bus, true) != 0)
        return NULL;
    int mode = atomic_load(&bus->mode), ready = evbus_ready(bus);
    bool connected = atomic_load(&bus->redis.state) == EVB_REDIS_READY;
    if (!count_scopes(bus, &local, &remote)) {
        evb_fail_memory();
        return NULL;
    }
    const char *status = mode == EVBUS_MODE_CLOSED     ? "unhealthy"
                         : mode == EVBUS_MODE_DEGRADED ? (ready ? "degraded" : "unhealthy")
                                                       : "healthy";
    json_t *json =
        json_pack("{s:s, s:b, s:b, s:s, s:o, s:o, s:{s:I, s:I}, s:{s:I, s:I}, s:I, s:s, s:s, "
                  "s:{s:{s:b, s:b}}}",
                  "status", status, "live", mode != EVBUS_MODE_CLOSED, "ready", ready, "mode",
                  evbus_mode_name(mode), "redis", redis_health(bus), "history", history_health(bus),
                  "subscriptions", "local", (json_int_t)local, "redis", (json_int_t)remote,
                  "outbox", "events", (json_int_t)gauge_outbox_events(bus), "limit",
                  (json_int_t)bus->redis.outbox.max_events, "uptime_ms",
                  (json_int_t)gauge_uptime(bus), "version", evbus_version(), "node", bus->node,
                  "checks", "eventBus", "connected", connected, "redisEnabled", bus->wants_redis);
    return dump(json);
}
