/* it_tool_config.c - evbus config: the table, one setting, and what is in effect. Needs no Redis. */
#include "harness/program.h"
#include "harness/suite.h"
#include <evbus.h>
#include <ctype.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = 16, WIDTH = 80 };

/* Runs evbus WORD... to its end. */
static struct program *run(int status, const char *word, ...)
{
    char *argv[WORDS] = {(char *)program_built("evbus")};
    int count = 1;
    va_list words;
    va_start(words, word);
    for (; word; word = va_arg(words, const char *)) {
        ck_assert_int_lt(count, WORDS - 1);
        argv[count++] = (char *)word;
    }
    va_end(words);
    struct program *program = program_start(NULL, argv);
    program_end(program);
    if (program->status != status)
        ck_abort_msg("evbus %s: exit %d, not %d; out: %.1500s\nerr: %.1500s", argv[1],
                     program->status, status, program->out, program->err);
    return program;
}

static void contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        ck_abort_msg("no \"%s\" in: %.3000s", part, text);
}

static void lacks(const char *text, const char *part)
{
    if (strstr(text, part))
        ck_abort_msg("\"%s\" in: %.3000s", part, text);
}

static json_t *parse(const struct program *program)
{
    json_error_t error;
    json_t *json = json_loads(program->out, 0, &error);
    ck_assert_msg(json != NULL, "%s in: %.500s", error.text, program->out);
    return json;
}

static const char *field(json_t *row, const char *name)
{
    const char *text = json_string_value(json_object_get(row, name));
    ck_assert_msg(text != NULL, "no \"%s\"", name);
    return text;
}

static json_t *row_of(json_t *rows, const char *key)
{
    size_t index;
    json_t *row;
    json_array_foreach(rows, index, row)
    {
        if (strcmp(field(row, "key"), key) == 0)
            return row;
    }
    ck_abort_msg("no row \"%s\"", key);
}

static void variable_of(const char *key, char out[128])
{
    snprintf(out, 128, "EVBUS_%s", key);
    for (char *p = out; *p; p++)
        *p = *p == '.' ? '_' : (char)toupper((unsigned char)*p);
}

/* KEY, VALUE and ORIGIN as a line of the dump has them. */
static void expect_value(const char *dump, const char *key, const char *value, const char *origin)
{
    char line[512];
    snprintf(line, sizeof line, "%-22s = %-24s  # %s\n", key, value, origin);
    contains(dump, line);
}

static const char *write_file(const char *name, const char *text)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", suite_folder(), name);
    FILE *file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
    return path;
}

START_TEST(table_has_every_setting)
{
    char line[256], variable[128];
    struct program *program = run(0, "config", NULL);
    for (int i = 0; i < evbus_config_count(); i++) {
        const char *value = evbus_config_default(i);
        variable_of(evbus_config_key(i), variable);
        snprintf(line, sizeof line, "%-22s %-20s %s\n    ", evbus_config_key(i),
                 *value ? value : "(none)", variable);
        contains(program->out, line);
    }
    contains(program->out, "auto: hybrid if any redis.* is set, else local-only; ");
    for (char *p = program->out, *end; *p; p = end + 1) {
        end = strchr(p, '\n');
        ck_assert_msg(end - p <= WIDTH, "wider than %d: %.*s", WIDTH, (int)(end - p), p);
    }
    lacks(program->out, "\033");
    ck_assert_str_eq(program->err, "");
    program_free(program);
}
END_TEST

START_TEST(table_as_json)
{
    char variable[128];
    struct program *program = run(0, "config", "--json", NULL);
    json_t *rows = parse(program);
    ck_assert_uint_eq(json_array_size(rows), (size_t)evbus_config_count());
    for (int i = 0; i < evbus_config_count(); i++) {
        json_t *row = json_array_get(rows, (size_t)i);
        variable_of(evbus_config_key(i), variable);
        ck_assert_str_eq(field(row, "key"), evbus_config_key(i));
        ck_assert_str_eq(field(row, "default"), evbus_config_default(i));
        ck_assert_str_eq(field(row, "env"), variable);
        ck_assert_str_ne(field(row, "help"), "");
    }
    ck_assert_str_eq(field(row_of(rows, "redis.host"), "values"), "text");
    ck_assert_str_eq(field(row_of(rows, "redis.port"), "values"), "a whole number from 1 to 65535");
    ck_assert_str_eq(field(row_of(rows, "queue.full"), "values"), "one of drop-oldest|drop-newest|lag");
    json_decref(rows);
    program_free(program);
}
END_TEST

