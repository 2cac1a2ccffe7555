/* default.c - the process's bus, and the door through which any bus goes. Any thread. */
#include "close.h"
#include "config.h"
#include "ending.h"
#include "fork.h"

static pthread_mutex_t default_lock = PTHREAD_MUTEX_INITIALIZER;
static evbus *default_bus; /* under default_lock */

void evbus_free(evbus *bus)
{
    if (!bus)
        return;
    if (bus->generation == evb_fork_generation()) {
        pthread_mutex_lock(&default_lock);
        if (default_bus == bus)
            default_bus = NULL;
        pthread_mutex_unlock(&default_lock);
    }
    evb_bus_free(bus);
}

/* The thread that held the lock is not there in the child. */
static void forked(void)
{
    default_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

__attribute__((constructor)) static void default_start(void)
{
    pthread_atfork(NULL, NULL, forked);
}

/* At exit. Closed, not freed: other threads go on and may use it, and a handler that never returns
 * must not hold the process up. */
static void close_default(void)
{
    pthread_mutex_lock(&default_lock);
    evbus *bus = default_bus;
    bool mine = bus && bus->generation == evb_fork_generation() && !evb_thread_in_callback();
    if (mine)
        evb_bus_ref(bus);
    pthread_mutex_unlock(&default_lock);
    if (!mine)
        return;
    evbus_close(bus, (int)evb_config_number(bus->config, EVB_CFG_CLOSE_TIMEOUT));
    evb_bus_unref(bus);
}

evbus *evbus_default(void)
{
    static bool registered; /* under default_lock */
    pthread_mutex_lock(&default_lock);
    if (default_bus && default_bus->generation != evb_fork_generation())
        default_bus = NULL; /* the parent's */
    evbus_config *config = default_bus ? NULL : evbus_config_new();
    if (config && evbus_config_load_env(config, NULL) == 0)
        default_bus = evbus_open(config);
    evbus_config_free(config);
    if (default_bus && !registered)
        registered = evb_ending_register(close_default);
    evbus *bus = default_bus;
    pthread_mutex_unlock(&default_lock);
    return bus;
}
