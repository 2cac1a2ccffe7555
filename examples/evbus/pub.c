/* pub.c - evbus pub: publishes, and waits until Redis has answered. Main thread; reports on the
 * loop. */
#include "cli.h"
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WINDOW = 1024, ATTRS_MAX = 64, READ_MAX = 256 << 20 };
enum {
    FLAG_FILE = CLI_OWN,
    FLAG_BYTES,
    FLAG_BATCH,
    FLAG_CORRELATION,
    FLAG_SOURCE,
    FLAG_ATTR,
    FLAG_COUNT,
    FLAG_INTERVAL,
    FLAG_WAIT
};

struct pub {
    /* fixed after the flags */
    struct cli *cli;
    evbus *bus;
    const char *type, *file, *correlation, *source;
    char *attrs[ATTRS_MAX];
    int attr_count;
    bool lines, bytes, wait;
    int publish_flags;
    int64_t count, interval_ms, wait_ms;

    int64_t published; /* main thread only */
    int status;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    int64_t in_flight, lost;      /* under lock */
    int outcome, error;           /* under lock: the last report's */
    int lost_outcome, lost_error; /* under lock: of the first event that was lost */
    int64_t receivers;            /* under lock */
};

static const struct cli_flag flags[] = {
    {'l', "lines", NULL, "an event per line of stdin (or --file): its data", NULL},
    {FLAG_FILE, "file", "FILE", "data from FILE, - is stdin", NULL},
    {FLAG_BYTES, "bytes", NULL, "data is bytes, no JSON", NULL},
    {FLAG_BATCH, "batch", NULL, "in batches: events of type TYPE.batch", NULL},
    {FLAG_CORRELATION, "correlation", "ID", "correlation id", NULL},
    {FLAG_SOURCE, "source", "NAME", "source, else bus.name", NULL},
    {FLAG_ATTR, "attr", "KEY=VALUE", "attribute; again for more", NULL},
    {FLAG_COUNT, "count", "N", "publish it N times", NULL},
    {FLAG_INTERVAL, "interval", "TIME", "pause between events, such as 250ms", NULL},
    {FLAG_WAIT, "wait", NULL, "show each event's report: outcome, receivers, id", NULL},
    {'W', "timeout", "TIME", "longest wait for Redis, 5s", NULL},
    {0, NULL, NULL, NULL, NULL},
};

static int take_attr(struct pub *pub, char *pair)
{
    if (!strchr(pair, '=') || pair[0] == '=' || pub->attr_count == ATTRS_MAX) {
        cli_error("--attr wants KEY=VALUE (%d at most), not \"%s\"", ATTRS_MAX, pair);
        return -1;
    }
    pub->attrs[pub->attr_count++] = pair;
    return 0;
}

static int take_amount(struct pub *pub, int letter, const char *value)
{
    int64_t amount = letter == FLAG_COUNT ? cli_number(value) : cli_duration(value);
    if (amount < 0) {
        cli_error("\"%s\" is no %s", value, letter == FLAG_COUNT ? "number" : "time (2s, 250ms)");
        return -1;
    }
    *(letter == FLAG_COUNT      ? &pub->count
      : letter == FLAG_INTERVAL ? &pub->interval_ms
                                : &pub->wait_ms) = amount;
    return 0;
}

static int take(void *state, int letter, char *value)
{
    struct pub *pub = state;
    switch (letter) {
    case 'l':
        pub->lines = true;
        return 0;
    case FLAG_BYTES:
        pub->bytes = true;
        return 0;
    case FLAG_BATCH:
        pub->publish_flags = EVBUS_BATCH;
        return 0;
    case FLAG_WAIT:
        pub->wait = true;
        return 0;
    case FLAG_FILE:
        pub->file = value;
        return 0;
    case FLAG_CORRELATION:
        pub->correlation = value;
        return 0;
    case FLAG_SOURCE:
        pub->source = value;
        return 0;
    case FLAG_ATTR:
        return take_attr(pub, value);
    default:
        return take_amount(pub, letter, value);
    }
}

/* ---- reports ---- */