START_TEST(one_setting)
{
    setenv("EVBUS_OUTBOX_AGE", "5m", 1);
    struct program *program = run(0, "config", "outbox.age", NULL);
    ck_assert_str_eq(program->out, "outbox.age\n"
                                   "    longest wait of an event for Redis\n"
                                   "values       a duration from 1ms to 30d, such as 500ms or 2s\n"
                                   "default      60s\n"
                                   "environment  EVBUS_OUTBOX_AGE\n"
                                   "now          5m  # EVBUS_OUTBOX_AGE\n");
    program_free(program);
    program = run(0, "config", "-X", "outbox.age=1s", "EVBUS_OUTBOX_AGE", NULL);
    contains(program->out, "outbox.age\n");
    contains(program->out, "now          1s  # set\n");
    program_free(program);
    program = run(0, "config", "--json", "-a", "canary", "redis.password", NULL);
    json_t *row = parse(program);
    ck_assert_str_eq(field(row, "key"), "redis.password");
    ck_assert_str_eq(field(row, "value"), "****");
    ck_assert_str_eq(field(row, "origin"), "set");
    json_decref(row);
    program_free(program);
    program = run(0, "config", "redis.max.retries", NULL); /* its key begins its help */
    contains(program->out, "redis.max.retries\n    accepted, no effect: ");
    program_free(program);
}
END_TEST

/* code > EVBUS_* > aliases > file > default, each named. */
START_TEST(dump_names_origins)
{
    char origin[160];
    const char *path = write_file("dump.conf", "# of the test\n"
                                               "redis.host = from-file\n"
                                               "redis.db = 3\n"
                                               "key.prefix = 'a # ''b:'\n"
                                               "outbox.full = reject\n");
    setenv("REDIS_HOST", "from-alias", 1);
    setenv("REDIS_PORT", "7000", 1);
    setenv("EVBUS_REDIS_PORT", "7001", 1);
    setenv("EVBUS_QUEUE_SIZE", "5", 1);
    struct program *program =
        run(0, "-X", "queue.size=7", "--config", path, "config", "dump", NULL);
    expect_value(program->out, "redis.host", "from-alias", "REDIS_HOST");
    expect_value(program->out, "redis.port", "7001", "EVBUS_REDIS_PORT");
    expect_value(program->out, "queue.size", "7", "set");
    snprintf(origin, sizeof origin, "%s:3", path);
    expect_value(program->out, "redis.db", "3", origin);
    snprintf(origin, sizeof origin, "%s:4", path);
    expect_value(program->out, "key.prefix", "'a # ''b:'", origin);
    expect_value(program->out, "channel.prefix", "'a # ''b:events:'", "default");
    expect_value(program->out, "bus.mode", "hybrid", "default");
    ck_assert_str_eq(program->err, "");
    program_free(program);

    program = run(0, "--config", path, "config", "dump", "--json", NULL);
    json_t *rows = parse(program);
    ck_assert_uint_eq(json_array_size(rows), (size_t)evbus_config_count());
    ck_assert_str_eq(field(row_of(rows, "key.prefix"), "value"), "a # 'b:");
    ck_assert_str_eq(field(row_of(rows, "key.prefix"), "origin"), origin);
    ck_assert_str_eq(field(row_of(rows, "redis.port"), "origin"), "EVBUS_REDIS_PORT");
    ck_assert_str_eq(field(row_of(rows, "redis.path"), "value"), "");
    ck_assert_str_eq(field(row_of(rows, "redis.path"), "origin"), "default");
    json_decref(rows);
    program_free(program);
}
END_TEST

START_TEST(dump_masks_secrets)
{
    setenv("REDIS_URL", "redis://bob:canary1@127.0.0.1:7000", 1);
    setenv("EVBUS_REDIS_PASSWORD", "canary2", 1);
    const char *const forms[] = {"-v", "--json"};
    for (size_t i = 0; i < 2; i++) {
        struct program *program = run(0, "config", "dump", forms[i], NULL);
        contains(program->out, "redis://****@127.0.0.1:7000");
        contains(program->out, "EVBUS_REDIS_PASSWORD");
        lacks(program->out, "canary");
        lacks(program->err, "canary");
        program_free(program);
    }
}
END_TEST

