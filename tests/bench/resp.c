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
#define COMMAND_ROOM 2048 /* of one frame with its commands */
#define KEEP         "*10\r\n$4\r\nXADD\r\n$%zu\r\n%s\r\n$6\r\nMAXLEN\r\n$1\r\n~\r\n$7\r\n1000000\r\n"
#define POSITION     ",\"position\":\"1700000000000-"
#define FIRST        1000000000 /* so that the numbers of all positions are of one width */
#define FIRST_WIDTH  10
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

size_t resp_publish(char *out, size_t room, const char *channel, const char *payload, size_t length)
{
    int head = snprintf(out, room, "*3\r\n$7\r\nPUBLISH\r\n$%zu\r\n%s\r\n$%zu\r\n", strlen(channel),
                        channel, length);
    if ((size_t)head + length + 2 > room)
        probe_fail("a frame of %zu bytes is too long", length);
    memcpy(out + head, payload, length);
    memcpy(out + head + length, "\r\n", 2);
    return (size_t)head + length + 2;
}

int64_t resp_number(int fd, const char *command)
{
    char text[256];
    int length = snprintf(text, sizeof text, "%s\r\n", command);
    resp_write(fd, text, (size_t)length);
    ssize_t n = read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    if (text[0] != ':')
        probe_fail("%s: %s", command, text);
    return strtoll(text + 1, NULL, 10);
}

double resp_server_cpu_ns(void)
{
    static const char *const keys[] = {"used_cpu_sys:", "used_cpu_user:"};
    char text[1024];
    double seconds = 0;
    int fd = resp_connect();
    resp_write(fd, "INFO cpu\r\n", 10);
    ssize_t n = read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    for (int i = 0; i < 2; i++) {
        const char *at = strstr(text, keys[i]);
        if (!at)
            probe_fail("INFO cpu: %s", text);
        seconds += strtod(at + strlen(keys[i]), NULL);
    }
    close(fd);
    return seconds * 1e9;
}

void resp_clear(void)
{
    int fd = resp_connect();
    char ok[8] = "";
    resp_write(fd, "FLUSHALL SYNC\r\n", 15);
    if (read(fd, ok, sizeof ok - 1) <= 0 || strncmp(ok, "+OK", 3))
        probe_fail("FLUSHALL: %s", ok);
    close(fd);
}

static int64_t count_lines(const char *bytes, size_t length)
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

/* XADD in the words of the history: the position, the channel, the envelope. */
static size_t put_keep(char *out, size_t room, const char *payload)
{
    int length =
        snprintf(out, room, KEEP "$1\r\n*\r\n$1\r\nc\r\n$%zu\r\n%s\r\n$1\r\ne\r\n$%zu\r\n%s\r\n",
                 strlen(RESP_HISTORY), RESP_HISTORY, strlen(PROBE_CHANNEL), PROBE_CHANNEL,
                 strlen(payload), payload);
    if ((size_t)length >= room)
        probe_fail("a frame of %zu bytes is too long", strlen(payload));
    return (size_t)length;
}

static void frames_append(struct frames *frames, int index, const char *payload)
{
    size_t length = strlen(payload);
    size_t size = resp_publish(frames->bytes + frames->length, COMMAND_ROOM / 2, PROBE_CHANNEL,
                               payload, length);
    frames->payload_at[index] = frames->length + size - length - 2;
    frames->payload_length[index] = length;
    const char *seq = strstr(payload, SEQ_KEY), *position = strstr(payload, POSITION);
    if (seq)
        frames->seq_at[index] =
            frames->payload_at[index] + (size_t)(seq - payload) + strlen(SEQ_KEY);
    if (position)
        frames->position_at[index] =
            frames->payload_at[index] + (size_t)(position - payload) + strlen(POSITION);
    frames->length += size;
}

static void frames_init(struct frames *frames)
{
    memset(frames, 0, sizeof *frames);
    frames->lines = 1;
    frames->bytes = malloc((size_t)RESP_FRAMES * COMMAND_ROOM);
    if (!frames->bytes)
        probe_fail("out of memory");
}

void frames_load(struct frames *frames, enum frames_kind kind)
{
    const char *path = getenv("BENCH_FRAMES");
    FILE *file = path ? fopen(path, "re") : NULL;
    if (!file)
        probe_fail("BENCH_FRAMES names no captured frames: run this through the bench program");
    char line[COMMAND_ROOM / 2];
    frames_init(frames);
    for (int i = 0; i < RESP_FRAMES; i++) {
        if (!fgets(line, sizeof line - sizeof POSITION - FIRST_WIDTH - 2, file))
            probe_fail("%s is too short", path);
        size_t length = strcspn(line, "\n");
        line[length] = 0;
        if (kind == FRAMES_POSITIONED) /* in the place of the last brace */
            sprintf(line + length - 1, POSITION "%d\"}", FIRST);
        if (kind == FRAMES_KEPT)
            frames->length += put_keep(frames->bytes + frames->length, COMMAND_ROOM / 2, line);
        frames_append(frames, i, line);
    }
    fclose(file);
    frames->lines = kind == FRAMES_KEPT ? 3 : 1; /* an id has its length in front */
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

static void put_number(char *slot, int width, uint64_t number)
{
    for (int at = width - 1; at >= 0; at--, number /= 10)
        slot[at] = number > 0 ? (char)('0' + number % 10) : ' ';
}

static void frames_number(struct frames *frames, uint64_t seq)
{
    for (int i = 0; i < RESP_FRAMES; i++, seq++) {
        put_number(frames->bytes + frames->seq_at[i], SEQ_WIDTH, seq);
        if (frames->position_at[i])
            put_number(frames->bytes + frames->position_at[i], FIRST_WIDTH, FIRST + seq);
    }
}

static int64_t read_replies(int fd)
{
    static char buffer[READ_ROOM];
    ssize_t n = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        probe_fail("Redis closed the publishing connection");
    return n > 0 ? count_lines(buffer, (size_t)n) : 0;
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
    while (answered < count * frames->lines) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        poll(&wait, 1, -1);
        answered += read_replies(fd);
    }
}

int frames_feeder(int gate[2], int64_t count, enum frames_kind kind)
{
    static struct frames frames;
    int pid = probe_fork();
    if (pid > 0)
        return pid;
    probe_pin(PROBE_SERVER_CORE);
    frames_load(&frames, kind);
    int fd = resp_connect();
    probe_gate_await(gate);
    frames_pump(&frames, fd, count, 1);
    _exit(0);
}
