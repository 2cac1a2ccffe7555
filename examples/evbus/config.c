/* config.c - evbus config: the settings there are, and those in effect. Main thread. */
#include "cli.h"
#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 80, INDENT = 4, NAME_ROOM = 128, RULE_ROOM = 256 };

/* ---- one setting ---- */

/* outbox.full: EVBUS_OUTBOX_FULL */
static void name_variable(const char *key, char out[NAME_ROOM])
{
    snprintf(out, NAME_ROOM, "EVBUS_%s", key);
    for (char *p = out; *p; p++)
        *p = *p == '.' ? '_' : (char)toupper((unsigned char)*p);
}

/* What a setting takes, in the library's words: told something wrong, it says what would be right.
 * "?" is wrong for all that is not free text. */
static void name_values(const char *key, char out[RULE_ROOM])
{
    char begin[NAME_ROOM + 16];
    evbus_config *scratch = evbus_config_new();
    snprintf(out, RULE_ROOM, "text");
    snprintf(begin, sizeof begin, "%s: \"?\" is not ", key);
    if (scratch && evbus_config_set(scratch, key, "?") != 0 &&
        strncmp(evbus_last_error(), begin, strlen(begin)) == 0)
        snprintf(out, RULE_ROOM, "%s", evbus_last_error() + strlen(begin));
    evbus_config_free(scratch);
}

/* A setting without effect begins its help with its key, for the log's sake. */
static const char *name_help(int index)
{
    const char *key = evbus_config_key(index), *help = evbus_config_help(index);
    size_t length = strlen(key);
    return strncmp(help, key, length) == 0 && strncmp(help + length, ": ", 2) == 0
               ? help + length + 2
               : help;
}

/* By its key or by its variable; -1 after saying what may have been meant. */
static int find(const struct cli *cli, const char *word)
{
    char variable[NAME_ROOM];
    for (int i = 0; i < evbus_config_count(); i++) {
        name_variable(evbus_config_key(i), variable);
        if (strcmp(word, evbus_config_key(i)) == 0 || strcmp(word, variable) == 0)
            return i;
    }
    evbus_config_get(cli->config, word);
    cli_usage("config", "%s", evbus_last_error());
    return -1;
}

/* ---- values in effect ---- */

/* Lines are key = value  # origin, in the order of the settings; a value that holds " #" is quoted.
 * Cuts `*rest` behind the first line, and answers that line's origin. */
static const char *take_origin(char **rest)
{
    char *line = *rest, *end = strchr(line, '\n'), *value = strstr(line, " = ");
    *rest = end ? end + 1 : line + strlen(line);
    if (end)
        *end = '\0';
    if (!value)
        return "";
    value += 3;
    if (*value == '\'')
        for (value++; *value && (value[0] != '\'' || value[1] == '\''); value++)
            value += *value == '\'';
    char *origin = strstr(value, " # ");
    return origin ? origin + 3 : "";
}

/* Of the index-th setting; the caller's, NULL without memory. */
static char *copy_origin(const struct cli *cli, int index)
{
    char *dump = evbus_config_dump(cli->config), *rest = dump;
    const char *origin = "";
    for (int i = 0; dump && i <= index; i++)
        origin = take_origin(&rest);
    char *copy = dump ? strdup(origin) : NULL;
    evbus_string_free(dump);
    return copy;
}

/* ---- JSON ---- */

