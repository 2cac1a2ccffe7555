/* peer.c - both sides of the other process. */
#include "harness/peer.h"
#include "harness/child.h"
#include "harness/process.h"
#include "harness/recorder.h"
#include "harness/suite.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the test's side ---- */

struct peer {
    struct child child;
};

struct peer *peer_start(struct server *server, const char *settings)
{
    static const char *const words[] = {"/proc/self/exe", "peer", NULL};
    struct peer *peer = calloc(1, sizeof *peer);
    ck_assert_ptr_nonnull(peer);
    child_start(&peer->child, words);
    if (server)
        peer_ask(peer, "open redis.path=%s %s", server->socket, settings);
    else
        peer_ask(peer, "open %s", settings);
    return peer;
}

const char *peer_ask(struct peer *peer, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(peer->child.to, format, args);
    va_end(args);
    fputc('\n', peer->child.to);
    fflush(peer->child.to);
    const char *line = child_line(&peer->child);
    if (!line)
        ck_abort_msg("the other process gave no answer to: %s", format);
    if (!strncmp(line, "error", 5))
        ck_abort_msg("the other process, asked %s: %s", format, line);
    return line;
}

void peer_stop(struct peer *peer)
{
    peer_ask(peer, "close");
    int status = child_wait(&peer->child);
    free(peer);
    ck_assert_msg(status == 0, "the other process ended with %d", status);
}

void peer_kill(struct peer *peer)
{
    child_kill(&peer->child);
    free(peer);
}

/* ---- the other side ---- */

enum { SUBS_MOST = 16 };

static struct {
    evbus *bus;
    evbus_sub *subs[SUBS_MOST];
    int sub_count;
    struct recorder recorder;
    char echo_to[64];
    pthread_mutex_t lock;
    char *gaps; /* under lock, owned: ",{...},{...}" */
} self = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int echo(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)user;
    return evbus_publish(self.bus, self.echo_to, evbus_event_data(event, NULL)) < 0;
}

static int answer(evbus_sub *sub, evbus_event *request, void *user)
{
    size_t length;
    const char *data = evbus_event_data(request, &length);
    evbus_event *reply = evbus_event_new("answer");
    (void)sub;
    (void)user;
    int rc = data ? evbus_event_set_json(reply, data, length) : 0;
    if (rc == 0)
        rc = evbus_reply(self.bus, request, reply);
    evbus_event_unref(reply);
    return rc;
}

static int hang(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)event;
    (void)user;
    while (pause() != 0)
        continue;
    return 0;
}

static int keep_gap(evbus_sub *sub, evbus_event *event, void *user)
{
    char *longer = NULL;
    (void)sub;
    (void)user;
    pthread_mutex_lock(&self.lock);
    if (asprintf(&longer, "%s,%s", self.gaps ? self.gaps : "", evbus_event_data(event, NULL)) > 0) {
        free(self.gaps);
        self.gaps = longer;
    }
    pthread_mutex_unlock(&self.lock);
    return 0;
}

static void answer_code(int rc)
{
    if (rc < 0)
        printf("error %d %s\n", rc, evbus_last_error());
    else
        printf("%d\n", rc);
}

static void log_line(int level, const char *line, void *user)
{
    (void)user;
    fprintf(stderr, "peer: %d: %s\n", level, line);
}

static void do_open(char *rest)
{
    evbus_config *config = evbus_config_new();
    char *state = NULL;
    int rc = config ? 0 : EVBUS_ENOMEM;
    for (char *word = strtok_r(rest, " ", &state); word && rc == 0;
         word = strtok_r(NULL, " ", &state)) {
        char *value = strchr(word, '=');
        if (value)
            *value++ = '\0';
        rc = evbus_config_set(config, word, value);
    }
    if (getenv("EVB_TEST_LOG"))
        evbus_set_log(NULL, EVBUS_LOG_DEBUG, log_line, NULL);
    if (rc == 0 && !(self.bus = evbus_open(config)))
        rc = evbus_last_code();
    evbus_config_free(config);
    answer_code(rc);
}

