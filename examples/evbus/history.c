/* history.c - evbus history: events that were, or the trace of one correlation id. Main thread. */
#include "cli.h"
#include "print.h"
#include "trace.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    FLAG_TYPE = CLI_OWN,
    FLAG_LIMIT,
    FLAG_SINCE,
    FLAG_UNTIL,
    FLAG_CORRELATION,
    FLAG_TRACE,
    FLAG_FILE
};
enum { WIDTH = 80, WIDTH_MAX = 500 };

struct history {
    const char *type, *limit, *since, *until, *correlation, *trace, *file;
    int64_t wait_ms;
};

static const struct cli_flag flags[] = {
    {FLAG_TYPE, "type", "PATTERN", "task.created, 'task.*', 'task.>'; else all types", NULL},
    {FLAG_LIMIT, "limit", "N", "the newest N, 50", NULL},
    {FLAG_SINCE, "since", "WHEN", "10m (ago), a time, a position, all", NULL},
    {FLAG_UNTIL, "until", "WHEN", "the same", NULL},
    {FLAG_CORRELATION, "correlation", "ID", "events with this correlation id", NULL},
    {FLAG_TRACE, "trace", "ID", "its events, oldest first, with their distances in time", NULL},
    {FLAG_FILE, "file", "FILE", "with --trace: in what --json wrote, instead of Redis; - is stdin",
     NULL},
    {'W', "timeout", "TIME", "longest wait for Redis, and then for the answer, 5s", NULL},
    {0, NULL, NULL, NULL, NULL},
};

static int take(void *state, int letter, char *value)
{
    struct history *history = state;
    const char **const texts[] = {&history->type,  &history->limit,       &history->since,
                                  &history->until, &history->correlation, &history->trace,
                                  &history->file};
    if (letter != 'W') {
        *texts[letter - CLI_OWN] = value;
        return 0;
    }
    history->wait_ms = cli_duration(value);
    if (history->wait_ms < 0)
        cli_error("\"%s\" is no time (2s, 250ms)", value);
    return history->wait_ms < 0 ? -1 : 0;
}

/* Adds key='value' to the query; NULL values are not given. */
static void put_option(FILE *out, const char *key, const char *value)
{
    char *quoted = value ? evbus_quote(value) : NULL;
    if (quoted)
        fprintf(out, " %s=%s", key, quoted);
    evbus_string_free(quoted);
}

/* A process that has just begun has no events of its own: Redis is asked. */
static char *query_text(const struct history *history)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    if (!out)
        return NULL;
    fputs("source=redis", out);
    put_option(out, "type", history->type);
    put_option(out, "limit", history->trace && !history->limit ? "100000" : history->limit);
    put_option(out, "since", history->since);
    put_option(out, "until", history->until);
    put_option(out, "correlation", history->trace ? history->trace : history->correlation);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

static int columns(void)
{
    struct winsize size;
    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0)
        return WIDTH;
    return size.ws_col < WIDTH ? WIDTH : size.ws_col > WIDTH_MAX ? WIDTH_MAX : size.ws_col;
}

static void print_trace(const struct cli *cli, evbus_event **events, int count)
{
    if (!cli->json)
        trace_print(stdout, events, count, columns());
    for (int i = 0; cli->json && i < count; i++)
        print_json(stdout, events[i]);
}

static int nothing(const struct cli *cli, const struct history *history)
{
    if (history->trace)
        cli_note(cli, "no events with the correlation id \"%s\"", history->trace);
    else
        cli_note(cli, "no events");
    return CLI_OK;
}

/* Oldest first, as a trace or a log is read. */
static int print_list(const struct cli *cli, const struct history *history, const evbus_list *list)
{
    int count = evbus_list_count(list);
    evbus_event **events = calloc((size_t)count + 1, sizeof *events);
    if (!events) {
        cli_error("no memory");
        return CLI_ERROR;
    }
    for (int i = 0; i < count; i++)
        events[i] = evbus_list_at(list, count - 1 - i);
    if (history->trace)
        print_trace(cli, events, count);
    for (int i = 0; !history->trace && i < count; i++) {
        if (cli->json)
            print_json(stdout, events[i]);
        else
            print_line(stdout, events[i], cli->colour);
    }
    free(events);
    return count ? CLI_OK : nothing(cli, history);
}

static int fail(void)
{
    cli_error("%s", evbus_last_error());
    switch (evbus_last_code()) {
    case EVBUS_EINVAL:
        return CLI_USAGE;
    case EVBUS_EAWAY:
        return CLI_DEGRADED;
    case EVBUS_EAUTH:
    case EVBUS_EDENIED:
        return CLI_REFUSED;
    case EVBUS_ETIMEDOUT:
        return CLI_TIMEOUT;
    default:
        return CLI_ERROR;
    }
}

/* Asked without waiting first: a query that is wrong needs no Redis to say so. */
static int ask(const struct cli *cli, const struct history *history, evbus *bus, const char *query)
{
    evbus_list *list = evbus_history(bus, query, 0);
    if (!list && evbus_last_code() == EVBUS_ETIMEDOUT) {
        int status = cli_connect(bus, history->wait_ms);
        if (status != CLI_OK)
            return status;
        list = evbus_history(bus, query, (int)history->wait_ms);
    }
    if (!list)
        return fail();
    int status = print_list(cli, history, list);
    evbus_list_free(list);
    return status;
}

static int trace_file(const struct cli *cli, const struct history *history)
{
    evbus_event **events;
    int bad, count = trace_read(history->file, history->trace, &events, &bad);
    if (count > 0)
        print_trace(cli, events, count);
    else if (count == 0)
        nothing(cli, history);
    for (int i = 0; i < count; i++)
        evbus_event_unref(events[i]);
    free(events);
    return count < 0 || bad ? CLI_ERROR : CLI_OK;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct history history = {.wait_ms = 5000};
    if (cli_parse(cli, &cli_history, argc, argv, take, &history) != 0)
        return cli->status;
    if (cli->count > 0)
        return cli_usage("history", "history takes no \"%s\": --type %s, perhaps", cli->words[0],
                         cli->words[0]);
    if (history.trace && history.correlation)
        return cli_usage("history", "--trace has the correlation id: no --correlation with it");
    if (history.file &&
        (!history.trace || history.type || history.limit || history.since || history.until))
        return cli_usage("history", "--file goes with --trace alone");
    if (history.file)
        return trace_file(cli, &history);
    char *query = query_text(&history);
    evbus *bus = query ? cli_open(cli) : NULL;
    int status = bus ? ask(cli, &history, bus, query) : query ? cli->status : CLI_ERROR;
    evbus_free(bus);
    free(query);
    return status;
}

const struct cli_command cli_history = {
    .name = "history",
    .words = "[FLAG]...",
    .summary = "Prints events that were, the newest N of them, oldest first",
    .notes = "  evbus history --type 'task.*' --since 1h\n"
             "  evbus history --trace 01a1fbfa-311d-778c-92af-a6ba5d7e6473\n"
             "  evbus sub --json '>' >log; evbus history --trace order-7 --file log\n",
    .flags = flags,
    .run = run,
    .connects = true,
};
