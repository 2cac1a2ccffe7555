/* it_tool_history.c - evbus history and evbus tail, run as a user would. */
#include "harness/program.h"
#include "harness/server.h"
#include "harness/suite.h"
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = 16, WIDTH = 80 };

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

/* evbus -s SOCKET WORD...; the socket only when there is a server. */
static struct program *start_words(const char *input, const char *word, va_list words)
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
    return program_start(input, argv);
}

static struct program *start(const char *word, ...)
{
    va_list words;
    va_start(words, word);
    struct program *program = start_words(NULL, word, words);
    va_end(words);
    return program;
}

static struct program *run(int status, const char *input, const char *word, ...)
{
    va_list words;
    va_start(words, word);
    struct program *program = start_words(input, word, words);
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

/* ---- traces ---- */

#define LINE(id, type, at, source, correlation, data)                                              \
    "{\"eventId\":\"" id "\",\"type\":\"" type "\",\"version\":\"1.0\",\"timestamp\":\"" at        \
    "\",\"source\":\"" source "\",\"correlationId\":\"" correlation "\",\"data\":" data "}\n"

static const char log_text[] =
    LINE("1", "order.new", "2026-01-02T03:04:05.000Z", "shop", "c-1",
         "{\"items\":[\"a long list of things\",\"that does not fit\",\"into eighty columns\"]}")
        LINE("2", "order.charged", "2026-01-02T03:04:05.012Z", "billing-service-eu", "c-1", "7")
    /* another one, then one that was written down too late, then two of one time */
    LINE("9", "order.new", "2026-01-02T03:04:05.013Z", "shop", "c-2", "8")
        LINE("4", "order.shipped", "2026-01-02T04:06:05.512Z", "shop", "c-1", "\"\\u00fc\"")
            LINE("3", "order.packed", "2026-01-02T03:04:06.512Z", "st\u00f6re", "c-1", "\"\"")
                LINE("5", "b", "2026-01-02T04:06:06.000Z", "shop", "c-1", "null")
                    LINE("6", "a", "2026-01-02T04:06:06.000Z", "shop", "c-1", "1");

START_TEST(trace)
{
    struct program *program = run(0, log_text, "history", "--trace", "c-1", "--file", "-", NULL);
    ck_assert_str_eq(
        program->out,
        "c-1 from 2026-01-02T03:04:05.000Z on\n"
        "    0.0 ms              shop         order.new {\"items\":[\"a long list of thin...\n"
        "   12.0 ms    +12.0 ms  billing-s...   order.charged 7\n"
        "   1.512 s    +1.500 s  störe            order.packed \"\"\n"
        "     1h02m      +1h01m  shop         order.shipped \"\\u00fc\"\n"
        "     1h02m   +488.0 ms  shop         b null\n"
        "     1h02m     +0.0 ms  shop         a 1\n");
    ck_assert_str_eq(program->err, "");
    for (char *p = program->out, *end; *p; p = end + 1) {
        end = strchr(p, '\n');
        ck_assert_msg(end - p <= WIDTH + 1, /* a byte more than columns */ "wider than %d: %.*s",
                      WIDTH, (int)(end - p), p);
    }
    program_free(program);
}
END_TEST

START_TEST(trace_as_json)
{
    static const char *const ids[] = {"1", "2", "3", "4", "5", "6"};
    struct program *program =
        run(0, log_text, "history", "--json", "--trace", "c-1", "--file", "-", NULL);
    const char *line = program->out;
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        json_t *event = json_loads(line, JSON_DISABLE_EOF_CHECK, NULL);
        ck_assert_msg(event != NULL, "%s", line);
        ck_assert_str_eq(json_string_value(json_object_get(event, "eventId")), ids[i]);
        json_decref(event);
        line = strchr(line, '\n') + 1;
    }
    ck_assert_str_eq(line, "");
    program_free(program);
}
END_TEST

