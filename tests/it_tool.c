/* it_tool.c - the evbus tool, run as a user would, against a real server. */
#include "harness/program.h"
#include "harness/server.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORDS = 32 };

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

static struct program *start(const char *input, const char *word, ...)
{
    va_list words;
    va_start(words, word);
    struct program *program = start_words(input, word, words);
    va_end(words);
    return program;
}

/* Runs it to its end; out and err go to the caller with the program. */
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

/* -v says when Redis has confirmed the subscriptions. */
static void expect_listening(struct program *sub)
{
    program_expect_err(sub, "listening");
}

START_TEST(help_and_version)
{
    struct program *program = run(0, NULL, "--version", NULL);
    contains(program->out, "evbus 0.");
    program_free(program);
    program = run(0, NULL, "--help", NULL);
    contains(program->out, "health");
    ck_assert_ptr_null(strstr(program->out, "demo-peer"));
    program_free(program);
    program = run(0, NULL, "help", "pub", NULL);
    contains(program->out, "--correlation ID");
    program_free(program);
    program = run(0, NULL, "sub", "--help", NULL);
    contains(program->out, "--exec CMD");
    program_free(program);
    setenv("REDIS_SSL", "perhaps", 1); /* what settings make impossible does not keep help away */
    program_free(run(0, NULL, "help", NULL));
    program_free(run(1, NULL, "health", NULL));
}
END_TEST

static const struct {
    const char *words[5], *says;
} wrong[] = {
    {{"frob"}, "no command \"frob\""},
    {{"help", "frob"}, "no command \"frob\""},
    {{"pub"}, "wants a TYPE"},
    {{"pub", "a..b"}, "empty word"},
    {{"pub", "a", "1", "2"}, "one word too many"},
    {{"pub", "--frob", "a"}, "unknown flag --frob"},
    {{"pub", "-Z", "a"}, "unknown flag -Z"},
    {{"pub", "a", "-W"}, "--timeout wants TIME"},
    {{"pub", "a", "-W", "soon"}, "\"soon\" is no time"},
    {{"pub", "--count", "-1", "a"}, "\"-1\" is no number"},
    {{"pub", "--attr", "x", "a"}, "KEY=VALUE"},
    {{"pub", "-l", "a", "1"}, "not from two"},
    {{"pub", "-l", "--batch", "--wait", "a"}, "not both"},
    {{"pub", "--json=1", "a"}, "takes no value"},
    {{"sub"}, "wants a PATTERN"},
    {{"sub", "a.>.b"}, "pattern"},
    {{"sub", "-C", "0", "a"}, "number from 1"},
    {{"sub", "--format", "%z", "a"}, "format"},
    {{"health", "x"}, "takes no \"x\""},
    {{"demo", "x"}, "takes no \"x\""},
    {{"-X", "outbox.evnts=1", "health"}, "outbox.events"},
    {{"-X", "nothing", "health"}, "KEY=VALUE"},
    {{"-p", "70000", "health"}, "redis.port"},
    {{"-u", "http://127.0.0.1", "health"}, "redis.url"},
    {{"--config", "/nonexistent/file", "health"}, "/nonexistent/file"},
};

START_TEST(wrong_command_lines)
{
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const char *const *w = wrong[i].words;
        struct program *program = run(2, NULL, w[0], w[1], w[2], w[3], w[4], NULL);
        contains(program->err, wrong[i].says);
        ck_assert_str_eq(program->out, "");
        program_free(program);
    }
}
END_TEST

