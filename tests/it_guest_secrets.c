/* it_guest_secrets.c - a password given in any way, to servers that take it, refuse it, repeat it
 * or hang up, is found in nothing that the library says, and in no memory that it gives back. */
#include "harness/bus.h"
#include "harness/program.h"
#include "harness/rude.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <fcntl.h>
#include <hiredis/alloc.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SOON = 10000, NEEDLES = 4 };

#define CANARY  "c4narypassword/%?x"
#define ENCODED "c4narypassword%2F%25%3Fx"
#define CORE    "c4narypass"

/* ---- where to look, and for what ---- */

static char needles[NEEDLES][32] = {CORE}; /* and base64 at each of its three offsets */

static void make_needles(void)
{
    for (int shift = 0; shift < 3; shift++) {
        unsigned char in[64] = {0}, out[100];
        memcpy(in + shift, CANARY, sizeof CANARY - 1);
        EVP_EncodeBlock(out, in, shift + 12); /* whole groups; the first holds strange bytes */
        snprintf(needles[1 + shift], sizeof needles[0], "%.*s", shift ? 12 : 16,
                 (const char *)out + (shift ? 4 : 0));
        ck_assert_uint_ge(strlen(needles[1 + shift]), 8);
        needles[1 + shift][shift ? 8 : 16] = '\0'; /* nor does the last count */
    }
    ck_assert_str_eq(needles[1], "YzRuYXJ5cGFzc3dv");
}

static const char *found(const void *bytes, size_t length)
{
    for (int i = 0; i < NEEDLES; i++)
        if (memmem(bytes, length, needles[i], strlen(needles[i])))
            return needles[i];
    return NULL;
}

static void expect_innocent(const char *what, const char *text)
{
    ck_assert_msg(text && !found(text, strlen(text)), "%s tells the password: %s", what, text);
}

/* ---- memory: every block is looked at when it is given back ---- */

