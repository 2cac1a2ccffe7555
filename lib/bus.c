/* bus.c - the object itself: references, the checks at its door, its modes. Any thread. */
#include "bus.h"
#include "alloc.h"
#include "err.h"
#include <string.h>

static const char *const modes[] = {
    [EVBUS_MODE_CLOSED] = "closed",     [EVBUS_MODE_LOCAL_ONLY] = "local-only",
    [EVBUS_MODE_HYBRID] = "hybrid",     [EVBUS_MODE_REDIS_ONLY] = "redis-only",
    [EVBUS_MODE_DEGRADED] = "degraded",
};

static const char *const features[] = {"redis",    "unix",    "resp2",   "queue",   "report",
                                       "libevent", "tls",     "workers", "history", "history-local",
                                       "batch",    "request", "claim",   "leader",  "poll"};

void evb_bus_ref(struct evbus *bus)
{
    atomic_fetch_add(&bus->refs, 1);
}

void evb_bus_unref(void *memory)
{
    struct evbus *bus = memory;
    if (atomic_fetch_sub(&bus->refs, 1) != 1)
        return;
    evb_registry_fini(&bus->registry);
    evb_log_fini(&bus->log);
    evbus_config_free(bus->config);
    evb_free(bus->prefix);
    evb_free(bus->inbox);
    evb_workers_fini(&bus->workers);
    evb_accumulator_fini(&bus->batches);
    pthread_mutex_destroy(&bus->queues_lock);
    evb_fault_fini(&bus->redis.fault);
    evb_fault_fini(&bus->redis.no_history);
    evb_free(bus);
}

/* Answers constants: a compiler that sees through it knows that no bus (NULL) passes. */
int evb_bus_refuse(const struct evbus *bus)
{
    if (!bus) {
        evb_fail(EVBUS_EINVAL, "no bus (NULL): evbus_open() makes one");
        return EVBUS_EINVAL;
    }
    if (bus->generation != evb_fork_generation()) {
        evb_fail(EVBUS_EFORK, "the bus belongs to the parent process: open one after fork()");
        return EVBUS_EFORK;
    }
    evb_fail(EVBUS_ECLOSED, "the bus is closed");
    return EVBUS_ECLOSED;
}

int evb_bus_may_wait(const struct evbus *bus, const char *call, int timeout_ms)
{
    if (timeout_ms != 0 && evb_loop_is_here(&bus->loop))
        return evb_fail(EVBUS_EDEADLK,
                        "%s on the bus's own loop would wait for itself: use its _async form, or "
                        "timeout 0",
                        call);
    return 0;
}

bool evb_bus_post(struct evbus *bus, struct evb_job *job)
{
    struct evb_thread *thread = evb_thread_self();
    if (thread)
        evb_hazard_hold(thread, &bus->state); /* the loop does not end before it is released */
    else
        atomic_fetch_add(&bus->posting, 1); /* nor before this */
    bool open = atomic_load(&bus->state) != EVB_BUS_CLOSED;
    if (open)
        evb_loop_post(&bus->loop, job);
    if (thread)
        evb_hazard_release(thread);
    else
        atomic_fetch_sub(&bus->posting, 1);
    return open;
}

int evb_bus_ask(struct evbus *bus, struct evb_job *job)
{
    struct evb_thread *thread = evb_thread_self();
    if (!thread)
        return EVBUS_ENOMEM;
    evb_hazard_hold(thread, &bus->state);
    int rc = evb_bus_check(bus, false);
    if (rc == 0)
        evb_loop_post(&bus->loop, job);
    evb_hazard_release(thread);
    return rc;
}

bool evb_bus_is_inbox(const struct evbus *bus, const char *channel)
{
    size_t length = strlen(bus->inbox) - EVB_NODE_LENGTH;
    return strncmp(channel, bus->inbox, length) == 0 && channel[length] != '\0';
}

bool evb_bus_connected(const struct evbus *bus)
{
    return atomic_load(&bus->redis.state) == EVB_REDIS_READY && bus->redis.subs.pending == 0;
}

const char *evbus_version(void)
{
    return EVB_VERSION;
}

int evbus_version_number(void)
{
    return EVBUS_VERSION_NUMBER;
}

int evbus_has(const char *feature)
{
    for (size_t i = 0; feature && i < EVB_COUNT(features); i++)
        if (!strcmp(features[i], feature))
            return 1;
    return 0;
}

int evbus_mode(const evbus *bus)
{
    int rc = evb_bus_check(bus, true);
    return rc != 0 ? rc : atomic_load(&bus->mode);
}

const char *evbus_mode_name(int mode)
{
    return mode >= 0 && mode < (int)EVB_COUNT(modes) ? modes[mode] : "unknown";
}

const char *evbus_node(const evbus *bus)
{
    if (bus)
        return bus->node;
    evb_fail(EVBUS_EINVAL, "evbus_node: no bus (NULL)");
    return NULL;
}

int evbus_set_log(evbus *bus, int level, evbus_log_fn fn, void *user)
{
    if (!bus)
        return evb_log_set_default(level, fn, user);
    int rc = evb_bus_check(bus, true);
    return rc != 0 ? rc : evb_log_set(&bus->log, level, fn, user);
}
