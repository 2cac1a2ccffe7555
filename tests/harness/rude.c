/* rude.c - a scripted server. Its thread holds the lock whenever it is not in poll(2). */
#include "harness/rude.h"
#include <arpa/inet.h>
#include "harness/check.h"
#include <fnmatch.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS_MOST = 16, TOPICS_MOST = 64, SCRIPTS_MOST = 16, WORDS_MOST = 16, INPUT = 1 << 20 };

struct client {
    int fd;      /* -1: free */
    char *input; /* owned, INPUT bytes */
    size_t length;
    struct {
        char name[200];
        bool pattern;
    } topics[TOPICS_MOST];
    int topic_count;
    bool subscriber;
};

struct script {
    char command[32];
    char *bytes; /* owned; NULL: only counted */
    int left;    /* 0: for ever */
    int seen;
};

struct word {
    const char *text;
    size_t length;
};

struct rude {
    pthread_t thread;
    int listener, wake, port;
    pthread_mutex_t lock;
    /* under lock */
    bool stop, drip, mute;
    char *greeting; /* owned */
    int accepted;
    struct client clients[CLIENTS_MOST];
    struct script scripts[SCRIPTS_MOST];
    int script_count;
};

static const char hello[] =
    "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$5\r\nproto\r\n:2\r\n"
    "$2\r\nid\r\n:7\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
    "$7\r\nmodules\r\n*0\r\n";

/* ---- writing ---- */

static void hang_up(struct client *client)
{
    close(client->fd);
    client->fd = -1;
    client->length = 0;
    client->topic_count = 0;
    client->subscriber = false;
}

static bool put(struct client *client, const char *bytes, size_t length, size_t at_once)
{
    for (size_t sent = 0; sent < length;) {
        size_t left = length - sent, part = at_once && left > at_once ? at_once : left;
        ssize_t n = send(client->fd, bytes + sent, part, MSG_NOSIGNAL);
        if (n <= 0)
            return false; /* gone, or it takes nothing for two seconds */
        sent += (size_t)n;
    }
    return true;
}

static void answer(struct rude *rude, struct client *client, const char *bytes, size_t length)
{
    put(client, bytes, length, rude->drip ? 1 : 0);
}

static void answer_text(struct rude *rude, struct client *client, const char *text)
{
    answer(rude, client, text, strlen(text));
}

static int client_kind(const struct client *client)
{
    return client->subscriber ? RUDE_SUBSCRIBER : RUDE_PUBLISHER;
}

/* ---- as Redis does ---- */

static void do_subscribe(struct rude *rude, struct client *client, const struct word *words,
                         bool pattern)
{
    char out[512];
    int length = snprintf(out, sizeof out, "*3\r\n$%d\r\n%s\r\n$%zu\r\n%.*s\r\n:%d\r\n",
                          pattern ? 10 : 9, pattern ? "psubscribe" : "subscribe", words[1].length,
                          (int)words[1].length, words[1].text, client->topic_count + 1);
    client->subscriber = true;
    if (client->topic_count < TOPICS_MOST) {
        int at = client->topic_count++;
        snprintf(client->topics[at].name, sizeof client->topics[at].name, "%.*s",
                 (int)words[1].length, words[1].text);
        client->topics[at].pattern = pattern;
    }
    answer(rude, client, out, (size_t)length);
}

static void do_unsubscribe(struct rude *rude, struct client *client, const struct word *words,
                           bool pattern)
{
    char out[512];
    for (int i = 0; i < client->topic_count; i++)
        if (client->topics[i].pattern == pattern &&
            strlen(client->topics[i].name) == words[1].length &&
            !memcmp(client->topics[i].name, words[1].text, words[1].length))
            client->topics[i--] = client->topics[--client->topic_count];
    int length =
        snprintf(out, sizeof out, "*3\r\n$%d\r\n%s\r\n$%zu\r\n%.*s\r\n:%d\r\n", pattern ? 12 : 11,
                 pattern ? "punsubscribe" : "unsubscribe", words[1].length, (int)words[1].length,
                 words[1].text, client->topic_count);
    answer(rude, client, out, (size_t)length);
}