/* More sources than there are columns for, and lines that are no events. */
START_TEST(trace_of_much)
{
    char input[4096] = "nonsense\n\n{\"data\":1}\n", line[256];
    for (int i = 0; i < 12; i++) {
        snprintf(line, sizeof line, LINE("%d", "t", "2026-01-02T03:04:%02d.000Z", "s%d", "c", "1"),
                 i, i, i);
        strcat(input, line);
    }
    struct program *program = run(1, input, "history", "--trace", "c", "--file", "-", NULL);
    contains(program->err, "line 1: ");
    contains(program->err, "line 3: ");
    ck_assert_ptr_null(strstr(program->err, "line 2: "));
    contains(program->out, "  s0           t 1\n");
    contains(program->out, "  s7                         t 1\n");
    contains(program->out, "  s11                        t 1\n");
    program_free(program);
    program = run(0, log_text, "history", "--trace", "c", "--file", "-", NULL);
    contains(program->err, "no events with the correlation id \"c\"");
    ck_assert_str_eq(program->out, "");
    program_free(program);
    program = run(1, NULL, "history", "--trace", "c", "--file", "/nonexistent/log", NULL);
    contains(program->err, "/nonexistent/log: No such file");
    program_free(program);
}
END_TEST

/* ---- command lines ---- */

static const struct {
    const char *words[6], *says;
} wrong[] = {
    {{"history", "task.*"}, "history takes no \"task.*\": --type task.*"},
    {{"history", "--limit", "0"}, "limit: \"0\" is not a whole number from 1 to 100000"},
    {{"history", "--since", "soon"}, "since: \"soon\" is no point in history"},
    {{"history", "--type", "a..b"}, "empty word"},
    {{"history", "--trace", "c", "--correlation", "c"}, "no --correlation with it"},
    {{"history", "--file", "log"}, "--file goes with --trace"},
    {{"history", "--trace", "c", "--file=log", "--limit=1"}, "--file goes with --trace alone"},
    {{"history", "-W", "soon"}, "\"soon\" is no time"},
    {{"tail", "a..b"}, "empty word"},
    {{"tail", "--exec", "true"}, "unknown flag --exec"},
    {{"sub", "--grep", "x", "a"}, "unknown flag --grep"},
};

START_TEST(wrong_command_lines)
{
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const char *const *w = wrong[i].words;
        struct program *program = run(2, NULL, w[0], w[1], w[2], w[3], w[4], w[5], NULL);
        contains(program->err, wrong[i].says);
        ck_assert_str_eq(program->out, "");
        program_free(program);
    }
}
END_TEST

START_TEST(helps)
{
    struct program *program = run(0, NULL, "help", "history", NULL);
    contains(program->out, "--trace ID");
    program_free(program);
    program = run(0, NULL, "tail", "--help", NULL);
    contains(program->out, "--since WHEN");
    program_free(program);
}
END_TEST

/* ---- live ---- */

static void publish(const char *type, const char *json, const char *correlation)
{
    program_free(run(0, NULL, "pub", "--correlation", correlation, type, json, NULL));
}

START_TEST(tail_picks)
{
    struct program *all = start("tail", "-v", "-C", "4", NULL);
    struct program *text = start("tail", "-v", "-C", "2", "--grep", "seven", NULL);
    struct program *one = start("tail", "-v", "-C", "1", "--json", "--correlation", "y", "--grep",
                                "seven", "a.>", "b.>", NULL);
    program_expect_err(all, "listening");
    program_expect_err(text, "listening");
    program_expect_err(one, "listening");
    publish("a.b", "\"six seven\"", "x");
    publish("b.c", "7", "y");
    publish("b.seven", "8", "y");
    publish("d", "null", "z");
    program_end(all);
    program_end(text);
    program_end(one);
    ck_assert_int_eq(all->status | text->status | one->status, 0);
    contains(all->out, "Z a.b \"six seven\"\n");
    contains(all->out, "Z d null\n");
    contains(text->out, "Z a.b \"six seven\"\n");
    contains(text->out, "Z b.seven 8\n");
    ck_assert_ptr_null(strstr(text->out, "b.c"));
    contains(one->out, "\"type\":\"b.seven\"");
    ck_assert_ptr_null(strstr(one->out, "a.b"));
    program_free(all);
    program_free(text);
    program_free(one);
    program_free(run(27, NULL, "tail", "-W", "50ms", "--correlation", "x", NULL));
}
END_TEST

