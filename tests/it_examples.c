/* it_examples.c - the example programs, the demo, and the documents that speak of them. */
#include "harness/bus.h"
#include "harness/child.h"
#include "harness/program.h"
#include "harness/server.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <evbus.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        ck_abort_msg("no \"%s\" in: %.1500s", part, text);
}

static struct program *run(int status, const char *input, char *const argv[])
{
    struct program *program = program_start(input, argv);
    program_end(program);
    if (program->status != status)
        ck_abort_msg("%s: exit %d, not %d; out: %.1500s\nerr: %.1500s", argv[0], program->status,
                     status, program->out, program->err);
    return program;
}

static struct program *shell(const char *script)
{
    char *argv[] = {"sh", "-c", (char *)script, NULL};
    return run(0, NULL, argv);
}

static char *read_text(const char *path)
{
    enum { ROOM = 1 << 18 };
    char *text = calloc(1, ROOM);
    FILE *file = fopen(path, "re");
    ck_assert_msg(file && text, "%s is not there: tests run in the folder of the Makefile", path);
    size_t length = fread(text, 1, ROOM - 1, file);
    ck_assert_uint_lt(length, ROOM - 1);
    fclose(file);
    return text;
}

/* ---- the programs ---- */

START_TEST(hello)
{
    char *argv[] = {(char *)program_built("hello"), NULL};
    struct program *program = run(0, NULL, argv);
    ck_assert_str_eq(program->out, "task.created {\"id\":7}\n");
    program_free(program);
}
END_TEST

START_TEST(own_loop)
{
    char *argv[] = {(char *)program_built("own_loop"), NULL};
    struct program *program = run(0, NULL, argv);
    ck_assert_str_eq(program->out, "clock.tick {\"n\":1}\nclock.tick {\"n\":2}\n"
                                   "clock.tick {\"n\":3}\nclosed: no error\n");
    program_free(program);
}
END_TEST

START_TEST(queue_poll_alone)
{
    char *argv[] = {(char *)program_built("queue_poll"), NULL};
    struct program *program = run(0, "a.b {\"x\":1}\n\nc\nbad..type {}\nd.e not json\n", argv);
    ck_assert_str_eq(program->out,
                     "a.b {\"x\":1}\nc \nd.e not json\n"); /* nobody checks local data */
    contains(program->err, "bad..type: ");
    program_free(program);
}
END_TEST

START_TEST(queue_poll_and_redis)
{
    struct server *server = server_start(NULL);
    char command[512];
    setenv("EVBUS_REDIS_PATH", server->socket, 1);
    snprintf(command, sizeof command, "mkfifo %s/fifo && exec %s <>%s/fifo", suite_folder(),
             program_built("queue_poll"), suite_folder()); /* an input that never ends */
    char *argv[] = {"sh", "-c", command, NULL};
    struct program *program = program_start(NULL, argv);
    struct wait wait = wait_for(10000);
    while (server_publish(server, "evbus:events:from.afar", "{\"data\":{\"y\":2}}", 16) == 0 &&
           wait_more(&wait))
        ;
    program_expect_out(program, "from.afar {\"y\":2}\n");
    program_free(program);
    server_free(server);
}
END_TEST

/* Redis is killed once: no task is left out, and nothing is polled while it is there. */
START_TEST(task_scheduler)
{
    char *argv[] = {(char *)program_built("task_scheduler"), "-r", "200", "-d", "4", NULL};
    struct program *program = run(0, NULL, argv);
    contains(program->out, "Redis is killed");
    contains(program->out, "tasks: 800 created, 0 not scheduled\n");
    contains(program->out, "while Redis was there: ");
    contains(program->out, "while it was away: ");
    int needless = 0;
    for (const char *at = program->out; (at = strstr(at, " needless), ")); at++)
        needless += strncmp(at - 2, "(0", 2) != 0;
    ck_assert_int_eq(needless, 0);
    ck_assert_str_eq(program->err, "");
    program_free(program);
}
END_TEST

