/*
 * request_fixture.h - asking and answering on the test's own loop: bus_fixture.h, and requests that
 * tell how they ended. Included by one program's only file.
 */
#ifndef REQUEST_FIXTURE_H
#define REQUEST_FIXTURE_H
#include "bus_fixture.h"

#define CHANNEL "evbus:events:ask"

/* "<type>=<data> ", or "E<error> "; with user a text, that first */
static inline void on_reply(evbus_event *reply, int error, void *user)
{
    ck_assert_int_eq(reply != NULL, error == 0);
    if (error != 0)
        ck_assert_int_eq(evbus_last_code(), error);
    tell("%s", user ? (const char *)user : "");
    if (reply)
        tell("%s=%s ", evbus_event_type(reply),
             evbus_event_data(reply, NULL) ? evbus_event_data(reply, NULL) : "");
    else
        tell("E%d ", error);
}

static inline evbus_event *event_with(const char *type, const char *json)
{
    evbus_event *event = evbus_event_new(type);
    ck_assert_ptr_nonnull(event);
    if (json)
        ck_assert_int_eq(evbus_event_set_json(event, json, strlen(json)), 0);
    return event;
}

/* A request "ask" with data 7. The id of it is valid until the next. */
static inline const char *ask_as(const char *options, const char *text)
{
    static char id[40];
    evbus_event *event = event_with("ask", "7");
    int rc = evbus_request_async(bus, event, options, on_reply, (void *)text);
    ck_assert_msg(rc == 0, "%s", evbus_last_error());
    snprintf(id, sizeof id, "%s", evbus_event_id(event));
    evbus_event_unref(event);
    return id;
}

static inline const char *ask(const char *options)
{
    return ask_as(options, NULL);
}

static inline int64_t stat_of(const char *name)
{
    return evbus_stat(bus, name);
}

static inline void expect_requests(int64_t replies, int64_t timeouts, int64_t nobody,
                                   int64_t failures)
{
    ck_assert_int_eq(stat_of("replies"), replies);
    ck_assert_int_eq(stat_of("request_timeouts"), timeouts);
    ck_assert_int_eq(stat_of("no_responder"), nobody);
    ck_assert_int_eq(stat_of("request_failures"), failures);
    ck_assert_int_eq(stat_of("requests"),
                     replies + timeouts + nobody + failures + stat_of("requests_pending"));
}

/* Answers each request by an event "answer" with its data. */
static inline int give_answer(evbus_sub *sub, evbus_event *request, void *user)
{
    evbus_event *reply = event_with("answer", evbus_event_data(request, NULL));
    (void)sub;
    (void)user;
    int rc = evbus_reply(bus, request, reply);
    tell("a%d ", rc);
    evbus_event_unref(reply);
    return rc;
}

static inline evbus_sub *respond(evbus_event_fn fn, const char *options)
{
    evbus_sub *sub = evbus_subscribe(bus, "ask", options, fn, NULL);
    ck_assert_msg(sub != NULL, "%s", evbus_last_error());
    return sub;
}

/* Somebody says on this bus's own channel. */
static inline void say_inbox(const char *format, ...) __attribute__((format(printf, 1, 2)));
static inline void say_inbox(const char *format, ...)
{
    char text[4096], channel[64];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(channel, sizeof channel, "evbus:inbox:%s", evbus_node(bus));
    ck_assert_int_eq(scripted_publish(server, channel, text, (size_t)length), 1);
}

#endif