static void do_subscribe(const char *pattern, const char *options, evbus_event_fn fn)
{
    evbus_sub *sub = NULL;
    if (self.sub_count < SUBS_MOST)
        sub = evbus_subscribe(self.bus, pattern, options, fn, &self.recorder);
    if (sub)
        self.subs[self.sub_count++] = sub;
    answer_code(sub ? 0 : EVBUS_EINVAL);
}

static void do_lost(const char *rest)
{
    int publisher = 0, count = 0, first = 0;
    if (sscanf(rest, "%d %d", &publisher, &count) != 2 || publisher >= RECORDER_PUBLISHERS) {
        printf("error: lost %s\n", rest);
        return;
    }
    for (int n = 1; n <= count + 1; n++) {
        bool gone = n <= count && !recorder_has(&self.recorder, publisher, n);
        if (gone && !first)
            first = n;
        if (!gone && first) {
            printf("%d-%d ", first, n - 1);
            first = 0;
        }
    }
    printf("\n");
}

static void do_totals(void)
{
    pthread_mutex_lock(&self.recorder.lock);
    printf("%ld %ld %ld %ld\n", self.recorder.received, self.recorder.doubled,
           self.recorder.reordered, self.recorder.foreign);
    pthread_mutex_unlock(&self.recorder.lock);
}

static void do_windows(void)
{
    pthread_mutex_lock(&self.lock);
    printf("[%s]\n", self.gaps ? self.gaps + 1 : "");
    pthread_mutex_unlock(&self.lock);
}

static void obey(char *line)
{
    char *rest = strchr(line, ' ');
    rest = rest ? (*rest = '\0', rest + 1) : line + strlen(line);
    char *second = strchr(rest, ' ');
    if (!strcmp(line, "open")) {
        do_open(rest);
        return;
    }
    if (!strcmp(line, "connected")) {
        answer_code(evbus_wait_connected(self.bus, (int)strtol(rest, NULL, 10)));
    } else if (!strcmp(line, "stat")) {
        printf("%lld\n", (long long)evbus_stat(self.bus, rest));
    } else if (!strcmp(line, "totals")) {
        do_totals();
    } else if (!strcmp(line, "reconnect")) {
        answer_code(evbus_reconnect(self.bus));
    } else if (!strcmp(line, "peak")) {
        if (!strcmp(rest, "reset"))
            process_peak_reset();
        printf("%ld\n", process_peak_kib());
    } else if (!strcmp(line, "lost")) {
        do_lost(rest);
    } else if (!strcmp(line, "windows")) {
        do_windows();
    } else if (!strcmp(line, "gaps")) {
        do_subscribe("evbus.gap", NULL, keep_gap);
    } else if (!strcmp(line, "waited")) {
        answer_code(evbus_sub_wait(self.subs[self.sub_count - 1], (int)strtol(rest, NULL, 10)));
    } else if (second) {
        *second++ = '\0';
        char *third = strchr(second, ' ');
        if (!strcmp(line, "record"))
            do_subscribe(rest, second, recorder_handle);
        else if (!strcmp(line, "answer"))
            do_subscribe(rest, second, answer);
        else if (!strcmp(line, "hang"))
            do_subscribe(rest, second, hang);
        else if (!strcmp(line, "work") && third) {
            *third++ = '\0';
            snprintf(self.echo_to, sizeof self.echo_to, "%s", second);
            do_subscribe(rest, third, echo);
        } else if (!strcmp(line, "publish"))
            answer_code(evbus_publish(self.bus, rest, second));
        else if (!strcmp(line, "echo")) {
            snprintf(self.echo_to, sizeof self.echo_to, "%s", second);
            do_subscribe(rest, NULL, echo);
        }
    } else {
        printf("error: what is %s?\n", line);
    }
}

int peer_main(void)
{
    char *line = NULL;
    size_t room = 0;
    recorder_init(&self.recorder);
    while (getline(&line, &room, stdin) > 0) {
        line[strcspn(line, "\n")] = '\0';
        if (!strcmp(line, "close"))
            break;
        obey(line);
        fflush(stdout);
    }
    if (self.bus) {
        evbus_close(self.bus, 5000);
        evbus_free(self.bus);
    }
    while (self.sub_count)
        evbus_unsubscribe(self.subs[--self.sub_count]);
    printf("0\n");
    recorder_fini(&self.recorder);
    free(self.gaps);
    free(line);
    return 0;
}