static const char *outcome_name(int outcome)
{
    static const char *const names[] = {"?",       "acked",  "done",   "expired",
                                        "evicted", "failed", "unknown"};
    return names[outcome >= EVBUS_ACKED && outcome <= EVBUS_UNKNOWN ? outcome : 0];
}

/* On the loop. */
static void on_report(evbus_event *event, int outcome, int error, int64_t receivers, void *user)
{
    struct pub *pub = user;
    (void)event;
    pthread_mutex_lock(&pub->lock);
    pub->in_flight--;
    pub->outcome = outcome;
    pub->error = error;
    pub->receivers = receivers;
    if (outcome != EVBUS_ACKED && outcome != EVBUS_LOCAL_DONE && pub->lost++ == 0) {
        pub->lost_outcome = outcome;
        pub->lost_error = error;
    }
    pthread_cond_signal(&pub->changed);
    pthread_mutex_unlock(&pub->lock);
}

/* Redis has not answered for wait_ms. */
static int give_up(struct pub *pub, int64_t waiting)
{
    char why[512];
    if (evbus_mode(pub->bus) != EVBUS_MODE_DEGRADED) {
        cli_error("%" PRId64 " events without an answer for %g s", waiting,
                  (double)pub->wait_ms / 1000);
        return CLI_TIMEOUT;
    }
    int status = cli_why_away(pub->bus, why, sizeof why);
    cli_error("%" PRId64 " events given up, Redis is away: %s", waiting, why);
    return status;
}

/* Waits until fewer than `limit` events have no report; each report starts the clock again. */
static int wait_below(struct pub *pub, int64_t limit)
{
    int rc = 0;
    struct timespec end;
    int64_t before = -1;
    pthread_mutex_lock(&pub->lock);
    while (pub->in_flight >= limit && rc != ETIMEDOUT) {
        if (pub->in_flight != before) {
            clock_gettime(CLOCK_MONOTONIC, &end);
            end.tv_sec += pub->wait_ms / 1000;
            end.tv_nsec += pub->wait_ms % 1000 * 1000000;
            end.tv_sec += end.tv_nsec / 1000000000;
            end.tv_nsec %= 1000000000;
        }
        before = pub->in_flight;
        rc = pthread_cond_timedwait(&pub->changed, &pub->lock, &end);
    }
    int64_t waiting = pub->in_flight;
    pthread_mutex_unlock(&pub->lock);
    return waiting < limit ? CLI_OK : give_up(pub, waiting);
}

static void print_report(struct pub *pub, const char *id)
{
    pthread_mutex_lock(&pub->lock);
    int outcome = pub->outcome, error = pub->error;
    int64_t receivers = pub->receivers;
    pthread_mutex_unlock(&pub->lock);
    if (!pub->cli->json) {
        printf("%s", outcome_name(outcome));
        if (error)
            printf(": %s", evbus_strerror(error));
        if (receivers >= 0)
            printf(", %" PRId64 " receiver%s", receivers, receivers == 1 ? "" : "s");
        printf("  %s\n", id);
        return;
    }
    json_t *report = json_pack("{ss ss ss so so}", "type", pub->type, "eventId", id, "outcome",
                               outcome_name(outcome), "receivers",
                               receivers >= 0 ? json_integer(receivers) : json_null(), "error",
                               error ? json_string(evbus_strerror(error)) : json_null());
    if (report)
        json_dumpf(report, stdout, JSON_COMPACT);
    printf("\n");
    json_decref(report);
}

/* ---- publishing ---- */

static int set_attrs(struct pub *pub, evbus_event *event)
{
    char name[256];
    for (int i = 0; i < pub->attr_count; i++) {
        const char *equals = strchr(pub->attrs[i], '=');
        snprintf(name, sizeof name, "%.*s", (int)(equals - pub->attrs[i]), pub->attrs[i]);
        if (evbus_event_set_attr(event, name, equals + 1) != 0)
            return -1;
    }
    return 0;
}

