/* leader_member.c - both sides of a process that may lead. */
#include "share/leader_member.h"
#include "harness/recorder.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <errno.h>
#include <evbus.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WORDS_MOST = 40, CLOSE_MS = 20000 };

int64_t leader_boot_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---- the test's side ---- */

void leader_member_start(struct leader_member *member, struct server *server)
{
    char line[700], *state = NULL;
    const char *argv[WORDS_MOST] = {"/proc/self/exe", "leader-member", member->book,
                                    member->pattern, member->options};
    int count = 5;
    snprintf(line, sizeof line, "redis.path=%s %s", server->socket, member->settings);
    for (char *word = strtok_r(line, " ", &state); word && count < WORDS_MOST - 1;
         word = strtok_r(NULL, " ", &state))
        argv[count++] = word;
    argv[count] = NULL;
    child_start(&member->child, argv);
    const char *answer = child_line(&member->child);
    ck_assert_msg(answer && !strcmp(answer, "here"), "a member did not come up: %s", member->book);
}

long long leader_member_ask(struct leader_member *member, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(member->child.to, format, args);
    va_end(args);
    fputc('\n', member->child.to);
    fflush(member->child.to);
    const char *line = child_line(&member->child);
    if (!line)
        ck_abort_msg("%s gave no answer to: %s", member->book, format);
    return strtoll(line, NULL, 10);
}

void leader_member_kill(struct leader_member *member)
{
    child_kill(&member->child);
    member->child.pid = 0;
}

void leader_member_end(struct leader_member *member)
{
    ck_assert_int_eq(leader_member_ask(member, "close %d", suite_patience(CLOSE_MS)), 0);
    int status = child_wait(&member->child);
    member->child.pid = 0;
    ck_assert_msg(status == 0, "%s ended with %d", member->book, status);
}

/* ---- the member ---- */

static struct {
    evbus *bus;
    evbus_sub *sub, *changes;
    int book;
    atomic_int hold_ms;
    const char *pattern, *options;
} self;

/* One write(2): a line is there whole, or not at all, whenever the process dies. */
static void note(int64_t at_us, const char *fence, const char *kind, const char *what)
{
    char line[120];
    int length = snprintf(line, sizeof line, "%lld %s %s %s\n", (long long)at_us,
                          fence ? fence : "0", kind, what);
    if (write(self.book, line, (size_t)length) != length)
        _exit(3);
}

static bool text_of(const evbus_event *event, const char *key, char *out, size_t room)
{
    const char *data = evbus_event_data(event, NULL), *at = data ? strstr(data, key) : NULL;
    if (!at)
        return false;
    at += strlen(key);
    size_t length = strcspn(at, "\",}");
    return snprintf(out, room, "%.*s", (int)length, at) > 0;
}

static int on_event(evbus_sub *sub, evbus_event *event, void *user)
{
    int64_t at_us = leader_boot_us();
    const char *fence = evbus_event_attr(event, "evbus.fence");
    char what[40] = "?";
    (void)sub;
    (void)user;
    if (!strcmp(evbus_event_type(event), "evbus.poll")) {
        text_of(event, "\"reason\":\"", what, sizeof what);
        note(at_us, fence, "poll", what);
        return 0;
    }
    snprintf(what, sizeof what, "%d", event_number(event));
    note(at_us, fence, "event", what);
    if (self.hold_ms)
        nap_us(self.hold_ms * INT64_C(1000));
    return 0;
}

static int on_leader(evbus_sub *sub, evbus_event *event, void *user)
{
    char change[20] = "?", fence[24] = "0";
    (void)sub;
    (void)user;
    text_of(event, "\"change\":\"", change, sizeof change);
    text_of(event, "\"fence\":", fence, sizeof fence);
    note(leader_boot_us(), fence, change, "-");
    return 0;
}

static void log_line(int level, const char *line, void *user)
{
    fprintf(stderr, "%s: %d: %s\n", (const char *)user, level, line);
}

static bool subscribe(void)
{
    self.sub = evbus_subscribe(self.bus, self.pattern, self.options, on_event, NULL);
    if (!self.sub)
        fprintf(stderr, "member: %s\n", evbus_last_error());
    return self.sub != NULL;
}

static bool come_up(char **argv)
{
    evbus_config *config = evbus_config_new();
    self.book = open(argv[0], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    self.pattern = argv[1];
    self.options = argv[2];
    for (argv += 3; *argv; argv++) {
        char *equals = strchr(*argv, '=');
        *equals = '\0';
        if (evbus_config_set(config, *argv, equals + 1) != 0)
            fprintf(stderr, "member: %s\n", evbus_last_error());
    }
    if (getenv("LEADER_LOG"))
        evbus_set_log(NULL, EVBUS_LOG_DEBUG, log_line, argv[-1]);
    self.bus = evbus_open(config);
    evbus_config_free(config);
    self.changes = evbus_subscribe(self.bus, "evbus.leader", NULL, on_leader, NULL);
    return self.changes && self.book >= 0 && subscribe();
}

static long long publish(int first, int last)
{
    long long accepted = 0;
    for (int n = first; n <= last; n++)
        accepted += publish_numbered(self.bus, "t.own", 1, n) > 0;
    return accepted;
}

static long long cpu_us(void)
{
    struct timespec spent;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
    return (long long)spent.tv_sec * 1000000 + spent.tv_nsec / 1000;
}

static long long unsubscribe(void)
{
    int rc = evbus_unsubscribe(self.sub);
    self.sub = NULL;
    return rc;
}

static long long obey(char *line)
{
    char word[20] = "", name[40] = "";
    int first = 0, last = 0;
    sscanf(line, "%19s %39s", word, name);
    sscanf(line, "%*s %d %d", &first, &last);
    if (!strcmp(word, "wait"))
        return evbus_sub_wait(self.sub, first);
    if (!strcmp(word, "connected"))
        return evbus_wait_connected(self.bus, first);
    if (!strcmp(word, "stat"))
        return evbus_stat(self.bus, name);
    if (!strcmp(word, "sub"))
        return evbus_sub_stat(self.sub, name);
    if (!strcmp(word, "hold"))
        return atomic_exchange(&self.hold_ms, first);
    if (!strcmp(word, "publish"))
        return publish(first, last);
    if (!strcmp(word, "cpu"))
        return cpu_us();
    if (!strcmp(word, "unsubscribe"))
        return unsubscribe();
    if (!strcmp(word, "subscribe"))
        return subscribe() ? 0 : -1;
    return strcmp(word, "close") == 0 ? evbus_close(self.bus, first) : -99;
}

int leader_member_main(int argc, char **argv)
{
    char *line = NULL;
    size_t room = 0;
    if (argc < 5 || strcmp(argv[1], "leader-member") != 0)
        return -1;
    if (!come_up(argv + 2))
        return 1;
    puts("here");
    fflush(stdout);
    while (getline(&line, &room, stdin) > 0) {
        bool last = strncmp(line, "close", 5) == 0;
        printf("%lld\n", obey(line));
        fflush(stdout);
        if (last)
            break;
    }
    free(line);
    evbus_free(self.bus);
    if (self.sub)
        evbus_unsubscribe(self.sub);
    evbus_unsubscribe(self.changes);
    return 0;
}
