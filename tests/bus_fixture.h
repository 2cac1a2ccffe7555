/*
 * bus_fixture.h - a bus on the test's own loop, with a script for Redis if wanted: one thread, so
 * that what comes in which order is no chance. Included by one program's only file.
 */
#ifndef BUS_FIXTURE_H
#define BUS_FIXTURE_H
#include "bus.h"
#include "harness/failing.h"
#include "harness/scripted.h"
#include "harness/suite.h"
#include "thread.h"
#include "harness/check.h"
#include <event2/event.h>
#include <evbus.h>
#include <evbus_libevent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct event_base *base;
static struct scripted *server;
static evbus *bus;
static char story[4096]; /* what happened, a word each */
static long live;

__attribute__((format(printf, 1, 2))) static inline void tell(const char *format, ...)
{
    size_t at = strlen(story);
    va_list args;
    va_start(args, format);
    vsnprintf(story + at, sizeof story - at, format, args);
    va_end(args);
}

static inline void expect(const char *want)
{
    ck_assert_str_eq(story, want);
    story[0] = '\0';
}

/* "<type>" or, with user a text, "<text><type>" */
static inline int on_event(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    tell("%s%s ", user ? (const char *)user : "", evbus_event_type(event));
    return 0;
}

static inline void on_report(evbus_event *event, int outcome, int error, int64_t receivers,
                             void *user)
{
    (void)error;
    (void)receivers;
    (void)user;
    tell("%c:%s ", "?alxvfu"[outcome], evbus_event_type(event));
}

static inline evbus *open_on(int redis, ...)
{
    evbus_config *config = evbus_config_new();
    const char *key;
    va_list args;
    va_start(args, redis);
    if (redis)
        ck_assert_int_eq(evbus_config_set(config, "redis.path", scripted_path(server)), 0);
    while ((key = va_arg(args, const char *)))
        ck_assert_int_eq(evbus_config_set(config, key, va_arg(args, const char *)), 0);
    va_end(args);
    evbus *made = evbus_open_on(base, config);
    evbus_config_free(config);
    return made;
}

static inline evbus_sub *subscribe(const char *pattern, const char *options, const char *text)
{
    evbus_sub *sub = evbus_subscribe(bus, pattern, options, on_event, (void *)text);
    ck_assert_msg(sub != NULL, "%s", evbus_last_error());
    return sub;
}

static inline void turn(void) /* what is due, comes */
{
    for (int i = 0; i < 3; i++)
        event_base_loop(base, EVLOOP_NONBLOCK);
}

static inline bool is_told(void *what)
{
    return strstr(story, what) != NULL;
}

static inline void await(char *what)
{
    ck_assert_msg(run_until(base, is_told, what, suite_patience(10000)), "%s: %s", what, story);
}

static inline bool is_mode(void *mode)
{
    return evbus_mode(bus) == *(int *)mode;
}

static inline void await_mode(int mode)
{
    ck_assert(run_until(base, is_mode, &mode, suite_patience(10000)));
}

static inline void setup(void)
{
    failing_install();
    ck_assert_ptr_nonnull(evb_thread_self());
    base = event_base_new();
    server = scripted_start(base);
    live = failing_live();
}

/* Frees the bus if it is still there: then nothing of it may be left. */
static inline void teardown(void)
{
    evbus_free(bus);
    turn();
    ck_assert_int_eq(failing_live(), live);
    scripted_free(server);
    event_base_free(base);
}

static inline int run(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
