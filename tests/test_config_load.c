/* test_config_load.c - environment, files, and which source wins, in whatever order they are read.
 */
#include "config.h"
#include "list.h"
#include "harness/check.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CANARY "s3cr3t-CANARY"

static evbus_config *config;
static char path[] = "/tmp/evbus-test-XXXXXX";

static void setup(void)
{
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    clearenv();
    config = evbus_config_new();
    ck_assert_ptr_nonnull(config);
}

static void teardown(void)
{
    evbus_config_free(config);
    unlink(path);
}

static void file_write(const char *text, size_t length)
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text, 1, length, file), length);
    ck_assert_int_eq(fclose(file), 0);
}

/* What the dump says behind the '#' of a key's line. */
static const char *origin(const char *key)
{
    static char found[300];
    char *dump = evbus_config_dump(config), *line;

    found[0] = '\0';
    for (line = strtok(dump, "\n"); line; line = strtok(NULL, "\n"))
        if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ' ')
            snprintf(found, sizeof found, "%s", strstr(line, "  # ") + 4);
    evbus_string_free(dump);
    return found;
}

static const struct {
    const char *name, *value, *key, *want; /* want NULL: nothing was set */
} env[] = {
    {"EVBUS_REDIS_HOST", "h", "redis.host", "h"},
    {"EVBUS_REDIS_CONNECT_TIMEOUT", "1s", "redis.connect.timeout", "1s"},
    {"EVBUS_KEY_PREFIX", "", "key.prefix", ""},
    {"EVBUS_REDIS_URL", "redis://:pw@h", "redis.password", "****"},
    {"EVBUS_HEALTH_REQUIRE_REDIS", "yes", "health.require.redis", "yes"},
    {"EVBUS_REDIS_HOST", "", "redis.host", NULL},
    {"EVBUS_NOTHING", "x", "redis.host", NULL},
    {"APP_REDIS_HOST", "h", "redis.host", "h"},
    {"APP_REDIS_PORT", "7000", "redis.port", "7000"},
    {"APP_REDIS_DB", "3", "redis.db", "3"},
    {"APP_REDIS_PASSWORD", "", "redis.password", NULL},
    {"APP_REDIS_POOL_SIZE", "10", "redis.pool.size", "10"},
    {"APP_REDIS_MAX_RETRIES", "3", "redis.max.retries", "3"},
    {"APP_REDIS_ENABLED", "false", "bus.mode", "local-only"},
    {"APP_SERVICE_NAME", "me", "bus.name", "me"},
    {"APP_BUS_NAME", "me", "bus.name", "me"},
    {"APP_LOG_LEVEL", "warn", "log.level", "warning"},
    {"REDIS_URL", "redis://h:7", "redis.port", "7"},
    {"REDIS_HOST", "h", "redis.host", "h"},
    {"REDIS_PORT", "7", "redis.port", "7"},
    {"REDIS_PORT", "tcp://10.0.0.1:6379", "redis.port", NULL},
    {"REDIS_DB", "7", "redis.db", "7"},
    {"REDIS_DB", "", "redis.db", NULL},
    {"REDIS_USERNAME", "u", "redis.username", "u"},
    {"REDIS_PASSWORD", "pw", "redis.password", "****"},
    {"REDIS_PASSWORD", "", "redis.password", NULL},
    {"REDISCLI_AUTH", "pw", "redis.password", "****"},
    {"REDIS_SSL", "false", "tls.enabled", "false"},
    {"REDIS_TLS", "0", "tls.enabled", "0"},
    {"ENABLE_REDIS_EVENTS", "true", "bus.mode", "hybrid"},
    {"ENABLE_REDIS_EVENTS", "false", "bus.mode", "local-only"},
    {"REDIS_ENABLED", "1", "bus.mode", "hybrid"},
    {"SERVICE_NAME", "me", "bus.name", "me"},
    {"OTEL_SERVICE_NAME", "me", "bus.name", "me"},
    {"EVENT_CHANNEL_PREFIX", "", "channel.prefix", ""},
    {"EVENT_CHANNEL_PREFIX", "events:", "channel.prefix", "events:"},
    {"EVENT_HISTORY_TTL", "3600", "history.ttl", "3600s"}, /* seconds there */
    {"EVENT_HISTORY_TTL", "90m", "history.ttl", "90m"},
    {"EVENT_HISTORY_TTL", "", "history.ttl", NULL},
    {"APP_EVENT_HISTORY_TTL", "60", "history.ttl", "60s"},
    {"EVENT_BUS_BATCH_SIZE", "50", "batch.events", "50"},
    {"EVENT_BUS_BATCH_INTERVAL_MS", "30000", "batch.interval", "30000ms"}, /* milliseconds there */
    {"EVENT_BUS_BATCH_INTERVAL_MS", "2s", "batch.interval", "2s"},
    {"APP_EVENT_BUS_BATCH_INTERVAL_MS", "10", "batch.interval", "10ms"},
    {"LOG_LEVEL", "DEBUG", "log.level", "debug"},
    {"LOG_LEVEL", "trace", "log.level", "debug"},
    {"REDIS_POOL_SIZE", "10", "redis.pool.size", NULL},
    {"BUS_NAME", "me", "bus.name", NULL},
    {"redis.host", "h", "redis.host", NULL},
};

