/* redis_link.c - one connection. Loop only. */
#include "redis_link.h"
#include "alloc.h"
#include "buf.h"
#include "clock.h"
#include "err.h"
#include <errno.h>
#include <event2/event.h>
#include <evbus.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <hiredis/sds.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READS_A_TURN = 16 }; /* of 16 KiB each; then others have their turn */

void evb_link_init(struct evb_link *link, struct evb_loop *loop, struct evb_metrics *metrics,
                   const char *name, size_t max_frame, const struct evb_link_hooks *hooks,
                   void *user)
{
    *link = (struct evb_link){.loop = loop,
                              .metrics = metrics,
                              .name = name,
                              .max_frame = max_frame,
                              .hooks = hooks,
                              .user = user};
}

/* hiredis writes with SIGPIPE; a library must not. */
static ssize_t write_quietly(redisContext *context)
{
    ssize_t n = send(context->fd, context->obuf, sdslen(context->obuf), MSG_NOSIGNAL);
    if (n >= 0)
        return n;
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    context->err = REDIS_ERR_IO;
    snprintf(context->errstr, sizeof context->errstr, "%s", strerrordesc_np(errno));
    return -1;
}

void evb_link_close(struct evb_link *link)
{
    link->epoch++;
    link->up = false;
    link->writable_added = false;
    if (link->readable)
        event_free(link->readable);
    if (link->writable)
        event_free(link->writable);
    link->readable = link->writable = NULL;
    redisContext *context = link->context;
    link->context = NULL; /* first: a forked child closes what it finds here */
    if (context) {
        redisFree(context);
        evb_gate_fini(&link->gate);
    }
    evb_free(link->funcs);
    link->funcs = NULL;
}

/* hiredis's table of functions with the one that writes exchanged. */
static bool exchange_write(struct evb_link *link)
{
    redisContextFuncs *funcs = evb_alloc(sizeof *funcs);
    if (!funcs)
        return false;
    *funcs = *link->context->funcs;
    funcs->write = write_quietly;
    link->context->funcs = link->funcs = funcs;
    return true;
}

void evb_link_drop(struct evb_link *link)
{
    if (link->context)
        close(link->context->fd);
}

void evb_link_fail(struct evb_link *link, int error, const char *why)
{
    char text[256];
    snprintf(text, sizeof text, "%s connection: %s", link->name, why);
    evb_link_close(link);
    link->hooks->down(link, error, text, link->user);
}

static void fail_from_hiredis(struct evb_link *link)
{
    char why[160];
    bool protocol = link->gate.error || link->context->err == REDIS_ERR_PROTOCOL;
    snprintf(why, sizeof why, "%s%s", protocol ? "protocol error: " : "",
             link->gate.error                      ? link->gate.error
             : link->context->err == REDIS_ERR_EOF ? "closed by the server"
             : link->context->errstr[0]            ? link->context->errstr
                                                   : "input or output failed");
    evb_link_fail(link, protocol ? EVBUS_EPARSE : EVBUS_ESYS, why);
}

static void want_write(struct evb_link *link, bool on)
{
    if (on == link->writable_added)
        return;
    link->writable_added = on;
    if (on)
        event_add(link->writable, NULL);
    else
        event_del(link->writable);
}

size_t evb_link_backlog(const struct evb_link *link)
{
    return link->context ? sdslen(link->context->obuf) : 0;
}

void evb_link_flush(struct evb_link *link)
{
    int done = 1;
    if (!link->context || !link->up)
        return;
    if (link->gate.error) { /* a command is missing: no later one may go */
        fail_from_hiredis(link);
        return;
    }
    size_t before = sdslen(link->context->obuf);
    if (before == 0)
        return;
    if (redisBufferWrite(link->context, &done) != REDIS_OK) {
        fail_from_hiredis(link);
        return;
    }
    evb_count(link->metrics, EVB_COUNT_bytes_out, (int64_t)(before - sdslen(link->context->obuf)));
    want_write(link, !done);
}

void evb_link_send(struct evb_link *link, const char *bytes, size_t length)
{
    if (!link->context)
        return;
    if (redisAppendFormattedCommand(link->context, bytes, length) != REDIS_OK)
        link->gate.error = "out of memory"; /* told at the next read or write */
}

void evb_link_command(struct evb_link *link, const char *const *words)
{
    struct evb_buf buf;
    int count = 0;
    while (words[count])
        count++;
    evb_buf_init(&buf);
    evb_buf_printf(&buf, "*%d\r\n", count);
    for (int i = 0; i < count; i++)
        evb_buf_printf(&buf, "$%zu\r\n%s\r\n", strlen(words[i]), words[i]);
    if (buf.failed)
        link->gate.error = "out of memory";
    else
        evb_link_send(link, buf.data, buf.length);
    if (buf.data)
        explicit_bzero(buf.data, buf.length); /* AUTH goes this way */
    evb_buf_fini(&buf);
}

