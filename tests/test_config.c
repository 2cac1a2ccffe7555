/* test_config.c - the table, set, get, dump, copies, what is resolved, and that secrets stay
 * secret. */
#include "alloc.h"
#include "config.h"
#include "list.h"
#include "option.h"
#include "harness/check.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CANARY "s3cr3t-CANARY"

static evbus_config *config;

static void setup(void)
{
    clearenv();
    config = evbus_config_new();
    ck_assert_ptr_nonnull(config);
}

static void teardown(void)
{
    evbus_config_free(config);
}

#define X(id, key, kind, choices, min, max, def, secret, aliases, help)                            \
    {{key, EVB_VALUE_##kind, choices, min, max, NULL}, def, aliases, help, secret},
static const struct {
    struct evb_option option;
    const char *def, *aliases, *help;
    bool secret;
} rows[] = {
#include "config_table.h"
};
#undef X

START_TEST(row_is_sound)
{
    const struct evb_option *row = &rows[_i].option;
    int64_t n;

    ck_assert_str_eq(evbus_config_key(_i), row->name);
    ck_assert_str_eq(evbus_config_default(_i), rows[_i].def);
    ck_assert_str_eq(evbus_config_help(_i), rows[_i].help);
    ck_assert_uint_gt(strlen(rows[_i].help), 5);
    ck_assert_uint_eq(strspn(row->name, "abcdefghijklmnopqrstuvwxyz."), strlen(row->name));
    ck_assert_uint_eq(strspn(rows[_i].aliases, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_ "),
                      strlen(rows[_i].aliases));
    ck_assert_msg(row->kind == EVB_VALUE_CHOICE || row->kind == EVB_VALUE_BOOL || row->max > 0,
                  "%s has no bound", row->name);
    if (rows[_i].def[0] == '\0' || rows[_i].def[0] == '<')
        ck_assert_int_eq(row->kind, EVB_VALUE_TEXT);
    else
        ck_assert_msg(evb_value_check(row->name, row, rows[_i].def, &n) == 0, "%s",
                      evbus_last_error());
    for (int i = 0; i < _i; i++)
        ck_assert_str_ne(rows[i].option.name, row->name);
    if (row->kind != EVB_VALUE_TEXT)
        ck_assert_int_eq(evbus_config_set(config, row->name, ""), EVBUS_EINVAL);
}
END_TEST

START_TEST(default_can_be_set)
{
    const char *key = rows[_i].option.name;
    char *before = strdup(evbus_config_get(config, key));

    if (rows[_i].option.min == 0 || before[0])
        ck_assert_msg(evbus_config_set(config, key, before) == 0, "%s: %s", key,
                      evbus_last_error());
    ck_assert_str_eq(evbus_config_get(config, key), before);
    free(before);
}
END_TEST

START_TEST(count_and_index)
{
    ck_assert_int_eq(evbus_config_count(), (int)EVB_COUNT(rows));
    ck_assert_int_eq(evbus_config_count(), EVB_CFG_COUNT);
    for (int i = -1; i <= EVB_CFG_COUNT; i += EVB_CFG_COUNT + 1) {
        ck_assert_ptr_null(evbus_config_key(i));
        ck_assert_ptr_null(evbus_config_default(i));
        ck_assert_ptr_null(evbus_config_help(i));
        ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
    }
}
END_TEST

START_TEST(nulls)
{
    ck_assert_int_eq(evbus_config_set(NULL, "redis.host", "h"), EVBUS_EINVAL);
    ck_assert_str_eq(evbus_last_error(), "evbus_config_set: config is NULL");
    ck_assert_int_eq(evbus_config_set(config, NULL, "h"), EVBUS_EINVAL);
    ck_assert_str_eq(evbus_last_error(), "evbus_config_set: key is NULL");
    ck_assert_int_eq(evbus_config_set(config, "redis.host", NULL), EVBUS_EINVAL);
    ck_assert_str_eq(evbus_last_error(), "evbus_config_set: value is NULL");
    ck_assert_ptr_null(evbus_config_get(NULL, "redis.host"));
    ck_assert_int_eq(evbus_last_code(), EVBUS_EINVAL);
    ck_assert_ptr_null(evbus_config_get(config, NULL));
    ck_assert_str_eq(evbus_last_error(), "evbus_config_get: key is NULL");
    ck_assert_ptr_null(evbus_config_dump(NULL));
    ck_assert_str_eq(evbus_last_error(), "evbus_config_dump: config is NULL");
    evbus_config_free(NULL);
}
END_TEST

START_TEST(defaults)
{
    ck_assert_str_eq(evbus_config_get(config, "redis.host"), "127.0.0.1");
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_REDIS_PORT), 6379);
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_REDIS_CONNECT_TIMEOUT), 5000);
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_OUTBOX_BYTES), 64 << 20);
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_OUTBOX_FULL), EVB_FULL_DROP_OLDEST);
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_EVENT_CHECK), EVB_CHECK_REMOTE);
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_RECONNECT_MAX_RETRIES), -1);
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_PUBLISH_RESEND), 1);
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_LOG_LEVEL), EVBUS_LOG_WARNING);
    ck_assert_str_eq(evbus_config_get(config, "bus.name"), program_invocation_short_name);
    ck_assert_str_eq(evbus_config_get(config, "redis.password"), "");
    ck_assert_str_eq(evb_config_text(config, EVB_CFG_REDIS_PASSWORD), "");
    for (int i = 0; i < EVB_CFG_COUNT; i++)
        ck_assert(!evb_config_is_set(config, (enum evb_cfg)i));
}
END_TEST

