/*
 * replay.c - events that were published before this program began. Alone it prints all that the
 * history in Redis has; with a FILE it notes there how far it came, and goes on behind that when it
 * is started again. It ends when nothing has come for a second. EVBUS_REDIS_URL names the Redis.
 */
#include <evbus.h>
#include <stdio.h>

/* Behind what was noted, or from the oldest event on. */
static void where_to_begin(const char *path, char *option, size_t room)
{
    char position[64];
    FILE *file = path ? fopen(path, "r") : NULL;
    snprintf(option, room, "from=all");
    if (file && fscanf(file, "%63s", position) == 1)
        snprintf(option, room, "from=%s", position);
    if (file)
        fclose(file);
}

/* When the event is handled: if the program ends before it is noted, it comes again. */
static void note(const char *path, const char *position)
{
    char fresh[4096];
    if (!path || !position) /* an event that nobody keeps has none */
        return;
    snprintf(fresh, sizeof fresh, "%s.new", path);
    FILE *file = fopen(fresh, "w");
    if (!file || fprintf(file, "%s\n", position) < 0 || fclose(file) != 0 ||
        rename(fresh, path) != 0)
        perror(fresh);
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : NULL;
    char option[80];
    evbus_event *event;
    evbus_config *config = evbus_config_new();
    evbus *bus = evbus_config_load_env(config, NULL) == 0 ? evbus_open(config) : NULL;
    evbus_queue *queue = evbus_queue_open(bus, "full=lag"); /* bounded, and loses nothing */
    where_to_begin(path, option, sizeof option);
    evbus_sub *gaps = evbus_queue_subscribe(queue, "evbus.gap", NULL, 0); /* what is gone */
    evbus_sub *sub = evbus_queue_subscribe(queue, ">", option, 0);
    int rc = gaps && sub && evbus_wait_connected(bus, 5000) == 0 ? 0 : 1;
    if (rc != 0)
        fprintf(stderr, "%s\n", evbus_last_error());
    while (rc == 0 && evbus_queue_next(queue, 1000, &event, NULL) == 1) {
        const char *position = evbus_event_position(event), *data = evbus_event_data(event, NULL);
        printf("%s %s %s\n", position ? position : "-", evbus_event_type(event), data ? data : "-");
        note(path, position);
        evbus_event_unref(event);
    }
    evbus_unsubscribe(sub);
    evbus_unsubscribe(gaps);
    evbus_queue_free(queue);
    evbus_free(bus);
    evbus_config_free(config);
    return rc;
}
