/* group_member.c - who publishes, who handles, who collects what could not be handled. */
#include "share/group_member.h"
#include "harness/recorder.h"
#include "harness/until.h"
#include "share/group_book.h"
#include <evbus.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECT_MS = 20000, ARGUMENTS = 5, BURST = 20, FLUSH_MS = 90000, WORK_US = 3000 };

static struct {
    int book, events, rate;
    evbus *bus;     /* owned */
    evbus_sub *sub; /* owned */
    atomic_llong count;
    atomic_bool done;
    pthread_t thread;
    bool going;
} self;

static bool fail(const char *what)
{
    fprintf(stderr, "share: %s: %s\n", what, evbus_last_error());
    return false;
}

static int on_job(evbus_sub *sub, evbus_event *event, void *user)
{
    long long number = event_number(event), attempt = evbus_event_attempt(event);
    (void)sub;
    (void)user;
    int result = group_is_poison(number) || (group_fails_at_first(number) && attempt == 1);
    group_book_put(self.book, GROUP_BEGIN, number, attempt);
    nap_us(number * 7919 % WORK_US);
    group_book_put(self.book, GROUP_END, number, result);
    atomic_fetch_add(&self.count, 1);
    return result;
}

static int on_dead(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    (void)user;
    group_book_put(self.book, GROUP_DEAD, event_number(event), 0);
    atomic_fetch_add(&self.count, 1);
    return 0;
}

static void on_report(evbus_event *event, int outcome, int error, int64_t receivers, void *user)
{
    (void)error;
    (void)receivers;
    (void)user;
    group_book_put(self.book, GROUP_REPORT, event_number(event), outcome);
}

/* As event_numbered(), whose assertions are for a test's process alone. */
static evbus_event *make_event(int number)
{
    char data[64];
    int length = snprintf(data, sizeof data, "{\"p\":0,\"n\":%d}", number);
    evbus_event *event = evbus_event_new(GROUP_TYPE);
    if (!event || evbus_event_set_json(event, data, (size_t)length) != 0)
        abort();
    return event;
}

static void *publish_all(void *unused)
{
    int64_t start_us = now_us();
    (void)unused;
    for (int n = 1; n <= self.events; n++) {
        evbus_event *event = make_event(n);
        int64_t due_us = start_us + n / BURST * BURST * INT64_C(1000000) / self.rate;
        if (n % BURST == 0 && due_us > now_us())
            nap_us(due_us - now_us());
        group_book_put(self.book, GROUP_PUBLISH, n, 0);
        if (evbus_publish_report(self.bus, event, 0, on_report, NULL) < 0)
            group_book_note(self.book, "stuck %d was refused: %s", n, evbus_last_error());
        evbus_event_unref(event);
        atomic_fetch_add(&self.count, 1);
    }
    if (evbus_flush(self.bus, FLUSH_MS) != 0)
        group_book_note(self.book, "stuck flush: %s", evbus_last_error());
    atomic_store(&self.done, true);
    return NULL;
}

static bool open_bus(char **settings)
{
    evbus_config *config = evbus_config_new();
    for (; *settings; settings++) {
        char *value = strchr(*settings, '=');
        *value++ = '\0';
        if (evbus_config_set(config, *settings, value) != 0)
            return fail("setting");
    }
    self.bus = evbus_open(config);
    evbus_config_free(config);
    if (!self.bus)
        return fail("evbus_open");
    return evbus_wait_connected(self.bus, CONNECT_MS) == 0 ? true : fail("connecting");
}

static bool subscribe(const char *pattern, const char *options, evbus_event_fn fn)
{
    self.sub = evbus_subscribe(self.bus, pattern, options, fn, NULL);
    if (!self.sub || evbus_sub_wait(self.sub, CONNECT_MS) != 0)
        return fail(pattern);
    return true;
}

static bool begin(const char *kind)
{
    group_book_note(self.book, "process %s", kind);
    if (!strcmp(kind, "member"))
        return subscribe(GROUP_TYPE, "group=crew retries=8 size=64", on_job);
    if (!strcmp(kind, "collector"))
        return subscribe(GROUP_TYPE ".dead", "size=1000000 bytes=1GiB", on_dead);
    return true;
}

static long long obey(const char *line)
{
    if (!strcmp(line, "count"))
        return atomic_load(&self.count);
    if (!strcmp(line, "done"))
        return atomic_load(&self.done);
    if (!strcmp(line, "go"))
        return self.going = pthread_create(&self.thread, NULL, publish_all, NULL) == 0;
    return -1;
}

static void serve(void)
{
    char *line = NULL;
    size_t room = 0;
    printf("live\n");
    fflush(stdout);
    while (getline(&line, &room, stdin) > 0) {
        line[strcspn(line, "\n")] = '\0';
        if (!strcmp(line, "end"))
            break;
        printf("%lld\n", obey(line));
        fflush(stdout);
    }
    free(line);
}

int group_member_main(int argc, char **argv)
{
    const char *kind = argc >= ARGUMENTS ? argv[1] : "";
    if (strcmp(kind, "publisher") != 0 && strcmp(kind, "member") != 0 &&
        strcmp(kind, "collector") != 0)
        return -1;
    self.book = group_book_open(argv[2]);
    self.events = (int)strtol(argv[3], NULL, 10);
    self.rate = (int)strtol(argv[4], NULL, 10);
    if (self.book < 0 || !open_bus(argv + ARGUMENTS) || !begin(kind))
        return 1;
    serve();
    if (self.going)
        pthread_join(self.thread, NULL);
    evbus_close(self.bus, CONNECT_MS);
    evbus_free(self.bus);
    if (self.sub)
        evbus_unsubscribe(self.sub);
    return 0;
}
