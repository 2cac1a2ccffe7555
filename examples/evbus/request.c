/* request.c - evbus request: asks, and prints the answer. Main thread. */
#include "cli.h"
#include "print.h"
#include <stdio.h>
#include <string.h>

enum { FLAG_BYTES = CLI_OWN, FLAG_CORRELATION, FLAG_ATTR };
enum { ATTRS_MAX = 64 };

struct request {
    const char *correlation;
    char *attrs[ATTRS_MAX];
    int attr_count;
    bool bytes;
    int64_t wait_ms;
};

static const struct cli_flag flags[] = {
    {'W', "timeout", "TIME", "longest wait for Redis, and then for the answer, 5s", NULL},
    {FLAG_BYTES, "bytes", NULL, "data is bytes, no JSON", NULL},
    {FLAG_CORRELATION, "correlation", "ID", "correlation id", NULL},
    {FLAG_ATTR, "attr", "KEY=VALUE", "attribute; again for more", NULL},
    {0, NULL, NULL, NULL, NULL},
};

static int take(void *state, int letter, char *value)
{
    struct request *request = state;
    switch (letter) {
    case FLAG_BYTES:
        request->bytes = true;
        return 0;
    case FLAG_CORRELATION:
        request->correlation = value;
        return 0;
    case FLAG_ATTR:
        if (strchr(value, '=') && value[0] != '=' && request->attr_count < ATTRS_MAX) {
            request->attrs[request->attr_count++] = value;
            return 0;
        }
        cli_error("--attr wants KEY=VALUE (%d at most), not \"%s\"", ATTRS_MAX, value);
        return -1;
    default:
        request->wait_ms = cli_duration(value);
        if (request->wait_ms >= 1 && request->wait_ms <= INT32_MAX)
            return 0;
        cli_error("\"%s\" is no time from 1ms (2s, 250ms)", value);
        return -1;
    }
}

static int set_attr(evbus_event *event, const char *pair)
{
    char name[256];
    const char *equals = strchr(pair, '=');
    snprintf(name, sizeof name, "%.*s", (int)(equals - pair), pair);
    return evbus_event_set_attr(event, name, equals + 1);
}

/* NULL: evbus_last_error() says why. */
static evbus_event *build(const struct request *request, const char *type, const char *data)
{
    evbus_event *event = evbus_event_new(type);
    int rc = event ? 0 : -1;
    if (rc == 0 && data)
        rc = request->bytes ? evbus_event_set_bytes(event, data, strlen(data))
                            : evbus_event_set_json(event, data, strlen(data));
    if (rc == 0 && request->correlation)
        rc = evbus_event_set_correlation(event, request->correlation);
    for (int i = 0; rc == 0 && i < request->attr_count; i++)
        rc = set_attr(event, request->attrs[i]);
    if (rc == 0)
        return event;
    evbus_event_unref(event);
    return NULL;
}

static int fail(void)
{
    int code = evbus_last_code();
    cli_error("%s%s", code == EVBUS_EREMOTE ? "refused: " : "", evbus_last_error());
    switch (code) {
    case EVBUS_EINVAL:
        return CLI_USAGE;
    case EVBUS_EAWAY:
        return CLI_DEGRADED;
    case EVBUS_EAUTH:
    case EVBUS_EDENIED:
        return CLI_REFUSED;
    case EVBUS_ENORESPONDER:
        return CLI_NO_RESPONDER;
    case EVBUS_ETIMEDOUT:
        return CLI_TIMEOUT;
    default:
        return CLI_ERROR;
    }
}

static void print(const struct cli *cli, evbus_event *reply)
{
    size_t length;
    const char *data = evbus_event_data(reply, &length);
    if (cli->json)
        print_json(stdout, reply);
    else if (evbus_event_is_json(reply) == 1)
        print_format(stdout, "%d", reply);
    else if (data)
        fwrite(data, 1, length, stdout); /* bytes, as they are */
}

static int ask(const struct cli *cli, const struct request *request, evbus *bus, evbus_event *event)
{
    int status = cli_connect(bus, request->wait_ms);
    if (status != CLI_OK)
        return status;
    evbus_event *reply = evbus_request(bus, event, (int)request->wait_ms);
    if (!reply)
        return fail();
    print(cli, reply);
    evbus_event_unref(reply);
    return CLI_OK;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct request request = {.wait_ms = 5000};
    if (cli_parse(cli, &cli_request, argc, argv, take, &request) != 0)
        return cli->status;
    if (cli->count < 1)
        return cli_usage("request", "request wants a TYPE");
    if (cli->count > 2)
        return cli_usage("request", "one word too many: \"%s\" (quote the JSON)", cli->words[2]);
    evbus_event *event = build(&request, cli->words[0], cli->count == 2 ? cli->words[1] : NULL);
    if (!event)
        return cli_usage("request", "%s", evbus_last_error());
    evbus *bus = cli_open(cli);
    int status = bus ? ask(cli, &request, bus, event) : cli->status;
    evbus_event_unref(event);
    evbus_free(bus);
    return status;
}

const struct cli_command cli_request = {
    .name = "request",
    .words = "[FLAG]... TYPE [JSON]",
    .summary = "Asks, and prints the data of the first reply",
    .notes = "Exit 5: nobody listens to TYPE; 1: a responder refused; 27: no reply in time.\n"
             "  evbus request price.get '\"tea\"'\n"
             "  evbus request -W 500ms --json health.check\n",
    .flags = flags,
    .run = run,
    .connects = true,
};
