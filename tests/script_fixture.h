/*
 * script_fixture.h - a real redis-server and a connection to it as plain as can be, for the
 * server-side scripts. Included by one program's only file.
 */
#ifndef SCRIPT_FIXTURE_H
#define SCRIPT_FIXTURE_H
#include "harness/server.h"
#include "harness/suite.h"
#include "redis_script.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct server *server;
static struct evb_scripts scripts;
static int wire = -1;
static char story[65536]; /* the last reply: an array as {item item}, an error behind a '!' */

/* ---- a connection as plain as can be ---- */

static inline void dial(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", server->socket);
    wire = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(wire, (struct sockaddr *)&address, sizeof address), 0);
}

static inline void get(char *out, size_t length)
{
    for (ssize_t n; length; out += n, length -= (size_t)n)
        ck_assert_int_gt(n = read(wire, out, length), 0);
}

static inline void say(const char *text, size_t length)
{
    size_t at = strlen(story);
    ck_assert_uint_lt(at + length + 1, sizeof story);
    memcpy(story + at, text, length);
    story[at + length] = '\0';
}

static inline void take_reply(void)
{
    char line[1000], *end = line;
    do
        get(end, 1);
    while (*end++ != '\n');
    size_t length = (size_t)(end - line) - 2;
    int count = atoi(line + 1);
    char *text = malloc(*line == '$' ? (size_t)count + 2 : 1);
    switch (*line) {
    case '*':
        say("{", 1);
        for (int i = 0; i < count; i++) {
            say(" ", i > 0);
            take_reply();
        }
        say("}", 1);
        break;
    case '$':
        get(text, (size_t)count + 2);
        say(text, (size_t)count);
        break;
    case '-':
        say("!", 1);
        /* fallthrough */
    default:
        say(line + 1, length - 1);
    }
    free(text);
}

static inline const char *send_words(struct evb_buf *words)
{
    ck_assert_int_eq(write(wire, words->data, words->length), (ssize_t)words->length);
    evb_buf_fini(words);
    story[0] = '\0';
    take_reply();
    return story;
}

/* Runs a script with these words behind it, up to a NULL. */
static inline const char *run(enum evb_script script, ...)
{
    const char *word[80];
    size_t count = 0;
    struct evb_buf words;
    va_list args;
    va_start(args, script);
    while ((word[count] = va_arg(args, const char *)))
        count++;
    va_end(args);
    evb_buf_init(&words);
    evb_script_begin(&scripts, &words, script, true, count);
    for (size_t i = 0; i < count; i++)
        evb_script_word(&words, word[i], strlen(word[i]));
    return send_words(&words);
}

#define APPEND_TOLD(after, first, told, ...)                                                       \
    run(EVB_SCRIPT_APPEND, "5", "s", "t", "m", "l", "g", after, first, told, "60000", "100",       \
        "1000000", "0", __VA_ARGS__, NULL)
#define APPEND(after, first, ...) APPEND_TOLD(after, first, "0", __VA_ARGS__)
#define FENCE(ttl_ms)                                                                              \
    run(EVB_SCRIPT_FENCE, "3", "s", "t", "l", "in", "fence:1", ttl_ms, "60000", NULL)
#define READ(from, back, till, most, bytes)                                                        \
    run(EVB_SCRIPT_READ, "2", "s", "t", from, back, till, most, bytes, NULL)

/* Asked of the server by the harness. */
static inline const char *ask(const char *format, const char *arg)
{
    static char text[2000];
    char *got = server_text(server, format, arg);
    snprintf(text, sizeof text, "%s", got);
    free(got);
    return text;
}

static char gone[60]; /* the last word of the answer */

/* What a fence tells, in words. */
static inline const char *facts(const char *ttl_ms)
{
    static char text[400];
    char epoch[60], last[60], first[60], now[30], heard[100];
    int length, begun;
    FENCE(ttl_ms);
    bool none = strstr(story, "  ") != NULL;
    snprintf(first, sizeof first, "none");
    int got = none ? sscanf(story, "{%99s %59s %59s  %d %29s %d %59[^}]}", heard, epoch, last,
                            &length, now, &begun, gone)
                   : sscanf(story, "{%99s %59s %59s %59s %d %29s %d %59[^}]}", heard, epoch, last,
                            first, &length, now, &begun, gone);
    ck_assert_int_eq(got, none ? 7 : 8);
    ck_assert_ptr_nonnull(strchr(epoch, '.'));
    ck_assert_int_gt(strtoll(now, NULL, 10), 1700000000000);
    snprintf(text, sizeof text, "heard %s, last %s, first %s, %d there, %d before", heard,
             strchr(last, '-') + 1, none ? first : strchr(first, '-') + 1, length, begun);
    return text;
}

static inline void setup(void)
{
    server = server_start(NULL);
    evb_scripts_init(&scripts);
    dial();
}

static inline void teardown(void)
{
    close(wire);
    server_free(server);
}

#endif
