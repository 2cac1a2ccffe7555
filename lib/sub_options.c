/* sub_options.c - the table of options. Any thread. */
#include "sub_options.h"
#include "alloc.h"
#include "err.h"
#include "option.h"
#include <string.h>

enum { POLL_LEAST_MS = 10, POLL_MOST_MS = 86400000 };
enum {
    HANDLER = EVB_DOOR_HANDLER,
    PULLED = EVB_DOOR_QUEUE_SUB,
    SUBS = EVB_DOOR_HANDLER | EVB_DOOR_QUEUE_SUB,
    HOLDERS = EVB_DOOR_HANDLER | EVB_DOOR_QUEUE /* of what waits */
};
enum { GROUP_SIZE = 64 };

static const char *name_of(enum evb_door door)
{
    return door == EVB_DOOR_HANDLER     ? "subscription option"
           : door == EVB_DOOR_QUEUE_SUB ? "queue subscription option"
                                        : "queue option";
}

/* A group's events come one by one, from its own stream alone. */
static int check_group(const struct evb_sub_options *options)
{
    const struct {
        bool given;
        const char *name, *why;
    } others[] = {
        {options->from, "from", "a group begins with what comes after it was made"},
        {options->durable, "durable", "a group keeps its place by itself"},
        {options->claim, "claim", "a group gives an event to one member already"},
        {options->leader, "leader", "a group gives an event to one member already"},
        {options->poll, "poll", "a group's events wait in Redis while it is away"},
        {options->scope != EVB_SCOPE_BOTH, "scope", "a group's events all come through Redis"},
        {!options->echo, "echo", "a group's events are for whichever member is free"},
    };
    if (!options->group && (options->retries >= 0 || options->by_hand >= 0))
        return evb_fail(EVBUS_EINVAL, "subscription option %s: needs group=NAME",
                        options->retries >= 0 ? "retries" : "ack");
    for (size_t i = 0; options->group && i < EVB_COUNT(others); i++)
        if (others[i].given)
            return evb_fail(EVBUS_EINVAL, "subscription option %s with group: %s", others[i].name,
                            others[i].why);
    return 0;
}

/* What a member has in hand others cannot have: it takes less than what a subscription may. */
static void set_defaults(struct evb_sub_options *options, const struct evbus *bus)
{
    int64_t size = evb_config_number(bus->config, EVB_CFG_QUEUE_SIZE);
    if (options->size < 0)
        options->size = options->group && size > GROUP_SIZE ? GROUP_SIZE : size;
    if (options->retries < 0)
        options->retries = evb_config_number(bus->config, EVB_CFG_GROUP_RETRIES);
    options->by_hand = options->by_hand > 0;
}

static int refuse(const char *sentence)
{
    return evb_fail(EVBUS_EINVAL, "subscription option %s", sentence);
}

static int check_claim(const struct evb_sub_options *options)
{
    if (options->claim && options->leader)
        return refuse("claim with leader: a leader handles alone already; leave claim out");
    if (options->claim && options->poll)
        return refuse("claim with poll: who polls has no event to claim; use a subscription of its "
                      "own for that");
    return 0;
}

static int check_leader(const struct evb_sub_options *options)
{
    if (!options->leader)
        return options->away < 0 ? 0 : refuse("away: needs leader=NAME");
    if (options->deliver == EVB_DELIVER_INLINE)
        return refuse("leader with deliver=inline: a lease is asked for on the loop; leave "
                      "deliver out, or say deliver=workers");
    if (options->durable)
        return refuse("leader with durable: a leader's place is kept under its own name; leave "
                      "durable out");
    if (options->from && !strcmp(options->from, "last"))
        return refuse("from=last with leader: a place that is kept has no latest of each type; "
                      "from=all, say");
    return 0;
}

static int check_poll(struct evb_sub_options *options, const struct evbus *bus)
{
    const struct evb_option row = {
        .name = "poll", .kind = EVB_VALUE_DURATION, .min = POLL_LEAST_MS, .max = POLL_MOST_MS};
    if (!options->poll)
        return options->when < 0 ? 0 : refuse("when: needs poll=INTERVAL");
    if (!strcmp(options->poll, "yes"))
        options->poll_ms = evb_config_number(bus->config, EVB_CFG_POLL_INTERVAL);
    else if (evb_value_check("subscription option poll", &row, options->poll, &options->poll_ms))
        return EVBUS_EINVAL;
    if (options->deliver == EVB_DELIVER_INLINE)
        return refuse("poll with deliver=inline: there is no publisher's thread to poll in; leave "
                      "deliver out, or say deliver=workers");
    return 0;
}