/* What it says of values, a settings file may say. */
START_TEST(dump_is_a_settings_file)
{
    setenv("EVBUS_KEY_PREFIX", "a # 'b:", 1);
    setenv("EVBUS_OUTBOX_FULL", "reject", 1);
    setenv("EVBUS_REDIS_HOST", "::1", 1);
    struct program *first = run(0, "config", "dump", "--json", NULL);
    struct program *text = run(0, "config", "dump", NULL);
    unsetenv("EVBUS_KEY_PREFIX");
    unsetenv("EVBUS_OUTBOX_FULL");
    unsetenv("EVBUS_REDIS_HOST");
    struct program *again =
        run(0, "--config", write_file("again.conf", text->out), "config", "dump", "--json", NULL);
    json_t *a = parse(first), *b = parse(again);
    for (int i = 0; i < evbus_config_count(); i++)
        ck_assert_str_eq(field(json_array_get(a, (size_t)i), "value"),
                         field(json_array_get(b, (size_t)i), "value"));
    contains(field(row_of(b, "outbox.full"), "origin"), "again.conf:");
    json_decref(a);
    json_decref(b);
    program_free(first);
    program_free(text);
    program_free(again);
}
END_TEST

/* A program with these settings would talk to nobody, while the tool's other commands do. */
START_TEST(dump_tells_of_no_redis)
{
    struct program *program = run(0, "config", "dump", NULL);
    expect_value(program->out, "bus.mode", "local-only", "default");
    contains(program->err, "no setting names a Redis: ");
    program_free(program);
    program = run(0, "-q", "config", "dump", NULL);
    ck_assert_str_eq(program->err, "");
    program_free(program);
    program = run(0, "-h", "127.0.0.1", "config", "dump", NULL);
    expect_value(program->out, "bus.mode", "hybrid", "default");
    ck_assert_str_eq(program->err, "");
    program_free(program);
    program = run(0, "-X", "bus.mode=local-only", "config", "dump", NULL); /* on purpose */
    ck_assert_str_eq(program->err, "");
    program_free(program);
}
END_TEST

START_TEST(wrong_words)
{
    struct program *program = run(2, "config", "outbox.evnts", NULL);
    contains(program->err, "setting \"outbox.evnts\" is unknown; the nearest is "
                           "\"outbox.events\"");
    ck_assert_str_eq(program->out, "");
    program_free(program);
    program = run(2, "config", "dmup", NULL);
    contains(program->err, "\"dmup\" is unknown");
    contains(program->err, "evbus help config");
    program_free(program);
    program = run(2, "config", "dump", "outbox.full", NULL);
    contains(program->err, "one word too many: \"outbox.full\"");
    program_free(program);
    program = run(2, "config", "-X", "outbox.evnts=1", NULL);
    contains(program->err, "outbox.events");
    program_free(program);
}
END_TEST

/* What keeps a bus from opening is told; the table and a setting's meaning are there still. */
START_TEST(broken_environment)
{
    setenv("REDIS_PORT", "seven", 1);
    struct program *program = run(1, "config", "dump", NULL);
    contains(program->err, "REDIS_PORT: \"seven\" is not a whole number");
    ck_assert_str_eq(program->out, "");
    program_free(program);
    program = run(1, "config", "redis.port", NULL);
    contains(program->err, "REDIS_PORT: ");
    contains(program->out, "default      6379\n");
    lacks(program->out, "now ");
    program_free(program);
    program_free(run(0, "config", NULL));
    program = run(0, "help", "config", NULL);
    contains(program->out, "[dump | KEY]");
    program_free(program);
}
END_TEST

static void plain_environment(void)
{
    static const char *const names[] = {
        "REDIS_URL",         "REDIS_HOST",          "REDIS_PORT", "REDIS_DB",
        "REDIS_USERNAME",    "REDIS_SSL",           "REDIS_TLS",  "REDIS_PASSWORD",
        "REDISCLI_AUTH",     "SERVICE_NAME",        "LOG_LEVEL",  "REDIS_ENABLED",
        "OTEL_SERVICE_NAME", "ENABLE_REDIS_EVENTS", "NO_COLOR",   "EVENT_CHANNEL_PREFIX"};
    char variable[128];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    for (int i = 0; i < evbus_config_count(); i++) {
        variable_of(evbus_config_key(i), variable);
        unsetenv(variable);
    }
}

int main(int argc, char **argv)
{
    Suite *suite = suite_create("tool_config");
    plain_environment();
    suite_add(suite, "table_has_every_setting", table_has_every_setting, 20);
    suite_add(suite, "table_as_json", table_as_json, 20);
    suite_add(suite, "one_setting", one_setting, 20);
    suite_add(suite, "dump_names_origins", dump_names_origins, 20);
    suite_add(suite, "dump_masks_secrets", dump_masks_secrets, 20);
    suite_add(suite, "dump_is_a_settings_file", dump_is_a_settings_file, 20);
    suite_add(suite, "dump_tells_of_no_redis", dump_tells_of_no_redis, 20);
    suite_add(suite, "wrong_words", wrong_words, 20);
    suite_add(suite, "broken_environment", broken_environment, 20);
    return suite_run(suite, argc, argv);
}