START_TEST(both_ways)
{
    struct program *sub = start(NULL, "sub", "-v", "-C", "3", "task.*", "user.login", NULL);
    expect_listening(sub);
    struct program *pub = run(0, NULL, "pub", "task.created", "{\"id\":7}", NULL);
    ck_assert_str_eq(pub->out, "");
    ck_assert_str_eq(pub->err, "");
    program_free(pub);
    pub = run(0, NULL, "pub", "--wait", "user.login", NULL);
    contains(pub->out, "acked, 1 receiver  ");
    program_free(pub);
    program_free(run(0, NULL, "pub", "task.created.late", "1", NULL)); /* matches nothing */
    char *cli[] = {
        "redis-cli",          "-s", server->socket, "publish", "evbus:events:task.foreign",
        "{\"status\":\"x\"}", NULL};
    struct program *foreign = program_start(NULL, cli);
    ck_assert_int_eq(program_end(foreign), 0);
    ck_assert_str_eq(foreign->out, "1\n");
    program_free(foreign);
    ck_assert_int_eq(program_end(sub), 0);
    contains(sub->out, "Z task.created {\"id\":7}\n");
    contains(sub->out, "Z user.login \n");
    contains(sub->out, "Z task.foreign {\"status\":\"x\"}\n");
    ck_assert_ptr_null(strstr(sub->out, "late"));
    program_free(sub);
}
END_TEST

START_TEST(redis_cli_understands)
{
    char *cli[] = {"redis-cli", "-s", server->socket, "subscribe", "evbus:events:a.b", NULL};
    struct program *foreign = program_start(NULL, cli);
    program_expect_out(foreign, "evbus:events:a.b\n1\n");
    program_free(run(0, NULL, "pub", "--attr", "userId=42", "--attr", "x=a=b", "--source", "shop",
                     "--correlation", "c-1", "a.b", "[1,2]", NULL));
    program_expect_out(foreign, "\"data\":[1,2],\"position\":\"");
    program_expect_out(foreign, "-1\"}\n");
    json_t *event = json_loads(strchr(foreign->out, '{'), JSON_DISABLE_EOF_CHECK, NULL);
    ck_assert_ptr_nonnull(event);
    ck_assert_str_eq(json_string_value(json_object_get(event, "type")), "a.b");
    ck_assert_str_eq(json_string_value(json_object_get(event, "source")), "shop");
    ck_assert_str_eq(json_string_value(json_object_get(event, "correlationId")), "c-1");
    json_t *attrs = json_object_get(event, "attrs");
    ck_assert_str_eq(json_string_value(json_object_get(attrs, "userId")), "42");
    ck_assert_str_eq(json_string_value(json_object_get(attrs, "x")), "a=b");
    json_decref(event);
    program_signal(foreign, SIGINT);
    program_end(foreign);
    program_free(foreign);
}
END_TEST

START_TEST(lines_files_and_counts)
{
    struct program *sub = start(NULL, "sub", "-v", "-C", "8", "--format", "%t %d", "n.>", NULL);
    expect_listening(sub);
    struct program *pub = run(1, "1\n\nnot json\n2\n\"three\"", "pub", "-l", "n.line", NULL);
    contains(pub->err, "line 3: ");
    ck_assert_ptr_null(strstr(pub->err, "line 4"));
    program_free(pub);
    pub = run(0, NULL, "pub", "--count", "3", "--interval", "10ms", "--wait", "--json", "n.count",
              "-X", "event.check=always", "{}", NULL);
    json_t *report = json_loads(pub->out, JSON_DISABLE_EOF_CHECK, NULL);
    ck_assert_str_eq(json_string_value(json_object_get(report, "outcome")), "acked");
    ck_assert_int_eq(json_integer_value(json_object_get(report, "receivers")), 1);
    json_decref(report);
    program_free(pub);
    program_free(run(0, "[\n1,\n2]\n", "pub", "--file", "-", "n.file", NULL));
    program_free(run(0, "a\033[31m\n", "pub", "--bytes", "--file", "-", "n.bytes", NULL));
    ck_assert_int_eq(program_end(sub), 0);
    ck_assert_str_eq(sub->out, "n.line 1\nn.line 2\nn.line \"three\"\n"
                               "n.count {}\nn.count {}\nn.count {}\n"
                               "n.file [ 1, 2]\nn.bytes a\\x1b[31m\\x0a\n");
    program_free(sub);
    pub = run(1, NULL, "pub", "--file", "/nonexistent/file", "a", NULL);
    contains(pub->err, "/nonexistent/file: No such file");
    program_free(pub);
}
END_TEST