START_TEST(env_names)
{
    setenv(env[_i].name, env[_i].value, 1);
    ck_assert_msg(evbus_config_load_env(config, "APP_") == 0, "%s", evbus_last_error());
    ck_assert_str_eq(origin(env[_i].key), env[_i].want ? env[_i].name : "default");
    if (env[_i].want)
        ck_assert_str_eq(evbus_config_get(config, env[_i].key), env[_i].want);
}
END_TEST

START_TEST(env_first_alias_wins)
{
    setenv("SERVICE_NAME", "a", 1);
    setenv("OTEL_SERVICE_NAME", "b", 1);
    setenv("REDIS_PASSWORD", "", 1);
    setenv("REDISCLI_AUTH", "pw", 1);
    ck_assert_int_eq(evbus_config_load_env(config, NULL), 0);
    ck_assert_str_eq(evbus_config_get(config, "bus.name"), "a");
    ck_assert_str_eq(evb_config_text(config, EVB_CFG_REDIS_PASSWORD), "pw");
    ck_assert_str_eq(origin("redis.password"), "REDISCLI_AUTH");
}
END_TEST

START_TEST(env_prefix_is_checked)
{
    char prefix[4000];
    memset(prefix, 'A', sizeof prefix - 1);
    prefix[sizeof prefix - 1] = '\0';
    ck_assert_int_eq(evbus_config_load_env(config, prefix), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_config_load_env(config, "a=b"), EVBUS_EINVAL);
    ck_assert_int_eq(evbus_config_load_env(config, "%s%s"), EVBUS_EINVAL);
    prefix[64] = '\0';
    ck_assert_int_eq(evbus_config_load_env(config, prefix), 0);
    ck_assert_int_eq(evbus_config_load_env(config, ""), 0);
    ck_assert_int_eq(evbus_config_load_env(NULL, ""), EVBUS_EINVAL);
    ck_assert_str_eq(evbus_last_error(), "evbus_config_load_env: config is NULL");
}
END_TEST

static const struct {
    const char *name, *value;
    int error;
    const char *sentence;
} bad_env[] = {
    {"REDIS_PORT", "x", EVBUS_EINVAL, "REDIS_PORT: \"x\" is not a whole number from 1 to 65535"},
    {"APP_REDIS_PORT", "0", EVBUS_EINVAL,
     "APP_REDIS_PORT: \"0\" is not a whole number from 1 to 65535"},
    {"EVBUS_OUTBOX_AGE", "5", EVBUS_EINVAL,
     "EVBUS_OUTBOX_AGE: \"5\" is not a duration from 1ms to 30d, such as 500ms or 2s"},
    {"EVBUS_HISTORY_TTL", "2000", EVBUS_EINVAL, "EVBUS_HISTORY_TTL: \"2000\" is not a duration"},
    {"EVENT_BUS_BATCH_SIZE", "0", EVBUS_EINVAL,
     "EVENT_BUS_BATCH_SIZE: \"0\" is not a whole number from 1 to 100000"},
    {"EVENT_BUS_BATCH_INTERVAL_MS", "0", EVBUS_EINVAL,
     "EVENT_BUS_BATCH_INTERVAL_MS: \"0ms\" is not a duration"},
    {"EVBUS_BATCH_INTERVAL", "30000", EVBUS_EINVAL, "EVBUS_BATCH_INTERVAL: \"30000\" is not a"},
    {"EVENT_HISTORY_TTL", "0", EVBUS_EINVAL, "EVENT_HISTORY_TTL: \"0s\" is not a duration"},
    {"EVENT_HISTORY_TTL", "123456789012345678901", EVBUS_EINVAL, "EVENT_HISTORY_TTL: \"1234"},
    {"REDIS_URL", "redis://:" CANARY "@h:x", EVBUS_EINVAL, "REDIS_URL: the URL's port must be"},
    {"REDIS_URL", "rediss://:" CANARY "@h:x", EVBUS_EINVAL, "REDIS_URL: the URL's port must be"},
    {"REDIS_SSL", "required", EVBUS_EINVAL, "REDIS_SSL: \"required\" is not yes or no"},
    {"EVBUS_TLS_VERIFY", "no", EVBUS_EINVAL, "EVBUS_TLS_VERIFY: \"no\" is not one of full|ca|none"},
    {"ENABLE_REDIS_EVENTS", "perhaps", EVBUS_EINVAL, "ENABLE_REDIS_EVENTS: \"perhaps\" is not"},
    {"REDIS_HOST", "a\nb", EVBUS_EINVAL, "REDIS_HOST: holds a control character"},
};

