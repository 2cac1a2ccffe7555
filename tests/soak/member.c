/* member.c - what publishers and subscribers have in common. */
#include "soak/member.h"
#include "harness/recorder.h"
#include "harness/until.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECT_MS = 20000, ARGUMENTS = 8 };

const char *const member_types[MEMBER_TYPES] = {"soak.order.created", "soak.order.paid",
                                                "soak.stock.low", "soak.bulk", "soak.tick"};

/* ---- what comes ---- */

static int type_of(const evbus_event *event)
{
    const char *type = evbus_event_type(event);
    for (int i = 0; i < MEMBER_TYPES; i++)
        if (!strcmp(type, member_types[i]))
            return i;
    return -1;
}

void member_note(struct member_stream *stream, const evbus_event *event)
{
    int type = type_of(event), lane = 0, number = 0;
    struct member *member = stream->member;
    struct ledger_record record = {.kind = LEDGER_RECEIVED, .stream = (uint8_t)stream->id};
    if (!event_numbers(event, &lane, &number) || type < 0 ||
        lane >= member->publishers * member->lanes) {
        record.kind = LEDGER_STRANGE;
        lane = 0;
    }
    record.lane = (uint8_t)lane;
    record.number = (uint32_t)number;
    record.what = (uint8_t)type;
    ledger_put(&member->ledger, &record);
    if (evbus_event_attr(event, "mark"))
        atomic_fetch_add(&stream->marks, 1);
    atomic_fetch_add(&member->received, 1);
}

static int on_event(evbus_sub *sub, evbus_event *event, void *user)
{
    (void)sub;
    member_note(user, event);
    return 0;
}

static int on_gap(evbus_sub *sub, evbus_event *event, void *user)
{
    struct member *member = user;
    json_t *json = json_loads(evbus_event_data(event, NULL), 0, NULL);
    const char *from = json_string_value(json_object_get(json, "from"));
    const char *to = json_string_value(json_object_get(json, "to"));
    const char *reason = json_string_value(json_object_get(json, "reason"));
    (void)sub;
    /* The times are cut to milliseconds. */
    ledger_note(&member->ledger, "gap %lld %lld %s", (long long)time_us_of(from),
                (long long)time_us_of(to) + 999, reason ? reason : "(no reason)");
    json_decref(json);
    return 0;
}

static int on_mode(evbus_sub *sub, evbus_event *event, void *user)
{
    struct member *member = user;
    json_t *json = json_loads(evbus_event_data(event, NULL), 0, NULL);
    const char *mode = json_string_value(json_object_get(json, "to"));
    (void)sub;
    ledger_note(&member->ledger, "mode %lld %s", (long long)now_wall_us(), mode ? mode : "none");
    json_decref(json);
    return 0;
}

static void log_line(int level, const char *line, void *user)
{
    fprintf(stderr, "%s: %d: %s\n", (const char *)user, level, line);
}

/* ---- coming and going ---- */

static bool fail(const char *what)
{
    fprintf(stderr, "soak: %s: %s\n", what, evbus_last_error());
    return false;
}

bool member_is_publisher(const struct member *member)
{
    return member->index < member->publishers;
}

static bool open_bus(struct member *member, char **settings)
{
    evbus_config *config = evbus_config_new();
    for (; *settings; settings++) {
        char *value = strchr(*settings, '=');
        *value++ = '\0';
        if (evbus_config_set(config, *settings, value) != 0)
            return fail("setting");
    }
    if (getenv("EVB_TEST_LOG"))
        evbus_set_log(NULL, EVBUS_LOG_DEBUG, log_line,
                      (void *)(uintptr_t)evbus_config_get(config, "bus.name"));
    member->bus = evbus_open(config);
    evbus_config_free(config);
    if (!member->bus)
        return fail("evbus_open");
    member->others[0] = evbus_subscribe(member->bus, "evbus.gap", NULL, on_gap, member);
    member->others[1] = evbus_subscribe(member->bus, "evbus.mode", NULL, on_mode, member);
    for (int i = 0; i < MEMBER_OTHERS; i++)
        if (!member->others[i])
            return fail("subscribing");
    return evbus_wait_connected(member->bus, CONNECT_MS) == 0 ? true : fail("connecting");
}

