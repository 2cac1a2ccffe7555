/*
 * config_load.c - settings from the environment and from files. Called by the user and by
 * evbus_default(), on their thread. A load is one piece: an error changes nothing.
 */
#include "alloc.h"
#include "config.h"
#include "err.h"
#include "list.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX = 65536, NAME_ROOM = 128, PREFIX_MAX = 64, PATH_SHOWN = 200 };

struct env_layer {
    enum evb_cfg_layer layer;
    const char *prefix;
    bool by_key, by_alias;
};

static bool env_counts(enum evb_cfg id, const char *value)
{
    /* a Service named "redis" makes Kubernetes and Docker put tcp://10.0.0.1:6379 into REDIS_PORT
     */
    if (id == EVB_CFG_REDIS_PORT && strncmp(value, "tcp://", 6) == 0)
        return false;
    return *value || id == EVB_CFG_KEY_PREFIX || id == EVB_CFG_CHANNEL_PREFIX;
}

static const char *env_by_key(enum evb_cfg id, const char *prefix, char name[NAME_ROOM])
{
    const char *value;

    snprintf(name, NAME_ROOM, "%s%s", prefix, evbus_config_key((int)id));
    for (char *p = name + strlen(prefix); *p; p++)
        *p = *p == '.' ? '_' : *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p;
    value = getenv(name);
    return value && env_counts(id, value) ? value : NULL;
}

/* The first variable that is set, by the aliases from *alias on, which moves behind it. */
static const char *env_by_alias(enum evb_cfg id, const char *prefix, const char **alias,
                                char name[NAME_ROOM])
{
    while (**alias) {
        size_t length = strcspn(*alias, " ");
        const char *value;

        snprintf(name, NAME_ROOM, "%s%.*s", prefix, (int)length, *alias);
        *alias += length;
        *alias += **alias == ' ';
        value = getenv(name);
        if (value && env_counts(id, value))
            return value;
    }
    return NULL;
}

/* Another system's bare number has the unit that it had there. */
static const char *in_unit(enum evb_cfg id, const char *name, const char *value, char text[32])
{
    const char *alias = evb_config_aliases(id);
    const char *unit = id == EVB_CFG_HISTORY_TTL ? "s" : id == EVB_CFG_BATCH_INTERVAL ? "ms" : NULL;
    size_t length = strlen(value), end = strlen(name), part = strlen(alias);

    if (!unit || length == 0 || length > 20 || end < part ||
        strcmp(name + end - part, alias) != 0 || value[strspn(value, "0123456789")])
        return value;
    snprintf(text, 32, "%s%s", value, unit);
    return text;
}

static int env_load(evbus_config *draft, const struct env_layer *layer)
{
    for (int i = 0; i < EVB_CFG_COUNT; i++) {
        enum evb_cfg id = (enum evb_cfg)i;
        char name[NAME_ROOM];
        const char *alias = layer->by_alias ? evb_config_aliases(id) : "";
        const char *value = layer->by_key ? env_by_key(id, layer->prefix, name) : NULL;

        if (!value)
            value = env_by_alias(id, layer->prefix, &alias, name);
        while (value) {
            struct evb_cfg_source source = {layer->layer, name, name};
            char text[32];
            int error = evb_config_assign(draft, id, &source, in_unit(id, name, value, text));
            if (error)
                return error;
            /* of two variables about TLS a "no" must not hide a "yes" */
            value = id == EVB_CFG_TLS_ENABLED && !evb_config_number(draft, id)
                        ? env_by_alias(id, layer->prefix, &alias, name)
                        : NULL;
        }
    }
    return 0;
}

