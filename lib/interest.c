/* interest.c - who needs which channel. Loop only, but for the posting. */
#include "interest.h"
#include "alloc.h"
#include "err.h"
#include <string.h>

static struct evb_map *map_of(struct evbus *bus, bool pattern)
{
    return pattern ? &bus->patterns : &bus->channels;
}

struct evb_via *evb_interest_find(struct evbus *bus, const char *name, size_t length, bool pattern)
{
    return evb_map_get(map_of(bus, pattern), name, length);
}

static struct evb_via *via_get(struct evbus *bus, const char *name, size_t length, bool pattern)
{
    struct evb_via *via = evb_interest_find(bus, name, length, pattern);
    if (via)
        return via;
    via = evb_calloc(1, sizeof *via + length + 1);
    if (!via)
        return NULL;
    via->pattern = pattern;
    via->wire = EVB_WIRE_PENDING;
    via->length = length;
    memcpy(via->name, name, length);
    evb_list_init(&via->entries);
    if (evb_map_put(map_of(bus, pattern), name, length, via) != 0 ||
        evb_subs_add(&bus->redis.subs, name, length, pattern) != 0) {
        evb_map_remove(map_of(bus, pattern), name, length);
        evb_free(via);
        return NULL;
    }
    return via;
}

static void show(const struct evb_via *via, struct evb_entry *entry)
{
    if (via->wire == EVB_WIRE_REFUSED)
        evb_entry_refuse(entry, via->lacks);
    else
        evb_entry_set_wire(entry, via->wire);
}

static void enter(struct evbus *bus, struct evb_entry *entry)
{
    struct evb_buf name;
    evb_buf_init(&name);
    evb_pattern_wire(&name, bus->prefix, entry->pattern, entry->length);
    struct evb_via *via =
        name.failed ? NULL : via_get(bus, name.data, name.length, entry->kind != EVB_PATTERN_EXACT);
    evb_buf_fini(&name);
    if (!via) {
        evb_log(&bus->log, EVBUS_LOG_ERROR, "no memory to subscribe %s to Redis", entry->pattern);
        evb_entry_set_wire(entry, EVB_WIRE_REFUSED);
        return;
    }
    entry->via = via;
    evb_entry_ref(entry);
    evb_list_push(&via->entries, &entry->via_node);
    show(via, entry);
}

static void leave(struct evbus *bus, struct evb_entry *entry)
{
    struct evb_via *via = entry->via;
    entry->via = NULL;
    evb_list_remove(&entry->via_node);
    evb_entry_set_wire(entry, EVB_WIRE_NONE);
    evb_entry_unref(entry);
    if (!evb_list_empty(&via->entries))
        return;
    evb_subs_remove(&bus->redis.subs, via->name, via->length, via->pattern);
    evb_map_remove(map_of(bus, via->pattern), via->name, via->length);
    evb_free(via);
}

/* The job of an entry: looks at what is true now, however often it changed since it was posted. */
static void look(struct evb_job *job)
{
    struct evb_entry *entry = evb_container(job, struct evb_entry, job);
    struct evb_registry *registry = entry->registry;
    struct evbus *bus = registry->user;
    pthread_mutex_lock(&registry->lock);
    entry->posted = false;
    bool wanted = entry->remote > 0;
    pthread_mutex_unlock(&registry->lock);
    if (wanted && !entry->via && atomic_load(&bus->state) != EVB_BUS_CLOSED)
        enter(bus, entry);
    else if (!wanted && entry->via)
        leave(bus, entry);
    evb_entry_unref(entry);
}

/* Who gives a subscription back may be late: its bus may have been freed meanwhile. */
void evb_interest_changed(struct evb_entry *entry, void *user)
{
    struct evbus *bus = user;
    entry->job.run = look;
    if (!evb_bus_post(bus, &entry->job))
        evb_entry_unref(entry);
}

static void set_all(struct evb_via *via, int wire)
{
    via->wire = wire;
    EVB_LIST_EACH(&via->entries, node)
    show(via, evb_container(node, struct evb_entry, via_node));
}

struct evb_via *evb_interest_decided(struct evbus *bus, const struct evb_topic *topic)
{
    struct evb_via *via = evb_interest_find(bus, topic->name, topic->length, topic->pattern);
    if (!via)
        return NULL;
    via->lacks = topic->lacks;
    set_all(via, topic->state == EVB_TOPIC_LIVE ? EVB_WIRE_LIVE : EVB_WIRE_REFUSED);
    return via;
}

void evb_interest_lacks(const struct evbus *bus, struct evb_entry *entry, char *out, size_t room)
{
    bool pattern = entry->kind != EVB_PATTERN_EXACT;
    struct evb_buf name;
    evb_buf_init(&name);
    evb_pattern_wire(&name, bus->prefix, entry->pattern, entry->length);
    struct evb_need need = {evb_entry_lacks(entry), pattern ? "psubscribe" : "subscribe",
                            pattern ? EVB_CHANNEL_PATTERN : EVB_CHANNEL_EXACT, name.data,
                            name.length};
    evb_acl_name(out, room, &need);
    evb_buf_fini(&name);
}

static void again_one(const char *key, size_t length, void *value, void *user)
{
    struct evb_via *via = value;
    (void)key;
    (void)length;
    (void)user;
    if (via->wire == EVB_WIRE_REFUSED)
        set_all(via, EVB_WIRE_PENDING);
}

void evb_interest_again(struct evbus *bus)
{
    if (!bus->redis.subs.link)
        return; /* all are open and will be asked for */
    evb_map_each(&bus->channels, again_one, NULL);
    evb_map_each(&bus->patterns, again_one, NULL);
    evb_subs_again(&bus->redis.subs);
}

static void lost_one(const char *key, size_t length, void *value, void *user)
{
    (void)key;
    (void)length;
    (void)user;
    set_all(value, EVB_WIRE_PENDING);
}

void evb_interest_lost(struct evbus *bus)
{
    evb_map_each(&bus->channels, lost_one, NULL);
    evb_map_each(&bus->patterns, lost_one, NULL);
}

static void fini_one(void *value)
{
    struct evb_via *via = value;
    EVB_LIST_EACH(&via->entries, node)
    {
        struct evb_entry *entry = evb_container(node, struct evb_entry, via_node);
        entry->via = NULL;
        evb_list_remove(node);
        evb_entry_unref(entry);
    }
    evb_free(via);
}

void evb_interest_fini(struct evbus *bus)
{
    evb_map_fini(&bus->channels, fini_one);
    evb_map_fini(&bus->patterns, fini_one);
}