START_TEST(env_errors)
{
    setenv("EVBUS_BUS_NAME", "good", 1);
    setenv("REDIS_PASSWORD", CANARY, 1);
    setenv(bad_env[_i].name, bad_env[_i].value, 1);
    ck_assert_int_eq(evbus_config_load_env(config, "APP_"), bad_env[_i].error);
    ck_assert_msg(strncmp(evbus_last_error(), bad_env[_i].sentence, strlen(bad_env[_i].sentence)) ==
                      0,
                  "%s", evbus_last_error());
    ck_assert_ptr_null(strstr(evbus_last_error(), "CANARY"));
    for (int i = 0; i < EVB_CFG_COUNT; i++)
        ck_assert(!evb_config_is_set(config, (enum evb_cfg)i));
}
END_TEST

START_TEST(what_is_outranked_is_not_looked_at)
{
    setenv("REDIS_PORT", "x", 1);
    setenv("EVBUS_REDIS_PORT", "7", 1);
    setenv("REDIS_SSL", "true", 1);
    setenv("EVBUS_TLS_ENABLED", "no", 1);
    setenv("REDIS_URL", "rediss://h:x", 1);
    ck_assert_int_eq(evbus_config_load_env(config, NULL), EVBUS_EINVAL);
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), "REDIS_URL: "));
    setenv("EVBUS_REDIS_URL", "redis://h", 1);
    ck_assert_int_eq(evbus_config_load_env(config, NULL), 0);
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_TLS_ENABLED), 0);
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_REDIS_PORT), 7);
}
END_TEST

START_TEST(no_does_not_hide_yes)
{
    setenv("REDIS_SSL", "false", 1);
    setenv("REDIS_TLS", "true", 1);
    ck_assert_int_eq(evbus_config_load_env(config, NULL), 0);
    ck_assert_str_eq(origin("tls.enabled"), "REDIS_TLS");
    setenv("REDIS_SSL", "true", 1);
    setenv("REDIS_TLS", "false", 1);
    ck_assert_int_eq(evbus_config_load_env(config, NULL), 0);
    ck_assert_str_eq(origin("tls.enabled"), "REDIS_SSL");
    setenv("APP_REDIS_TLS", "false", 1);
    ck_assert_int_eq(evbus_config_load_env(config, "APP_"), 0);
    ck_assert_str_eq(origin("tls.enabled"), "APP_REDIS_TLS");
}
END_TEST

static const char file_text[] = "\xef\xbb\xbf# comment\n"
                                "\n"
                                "  redis.host = h   # the host\r\n"
                                "redis.port=7000\n"
                                "\tredis.password = 'it''s # \"x\" '  # comment\n"
                                "bus.name = a#b c\n"
                                "key.prefix =\n"
                                "channel.prefix = '' # none\n"
                                "redis.username = # nobody\n"
                                "log.level = info\n"
                                "log.level = debug";

START_TEST(file_forms)
{
    char line[64];
    file_write(file_text, sizeof file_text - 1);
    ck_assert_msg(evbus_config_load_file(config, path) == 0, "%s", evbus_last_error());
    ck_assert_str_eq(evbus_config_get(config, "redis.host"), "h");
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_REDIS_PORT), 7000);
    ck_assert_str_eq(evb_config_text(config, EVB_CFG_REDIS_PASSWORD), "it's # \"x\" ");
    ck_assert_str_eq(evbus_config_get(config, "bus.name"), "a#b c");
    ck_assert_str_eq(evbus_config_get(config, "key.prefix"), "");
    ck_assert_str_eq(evbus_config_get(config, "channel.prefix"), "");
    ck_assert_str_eq(evbus_config_get(config, "redis.username"), "");
    ck_assert_str_eq(evbus_config_get(config, "log.level"), "debug");
    snprintf(line, sizeof line, "%s:3", path);
    ck_assert_str_eq(origin("redis.host"), line);
}
END_TEST

