/*
 * demo_peer.c - the demo's second process. It counts the numbered demo.event, publishes peer.tick
 * ten times a second, and tells on its stdout, not through the bus under test, what it saw: ready |
 * gap | tick NUMBER UNIX_US | report RECEIVED MISSING DOUBLES LAST "report" on its stdin asks for
 * the last of them, the end of stdin ends it.
 */
#include "demo.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TICK_MS = 100, CONNECT_MS = 5000 };

evbus *demo_open(const char *name, const char *socket)
{
    /* Half a second at most between attempts: nobody likes to wait in a demo. */
    const char *const pairs[][2] = {{"bus.name", name},
                                    {"bus.mode", "hybrid"},
                                    {"redis.path", socket},
                                    {"reconnect.backoff.max", "500ms"},
                                    {"log.level", "none"}};
    evbus_config *config = evbus_config_new();
    evbus *bus = NULL;
    int rc = config ? 0 : -1;
    for (size_t i = 0; rc == 0 && i < sizeof pairs / sizeof pairs[0]; i++)
        rc = evbus_config_set(config, pairs[i][0], pairs[i][1]);
    if (rc == 0)
        bus = evbus_open(config);
    if (!bus)
        cli_error("%s", evbus_last_error());
    evbus_config_free(config);
    return bus;
}

/* ---- this side: starting and ending it ---- */

int peer_start(struct peer *peer, const char *socket)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    pid_t parent = getpid(), pid = -1;
    if (pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0)
        pid = fork();
    if (pid == 0) {
        setpgid(0, 0); /* Ctrl-C is for the demo, which ends this process in its time */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        execl("/proc/self/exe", "evbus", "demo-peer", socket, (char *)NULL);
        _exit(127);
    }
    if (pid < 0)
        cli_error("no second process: %s", strerror(errno));
    *peer = (struct peer){pid > 0 ? pid : 0, in[1], out[0]};
    if (in[0] >= 0)
        close(in[0]);
    if (out[1] >= 0)
        close(out[1]);
    return pid > 0 ? 0 : -1;
}

void peer_stop(struct peer *peer)
{
    if (peer->to >= 0)
        close(peer->to); /* the end of its stdin */
    if (peer->from >= 0)
        close(peer->from);
    peer->to = peer->from = -1;
    for (int i = 0; peer->pid > 0; i++) {
        const struct timespec pause = {.tv_nsec = 10000000};
        if (waitpid(peer->pid, NULL, WNOHANG) == peer->pid)
            peer->pid = 0;
        else if (i == 200)
            kill(peer->pid, SIGKILL);
        else
            nanosleep(&pause, NULL);
    }
}

/* ---- its own side ---- */

struct self {
    evbus *bus;
    evbus_queue *queue;
    evbus_sub *demo, *system;
    struct numbered seen;
    int64_t ticks;
};

static void on_event(struct self *self, evbus_event *event, int64_t tag)
{
    const char *type = evbus_event_type(event), *data = evbus_event_data(event, NULL);
    long long number = 0;
    if (tag == TAG_DEMO && data && sscanf(data, "{\"n\":%lld}", &number) == 1)
        numbered_see(&self->seen, number);
    else if (strcmp(type, "evbus.gap") == 0)
        printf("gap\n");
    else if (strcmp(type, "evbus.mode") == 0 && evbus_mode(self->bus) == EVBUS_MODE_HYBRID)
        printf("ready\n");
}

static void tick(struct self *self)
{
    char json[64];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(json, sizeof json, "{\"n\":%" PRId64 "}", ++self->ticks);
    printf("tick %" PRId64 " %" PRId64 "\n", self->ticks,
           (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    evbus_publish(self->bus, "peer.tick", json);
}

/* 0, or -1 when the demo has closed the other end. */
static int on_order(struct self *self)
{
    char text[64];
    ssize_t n = read(STDIN_FILENO, text, sizeof text);
    if (n > 0)
        printf("report %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 "\n", self->seen.received,
               self->seen.missing, self->seen.doubles, self->seen.last);
    return n > 0 || (n < 0 && errno == EINTR) ? 0 : -1;
}

static void serve(struct self *self)
{
    struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                           {.fd = evbus_queue_fd(self->queue), .events = POLLIN}};
    int64_t next_ms = cli_now_ms();
    evbus_event *event;
    int64_t tag;
    for (;;) {
        int64_t left_ms = next_ms - cli_now_ms();
        if (left_ms <= 0) {
            tick(self);
            next_ms += TICK_MS;
            continue;
        }
        fflush(stdout);
        if (poll(fds, 2, (int)left_ms) < 0 && errno != EINTR)
            return;
        while (evbus_queue_next(self->queue, 0, &event, &tag) == 1) {
            on_event(self, event, tag);
            evbus_event_unref(event);
        }
        if (fds[0].revents && on_order(self) != 0)
            return;
    }
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct self self = {0};
    (void)cli;
    if (argc != 2)
        return CLI_USAGE;
    self.bus = demo_open("demo-peer", argv[1]);
    self.queue = evbus_queue_open(self.bus, "size=100000 bytes=64MiB");
    self.demo = evbus_queue_subscribe(self.queue, "demo.>", NULL, TAG_DEMO);
    self.system = evbus_queue_subscribe(self.queue, "evbus.>", NULL, TAG_SYSTEM);
    if (!self.demo || !self.system || evbus_wait_connected(self.bus, CONNECT_MS) != 0) {
        cli_error("second process: %s", evbus_last_error());
        return CLI_ERROR;
    }
    printf("ready\n");
    serve(&self);
    evbus_unsubscribe(self.demo);
    evbus_unsubscribe(self.system);
    evbus_queue_free(self.queue);
    evbus_free(self.bus);
    return CLI_OK;
}

const struct cli_command cli_demo_peer = {.name = "demo-peer",
                                          .words = "SOCKET",
                                          .summary = "The demo's second process",
                                          .run = run,
                                          .hidden = true};
