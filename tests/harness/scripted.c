/* scripted.c - a Redis of the test's own, on the test's base. */
#include "harness/scripted.h"
#include "harness/check.h"
#include "harness/until.h"
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

enum { CLIENTS = 32, WORDS = 160, TOPICS = 32, ANSWERS = 16, COMMANDS = 32, LOOK_MS = 10 };

struct client {
    struct scripted *server;
    struct bufferevent *io; /* NULL: free */
    char *topic[TOPICS];    /* "c<channel>", "p<pattern>" */
    bool subscriber, deaf;
};

struct scripted {
    struct event_base *base;
    scripted_eval_fn eval; /* NULL: nobody may run scripts */
    void *eval_user;
    struct evconnlistener *listener;
    char folder[64], path[100];
    struct client client[CLIENTS];
    struct {
        char *command, *bytes;
        int times;
    } answer[ANSWERS];
    struct {
        char name[24];
        int count;
        char last[512];
    } seen[COMMANDS];
};

static int who_is(const struct client *client)
{
    return client->subscriber ? SCRIPTED_SUBSCRIBER : SCRIPTED_PUBLISHER;
}

static void put(struct client *client, const char *bytes, size_t length)
{
    if (client->io && !client->deaf)
        bufferevent_write(client->io, bytes, length);
}

static void put_text(struct client *client, const char *text)
{
    put(client, text, strlen(text));
}

static void put_bulk(struct client *client, const char *bytes, size_t length)
{
    char head[32];
    snprintf(head, sizeof head, "$%zu\r\n", length);
    put_text(client, head);
    put(client, bytes, length);
    put_text(client, "\r\n");
}

static void hang_up(struct client *client)
{
    if (client->io)
        bufferevent_free(client->io);
    for (int i = 0; i < TOPICS; i++) {
        free(client->topic[i]);
        client->topic[i] = NULL;
    }
    client->io = NULL;
}

/* ---- what Redis does ---- */

int scripted_publish(struct scripted *server, const char *channel, const char *bytes, size_t length)
{
    int receivers = 0;
    for (int c = 0; c < CLIENTS; c++) {
        struct client *client = &server->client[c];
        for (int i = 0; client->io && i < TOPICS; i++) {
            const char *topic = client->topic[i];
            bool pattern = topic && topic[0] == 'p';
            if (!topic || (pattern ? fnmatch(topic + 1, channel, 0) : strcmp(topic + 1, channel)))
                continue;
            put_text(client, pattern ? "*4\r\n$8\r\npmessage\r\n" : "*3\r\n$7\r\nmessage\r\n");
            if (pattern)
                put_bulk(client, topic + 1, strlen(topic + 1));
            put_bulk(client, channel, strlen(channel));
            put_bulk(client, bytes, length);
            receivers++;
        }
    }
    return receivers;
}

static void subscribe(struct client *client, const char *command, const char *name)
{
    char tag = command[0] == 'p' ? 'p' : 'c', text[32];
    bool on = !strstr(command, "unsub");
    int count = 0, spare = -1, found = -1;
    client->subscriber = client->subscriber || on;
    for (int i = TOPICS - 1; i >= 0; i--)
        if (!client->topic[i])
            spare = i;
        else if (client->topic[i][0] == tag && !strcmp(client->topic[i] + 1, name))
            found = i;
    if (on && found < 0) {
        ck_assert_int_ge(spare, 0);
        ck_assert_int_gt(asprintf(&client->topic[spare], "%c%s", tag, name), 0);
    } else if (!on && found >= 0) {
        free(client->topic[found]);
        client->topic[found] = NULL;
    }
    for (int i = 0; i < TOPICS; i++)
        count += client->topic[i] != NULL;
    put_text(client, "*3\r\n");
    put_bulk(client, command, strlen(command));
    put_bulk(client, name, strlen(name));
    snprintf(text, sizeof text, ":%d\r\n", count);
    put_text(client, text);
}

static void eval(struct client *client, char **word, int count)
{
    struct scripted *server = client->server;
    char *reply =
        server->eval ? server->eval(word, count, server->eval_user)
                     : strdup("-NOPERM this user has no permissions to run the 'eval' command\r\n");
    put_text(client, reply);
    free(reply);
}

