/*
 * config.c - the settings: rows from config_table.h, values with the layer they came from. Called
 * by the user before a bus is opened and by the bus for its copy; not locked, one thread at a time.
 */
#include "config.h"
#include "alloc.h"
#include "buf.h"
#include "err.h"
#include "list.h"
#include "option.h"
#include "url.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define MASK "****"

struct row {
    struct evb_option option; /* its `out` is not used */
    const char *def, *aliases, *help;
    bool secret;
};

#define X(id, key, kind, choices, min, max, def, secret, aliases, help)                            \
    {{key, EVB_VALUE_##kind, choices, min, max, NULL}, def, aliases, help, secret},
static const struct row rows[] = {
#include "config_table.h"
};
#undef X
#define X(id, key, kind, choices, min, max, def, secret, aliases, help) key,
static const char *const keys[] = {
#include "config_table.h"
};
#undef X

/* Other words for choices, most of them what other systems write into their variables. */
static const struct {
    enum evb_cfg id;
    const char *said, *meant;
} synonyms[] = {
    {EVB_CFG_BUS_MODE, "true", "hybrid"},     {EVB_CFG_BUS_MODE, "false", "local-only"},
    {EVB_CFG_BUS_MODE, "yes", "hybrid"},      {EVB_CFG_BUS_MODE, "no", "local-only"},
    {EVB_CFG_BUS_MODE, "on", "hybrid"},       {EVB_CFG_BUS_MODE, "off", "local-only"},
    {EVB_CFG_BUS_MODE, "1", "hybrid"},        {EVB_CFG_BUS_MODE, "0", "local-only"},
    {EVB_CFG_LOG_LEVEL, "warn", "warning"},   {EVB_CFG_LOG_LEVEL, "notice", "info"},
    {EVB_CFG_LOG_LEVEL, "trace", "debug"},    {EVB_CFG_LOG_LEVEL, "verbose", "debug"},
    {EVB_CFG_LOG_LEVEL, "critical", "error"}, {EVB_CFG_LOG_LEVEL, "fatal", "error"},
    {EVB_CFG_LOG_LEVEL, "silent", "none"},    {EVB_CFG_LOG_LEVEL, "off", "none"},
};

static const enum evb_cfg ignored[] = {EVB_CFG_REDIS_POOL_SIZE, EVB_CFG_REDIS_MAX_RETRIES};

struct value {
    char *text;     /* owned; as it was given, or the choice's name */
    char *origin;   /* owned; NULL: default */
    int64_t number; /* the default's too */
    int rank;       /* 2 * layer, + 1 when named by its own key and not by redis.url */
    bool given;     /* false with a rank: a redis.url left it out, or it was given empty */
};

struct evbus_config {
    struct value values[EVB_CFG_COUNT];
    char *channels, *claims; /* owned; channel.prefix and claim.prefix when they are not given */
};

static int64_t default_number(enum evb_cfg id)
{
    int64_t n = 0;

    (void)evb_value_read(rows[id].option.kind, rows[id].option.choices, rows[id].def, &n);
    return n;
}

static char *behind_key_prefix(const evbus_config *config, const char *tail)
{
    struct evb_buf buf;

    evb_buf_init(&buf);
    evb_buf_text(&buf, evb_config_text(config, EVB_CFG_KEY_PREFIX));
    evb_buf_text(&buf, tail);
    return evb_buf_take(&buf);
}

static int prefixes_update(evbus_config *config)
{
    char *channels = behind_key_prefix(config, "events:");
    char *claims = channels ? behind_key_prefix(config, "claim:") : NULL;

    if (!claims) {
        evb_free(channels);
        return evb_fail_memory();
    }
    evb_free(config->channels);
    evb_free(config->claims);
    config->channels = channels;
    config->claims = claims;
    return 0;
}

static void value_clear(struct value *value)
{
    evb_wipe_free(value->text);
    evb_free(value->origin);
    *value = (struct value){0};
}

/* text NULL: said to be nothing, which holds against lower layers too. */
static int value_store(evbus_config *config, enum evb_cfg id, int rank, const char *origin,
                       const char *text, int64_t number)
{
    struct value *value = &config->values[id];
    struct value next = {.number = text ? number : default_number(id),
                         .rank = rank,
                         .given = text != NULL,
                         .origin = evb_strdup(origin)};

    if (text)
        next.text = evb_strdup(text);
    if (!next.origin || (text && !next.text)) {
        value_clear(&next);
        return evb_fail_memory();
    }
    value_clear(value);
    *value = next;
    return id == EVB_CFG_KEY_PREFIX ? prefixes_update(config) : 0;
}

static int text_check(const struct row *row, const char *label, const char *text)
{
    int64_t length;
    int error = evb_value_check(label, &row->option, text, &length);

    for (; !error && *text && !row->secret; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            error = evb_fail(EVBUS_EINVAL, "%s: holds a control character, byte 0x%02x", label,
                             (unsigned char)*text);
    return error;
}

static const char *choice_name(const char *choices, int64_t index, size_t *length)
{
    while (index-- > 0)
        choices = strchr(choices, '|') + 1;
    *length = strcspn(choices, "|");
    return choices;
}

static int number_assign(evbus_config *config, enum evb_cfg id, const char *label,
                         const char *origin, int rank, const char *text)
{
    const struct row *row = &rows[id];
    char name[32];
    int64_t number;

    for (size_t i = 0; i < EVB_COUNT(synonyms); i++)
        if (synonyms[i].id == id && strcasecmp(text, synonyms[i].said) == 0)
            text = synonyms[i].meant;
    int error = evb_value_check(label, &row->option, text, &number);
    if (error)
        return error;
    if (row->option.kind == EVB_VALUE_CHOICE) {
        size_t length;
        const char *choice = choice_name(row->option.choices, number, &length);
        snprintf(name, sizeof name, "%.*s", (int)length, choice);
        text = name;
    }
    return value_store(config, id, rank, origin, text, number);
}

static int text_assign(evbus_config *config, enum evb_cfg id, const char *label, const char *origin,
                       int rank, const char *text)
{
    int error = text_check(&rows[id], label, text);

    if (!error && id == EVB_CFG_REDIS_HOST && strpbrk(text, "/@")) /* it may hold a password */
        error = evb_fail(EVBUS_EINVAL, "%s: a host has no '/' or '@'; a URL is redis.url's", label);
    if (error)
        return error;
    /* empty is a value only where the default is another one */
    return value_store(config, id, rank, origin, *text || *rows[id].def ? text : NULL, 0);
}

static int url_part(evbus_config *config, enum evb_cfg id, const struct evb_cfg_source *source,
                    const char *text, int64_t number)
{
    char label[256], digits[24];
    int rank = (int)source->layer * 2, said = config->values[id].rank;

    if (said > rank)
        return 0;
    /* redis:// takes TLS away from an address below, not from whoever asked for TLS by its name */
    if (id == EVB_CFG_TLS_ENABLED && !text && said % 2)
        return 0;
    if (number >= 0)
        snprintf(digits, sizeof digits, "%lld", (long long)number);
    if (number >= 0 || !text)
        return value_store(config, id, rank, source->origin, number >= 0 ? digits : NULL, number);
    snprintf(label, sizeof label, "%s: the URL's %s", source->label, strchr(keys[id], '.') + 1);
    if (rows[id].option.kind != EVB_VALUE_TEXT)
        return number_assign(config, id, label, source->origin, rank, text);
    return text_assign(config, id, label, source->origin, rank, text);
}

/* An empty URL is an address that names nothing. */
static int url_assign(evbus_config *config, const struct evb_cfg_source *source, const char *text)
{
    struct evb_url url = {.port = -1, .db = -1};
    int error = text_check(&rows[EVB_CFG_REDIS_URL], source->label, text);

    if (!error && *text)
        error = evb_url_parse(source->label, text, &url);
    if (error)
        return error;
    const struct {
        enum evb_cfg id;
        const char *text;
        int64_t number;
    } parts[] = {
        {EVB_CFG_REDIS_URL, url.shown, -1},
        {EVB_CFG_REDIS_HOST, url.host, -1},
        {EVB_CFG_REDIS_PORT, NULL, url.port},
        {EVB_CFG_REDIS_DB, NULL, url.db},
        {EVB_CFG_REDIS_PATH, url.path, -1},
        {EVB_CFG_REDIS_USERNAME, url.username, -1},
        {EVB_CFG_REDIS_PASSWORD, url.password, -1},
        {EVB_CFG_TLS_ENABLED, url.tls ? "yes" : NULL, -1},
    };
    for (size_t i = 0; i < EVB_COUNT(parts) && !error; i++)
        error = url_part(config, parts[i].id, source, parts[i].text, parts[i].number);
    evb_url_fini(&url);
    return error;
}

int evb_config_assign(evbus_config *draft, enum evb_cfg id, const struct evb_cfg_source *source,
                      const char *text)
{
    int rank = (int)source->layer * 2 + (id != EVB_CFG_REDIS_URL);

    if (draft->values[id].rank > rank)
        return 0;
    if (id == EVB_CFG_REDIS_URL)
        return url_assign(draft, source, text);
    if (rows[id].option.kind == EVB_VALUE_TEXT)
        return text_assign(draft, id, source->label, source->origin, rank, text);
    return number_assign(draft, id, source->label, source->origin, rank, text);
}

int evb_config_find(const char *label, const char *key)
{
    char shown[EVB_SHOWN];

    for (int i = 0; i < EVB_CFG_COUNT; i++)
        if (strcmp(key, keys[i]) == 0)
            return i;
    evb_shown(shown, key, strlen(key));
    const char *nearest = evb_nearest(key, keys, EVB_COUNT(keys));
    if (nearest)
        return evb_fail(EVBUS_EINVAL, "%ssetting \"%s\" is unknown; the nearest is \"%s\"", label,
                        shown, nearest);
    return evb_fail(EVBUS_EINVAL, "%ssetting \"%s\" is unknown", label, shown);
}

const char *evb_config_aliases(enum evb_cfg id)
{
    return rows[id].aliases;
}

void evb_config_replace(evbus_config *config, evbus_config *draft)
{
    evbus_config old = *config;

    *config = *draft;
    *draft = old;
    evbus_config_free(draft);
}

/* The first excludes the second; the one said in the higher layer counts. */
static const struct {
    enum evb_cfg id, other;
} rivals[] = {{EVB_CFG_REDIS_PATH, EVB_CFG_REDIS_HOST},
              {EVB_CFG_REDIS_PASSWORD_FILE, EVB_CFG_REDIS_PASSWORD}};

static bool counts(const evbus_config *config, enum evb_cfg id)
{
    for (size_t i = 0; i < EVB_COUNT(rivals); i++) {
        const struct value *other = &config->values[rivals[i].other];
        if (rivals[i].id == id && other->given && other->rank > config->values[id].rank)
            return false;
    }
    return config->values[id].given;
}

static bool is_ignored(enum evb_cfg id)
{
    for (size_t i = 0; i < EVB_COUNT(ignored); i++)
        if (ignored[i] == id)
            return true;
    return false;
}

static int64_t mode_resolve(const evbus_config *config)
{
    int64_t mode = config->values[EVB_CFG_BUS_MODE].number;

    if (mode != EVB_MODE_AUTO)
        return mode;
    for (int i = 0; i < EVB_CFG_COUNT; i++)
        if (strncmp(keys[i], "redis.", 6) == 0 && !is_ignored((enum evb_cfg)i) &&
            config->values[i].given)
            return EVB_MODE_HYBRID;
    return EVB_MODE_LOCAL;
}

const char *evb_config_text(const evbus_config *config, enum evb_cfg id)
{
    static const char *const modes[] = {
        [EVB_MODE_HYBRID] = "hybrid",
        [EVB_MODE_LOCAL] = "local-only",
        [EVB_MODE_REDIS] = "redis-only",
    };

    if (id == EVB_CFG_BUS_MODE)
        return modes[mode_resolve(config)];
    if (counts(config, id))
        return config->values[id].text;
    if (id == EVB_CFG_BUS_NAME)
        return *program_invocation_short_name ? program_invocation_short_name : "evbus";
    if (id == EVB_CFG_CLAIM_PREFIX)
        return config->claims;
    return id == EVB_CFG_CHANNEL_PREFIX ? config->channels : rows[id].def;
}

int64_t evb_config_number(const evbus_config *config, enum evb_cfg id)
{
    return id == EVB_CFG_BUS_MODE ? mode_resolve(config) : config->values[id].number;
}

bool evb_config_is_set(const evbus_config *config, enum evb_cfg id)
{
    return counts(config, id);
}

bool evb_config_wants_redis(const evbus_config *config)
{
    return mode_resolve(config) != EVB_MODE_LOCAL;
}

char *evb_config_channel_prefix(const evbus_config *config)
{
    char *prefix = evb_strdup(evb_config_text(config, EVB_CFG_CHANNEL_PREFIX));

    if (!prefix)
        evb_fail_memory();
    return prefix;
}

evbus_config *evb_config_copy(const evbus_config *config)
{
    evbus_config *copy = evbus_config_new();

    for (int i = 0; copy && config && i < EVB_CFG_COUNT; i++) {
        const struct value *from = &config->values[i];

        if (from->rank && value_store(copy, (enum evb_cfg)i, from->rank, from->origin, from->text,
                                      from->number)) {
            evbus_config_free(copy);
            return NULL;
        }
    }
    return copy;
}

const char *evb_config_ignored(const evbus_config *config, int index)
{
    for (size_t i = 0; i < EVB_COUNT(ignored); i++)
        if (config->values[ignored[i]].given && index-- == 0)
            return rows[ignored[i]].help;
    return NULL;
}

evbus_config *evbus_config_new(void)
{
    evbus_config *config = evb_calloc(1, sizeof *config);

    if (!config) {
        evb_fail_memory();
        return NULL;
    }
    for (int i = 0; i < EVB_CFG_COUNT; i++)
        config->values[i].number = default_number((enum evb_cfg)i);
    if (prefixes_update(config)) {
        evbus_config_free(config);
        return NULL;
    }
    return config;
}

void evbus_config_free(evbus_config *config)
{
    if (!config)
        return;
    for (int i = 0; i < EVB_CFG_COUNT; i++)
        value_clear(&config->values[i]);
    evb_free(config->channels);
    evb_free(config->claims);
    evb_free(config);
}

int evbus_config_set(evbus_config *config, const char *key, const char *value)
{
    struct evb_cfg_source source = {EVB_LAYER_CODE, key, "set"};
    evbus_config *draft;
    int id, error;

    if (!config || !key || !value)
        return evb_fail(EVBUS_EINVAL, "evbus_config_set: %s is NULL",
                        !config ? "config"
                        : !key  ? "key"
                                : "value");
    id = evb_config_find("", key);
    if (id < 0)
        return id;
    draft = evb_config_copy(config);
    if (!draft)
        return EVBUS_ENOMEM;
    error = evb_config_assign(draft, (enum evb_cfg)id, &source, value);
    if (error)
        evbus_config_free(draft);
    else
        evb_config_replace(config, draft);
    return error;
}

const char *evb_config_origin(const evbus_config *config, enum evb_cfg id)
{
    const char *origin = config->values[id].origin;

    return origin ? origin : "default";
}

int evb_config_layer(const evbus_config *config, enum evb_cfg id)
{
    return config->values[id].rank / 2;
}

static const char *public_text(const evbus_config *config, enum evb_cfg id)
{
    const char *text = evb_config_text(config, id);

    return rows[id].secret && *text ? MASK : text;
}

const char *evbus_config_get(const evbus_config *config, const char *key)
{
    int id;

    if (!config || !key) {
        evb_fail(EVBUS_EINVAL, "evbus_config_get: %s is NULL", !config ? "config" : "key");
        return NULL;
    }
    id = evb_config_find("", key);
    return id < 0 ? NULL : public_text(config, (enum evb_cfg)id);
}

int evbus_config_count(void)
{
    return EVB_CFG_COUNT;
}

static bool has_row(int index)
{
    if (index >= 0 && index < EVB_CFG_COUNT)
        return true;
    evb_fail(EVBUS_EINVAL, "there is no setting number %d", index);
    return false;
}

const char *evbus_config_key(int index)
{
    return has_row(index) ? keys[index] : NULL;
}

const char *evbus_config_default(int index)
{
    return has_row(index) ? rows[index].def : NULL;
}

const char *evbus_config_help(int index)
{
    return has_row(index) ? rows[index].help : NULL;
}