static evbus_event *build(struct pub *pub, const char *data, size_t length)
{
    evbus_event *event = evbus_event_new(pub->type);
    int rc = event ? 0 : -1;
    if (rc == 0 && data)
        rc = pub->bytes ? evbus_event_set_bytes(event, data, length)
                        : evbus_event_set_json(event, data, length);
    if (rc == 0 && pub->correlation)
        rc = evbus_event_set_correlation(event, pub->correlation);
    if (rc == 0 && pub->source)
        rc = evbus_event_set_source(event, pub->source);
    if (rc == 0)
        rc = set_attrs(pub, event);
    if (rc == 0)
        return event;
    evbus_event_unref(event);
    return NULL;
}

static void pause_between(const struct pub *pub)
{
    struct timespec pause = {.tv_sec = pub->interval_ms / 1000,
                             .tv_nsec = pub->interval_ms % 1000 * 1000000};
    if (pub->published > 0 && pub->interval_ms > 0)
        nanosleep(&pause, NULL);
}

static int64_t setting(const struct pub *pub, const char *key)
{
    return cli_number(evbus_config_get(pub->cli->config, key));
}

/* How many events may be in a batch that nothing has closed yet. */
static int64_t batched(const struct pub *pub)
{
    return pub->publish_flags & EVBUS_BATCH ? setting(pub, "batch.events") : 0;
}

/* No more at once than the outbox holds: it would drop what nobody else but this program put in. */
static int64_t window(const struct pub *pub)
{
    int64_t most = setting(pub, "outbox.events"), limit = WINDOW + batched(pub);
    return most > 0 && most < limit ? most : limit;
}

static void nothing(int result, void *user)
{
    (void)result;
    (void)user;
}

/* As wait_below(); where all that waits may be in one batch, that is closed. */
static int wait_for_room(struct pub *pub, int64_t limit)
{
    pthread_mutex_lock(&pub->lock);
    bool full = pub->in_flight >= limit;
    pthread_mutex_unlock(&pub->lock);
    if (full && limit <= batched(pub)) {
        evbus_flush_async(pub->bus, nothing, NULL);
        limit = 1;
    }
    return wait_below(pub, limit);
}

/* `line` is the input's, 0 if it has none. Bad data is told and spoils the exit code only: what
 * stands in the other lines is as good as before. Answers what ends the run. */
static int publish(struct pub *pub, const char *data, size_t length, int64_t line)
{
    int rc = wait_for_room(pub, pub->wait ? 1 : window(pub));
    if (rc != CLI_OK)
        return rc;
    pause_between(pub);
    evbus_event *event = build(pub, data, length);
    pthread_mutex_lock(&pub->lock);
    pub->in_flight++; /* before the report can come */
    pthread_mutex_unlock(&pub->lock);
    if (!event || evbus_publish_report(pub->bus, event, pub->publish_flags, on_report, pub) < 0) {
        pthread_mutex_lock(&pub->lock);
        pub->in_flight--;
        pthread_mutex_unlock(&pub->lock);
        if (line)
            cli_error("line %" PRId64 ": %s", line, evbus_last_error());
        else
            cli_error("%s", evbus_last_error());
        pub->status = CLI_ERROR;
        evbus_event_unref(event);
        return CLI_OK;
    }
    pub->published++;
    if (pub->wait)
        rc = wait_below(pub, 1);
    if (pub->wait && rc == CLI_OK)
        print_report(pub, evbus_event_id(event));
    evbus_event_unref(event);
    return rc;
}

static int publish_lines(struct pub *pub, FILE *in)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    int rc = CLI_OK;
    for (int64_t number = 1; rc == CLI_OK && (length = getline(&line, &room, in)) >= 0; number++) {
        while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r'))
            line[--length] = '\0';
        for (int64_t i = 0; rc == CLI_OK && length > 0 && i < pub->count; i++)
            rc = publish(pub, line, (size_t)length, number);
    }
    if (ferror(in)) {
        cli_error("cannot read: %s", strerror(errno));
        rc = CLI_ERROR;
    }
    free(line);
    return rc;
}

/* All of `in`, the caller's; more than any event may have is cut off, for the library to refuse. */
static char *read_all(FILE *in, size_t *length)
{
    size_t room = 1 << 16;
    char *text = malloc(room + 1);
    *length = 0;
    while (text) {
        *length += fread(text + *length, 1, room - *length, in);
        if (*length < room || room > READ_MAX)
            break;
        char *more = realloc(text, 2 * room + 1);
        if (!more)
            free(text);
        text = more;
        room *= 2;
    }
    if (text)
        text[*length] = '\0';
    return text;
}

