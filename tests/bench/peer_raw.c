/*
 * peer_raw.c - bare sockets and ready-made bytes:
 *   peer_raw publish | bare    libevbus's own frames, or the data alone
 *   peer_raw history           the frames, each kept in a stream, too
 *   peer_raw latency           publish to receipt in another process, each side a poll loop
 *   peer_raw request [paced]   the same there and back: asked again at once, or a while later
 */
#include "latency.h"
#include "probe.h"
#include "resp.h"
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define EVENTS    400000
#define WARMUP    20000
#define KEPT      200000 /* with history; so many go into the stream's bounds */
#define STAMP_KEY "{\"t\":"
#define INBOX     "evbus:inbox:raw"

static void run_publish(bool bare)
{
    static struct frames frames;
    if (bare)
        frames_make_bare(&frames);
    else
        frames_load(&frames, FRAMES_PLAIN);
    int fd = resp_connect();
    frames_pump(&frames, fd, WARMUP, 0);
    int64_t time = probe_now_ns(), cpu = probe_cpu_ns();
    frames_pump(&frames, fd, EVENTS, 0);
    probe_report("ns", (double)(probe_now_ns() - time) / EVENTS);
    probe_report("cpu_ns", (double)(probe_cpu_ns() - cpu) / EVENTS);
    close(fd);
}

static void run_history(void)
{
    static struct frames frames;
    frames_load(&frames, FRAMES_KEPT);
    resp_clear();
    int fd = resp_connect();
    frames_pump(&frames, fd, WARMUP, 0);
    double server = resp_server_cpu_ns();
    int64_t time = probe_now_ns();
    frames_pump(&frames, fd, KEPT, 0);
    probe_report("ns", (double)(probe_now_ns() - time) / KEPT);
    probe_report("server_ns", (resp_server_cpu_ns() - server) / KEPT);
    if (resp_number(fd, "XLEN " RESP_HISTORY) != WARMUP + KEPT)
        probe_fail("not all events were kept");
    resp_clear();
    close(fd);
}

static void publish_at_pace(int gate[2])
{
    char data[PROBE_DATA + 1], command[512], replies[512];
    int fd = resp_connect(), timer = latency_timer();
    struct pollfd wait[2] = {{.fd = timer, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    probe_gate_await(gate);
    latency_timer_start(timer);
    for (;;) { /* until the subscriber ends this process */
        poll(wait, 2, -1);
        if (wait[0].revents) {
            latency_timer_read(timer);
            probe_data(data, probe_now_ns());
            resp_write(fd, command,
                       resp_publish(command, sizeof command, PROBE_CHANNEL, data, PROBE_DATA));
        }
        if (wait[1].revents && read(fd, replies, sizeof replies) <= 0)
            probe_fail("Redis closed the publishing connection");
    }
}

static void run_latency(void)
{
    char buffer[4096];
    int gate[2];
    probe_gate_init(gate);
    int publisher = probe_fork();
    if (publisher == 0)
        publish_at_pace(gate);
    int fd = resp_connect();
    resp_subscribe(fd, PROBE_CHANNEL);
    probe_gate_go(gate);
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    for (bool last = false; !last;) {
        poll(&wait, 1, -1);
        ssize_t n = read(fd, buffer, sizeof buffer - 1);
        if (n <= 0)
            probe_fail("Redis closed the subscribing connection");
        buffer[n] = 0; /* a command is one packet: no stamp is cut in two */
        for (char *at = buffer; !last && (at = strstr(at, STAMP_KEY)); at++)
            last = latency_add(probe_stamp(at));
    }
    probe_kill(publisher);
    latency_report();
    close(fd);
}

/* Reads what there is; answers the first stamped data in it, or NULL. */
static char *read_data(int fd, char *buffer, size_t room)
{
    ssize_t n = read(fd, buffer, room - 1);
    if (n <= 0)
        probe_fail("Redis closed a connection");
    buffer[n] = 0;
    return strstr(buffer, STAMP_KEY);
}

static void send_data(int fd, const char *channel, const char *data)
{
    char command[512];
    resp_write(fd, command, resp_publish(command, sizeof command, channel, data, PROBE_DATA));
}

static void answer(int gate[2])
{
    char buffer[4096];
    int in = resp_connect(), out = resp_connect();
    struct pollfd wait[2] = {{.fd = in, .events = POLLIN}, {.fd = out, .events = POLLIN}};
    resp_subscribe(in, PROBE_CHANNEL);
    probe_gate_go(gate);
    for (;;) { /* until the asker ends this process */
        poll(wait, 2, -1);
        if (wait[1].revents)
            read_data(out, buffer, sizeof buffer);
        const char *data = wait[0].revents ? read_data(in, buffer, sizeof buffer) : NULL;
        if (data)
            send_data(out, INBOX, data);
    }
}

static void ask(int fd)
{
    char data[PROBE_DATA + 1];
    probe_data(data, probe_now_ns());
    send_data(fd, PROBE_CHANNEL, data);
}

static void run_request(bool paced)
{
    char buffer[4096];
    int gate[2];
    probe_gate_init(gate);
    int responder = probe_fork();
    if (responder == 0)
        answer(gate);
    probe_gate_await(gate);
    int in = resp_connect(), out = resp_connect(), timer = latency_timer();
    struct pollfd wait[3] = {{.fd = in, .events = POLLIN},
                             {.fd = out, .events = POLLIN},
                             {.fd = timer, .events = POLLIN}};
    resp_subscribe(in, INBOX);
    ask(out);
    for (bool last = false; !last;) {
        poll(wait, 3, -1);
        if (wait[1].revents)
            read_data(out, buffer, sizeof buffer);
        if (wait[2].revents) {
            latency_timer_read(timer);
            ask(out);
        }
        const char *data = wait[0].revents ? read_data(in, buffer, sizeof buffer) : NULL;
        if (!data)
            continue;
        last = latency_add(probe_stamp(data));
        if (paced)
            latency_timer_once(timer);
        else
            ask(out);
    }
    probe_kill(responder);
    latency_report();
}

int main(int argc, char **argv)
{
    const char *what = argc >= 2 ? argv[1] : "";
    probe_pin(PROBE_CLIENT_CORE);
    if (!strcmp(what, "publish") || !strcmp(what, "bare"))
        run_publish(what[0] == 'b');
    else if (!strcmp(what, "history"))
        run_history();
    else if (!strcmp(what, "latency"))
        run_latency();
    else if (!strcmp(what, "request"))
        run_request(argc == 3 && !strcmp(argv[2], "paced"));
    else
        probe_fail("usage: peer_raw publish | bare | history | latency | request [paced]");
    return 0;
}
