/* count.c - a stranger's program: publishes in its own process, and a handler counts. */
#include <evbus.h>
#include <stdio.h>

enum { EVENTS = 100 };

static int on_event(evbus_sub *sub, evbus_event *event, void *user)
{
    int *count = user;
    (void)sub, (void)event;
    ++*count;
    return 0;
}

int main(void)
{
    int count = 0;
    evbus *bus = evbus_open(NULL);
    evbus_sub *sub = evbus_subscribe(bus, "count.*", NULL, on_event, &count);
    for (int i = 0; i < EVENTS; i++)
        evbus_publish(bus, "count.one", "{}");
    evbus_close(bus, 10000);
    evbus_unsubscribe(sub);
    evbus_free(bus);
    printf("%d by %s\n", count, evbus_version());
    return count != EVENTS || evbus_version_number() != EVBUS_VERSION_NUMBER;
}