static const struct {
    const char *text; /* its second line is the bad one */
    int error;
    const char *says;
} bad_file[] = {
    {"\nredis.hots = h\n", EVBUS_EINVAL, "setting \"redis.hots\" is unknown; the nearest is"},
    {"\nredis.port = x\n", EVBUS_EINVAL, "redis.port: \"x\" is not a whole number"},
    {"\nredis.port =\n", EVBUS_EINVAL, "redis.port: \"\" is not a whole number"},
    {"\n" CANARY "\n", EVBUS_EINVAL, "a line is key = value"},
    {"\n= " CANARY "\n", EVBUS_EINVAL, "setting \"\" is unknown"},
    {"\nredis.password = '" CANARY "\n", EVBUS_EINVAL, "redis.password: a quoted value"},
    {"\nredis.password = '" CANARY "' x\n", EVBUS_EINVAL, "redis.password: a quoted value"},
    {"\nredis.password = '" CANARY "''\n", EVBUS_EINVAL, "redis.password: a quoted value"},
    {"\nredis.url = redis://:" CANARY "@h:x\n", EVBUS_EINVAL, "redis.url: the URL's port"},
    {"\nredis.url = rediss://:" CANARY "@h:x\n", EVBUS_EINVAL, "redis.url: the URL's port"},
    {"\ntls.enabled = maybe", EVBUS_EINVAL, "tls.enabled: \"maybe\" is not"},
};

START_TEST(file_errors)
{
    char text[300];
    snprintf(text, sizeof text, "redis.host = changed%s", bad_file[_i].text);
    file_write(text, strlen(text));
    ck_assert_int_eq(evbus_config_load_file(config, path), bad_file[_i].error);
    ck_assert_msg(strncmp(evbus_last_error(), path, strlen(path)) == 0, "%s", evbus_last_error());
    ck_assert_ptr_nonnull(strstr(evbus_last_error(), ":2: "));
    ck_assert_msg(strstr(evbus_last_error(), bad_file[_i].says) != NULL, "%s", evbus_last_error());
    ck_assert_ptr_null(strstr(evbus_last_error(), "CANARY"));
    ck_assert(!evb_config_is_set(config, EVB_CFG_REDIS_HOST));
}
END_TEST

START_TEST(file_hostile)
{
    static char text[70000];
    ck_assert_int_eq(evbus_config_load_file(config, NULL), EVBUS_EINVAL);
    ck_assert_str_eq(evbus_last_error(), "evbus_config_load_file: path is NULL");
    ck_assert_int_eq(evbus_config_load_file(NULL, path), EVBUS_EINVAL);
    ck_assert_str_eq(evbus_last_error(), "evbus_config_load_file: config is NULL");
    ck_assert_int_eq(evbus_config_load_file(config, "/nowhere/x.conf"), EVBUS_ESYS);
    ck_assert_str_eq(evbus_last_error(), "/nowhere/x.conf: No such file or directory");
    ck_assert_int_eq(evbus_config_load_file(config, "/tmp"), EVBUS_ESYS);
    ck_assert_int_eq(evbus_config_load_file(config, "/dev/zero"), EVBUS_ETOOBIG);
    file_write("", 0);
    ck_assert_int_eq(evbus_config_load_file(config, path), 0);
    file_write("redis.db = 1\0\n", 14);
    ck_assert_int_eq(evbus_config_load_file(config, path), EVBUS_EINVAL);
    memset(text, '\n', sizeof text);
    file_write(text, 65536);
    ck_assert_int_eq(evbus_config_load_file(config, path), 0);
    file_write(text, 65537);
    ck_assert_int_eq(evbus_config_load_file(config, path), EVBUS_ETOOBIG);
    memset(text, '=', sizeof text);
    file_write(text, 65536);
    ck_assert_int_eq(evbus_config_load_file(config, path), EVBUS_EINVAL);
    memset(text, '\'', sizeof text);
    memcpy(text, "redis.password=", 15);
    file_write(text, 65535); /* an even number of quotes: it ends */
    ck_assert_int_eq(evbus_config_load_file(config, path), 0);
    ck_assert_uint_eq(strlen(evb_config_text(config, EVB_CFG_REDIS_PASSWORD)), 32759);
}
END_TEST