START_TEST(many_lines_arrive_in_order)
{
    enum { LINES = 20000 };
    char *input = malloc(LINES * 8);
    size_t length = 0;
    char limit[16];
    for (int i = 1; i <= LINES; i++)
        length += (size_t)sprintf(input + length, "%d\n", i);
    snprintf(limit, sizeof limit, "%d", LINES);
    struct program *sub = start(NULL, "sub", "-v", "-C", limit, "--format", "%d", "n", NULL);
    expect_listening(sub);
    program_free(run(0, input, "pub", "-l", "-X", "outbox.events=50", "n", NULL));
    ck_assert_int_eq(program_end(sub), 0);
    ck_assert_msg(strcmp(sub->out, input) == 0, "lines lost, doubled or reordered");
    free(input);
    program_free(sub);
}
END_TEST

/* The lines 1..last come in batches of these counts. */
static void expect_batches(int last, const char *setting, const char *const counts[])
{
    char input[8192], limit[16];
    int batches = 0, length = 0, number = 0;
    for (int i = 1; i <= last; i++)
        length += snprintf(input + length, sizeof input - (size_t)length, "%d\n", i);
    while (counts[batches])
        batches++;
    snprintf(limit, sizeof limit, "%d", batches);
    struct program *sub = start(NULL, "sub", "-v", "-C", limit, "--format", "%d", "n.batch", NULL);
    expect_listening(sub);
    program_free(run(0, input, "pub", "-l", "--batch", "-X", setting, "n", NULL));
    ck_assert_int_eq(program_end(sub), 0);
    char *at = sub->out, *rest = NULL;
    for (int i = 0; counts[i]; i++, at = NULL) {
        json_t *data = json_loads(strtok_r(at, "\n", &rest), 0, NULL), *event;
        size_t n;
        ck_assert_int_eq(json_integer_value(json_object_get(data, "count")), atoi(counts[i]));
        json_array_foreach(json_object_get(data, "events"), n, event)
            ck_assert_int_eq(json_integer_value(json_object_get(event, "data")), ++number);
        json_decref(data);
    }
    ck_assert_int_eq(number, last);
    program_free(sub);
}

START_TEST(lines_in_batches)
{
    expect_batches(250, "batch.events=100", (const char *const[]){"100", "100", "50", NULL});
    expect_batches(1500, "batch.events=1200", (const char *const[]){"1200", "300", NULL});
    expect_batches(80, "outbox.events=50", (const char *const[]){"50", "30", NULL});
}
END_TEST

START_TEST(bad_json)
{
    struct program *pub = run(1, NULL, "pub", "a.b", "{\"id\":}", NULL);
    contains(pub->err, "not JSON");
    program_free(pub);
}
END_TEST

START_TEST(formats)
{
    struct program *line = start(NULL, "sub", "-v", "-C", "1", "--format",
                                 "%t|%d|%s|%c|%o|%%|%n\\t%i|%T", "f.x", NULL);
    struct program *json = start(NULL, "sub", "-v", "-C", "1", "--json", "f.x", NULL);
    expect_listening(line);
    expect_listening(json);
    const char *foreign = "{\"eventId\":\"e1\",\"node\":\"n\",\"correlationId\":\"c\","
                          "\"source\":\"s\",\"timestamp\":\"2026-01-02T03:04:05.678Z\","
                          "\"data\":{\"a\":\n\"\xc2\x9b[31m\303\244\"}}";
    ck_assert_int_eq(server_publish(server, "evbus:events:f.x", foreign, strlen(foreign)), 2);
    ck_assert_int_eq(program_end(line), 0);
    ck_assert_int_eq(program_end(json), 0);
    json_t *event = json_loads(json->out, 0, NULL);
    ck_assert_ptr_nonnull(event);
    ck_assert_str_eq(json_string_value(json_object_get(event, "eventId")), "e1");
    ck_assert_str_eq(line->out, "f.x|{\"a\": \"\\xc2\\x9b[31m\303\244\"}|s|c|redis|%|-\te1|"
                                "2026-01-02T03:04:05.678Z\n");
    json_decref(event);
    program_free(line);
    program_free(json);
}
END_TEST