static void as_redis(struct client *client, char **word, const size_t *length, int count)
{
    static const char hello[] =
        "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$5\r\nproto\r\n:2"
        "\r\n$2\r\nid\r\n:7\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
        "$7\r\nmodules\r\n*0\r\n";
    char text[32];
    if (!strcasecmp(word[0], "HELLO")) {
        put_text(client, hello);
    } else if (!strcasecmp(word[0], "PING")) {
        put_text(client, client->subscriber ? "*2\r\n$4\r\npong\r\n$0\r\n\r\n" : "+PONG\r\n");
    } else if (!strcasecmp(word[0], "PUBLISH")) {
        int n = scripted_publish(client->server, word[1], word[2], length[2]);
        snprintf(text, sizeof text, ":%d\r\n", n);
        put_text(client, text);
    } else if (!strncasecmp(word[0], "EVAL", 4)) {
        eval(client, word, count);
    } else if (!strcasecmp(word[0], "HSCAN")) {
        put_text(client, "*2\r\n$1\r\n0\r\n*0\r\n");
    } else if (strcasestr(word[0], "subscribe")) {
        subscribe(client, word[0], word[1]);
    } else {
        put_text(client, "+OK\r\n");
    }
}

/* ---- reading ---- */

static void note(struct scripted *server, char **word, int count)
{
    int i = 0;
    while (server->seen[i].count && strcasecmp(server->seen[i].name, word[0]))
        i++;
    ck_assert_int_lt(i, COMMANDS);
    snprintf(server->seen[i].name, sizeof server->seen[i].name, "%s", word[0]);
    server->seen[i].count++;
    server->seen[i].last[0] = '\0';
    for (int w = 0; w < count; w++)
        snprintf(server->seen[i].last + strlen(server->seen[i].last),
                 sizeof server->seen[i].last - strlen(server->seen[i].last), "%s%s", w ? " " : "",
                 word[w]);
}

static void act(struct client *client, char **word, const size_t *length, int count)
{
    struct scripted *server = client->server;
    note(server, word, count);
    for (int i = 0; i < ANSWERS; i++) {
        if (!server->answer[i].command || strcasecmp(server->answer[i].command, word[0]))
            continue;
        if (strcasestr(word[0], "subscribe"))
            client->subscriber = true;
        put_text(client, server->answer[i].bytes);
        if (server->answer[i].times && --server->answer[i].times == 0)
            scripted_answer(server, word[0], NULL, 0);
        return;
    }
    as_redis(client, word, length, count);
}

/* "*2\r\n$4\r\nPING\r\n...": one whole command at `at`; its end, or NULL: not all there. */
static char *take_command(char *at, char *end, char **word, size_t *length, int *count)
{
    char *line = memmem(at, (size_t)(end - at), "\r\n", 2);
    if (!line)
        return NULL;
    ck_assert_int_eq(*at, '*');
    *count = atoi(at + 1);
    ck_assert(*count > 0 && *count < WORDS);
    at = line + 2;
    for (int i = 0; i < *count; i++) {
        line = memmem(at, (size_t)(end - at), "\r\n", 2);
        if (!line)
            return NULL;
        ck_assert_int_eq(*at, '$');
        length[i] = (size_t)atol(at + 1);
        word[i] = line + 2;
        if ((size_t)(end - word[i]) < length[i] + 2)
            return NULL;
        at = word[i] + length[i] + 2;
    }
    for (int i = 0; i < *count; i++)
        word[i][length[i]] = '\0';
    return at;
}

static void on_read(struct bufferevent *io, void *arg)
{
    struct client *client = arg;
    struct evbuffer *in = bufferevent_get_input(io);
    while (client->io == io && !client->deaf) {
        char *word[WORDS] = {NULL};
        size_t length[WORDS], all = evbuffer_get_length(in);
        int count = 0;
        char *from = all ? (char *)evbuffer_pullup(in, -1) : NULL;
        char *next = from ? take_command(from, from + all, word, length, &count) : NULL;
        if (!next)
            return;
        act(client, word, length, count);
        if (client->io == io)
            evbuffer_drain(in, (size_t)(next - from));
    }
}

static void on_event(struct bufferevent *io, short what, void *arg)
{
    (void)io;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        hang_up(arg);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from,
                      int length, void *arg)
{
    struct scripted *server = arg;
    int i = 0;
    (void)listener;
    (void)from;
    (void)length;
    while (server->client[i].io)
        i++;
    ck_assert_int_lt(i, CLIENTS);
    struct client *client = &server->client[i];
    *client = (struct client){.server = server};
    client->io = bufferevent_socket_new(server->base, fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(client->io, on_read, NULL, on_event, client);
    bufferevent_enable(client->io, EV_READ | EV_WRITE);
}

/* ---- the test's side ---- */

void scripted_listen(struct scripted *server, bool on)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", server->path);
    if (server->listener)
        evconnlistener_free(server->listener);
    server->listener = NULL;
    unlink(server->path);
    if (!on)
        return;
    server->listener =
        evconnlistener_new_bind(server->base, on_accept, server, LEV_OPT_CLOSE_ON_FREE, 64,
                                (struct sockaddr *)&address, (int)sizeof address);
    ck_assert_ptr_nonnull(server->listener);
}