static const struct {
    const char *key, *value, *got; /* got NULL: as the value */
    int64_t number;
} sets[] = {
    {"redis.port", "7000", NULL, 7000},
    {"redis.connect.timeout", "1m", NULL, 60000},
    {"outbox.bytes", "2MiB", NULL, 2 << 20},
    {"outbox.age", "30d", NULL, 2592000000},
    {"outbox.full", "drop-newest", NULL, EVB_FULL_DROP_NEWEST},
    {"outbox.full", "REJECT", "reject", EVB_FULL_REJECT},
    {"outbox.full", "off", NULL, EVB_FULL_OFF},
    {"queue.full", "drop-newest", NULL, EVB_FULL_DROP_NEWEST},
    {"event.check", "never", NULL, EVB_CHECK_NEVER},
    {"event.check", "always", NULL, EVB_CHECK_ALWAYS},
    {"wire.foreign", "drop", NULL, 1},
    {"publish.resend", "no", NULL, 0},
    {"health.require.redis", "TRUE", NULL, 1},
    {"tls.enabled", "false", NULL, 0},
    {"reconnect.max.retries", "-1", NULL, -1},
    {"dedup.window", "0", NULL, 0},
    {"close.timeout", "0", NULL, 0},
    {"log.level", "none", NULL, 0},
    {"log.level", "error", NULL, EVBUS_LOG_ERROR},
    {"log.level", "info", NULL, EVBUS_LOG_INFO},
    {"log.level", "debug", NULL, EVBUS_LOG_DEBUG},
    {"log.level", "WARN", "warning", EVBUS_LOG_WARNING},
    {"bus.mode", "hybrid", NULL, EVB_MODE_HYBRID},
    {"bus.mode", "local-only", NULL, EVB_MODE_LOCAL},
    {"bus.mode", "redis-only", NULL, EVB_MODE_REDIS},
    {"bus.mode", "auto", "local-only", EVB_MODE_LOCAL},
    {"bus.mode", "true", "hybrid", EVB_MODE_HYBRID},
    {"bus.mode", "0", "local-only", EVB_MODE_LOCAL},
};

START_TEST(set_and_get)
{
    int id = evb_config_find("", sets[_i].key);

    ck_assert_int_ge(id, 0);
    ck_assert_msg(evbus_config_set(config, sets[_i].key, sets[_i].value) == 0, "%s",
                  evbus_last_error());
    ck_assert_str_eq(evbus_config_get(config, sets[_i].key),
                     sets[_i].got ? sets[_i].got : sets[_i].value);
    ck_assert_int_eq(evb_config_number(config, (enum evb_cfg)id), sets[_i].number);
    ck_assert(evb_config_is_set(config, (enum evb_cfg)id));
}
END_TEST

