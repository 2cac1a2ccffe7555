/* middle.c - the one in the middle. Its thread holds the lock whenever it is not in poll(2). */
#include "harness/middle.h"
#include <arpa/inet.h>
#include "harness/check.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PAIRS_MOST = 16, PART = 16 * 1024, RECORD_MOST = PART + 256, HEADER = 5 };

struct bytes {
    unsigned char *data; /* owned */
    size_t length, room;
};

struct pair {          /* a connection of the bus's, and the one to the server behind */
    int bus, server;   /* -1: free, none */
    SSL *ssl;          /* owned; NULL: not MIDDLE_TLS */
    BIO *in, *out;     /* the SSL's: what came, what is to go */
    size_t sent, came; /* to, from the bus */
    size_t stop_at;    /* hangs up when so many came; 0: never */
    bool swallows;     /* what comes from either side goes nowhere */
    struct middle_act act;
    unsigned char header[HEADER]; /* of the record that comes */
    size_t header_length, record_left;
    bool no_tls, mute;
    struct bytes raw, plain;
};

struct middle {
    pthread_t thread;
    int listener, wake, port;
    pthread_mutex_t lock;
    /* under lock */
    bool stop;
    struct middle_act acts[2];
    int accepted, no_tls;
    struct pair pairs[PAIRS_MOST];
    struct bytes raw, plain; /* of connections that have ended */
};

static void keep(struct bytes *bytes, const void *data, size_t length)
{
    if (bytes->length + length > bytes->room) {
        bytes->room = (bytes->length + length) * 2;
        bytes->data = realloc(bytes->data, bytes->room);
        if (!bytes->data)
            abort();
    }
    if (length)
        memcpy(bytes->data + bytes->length, data, length);
    bytes->length += length;
}

static void drop(struct bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct bytes){0};
}

/* ---- a connection's end ---- */

static void hang_up(struct middle *middle, struct pair *pair)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    if (pair->act.reset)
        setsockopt(pair->bus, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(pair->bus);
    if (pair->server >= 0)
        close(pair->server);
    SSL_free(pair->ssl);
    keep(&middle->raw, pair->raw.data, pair->raw.length);
    keep(&middle->plain, pair->plain.data, pair->plain.length);
    drop(&pair->raw);
    drop(&pair->plain);
    *pair = (struct pair){.bus = -1, .server = -1};
}

static bool put(int fd, const unsigned char *bytes, size_t length, size_t at_once)
{
    for (size_t sent = 0; sent < length;) {
        size_t part = length - sent < at_once ? length - sent : at_once;
        ssize_t n = send(fd, bytes + sent, part, MSG_NOSIGNAL);
        if (n <= 0)
            return false; /* gone, or it takes nothing for two seconds */
        sent += (size_t)n;
    }
    return true;
}

static void flip(unsigned char *bytes, size_t length, size_t before, size_t at)
{
    if (at > before && at <= before + length)
        bytes[at - before - 1] ^= 0x40;
}

/* False: that was all for this connection. */
static bool to_bus(struct pair *pair, unsigned char *bytes, size_t length)
{
    size_t most = pair->act.cut_at ? pair->act.cut_at - pair->sent : SIZE_MAX;
    flip(bytes, length, pair->sent, pair->act.flip_at);
    pair->sent += length < most ? length : most;
    return put(pair->bus, bytes, length < most ? length : most, pair->act.drip ? 1 : SIZE_MAX) &&
           length < most;
}

/* ---- TLS ---- */

static bool flush(struct pair *pair)
{
    unsigned char bytes[PART];
    bool more = true;
    int n;
    while (more && (n = BIO_read(pair->out, bytes, sizeof bytes)) > 0)
        more = to_bus(pair, bytes, (size_t)n);
    return more;
}

static bool may_go_on(SSL *ssl, int result)
{
    int kind = SSL_get_error(ssl, result);
    return result > 0 || kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE;
}

