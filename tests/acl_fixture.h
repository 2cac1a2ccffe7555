/*
 * acl_fixture.h - a server with a user that has the rights of the manual, buses of that user, and
 * what is said where they lack one. Included by one program's only file.
 */
#ifndef ACL_FIXTURE_H
#define ACL_FIXTURE_H
#include "harness/bus.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON = 10000 };

static struct server *server;
static evbus *bus;

/* ---- the rules of the manual ---- */

/* The command of man/evbus.7 that sets this user, in one line. */
static inline const char *manual_rules(const char *user)
{
    static char rules[1000];
    char line[200], head[64];
    FILE *page = fopen("man/evbus.7", "re");
    ck_assert_ptr_nonnull(page);
    snprintf(head, sizeof head, "ACL SETUSER %s ", user);
    rules[0] = '\0';
    while (fgets(line, sizeof line, page)) {
        if (rules[0] && !strncmp(line, ".Ed", 3))
            break;
        if (rules[0] || !strncmp(line, head, strlen(head)))
            strcat(rules, line);
    }
    fclose(page);
    ck_assert_msg(rules[0], "man/evbus.7 has no %s", head);
    for (char *p = rules; *p; p++)
        *p = *p == '\n' ? ' ' : *p;
    return rules;
}

static inline void set_user(const char *user, const char *rules)
{
    char command[300];
    snprintf(command, sizeof command, "ACL SETUSER %s %s", user, rules);
    ck_assert_msg(server_command(server, command) == 0, "%s: %s", command, server_error());
}

static inline void make_user(const char *user)
{
    server_command(server, "ACL DELUSER %s", user);
    const char *rules = manual_rules(user);
    ck_assert_msg(server_command(server, rules) == 0, "%s: %s", rules, server_error());
    server_command(server, "ACL LOG RESET");
}

/* ---- what is logged and reported ---- */

static struct {
    pthread_mutex_t lock;
    char text[16384]; /* under lock */
} logged = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline void on_log(int level, const char *line, void *user)
{
    (void)level;
    (void)user;
    pthread_mutex_lock(&logged.lock);
    size_t at = strlen(logged.text);
    snprintf(logged.text + at, sizeof logged.text - at, "%s\n", line);
    pthread_mutex_unlock(&logged.lock);
}

static inline bool is_logged(void *part)
{
    pthread_mutex_lock(&logged.lock);
    bool found = strstr(logged.text, part) != NULL;
    pthread_mutex_unlock(&logged.lock);
    return found;
}

static inline void expect_logged(const char *part)
{
    if (!until(is_logged, (void *)(uintptr_t)part, SOON))
        ck_abort_msg("never logged: %s; but:\n%.2000s", part, logged.text);
}

static struct {
    char error[600];
    int outcome;
    atomic_int count;
} reported;

static inline void on_report(evbus_event *event, int outcome, int error, int64_t receivers,
                             void *user)
{
    (void)event;
    (void)receivers;
    (void)user;
    snprintf(reported.error, sizeof reported.error, "%s",
             error == EVBUS_EDENIED ? evbus_last_error() : evbus_strerror(error));
    reported.outcome = outcome;
    atomic_fetch_add(&reported.count, 1);
}

/* Published and reported; `lacks` NULL: acknowledged. */
static inline void expect_published(const char *type, const char *lacks)
{
    int before = atomic_load(&reported.count);
    evbus_event *event = evbus_event_new(type);
    ck_assert_int_gt(evbus_publish_report(bus, event, 0, on_report, NULL), 0);
    evbus_event_unref(event);
    expect_count(&reported.count, before + 1, SOON);
    ck_assert_int_eq(reported.outcome, lacks ? EVBUS_FAILED : EVBUS_ACKED);
    if (lacks && !strstr(reported.error, lacks))
        ck_abort_msg("%s: no word of %s: %s", type, lacks, reported.error);
}

/* `lacks` NULL: live. */
static inline void expect_subscribed(evbus_sub *sub, const char *lacks)
{
    char words[200];
    int rc = evbus_sub_wait(sub, suite_patience(SOON));
    ck_assert_msg(rc == (lacks ? EVBUS_EDENIED : 0), "%s: %d %s", evbus_sub_pattern(sub), rc,
                  evbus_last_error());
    snprintf(words, sizeof words, "the user needs %s; local events come", lacks ? lacks : "");
    if (lacks && !strstr(evbus_last_error(), words))
        ck_abort_msg("%s: no word of %s: %s", evbus_sub_pattern(sub), lacks, evbus_last_error());
}

static inline bool is_in_health(void *part)
{
    char *health = evbus_health_json(bus);
    bool found = strstr(health, part) != NULL;
    evbus_string_free(health);
    return found;
}

static inline void expect_last_error(const char *part)
{
    if (!until(is_in_health, (void *)(uintptr_t)part, SOON))
        ck_abort_msg("no word of %s: %s", part, evbus_health_json(bus));
}

static inline void expect_nothing_denied(void)
{
    char *denied = server_text(server, "ACL LOG");
    ck_assert_msg(!denied[0], "denied: %s", denied);
    free(denied);
}

static inline bool has_run(void *command)
{
    char *text = server_text(server, "INFO commandstats");
    bool found = strstr(text, command) != NULL;
    free(text);
    return found;
}

/* A heartbeat begins with a HELLO. */
static inline void expect_heartbeats(int count)
{
    while (count--) {
        server_command(server, "CONFIG RESETSTAT");
        ck_assert(until(has_run, (void *)(uintptr_t) "cmdstat_hello:", SOON));
    }
}

/* ---- the bus ---- */

static inline evbus *open_as(const char *user, const char *key, const char *value)
{
    char timeout[16]; /* one who is refused the fence beats no faster */
    snprintf(timeout, sizeof timeout, "%dms", suite_patience(800));
    evbus_set_log(NULL, EVBUS_LOG_WARNING, on_log, NULL);
    return server_bus(server, "redis.username", user, "redis.password", "secret",
                      "redis.ping.interval", "50ms", "redis.ping.timeout", timeout,
                      "reconnect.backoff", "10ms", "reconnect.backoff.max", "50ms", key, value,
                      NULL);
}

static inline void begin(const char *user)
{
    server = server_start(NULL);
    make_user(user);
}

static inline void end(void)
{
    bus_end(bus);
    server_free(server);
}

/* A foreign event of this type reaches the handler that counts. */
static inline void expect_foreign(const char *type, atomic_int *count)
{
    char channel[64];
    int before = atomic_load(count);
    snprintf(channel, sizeof channel, "evbus:events:%s", type);
    ck_assert_int_ge(server_publish(server, channel, "{\"data\":1}", 10), 1);
    expect_count(count, before + 1, SOON);
}

#endif