struct scripted *scripted_start(struct event_base *base)
{
    struct scripted *server = calloc(1, sizeof *server);
    ck_assert_ptr_nonnull(server);
    signal(SIGPIPE, SIG_IGN); /* libevent writes to those who have gone */
    server->base = base;
    snprintf(server->folder, sizeof server->folder, "/tmp/evbus-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(server->folder));
    snprintf(server->path, sizeof server->path, "%s/redis", server->folder);
    scripted_listen(server, true);
    return server;
}

void scripted_free(struct scripted *server)
{
    scripted_close(server, SCRIPTED_PUBLISHER | SCRIPTED_SUBSCRIBER);
    scripted_listen(server, false);
    rmdir(server->folder);
    for (int i = 0; i < ANSWERS; i++) {
        free(server->answer[i].command);
        free(server->answer[i].bytes);
    }
    free(server);
}

const char *scripted_path(const struct scripted *server)
{
    return server->path;
}

void scripted_eval(struct scripted *server, scripted_eval_fn fn, void *user)
{
    server->eval = fn;
    server->eval_user = user;
}

void scripted_answer(struct scripted *server, const char *command, const char *bytes, int times)
{
    int spare = -1, i;
    for (i = 0; i < ANSWERS; i++)
        if (!server->answer[i].command)
            spare = spare < 0 ? i : spare;
        else if (!strcasecmp(server->answer[i].command, command))
            break;
    i = i < ANSWERS ? i : spare;
    ck_assert_int_ge(i, 0);
    char *name = bytes ? strdup(command) : NULL, *copy = bytes ? strdup(bytes) : NULL;
    free(server->answer[i].command);
    free(server->answer[i].bytes);
    server->answer[i].command = name;
    server->answer[i].bytes = copy;
    server->answer[i].times = times;
}

int scripted_count(const struct scripted *server, const char *command)
{
    for (int i = 0; i < COMMANDS; i++)
        if (!strcasecmp(server->seen[i].name, command))
            return server->seen[i].count;
    return 0;
}

const char *scripted_last(const struct scripted *server, const char *command)
{
    for (int i = 0; i < COMMANDS; i++)
        if (!strcasecmp(server->seen[i].name, command))
            return server->seen[i].last;
    return "";
}

int scripted_connections(const struct scripted *server, int who)
{
    int count = 0;
    for (int i = 0; i < CLIENTS; i++)
        count += server->client[i].io && who & who_is(&server->client[i]);
    return count;
}

void scripted_send(struct scripted *server, int who, const char *bytes, size_t length)
{
    for (int i = 0; i < CLIENTS; i++)
        if (who & who_is(&server->client[i]))
            put(&server->client[i], bytes, length);
}

void scripted_close(struct scripted *server, int who)
{
    for (int i = 0; i < CLIENTS; i++)
        if (who & who_is(&server->client[i]))
            hang_up(&server->client[i]);
}

void scripted_deafen(struct scripted *server, int who, bool deaf)
{
    for (int i = 0; i < CLIENTS; i++) {
        struct client *client = &server->client[i];
        if (!client->io || !(who & who_is(client)))
            continue;
        client->deaf = deaf;
        if (deaf)
            bufferevent_disable(client->io, EV_READ);
        else
            bufferevent_enable(client->io, EV_READ);
    }
}

struct look {
    struct event_base *base;
    int64_t until_us;
};

static void on_look(evutil_socket_t fd, short what, void *arg)
{
    struct look *look = arg;
    (void)fd;
    (void)what;
    if (now_us() >= look->until_us)
        event_base_loopbreak(look->base); /* which goes on for as long as anything is active */
}

/* Looks now and then, too, when nothing happens on the loop: another thread may have done it. What
 * is due by the end has come. */
bool run_until(struct event_base *base, bool (*condition)(void *arg), void *arg, int ms)
{
    struct look look = {base, now_us() + ms * INT64_C(1000)};
    struct timeval every = {.tv_usec = (ms < LOOK_MS ? ms : LOOK_MS) * 1000};
    struct event *timer = event_new(base, -1, EV_PERSIST, on_look, &look);
    ck_assert_ptr_nonnull(timer);
    event_add(timer, &every);
    for (bool over = false; !condition(arg) && !over;) {
        over = now_us() >= look.until_us;
        event_base_loop(base, over ? EVLOOP_NONBLOCK : EVLOOP_ONCE);
    }
    event_free(timer);
    return condition(arg);
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

void run_for(struct event_base *base, int ms)
{
    run_until(base, never, NULL, ms);
}