static bool decrypt(struct pair *pair, const unsigned char *bytes, size_t length)
{
    unsigned char inside[PART];
    int n;
    ERR_clear_error();
    BIO_write(pair->in, bytes, (int)length);
    while ((n = SSL_read(pair->ssl, inside, sizeof inside)) > 0) {
        keep(&pair->plain, inside, (size_t)n);
        if (!put(pair->server, inside, (size_t)n, SIZE_MAX))
            return false;
    }
    bool fine = may_go_on(pair->ssl, n);
    return flush(pair) && fine; /* an alert goes out before it hangs up */
}

static SSL *tls_new(const struct middle_act *act)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_security_level(context, 0); /* what a bad server has, the bus is to judge */
    SSL_CTX_set_min_proto_version(context, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(context, act->most_version);
    bool loaded = SSL_CTX_use_certificate_chain_file(context, act->cert->cert) == 1 &&
                  SSL_CTX_use_PrivateKey_file(context, act->cert->key, SSL_FILETYPE_PEM) == 1;
    if (loaded && act->client_ca) {
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        loaded = SSL_CTX_load_verify_file(context, act->client_ca) == 1;
    }
    SSL *ssl = loaded ? SSL_new(context) : NULL;
    SSL_CTX_free(context);
    return ssl;
}

/* ---- a connection's life ---- */

/* RFC 8446, section 5.1: type, version, length; all that comes must be made of them. */
static void scan(struct middle *middle, struct pair *pair, const unsigned char *bytes,
                 size_t length)
{
    unsigned char *head = pair->header;
    for (size_t i = 0; i < length && !pair->no_tls;) {
        size_t left = length - i, part = left < pair->record_left ? left : pair->record_left;
        pair->record_left -= part;
        i += part;
        if (i == length)
            return;
        head[pair->header_length++] = bytes[i++];
        bool first = pair->came == 0 && i == 1;
        pair->no_tls = (pair->header_length == 1 && (head[0] < 0x14 || head[0] > 0x17)) ||
                       (first && head[0] != 0x16) || (pair->header_length == 2 && head[1] != 3);
        if (pair->header_length == HEADER) {
            pair->record_left = (size_t)head[3] << 8 | head[4];
            pair->no_tls = pair->record_left > RECORD_MOST;
            pair->header_length = 0;
        }
        middle->no_tls += pair->no_tls;
    }
}

static bool from_bus(struct middle *middle, struct pair *pair)
{
    unsigned char bytes[PART];
    ssize_t n = recv(pair->bus, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n <= 0)
        return false;
    size_t length = (size_t)n;
    bool last = pair->stop_at && pair->came + length >= pair->stop_at;
    length = last ? pair->stop_at - pair->came : length;
    if (!pair->act.forget)
        keep(&pair->raw, bytes, length);
    scan(middle, pair, bytes, length);
    flip(bytes, length, pair->came, pair->act.flip_in_at);
    pair->came += length;
    if (pair->swallows)
        return true;
    if (pair->act.kind == MIDDLE_TLS)
        return decrypt(pair, bytes, length);
    if (pair->act.kind == MIDDLE_PASS)
        return put(pair->server, bytes, length, SIZE_MAX) && !last;
    if (!pair->act.says)
        return true;
    put(pair->bus, (const unsigned char *)pair->act.says, strlen(pair->act.says), SIZE_MAX);
    return false;
}

static bool from_server(struct pair *pair)
{
    unsigned char bytes[PART];
    ssize_t n = recv(pair->server, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n <= 0 || pair->swallows)
        return n > 0;
    if (pair->mute)
        return true;
    if (!pair->ssl)
        return to_bus(pair, bytes, (size_t)n);
    ERR_clear_error();
    return SSL_write(pair->ssl, bytes, (int)n) > 0 && flush(pair);
}

