/* hello.c - one subscriber, one event, no Redis. */
#include <evbus.h>
#include <stdio.h>

static int on_task(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub, (void)user;
    return printf("%s %s\n", evbus_event_type(event), evbus_event_data(event, NULL)) < 0;
}

int main(void)
{
    evbus *bus = evbus_open(NULL);
    evbus_sub *sub = evbus_subscribe(bus, "task.*", NULL, on_task, NULL);
    int rc = evbus_publish(bus, "task.created", "{\"id\":7}");
    evbus_close(bus, 1000); /* waits until the handler has had it */
    evbus_unsubscribe(sub);
    evbus_free(bus);
    return rc < 0;
}