static const struct {
    const char *key, *value;
    int error;
    const char *sentence;
} bad[] = {
    {"redis.port", "0", EVBUS_EINVAL, "redis.port: \"0\" is not a whole number from 1 to 65535"},
    {"redis.port", "70000", EVBUS_EINVAL,
     "redis.port: \"70000\" is not a whole number from 1 to 65535"},
    {"redis.db", "-1", EVBUS_EINVAL, "redis.db: \"-1\" is not a whole number from 0 to 2147483647"},
    {"outbox.age", "60", EVBUS_EINVAL,
     "outbox.age: \"60\" is not a duration from 1ms to 30d, such as 500ms or 2s"},
    {"event.max.bytes", "1GiB", EVBUS_EINVAL,
     "event.max.bytes: \"1GiB\" is not a size from 1B to 256MiB, such as 64KiB"},
    {"queue.full", "reject", EVBUS_EINVAL,
     "queue.full: \"reject\" is not one of drop-oldest|drop-newest|lag"},
    {"publish.resend", "maybe", EVBUS_EINVAL, "publish.resend: \"maybe\" is not yes or no"},
    {"redis.host", "", EVBUS_EINVAL, "redis.host: is 0 bytes long, must be 1 to 255"},
    {"bus.name", "a\nb", EVBUS_EINVAL, "bus.name: holds a control character, byte 0x0a"},
    {"redis.url", "redis://h\n", EVBUS_EINVAL, "redis.url: holds a control character, byte 0x0a"},
    {"redis.hots", "h", EVBUS_EINVAL,
     "setting \"redis.hots\" is unknown; the nearest is \"redis.host\""},
    {"Redis.Host", "h", EVBUS_EINVAL,
     "setting \"Redis.Host\" is unknown; the nearest is \"redis.host\""},
    {"nothing.like.it.at.all", "h", EVBUS_EINVAL, "setting \"nothing.like.it.at.all\" is unknown"},
    {"", "h", EVBUS_EINVAL, "setting \"\" is unknown"},
    {"redis.url", "http://h", EVBUS_EINVAL,
     "redis.url: a Redis URL begins with redis://, rediss:// or unix://"},
    {"tls.enabled", "maybe", EVBUS_EINVAL, "tls.enabled: \"maybe\" is not yes or no"},
    {"tls.verify", "off", EVBUS_EINVAL, "tls.verify: \"off\" is not one of full|ca|none"},
    {"tls.min.version", "1.1", EVBUS_EINVAL, "tls.min.version: \"1.1\" is not one of 1.2|1.3"},
    {"redis.url", "redis-sentinel://h/m", EVBUS_ENOTSUP,
     "redis.url: this version knows no Sentinel yet; name the master by redis://"},
    {"redis.url", "redis-cluster://h", EVBUS_ENOTSUP,
     "redis.url: this version knows no Redis Cluster yet; use redis://"},
};

START_TEST(set_refuses)
{
    char *before, *after;

    ck_assert_int_eq(evbus_config_set(config, "redis.url", "redis://old:old@old:1/2"), 0);
    ck_assert_int_eq(evbus_config_set(config, "key.prefix", "old:"), 0);
    before = evbus_config_dump(config);
    ck_assert_int_eq(evbus_config_set(config, bad[_i].key, bad[_i].value), bad[_i].error);
    ck_assert_str_eq(evbus_last_error(), bad[_i].sentence);
    ck_assert_int_eq(evbus_last_code(), bad[_i].error);
    after = evbus_config_dump(config);
    ck_assert_str_eq(before, after);
    ck_assert_str_eq(evb_config_text(config, EVB_CFG_REDIS_PASSWORD), "old");
    evbus_string_free(before);
    evbus_string_free(after);
}
END_TEST

START_TEST(get_unknown)
{
    ck_assert_ptr_null(evbus_config_get(config, "redis.hots"));
    ck_assert_str_eq(evbus_last_error(),
                     "setting \"redis.hots\" is unknown; the nearest is \"redis.host\"");
}
END_TEST