static bool prefix_good(const char *prefix)
{
    size_t length =
        strspn(prefix, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");

    return prefix[length] == '\0' && length <= PREFIX_MAX;
}

int evbus_config_load_env(evbus_config *config, const char *prefix)
{
    const struct env_layer layers[] = {
        {EVB_LAYER_ENV, "EVBUS_", true, false},
        {EVB_LAYER_PREFIX, prefix, true, true},
        {EVB_LAYER_ALIAS, "", false, true},
    };
    evbus_config *draft;
    int error = 0;

    if (!config)
        return evb_fail(EVBUS_EINVAL, "evbus_config_load_env: config is NULL");
    if (prefix && !prefix_good(prefix))
        return evb_fail(EVBUS_EINVAL,
                        "evbus_config_load_env: the prefix must be of A-Z a-z 0-9 _, at most %d "
                        "bytes",
                        PREFIX_MAX);
    draft = evb_config_copy(config);
    if (!draft)
        return EVBUS_ENOMEM;
    for (size_t i = 0; i < EVB_COUNT(layers) && !error; i++)
        if (layers[i].prefix)
            error = env_load(draft, &layers[i]);
    if (error)
        evbus_config_free(draft);
    else
        evb_config_replace(config, draft);
    return error;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static char *trim(char *text)
{
    size_t length;

    while (is_blank(*text))
        text++;
    length = strlen(text);
    while (length && is_blank(text[length - 1]))
        text[--length] = '\0';
    return text;
}

/* Ends a plain value where a comment begins: a '#' at its start or behind a blank. */
static char *plain_value(char *text)
{
    for (char *p = text; *p; p++)
        if (*p == '#' && (p == text || is_blank(p[-1]))) {
            *p = '\0';
            break;
        }
    return trim(text);
}

/* 'it''s', undone in place; NULL if it does not end, or more than a comment follows. */
static char *quoted_value(char *text)
{
    char *from = text + 1, *to = text;

    while (*from && (from[0] != '\'' || from[1] == '\'')) {
        from += *from == '\'';
        *to++ = *from++;
    }
    if (!*from || *plain_value(from + 1))
        return NULL;
    *to = '\0';
    return text;
}

static int line_load(evbus_config *draft, const char *path, int number, char *line)
{
    char shown[PATH_SHOWN + 16], label[PATH_SHOWN + 80];
    char *equals, *value;
    size_t hidden = strlen(path) > PATH_SHOWN ? strlen(path) - PATH_SHOWN : 0;

    snprintf(shown, sizeof shown, "%s:%d", path + hidden, number);
    snprintf(label, sizeof label, "%s: ", shown);
    line = trim(line);
    if (!*line || *line == '#')
        return 0;
    equals = strchr(line, '=');
    if (!equals)
        return evb_fail(EVBUS_EINVAL, "%sa line is key = value or begins with #", label);
    *equals = '\0';
    int id = evb_config_find(label, trim(line));
    if (id < 0)
        return id;
    value = trim(equals + 1);
    value = *value == '\'' ? quoted_value(value) : plain_value(value);
    if (!value)
        return evb_fail(EVBUS_EINVAL, "%s%s: a quoted value is written 'it''s', alone on its line",
                        label, evbus_config_key(id));
    snprintf(label, sizeof label, "%s: %s", shown, evbus_config_key(id));
    struct evb_cfg_source source = {EVB_LAYER_FILE, label, shown};
    return evb_config_assign(draft, (enum evb_cfg)id, &source, value);
}

static int text_load(evbus_config *draft, const char *path, char *text, size_t length)
{
    int number = 1, error = 0;

    if (memchr(text, '\0', length))
        return evb_fail(EVBUS_EINVAL, "%s: holds a NUL byte, so it is no settings file", path);
    if (strncmp(text, "\xef\xbb\xbf", 3) == 0)
        text += 3;
    for (char *next; text && !error; text = next, number++) {
        next = strchr(text, '\n');
        if (next)
            *next++ = '\0';
        error = line_load(draft, path, number, text);
    }
    return error;
}

/* Into text[FILE_MAX + 1], one byte more than is allowed. */
static int file_read(const char *path, char *text, size_t *length)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    ssize_t n = fd < 0 ? -1 : 1;
    int error = 0;

    *length = 0;
    while (n > 0 && *length <= FILE_MAX) {
        n = TEMP_FAILURE_RETRY(read(fd, text + *length, FILE_MAX + 1 - *length));
        *length += n > 0 ? (size_t)n : 0;
    }
    if (n < 0)
        error = evb_fail_errno(path);
    else if (*length > FILE_MAX)
        error =
            evb_fail(EVBUS_ETOOBIG, "%s: a settings file holds at most %d bytes", path, FILE_MAX);
    if (fd >= 0)
        close(fd);
    return error;
}

int evbus_config_load_file(evbus_config *config, const char *path)
{
    evbus_config *draft;
    char *text;
    size_t length = 0;
    int error;

    if (!config || !path)
        return evb_fail(EVBUS_EINVAL, "evbus_config_load_file: %s is NULL",
                        !config ? "config" : "path");
    draft = evb_config_copy(config);
    text = evb_calloc(1, FILE_MAX + 2);
    if (!draft || !text) {
        evbus_config_free(draft);
        evb_free(text);
        return evb_fail_memory();
    }
    error = file_read(path, text, &length);
    if (!error)
        error = text_load(draft, path, text, length);
    if (error)
        evbus_config_free(draft);
    else
        evb_config_replace(config, draft);
    explicit_bzero(text, length);
    evb_free(text);
    return error;
}
