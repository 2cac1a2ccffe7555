/* redis_link.c - one connection. Loop only. */
#include "redis_link.h"
#include "alloc.h"
#include "buf.h"
#include "clock.h"
#include "err.h"
#include <errno.h>
#include <event2/event.h>
#include <evbus.h>
#include <hiredis/hiredis.h>
#include <hiredis/sds.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TLS_PORT " (does this port speak TLS? Then use rediss:// or tls.enabled)"

enum {
    READS_A_TURN = 16, /* of 16 KiB each; then others have their turn */
    SECRET_ROOM = 1024 /* for what follows a password in the same write */
};

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
    if (link->stage == EVB_LINK_UP && link->secured)
        evb_tls_bye(link->context);
    link->stage = EVB_LINK_CLOSED;
    link->secured = link->writable_added = link->heard = link->handing_out = false;
    if (link->readable)
        event_free(link->readable);
    if (link->writable)
        event_free(link->writable);
    link->readable = link->writable = NULL;
    redisContext *context = link->context;
    link->context = NULL; /* first: a forked child closes what it finds here */
    if (context && link->secret)
        explicit_bzero(context->obuf, sdslen(context->obuf));
    link->secret = false;
    if (context) {
        redisFree(context);
        evb_gate_fini(&link->gate);
    }
    evb_free(link->funcs);
    link->funcs = NULL;
}

/* hiredis frees its buffer as it is. */
static ssize_t write_and_wipe(redisContext *context)
{
    struct evb_link *link = context->privdata;
    ssize_t n = link->write(context);
    if (link->secret && n > 0) {
        link->secret = (size_t)n < sdslen(context->obuf);
        explicit_bzero(context->obuf, (size_t)n);
    }
    return n;
}

/* hiredis's table of functions with the one that writes exchanged. */
static bool exchange_functions(struct evb_link *link)
{
    redisContextFuncs *funcs = evb_alloc(sizeof *funcs);
    if (!funcs)
        return false;
    *funcs = *link->context->funcs;
    funcs->write = write_and_wipe;
    link->write = write_quietly;
    link->context->privdata = link;
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
    char text[320];
    snprintf(text, sizeof text, "%s connection: %s", link->name, why);
    evb_link_close(link);
    link->hooks->down(link, error, text, link->user);
}

/* To a plaintext Redis a ClientHello is a line whose end it waits for. */
const char *evb_link_silence(const struct evb_link *link)
{
    return link->stage == EVB_LINK_SECURING
               ? ": no answer to TLS (does this port speak TLS? Else use redis://)"
               : "";
}

/* Its first byte is that of a TLS alert (RFC 8446, section 5.1). */
static bool speaks_tls(const redisReader *reader)
{
    return strstr(reader->errstr, "\"\\x15\"") != NULL;
}