static int dial(const struct middle_act *act)
{
    struct sockaddr_un there = {.sun_family = AF_UNIX};
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)act->port),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(act->path ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (act->path)
        strncpy(there.sun_path, act->path, sizeof there.sun_path - 1);
    int rc = act->path ? connect(fd, (struct sockaddr *)&there, sizeof there)
                       : connect(fd, (struct sockaddr *)&address, sizeof address);
    if (rc == 0)
        return fd;
    close(fd);
    return -1;
}

static void be_quick(int fd)
{
    struct timeval patience = {.tv_sec = 2};
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void take_client(struct middle *middle)
{
    int fd = accept4(middle->listener, NULL, NULL, SOCK_CLOEXEC), slot = 0;
    while (slot < PAIRS_MOST && middle->pairs[slot].bus >= 0)
        slot++;
    if (fd < 0 || slot == PAIRS_MOST) {
        close(fd);
        return;
    }
    struct pair *pair = &middle->pairs[slot];
    *pair = (struct pair){.bus = fd, .server = -1, .act = middle->acts[middle->accepted++ % 2]};
    be_quick(fd);
    if (pair->act.path || pair->act.port) {
        pair->server = dial(&pair->act);
        be_quick(pair->server);
    }
    if (pair->act.kind == MIDDLE_TLS && (pair->ssl = tls_new(&pair->act))) {
        pair->in = BIO_new(BIO_s_mem());
        pair->out = BIO_new(BIO_s_mem());
        SSL_set_bio(pair->ssl, pair->in, pair->out);
        SSL_set_accept_state(pair->ssl);
    }
    bool fine = (pair->act.kind == MIDDLE_ANSWER || pair->server >= 0) &&
                (pair->act.kind != MIDDLE_TLS || pair->ssl);
    if (!fine)
        hang_up(middle, pair);
}

static void serve(struct middle *middle, struct pair *pair, const struct pollfd *polls)
{
    bool more = true;
    if (pair->bus != polls[0].fd || pair->server != polls[1].fd)
        return; /* another one since */
    if (polls[0].revents)
        more = from_bus(middle, pair);
    if (more && polls[1].revents)
        more = from_server(pair);
    if (!more)
        hang_up(middle, pair);
}

static void *run(void *user)
{
    struct middle *middle = user;
    pthread_mutex_lock(&middle->lock);
    while (!middle->stop) {
        struct pollfd polls[2 * PAIRS_MOST + 2] = {{.fd = middle->listener, .events = POLLIN},
                                                   {.fd = middle->wake, .events = POLLIN}};
        for (int i = 0; i < PAIRS_MOST; i++) {
            polls[2 * i + 2] = (struct pollfd){.fd = middle->pairs[i].bus, .events = POLLIN};
            polls[2 * i + 3] = (struct pollfd){.fd = middle->pairs[i].server, .events = POLLIN};
        }
        pthread_mutex_unlock(&middle->lock);
        poll(polls, 2 * PAIRS_MOST + 2, -1);
        pthread_mutex_lock(&middle->lock);
        uint64_t told;
        if (polls[1].revents)
            (void)!read(middle->wake, &told, sizeof told);
        for (int i = 0; i < PAIRS_MOST; i++)
            if (middle->pairs[i].bus >= 0)
                serve(middle, &middle->pairs[i], &polls[2 * i + 2]);
        if (polls[0].revents)
            take_client(middle);
    }
    pthread_mutex_unlock(&middle->lock);
    return NULL;
}

/* ---- for the test ---- */

static void wake(struct middle *middle)
{
    uint64_t one = 1;
    (void)!write(middle->wake, &one, sizeof one);
}

struct middle *middle_start(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    struct middle *middle = calloc(1, sizeof *middle);
    ck_assert_ptr_nonnull(middle);
    pthread_mutex_init(&middle->lock, NULL);
    for (int i = 0; i < PAIRS_MOST; i++)
        middle->pairs[i].bus = middle->pairs[i].server = -1;
    middle->acts[0].kind = middle->acts[1].kind = MIDDLE_ANSWER;
    middle->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    middle->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(middle->listener, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(middle->listener, 64), 0);
    ck_assert_int_eq(getsockname(middle->listener, (struct sockaddr *)&address, &length), 0);
    middle->port = ntohs(address.sin_port);
    ck_assert_int_eq(pthread_create(&middle->thread, NULL, run, middle), 0);
    return middle;
}

static void cut_all(struct middle *middle)
{
    for (int i = 0; i < PAIRS_MOST; i++)
        if (middle->pairs[i].bus >= 0)
            hang_up(middle, &middle->pairs[i]);
}

void middle_free(struct middle *middle)
{
    pthread_mutex_lock(&middle->lock);
    middle->stop = true;
    pthread_mutex_unlock(&middle->lock);
    wake(middle);
    pthread_join(middle->thread, NULL);
    cut_all(middle);
    drop(&middle->raw);
    drop(&middle->plain);
    close(middle->listener);
    close(middle->wake);
    pthread_mutex_destroy(&middle->lock);
    free(middle);
}

int middle_port(const struct middle *middle)
{
    return middle->port;
}

void middle_become(struct middle *middle, const struct middle_act *act,
                   const struct middle_act *second)
{
    pthread_mutex_lock(&middle->lock);
    cut_all(middle);
    drop(&middle->raw);
    drop(&middle->plain);
    middle->acts[0] = *act;
    middle->acts[1] = second ? *second : *act;
    middle->accepted = middle->no_tls = 0;
    pthread_mutex_unlock(&middle->lock);
    wake(middle);
}

void middle_cut(struct middle *middle)
{
    pthread_mutex_lock(&middle->lock);
    cut_all(middle);
    pthread_mutex_unlock(&middle->lock);
    wake(middle);
}

void middle_cut_after(struct middle *middle, size_t bytes, bool reset)
{
    pthread_mutex_lock(&middle->lock);
    for (int i = 0; i < PAIRS_MOST; i++) {
        struct pair *pair = &middle->pairs[i];
        pair->act.reset = reset;
        pair->act.cut_at = pair->sent + bytes;
        pair->stop_at = pair->came + bytes;
        if (pair->bus >= 0 && bytes == 0)
            hang_up(middle, pair);
    }
    pthread_mutex_unlock(&middle->lock);
    wake(middle);
}

void middle_swallow(struct middle *middle)
{
    pthread_mutex_lock(&middle->lock);
    for (int i = 0; i < PAIRS_MOST; i++)
        middle->pairs[i].swallows = middle->pairs[i].bus >= 0;
    pthread_mutex_unlock(&middle->lock);
}

void middle_mute(struct middle *middle)
{
    pthread_mutex_lock(&middle->lock);
    for (int i = 0; i < PAIRS_MOST; i++)
        middle->pairs[i].mute = true;
    pthread_mutex_unlock(&middle->lock);
}

static int look(struct middle *middle, const int *value)
{
    pthread_mutex_lock(&middle->lock);
    int now = *value;
    pthread_mutex_unlock(&middle->lock);
    return now;
}

int middle_accepted(struct middle *middle)
{
    return look(middle, &middle->accepted);
}

int middle_no_tls(struct middle *middle)
{
    return look(middle, &middle->no_tls);
}

static bool holds(const struct bytes *bytes, const char *text)
{
    return bytes->length && memmem(bytes->data, bytes->length, text, strlen(text)) != NULL;
}

bool middle_got(struct middle *middle, const char *text)
{
    pthread_mutex_lock(&middle->lock);
    bool found = holds(&middle->raw, text);
    for (int i = 0; i < PAIRS_MOST; i++)
        found = found || holds(&middle->pairs[i].raw, text);
    pthread_mutex_unlock(&middle->lock);
    return found;
}

bool middle_read(struct middle *middle, const char *text)
{
    pthread_mutex_lock(&middle->lock);
    bool found = holds(&middle->plain, text);
    for (int i = 0; i < PAIRS_MOST; i++)
        found = found || holds(&middle->pairs[i].plain, text);
    pthread_mutex_unlock(&middle->lock);
    return found;
}