START_TEST(timeouts)
{
    struct program *sub = run(27, NULL, "sub", "-W", "200ms", "a", NULL);
    contains(sub->err, "0 events within 0.2 s");
    program_free(sub);
    sub = run(27, NULL, "-q", "sub", "-W", "0.1", "a", NULL);
    ck_assert_str_eq(sub->err, "");
    program_free(sub);
}
END_TEST

START_TEST(no_redis)
{
    char path[128];
    snprintf(path, sizeof path, "%s/nobody", suite_folder());
    struct program *program = run(3, NULL, "-s", path, "pub", "-W", "200ms", "a", NULL);
    contains(program->err, "no Redis within 0.2 s: ");
    contains(program->err, "No such file");
    program_free(program);
    program = run(3, NULL, "-s", path, "health", "-W", "0", NULL);
    contains(program->out, "status   degraded");
    program_free(program);
    program = run(3, NULL, "-X", "bus.mode=local-only", "pub", "a", NULL);
    contains(program->err, "local-only");
    program_free(program);
    program_free(run(3, NULL, "-X", "bus.mode=local-only", "sub", "a", NULL));
    program = run(3, NULL, "-X", "bus.mode=local-only", "health", NULL);
    contains(program->out, "redis    none: ");
    program_free(program);
    program = run(27, NULL, "-s", path, "sub", "-W", "1500ms", "a", NULL);
    contains(program->err, "no Redis yet, still trying");
    contains(program->err, "within 1.5 s, no Redis: ");
    program_free(program);
}
END_TEST

START_TEST(healthy)
{
    struct program *program = run(0, NULL, "health", NULL);
    contains(program->out, "status   healthy\nmode     hybrid\n");
    program_free(program);
    program = run(0, NULL, "--json", "health", NULL);
    json_t *health = json_loads(program->out, 0, NULL);
    ck_assert_str_eq(json_string_value(json_object_get(health, "status")), "healthy");
    json_decref(health);
    program_free(program);
    /* The environment says where, flags win. */
    char *alone[] = {(char *)program_built("evbus"), "health", "-W", "0", NULL, NULL, NULL};
    setenv("EVBUS_REDIS_PATH", server->socket, 1);
    program = program_start(NULL, alone);
    ck_assert_int_eq(program_end(program), 0);
    program_free(program);
    alone[4] = "-p";
    alone[5] = "1";
    program = program_start(NULL, alone);
    ck_assert_int_eq(program_end(program), 3);
    contains(program->out, "127.0.0.1:1,");
    program_free(program);
}
END_TEST

START_TEST(refused)
{
    struct program *program = run(4, NULL, "pub", "a", NULL);
    contains(program->err, "NOAUTH");
    program_free(program);
    program = run(4, NULL, "-a", "canary-bad", "sub", "a", NULL);
    contains(program->err, "WRONGPASS");
    ck_assert_ptr_null(strstr(program->err, "canary"));
    program_free(program);
    program_free(run(4, NULL, "health", NULL));
    program_free(run(0, NULL, "-a", "sesame", "health", NULL));
    program = run(4, NULL, "-a", "pw", "--user", "bob", "sub", "no.x", NULL);
    contains(program->err, "Redis refused no.x");
    program_free(program);
    program = run(4, NULL, "-a", "pw", "--user", "bob", "pub", "no.x", NULL);
    contains(program->err, "1 of 1 events lost, the first failed");
    program_free(program);
    program_free(run(0, NULL, "-a", "pw", "--user", "bob", "pub", "ok.x", NULL));
}
END_TEST

static void start_guarded_server(void)
{
    server = server_start("requirepass sesame\n"
                          "user bob on >pw +@all -@dangerous ~* &evbus:events:ok.* &evbus:inbox:*");
}