START_TEST(long_values)
{
    char text[70001];

    memset(text, '9', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (int i = 0; i < EVB_CFG_COUNT; i++) {
        ck_assert_int_eq(evbus_config_set(config, evbus_config_key(i), text), EVBUS_EINVAL);
        ck_assert_uint_lt(strlen(evbus_last_error()), 300);
    }
    ck_assert_int_eq(evbus_config_set(config, text, "x"), EVBUS_EINVAL);
    ck_assert_uint_lt(strlen(evbus_last_error()), 100);
    text[4000] = '\0';
    ck_assert_int_eq(evbus_config_set(config, "redis.password", text), 0);
    ck_assert_str_eq(evb_config_text(config, EVB_CFG_REDIS_PASSWORD), text);
    memcpy(text, "redis://", 8);
    ck_assert_int_eq(evbus_config_set(config, "redis.url", text), EVBUS_EINVAL);
    ck_assert_str_eq(evbus_last_error(),
                     "redis.url: the URL's host: is 3992 bytes long, must be 1 to 255");
}
END_TEST

START_TEST(channel_prefix)
{
    static const struct {
        const char *key, *value, *want;
    } steps[] = {
        {"log.level", "info", "evbus:events:"},
        {"key.prefix", "app:", "app:events:"},
        {"key.prefix", "", "events:"},
        {"channel.prefix", "", ""},
        {"key.prefix", "b:", ""},
        {"channel.prefix", "ch:", "ch:"},
    };

    for (size_t i = 0; i < EVB_COUNT(steps); i++) {
        ck_assert_int_eq(evbus_config_set(config, steps[i].key, steps[i].value), 0);
        char *prefix = evb_config_channel_prefix(config);
        ck_assert_str_eq(prefix, steps[i].want);
        ck_assert_str_eq(evbus_config_get(config, "channel.prefix"), steps[i].want);
        evb_free(prefix);
    }
    ck_assert_str_eq(evbus_config_get(config, "claim.prefix"), "b:claim:");
    ck_assert_int_eq(evbus_config_set(config, "claim.prefix", "aiponge:locks:"), 0);
    ck_assert_str_eq(evbus_config_get(config, "claim.prefix"), "aiponge:locks:");
    ck_assert_str_eq(evb_config_text(config, EVB_CFG_KEY_PREFIX), "b:");
}
END_TEST

START_TEST(mode_resolves)
{
    static const struct {
        const char *key, *value, *mode;
    } cases[] = {
        {"log.level", "info", "local-only"},      {"redis.host", "h", "hybrid"},
        {"redis.url", "redis://h", "hybrid"},     {"redis.url", "redis://", "hybrid"},
        {"redis.url", "unix:///s", "hybrid"},     {"redis.path", "/s", "hybrid"},
        {"redis.ping.interval", "1s", "hybrid"},  {"redis.password", "", "local-only"},
        {"redis.url", "", "local-only"},          {"redis.pool.size", "10", "local-only"},
        {"redis.max.retries", "3", "local-only"}, {"tls.enabled", "no", "local-only"},
        {"key.prefix", "x", "local-only"},
    };

    for (size_t i = 0; i < EVB_COUNT(cases); i++) {
        evbus_config *c = evbus_config_new();

        ck_assert_int_eq(evbus_config_set(c, cases[i].key, cases[i].value), 0);
        ck_assert_msg(strcmp(evbus_config_get(c, "bus.mode"), cases[i].mode) == 0, "%s=%s",
                      cases[i].key, cases[i].value);
        ck_assert_int_eq(evb_config_wants_redis(c), strcmp(cases[i].mode, "hybrid") == 0);
        ck_assert_int_eq(evbus_config_set(c, "bus.mode", "local-only"), 0);
        ck_assert(!evb_config_wants_redis(c));
        ck_assert_int_eq(evbus_config_set(c, "bus.mode", "redis-only"), 0);
        ck_assert(evb_config_wants_redis(c));
        evbus_config_free(c);
    }
}
END_TEST

START_TEST(url_fills_the_keys)
{
    ck_assert_int_eq(evbus_config_set(config, "redis.url", "redis://u:p%40@h:7000/3"), 0);
    ck_assert_str_eq(evbus_config_get(config, "redis.host"), "h");
    ck_assert_str_eq(evbus_config_get(config, "redis.port"), "7000");
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_REDIS_PORT), 7000);
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_REDIS_DB), 3);
    ck_assert_str_eq(evb_config_text(config, EVB_CFG_REDIS_USERNAME), "u");
    ck_assert_str_eq(evb_config_text(config, EVB_CFG_REDIS_PASSWORD), "p@");
    ck_assert_str_eq(evbus_config_get(config, "redis.password"), "****");
    ck_assert_str_eq(evbus_config_get(config, "redis.url"), "redis://****@h:7000/3");
    ck_assert(!evb_config_is_set(config, EVB_CFG_REDIS_PATH));
    /* the next URL is another address: nothing of the first one stays */
    ck_assert_int_eq(evbus_config_set(config, "redis.url", "unix:///s"), 0);
    ck_assert_str_eq(evb_config_text(config, EVB_CFG_REDIS_PATH), "/s");
    ck_assert_str_eq(evb_config_text(config, EVB_CFG_REDIS_PASSWORD), "");
    ck_assert_str_eq(evb_config_text(config, EVB_CFG_REDIS_USERNAME), "");
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_REDIS_PORT), 6379);
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_REDIS_DB), 0);
    ck_assert(!evb_config_is_set(config, EVB_CFG_REDIS_HOST));
}
END_TEST

