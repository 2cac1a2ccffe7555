/* sub.c - evbus sub: prints events, or runs a command for each; evbus tail: prints some, from an
 * earlier one on; evbus reply: answers requests. Main thread, pulling from a queue. */
#include "cli.h"
#include "exec.h"
#include "print.h"
#include "reply.h"
#include "signals.h"
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TAG_EVENT, TAG_SYSTEM };
enum {
    FLAG_EXEC = CLI_OWN,
    FLAG_FORMAT,
    FLAG_SINCE,
    FLAG_GREP,
    FLAG_CORRELATION,
    FLAG_TYPE,
    FLAG_BYTES
};
enum { TICK_MS = 50, PATIENCE_MS = 1000, LAST_WORDS_MS = 2000 };

struct sub {
    struct cli *cli;
    evbus *bus;
    evbus_queue *queue;  /* owned */
    evbus_sub **handles; /* owned array, NULL behind */
    const char *command, *format;
    const char *since, *grep, *correlation; /* NULL: not asked for */
    int64_t limit, wait_ms;                 /* -1: none */
    bool answers;                           /* evbus reply */
    struct reply reply;

    int64_t start_ms, seen, dropped;
    bool listening;  /* Redis has confirmed every subscription */
    bool complained; /* the user knows that Redis is away */
    bool refused;    /* the user knows that Redis does not let us in any more */
    bool ever;       /* was listening once */
    bool over;
    int status;
};

static const struct cli_flag flags[] = {
    {'C', "count", "N", "end after N events", NULL},
    {'W', "timeout", "TIME", "end after so long, with exit code 27", NULL},
    {FLAG_EXEC, "exec", "CMD", "run CMD by sh for each: envelope on stdin, EVBUS_TYPE ... set",
     NULL},
    {FLAG_FORMAT, "format", "TEXT", "a line of your own, see below", NULL},
    {0, NULL, NULL, NULL, NULL},
};

static const struct cli_flag tail_flags[] = {
    {FLAG_SINCE, "since", "WHEN", "first what history has: 10m (ago), a time, a position, all",
     NULL},
    {FLAG_GREP, "grep", "TEXT", "only events with TEXT in type or data", NULL},
    {FLAG_CORRELATION, "correlation", "ID", "only events with this correlation id", NULL},
    {'C', "count", "N", "end after N events", NULL},
    {'W', "timeout", "TIME", "end after so long, with exit code 27", NULL},
    {0, NULL, NULL, NULL, NULL},
};

static const struct cli_flag reply_flags[] = {
    {FLAG_EXEC, "exec", "CMD", "run CMD by sh for each request: data on stdin, reply on stdout",
     NULL},
    {FLAG_TYPE, "type", "TYPE", "type of the replies, reply", NULL},
    {FLAG_BYTES, "bytes", NULL, "what CMD writes is bytes, no JSON", NULL},
    {'C', "count", "N", "end after N requests", NULL},
    {'W', "timeout", "TIME", "end after so long, with exit code 27", NULL},
    {0, NULL, NULL, NULL, NULL},
};

static int take(void *state, int letter, char *value)
{
    struct sub *sub = state;
    const char *bad = NULL;
    switch (letter) {
    case 'C':
        sub->limit = cli_number(value);
        bad = sub->limit < 1 ? "number from 1" : NULL;
        break;
    case 'W':
        sub->wait_ms = cli_duration(value);
        bad = sub->wait_ms < 0 ? "time (2s, 250ms)" : NULL;
        break;
    case FLAG_EXEC:
        sub->command = value;
        break;
    case FLAG_TYPE:
        sub->reply.type = value;
        break;
    case FLAG_BYTES:
        sub->reply.bytes = true;
        break;
    case FLAG_SINCE:
        sub->since = value;
        break;
    case FLAG_GREP:
        sub->grep = value;
        break;
    case FLAG_CORRELATION:
        sub->correlation = value;
        break;
    default:
        sub->format = value;
        bad =
            print_format_check(value) ? "format: % is followed by one of t d i s c T n o %" : NULL;
    }
    if (bad)
        cli_error("\"%s\" is no %s", value, bad);
    return bad ? -1 : 0;
}

