/* it_tool_request.c - evbus request and evbus reply, run as a user would. */
#include "harness/program.h"
#include "harness/server.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { WORDS = 20 };

static struct server *server;

static void start_server(void)
{
    server = server_start(NULL);
}

static void end_server(void)
{
    server_free(server);
    server = NULL;
}

/* evbus -s SOCKET WORD... */
static struct program *start_words(const char *word, va_list words)
{
    char *argv[WORDS] = {(char *)program_built("evbus")};
    int count = 1;
    if (server) {
        argv[count++] = "-s";
        argv[count++] = server->socket;
    }
    for (; word; word = va_arg(words, const char *)) {
        ck_assert_int_lt(count, WORDS - 1);
        argv[count++] = (char *)word;
    }
    return program_start(NULL, argv);
}

static struct program *start(const char *word, ...)
{
    va_list words;
    va_start(words, word);
    struct program *program = start_words(word, words);
    va_end(words);
    return program;
}

static struct program *run(int status, const char *word, ...)
{
    va_list words;
    va_start(words, word);
    struct program *program = start_words(word, words);
    va_end(words);
    program_end(program);
    if (program->status != status)
        ck_abort_msg("evbus %s: exit %d, not %d; out: %.1500s\nerr: %.1500s", word, program->status,
                     status, program->out, program->err);
    return program;
}

static void contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        ck_abort_msg("no \"%s\" in: %.1500s", part, text);
}

static struct program *respond(const char *command, const char *count)
{
    struct program *program = start("reply", "-v", "-C", count, "--exec", command, "ask.>", NULL);
    program_expect_err(program, "listening");
    return program;
}

START_TEST(asks_and_answers)
{
    struct program *reply = respond("sed s/7/8/; echo", "2");
    struct program *request = run(0, "request", "ask.me", "{\"n\":7}", NULL);
    ck_assert_str_eq(request->out, "{\"n\":8}\n");
    ck_assert_str_eq(request->err, "");
    program_free(request);
    request = run(0, "--json", "request", "--correlation", "c-1", "--attr", "a=b", "ask.me", NULL);
    json_t *json = json_loads(request->out, 0, NULL);
    ck_assert_ptr_nonnull(json);
    ck_assert_str_eq(json_string_value(json_object_get(json, "type")), "reply");
    ck_assert_str_eq(json_string_value(json_object_get(json, "correlationId")), "c-1");
    ck_assert_ptr_nonnull(json_object_get(json, "inReplyTo"));
    ck_assert_ptr_null(json_object_get(json, "data")); /* it wrote nothing but a line end */
    json_decref(json);
    program_free(request);
    ck_assert_int_eq(program_end(reply), 0);
    ck_assert_str_eq(reply->out, "");
    program_free(reply);
}
END_TEST

/* Fields in the environment; what is no JSON goes as bytes; other events are let go. */
START_TEST(what_a_command_gets_and_gives)
{
    struct program *reply = start("reply", "-v", "-C", "2", "--type", "ask.answered", "--exec",
                                  "echo \"$EVBUS_TYPE $EVBUS_CORRELATION\"; cat", "ask.>", NULL);
    program_expect_err(reply, "listening");
    program_free(run(0, "pub", "ask.nothing", "1", NULL));
    struct program *request = run(0, "request", "--correlation", "c", "ask.x", "[1]", NULL);
    ck_assert_str_eq(request->out, "ask.x c\n[1]");
    program_free(request);
    request = run(0, "--json", "request", "--bytes", "ask.x", "raw", NULL);
    contains(request->out, "\"dataBase64\":");
    contains(request->out, "\"type\":\"ask.answered\"");
    program_free(request);
    ck_assert_int_eq(program_end(reply), 0); /* two requests; the other one did not count */
    program_free(reply);
}
END_TEST

START_TEST(bytes_to_the_last_one)
{
    struct program *reply =
        start("reply", "-v", "-C", "1", "--bytes", "--exec", "printf '1\\n\\n'", "ask", NULL);
    program_expect_err(reply, "listening");
    struct program *request = run(0, "request", "ask", NULL);
    ck_assert_str_eq(request->out, "1\n\n");
    program_free(request);
    ck_assert_int_eq(program_end(reply), 0);
    program_free(reply);
}
END_TEST

static const struct {
    const char *command, *says;
} failing[] = {
    {"echo; echo 'no such user' >&2; echo more >&2; exit 3", "refused: 3: no such user\n"},
    {"exit 7", "refused: 7\n"},
    {"printf '\\n  \\033[1mbad\\n' >&2; exit 1", "bad\n"},
    {"kill -9 $$", "refused: 137\n"},
    {"/nonexistent/command", "refused: 127: "},
};