/* What redis:// and rediss:// say of TLS, and whom they cannot overrule. */
START_TEST(url_and_tls)
{
    ck_assert_int_eq(evbus_config_set(config, "redis.url", "rediss://h"), 0);
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_TLS_ENABLED), 1);
    ck_assert_str_eq(evbus_config_get(config, "tls.enabled"), "yes");
    ck_assert_int_eq(evbus_config_set(config, "redis.url", "redis://h"), 0);
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_TLS_ENABLED), 0);
    ck_assert_int_eq(evbus_config_set(config, "tls.enabled", "yes"), 0);
    ck_assert_int_eq(evbus_config_set(config, "redis.url", "redis://other"), 0);
    ck_assert_int_eq(evb_config_number(config, EVB_CFG_TLS_ENABLED), 1);
}
END_TEST

START_TEST(password_file_and_password)
{
    const struct evb_cfg_source below = {EVB_LAYER_FILE, "file", "file"};
    ck_assert_int_eq(evb_config_assign(config, EVB_CFG_REDIS_PASSWORD_FILE, &below, "/run/secret"),
                     0);
    ck_assert_str_eq(evb_config_text(config, EVB_CFG_REDIS_PASSWORD_FILE), "/run/secret");
    ck_assert_int_eq(evbus_config_set(config, "redis.password", CANARY), 0);
    ck_assert_str_eq(evb_config_text(config, EVB_CFG_REDIS_PASSWORD_FILE), "");
    ck_assert_int_eq(evbus_config_set(config, "redis.password.file", "/run/other"), 0);
    ck_assert_str_eq(evb_config_text(config, EVB_CFG_REDIS_PASSWORD_FILE), "/run/other");
}
END_TEST

START_TEST(secrets_stay_secret)
{
    static const char *const urls[] = {("redis://u:" CANARY "@h"), ("unix://:" CANARY "@/s")};
    static const char *const broken[] = {("redis://u:" CANARY "@h:x"), ("redis://u:" CANARY "/@h"),
                                         CANARY, ("rediss://:" CANARY "@h:x"),
                                         ("redis://h?password=" CANARY)};

    for (size_t i = 0; i <= EVB_COUNT(urls); i++) {
        evbus_config *c = evbus_config_new();
        const char *key = i < EVB_COUNT(urls) ? "redis.url" : "redis.password";

        ck_assert_int_eq(evbus_config_set(c, key, i < EVB_COUNT(urls) ? urls[i] : CANARY), 0);
        ck_assert_str_eq(evb_config_text(c, EVB_CFG_REDIS_PASSWORD), CANARY);
        for (size_t j = 0; j < EVB_COUNT(broken); j++) {
            ck_assert_int_lt(evbus_config_set(c, "redis.url", broken[j]), 0);
            ck_assert_msg(!strstr(evbus_last_error(), "CANARY"), "%s", evbus_last_error());
        }
        for (int j = 0; j < EVB_CFG_COUNT; j++)
            ck_assert_ptr_null(strstr(evbus_config_get(c, evbus_config_key(j)), "CANARY"));
        char *dump = evbus_config_dump(c);
        ck_assert_ptr_null(strstr(dump, "CANARY"));
        ck_assert_ptr_nonnull(strstr(dump, "****"));
        evbus_string_free(dump);
        evbus_config_free(c);
    }
}
END_TEST