static int publish_input(struct pub *pub, const char *data)
{
    FILE *in = pub->file && strcmp(pub->file, "-") != 0 ? fopen(pub->file, "re") : stdin;
    char *text = NULL;
    size_t length = data ? strlen(data) : 0;
    int rc = CLI_OK;
    if (!in) {
        cli_error("%s: %s", pub->file, strerror(errno));
        return CLI_ERROR;
    }
    if (pub->lines) {
        rc = publish_lines(pub, in);
        goto out;
    }
    if (pub->file)
        data = text = read_all(in, &length);
    if (pub->file && (!text || ferror(in))) {
        cli_error("%s: cannot read it", pub->file);
        rc = CLI_ERROR;
    }
    for (int64_t i = 0; rc == CLI_OK && pub->status == CLI_OK && i < pub->count; i++)
        rc = publish(pub, data, length, 0);
out:
    free(text);
    if (in != stdin)
        fclose(in);
    return rc;
}

static int finish(struct pub *pub, int status)
{
    if (status == CLI_OK)
        status = wait_for_room(pub, 1);
    evbus_close(pub->bus, 0);
    evbus_free(pub->bus); /* after it no report runs */
    if (status != CLI_OK)
        return status;
    if (pub->lost == 0)
        return pub->status;
    cli_error("%" PRId64 " of %" PRId64 " events lost, the first %s: %s", pub->lost, pub->published,
              outcome_name(pub->lost_outcome), evbus_strerror(pub->lost_error));
    return pub->lost_error == EVBUS_EDENIED ? CLI_REFUSED : CLI_ERROR;
}

static int check_words(struct pub *pub)
{
    struct cli *cli = pub->cli;
    if (cli->count < 1)
        return cli_usage("pub", "pub wants a TYPE");
    if (cli->count > 2)
        return cli_usage("pub", "one word too many: \"%s\" (quote the JSON)", cli->words[2]);
    if (cli->count == 2 && (pub->lines || pub->file))
        return cli_usage("pub", "the data comes from the command line, -l or --file: not from two");
    if (pub->wait && pub->publish_flags & EVBUS_BATCH)
        return cli_usage("pub", "--wait would wait for one event, --batch for more: not both");
    pub->type = cli->words[0];
    evbus_event *probe = evbus_event_new(pub->type);
    if (!probe)
        return cli_usage("pub", "%s", evbus_last_error());
    evbus_event_unref(probe);
    return CLI_OK;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct pub pub = {.cli = cli, .count = 1, .wait_ms = 5000};
    pthread_condattr_t attr;
    if (cli_parse(cli, &cli_pub, argc, argv, take, &pub) != 0)
        return cli->status;
    int status = check_words(&pub);
    if (status != CLI_OK)
        return status;
    pub.bus = cli_open(cli);
    if (!pub.bus)
        return cli->status;
    pthread_mutex_init(&pub.lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&pub.changed, &attr);
    pthread_condattr_destroy(&attr);
    status = cli_connect(pub.bus, pub.wait_ms);
    if (status == CLI_OK)
        status = publish_input(&pub, cli->count == 2 ? cli->words[1] : NULL);
    status = finish(&pub, status);
    pthread_cond_destroy(&pub.changed);
    pthread_mutex_destroy(&pub.lock);
    return status;
}

const struct cli_command cli_pub = {
    .name = "pub",
    .words = "[FLAG]... TYPE [JSON]",
    .summary = "Publishes an event",
    .notes = "Ends when Redis has answered for every event.\n"
             "  evbus pub task.created '{\"id\":7}'\n"
             "  evbus pub --wait --attr userId=42 user.login\n"
             "  jq -c '.[]' orders.json | evbus pub -l order.imported\n"
             "  evbus pub -l --batch page.viewed <views.jsonl\n",
    .flags = flags,
    .run = run,
    .connects = true,
};
