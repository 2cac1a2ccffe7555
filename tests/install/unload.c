/*
 * unload.c - a host that loads the library named by its argument, unloads it while a bus runs, and
 * goes on with that bus: its thread must still have its code, as must the handlers of thread exit.
 */
#include <evbus.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static struct {
    evbus *(*open)(const evbus_config *config);
    int (*publish)(evbus *bus, const char *type, const char *json);
    int (*close)(evbus *bus, int timeout_ms);
    void (*free)(evbus *bus);
} call;

static int find(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);
    memcpy(function, &found, sizeof found);
    return found != NULL;
}

static void *publish_and_end(void *user)
{
    return call.publish(user, "host.event", "{}") < 0 ? user : NULL;
}

int main(int argc, char **argv)
{
    void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!library || !find(library, "evbus_open", &call.open) ||
        !find(library, "evbus_publish", &call.publish) ||
        !find(library, "evbus_close", &call.close) || !find(library, "evbus_free", &call.free)) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    evbus *bus = call.open(NULL);
    pthread_t thread;
    void *failed = NULL;
    if (!bus || dlclose(library) != 0 || !dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD) ||
        pthread_create(&thread, NULL, publish_and_end, bus) != 0)
        return 2;
    pthread_join(thread, &failed);
    int rc = failed ? 3 : call.close(bus, 10000);
    call.free(bus);
    return rc;
}
