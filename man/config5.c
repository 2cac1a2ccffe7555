/*
 * config5.c - writes evbus_config(5): the text of its template, with the settings and the aliases
 * from the library's own table. usage: config5 man/evbus_config.5.in >man/evbus_config.5
 *
 * The template's lines "@settings" and "@aliases" are replaced.
 */
#include "list.h"
#include "option.h"
#include <evbus.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 78 };

#define X(id, key, kind, choices, min, max, def, secret, aliases, help)                            \
    {{key, EVB_VALUE_##kind, choices, min, max, NULL}, def, aliases, help, secret},
static const struct row {
    struct evb_option option; /* its `out` is not used */
    const char *def, *aliases, *help;
    bool secret;
} rows[] = {
#include "config_table.h"
};
#undef X

/* What a group, the first word of its keys, is about; a group that is not here has no words. */
static const struct {
    const char *name, *text;
} groups[] = {
    {"auth", "How this bus proves to Redis who it is, besides redis.username and redis.password."},
    {"batch", "When events that are published with EVBUS_BATCH go out together (evbus_publish(3)). "
              "256 KiB are a quarter of what an event may have: a batch fits any bus that keeps "
              "the default, and some of them into its queues."},
    {"bus", "Who this bus is, and whether it talks to a Redis at all."},
    {"channel", "Which channels carry events; all that are to hear each other must agree on it."},
    {"claim", "Who handles what only one of many may handle (evbus(7), CLAIMS)."},
    {"close", "The end of a bus."},
    {"dedup", "Events of other software that come twice are known by their ids. Events of this "
              "library need none of it: they are numbered."},
    {"event", "What an event may hold."},
    {"health", "What this process tells those who ask whether it may be given traffic."},
    {"group",
     "Events that one of several members handles (evbus(7), GROUPS): who a member is, and what "
     "becomes of what it cannot handle."},
    {"history", "What Redis keeps of events, for those that are cut off, begin in the past or ask "
                "later (evbus(7), EVENT HISTORY); and what this process keeps."},
    {"key", "What begins all names in Redis."},
    {"lease", "Who holds what only one may hold at a time."},
    {"log", "What the program's own function for log lines is given."},
    {"outbox", "What was accepted for Redis waits here until Redis has answered, through an outage "
               "too. The outbox is in memory, and bounded by these."},
    {"poll", "Handlers that also look for themselves."},
    {"publish", "What happens to events in flight."},
    {"queue", "What may wait for a handler or a reader that is slower than the events come; the "
              "options size=, bytes= and full= of a subscription or queue win."},
    {"reconnect", "Connecting again after a break: the wait doubles from attempt to attempt and is "
                  "drawn at random below that, so that many buses do not come back at once."},
    {"recovery", "What an outage cost is read from the history when the connection is back, up to "
                 "these limits; what is beyond is announced as a gap."},
    {"redis", "Where Redis is, as whom to log in, and how a dead connection is noticed. Naming "
              "any of them makes the bus hybrid, but for those without effect."},
    {"request", "Asking and answering (evbus(7), ASKING)."},
    {"tls", "Encryption of the connection. Nothing that asks for it ever goes on in plaintext."},
    {"wire", "What is read from a channel."},
    {"workers", "Threads of the bus's own."},
};

/* ---- text as mdoc ---- */

static void put_word(const char *word, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (word[i] == '\\')
            fputs("\\e", stdout);
        else
            putchar(word[i]);
}

/* Lines of whole words; none begins like a macro. */
static void put_text(const char *text)
{
    size_t column = 0;

    while (*text) {
        size_t length = strcspn(text, " ");
        bool fresh = column == 0 || column + 1 + length > WIDTH;
        if (column)
            putchar(fresh ? '\n' : ' ');
        if (fresh && (*text == '.' || *text == '\''))
            fputs("\\&", stdout);
        put_word(text, length);
        column = fresh ? length : column + 1 + length;
        text += length;
        text += strspn(text, " ");
    }
    putchar('\n');
}

static void put_sentence(const char *text)
{
    char line[1024];
    size_t word = strspn(text, "abcdefghijklmnopqrstuvwxyz'");

    snprintf(line, sizeof line, "%s%s", text, text[strlen(text) - 1] == '.' ? "" : ".");
    if (word && strchr(" ,;", text[word])) /* not a name or a value */
        line[0] = (char)(line[0] - 'a' + 'A');
    put_text(line);
}

/* One sentence a line, as manual pages have it. */
static void put_sentences(const char *text)
{
    char line[1024];

    while (*text) {
        const char *end = strstr(text, ". ");
        int length = end ? (int)(end - text) + 1 : (int)strlen(text);
        snprintf(line, sizeof line, "%.*s", length, text);
        put_sentence(line);
        text += length + (end != NULL);
    }
}

/* ---- settings ---- */

static size_t group_length(const char *key)
{
    return strcspn(key, ".");
}

static bool same_group(const struct row *a, const struct row *b)
{
    size_t length = group_length(a->option.name);

    return length == group_length(b->option.name) &&
           strncmp(a->option.name, b->option.name, length) == 0;
}

/* What it takes, in the words in which a wrong value is refused. */
static void put_rule(const struct row *row)
{
    char text[512];
    const char *rule;
    int64_t ignored;

    if (row->option.kind == EVB_VALUE_TEXT) {
        if (row->option.min)
            snprintf(text, sizeof text, "text of %lld to %lld bytes", (long long)row->option.min,
                     (long long)row->option.max);
        else
            snprintf(text, sizeof text, "text of at most %lld bytes", (long long)row->option.max);
        put_sentence(text);
        return;
    }
    evb_value_check("", &row->option, "?", &ignored); /* wrong for all other kinds */
    rule = strstr(evbus_last_error(), "is not ") + strlen("is not ");
    size_t used = 0;
    for (; *rule && strncmp(rule, ", such as", 9) != 0 && used < sizeof text - 3; rule++) {
        if (*rule == '|')
            text[used++] = ',';
        text[used++] = *rule == '|' ? ' ' : *rule;
    }
    text[used] = '\0';
    put_sentence(text);
}

static void put_variables(const struct row *row)
{
    const char *alias = row->aliases;

    printf(".Ev EVBUS_");
    for (const char *p = row->option.name; *p; p++)
        putchar(*p == '.' ? '_' : *p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p);
    while (*alias) {
        size_t length = strcspn(alias, " ");
        printf(" ,\n.Ev %.*s", (int)length, alias);
        alias += length;
        alias += strspn(alias, " ");
    }
    printf(" .\n");
}

/* An argument of a macro, its line's last. */
static void put_value(const char *value)
{
    size_t length = strlen(value);

    fputs(*value == '-' ? "\\" : "", stdout);
    put_word(value, length);
    puts(strchr(".,:;?!)]", value[length - 1]) ? "\\&" : "");
}

static void put_setting(const struct row *row)
{
    const char *key = row->option.name, *help = row->help;
    size_t length = strlen(key);

    /* a setting without effect begins its help with its key, for the log's sake */
    if (strncmp(help, key, length) == 0 && strncmp(help + length, ": ", 2) == 0)
        help += length + 2;
    printf(".It Cm %s Pq ", key);
    put_value(*row->def ? row->def : "none");
    put_sentence(help);
    put_rule(row);
    if (row->secret)
        put_text("Secret: masked in every output.");
    put_variables(row);
}

static void put_group(const struct row *first)
{
    int length = (int)group_length(first->option.name);

    printf(".Ss %.*s\n", length, first->option.name);
    for (size_t i = 0; i < EVB_COUNT(groups); i++)
        if (strlen(groups[i].name) == (size_t)length &&
            strncmp(groups[i].name, first->option.name, (size_t)length) == 0)
            put_sentences(groups[i].text);
    printf(".Bl -tag -width Ds\n");
    for (const struct row *row = first; row < rows + EVB_COUNT(rows); row++)
        if (same_group(first, row))
            put_setting(row);
    printf(".El\n");
}

static void put_settings(void)
{
    for (size_t i = 0; i < EVB_COUNT(rows); i++) {
        bool seen = false;
        for (size_t j = 0; j < i; j++)
            seen |= same_group(&rows[i], &rows[j]);
        if (!seen)
            put_group(&rows[i]);
    }
}

static void put_aliases(void)
{
    for (size_t i = 0; i < EVB_COUNT(rows); i++) {
        const char *alias = rows[i].aliases;
        while (*alias) {
            size_t length = strcspn(alias, " ");
            printf(".It Ev %.*s Ta Cm %s\n", (int)length, alias, rows[i].option.name);
            alias += length;
            alias += strspn(alias, " ");
        }
    }
}

/* ---- the template ---- */

/* 0, or -1 for a command that there is not. */
static int obey(const char *command)
{
    if (strcmp(command, "@settings") == 0)
        put_settings();
    else if (strcmp(command, "@aliases") == 0)
        put_aliases();
    else
        return -1;
    return 0;
}

int main(int argc, char **argv)
{
    FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
    char line[1024];

    if (!file) {
        fprintf(stderr, "usage: config5 TEMPLATE >PAGE\n");
        return 2;
    }
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '@' && obey(line) != 0) {
            fprintf(stderr, "config5: no such command: %s\n", line);
            return 1;
        }
        if (line[0] != '@')
            puts(line);
    }
    fclose(file);
    return fflush(stdout) == 0 ? 0 : 1;
}
