/* connect.c - opening a bus with what the flags said, and waiting for Redis. Main thread. */
#include "cli.h"
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static void log_line(int level, const char *line, void *user)
{
    static const char *const names[] = {"", "error", "warning", "info", "debug"};
    (void)user;
    cli_error("%s: %s", level >= 1 && level <= 4 ? names[level] : "log", line);
}

/* What the library logs is for -v; without it the commands say in their own words what matters. */
static int log_level(const struct cli *cli)
{
    if (cli->verbose == 0)
        return 0;
    return cli->verbose == 1 ? EVBUS_LOG_INFO : EVBUS_LOG_DEBUG;
}

static int status_of(int code)
{
    return code == EVBUS_EINVAL ? CLI_USAGE : code == EVBUS_ETLS ? CLI_REFUSED : CLI_ERROR;
}

evbus *cli_open(struct cli *cli)
{
    /* A tool on the command line is there to talk to others. With any redis.* set a bus is hybrid,
     * unless somebody said bus.mode=local-only, which stays. */
    const char *mode = evbus_config_get(cli->config, "bus.mode");
    char host[256];
    snprintf(host, sizeof host, "%s", evbus_config_get(cli->config, "redis.host"));
    evbus *bus = NULL;
    if (strcmp(mode, "local-only") == 0 && evbus_config_set(cli->config, "redis.host", host) != 0)
        goto fail;
    evbus_set_log(NULL, log_level(cli), log_line, NULL);
    bus = evbus_open(cli->config);
    if (bus)
        return bus;
fail:
    cli->status = status_of(evbus_last_code());
    cli_error("%s", evbus_last_error());
    return NULL;
}

int cli_why_away(const evbus *bus, char *out, size_t room)
{
    char *text = evbus_health_json(bus);
    json_t *health = text ? json_loads(text, 0, NULL) : NULL;
    json_t *redis = json_object_get(health, "redis");
    const char *why = json_string_value(json_object_get(redis, "last_error"));
    int code = (int)json_integer_value(json_object_get(redis, "error_code"));
    snprintf(out, room, "%s", why && why[0] ? why : "no answer yet");
    json_decref(health);
    evbus_string_free(text);
    return code == EVBUS_EAUTH || code == EVBUS_EDENIED || code == EVBUS_ETLS ? CLI_REFUSED
                                                                              : CLI_DEGRADED;
}

int cli_connect(evbus *bus, int64_t wait_ms)
{
    enum { SLICE_MS = 50 };
    int64_t end_ms = cli_now_ms() + wait_ms;
    char why[512];
    if (evbus_mode(bus) == EVBUS_MODE_LOCAL_ONLY) {
        cli_error("no Redis: the settings say local-only (bus.mode)");
        return CLI_DEGRADED;
    }
    for (;;) {
        int64_t left_ms = end_ms - cli_now_ms();
        int slice_ms = left_ms > SLICE_MS ? SLICE_MS : left_ms > 0 ? (int)left_ms : 0;
        if (evbus_wait_connected(bus, slice_ms) == 0)
            return CLI_OK;
        int status = cli_why_away(bus, why, sizeof why);
        if (status == CLI_REFUSED) { /* trying again would not help */
            cli_error("%s", why);
            return status;
        }
        if (left_ms <= 0) {
            cli_error("no Redis within %g s: %s", (double)wait_ms / 1000, why);
            return status;
        }
    }
}