static int fail(int status)
{
    cli_error("%s", evbus_last_error());
    return status;
}

static void stop(struct sub *sub, int status)
{
    sub->over = true;
    if (sub->status == CLI_OK)
        sub->status = status;
}

/* ---- what the bus says about itself ---- */

static const char *field(json_t *data, const char *name)
{
    const char *text = json_string_value(json_object_get(data, name));
    return text ? text : "?";
}

static void on_system(struct sub *sub, evbus_event *event)
{
    const char *type = evbus_event_type(event), *text = evbus_event_data(event, NULL);
    json_t *data = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    if (strcmp(type, "evbus.mode") == 0 && strcmp(field(data, "to"), "degraded") == 0) {
        if (sub->ever)
            cli_note(sub->cli, "Redis is away: %s", field(data, "reason"));
        sub->complained = sub->complained || sub->ever;
        sub->listening = false;
    } else if (strcmp(type, "evbus.gap") == 0) {
        cli_note(sub->cli, "events between %s and %s may have been missed: %s", field(data, "from"),
                 field(data, "to"), field(data, "reason"));
    } else if (strcmp(type, "evbus.refused") == 0) {
        cli_error("Redis refused %s: %s", field(data, "pattern"), field(data, "reason"));
        stop(sub, CLI_REFUSED);
    }
    json_decref(data);
}

/* While Redis is not there: is it now, and will it ever be? */
static void look(struct sub *sub)
{
    char why[512];
    if (evbus_wait_connected(sub->bus, 0) == 0) {
        sub->listening = true;
        if (sub->complained)
            cli_note(sub->cli, "Redis is there, listening");
        else if (sub->cli->verbose || isatty(STDERR_FILENO))
            cli_note(sub->cli, "listening, Ctrl-C ends");
        sub->complained = sub->refused = false;
        sub->ever = true;
        return;
    }
    int status = cli_why_away(sub->bus, why, sizeof why);
    if (status == CLI_REFUSED && !sub->ever) {
        cli_error("%s", why);
        stop(sub, status);
    } else if (status == CLI_REFUSED && !sub->refused) {
        cli_note(sub->cli, "still trying: %s", why);
        sub->refused = true;
    } else if (!sub->complained && cli_now_ms() - sub->start_ms > PATIENCE_MS) {
        cli_note(sub->cli, "no Redis yet, still trying: %s", why);
        sub->complained = true;
    }
}

/* ---- events ---- */

static void show(struct sub *sub, evbus_event *event)
{
    if (sub->answers) {
        if (reply_event(sub->cli, sub->bus, &sub->reply, event) != 0 && sub->status == CLI_OK)
            sub->status = CLI_ERROR;
    } else if (sub->command) {
        if (exec_event(sub->command, event) != 0 && sub->status == CLI_OK)
            sub->status = CLI_ERROR;
    } else if (sub->format) {
        print_format(stdout, sub->format, event);
    } else if (sub->cli->json) {
        print_json(stdout, event);
    } else {
        print_line(stdout, event, sub->cli->colour);
    }
    if (fflush(stdout) != 0) {
        bool gone = errno == EPIPE; /* the reader has seen enough: `evbus sub x | head -1` */
        if (!gone)
            cli_error("cannot write: %s", strerror(errno));
        stop(sub, gone ? CLI_OK : CLI_ERROR);
    }
}

static bool is_wanted(const struct sub *sub, const evbus_event *event)
{
    size_t length;
    if (sub->answers)
        return evbus_event_deadline_ms(event) != 0;
    if (sub->correlation && strcmp(evbus_event_correlation(event), sub->correlation) != 0)
        return false;
    if (!sub->grep || strstr(evbus_event_type(event), sub->grep))
        return true;
    const char *data = evbus_event_data(event, &length);
    return data && memmem(data, length, sub->grep, strlen(sub->grep));
}