START_TEST(dump_lines)
{
    static const char *const lines[] = {
        "redis.host             = 127.0.0.1                 # default\n",
        "redis.port             = 7000                      # set\n",
        "redis.password         = ****                      # set\n",
        "key.prefix             = ' a # b'                  # set\n",
        "bus.name               = '''x'''                   # set\n",
        "channel.prefix         = ' a # bevents:'           # default\n",
        "bus.mode               = hybrid                    # default\n",
        "redis.path             =                           # default\n",
    };
    int count = 0;

    ck_assert_int_eq(evbus_config_set(config, "redis.port", "7000"), 0);
    ck_assert_int_eq(evbus_config_set(config, "redis.password", CANARY), 0);
    ck_assert_int_eq(evbus_config_set(config, "key.prefix", " a # b"), 0);
    ck_assert_int_eq(evbus_config_set(config, "bus.name", "'x'"), 0);
    char *dump = evbus_config_dump(config);
    for (size_t i = 0; i < EVB_COUNT(lines); i++)
        ck_assert_msg(strstr(dump, lines[i]) != NULL, "%s%s", lines[i], dump);
    for (const char *p = dump; *p; p++)
        count += *p == '\n';
    ck_assert_int_eq(count, EVB_CFG_COUNT);
    evbus_string_free(dump);
}
END_TEST

START_TEST(copies_are_apart)
{
    ck_assert_int_eq(evbus_config_set(config, "redis.url", "redis://:pw@h:1"), 0);
    ck_assert_int_eq(evbus_config_set(config, "key.prefix", "a:"), 0);
    evbus_config *copy = evb_config_copy(config);
    char *one = evbus_config_dump(config), *two = evbus_config_dump(copy);
    ck_assert_str_eq(one, two);
    ck_assert_int_eq(evbus_config_set(config, "key.prefix", "b:"), 0);
    ck_assert_int_eq(evbus_config_set(config, "redis.password", ""), 0);
    ck_assert_str_eq(evb_config_text(copy, EVB_CFG_REDIS_PASSWORD), "pw");
    ck_assert_str_eq(evb_config_text(copy, EVB_CFG_CHANNEL_PREFIX), "a:events:");
    ck_assert_str_eq(evb_config_text(config, EVB_CFG_REDIS_PASSWORD), "");
    evbus_string_free(one);
    evbus_string_free(two);
    evbus_config_free(copy);
    copy = evb_config_copy(NULL);
    ck_assert_str_eq(evbus_config_get(copy, "redis.port"), "6379");
    evbus_config_free(copy);
}
END_TEST

START_TEST(ignored_keys_are_named)
{
    ck_assert_ptr_null(evb_config_ignored(config, 0));
    ck_assert_int_eq(evbus_config_set(config, "redis.max.retries", "3"), 0);
    ck_assert_ptr_nonnull(strstr(evb_config_ignored(config, 0), "redis.max.retries: accepted"));
    ck_assert_ptr_null(evb_config_ignored(config, 1));
    ck_assert_int_eq(evbus_config_set(config, "redis.pool.size", "10"), 0);
    ck_assert_ptr_nonnull(strstr(evb_config_ignored(config, 0), "redis.pool.size: accepted"));
    ck_assert_ptr_nonnull(strstr(evb_config_ignored(config, 1), "redis.max.retries: accepted"));
    ck_assert_ptr_null(evb_config_ignored(config, 2));
    ck_assert_ptr_null(evb_config_ignored(config, -1));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config");
    TCase *tests = tcase_create("config");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, row_is_sound, 0, EVB_CFG_COUNT);
    tcase_add_loop_test(tests, default_can_be_set, 0, EVB_CFG_COUNT);
    tcase_add_test(tests, count_and_index);
    tcase_add_test(tests, nulls);
    tcase_add_test(tests, defaults);
    tcase_add_loop_test(tests, set_and_get, 0, (int)EVB_COUNT(sets));
    tcase_add_loop_test(tests, set_refuses, 0, (int)EVB_COUNT(bad));
    tcase_add_test(tests, get_unknown);
    tcase_add_test(tests, long_values);
    tcase_add_test(tests, channel_prefix);
    tcase_add_test(tests, mode_resolves);
    tcase_add_test(tests, url_fills_the_keys);
    tcase_add_test(tests, url_and_tls);
    tcase_add_test(tests, password_file_and_password);
    tcase_add_test(tests, secrets_stay_secret);
    tcase_add_test(tests, dump_lines);
    tcase_add_test(tests, copies_are_apart);
    tcase_add_test(tests, ignored_keys_are_named);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
