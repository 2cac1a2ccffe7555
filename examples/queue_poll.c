/*
 * queue_poll.c - a program with a poll(2) loop of its own. Lines "TYPE JSON" from stdin are
 * published; what the bus has is printed, in this thread. Settings come from the environment: with
 * EVBUS_REDIS_URL set, two of these talk to each other.
 */
#include <evbus.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void publish_line(evbus *bus, char *line)
{
    char *json = strchr(line, ' ');
    if (json)
        *json++ = '\0';
    if (evbus_publish(bus, line, json) < 0)
        fprintf(stderr, "%s: %s\n", line, evbus_last_error());
}

/* Publishes every whole line of `text` and moves the rest to its front; answers the rest's length.
 */
static size_t publish_lines(evbus *bus, char *text, size_t length)
{
    char *line = text, *end;
    while ((end = memchr(line, '\n', length - (size_t)(line - text))) != NULL) {
        *end = '\0';
        if (line < end)
            publish_line(bus, line);
        line = end + 1;
    }
    length -= (size_t)(line - text);
    memmove(text, line, length);
    return length;
}

static void print_waiting(evbus_queue *queue)
{
    evbus_event *event;
    while (evbus_queue_next(queue, 0, &event, NULL) == 1) {
        const char *data = evbus_event_data(event, NULL);
        printf("%s %s\n", evbus_event_type(event), data ? data : "");
        evbus_event_unref(event);
    }
    fflush(stdout);
}

static void serve(evbus *bus, evbus_queue *queue)
{
    char text[4096];
    size_t length = 0;
    struct pollfd fds[] = {{.fd = evbus_queue_fd(queue), .events = POLLIN},
                           {.fd = STDIN_FILENO, .events = POLLIN}};
    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return;
        if (fds[0].revents)
            print_waiting(queue);
        if (!fds[1].revents)
            continue;
        ssize_t n = read(STDIN_FILENO, text + length, sizeof text - length);
        if (n <= 0)
            return;
        length = publish_lines(bus, text, length + (size_t)n);
        if (length == sizeof text)
            length = 0; /* a line that long is no event */
    }
}

int main(void)
{
    evbus_config *config = evbus_config_new();
    evbus *bus = evbus_config_load_env(config, NULL) == 0 ? evbus_open(config) : NULL;
    evbus_queue *queue = evbus_queue_open(bus, "size=10000 full=drop-oldest");
    evbus_sub *sub = evbus_queue_subscribe(queue, ">", NULL, 0);
    int rc = sub ? 0 : 1;
    if (sub)
        serve(bus, queue);
    else
        fprintf(stderr, "%s\n", evbus_last_error());
    evbus_flush(bus, 2000);
    print_waiting(queue);
    evbus_unsubscribe(sub);
    evbus_queue_free(queue);
    evbus_free(bus);
    evbus_config_free(config);
    return rc;
}