START_TEST(secrets_stay_secret)
{
    char path[64], line[512] = "";
    struct program *program =
        run(2, NULL, "-u", "redis://bob:canary@127.0.0.1:99999/", "health", NULL);
    ck_assert_ptr_null(strstr(program->err, "canary"));
    program_free(program);
    program = start(NULL, "-a", "canary", "-X", "redis.password=canary", "-u",
                    "redis://bob:canary@127.0.0.1:1", "sub", "a", NULL);
    program_expect_err(program, "no Redis yet");
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)program->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = read(fd, line, sizeof line - 1);
    ck_assert_int_gt(length, 0);
    close(fd);
    ck_assert_ptr_nonnull(memmem(line, (size_t)length, "@127.0.0.1:1", 12));
    ck_assert_ptr_null(memmem(line, (size_t)length, "canary", 6));
    program_signal(program, SIGTERM);
    ck_assert_int_eq(program_end(program), 0);
    ck_assert_ptr_null(strstr(program->err, "canary"));
    program_free(program);
}
END_TEST

static void expect_no_children(pid_t pid)
{
    char path[64], line[64] = "";
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *file = fopen(path, "re");
    if (!file) {
        fprintf(stderr, "SKIPPED: this kernel does not list children in %s\n", path);
        return;
    }
    struct wait wait = wait_for(5000);
    do {
        rewind(file);
        line[0] = '\0';
        fflush(file);
        if (!fgets(line, sizeof line, file))
            break;
    } while (line[0] && wait_more(&wait));
    fclose(file);
    ck_assert_str_eq(line, "");
}

START_TEST(exec_runs_a_command_for_each)
{
    char command[512];
    snprintf(command, sizeof command,
             "cat >>%s/got; echo \"$EVBUS_TYPE|$EVBUS_SOURCE|$EVBUS_ORIGIN|$EVBUS_CORRELATION\"",
             suite_folder());
    struct program *sub = start(NULL, "sub", "-v", "--exec", command, "x.*", NULL);
    expect_listening(sub);
    char evil[256];
    snprintf(evil, sizeof evil, "$(touch %s/pwned)';touch %s/pwned;`touch %s/pwned`",
             suite_folder(), suite_folder(), suite_folder());
    program_free(run(0, NULL, "pub", "--source", evil, "--correlation", "c1", "x.a",
                     "{\"q\":\"';\"}", NULL));
    program_free(run(0, NULL, "pub", "--correlation", "c2", "x.b", NULL));
    program_expect_out(sub, "|redis|c2\n");
    contains(sub->out, "x.a|$(touch ");
    expect_no_children(sub->pid);
    program_signal(sub, SIGINT);
    ck_assert_int_eq(program_end(sub), 0);
    program_free(sub);
    char path[128];
    snprintf(path, sizeof path, "%s/pwned", suite_folder());
    ck_assert_int_ne(access(path, F_OK), 0);
    snprintf(path, sizeof path, "%s/got", suite_folder());
    FILE *got = fopen(path, "re");
    ck_assert_ptr_nonnull(got);
    json_t *envelope = json_loadf(got, JSON_DISABLE_EOF_CHECK, NULL);
    ck_assert_str_eq(json_string_value(json_object_get(envelope, "source")), evil);
    json_decref(envelope);
    fclose(got);
}
END_TEST

START_TEST(exec_that_fails)
{
    struct program *sub = start(NULL, "sub", "-v", "-C", "2", "--exec", "exit 3", "x", NULL);
    expect_listening(sub);
    program_free(run(0, NULL, "pub", "--count", "2", "x", NULL));
    ck_assert_int_eq(program_end(sub), 1);
    contains(sub->err, "the command answered 3");
    program_free(sub);
}
END_TEST

START_TEST(exec_ends_with_the_tool)
{
    struct program *sub = start(NULL, "sub", "-v", "--exec", "echo $$; sleep 1000", "x", NULL);
    expect_listening(sub);
    program_free(run(0, NULL, "pub", "x", NULL));
    program_expect_out(sub, "\n");
    pid_t shell = (pid_t)atoi(sub->out);
    ck_assert_int_gt(shell, 1);
    program_signal(sub, SIGTERM);
    ck_assert_int_eq(program_end(sub), 0);
    ck_assert_int_ne(kill(shell, 0), 0);
    program_free(sub);
}
END_TEST