static void deliver(struct rude *rude, struct client *client, const char *channel,
                    const char *pattern, const struct word *payload)
{
    char head[768];
    int length = pattern
                     ? snprintf(head, sizeof head,
                                "*4\r\n$8\r\npmessage\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n$%zu\r\n",
                                strlen(pattern), pattern, strlen(channel), channel, payload->length)
                     : snprintf(head, sizeof head, "*3\r\n$7\r\nmessage\r\n$%zu\r\n%s\r\n$%zu\r\n",
                                strlen(channel), channel, payload->length);
    answer(rude, client, head, (size_t)length);
    answer(rude, client, payload->text, payload->length);
    answer(rude, client, "\r\n", 2);
}

static void do_publish(struct rude *rude, struct client *client, const struct word *words)
{
    char channel[256], out[32];
    int receivers = 0;
    snprintf(channel, sizeof channel, "%.*s", (int)words[1].length, words[1].text);
    for (int i = 0; i < CLIENTS_MOST; i++) {
        struct client *to = &rude->clients[i];
        for (int t = 0; to->fd >= 0 && t < to->topic_count; t++) {
            bool pattern = to->topics[t].pattern;
            if (pattern ? fnmatch(to->topics[t].name, channel, 0) != 0
                        : strcmp(to->topics[t].name, channel) != 0)
                continue;
            deliver(rude, to, channel, pattern ? to->topics[t].name : NULL, &words[2]);
            receivers++;
        }
    }
    snprintf(out, sizeof out, ":%d\r\n", receivers);
    answer_text(rude, client, out);
}

static struct script *find(struct rude *rude, const char *command)
{
    for (int i = 0; i < rude->script_count; i++)
        if (!strcasecmp(rude->scripts[i].command, command))
            return &rude->scripts[i];
    if (rude->script_count == SCRIPTS_MOST)
        abort();
    struct script *script = &rude->scripts[rude->script_count++];
    memset(script, 0, sizeof *script);
    snprintf(script->command, sizeof script->command, "%s", command);
    return script;
}

static void obey(struct rude *rude, struct client *client, const struct word *words)
{
    char name[32];
    snprintf(name, sizeof name, "%.*s", (int)words[0].length, words[0].text);
    struct script *script = find(rude, name);
    script->seen++;
    if (rude->mute)
        return;
    if (script->bytes) {
        answer_text(rude, client, script->bytes);
        if (script->left && --script->left == 0) {
            free(script->bytes);
            script->bytes = NULL;
        }
    } else if (!strcasecmp(name, "HELLO"))
        answer_text(rude, client, hello);
    else if (!strcasecmp(name, "PING"))
        answer_text(rude, client,
                    client->subscriber ? "*2\r\n$4\r\npong\r\n$0\r\n\r\n" : "+PONG\r\n");
    else if (!strcasecmp(name, "SUBSCRIBE") || !strcasecmp(name, "PSUBSCRIBE"))
        do_subscribe(rude, client, words, name[0] == 'P' || name[0] == 'p');
    else if (!strcasecmp(name, "UNSUBSCRIBE") || !strcasecmp(name, "PUNSUBSCRIBE"))
        do_unsubscribe(rude, client, words, name[0] == 'P' || name[0] == 'p');
    else if (!strcasecmp(name, "HSCAN"))
        answer_text(rude, client, "*2\r\n$1\r\n0\r\n*0\r\n");
    else if (!strncasecmp(name, "EVAL", 4))
        answer_text(rude, client,
                    "-NOPERM this user has no permissions to run the 'eval' command\r\n");
    else if (!strcasecmp(name, "PUBLISH"))
        do_publish(rude, client, words);
    else
        answer_text(rude, client, "+OK\r\n");
}

/* ---- reading ---- */