/* Hands out what the reader holds. False: a hook closed or reopened the link, or it failed. */
static bool hand_out(struct evb_link *link)
{
    unsigned epoch = link->epoch;
    for (;;) {
        void *reply = NULL;
        if (redisReaderGetReply(link->context->reader, &reply) != REDIS_OK) {
            link->context->err = link->context->reader->err;
            snprintf(link->context->errstr, sizeof link->context->errstr, "%s",
                     link->context->reader->errstr);
            fail_from_hiredis(link);
            return false;
        }
        if (!reply)
            return true;
        link->hooks->reply(link, reply, link->user);
        if (link->epoch != epoch)
            return false;
        evb_gate_reset(&link->gate);
    }
}

/* Does the reader wait for a string that is too long to wait for? It has read the $ by then. */
static bool announces_too_much(const redisReader *reader, size_t most)
{
    size_t length = 0;
    if (reader->ridx < 0 || reader->task[reader->ridx]->type != REDIS_REPLY_STRING)
        return false;
    for (size_t at = reader->pos; at < reader->len && length <= most; at++) {
        if (reader->buf[at] < '0' || reader->buf[at] > '9')
            break;
        length = length * 10 + (size_t)(reader->buf[at] - '0');
    }
    return length > most;
}

/* One read of hiredis's 16 KiB. True: there may be more. */
static bool read_once(struct evb_link *link)
{
    redisReader *reader = link->context->reader;
    size_t before = reader->len;
    if (redisBufferRead(link->context) != REDIS_OK) {
        fail_from_hiredis(link);
        return false;
    }
    size_t got = reader->len - before;
    if (got == 0)
        return false;
    link->last_read_us = evb_clock_mono_us();
    evb_count(link->metrics, EVB_COUNT_bytes_in, (int64_t)got);
    if (!hand_out(link))
        return false;
    if (reader->len - reader->pos > link->max_frame ||
        announces_too_much(reader, link->max_frame)) {
        link->gate.error = "a frame is larger than this bus takes";
        fail_from_hiredis(link);
        return false;
    }
    return got == 16 * 1024;
}

void evb_link_read(struct evb_link *link)
{
    unsigned epoch = link->epoch;
    for (int i = 0; link->up && i < READS_A_TURN && read_once(link); i++)
        continue;
    if (link->epoch == epoch && link->context && link->gate.error)
        fail_from_hiredis(link);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct evb_link *link = arg;
    struct evb_loop *loop = link->loop;
    (void)fd;
    (void)what;
    evb_loop_begin(loop);
    evb_link_read(link);
    evb_loop_end(loop);
}

/* connect(2): a socket that becomes writable has SO_ERROR to tell. */
static void finish_connect(struct evb_link *link)
{
    int error = 0;
    socklen_t length = sizeof error;
    want_write(link, false);
    if (getsockopt(link->context->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0)
        error = errno;
    if (error != 0) {
        char text[128];
        evb_link_fail(link, EVBUS_ESYS, strerror_r(error, text, sizeof text));
        return;
    }
    link->up = true;
    link->last_read_us = evb_clock_mono_us();
    event_add(link->readable, NULL);
    link->hooks->up(link, link->user);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct evb_link *link = arg;
    struct evb_loop *loop = link->loop;
    (void)fd;
    (void)what;
    evb_loop_begin(loop);
    if (!link->up)
        finish_connect(link);
    else
        evb_link_flush(link);
    evb_loop_end(loop);
}

int evb_link_open(struct evb_link *link, const struct evb_address *address)
{
    redisOptions options = {.options = REDIS_OPT_NONBLOCK};
    if (address->path)
        REDIS_OPTIONS_SET_UNIX(&options, address->path);
    else
        REDIS_OPTIONS_SET_TCP(&options, address->host, address->port);
    evb_link_close(link);
    link->context = redisConnectWithOptions(&options);
    if (!link->context)
        return evb_fail_memory();
    evb_gate_init(&link->gate, link->max_frame);
    evb_gate_attach(&link->gate, link->context->reader);
    if (link->context->err) {
        int rc = evb_fail(EVBUS_ESYS, "%s connection: %s", link->name, link->context->errstr);
        evb_link_close(link);
        return rc;
    }
    int one = 1;
    if (!address->path)
        setsockopt(link->context->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(link->context->fd, F_SETFD, FD_CLOEXEC);
    link->readable =
        event_new(link->loop->base, link->context->fd, EV_READ | EV_PERSIST, on_readable, link);
    link->writable =
        event_new(link->loop->base, link->context->fd, EV_WRITE | EV_PERSIST, on_writable, link);
    if (!link->readable || !link->writable || !exchange_write(link)) {
        evb_link_close(link);
        return evb_fail_memory();
    }
    want_write(link, true);
    return 0;
}