static void drain(struct sub *sub)
{
    evbus_event *event;
    int64_t tag;
    while (!sub->over && evbus_queue_next(sub->queue, 0, &event, &tag) == 1) {
        if (tag == TAG_SYSTEM) {
            on_system(sub, event);
        } else if (is_wanted(sub, event)) {
            show(sub, event);
            if (++sub->seen == sub->limit)
                stop(sub, CLI_OK);
        }
        evbus_event_unref(event);
        if (signals_end())
            stop(sub, CLI_OK);
    }
    int64_t dropped = evbus_queue_stat(sub->queue, "dropped");
    if (dropped > sub->dropped)
        cli_note(sub->cli, "%" PRId64 " events dropped: they come faster than they go (queue.size)",
                 dropped - sub->dropped);
    sub->dropped = dropped;
}

static void on_timeout(struct sub *sub)
{
    char why[512];
    if (sub->listening) {
        cli_note(sub->cli, "%" PRId64 " events within %g s", sub->seen,
                 (double)sub->wait_ms / 1000);
    } else {
        cli_why_away(sub->bus, why, sizeof why);
        cli_note(sub->cli, "%" PRId64 " events within %g s, no Redis: %s", sub->seen,
                 (double)sub->wait_ms / 1000, why);
    }
    stop(sub, CLI_TIMEOUT);
}

static void loop(struct sub *sub)
{
    struct pollfd fds[] = {
        {.fd = evbus_queue_fd(sub->queue), .events = POLLIN},
        {.fd = signals_fd(), .events = POLLIN},
        {.fd = STDOUT_FILENO, .events = 0}, /* POLLERR: nobody reads any more */
    };
    while (!sub->over) {
        int64_t left_ms = sub->wait_ms < 0 ? -1 : sub->start_ms + sub->wait_ms - cli_now_ms();
        if (sub->wait_ms >= 0 && left_ms <= 0) {
            on_timeout(sub);
            break;
        }
        if (!sub->listening && (left_ms < 0 || left_ms > TICK_MS))
            left_ms = TICK_MS;
        poll(fds, 3, (int)(left_ms > 1000000 ? 1000000 : left_ms));
        if (fds[2].revents & (POLLERR | POLLHUP | POLLNVAL))
            stop(sub, CLI_OK);
        signals_drain();
        if (signals_end())
            stop(sub, CLI_OK);
        drain(sub);
        if (!sub->over && !sub->listening)
            look(sub);
    }
}

/* A terminal or a pipe stops now and then: room for that, unless the settings say otherwise. */
static int widen(evbus_config *config, const char *key, const char *value)
{
    const char *now = evbus_config_get(config, key);
    for (int i = 0; i < evbus_config_count(); i++)
        if (strcmp(evbus_config_key(i), key) == 0 && strcmp(evbus_config_default(i), now) == 0)
            return evbus_config_set(config, key, value);
    return 0;
}

/* How events from then on are asked for; NULL: those that come. The caller frees it. */
static char *from_option(const char *since)
{
    char *quoted = since ? evbus_quote(since) : NULL, *option = NULL;
    if (quoted && asprintf(&option, "from=%s", quoted) < 0)
        option = NULL;
    evbus_string_free(quoted);
    return option;
}

static int subscribe(struct sub *sub)
{
    char *all = ">";
    char **patterns = sub->cli->count ? sub->cli->words : &all;
    int count = sub->cli->count ? sub->cli->count : 1;
    sub->handles = calloc((size_t)count + 2, sizeof *sub->handles);
    sub->queue = evbus_queue_open(sub->bus, NULL);
    if (!sub->queue || !sub->handles)
        return fail(CLI_ERROR);
    sub->handles[0] = evbus_queue_subscribe(sub->queue, "evbus.>", "scope=local", TAG_SYSTEM);
    if (!sub->handles[0])
        return fail(CLI_ERROR);
    char *option = from_option(sub->since);
    int status = sub->since && !option ? CLI_ERROR : CLI_OK; /* no memory */
    for (int i = 0; i < count && status == CLI_OK; i++) {
        sub->handles[i + 1] = evbus_queue_subscribe(sub->queue, patterns[i], option, TAG_EVENT);
        if (!sub->handles[i + 1])
            status = fail(evbus_last_code() == EVBUS_EINVAL ? CLI_USAGE : CLI_ERROR);
    }
    free(option);
    return status;
}