/* A dump, its mask apart, is a settings file. */
START_TEST(dump_is_a_file)
{
    ck_assert_int_eq(evbus_config_set(config, "key.prefix", " it's # a "), 0);
    ck_assert_int_eq(evbus_config_set(config, "bus.name", "'x'"), 0);
    ck_assert_int_eq(evbus_config_set(config, "redis.username", "#u"), 0);
    char *dump = evbus_config_dump(config);
    file_write(dump, strlen(dump));
    evbus_config *other = evbus_config_new();
    ck_assert_msg(evbus_config_load_file(other, path) == 0, "%s", evbus_last_error());
    for (int i = 0; i < EVB_CFG_COUNT; i++)
        ck_assert_str_eq(evbus_config_get(other, evbus_config_key(i)),
                         evbus_config_get(config, evbus_config_key(i)));
    evbus_string_free(dump);
    evbus_config_free(other);
}
END_TEST

/* ---- which source wins ---- */

enum { LAYERS = 5, ORDERS = 6 }; /* file, alias, prefix, EVBUS_, code: from low to high */
static const char *const names[LAYERS] = {NULL, "REDIS_", "APP_REDIS_", "EVBUS_REDIS_", NULL};

/* Says redis.<what> = value in a layer; file and code are noted and applied by load_in_order(). */
static void say(char *said_file, char *said_code, int layer, const char *what, const char *value)
{
    char name[64];
    char *said = layer == 0 ? said_file : said_code;

    if (names[layer]) {
        snprintf(name, sizeof name, "%s%s", names[layer], what);
        setenv(name, value, 1);
        return;
    }
    sprintf(said + strlen(said), "redis.%s = %s\n", strcmp(what, "URL") ? "port" : "url", value);
}

static void load_in_order(int order, const char *said_file, char *said_code)
{
    static const char *const orders[ORDERS] = {"fec", "fce", "efc", "ecf", "cfe", "cef"};
    file_write(said_file, strlen(said_file));
    for (const char *step = orders[order]; *step; step++) {
        int error = 0;

        if (*step == 'f')
            error = evbus_config_load_file(config, path);
        if (*step == 'e')
            error = evbus_config_load_env(config, "APP_");
        for (char *key = *step == 'c' ? strtok(said_code, "\n") : NULL; key && !error;
             key = strtok(NULL, "\n")) {
            char *value = strstr(key, " = ");
            *value = '\0';
            error = evbus_config_set(config, key, value + 3);
        }
        ck_assert_msg(!error, "%s", evbus_last_error());
    }
}

START_TEST(highest_layer_wins)
{
    int set = _i / ORDERS, order = _i % ORDERS, highest = -1;
    char said_file[100] = "", said_code[100] = "", value[16];

    for (int layer = 0; layer < LAYERS; layer++) {
        if (!(set & 1 << layer))
            continue;
        highest = layer;
        snprintf(value, sizeof value, "%d", 1000 + layer);
        say(said_file, said_code, layer, "PORT", value);
    }
    load_in_order(order, said_file, said_code);
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_REDIS_PORT),
                     highest < 0 ? 6379 : 1000 + highest);
}
END_TEST

START_TEST(url_against_single_key)
{
    int order = _i % ORDERS, url = _i / ORDERS % LAYERS, single = _i / ORDERS / LAYERS;
    char said_file[100] = "", said_code[100] = "";

    say(said_file, said_code, url, "URL", "redis://:pw@host:2000/2");
    say(said_file, said_code, single, "PORT", "1000");
    load_in_order(order, said_file, said_code);
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_REDIS_PORT), single >= url ? 1000 : 2000);
    ck_assert_str_eq(evbus_config_get(config, "redis.host"), "host");
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_REDIS_DB), 2);
}
END_TEST

/* A URL is a whole address: a port or password said below it belongs to another server. */
START_TEST(url_against_what_it_leaves_out)
{
    int order = _i % ORDERS, url = _i / ORDERS % LAYERS, single = _i / ORDERS / LAYERS;
    char said_file[100] = "", said_code[100] = "";

    say(said_file, said_code, url, "URL", "redis://host");
    say(said_file, said_code, single, "PORT", "1000");
    load_in_order(order, said_file, said_code);
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_REDIS_PORT), single >= url ? 1000 : 6379);
    ck_assert_int_eq(evb_config_is_set(config, EVB_CFG_REDIS_PORT), single >= url);
}
END_TEST