/* One command at the input's start: its bytes, or 0 when it is not whole yet. */
static size_t parse(const struct client *client, struct word words[WORDS_MOST])
{
    const char *at = client->input, *end = at + client->length;
    long count = 0, length;
    char *next;
    if (at == end || *at != '*' || !memchr(at, '\n', client->length))
        return 0;
    count = strtol(at + 1, &next, 10);
    at = next + 2;
    memset(words, 0, WORDS_MOST * sizeof *words);
    for (long i = 0; i < count && i < WORDS_MOST; i++) {
        if (at >= end || *at != '$' || !memchr(at, '\n', (size_t)(end - at)))
            return 0;
        length = strtol(at + 1, &next, 10);
        at = next + 2;
        if (length < 0 || end - at < length + 2)
            return 0;
        words[i] = (struct word){at, (size_t)length};
        at += length + 2;
    }
    return (size_t)(at - client->input);
}

static void serve(struct rude *rude, struct client *client)
{
    struct word words[WORDS_MOST];
    size_t taken;
    ssize_t n =
        recv(client->fd, client->input + client->length, INPUT - client->length - 1, MSG_DONTWAIT);
    if (n <= 0) {
        hang_up(client);
        return;
    }
    client->length += (size_t)n;
    client->input[client->length] = '\0';
    while (client->fd >= 0 && (taken = parse(client, words)) > 0) {
        obey(rude, client, words);
        memmove(client->input, client->input + taken, client->length - taken + 1);
        client->length -= taken;
    }
    if (client->length >= INPUT - 1)
        hang_up(client);
}

static void take_client(struct rude *rude)
{
    struct timeval patience = {.tv_sec = 2};
    int fd = accept4(rude->listener, NULL, NULL, SOCK_CLOEXEC), on = 1, slot = 0;
    while (slot < CLIENTS_MOST && rude->clients[slot].fd >= 0)
        slot++;
    if (fd < 0 || slot == CLIENTS_MOST) {
        close(fd);
        return;
    }
    rude->accepted++;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    rude->clients[slot].fd = fd;
    if (rude->greeting) {
        answer_text(rude, &rude->clients[slot], rude->greeting);
        hang_up(&rude->clients[slot]);
    }
}

static void *run(void *user)
{
    struct rude *rude = user;
    pthread_mutex_lock(&rude->lock);
    while (!rude->stop) {
        struct pollfd polls[CLIENTS_MOST + 2] = {{.fd = rude->listener, .events = POLLIN},
                                                 {.fd = rude->wake, .events = POLLIN}};
        for (int i = 0; i < CLIENTS_MOST; i++)
            polls[i + 2] = (struct pollfd){.fd = rude->clients[i].fd, .events = POLLIN};
        pthread_mutex_unlock(&rude->lock);
        poll(polls, CLIENTS_MOST + 2, -1);
        pthread_mutex_lock(&rude->lock);
        uint64_t told;
        if (polls[1].revents)
            (void)!read(rude->wake, &told, sizeof told);
        for (int i = 0; i < CLIENTS_MOST; i++)
            if (polls[i + 2].revents && rude->clients[i].fd == polls[i + 2].fd)
                serve(rude, &rude->clients[i]);
        if (polls[0].revents)
            take_client(rude);
    }
    pthread_mutex_unlock(&rude->lock);
    return NULL;
}

/* ---- for the test ---- */

static void wake(struct rude *rude)
{
    uint64_t one = 1;
    (void)!write(rude->wake, &one, sizeof one);
}

struct rude *rude_start(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    struct rude *rude = calloc(1, sizeof *rude);
    ck_assert_ptr_nonnull(rude);
    pthread_mutex_init(&rude->lock, NULL);
    for (int i = 0; i < CLIENTS_MOST; i++) {
        rude->clients[i].fd = -1;
        rude->clients[i].input = malloc(INPUT);
        ck_assert_ptr_nonnull(rude->clients[i].input);
    }
    rude->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rude->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(rude->listener, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(rude->listener, 64), 0);
    ck_assert_int_eq(getsockname(rude->listener, (struct sockaddr *)&address, &length), 0);
    rude->port = ntohs(address.sin_port);
    ck_assert_int_eq(pthread_create(&rude->thread, NULL, run, rude), 0);
    return rude;
}