int evb_sub_options_read(struct evb_sub_options *options, const struct evbus *bus,
                         enum evb_door door, const char *text)
{
    const struct {
        unsigned doors;
        struct evb_option option;
    } all[] = {
        {SUBS, {"scope", EVB_VALUE_CHOICE, "both|local|redis", 0, 0, &options->scope}},
        {SUBS, {"echo", EVB_VALUE_BOOL, NULL, 0, 0, &options->echo}},
        {HANDLER, {"deliver", EVB_VALUE_CHOICE, "loop|inline|workers", 0, 0, &options->deliver}},
        {HANDLER, {"key", EVB_VALUE_TEXT, NULL, 1, 5 + EVB_TEXT_MAX, &options->key}},
        {HOLDERS, {"size", EVB_VALUE_INT, NULL, 1, INT32_MAX / 2, &options->size}},
        {HOLDERS, {"bytes", EVB_VALUE_SIZE, NULL, 1, INT64_MAX, &options->bytes}},
        {HOLDERS, {"full", EVB_VALUE_CHOICE, "drop-oldest|drop-newest|lag", 0, 0, &options->full}},
        {SUBS, {"limit", EVB_VALUE_INT, NULL, 1, INT64_MAX, &options->limit}},
        {SUBS, {"from", EVB_VALUE_TEXT, NULL, 1, 64, &options->from}},
        {SUBS, {"durable", EVB_VALUE_TEXT, NULL, 1, 200, &options->durable}},
        {SUBS, {"claim", EVB_VALUE_TEXT, NULL, 1, 200, &options->claim}},
        {SUBS, {"group", EVB_VALUE_TEXT, NULL, 1, 64, &options->group}},
        {SUBS, {"retries", EVB_VALUE_INT, NULL, 0, 1000000, &options->retries}},
        {PULLED, {"ack", EVB_VALUE_CHOICE, "next|call", 0, 0, &options->by_hand}},
        {HANDLER, {"leader", EVB_VALUE_TEXT, NULL, 1, 200, &options->leader}},
        {HANDLER, {"away", EVB_VALUE_CHOICE, "none|last", 0, 0, &options->away}},
        {HANDLER, {"poll", EVB_VALUE_TEXT, NULL, 1, 32, &options->poll}},
        {HANDLER, {"when", EVB_VALUE_CHOICE, "away|always", 0, 0, &options->when}},
    };
    struct evb_option table[EVB_COUNT(all) + 1];
    size_t count = 0;
    *options =
        (struct evb_sub_options){.echo = 1,
                                 .size = -1,
                                 .retries = -1,
                                 .by_hand = -1,
                                 .away = -1,
                                 .when = -1,
                                 .bytes = evb_config_number(bus->config, EVB_CFG_QUEUE_BYTES),
                                 .full = evb_config_number(bus->config, EVB_CFG_QUEUE_FULL)};
    for (size_t i = 0; i < EVB_COUNT(all); i++)
        if (all[i].doors & door)
            table[count++] = all[i].option;
    table[count] = (struct evb_option){0};
    int rc = evb_option_parse(name_of(door), text, table);
    if (rc != 0)
        return rc;
    if ((rc = check_group(options)) != 0 || (rc = check_claim(options)) != 0 ||
        (rc = check_leader(options)) != 0 || (rc = check_poll(options, bus)) != 0)
        evb_sub_options_fini(options);
    set_defaults(options, bus);
    if (options->full == EVB_FULL_LAG && !bus->keeps_history) /* nothing could be read later */
        options->full = EVB_FULL_DROP_OLDEST;
    return rc;
}

void evb_sub_options_fini(struct evb_sub_options *options)
{
    evb_free(options->key);
    evb_free(options->from);
    evb_free(options->durable);
    evb_free(options->claim);
    evb_free(options->group);
    evb_free(options->leader);
    evb_free(options->poll);
}