struct block {
    struct block *next, *previous;
    size_t size;
    _Alignas(16) char bytes[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct block all = {&all, &all, 0}; /* under lock */
static int unwiped, unwiped_by_hiredis;    /* under lock */

static void *hook_alloc(size_t size)
{
    struct block *block = calloc(1, sizeof *block + size);
    if (!block)
        return NULL;
    block->size = size;
    pthread_mutex_lock(&lock);
    block->next = all.next;
    block->previous = &all;
    all.next->previous = block;
    all.next = block;
    pthread_mutex_unlock(&lock);
    return block->bytes;
}

static void give_back(void *memory, int *count)
{
    if (!memory)
        return;
    struct block *block = (struct block *)(void *)((char *)memory - offsetof(struct block, bytes));
    pthread_mutex_lock(&lock);
    *count += found(block->bytes, block->size) != NULL;
    block->next->previous = block->previous;
    block->previous->next = block->next;
    pthread_mutex_unlock(&lock);
    free(block);
}

static void *move(void *old, size_t size, void (*release)(void *))
{
    char *memory = hook_alloc(size);
    if (memory && old) {
        size_t had = ((struct block *)(void *)((char *)old - offsetof(struct block, bytes)))->size;
        memcpy(memory, old, had < size ? had : size);
        release(old);
    }
    return memory;
}

static void hook_release(void *memory)
{
    give_back(memory, &unwiped);
}

static void *hook_resize(void *old, size_t size)
{
    return move(old, size, hook_release);
}

static void *hiredis_calloc(size_t count, size_t size)
{
    return hook_alloc(count * size);
}

static char *hiredis_strdup(const char *text)
{
    char *copy = hook_alloc(strlen(text) + 1);
    return copy ? strcpy(copy, text) : NULL;
}

static void hiredis_release(void *memory)
{
    give_back(memory, &unwiped_by_hiredis);
}

static void *hiredis_resize(void *old, size_t size)
{
    return move(old, size, hiredis_release);
}

static void watch_memory(void)
{
    hiredisAllocFuncs funcs = {hook_alloc, hiredis_calloc, hiredis_resize, hiredis_strdup,
                               hiredis_release};
    ck_assert_int_eq(evbus_set_allocator(hook_alloc, hook_resize, hook_release), 0);
    hiredisSetAllocators(&funcs);
}

static void expect_wiped(const char *what)
{
    int kept = 0;
    pthread_mutex_lock(&lock);
    for (struct block *block = all.next; block != &all; block = block->next)
        kept += found(block->bytes, block->size) != NULL;
    pthread_mutex_unlock(&lock);
    ck_assert_msg(unwiped == 0, "%s: %d blocks given back with the password in", what, unwiped);
    ck_assert_msg(kept == 0, "%s: %d blocks kept with the password in", what, kept);
}

/* ---- what is said ---- */

static char log_text[1 << 16]; /* under lock */
static atomic_int log_lines, system_events;

static void hear(const char *text)
{
    pthread_mutex_lock(&lock);
    size_t length = strlen(log_text);
    snprintf(log_text + length, sizeof log_text - length, "%s\n", text);
    pthread_mutex_unlock(&lock);
}

static void on_log(int level, const char *line, void *user)
{
    (void)level;
    (void)user;
    atomic_fetch_add(&log_lines, 1);
    hear(line);
}

static int on_system(evbus_sub *sub, evbus_event *event, void *user)
{
    char *json = evbus_event_to_json(event);
    (void)sub;
    (void)user;
    hear(json);
    evbus_string_free(json);
    atomic_fetch_add(&system_events, 1);
    return 0;
}

static void expect_innocent_settings(const evbus_config *config)
{
    char *dump = evbus_config_dump(config);
    expect_innocent("evbus_config_dump", dump);
    ck_assert_ptr_nonnull(strstr(dump, "redis.password         = ****"));
    evbus_string_free(dump);
    for (int i = 0; i < evbus_config_count(); i++)
        expect_innocent(evbus_config_key(i), evbus_config_get(config, evbus_config_key(i)));
}

static void expect_innocent_bus(evbus *bus)
{
    char *health = evbus_health_json(bus), *stats = evbus_stats_json(bus);
    expect_innocent("evbus_health_json", health);
    expect_innocent("evbus_stats_json", stats);
    expect_innocent("evbus_last_error", evbus_last_error());
    evbus_string_free(health);
    evbus_string_free(stats);
}

/* ---- the ways to give a password ---- */

enum way { BY_SETTING, BY_URL, BY_FILE, BY_FILE_URL, BY_ENV, BY_ENV_URL, WAYS };

static const char *const way_names[] = {"redis.password",  "redis.url",       "a file",
                                        "a URL in a file", "the environment", "a URL in it"};

static void write_file(char *path, size_t room, const char *key, const char *value)
{
    snprintf(path, room, "%s/settings", suite_folder());
    FILE *file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    fprintf(file, "# settings\n%s = '%s'\n", key, value);
    ck_assert_int_eq(fclose(file), 0);
}

static evbus_config *settings(enum way way, int port)
{
    char url[128], number[16], path[200];
    evbus_config *config = evbus_config_new();
    snprintf(url, sizeof url, "redis://:%s@127.0.0.1:%d", ENCODED, port);
    snprintf(number, sizeof number, "%d", port);
    bool is_url = way == BY_URL || way == BY_FILE_URL || way == BY_ENV_URL;
    const char *key = is_url ? "redis.url" : "redis.password", *value = is_url ? url : CANARY;
    if (way == BY_SETTING || way == BY_URL)
        ck_assert_int_eq(evbus_config_set(config, key, value), 0);
    if (way == BY_FILE || way == BY_FILE_URL) {
        write_file(path, sizeof path, key, value);
        ck_assert_int_eq(evbus_config_load_file(config, path), 0);
    }
    if (way == BY_ENV || way == BY_ENV_URL) {
        setenv(is_url ? "EVBUS_REDIS_URL" : "REDISCLI_AUTH", value, 1);
        ck_assert_int_eq(evbus_config_load_env(config, NULL), 0);
        unsetenv(is_url ? "EVBUS_REDIS_URL" : "REDISCLI_AUTH");
    }
    if (!is_url)
        ck_assert_int_eq(evbus_config_set(config, "redis.port", number), 0);
    ck_assert_int_eq(evbus_config_set(config, "log.level", "debug"), 0);
    ck_assert_int_eq(evbus_config_set(config, "reconnect.backoff", "1ms"), 0);
    return config;
}

/* One bus's life; `accepted`: the server takes the password. */
static void live(const char *what, enum way way, int port, bool accepted)
{
    evbus_config *config = settings(way, port);
    log_text[0] = '\0';
    atomic_store(&log_lines, 0);
    atomic_store(&system_events, 0);
    evbus_set_log(NULL, -1, on_log, NULL);
    evbus *bus = evbus_open(config);
    ck_assert_ptr_nonnull(bus);
    evbus_sub *sub = evbus_subscribe(bus, "evbus.>", "deliver=inline", on_system, NULL);
    expect_innocent_settings(config);
    evbus_publish(bus, "t", "{\"n\":1}");
    if (accepted) {
        expect_connected(bus, SOON);
        ck_assert_int_eq(evbus_flush(bus, suite_patience(SOON)), 0);
        expect_innocent_bus(bus);
        ck_assert_int_eq(evbus_close(bus, suite_patience(SOON)), 0);
    } else {
        expect_stat(bus, "connect_errors", 1, SOON);
        evbus_reconnect(bus); /* after a refusal it waits by itself for half a minute */
        expect_stat(bus, "connect_errors", 2, SOON);
        ck_assert_int_eq(evbus_wait_connected(bus, 1), EVBUS_ETIMEDOUT);
        expect_innocent_bus(bus);
    }
    evbus_free(bus);
    evbus_unsubscribe(sub);
    evbus_config_free(config);
    ck_assert_int_gt(atomic_load(&log_lines), 0);
    pthread_mutex_lock(&lock);
    expect_innocent(what, log_text);
    pthread_mutex_unlock(&lock);
    expect_wiped(way_names[way]);
}

static void live_in_every_way(const char *what, int port, bool accepted)
{
    make_needles();
    watch_memory();
    for (int way = 0; way < WAYS; way++)
        live(what, (enum way)way, port, accepted);
    /* What a server says back stands in hiredis's input buffer and sentence. */
    ck_assert(unwiped_by_hiredis == 0 || strstr(what, "repeated"));
    printf("figure: %s: %d blocks of hiredis's own were given back unwiped\n", what,
           unwiped_by_hiredis);
}

START_TEST(the_server_takes_it)
{
    struct server *server = server_plan(true, "requirepass \"" CANARY "\"");
    server_run(server);
    live_in_every_way("taken", server->port, true);
    ck_assert_int_gt(atomic_load(&system_events), 0);
    server_free(server);
}
END_TEST

START_TEST(the_server_refuses_it)
{
    struct server *server = server_plan(true, "requirepass another");
    server_run(server);
    live_in_every_way("refused", server->port, false);
    server_free(server);
}
END_TEST

/* Redis answers a command that it does not know with the command's words. */
START_TEST(the_server_repeats_it)
{
    struct server *server = server_plan(true, "rename-command HELLO \"\"");
    server_run(server);
    live_in_every_way("repeated", server->port, false);
    server_free(server);
}
END_TEST

START_TEST(the_server_hangs_up)
{
    struct rude *rude = rude_start();
    rude_set_greeting(rude, "");
    live_in_every_way("hung up", rude_port(rude), false);
    rude_free(rude);
}
END_TEST

/* Any server's own words about HELLO may hold what HELLO said. */
START_TEST(a_proxy_repeats_it)
{
    struct rude *rude = rude_start();
    rude_answer(rude, "HELLO", "-ERR denied: HELLO 2 AUTH default " CANARY "\r\n", 0);
    live_in_every_way("repeated by a proxy", rude_port(rude), false);
    rude_free(rude);
}
END_TEST

/* ---- settings that are refused ---- */

START_TEST(bad_settings)
{
    static const char *const urls[] = {"redis://:" CANARY "@127.0.0.1:1",
                                       "redis://u:" ENCODED "@h:99999",
                                       "redis://u:" ENCODED "@h/x",
                                       "http://u:" ENCODED "@h",
                                       "redis://u:" ENCODED "%@h",
                                       "redis://u:" ENCODED "@h?name=" CORE,
                                       "rediss://u:" ENCODED "@h:x",
                                       "redis-sentinel://u:" ENCODED "@h",
                                       "unix://u:" ENCODED "@",
                                       "redis://" ENCODED "@h:1:2",
                                       "redis://u:" ENCODED "@h/0?db=1&db=2",
                                       "redis:" ENCODED "@h"};
    char path[200];
    make_needles();
    watch_memory();
    evbus_config *config = evbus_config_new();
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        ck_assert_int_lt(evbus_config_set(config, "redis.url", urls[i]), 0);
        expect_innocent(urls[i], evbus_last_error());
        write_file(path, sizeof path, "redis.url", urls[i]);
        ck_assert_int_lt(evbus_config_load_file(config, path), 0);
        expect_innocent(urls[i], evbus_last_error());
    }
    write_file(path, sizeof path, "redis.password", CANARY "' and more '");
    ck_assert_int_lt(evbus_config_load_file(config, path), 0);
    expect_innocent("a line of a file", evbus_last_error());
    /* a whole URL where a host belongs, as in many a REDIS_HOST */
    ck_assert_int_eq(evbus_config_set(config, "redis.host", "redis://:" ENCODED "@h:1"),
                     EVBUS_EINVAL);
    expect_innocent("redis.host", evbus_last_error());
    evbus_config_free(config);
    expect_wiped("bad settings");
}
END_TEST

/* ---- the tool ---- */

static void run_tool(const char *port, const char *way, const char *value,
                     const char *const words[])
{
    char *argv[16] = {(char *)(uintptr_t)program_built("evbus"), (char *)"-v", (char *)"-v"};
    int count = 3;
    if (strchr(way, '=') == NULL) {
        argv[count++] = (char *)(uintptr_t)way;
        argv[count++] = (char *)(uintptr_t)value;
    } else {
        setenv("REDISCLI_AUTH", value, 1);
    }
    if (strcmp(way, "-u") != 0) {
        argv[count++] = (char *)"-p";
        argv[count++] = (char *)(uintptr_t)port;
    }
    while (*words)
        argv[count++] = (char *)(uintptr_t)*words++;
    struct program *program = program_start(NULL, argv);
    unsetenv("REDISCLI_AUTH");
    program_end(program);
    expect_innocent("its output", program->out);
    expect_innocent("its errors", program->err);
    ck_assert_int_gt(strlen(program->out) + strlen(program->err), 0);
    program_free(program);
}

START_TEST(the_tool)
{
    static const char *const lines[] = {"requirepass \"" CANARY "\"", "requirepass another",
                                        "rename-command HELLO \"\""};
    static const char *const pub[] = {"pub", "-W", "100ms", "t", "{}", NULL};
    static const char *const health[] = {"health", "-W", "100ms", NULL};
    char url[128], port[16];
    make_needles();
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct server *server = server_plan(true, lines[i]);
        server_run(server);
        snprintf(port, sizeof port, "%d", server->port);
        snprintf(url, sizeof url, "redis://:%s@127.0.0.1:%d", ENCODED, server->port);
        run_tool(port, "-a", CANARY, health);
        run_tool(port, "-a", CANARY, pub);
        run_tool(port, "-u", url, health);
        run_tool(port, "REDISCLI_AUTH=", CANARY, health);
        server_free(server);
    }
    run_tool("1", "-X", "redis.passwort=" CANARY, health);
    run_tool("1", "-a", CANARY, (const char *const[]){"--pasword=" CANARY, NULL});
}
END_TEST