static void tear_down(struct sub *sub)
{
    if (sub->answers && sub->bus)
        evbus_flush(sub->bus, LAST_WORDS_MS); /* the last answer is on its way */
    for (int i = 0; sub->handles && sub->handles[i]; i++)
        evbus_unsubscribe(sub->handles[i]);
    free(sub->handles);
    evbus_queue_free(sub->queue);
    evbus_free(sub->bus);
}

static int check_reply(struct sub *sub)
{
    if (!sub->command)
        return cli_usage("reply", "reply wants --exec CMD: what answers");
    sub->reply.command = sub->command;
    sub->reply.type = sub->reply.type ? sub->reply.type : "reply";
    evbus_event *probe = evbus_event_new(sub->reply.type);
    if (!probe)
        return cli_usage("reply", "%s", evbus_last_error());
    evbus_event_unref(probe);
    return CLI_OK;
}

static int follow(struct cli *cli, const struct cli_command *command, int argc, char **argv)
{
    struct sub sub = {.cli = cli, .limit = -1, .wait_ms = -1};
    if (cli_parse(cli, command, argc, argv, take, &sub) != 0)
        return cli->status;
    sub.answers = command == &cli_reply;
    if (cli->count < 1 && command != &cli_tail)
        return cli_usage(command->name, "%s wants a PATTERN, such as 'task.*'%s", command->name,
                         sub.answers ? "" : " or '>'");
    if (sub.answers && check_reply(&sub) != CLI_OK)
        return CLI_USAGE;
    if (signals_init() != 0) {
        cli_error("signals: %s", strerror(errno));
        return CLI_ERROR;
    }
    if (widen(cli->config, "queue.size", "100000") != 0 ||
        widen(cli->config, "queue.bytes", "64MiB") != 0)
        return fail(CLI_ERROR);
    sub.bus = cli_open(cli);
    if (!sub.bus)
        return cli->status;
    sub.start_ms = cli_now_ms();
    sub.status = subscribe(&sub);
    if (sub.status == CLI_OK && evbus_mode(sub.bus) == EVBUS_MODE_LOCAL_ONLY)
        sub.status = cli_connect(sub.bus, 0);
    if (sub.status == CLI_OK)
        loop(&sub);
    tear_down(&sub);
    return sub.status;
}

static int run(struct cli *cli, int argc, char **argv)
{
    return follow(cli, &cli_sub, argc, argv);
}

static int run_tail(struct cli *cli, int argc, char **argv)
{
    return follow(cli, &cli_tail, argc, argv);
}

static int run_reply(struct cli *cli, int argc, char **argv)
{
    return follow(cli, &cli_reply, argc, argv);
}

const struct cli_command cli_reply = {
    .name = "reply",
    .words = "--exec CMD [FLAG]... PATTERN...",
    .summary = "Answers requests by a command",
    .notes =
        "What CMD writes is the reply: JSON, or else bytes. If it fails, the asker is told its\n"
        "exit code and the first line that it wrote to stderr. One request at a time.\n"
        "  evbus reply --exec 'jq .x*2' math.double\n"
        "  evbus reply --exec 'df --output=avail / | tail -1' disk.free\n",
    .flags = reply_flags,
    .run = run_reply,
    .connects = true,
};

const struct cli_command cli_tail = {
    .name = "tail",
    .words = "[FLAG]... [PATTERN]...",
    .summary = "Prints the events that come, of all types or of some",
    .notes = "  evbus tail\n"
             "  evbus tail --grep order-7 'order.>' 'payment.>'\n"
             "  evbus tail --since 10m --correlation order-7\n",
    .flags = tail_flags,
    .run = run_tail,
    .connects = true,
};

const struct cli_command cli_sub = {
    .name = "sub",
    .words = "[FLAG]... PATTERN...",
    .summary = "Prints the events that match",
    .notes =
        "PATTERN: task.created, 'task.*' (one word), 'task.>' (one or more), '>' (all).\n"
        "TEXT of --format: %t type, %d data, %i id, %s source, %c correlation, %T time, %n node,\n"
        "%o origin, %%; \\n and \\t.\n"
        "  evbus sub 'task.*'\n"
        "  evbus sub -C 1 -W 10 --json order.paid\n"
        "  evbus sub --exec 'jq -r .data.id >>ids' '>'\n",
    .flags = flags,
    .run = run,
    .connects = true,
};