START_TEST(url_against_url)
{
    int order = _i % ORDERS, one = _i / ORDERS % LAYERS, two = _i / ORDERS / LAYERS;
    char said_file[100] = "", said_code[100] = "";

    if (one >= two)
        return;
    say(said_file, said_code, one, "URL", "redis://:pw@low:1000/1");
    say(said_file, said_code, two, "URL", "unix:///high");
    load_in_order(order, said_file, said_code);
    ck_assert_str_eq(evbus_config_get(config, "redis.path"), "/high");
    ck_assert_str_eq(evbus_config_get(config, "redis.url"), "unix:///high");
    ck_assert_str_eq(evbus_config_get(config, "redis.password"), "");
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_REDIS_DB), 0);
}
END_TEST

START_TEST(url_behind_single_key)
{
    static const char text[] = "redis.port = 1000\nredis.url = redis://h:2000/2\n";
    file_write(text, sizeof text - 1);
    ck_assert_int_eq(evbus_config_load_file(config, path), 0);
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_REDIS_PORT), 1000);
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_REDIS_DB), 2);
    ck_assert_int_eq(evbus_config_set(config, "redis.db", "5"), 0);
    ck_assert_int_eq(evbus_config_set(config, "redis.url", "redis://h:3000/3"), 0);
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_REDIS_PORT), 3000);
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_REDIS_DB), 5);
}
END_TEST

START_TEST(host_against_path)
{
    setenv("REDIS_HOST", "h", 1);
    file_write("redis.path = /s\n", 16);
    ck_assert_int_eq(evbus_config_load_file(config, path), 0);
    ck_assert_str_eq(evbus_config_get(config, "redis.path"), "/s");
    ck_assert_int_eq(evbus_config_load_env(config, NULL), 0);
    ck_assert_str_eq(evbus_config_get(config, "redis.path"), "");
    ck_assert(!evb_config_is_set(config, EVB_CFG_REDIS_PATH));
    ck_assert_int_eq(evbus_config_set(config, "redis.path", "/t"), 0);
    ck_assert_str_eq(evbus_config_get(config, "redis.path"), "/t");
}
END_TEST

START_TEST(empty_in_code_holds)
{
    setenv("REDIS_PASSWORD", "pw", 1);
    setenv("REDIS_URL", "redis://:pw2@h", 1);
    ck_assert_int_eq(evbus_config_set(config, "redis.password", ""), 0);
    ck_assert_int_eq(evbus_config_load_env(config, NULL), 0);
    ck_assert_str_eq(evbus_config_get(config, "redis.password"), "");
    ck_assert_str_eq(evbus_config_get(config, "redis.host"), "h");
    ck_assert_int_eq(evbus_config_set(config, "redis.url", ""), 0);
    ck_assert_str_eq(evbus_config_get(config, "redis.host"), "127.0.0.1");
    ck_assert(!evb_config_wants_redis(config));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config load");
    TCase *tests = tcase_create("config load");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, env_names, 0, (int)EVB_COUNT(env));
    tcase_add_test(tests, env_first_alias_wins);
    tcase_add_test(tests, env_prefix_is_checked);
    tcase_add_loop_test(tests, env_errors, 0, (int)EVB_COUNT(bad_env));
    tcase_add_test(tests, what_is_outranked_is_not_looked_at);
    tcase_add_test(tests, no_does_not_hide_yes);
    tcase_add_test(tests, file_forms);
    tcase_add_loop_test(tests, file_errors, 0, (int)EVB_COUNT(bad_file));
    tcase_add_test(tests, file_hostile);
    tcase_add_test(tests, dump_is_a_file);
    tcase_add_loop_test(tests, highest_layer_wins, 0, (1 << LAYERS) * ORDERS);
    tcase_add_loop_test(tests, url_against_single_key, 0, LAYERS * LAYERS * ORDERS);
    tcase_add_loop_test(tests, url_against_what_it_leaves_out, 0, LAYERS * LAYERS * ORDERS);
    tcase_add_loop_test(tests, url_against_url, 0, LAYERS * LAYERS * ORDERS);
    tcase_add_test(tests, url_behind_single_key);
    tcase_add_test(tests, host_against_path);
    tcase_add_test(tests, empty_in_code_holds);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