START_TEST(task_scheduler_on_a_redis)
{
    struct server *server = server_start(NULL);
    char url[140];
    snprintf(url, sizeof url, "unix://%s", server->socket);
    char *argv[] = {
        (char *)program_built("task_scheduler"), "-r", "100", "-d", "1", "-u", url, NULL};
    struct program *program = run(0, NULL, argv);
    contains(program->out, "tasks: 100 created, 0 not scheduled\n");
    ck_assert_ptr_null(strstr(program->out, "killed"));
    program_free(program);
    argv[1] = "-k";
    program = run(2, NULL, argv);
    contains(program->err, "usage: task_scheduler");
    program_free(program);
    server_free(server);
}
END_TEST

/* Each line without the position, which is the server's time: "t.a 1". */
static void expect_replay(const char *file, const char *lines)
{
    char *argv[] = {(char *)program_built("replay"), (char *)file, NULL};
    char *rest = NULL, got[512] = "";
    struct program *program = run(0, NULL, argv);
    for (char *line = strtok_r(program->out, "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest)) {
        size_t length = strlen(got);
        char *type = strchr(line, ' ');
        ck_assert_ptr_nonnull(type);
        int words = strncmp(type, " evbus.gap ", 11) == 0 ? 10 : (int)strlen(type);
        snprintf(got + length, sizeof got - length, "%.*s\n", words - 1, type + 1);
    }
    ck_assert_str_eq(got, lines);
    program_free(program);
}

static void publish_and_flush(evbus *bus, const char *type, const char *first, const char *second)
{
    ck_assert_int_gt(evbus_publish(bus, type, first), 0);
    ck_assert_int_gt(evbus_publish(bus, type, second), 0);
    ck_assert_int_eq(evbus_flush(bus, 10000), 0);
}

/* What was published before it began; what came since it ran last; what is gone is told. */
START_TEST(replay)
{
    struct server *server = server_start(NULL);
    evbus *bus = server_bus(server, NULL);
    char place[256];
    snprintf(place, sizeof place, "%s/place", suite_folder());
    setenv("EVBUS_REDIS_PATH", server->socket, 1);
    publish_and_flush(bus, "t.a", "1", "2");
    expect_replay(NULL, "t.a 1\nt.a 2\n");
    expect_replay(place, "t.a 1\nt.a 2\n");
    publish_and_flush(bus, "t.b", "3", "4");
    expect_replay(place, "t.b 3\nt.b 4\n");
    expect_replay(place, "");
    expect_replay(NULL, "t.a 1\nt.a 2\nt.b 3\nt.b 4\n");
    server_command(server, "FLUSHALL");
    publish_and_flush(bus, "t.c", "5", "6");
    expect_replay(place, "evbus.gap\nt.c 5\nt.c 6\n");
    evbus_free(bus);
    server_free(server);
}
END_TEST

static int until_line(struct child *child, const char *want, const char *counted)
{
    const char *line;
    int count = 0;
    do {
        line = child_line(child);
        ck_assert_msg(line != NULL, "no \"%s\"", want);
        count += !strcmp(line, counted);
    } while (strncmp(line, want, strlen(want)) != 0);
    return count;
}

/* All drop it and all have it anew; one has fetched it, also after another one has died. */
START_TEST(cache_invalidation)
{
    enum { PROCESSES = 3 };
    struct server *server = server_start(NULL);
    struct child child[PROCESSES];
    const char *const words[] = {program_built("cache_invalidation"), NULL};
    int refills = 0;
    setenv("EVBUS_REDIS_PATH", server->socket, 1);
    setenv("EVBUS_CLAIM_PREFIX", "aiponge:locks:", 1);
    for (int i = 0; i < PROCESSES; i++)
        child_start(&child[i], words);
    for (int i = 0; i < PROCESSES; i++)
        until_line(&child[i], "ready", "");
    fputs("drop welcome\n", child[0].to);
    fflush(child[0].to);
    for (int i = 0; i < PROCESSES; i++)
        refills += until_line(&child[i], "loaded welcome", "refilling welcome");
    ck_assert_int_eq(refills, 1);
    for (int i = 0; i < PROCESSES; i++) {
        fputs("get welcome\n", child[i].to);
        fflush(child[i].to);
        until_line(&child[i], "welcome: as of ", "");
    }
    ck_assert_int_eq(
        server_command(server, "EVAL %s 0", "return #redis.call('KEYS', 'aiponge:locks:refill:*')"),
        1);
    for (int i = 0; i < PROCESSES; i++)
        ck_assert_int_eq(child_wait(&child[i]), 0);
    server_free(server);
}
END_TEST

START_TEST(cache_invalidation_alone)
{
    struct child child;
    const char *const words[] = {program_built("cache_invalidation"), NULL};
    child_start(&child, words);
    until_line(&child, "ready", "");
    fputs("drop welcome\n", child.to);
    fflush(child.to);
    ck_assert_int_eq(until_line(&child, "loaded welcome", "refilling welcome"), 1);
    ck_assert_int_eq(child_wait(&child), 0);
}
END_TEST

START_TEST(replay_without_redis)
{
    char *argv[] = {(char *)program_built("replay"), NULL};
    struct program *program = run(1, NULL, argv);
    contains(program->err, "this bus has no history");
    program_free(program);
}
END_TEST

/* Dates differ, the rest does not. */
static void expect_analytics(const char *want)
{
    char *argv[] = {(char *)program_built("batch_analytics"), NULL};
    struct program *program = run(0, NULL, argv);
    char *rest = NULL, got[512] = "";
    for (char *line = strtok_r(program->out, "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest)) {
        size_t length = strlen(got);
        bool member = line[0] == ' ';
        ck_assert(!member || strlen(line) > 13);
        snprintf(got + length, sizeof got - length, "%s\n", member ? line + 13 : line);
    }
    ck_assert_str_eq(got, want);
    ck_assert_str_eq(program->err, "");
    program_free(program);
}

START_TEST(batch_analytics)
{
    expect_analytics("analytics.events.batch of 5\nalice login\nbob login\nalice song.play\n"
                     "alice song.stop\nbob logout\n");
    setenv("EVENT_BUS_BATCH_SIZE", "3", 1);
    setenv("EVENT_BUS_BATCH_INTERVAL_MS", "30000", 1);
    expect_analytics("analytics.events.batch of 3\nalice login\nbob login\nalice song.play\n"
                     "analytics.events.batch of 2\nalice song.stop\nbob logout\n");
}
END_TEST

/* Others find them on the channel that they always had. */
START_TEST(batch_analytics_and_redis)
{
    struct server *server = server_start(NULL);
    setenv("EVBUS_REDIS_PATH", server->socket, 1);
    setenv("EVBUS_KEY_PREFIX", "aiponge:", 1);
    expect_analytics("analytics.events.batch of 5\nalice login\nbob login\nalice song.play\n"
                     "alice song.stop\nbob logout\n");
    char *kept = server_text(server, "XRANGE aiponge:history:{0} - +");
    contains(kept, "aiponge:events:analytics.events.batch");
    contains(kept, "],\"count\":5}");
    free(kept);
    server_free(server);
}
END_TEST

static struct program *start_worker(const char *crash)
{
    char *argv[] = {(char *)program_built("work_queue"), "work", (char *)crash, NULL};
    struct program *program = program_start(NULL, argv);
    program_expect_out(program, "ready\n");
    return program;
}

/* Three do jobs, one of them dies over its third, and nobody can do the fourth. */
START_TEST(work_queue)
{
    enum { JOBS = 40 };
    struct server *server = server_start(NULL);
    setenv("EVBUS_REDIS_PATH", server->socket, 1);
    setenv("EVBUS_REDIS_PING_INTERVAL", "200ms", 1);
    setenv("EVBUS_GROUP_RECLAIM", "500ms", 1);
    setenv("EVBUS_RECONNECT_BACKOFF_MAX", "200ms", 1);
    setenv("EVBUS_GROUP_RETRY_DELAY", "10ms", 1);
    setenv("EVBUS_GROUP_RETRIES", "1", 1);
    struct program *crashing = start_worker("crash"), *one = start_worker(NULL);
    char *argv[] = {(char *)program_built("work_queue"), "submit", "40", NULL};
    program_free(run(0, NULL, argv));
    ck_assert_int_eq(program_end(crashing), 7);
    struct program *two = start_worker(NULL);
    program_expect_out(one, "given up {\"n\":4,\"broken\":true}: ");
    struct wait wait = wait_for(20000);
    while (server_command(server, "XLEN evbus:group:{0}:workers:evbus:events:job") != 0 &&
           wait_more(&wait))
        ;
    program_signal(one, SIGTERM);
    program_signal(two, SIGTERM);
    ck_assert_int_eq(program_end(one), 0);
    ck_assert_int_eq(program_end(two), 0);
    for (int n = 1; n <= JOBS; n++) {
        char done[32];
        snprintf(done, sizeof done, "done {\"n\":%d}", n);
        if (n != 4 && !strstr(crashing->out, done) && !strstr(one->out, done) &&
            !strstr(two->out, done))
            ck_abort_msg("nobody has done %d", n);
    }
    contains(strstr(one->out, "(another try)") ? one->out : two->out, "(another try)");
    program_free(crashing);
    program_free(one);
    program_free(two);
    server_free(server);
}
END_TEST

START_TEST(ask_alone)
{
    char *argv[] = {(char *)program_built("ask"), NULL};
    struct program *program = run(0, NULL, argv);
    ck_assert_str_eq(program->out, "HELLO\n");
    ck_assert_str_eq(program->err, "");
    program_free(program);
}
END_TEST

START_TEST(ask_another_process)
{
    struct server *server = server_start(NULL);
    char command[512];
    setenv("EVBUS_REDIS_PATH", server->socket, 1);
    char *asks[] = {(char *)program_built("ask"), "hello", "", "you", NULL};
    struct program *program = run(1, NULL, asks);
    contains(program->out, "no responder: nobody listens to text.upper\n");
    program_free(program);
    snprintf(command, sizeof command, "mkfifo %s/asks && exec %s serve <>%s/asks", suite_folder(),
             program_built("ask"), suite_folder()); /* an input that never ends */
    char *serves[] = {"sh", "-c", command, NULL};
    struct program *serving = program_start(NULL, serves);
    program_expect_out(serving, "serving\n");
    asks[0] = (char *)program_built("ask");
    program = run(1, NULL, asks);
    ck_assert_str_eq(program->out, "HELLO\nrefused by the responder: no text\nYOU\n");
    program_free(program);
    program_free(serving);
    server_free(server);
}
END_TEST

START_TEST(ask_without_redis)
{
    setenv("EVBUS_REDIS_PATH", "/nonexistent/socket", 1);
    setenv("EVBUS_REDIS_CONNECT_TIMEOUT", "100ms", 1);
    char *argv[] = {(char *)program_built("ask"), "hello", NULL};
    struct program *program = run(1, NULL, argv);
    contains(program->err, "no connection to Redis within 5000 ms");
    program_free(program);
}
END_TEST

/* ---- the demo ---- */

static size_t demo_folders(void)
{
    glob_t found;
    char pattern[128];
    snprintf(pattern, sizeof pattern, "%s/evbus-demo-*", suite_folder());
    size_t count = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    globfree(&found);
    return count;
}

static struct program *start_demo(void)
{
    char *argv[] = {(char *)program_built("evbus"), "demo", NULL};
    setenv("TMPDIR", suite_folder(), 1);
    setenv("EVBUS_OUTBOX_EVENTS", "1", 1); /* what surrounds it must not spoil it */
    return program_start(NULL, argv);
}

START_TEST(demo)
{
    struct program *program = start_demo();
    program_end(program);
    ck_assert_msg(program->status == 0, "exit %d: %s\n%s", program->status, program->out,
                  program->err);
    contains(program->out, "degraded -> hybrid");
    contains(program->out, "hybrid -> degraded");
    contains(program->out, "received 1600, missing 0, doubled or out of order 0");
    ck_assert_ptr_null(strstr(program->out, "WRONG"));
    ck_assert_ptr_null(strchr(program->out, '\033')); /* no terminal, no colour */
    ck_assert_uint_eq(demo_folders(), 0);
    program_free(program);
}
END_TEST

/* Ended in the middle, while a server and a second process run. */
START_TEST(demo_interrupted)
{
    struct program *program = start_demo();
    program_expect_out(program, "subscribes to demo.>");
    int server_pid = 0, peer_pid = 0;
    sscanf(strstr(program->out, ", pid "), ", pid %d", &server_pid);
    sscanf(strstr(program->out, "process "), "process %d", &peer_pid);
    program_signal(program, SIGINT);
    ck_assert_int_eq(program_end(program), 1);
    contains(program->err, "ended by a signal");
    ck_assert_uint_eq(demo_folders(), 0);
    ck_assert_int_gt(server_pid, 1);
    ck_assert_int_ne(kill(server_pid, 0), 0);
    ck_assert_msg(peer_pid <= 1 || kill(peer_pid, 0) != 0, "process %d lives", peer_pid);
    program_free(program);
}
END_TEST

START_TEST(demo_without_redis_server)
{
    setenv("PATH", suite_folder(), 1);
    struct program *program = start_demo();
    ck_assert_int_eq(program_end(program), 1);
    contains(program->err, "redis-server, which is not installed: run \"make deps\"");
    ck_assert_str_eq(program->out, "");
    ck_assert_uint_eq(demo_folders(), 0);
    program_free(program);
}
END_TEST

/* ---- the documents ---- */

START_TEST(readme_shows_hello)
{
    char *readme = read_text("README.md"), *program = read_text("examples/hello.c");
    ck_assert_msg(strstr(readme, program) != NULL,
                  "the program in README.md is not examples/hello.c");
    free(readme);
    free(program);
}
END_TEST

/* A setting stands in evbus(7) as ".It Cm NAME Pq DEFAULT". */
static bool have(const char *name)
{
    char script[128];
    snprintf(script, sizeof script, "command -v %s || true", name);
    struct program *program = shell(script);
    bool found = program->out[0] != '\0';
    program_free(program);
    if (!found)
        fprintf(stderr, "SKIPPED: %s is not installed\n", name);
    return found;
}

START_TEST(manual_is_well_formed)
{
    if (have("mandoc"))
        program_free(shell("mandoc -Tlint -Wwarning man/*.[1-9] >&2"));
}
END_TEST

/* The program in the page's EXAMPLES: compiled, linked to nothing. */
START_TEST(manual_example_compiles)
{
    char script[1024];
    if (!have("mandoc"))
        return;
    snprintf(
        script, sizeof script,
        "mandoc -Tascii -Owidth=200 man/evbus.7 | sed 's/.\b//g' |"
        " awk '/#include <evbus.h>/ { on = 1 } on { print } on && /^ *}$/ && ++n == 2 { exit }'"
        " >%s/example.c && grep -q main %s/example.c && "
        "${CC:-cc} -std=c11 -Wall -Werror -Iinclude -fsyntax-only %s/example.c",
        suite_folder(), suite_folder(), suite_folder());
    program_free(shell(script));
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("examples");
    suite_add(suite, "hello", hello, 30);
    suite_add(suite, "own_loop", own_loop, 30);
    suite_add(suite, "queue_poll_alone", queue_poll_alone, 30);
    suite_add(suite, "queue_poll_and_redis", queue_poll_and_redis, 30);
    suite_add(suite, "replay", replay, 60);
    suite_add(suite, "replay_without_redis", replay_without_redis, 30);
    suite_add(suite, "batch_analytics", batch_analytics, 30);
    suite_add(suite, "batch_analytics_and_redis", batch_analytics_and_redis, 30);
    suite_add(suite, "ask_alone", ask_alone, 30);
    suite_add(suite, "ask_another_process", ask_another_process, 30);
    suite_add(suite, "ask_without_redis", ask_without_redis, 30);
    suite_add(suite, "cache_invalidation", cache_invalidation, 60);
    suite_add(suite, "cache_invalidation_alone", cache_invalidation_alone, 30);
    suite_add(suite, "work_queue", work_queue, 60);
    suite_add(suite, "task_scheduler", task_scheduler, 90);
    suite_add(suite, "task_scheduler_on_a_redis", task_scheduler_on_a_redis, 60);
    suite_add(suite, "demo", demo, 60);
    suite_add(suite, "demo_interrupted", demo_interrupted, 60);
    suite_add(suite, "demo_without_redis_server", demo_without_redis_server, 30);
    suite_add(suite, "readme_shows_hello", readme_shows_hello, 30);
    suite_add(suite, "manual_is_well_formed", manual_is_well_formed, 30);
    suite_add(suite, "manual_example_compiles", manual_example_compiles, 30);
    return suite_run(suite, argc, argv);
}