bool member_open(struct member *member, int argc, char **argv)
{
    if (argc < ARGUMENTS)
        return false;
    member->index = (int)strtol(argv[2], NULL, 10);
    member->publishers = (int)strtol(argv[4], NULL, 10);
    member->lanes = (int)strtol(argv[5], NULL, 10);
    member->rate = (int)strtol(argv[6], NULL, 10);
    member->seed = (unsigned)strtoul(argv[7], NULL, 10);
    if (!ledger_open(&member->ledger, argv[3]))
        return fail(argv[3]);
    ledger_note(&member->ledger, "process %d %s%d", member->index, argv[1], member->index);
    return open_bus(member, argv + ARGUMENTS);
}

bool member_subscribe(struct member *member, const char *name, const char *pattern,
                      const char *options, unsigned types, evbus_queue *queue)
{
    struct member_stream *stream = &member->streams[member->stream_count];
    stream->member = member;
    stream->id = member->index * MEMBER_STREAMS + member->stream_count;
    stream->types = types;
    stream->queue = queue;
    stream->local = options && strstr(options, "scope=local");
    stream->sub = queue ? evbus_queue_subscribe(queue, pattern, options, 0)
                        : evbus_subscribe(member->bus, pattern, options, on_event, stream);
    if (!stream->sub || evbus_sub_wait(stream->sub, CONNECT_MS) != 0)
        return fail(pattern);
    member->stream_count++;
    ledger_note(&member->ledger, "stream %d %u %lld %s %s", stream->id, types,
                (long long)now_wall_us(), stream->local ? "local" : "both", name);
    return true;
}

static long long lacking(const struct member *member)
{
    long long sum = 0;
    for (int i = 0; i < member->stream_count; i++) {
        const struct member_stream *stream = &member->streams[i];
        int lanes = member->lanes * (stream->local ? 1 : member->publishers);
        int all = lanes * __builtin_popcount(stream->types), got = atomic_load(&stream->marks);
        sum += got < all ? all - got : 0;
    }
    return sum;
}

void member_serve(struct member *member, long long (*obey)(const char *line))
{
    char *line = NULL;
    size_t room = 0;
    int ms;
    printf("live\n");
    fflush(stdout);
    while (getline(&line, &room, stdin) > 0) {
        long long answer = -1;
        line[strcspn(line, "\n")] = '\0';
        if (!strcmp(line, "end"))
            break;
        if (sscanf(line, "settle %d", &ms) == 1)
            answer = evbus_wait_connected(member->bus, ms) == 0;
        else if (!strcmp(line, "received"))
            answer = atomic_load(&member->received);
        else if (!strcmp(line, "lacking"))
            answer = lacking(member);
        else if (obey)
            answer = obey(line);
        printf("%lld\n", answer);
        fflush(stdout);
    }
    free(line);
}

static void note_counters(struct member *member)
{
    static const char *const names[] = {"published_redis", "acked",   "failed_redis",
                                        "unknown",         "evicted", "expired",
                                        "outbox_events",   "gaps",    "disconnects"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        ledger_note(&member->ledger, "stat %s %lld", names[i],
                    (long long)evbus_stat(member->bus, names[i]));
    for (int i = 0; i < member->stream_count; i++) {
        const struct member_stream *stream = &member->streams[i];
        ledger_note(&member->ledger, "dropped %d %lld", stream->id,
                    (long long)(stream->queue ? evbus_queue_stat(stream->queue, "dropped")
                                              : evbus_sub_stat(stream->sub, "dropped")));
    }
}

int member_end(struct member *member)
{
    if (member->bus)
        note_counters(member);
    evbus_free(member->bus);
    for (int i = 0; i < member->stream_count; i++)
        evbus_unsubscribe(member->streams[i].sub);
    for (int i = 0; i < MEMBER_OTHERS; i++)
        evbus_unsubscribe(member->others[i]);
    return ledger_close(&member->ledger) ? 0 : 1;
}

int member_main(int argc, char **argv)
{
    static struct member member;
    bool publisher = argc > 1 && !strcmp(argv[1], "publisher");
    if (!publisher && (argc < 2 || strcmp(argv[1], "subscriber") != 0))
        return -1;
    if (!member_open(&member, argc, argv))
        return 1;
    return publisher ? publisher_main(&member) : subscriber_main(&member);
}