START_TEST(a_reader_that_goes_away)
{
    char command[512];
    snprintf(command, sizeof command,
             "{ '%s' -s '%s' sub -v x; echo \"exit $?\" >&2; } | head -n 1", program_built("evbus"),
             server->socket);
    char *argv[] = {"sh", "-c", command, NULL};
    struct program *shell = program_start(NULL, argv);
    expect_listening(shell);
    program_free(run(0, NULL, "pub", "x", "1", NULL));
    ck_assert_int_eq(program_end(shell), 0);
    contains(shell->out, " x 1\n");
    contains(shell->err, "exit 0\n");
    program_free(shell);
}
END_TEST

START_TEST(redis_goes_and_comes)
{
    struct program *sub = start(NULL, "sub", "-v", "-C", "1", "x", NULL);
    expect_listening(sub);
    server_kill(server);
    program_expect_err(sub, "Redis is away: ");
    program_free(run(3, NULL, "pub", "-W", "100ms", "x", NULL));
    server_run(server);
    program_expect_err(sub, "Redis is there, listening");
    program_expect_err(sub, "may have been missed");
    program_free(run(0, NULL, "pub", "x", "1", NULL));
    ck_assert_int_eq(program_end(sub), 0);
    program_free(sub);
}
END_TEST

START_TEST(ends_by_signals)
{
    const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct program *sub = start(NULL, "sub", "-v", "x", NULL);
        expect_listening(sub);
        program_signal(sub, numbers[i]);
        ck_assert_int_eq(program_end(sub), 0);
        program_free(sub);
    }
}
END_TEST

static void plain_environment(void)
{
    static const char *const names[] = {
        "REDIS_URL",           "REDIS_HOST",    "REDIS_PORT", "REDIS_DB",          "REDIS_USERNAME",
        "REDIS_PASSWORD",      "REDIS_SSL",     "REDIS_TLS",  "REDISCLI_AUTH",     "SERVICE_NAME",
        "ENABLE_REDIS_EVENTS", "REDIS_ENABLED", "LOG_LEVEL",  "OTEL_SERVICE_NAME", "NO_COLOR",
        "EVENT_CHANNEL_PREFIX"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
}

static void add(Suite *suite, const char *name, const TTest *test, SFun setup)
{
    TCase *tcase = tcase_create(name);
    tcase_set_timeout(tcase, suite_patience(60));
    tcase_add_checked_fixture(tcase, setup, setup ? end_server : NULL);
    tcase_add_test(tcase, test);
    suite_add_tcase(suite, tcase);
}

int main(int argc, char **argv)
{
    Suite *suite = suite_create("tool");
    plain_environment();
    add(suite, "help_and_version", help_and_version, NULL);
    add(suite, "wrong_command_lines", wrong_command_lines, NULL);
    add(suite, "both_ways", both_ways, start_server);
    add(suite, "redis_cli_understands", redis_cli_understands, start_server);
    add(suite, "lines_files_and_counts", lines_files_and_counts, start_server);
    add(suite, "many_lines_arrive_in_order", many_lines_arrive_in_order, start_server);
    add(suite, "lines_in_batches", lines_in_batches, start_server);
    add(suite, "bad_json", bad_json, start_server);
    add(suite, "formats", formats, start_server);
    add(suite, "timeouts", timeouts, start_server);
    add(suite, "no_redis", no_redis, NULL);
    add(suite, "healthy", healthy, start_server);
    add(suite, "refused", refused, start_guarded_server);
    add(suite, "secrets_stay_secret", secrets_stay_secret, NULL);
    add(suite, "exec_runs_a_command_for_each", exec_runs_a_command_for_each, start_server);
    add(suite, "exec_that_fails", exec_that_fails, start_server);
    add(suite, "exec_ends_with_the_tool", exec_ends_with_the_tool, start_server);
    add(suite, "a_reader_that_goes_away", a_reader_that_goes_away, start_server);
    add(suite, "redis_goes_and_comes", redis_goes_and_comes, start_server);
    add(suite, "ends_by_signals", ends_by_signals, start_server);
    return suite_run(suite, argc, argv);
}