START_TEST(commands_that_fail)
{
    for (size_t i = 0; i < sizeof failing / sizeof failing[0]; i++) {
        struct program *reply = respond(failing[i].command, "1");
        struct program *request = run(1, "request", "ask.me", NULL);
        contains(request->err, failing[i].says);
        ck_assert_ptr_null(strchr(request->err, '\033'));
        ck_assert_str_eq(request->out, "");
        program_free(request);
        ck_assert_int_eq(program_end(reply), 1);
        program_free(reply);
    }
}
END_TEST

START_TEST(nobody_or_nothing)
{
    struct program *request = run(5, "request", "ask.me", NULL);
    contains(request->err, "evbus: nobody listens to ask.me");
    program_free(request);
    struct program *sub = start("sub", "-v", "ask.me", NULL); /* listens, and says nothing */
    program_expect_err(sub, "listening");
    request = run(27, "request", "-W", "100ms", "ask.me", NULL);
    contains(request->err, "no reply within 100 ms");
    program_free(request);
    program_free(sub);
    sub = start("reply", "-W", "50ms", "--exec", "true", "ask", NULL);
    ck_assert_int_eq(program_end(sub), 27);
    program_free(sub);
    server_kill(server);
    program_free(run(3, "request", "-W", "50ms", "ask.me", NULL));
}
END_TEST

/* A command that takes too long is killed, with all that it has started, and the next one comes. */
START_TEST(a_command_that_takes_too_long)
{
    struct program *reply = respond("read line; [ \"$line\" = 1 ] || sleep 1000", "2");
    struct program *request = run(27, "request", "-W", "300ms", "ask.me", "0", NULL);
    program_free(request);
    program_expect_err(reply, "took longer than its asker waits");
    request = run(0, "request", "ask.me", "1", NULL);
    program_free(request);
    ck_assert_int_eq(program_end(reply), 1);
    program_free(reply);
}
END_TEST

static bool is_there(void *path)
{
    return access(path, F_OK) == 0;
}

/* Whoever waits for the command is told, not left to wait. */
START_TEST(ended_at_work)
{
    char path[120], command[200];
    snprintf(path, sizeof path, "%s/begun", suite_folder());
    snprintf(command, sizeof command, "touch %s; exec sleep 1000", path);
    struct program *reply = respond(command, "2");
    struct program *request = start("request", "-W", "60s", "ask.me", NULL);
    ck_assert(until(is_there, path, 10000));
    program_signal(reply, SIGTERM);
    ck_assert_int_eq(program_end(reply), 0);
    ck_assert_int_eq(program_end(request), 1);
    contains(request->err, "refused: the responder has ended");
    program_free(reply);
    program_free(request);
}
END_TEST

static const struct {
    const char *words[6], *says;
} wrong[] = {
    {{"request"}, "request wants a TYPE"},
    {{"request", "a", "{", "}"}, "one word too many: \"}\""},
    {{"request", "a..b"}, "empty word"},
    {{"request", "-W", "0", "a"}, "is no time"},
    {{"request", "--attr", "x", "a"}, "--attr wants KEY=VALUE"},
    {{"request", "--exec", "true", "a"}, "unknown flag --exec"},
    {{"reply", "a"}, "reply wants --exec CMD"},
    {{"reply", "--exec", "true"}, "reply wants a PATTERN"},
    {{"reply", "--exec", "true", "--type", "a..b", "x"}, "empty word"},
    {{"reply", "--exec", "true", "a..b"}, "empty word"},
    {{"sub", "--type", "a", "x"}, "unknown flag --type"},
};

START_TEST(wrong_command_lines)
{
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const char *const *w = wrong[i].words;
        struct program *program = run(2, w[0], w[1], w[2], w[3], w[4], w[5], NULL);
        contains(program->err, wrong[i].says);
        ck_assert_str_eq(program->out, "");
        program_free(program);
    }
    struct program *program = run(0, "help", "reply", NULL);
    contains(program->out, "--exec CMD");
    program_free(program);
    program = run(0, "request", "--help", NULL);
    contains(program->out, "Exit 5");
    program_free(program);
}
END_TEST

static void add(Suite *suite, const char *name, const TTest *test, bool with_server)
{
    TCase *tc = tcase_create(name);
    if (with_server)
        tcase_add_checked_fixture(tc, start_server, end_server);
    tcase_set_timeout(tc, suite_patience(60000) / 1000.0);
    tcase_add_test(tc, test);
    suite_add_tcase(suite, tc);
}

int main(int argc, char **argv)
{
    Suite *suite = suite_create("tool, request");
    add(suite, "asks_and_answers", asks_and_answers, true);
    add(suite, "what_a_command_gets_and_gives", what_a_command_gets_and_gives, true);
    add(suite, "bytes_to_the_last_one", bytes_to_the_last_one, true);
    add(suite, "commands_that_fail", commands_that_fail, true);
    add(suite, "nobody_or_nothing", nobody_or_nothing, true);
    add(suite, "a_command_that_takes_too_long", a_command_that_takes_too_long, true);
    add(suite, "ended_at_work", ended_at_work, true);
    add(suite, "wrong_command_lines", wrong_command_lines, false);
    return suite_run(suite, argc, argv);
}
