/*
 * batch_analytics.c - analytics that cost a request next to nothing: recorded one by one, sent
 * together, and flushed at the end. The consumer, here in the same process, goes through the events
 * of each batch.
 *
 *   ./batch_analytics                    a batch of all, when the bus is closed
 *   EVENT_BUS_BATCH_SIZE=2 REDIS_URL=redis://localhost ./batch_analytics
 */
#include <evbus.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Fire and forget: what fails here must not fail the request. */
static void record(evbus *bus, const char *user, const char *action)
{
    json_t *data = json_pack("{s:s, s:s}", "user", user, "action", action);
    char *text = data ? json_dumps(data, JSON_COMPACT) : NULL;
    evbus_event *event = evbus_event_new("analytics.events");
    if (!text || evbus_event_set_json(event, text, strlen(text)) < 0 ||
        evbus_publish_event(bus, event, EVBUS_BATCH) < 0)
        fprintf(stderr, "not recorded: %s\n", evbus_last_error());
    evbus_event_unref(event);
    free(text);
    json_decref(data);
}

/* The data of a batch is {"events":[...],"count":n}; each of them is an event's whole envelope. */
static int on_batch(evbus_sub *sub, evbus_event *batch, void *user)
{
    json_t *data = json_loads(evbus_event_data(batch, NULL), 0, NULL), *event;
    json_int_t count = 0;
    size_t i;
    (void)sub;
    (void)user;
    if (json_unpack(data, "{s:I}", "count", &count) != 0) {
        json_decref(data);
        return -1; /* counted as failed */
    }
    printf("%s of %" JSON_INTEGER_FORMAT "\n", evbus_event_type(batch), count);
    json_array_foreach(json_object_get(data, "events"), i, event)
    {
        const char *who = "?", *what = "?", *when = "?";
        json_unpack(event, "{s:s, s:{s:s, s:s}}", "timestamp", &when, "data", "user", &who,
                    "action", &what);
        printf("  %.10s %s %s\n", when, who, what);
    }
    json_decref(data);
    return 0;
}

int main(void)
{
    static const char *const requests[][2] = {{"alice", "login"},
                                              {"bob", "login"},
                                              {"alice", "song.play"},
                                              {"alice", "song.stop"},
                                              {"bob", "logout"}};
    evbus_config *config = evbus_config_new();
    evbus *bus = evbus_config_load_env(config, NULL) == 0 ? evbus_open(config) : NULL;
    evbus_sub *sub =
        bus ? evbus_subscribe(bus, "analytics.events.batch", NULL, on_batch, NULL) : NULL;
    int rc = sub ? 0 : 1;
    for (size_t i = 0; rc == 0 && i < sizeof requests / sizeof requests[0]; i++)
        record(bus, requests[i][0], requests[i][1]);
    if (rc != 0 || evbus_close(bus, 5000) < 0) { /* sends what waits in batches */
        fprintf(stderr, "%s\n", evbus_last_error());
        rc = 1;
    }
    evbus_unsubscribe(sub);
    evbus_free(bus);
    evbus_config_free(config);
    return rc;
}