/* ---- what Redis stores ---- */

static void publish_as(const char *bus, const char *type, const char *json, const char *correlation)
{
    char name[40];
    snprintf(name, sizeof name, "bus.name=%s", bus);
    program_free(run(0, NULL, "-X", name, "pub", "--correlation", correlation, type, json, NULL));
}

/* The lines without what the clock decides: "order.new {..}|order.paid 2|" */
static const char *told(const char *out, const char *from)
{
    static char lines[2000];
    lines[0] = '\0';
    for (const char *line = strstr(out, from); line; line = strstr(line, from)) {
        size_t at = strlen(lines), length = strcspn(line, "\n");
        snprintf(lines + at, sizeof lines - at, "%.*s|", (int)length, line);
        line += length;
    }
    return lines;
}

static const struct {
    const char *flags[4], *lines;
} picks[] = {
    {{NULL}, "order.new 1|order.charged 2|order.new 3|order.packed 4|"}, /* oldest first */
    {{"--type", "order.new"}, "order.new 1|order.new 3|"},
    {{"--limit", "2"}, "order.new 3|order.packed 4|"},
    {{"--correlation", "c-8"}, "order.new 3|"},
    {{"--since", "1h", "--until", "now"},
     "order.new 1|order.charged 2|order.new 3|order.packed 4|"},
    {{"--until", "1h"}, ""},
};

START_TEST(stored)
{
    publish_as("shop", "order.new", "1", "c-7");
    publish_as("billing", "order.charged", "2", "c-7");
    publish_as("shop", "order.new", "3", "c-8");
    publish_as("store", "order.packed", "4", "c-7");
    for (size_t i = 0; i < sizeof picks / sizeof picks[0]; i++) {
        const char *const *f = picks[i].flags;
        struct program *program = run(0, NULL, "history", f[0], f[1], f[2], f[3], NULL);
        ck_assert_str_eq(told(program->out, "order."), picks[i].lines);
        program_free(program);
    }
    struct program *program = run(0, NULL, "history", "--trace", "c-7", NULL);
    ck_assert_str_eq(told(program->out, "  s"),
                     "  shop         order.new 1|  store            order.packed 4|");
    contains(program->out, "  billing        order.charged 2\n");
    program_free(program);
    program = run(0, NULL, "history", "--json", "--type", "*.packed", NULL);
    contains(program->out, "\"source\":\"store\"");
    contains(program->out, "\"position\":\"");
    program_free(program);
    program = run(1, NULL, "-X", "history.enabled=no", "history", NULL);
    contains(program->err, "no history is stored in Redis: history.enabled=no");
    program_free(program);
}
END_TEST

START_TEST(refused)
{
    server_command(server, "ACL SETUSER default -eval");
    struct program *program = run(4, NULL, "history", NULL);
    contains(program->err, "the user needs +eval +evalsha +xrevrange and ~evbus:*");
    program_free(program);
    server_kill(server);
    program = run(3, NULL, "history", "-W", "300ms", NULL);
    contains(program->err, "no Redis within 0.3 s");
    program_free(program);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("tool history");
    TCase *offline = tcase_create("offline"), *live = tcase_create("live");
    tcase_set_timeout(offline, 60);
    tcase_add_test(offline, trace);
    tcase_add_test(offline, trace_as_json);
    tcase_add_test(offline, trace_of_much);
    tcase_add_test(offline, wrong_command_lines);
    tcase_add_test(offline, helps);
    suite_add_tcase(suite, offline);
    tcase_set_timeout(live, 60);
    tcase_add_checked_fixture(live, start_server, end_server);
    tcase_add_test(live, tail_picks);
    tcase_add_test(live, stored);
    tcase_add_test(live, refused);
    suite_add_tcase(suite, live);
    return suite_run(suite, argc, argv);
}
