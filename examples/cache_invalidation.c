/*
 * cache_invalidation.c - every process has a cache. When a template changes, all drop it at once;
 * one of them, whichever claims the event first, fetches it anew and hands it to all. Reads
 *   drop ID   the template has changed: config.template.invalidated
 *   get ID    prints what the cache has
 * EVBUS_REDIS_URL names the Redis; without one the process is alone, and all works the same.
 *
 * Locks of other software, SET <prefix><event id> 1 NX EX 300, are honoured when claim.prefix is
 * theirs: EVBUS_CLAIM_PREFIX=aiponge:locks:
 */
#include <evbus.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 500, TEXT = 200 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    char id[64], text[TEXT];
} cache[ROOM];

/* text NULL: drops it. */
static void cache_put(const char *id, const char *text)
{
    int at = -1;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < ROOM; i++)
        if (!strcmp(cache[i].id, id))
            at = i;
        else if (at < 0 && !cache[i].id[0] && text)
            at = i;
    if (at >= 0) {
        snprintf(cache[at].id, sizeof cache[at].id, "%s", text ? id : "");
        snprintf(cache[at].text, TEXT, "%s", text ? text : "");
    }
    pthread_mutex_unlock(&lock);
}

static void cache_print(const char *id)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < ROOM; i++)
        if (!strcmp(cache[i].id, id))
            printf("%s: %s\n", id, cache[i].text);
    pthread_mutex_unlock(&lock);
}

/* {"templateId":...,"text":...}; the caller frees it. */
static json_t *read_event(const evbus_event *event, const char **id, const char **text)
{
    json_t *json = json_loads(evbus_event_data(event, NULL), 0, NULL);
    *id = json_string_value(json_object_get(json, "templateId"));
    *text = json_string_value(json_object_get(json, "text"));
    return json;
}

static int publish(evbus *bus, const char *type, const char *id, const char *text)
{
    json_t *json = json_pack("{s:s, s:s*}", "templateId", id, "text", text);
    char *data = json ? json_dumps(json, JSON_COMPACT) : NULL;
    int rc = data ? evbus_publish(bus, type, data) : EVBUS_ENOMEM;
    free(data);
    json_decref(json);
    return rc;
}

/* Everywhere, in this process before the publish call returns: dropping twice does no harm. */
static int on_invalidated(evbus_sub *sub, evbus_event *event, void *user)
{
    const char *id, *text;
    json_t *json = read_event(event, &id, &text);
    (void)sub, (void)user;
    if (id)
        cache_put(id, NULL);
    json_decref(json);
    return 0;
}

/* In one process, under a claim: if this one dies half-way, or fails, another one does it. */
static int on_refill(evbus_sub *sub, evbus_event *event, void *user)
{
    const char *id, *unused;
    char text[TEXT];
    json_t *json = read_event(event, &id, &unused);
    (void)sub;
    int rc = id ? 0 : -1;
    if (rc == 0) {
        snprintf(text, sizeof text, "as of %s", evbus_event_timestamp(event)); /* the slow query */
        printf("refilling %s\n", id);
        rc = publish(user, "config.template.loaded", id, text);
    }
    json_decref(json);
    return rc < 0 ? rc : 0;
}

static int on_loaded(evbus_sub *sub, evbus_event *event, void *user)
{
    const char *id, *text;
    json_t *json = read_event(event, &id, &text);
    (void)sub, (void)user;
    if (id && text) {
        cache_put(id, text);
        printf("loaded %s\n", id);
    }
    json_decref(json);
    return 0;
}

int main(void)
{
    char line[100], id[64];
    evbus_config *config = evbus_config_new();
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (evbus_config_set(config, "workers", "1") != 0 || evbus_config_load_env(config, NULL) != 0)
        fprintf(stderr, "%s\n", evbus_last_error());
    evbus *bus = evbus_open(config);
    evbus_sub *subs[] = {
        evbus_subscribe(bus, "config.template.invalidated", "deliver=inline", on_invalidated, bus),
        evbus_subscribe(bus, "config.template.invalidated", "claim=refill deliver=workers",
                        on_refill, bus),
        evbus_subscribe(bus, "config.template.loaded", "deliver=inline", on_loaded, bus)};
    int rc = subs[0] && subs[1] && subs[2] && evbus_sub_wait(subs[2], 5000) == 0 ? 0 : 1;
    if (rc == 0)
        printf("ready\n");
    else
        fprintf(stderr, "%s\n", evbus_last_error());
    while (rc == 0 && fgets(line, sizeof line, stdin))
        if (sscanf(line, "drop %63s", id) == 1)
            rc = publish(bus, "config.template.invalidated", id, NULL) < 0;
        else if (sscanf(line, "get %63s", id) == 1)
            cache_print(id);
    evbus_close(bus, 5000);
    for (size_t i = 0; i < sizeof subs / sizeof subs[0]; i++)
        evbus_unsubscribe(subs[i]);
    evbus_free(bus);
    evbus_config_free(config);
    return rc;
}
