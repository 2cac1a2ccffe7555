/* health.c - evbus health: would a bus with these settings work now? Main thread. */
#include "cli.h"
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static const struct cli_flag flags[] = {
    {'W', "timeout", "TIME", "longest wait for Redis, 2s", NULL},
    {0, NULL, NULL, NULL, NULL},
};

static int take(void *state, int letter, char *value)
{
    int64_t *wait_ms = state;
    (void)letter;
    *wait_ms = cli_duration(value);
    if (*wait_ms < 0)
        cli_error("\"%s\" is no time (2s, 250ms)", value);
    return *wait_ms < 0 ? -1 : 0;
}

static const char *text_of(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "-";
}

static const char *tls_words(const char *verify)
{
    return strcmp(verify, "none") == 0 ? " WITHOUT VERIFICATION"
           : strcmp(verify, "ca") == 0 ? " (any name)"
                                       : "";
}

static void print_readable(const struct cli *cli, json_t *health)
{
    json_t *redis = json_object_get(health, "redis"),
           *latency = json_object_get(redis, "latency_ms");
    const char *status = text_of(health, "status");
    const char *tint = strcmp(status, "healthy") == 0 ? "\033[32m" : "\033[33m";
    printf("status   %s%s%s\n", cli->colour ? tint : "", status, cli->colour ? "\033[0m" : "");
    printf("mode     %s\n", text_of(health, "mode"));
    if (strcmp(text_of(health, "mode"), "local-only") == 0)
        printf("redis    none: the settings say local-only (bus.mode)");
    else
        printf("redis    %s, %s", text_of(redis, "address"),
               json_is_true(json_object_get(redis, "connected")) ? "connected" : "not connected");
    if (json_is_true(json_object_get(redis, "tls")))
        printf(", TLS%s", tls_words(text_of(redis, "tls_verify")));
    if (json_is_number(latency))
        printf(", %.1f ms", json_number_value(latency));
    printf("\n");
    if (json_is_string(json_object_get(redis, "last_error")))
        printf("reason   %s\n", text_of(redis, "last_error"));
    printf("version  %s\n", text_of(health, "version"));
}

static int print_health(const struct cli *cli, const evbus *bus)
{
    char *text = evbus_health_json(bus);
    json_t *health = text ? json_loads(text, 0, NULL) : NULL;
    if (!health)
        cli_error("no health: %s", evbus_last_error());
    else if (cli->json)
        printf("%s\n", text);
    else if (!cli->quiet)
        print_readable(cli, health);
    int rc = health ? CLI_OK : CLI_ERROR;
    json_decref(health);
    evbus_string_free(text);
    return rc;
}

/* Waits without a word: what is wrong stands in the health itself. */
static int reach(evbus *bus, int64_t wait_ms)
{
    int64_t end_ms = cli_now_ms() + wait_ms;
    char why[512];
    if (evbus_mode(bus) == EVBUS_MODE_LOCAL_ONLY)
        return CLI_DEGRADED;
    for (;;) {
        if (evbus_wait_connected(bus, 50) == 0)
            return CLI_OK;
        int status = cli_why_away(bus, why, sizeof why);
        if (status == CLI_REFUSED || cli_now_ms() >= end_ms)
            return status;
    }
}

static int run(struct cli *cli, int argc, char **argv)
{
    int64_t wait_ms = 2000;
    if (cli_parse(cli, &cli_health, argc, argv, take, &wait_ms) != 0)
        return cli->status;
    if (cli->count > 0)
        return cli_usage("health", "health takes no \"%s\"", cli->words[0]);
    evbus *bus = cli_open(cli);
    if (!bus)
        return cli->status;
    int status = reach(bus, wait_ms);
    if (print_health(cli, bus) != CLI_OK)
        status = CLI_ERROR;
    evbus_free(bus);
    return status;
}

const struct cli_command cli_health = {
    .name = "health",
    .words = "[FLAG]...",
    .summary = "Tells whether a bus with these settings reaches Redis",
    .notes = "Exit: 0 it does, 3 it does not, 4 Redis refused.\n",
    .flags = flags,
    .run = run,
    .connects = true,
};