/* A path may be any bytes; JSON takes UTF-8 alone. */
static json_t *json_text(const char *text)
{
    json_t *json = json_string(text);
    char *ascii = json ? NULL : strdup(text);
    for (char *p = ascii; p && *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    if (ascii)
        json = json_string(ascii);
    free(ascii);
    return json;
}

static json_t *describe(int index)
{
    char variable[NAME_ROOM], rule[RULE_ROOM];
    const char *key = evbus_config_key(index);
    name_variable(key, variable);
    name_values(key, rule);
    return json_pack("{ss ss ss ss ss}", "key", key, "default", evbus_config_default(index), "env",
                     variable, "values", rule, "help", name_help(index));
}

/* Adds the value in effect and where it came from. */
static void describe_value(const struct cli *cli, int index, json_t *row, const char *origin)
{
    const char *value = evbus_config_get(cli->config, evbus_config_key(index));
    json_object_set_new(row, "value", json_text(value));
    json_object_set_new(row, "origin", json_text(origin));
}

/* Takes the reference. */
static int print_json(json_t *json)
{
    int rc = json ? json_dumpf(json, stdout, JSON_COMPACT) : -1;
    printf("\n");
    json_decref(json);
    if (rc != 0)
        cli_error("cannot write JSON");
    return rc == 0 ? CLI_OK : CLI_ERROR;
}

/* ---- text ---- */

/* Begins and ends a line, breaks between words. */
static void print_wrapped(const char *text)
{
    int column = 0;
    while (*text) {
        int length = (int)strcspn(text, " ");
        if (column && column + 1 + length > WIDTH) {
            printf("\n");
            column = 0;
        }
        int blanks = column ? 1 : INDENT;
        printf("%*s%.*s", blanks, "", length, text);
        column += blanks + length;
        text += length;
        text += strspn(text, " ");
    }
    printf("\n");
}

static bool same_group(const char *a, const char *b)
{
    size_t length = strcspn(a, ".");
    return length == strcspn(b, ".") && strncmp(a, b, length) == 0;
}

static const char *shown(const char *value)
{
    return *value ? value : "(none)";
}

static int print_table(const struct cli *cli)
{
    char variable[NAME_ROOM];
    json_t *rows = cli->json ? json_array() : NULL;
    for (int i = 0; i < evbus_config_count(); i++) {
        const char *key = evbus_config_key(i);
        if (cli->json) {
            json_array_append_new(rows, describe(i));
            continue;
        }
        name_variable(key, variable);
        if (i > 0 && !same_group(evbus_config_key(i - 1), key))
            printf("\n");
        printf("%s%-22s%s %-20s %s\n", cli->colour ? "\033[1m" : "", key,
               cli->colour ? "\033[0m" : "", shown(evbus_config_default(i)), variable);
        print_wrapped(name_help(i));
    }
    return cli->json ? print_json(rows) : CLI_OK;
}

static int print_setting(struct cli *cli, int index)
{
    const char *key = evbus_config_key(index);
    char variable[NAME_ROOM], rule[RULE_ROOM];
    int status = cli_settle(cli); /* what the setting is can be told all the same */
    char *origin = status == CLI_OK ? copy_origin(cli, index) : NULL;
    if (cli->json) {
        json_t *row = describe(index);
        if (origin)
            describe_value(cli, index, row, origin);
        int rc = print_json(row);
        free(origin);
        return status == CLI_OK ? rc : status;
    }
    name_variable(key, variable);
    name_values(key, rule);
    printf("%s\n", key);
    print_wrapped(name_help(index));
    printf("values       %s\ndefault      %s\nenvironment  %s\n", rule,
           shown(evbus_config_default(index)), variable);
    if (origin)
        printf("now          %s  # %s\n", shown(evbus_config_get(cli->config, key)), origin);
    free(origin);
    return status;
}

/* The other commands go to 127.0.0.1 when nothing names a Redis; a program does not. */
static void tell_mode(const struct cli *cli)
{
    for (int i = 0; i < evbus_config_count(); i++) {
        if (strcmp(evbus_config_key(i), "bus.mode") != 0 ||
            strcmp(evbus_config_get(cli->config, "bus.mode"), "local-only") != 0)
            continue;
        char *origin = copy_origin(cli, i);
        if (origin && strcmp(origin, "default") == 0)
            cli_note(cli, "no setting names a Redis: a program is local-only with these");
        free(origin);
    }
}

static int print_dump(struct cli *cli)
{
    int status = cli_settle(cli);
    if (status != CLI_OK)
        return status;
    char *dump = evbus_config_dump(cli->config), *rest = dump;
    if (!dump) {
        cli_error("%s", evbus_last_error());
        return CLI_ERROR;
    }
    tell_mode(cli); /* before what it is about, which may be long */
    if (cli->json) {
        json_t *rows = json_array();
        for (int i = 0; i < evbus_config_count(); i++) {
            json_t *row = json_pack("{ss}", "key", evbus_config_key(i));
            describe_value(cli, i, row, take_origin(&rest));
            json_array_append_new(rows, row);
        }
        status = print_json(rows);
    } else {
        fputs(dump, stdout);
    }
    evbus_string_free(dump);
    return status;
}

static int run(struct cli *cli, int argc, char **argv)
{
    if (cli_parse(cli, &cli_config, argc, argv, NULL, NULL) != 0)
        return cli->status;
    if (cli->count > 1)
        return cli_usage("config", "one word too many: \"%s\"", cli->words[1]);
    if (cli->count == 0)
        return print_table(cli);
    if (strcmp(cli->words[0], "dump") == 0)
        return print_dump(cli);
    int index = find(cli, cli->words[0]);
    return index < 0 ? CLI_USAGE : print_setting(cli, index);
}

const struct cli_command cli_config = {
    .name = "config",
    .words = "[FLAG]... [dump | KEY]",
    .summary = "Shows the settings there are, and those in effect",
    .notes = "Without a word: all settings, their defaults and environment variables.\n"
             "dump: the values in effect, and where each came from; secrets are masked.\n"
             "KEY: one setting. evbus_config(5) has them all in full.\n"
             "  evbus config outbox.full\n"
             "  evbus --config app.conf config dump | grep -v '# default$'\n",
    .run = run,
};