static void fail_from_hiredis(struct evb_link *link)
{
    char why[240];
    const redisContext *context = link->context;
    bool memory =
        link->gate.error ? link->gate.error == evb_gate_no_memory : context->err == REDIS_ERR_OOM;
    bool protocol = !memory && (link->gate.error || context->err == REDIS_ERR_PROTOCOL);
    bool tls = link->secured && context->err == REDIS_ERR_OTHER;
    snprintf(why, sizeof why, "%s%s%s", protocol ? "protocol error: " : "",
             link->gate.error                ? link->gate.error
             : context->err == REDIS_ERR_EOF ? "closed by the server"
             : context->errstr[0]            ? context->errstr
                                             : "input or output failed",
             !link->secured && (protocol ? speaks_tls(context->reader) : !link->heard) ? TLS_PORT
                                                                                       : "");
    evb_link_fail(link,
                  memory     ? EVBUS_ENOMEM
                  : protocol ? EVBUS_EPARSE
                  : tls      ? EVBUS_ETLS
                             : EVBUS_ESYS,
                  why);
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

void evb_link_send(struct evb_link *link, const char *bytes, size_t length)
{
    if (!link->context)
        return;
    if (redisAppendFormattedCommand(link->context, bytes, length) != REDIS_OK)
        link->gate.error = evb_gate_no_memory; /* told at the next read or write */
}

/* So much that the buffer does not move, and leave a copy behind, before it is written. */
static bool make_room(struct evb_link *link, size_t length)
{
    if (!link->context)
        return true;
    sds roomy = sdsMakeRoomFor(link->context->obuf, length + SECRET_ROOM);
    if (roomy)
        link->context->obuf = roomy;
    link->secret = true;
    return roomy != NULL;
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
    if (buf.failed || !make_room(link, buf.length))
        link->gate.error = evb_gate_no_memory;
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
        link->handing_out = true;
        link->hooks->reply(link, reply, link->user);
        if (link->epoch != epoch)
            return false;
        link->handing_out = false;
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
    link->heard = true;
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
    return link->secured || got == 16 * 1024; /* TLS has records of any size */
}

/* What TLS holds decrypted, no socket tells; and what it has to write itself waits for room. */
static void read_on(struct evb_link *link)
{
    if (evb_tls_has_pending(link->context))
        event_active(link->readable, EV_READ, 0);
    if (evb_tls_wants_write(link->context))
        want_write(link, true);
}

void evb_link_read(struct evb_link *link)
{
    unsigned epoch = link->epoch;
    for (int i = 0; link->stage == EVB_LINK_UP && i < READS_A_TURN && read_once(link); i++)
        continue;
    if (link->epoch == epoch && link->context && link->gate.error)
        fail_from_hiredis(link);
    else if (link->epoch == epoch && link->stage == EVB_LINK_UP && link->secured)
        read_on(link);
}

/* The peer is gone. What it said before is still there, and counts. */
static void fail_to_write(struct evb_link *link)
{
    redisContext *context = link->context;
    unsigned epoch = link->epoch;
    int error = context->err;
    char why[sizeof context->errstr];
    snprintf(why, sizeof why, "%s", context->errstr);
    context->err = 0;
    for (int i = 0; !link->secured && !link->handing_out && i < READS_A_TURN; i++)
        if (redisBufferRead(context) != REDIS_OK || !hand_out(link))
            break;
    if (link->epoch != epoch)
        return;
    context->err = error;
    snprintf(context->errstr, sizeof context->errstr, "%s", why);
    fail_from_hiredis(link);
}

void evb_link_flush(struct evb_link *link)
{
    int done = 1;
    if (link->stage != EVB_LINK_UP)
        return;
    if (link->gate.error) { /* a command is missing: no later one may go */
        fail_from_hiredis(link);
        return;
    }
    size_t before = sdslen(link->context->obuf);
    if (before == 0)
        return;
    if (redisBufferWrite(link->context, &done) != REDIS_OK) {
        fail_to_write(link);
        return;
    }
    evb_count(link->metrics, EVB_COUNT_bytes_out, (int64_t)(before - sdslen(link->context->obuf)));
    want_write(link, !done && !(link->secured && evb_tls_wants_read(link->context)));
}

static void become_up(struct evb_link *link)
{
    want_write(link, false);
    link->stage = EVB_LINK_UP;
    link->last_read_us = evb_clock_mono_us();
    link->hooks->up(link, link->user);
}

static void secure(struct evb_link *link)
{
    char why[200];
    int rc = evb_tls_handshake(link->context, why, sizeof why);
    if (rc == 1)
        become_up(link);
    else if (rc == 0)
        want_write(link, evb_tls_wants_write(link->context));
    else
        evb_link_fail(link, rc, why);
}

/* connect(2): a socket that becomes writable has SO_ERROR to tell. */
static void finish_connect(struct evb_link *link)
{
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(link->context->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0)
        error = errno;
    if (error != 0) {
        char text[128];
        evb_link_fail(link, EVBUS_ESYS, strerror_r(error, text, sizeof text));
        return;
    }
    event_add(link->readable, NULL);
    if (!link->tls) {
        become_up(link);
    } else if (evb_tls_attach(link->tls, link->context, link->funcs) != 0) {
        evb_link_fail(link, EVBUS_ENOMEM, evbus_last_error());
    } else {
        redisContextFuncs *funcs = link->funcs;
        link->write = funcs->write;
        funcs->write = write_and_wipe;
        link->secured = true;
        link->stage = EVB_LINK_SECURING;
        secure(link);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct evb_link *link = arg;
    struct evb_loop *loop = link->loop;
    (void)fd;
    (void)what;
    evb_loop_begin(loop);
    if (link->stage == EVB_LINK_SECURING)
        secure(link);
    else
        evb_link_read(link);
    evb_loop_end(loop);
}

/* TLS had something of its own to write, which it does when it is asked for data. */
static void write_for_tls(struct evb_link *link)
{
    want_write(link, false);
    evb_link_read(link);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct evb_link *link = arg;
    struct evb_loop *loop = link->loop;
    (void)fd;
    (void)what;
    evb_loop_begin(loop);
    if (link->stage == EVB_LINK_CONNECTING)
        finish_connect(link);
    else if (link->stage == EVB_LINK_SECURING)
        secure(link);
    else if (link->secured && evb_link_backlog(link) == 0)
        write_for_tls(link);
    else
        evb_link_flush(link);
    evb_loop_end(loop);
}

static redisContext *context_on(int fd)
{
    redisOptions options = {.options = REDIS_OPT_NONBLOCK, .type = REDIS_CONN_USERFD};
    options.endpoint.fd = fd;
    redisContext *context = redisConnectWithOptions(&options);
    if (!context)
        close(fd);
    return context;
}

int evb_link_open(struct evb_link *link, const struct evb_address *address,
                  const struct evb_tls *tls)
{
    char label[64];
    evb_link_close(link);
    snprintf(label, sizeof label, "%s connection", link->name);
    int fd = evb_socket_open(label, address);
    if (fd < 0)
        return fd;
    link->context = context_on(fd);
    if (!link->context)
        return evb_fail_memory();
    evb_gate_init(&link->gate, link->max_frame);
    evb_gate_attach(&link->gate, link->context->reader);
    link->readable = event_new(link->loop->base, fd, EV_READ | EV_PERSIST, on_readable, link);
    link->writable = event_new(link->loop->base, fd, EV_WRITE | EV_PERSIST, on_writable, link);
    if (!link->readable || !link->writable || !exchange_functions(link)) {
        evb_link_close(link);
        return evb_fail_memory();
    }
    link->tls = tls;
    link->stage = EVB_LINK_CONNECTING;
    want_write(link, true);
    return 0;
}
