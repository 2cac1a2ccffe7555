/* url.c - takes a Redis URL apart. Called by config.c, on the caller's thread. */
#include "url.h"
#include "alloc.h"
#include "err.h"
#include "list.h"
#include "option.h"
#include <evbus.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define MASK "****@"

struct scheme {
    const char *mark;
    const char *refusal; /* NULL: taken */
    bool socket, tls;
};

static const struct scheme schemes[] = {
    {"redis://", NULL, false, false},
    {"rediss://", NULL, false, true},
    {"unix://", NULL, true, false},
    {"redis-sentinel://", "this version knows no Sentinel yet; name the master by redis://", false,
     false},
    {"redis-cluster://", "this version knows no Redis Cluster yet; use redis://", false, false},
};

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int decode(const char *label, const char *text, size_t length, char **out)
{
    char *to = evb_alloc(length + 1);

    *out = to;
    if (!to)
        return evb_fail_memory();
    memset(to, 0, length + 1);
    for (size_t i = 0; i < length; i++) {
        if (text[i] != '%') {
            *to++ = text[i];
            continue;
        }
        int high = i + 2 < length ? hex_digit(text[i + 1]) : -1;
        int low = i + 2 < length ? hex_digit(text[i + 2]) : -1;
        if (high < 0 || low < 0 || (high | low) == 0)
            return evb_fail(EVBUS_EINVAL,
                            "%s: a %% in the URL must be followed by two hex digits, not 00",
                            label);
        *to++ = (char)(high << 4 | low);
        i += 2;
    }
    return 0;
}

static int number_take(const char *label, const char *what, const char *text, size_t length,
                       int64_t low, int64_t high, int64_t *out)
{
    char digits[16];
    int64_t n;

    if (length < sizeof digits && length > 0 && text[0] != '-') {
        memcpy(digits, text, length);
        digits[length] = '\0';
        if (!evb_value_read(EVB_VALUE_INT, NULL, digits, &n) && n >= low && n <= high) {
            *out = n;
            return 0;
        }
    }
    return evb_fail(EVBUS_EINVAL,
                    "%s: the URL's %s must be a whole number from %d to %d; / ? # @ : %% in a user "
                    "or password are written as %%2F %%3F %%23 %%40 %%3A %%25",
                    label, what, (int)low, (int)high);
}

static int userinfo_take(const char *label, const char *text, size_t length, struct evb_url *url)
{
    const char *colon = memchr(text, ':', length);
    size_t name_length = colon ? (size_t)(colon - text) : length;
    int error = 0;

    if (name_length)
        error = decode(label, text, name_length, &url->username);
    if (!error && colon && name_length + 1 < length)
        error = decode(label, colon + 1, length - name_length - 1, &url->password);
    return error;
}

static int host_take(const char *label, const char *text, size_t length, struct evb_url *url)
{
    const char *end = text + length, *host_end, *port;

    if (length && *text == '[') {
        host_end = memchr(text, ']', length);
        if (!host_end || (host_end + 1 < end && host_end[1] != ':'))
            return evb_fail(EVBUS_EINVAL, "%s: the URL's [ ] around an IPv6 address do not fit",
                            label);
        text++;
        port = host_end + 1;
    } else {
        host_end = memchr(text, ':', length);
        port = host_end = host_end ? host_end : end;
        if (port < end && memchr(port + 1, ':', (size_t)(end - port - 1)))
            return evb_fail(EVBUS_EINVAL,
                            "%s: the URL has more than one ':' behind the user; an IPv6 address "
                            "stands in [ ]",
                            label);
    }
    if (port < end && port + 1 < end) {
        int error =
            number_take(label, "port", port + 1, (size_t)(end - port - 1), 1, 65535, &url->port);
        if (error)
            return error;
    }
    return host_end > text ? decode(label, text, (size_t)(host_end - text), &url->host) : 0;
}

static int db_take(const char *label, const char *text, size_t length, struct evb_url *url)
{
    if (url->db >= 0)
        return evb_fail(EVBUS_EINVAL, "%s: the URL names its database twice", label);
    return number_take(label, "database", text, length, 0, INT32_MAX, &url->db);
}

static int query_take(const char *label, const char *query, struct evb_url *url)
{
    while (*query) {
        size_t length = strcspn(query, "&");

        if (strncmp(query, "db=", 3) != 0)
            return evb_fail(EVBUS_EINVAL, "%s: only db= is known behind the URL's '?'", label);
        int error = db_take(label, query + 3, length - 3, url);
        if (error)
            return error;
        query += length;
        query += *query == '&';
    }
    return 0;
}

/* `rest` stands behind the scheme; what is before *at is the userinfo. */
static int parts_take(const char *label, const struct scheme *scheme, const char *rest,
                      const char **at, struct evb_url *url)
{
    size_t length = strcspn(rest, "/?#");
    const char *path = rest + length, *host;
    size_t path_length = strcspn(path, "?#");
    const char *tail = path + path_length;
    int error = 0;

    *at = memrchr(rest, '@', length);
    host = *at ? *at + 1 : rest;
    if (strchr(tail, '#'))
        return evb_fail(EVBUS_EINVAL, "%s: a '#' in the URL must be written as %%23", label);
    if (*at)
        error = userinfo_take(label, rest, (size_t)(*at - rest), url);
    if (!error && scheme->socket && (host != path || path_length < 2))
        error = evb_fail(EVBUS_EINVAL,
                         "%s: a Unix socket is written unix:///path or unix://user:password@/path",
                         label);
    if (!error)
        error = scheme->socket ? decode(label, path, path_length, &url->path)
                               : host_take(label, host, (size_t)(path - host), url);
    if (!error && !scheme->socket && path_length > 1)
        error = db_take(label, path + 1, path_length - 1, url);
    if (!error && *tail)
        error = query_take(label, tail + 1, url);
    return error;
}

static int shown_write(const struct scheme *scheme, const char *rest, const char *at,
                       struct evb_url *url)
{
    const char *open = at ? at + 1 : rest;
    size_t room = strlen(scheme->mark) + sizeof MASK + strlen(open);

    url->shown = evb_alloc(room);
    if (!url->shown)
        return evb_fail_memory();
    snprintf(url->shown, room, "%s%s%s", scheme->mark, at ? MASK : "", open);
    return 0;
}

int evb_url_parse(const char *label, const char *text, struct evb_url *url)
{
    const struct scheme *scheme = NULL;
    const char *rest, *at;
    int error;

    *url = (struct evb_url){.port = -1, .db = -1};
    for (size_t i = 0; i < EVB_COUNT(schemes); i++)
        if (strncasecmp(text, schemes[i].mark, strlen(schemes[i].mark)) == 0)
            scheme = &schemes[i];
    if (!scheme)
        return evb_fail(EVBUS_EINVAL, "%s: a Redis URL begins with redis://, rediss:// or unix://",
                        label);
    if (scheme->refusal)
        return evb_fail(EVBUS_ENOTSUP, "%s: %s", label, scheme->refusal);
    url->tls = scheme->tls;
    rest = text + strlen(scheme->mark);
    error = parts_take(label, scheme, rest, &at, url);
    if (!error)
        error = shown_write(scheme, rest, at, url);
    if (error)
        evb_url_fini(url);
    return error;
}

void evb_url_fini(struct evb_url *url)
{
    evb_wipe_free(url->host);
    evb_wipe_free(url->path);
    evb_wipe_free(url->username);
    evb_wipe_free(url->password);
    evb_wipe_free(url->shown);
    *url = (struct evb_url){.port = -1, .db = -1};
}