void rude_free(struct rude *rude)
{
    pthread_mutex_lock(&rude->lock);
    rude->stop = true;
    pthread_mutex_unlock(&rude->lock);
    wake(rude);
    pthread_join(rude->thread, NULL);
    for (int i = 0; i < CLIENTS_MOST; i++) {
        if (rude->clients[i].fd >= 0)
            close(rude->clients[i].fd);
        free(rude->clients[i].input);
    }
    for (int i = 0; i < rude->script_count; i++)
        free(rude->scripts[i].bytes);
    free(rude->greeting);
    close(rude->listener);
    close(rude->wake);
    pthread_mutex_destroy(&rude->lock);
    free(rude);
}

int rude_port(const struct rude *rude)
{
    return rude->port;
}

void rude_answer(struct rude *rude, const char *command, const char *bytes, int times)
{
    pthread_mutex_lock(&rude->lock);
    struct script *script = find(rude, command);
    free(script->bytes);
    script->bytes = bytes ? strdup(bytes) : NULL;
    script->left = times;
    pthread_mutex_unlock(&rude->lock);
}

static int send_to(struct rude *rude, int who, const void *bytes, size_t length, size_t at_once)
{
    int took = 0;
    pthread_mutex_lock(&rude->lock);
    for (int i = 0; i < CLIENTS_MOST; i++) {
        struct client *client = &rude->clients[i];
        if (client->fd >= 0 && (client_kind(client) & who))
            took += put(client, bytes, length, at_once);
    }
    pthread_mutex_unlock(&rude->lock);
    return took;
}

int rude_send(struct rude *rude, int who, const void *bytes, size_t length)
{
    return send_to(rude, who, bytes, length, 0);
}

int rude_drip(struct rude *rude, int who, const void *bytes, size_t length)
{
    return send_to(rude, who, bytes, length, 1);
}

int rude_message(struct rude *rude, const char *channel, const void *bytes, size_t length)
{
    int took = 0;
    struct word payload = {bytes, length};
    pthread_mutex_lock(&rude->lock);
    for (int i = 0; i < CLIENTS_MOST; i++)
        if (rude->clients[i].fd >= 0 && rude->clients[i].subscriber) {
            deliver(rude, &rude->clients[i], channel, NULL, &payload);
            took++;
        }
    pthread_mutex_unlock(&rude->lock);
    return took;
}

void rude_close(struct rude *rude, int who)
{
    pthread_mutex_lock(&rude->lock);
    for (int i = 0; i < CLIENTS_MOST; i++)
        if (rude->clients[i].fd >= 0 && (client_kind(&rude->clients[i]) & who))
            hang_up(&rude->clients[i]);
    pthread_mutex_unlock(&rude->lock);
    wake(rude);
}

void rude_set_mute(struct rude *rude, bool mute)
{
    pthread_mutex_lock(&rude->lock);
    rude->mute = mute;
    pthread_mutex_unlock(&rude->lock);
}

void rude_set_drip(struct rude *rude, bool drip)
{
    pthread_mutex_lock(&rude->lock);
    rude->drip = drip;
    pthread_mutex_unlock(&rude->lock);
}

void rude_set_greeting(struct rude *rude, const char *bytes)
{
    pthread_mutex_lock(&rude->lock);
    free(rude->greeting);
    rude->greeting = bytes ? strdup(bytes) : NULL;
    pthread_mutex_unlock(&rude->lock);
}

int rude_count(struct rude *rude, const char *command)
{
    pthread_mutex_lock(&rude->lock);
    int seen = find(rude, command)->seen;
    pthread_mutex_unlock(&rude->lock);
    return seen;
}

int rude_connections(struct rude *rude, int who)
{
    int count = 0;
    pthread_mutex_lock(&rude->lock);
    for (int i = 0; i < CLIENTS_MOST; i++)
        count += rude->clients[i].fd >= 0 && (client_kind(&rude->clients[i]) & who);
    pthread_mutex_unlock(&rude->lock);
    return count;
}

int rude_accepted(struct rude *rude)
{
    pthread_mutex_lock(&rude->lock);
    int accepted = rude->accepted;
    pthread_mutex_unlock(&rude->lock);
    return accepted;
}
