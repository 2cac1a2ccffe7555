/* resp.c - Redis over a bare socket; see resp.h. */
#include "resp.h"
#include "probe.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEQ_KEY      "\"seq\":"
#define SEQ_WIDTH    16
#define COMMAND_ROOM 1024 /* of one PUBLISH with its frame */
#define READ_ROOM    65536
#define WRITE_SIZE   32768 /* as much as Redis takes in two reads */

int resp_port(void)
{
    const char *port = getenv("BENCH_PORT");
    if (!port)
        probe_fail("BENCH_PORT names no server: run this through the bench program");
    return atoi(port);
}

int resp_connect(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)resp_port())};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address))
        probe_fail("connecting to Redis: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

void resp_write(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, bytes, length);
        if (n < 0)
            probe_fail("writing to Redis: %s", strerror(errno));
        bytes += n;
        length -= (size_t)n;
    }
}

void resp_subscribe(int fd, const char *channel)
{
    char text[256];
    int length = snprintf(text, sizeof text, "*2\r\n$9\r\nSUBSCRIBE\r\n$%zu\r\n%s\r\n",
                          strlen(channel), channel);
    resp_write(fd, text, (size_t)length);
    ssize_t n = read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    if (!strstr(text, ":1\r\n"))
        probe_fail("SUBSCRIBE was not confirmed: %s", text);
}

size_t resp_publish(char *out, size_t room, const char *payload, size_t length)
{
    int head = snprintf(out, room, "*3\r\n$7\r\nPUBLISH\r\n$%zu\r\n%s\r\n$%zu\r\n",
                        strlen(PROBE_CHANNEL), PROBE_CHANNEL, length);
    if ((size_t)head + length + 2 > room)
        probe_fail("a frame of %zu bytes is too long", length);
    memcpy(out + head, payload, length);
    memcpy(out + head + length, "\r\n", 2);
    return (size_t)head + length + 2;
}

int64_t resp_count_replies(const char *bytes, size_t length)
{
    int64_t count = 0;
    for (const char *end = bytes + length; (bytes = memchr(bytes, '\n', (size_t)(end - bytes)));)
        count++, bytes++;
    return count;
}

/* A frame is the bulk string that begins an object; JSON has no bare newline. */
void frames_capture(int fd, const char *path)
{
    FILE *in = fdopen(dup(fd), "re"), *out = fopen(path, "we");
    char line[COMMAND_ROOM];
    if (!in || !out)
        probe_fail("%s: %s", path, strerror(errno));
    for (int count = 0; count < RESP_FRAMES;) {
        if (!fgets(line, sizeof line, in))
            probe_fail("the connection that captures frames was closed");
        if (line[0] != '{')
            continue;
        line[strcspn(line, "\r\n")] = 0;
        fprintf(out, "%s\n", line);
        count++;
    }
    fclose(in);
    if (fclose(out))
        probe_fail("%s: %s", path, strerror(errno));
}

static void frames_append(struct frames *frames, int index, const char *payload)
{
    size_t length = strlen(payload);
    size_t room = COMMAND_ROOM;
    size_t size = resp_publish(frames->bytes + frames->length, room, payload, length);
    frames->payload_at[index] = frames->length + size - length - 2;
    frames->payload_length[index] = length;
    const char *seq = strstr(payload, SEQ_KEY);
    if (seq)
        frames->seq_at[index] =
            frames->payload_at[index] + (size_t)(seq - payload) + strlen(SEQ_KEY);
    frames->length += size;
}

static void frames_init(struct frames *frames)
{
    memset(frames, 0, sizeof *frames);
    frames->bytes = malloc((size_t)RESP_FRAMES * COMMAND_ROOM);
    if (!frames->bytes)
        probe_fail("out of memory");
}

void frames_load(struct frames *frames)
{
    const char *path = getenv("BENCH_FRAMES");
    FILE *file = path ? fopen(path, "re") : NULL;
    if (!file)
        probe_fail("BENCH_FRAMES names no captured frames: run this through the bench program");
    char line[COMMAND_ROOM];
    frames_init(frames);
    for (int i = 0; i < RESP_FRAMES; i++) {
        if (!fgets(line, sizeof line, file))
            probe_fail("%s is too short", path);
        line[strcspn(line, "\n")] = 0;
        frames_append(frames, i, line);
    }
    fclose(file);
}

void frames_make_bare(struct frames *frames)
{
    char data[PROBE_DATA + 1];
    frames_init(frames);
    for (int i = 0; i < RESP_FRAMES; i++) {
        probe_data(data, i);
        frames_append(frames, i, data);
    }
}

static void frames_number(struct frames *frames, uint64_t seq)
{
    for (int i = 0; i < RESP_FRAMES; i++, seq++) {
        char *slot = frames->bytes + frames->seq_at[i];
        uint64_t rest = seq;
        for (int at = SEQ_WIDTH - 1; at >= 0; at--, rest /= 10)
            slot[at] = rest > 0 ? (char)('0' + rest % 10) : ' ';
    }
}

static int64_t read_replies(int fd)
{
    static char buffer[READ_ROOM];
    ssize_t n = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        probe_fail("Redis closed the publishing connection");
    return n > 0 ? resp_count_replies(buffer, (size_t)n) : 0;
}

/* Replies are picked up in passing: to be woken for each of them would slow the server down. */
static int64_t pump_block(const struct frames *frames, int fd)
{
    int64_t answered = 0;
    for (size_t at = 0; at < frames->length;) {
        size_t left = frames->length - at, size = left < WRITE_SIZE ? left : WRITE_SIZE;
        resp_write(fd, frames->bytes + at, size);
        at += size;
        answered += read_replies(fd);
    }
    return answered;
}

void frames_pump(struct frames *frames, int fd, int64_t count, uint64_t seq)
{
    int64_t answered = 0;
    for (int64_t block = 0; block < count / RESP_FRAMES; block++) {
        if (seq > 0)
            frames_number(frames, seq + (uint64_t)block * RESP_FRAMES);
        answered += pump_block(frames, fd);
    }
    while (answered < count) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        poll(&wait, 1, -1);
        answered += read_replies(fd);
    }
}

int frames_feeder(int gate[2], int64_t count)
{
    static struct frames frames;
    int pid = probe_fork();
    if (pid > 0)
        return pid;
    probe_pin(PROBE_SERVER_CORE);
    frames_load(&frames);
    int fd = resp_connect();
    probe_gate_await(gate);
    frames_pump(&frames, fd, count, 1);
    _exit(0);
}
