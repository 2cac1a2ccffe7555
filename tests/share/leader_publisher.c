/* leader_publisher.c - a process that publishes numbered events at a steady pace. */
#include "harness/recorder.h"
#include "harness/until.h"
#include "share/leader_run.h"
#include <evbus.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLUSH_MS = 30000 };

static evbus *open_bus(char **settings)
{
    evbus_config *config = evbus_config_new();
    for (; *settings; settings++) {
        char *equals = strchr(*settings, '=');
        *equals = '\0';
        evbus_config_set(config, *settings, equals + 1);
    }
    evbus *bus = evbus_open(config);
    evbus_config_free(config);
    return bus;
}

/* Until standard input has something to say. */
static int publish_all(evbus *bus, int rate)
{
    struct pollfd in = {.fd = 0, .events = POLLIN};
    int64_t start_us = now_us();
    int count = 0;
    for (;;) {
        int64_t due_us = start_us + (int64_t)(count + 1) * 1000000 / rate;
        int64_t wait_ms = (due_us - now_us()) / 1000;
        if (poll(&in, 1, wait_ms > 0 ? (int)wait_ms : 0) != 0)
            return count;
        while (start_us + (int64_t)(count + 1) * 1000000 / rate <= now_us())
            count += publish_numbered(bus, "t.n", 0, count + 1) > 0;
    }
}

int leader_publisher_main(int argc, char **argv)
{
    if (argc < 4 || strcmp(argv[1], "leader-publisher") != 0)
        return -1;
    evbus *bus = open_bus(argv + 3);
    if (!bus || evbus_wait_connected(bus, FLUSH_MS) != 0) {
        fprintf(stderr, "publisher: %s\n", evbus_last_error());
        return 1;
    }
    puts("here");
    fflush(stdout);
    int count = publish_all(bus, atoi(argv[2]));
    int rc = evbus_flush(bus, FLUSH_MS);
    printf("%d\n", rc == 0 ? count : rc);
    evbus_free(bus);
    return 0;
}