/* What ps(1) shows. */
START_TEST(the_tools_command_line)
{
    char path[64], line[1024];
    char *argv[] = {(char *)(uintptr_t)program_built("evbus"),
                    (char *)"-a",
                    (char *)CANARY,
                    (char *)"-X",
                    (char *)"redis.password=" CANARY,
                    (char *)"-X",
                    (char *)"redis.url=redis://:" ENCODED "@127.0.0.1:1",
                    (char *)"--password=" CANARY,
                    (char *)"sub",
                    (char *)"a",
                    NULL};
    make_needles();
    struct program *program = program_start(NULL, argv);
    program_expect_err(program, "no Redis yet");
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)program->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = read(fd, line, sizeof line);
    close(fd);
    ck_assert_int_gt(length, 0);
    ck_assert_ptr_nonnull(memmem(line, (size_t)length, "127.0.0.1:1", 11));
    ck_assert_ptr_null(found(line, (size_t)length));
    program_signal(program, SIGTERM);
    program_end(program);
    program_free(program);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("guest secrets");
    suite_add(suite, "the_server_takes_it", the_server_takes_it, 60);
    suite_add(suite, "the_server_refuses_it", the_server_refuses_it, 60);
    suite_add(suite, "the_server_repeats_it", the_server_repeats_it, 60);
    suite_add(suite, "the_server_hangs_up", the_server_hangs_up, 60);
    suite_add(suite, "a_proxy_repeats_it", a_proxy_repeats_it, 60);
    suite_add(suite, "bad_settings", bad_settings, 30);
    suite_add(suite, "the_tool", the_tool, 90);
    suite_add(suite, "the_tools_command_line", the_tools_command_line, 30);
    return suite_run(suite, argc, argv);
}
