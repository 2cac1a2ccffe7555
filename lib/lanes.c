/*
 * lanes.c - queues by key. Called under the subscription's lock, on any thread.
 *
 * The first item of a key stands in the table, even while it is in hand, and the others of that key
 * hang behind it. It is ready from its place in front until it is taken.
 */
#include "lanes.h"
#include "alloc.h"
#include "config.h"
#include "err.h"
#include "map.h"
#include <string.h>
#include <strings.h>

enum { SLAB_ITEMS = 28 /* two KiB */, BUCKETS = 16 };

struct evb_lane_slab {
    struct evb_lane_slab *next;
    struct evb_lane_item items[SLAB_ITEMS];
};

/* ---- keys ---- */

static struct evb_text of_type(const evbus_event *event)
{
    return event->type;
}

static struct evb_text of_source(const evbus_event *event)
{
    return event->source;
}

static struct evb_text of_all(const evbus_event *event)
{
    (void)event;
    return (struct evb_text){"", 0};
}

static const char attr_prefix[] = "attr:";

static const struct {
    const char *name;
    struct evb_text (*key_of)(const evbus_event *event);
} keys[] = {
    {"type", of_type},     {"correlation", evb_event_correlation},
    {"source", of_source}, {"all", of_all},
    {"none", NULL},
};

static int read_attr(struct evb_lanes *lanes, const char *name)
{
    size_t length = strlen(name);
    if (length < 1 || length > EVB_TEXT_MAX)
        return evb_fail(EVBUS_EINVAL, "subscription option key: attr: takes the name of an "
                                      "attribute, as in key=attr:userId");
    lanes->attr = evb_strdup(name);
    return lanes->attr ? 0 : evb_fail_memory();
}

static int read_key(struct evb_lanes *lanes, const char *key)
{
    if (!key) {
        lanes->key_of = of_type;
        return 0;
    }
    if (strncasecmp(key, attr_prefix, sizeof attr_prefix - 1) == 0)
        return read_attr(lanes, key + sizeof attr_prefix - 1);
    for (size_t i = 0; i < EVB_COUNT(keys); i++)
        if (strcasecmp(key, keys[i].name) == 0) {
            lanes->key_of = keys[i].key_of;
            return 0;
        }
    return evb_fail(EVBUS_EINVAL, "subscription option key: \"%.48s\" is not one of " EVB_LANE_KEYS,
                    key);
}

static bool has_keys(const struct evb_lanes *lanes)
{
    return lanes->key_of || lanes->attr;
}

/* Events without the attribute (or source) have one key together: the safe side. */
uint64_t evb_lanes_key(const struct evb_lanes *lanes, const evbus_event *event)
{
    struct evb_text text = {"", 0};
    if (lanes->key_of) {
        text = lanes->key_of(event);
    } else if (lanes->attr) {
        const char *value = evbus_event_attr(event, lanes->attr);
        text = (struct evb_text){value, value ? (uint32_t)strlen(value) : 0};
    } else {
        return 0;
    }
    return text.length ? evb_hash(text.ptr, text.length) : 0;
}

/* ---- memory ---- */

static struct evb_lane_item *item_new(struct evb_lanes *lanes)
{
    struct evb_lane_slab *slab = lanes->spare ? NULL : evb_alloc(sizeof *slab);
    if (slab) {
        slab->next = lanes->slabs;
        lanes->slabs = slab;
        for (int i = 0; i < SLAB_ITEMS; i++) {
            slab->items[i].behind = lanes->spare;
            lanes->spare = &slab->items[i];
        }
    }
    struct evb_lane_item *item = lanes->spare;
    if (item)
        lanes->spare = item->behind;
    return item;
}

static void item_free(struct evb_lanes *lanes, struct evb_lane_item *item)
{
    item->behind = lanes->spare;
    lanes->spare = item;
}

struct evb_lanes *evb_lanes_new(const char *key, int64_t max_events, int64_t max_bytes, int full)
{
    struct evb_lanes *lanes = evb_calloc(1, sizeof *lanes);
    if (!lanes) {
        evb_fail_memory();
        return NULL;
    }
    lanes->max_events = max_events;
    lanes->max_bytes = max_bytes;
    lanes->full = full;
    evb_list_init(&lanes->ages);
    evb_list_init(&lanes->ready);
    int rc = read_key(lanes, key);
    if (rc == 0) {
        lanes->bucket_count = BUCKETS;
        lanes->buckets = evb_calloc(BUCKETS, sizeof(struct evb_lane_item *));
        rc = lanes->buckets ? 0 : evb_fail_memory();
    }
    if (rc == 0)
        return lanes;
    evb_lanes_free(lanes);
    return NULL;
}

void evb_lanes_free(struct evb_lanes *lanes)
{
    if (!lanes)
        return;
    EVB_LIST_EACH(&lanes->ages, node)
    evbus_event_unref(evb_container(node, struct evb_lane_item, age)->event);
    if (lanes->alone_waits)
        evbus_event_unref(lanes->alone->event);
    while (lanes->slabs) {
        struct evb_lane_slab *slab = lanes->slabs;
        lanes->slabs = slab->next;
        evb_free(slab);
    }
    evb_free(lanes->buckets);
    evb_free(lanes->attr);
    evb_free(lanes);
}

/* ---- the table of first items ---- */

static struct evb_lane_item **find(const struct evb_lanes *lanes, uint64_t key)
{
    struct evb_lane_item **link = &lanes->buckets[key & (lanes->bucket_count - 1)];
    while (*link && (*link)->key != key)
        link = &(*link)->in_bucket;
    return link;
}

/* Without memory the chains grow longer instead. */
static void grow(struct evb_lanes *lanes)
{
    size_t before = lanes->bucket_count;
    struct evb_lane_item **old = lanes->buckets,
                         **grown = evb_calloc(before * 2, sizeof(struct evb_lane_item *));
    if (!grown)
        return;
    lanes->buckets = grown;
    lanes->bucket_count = before * 2;
    for (size_t i = 0; i < before; i++)
        while (old[i]) {
            struct evb_lane_item *item = old[i];
            old[i] = item->in_bucket;
            item->in_bucket = NULL;
            *find(lanes, item->key) = item;
        }
    evb_free(old);
}

/* ---- pushing and taking ---- */

/* The next of its key stands where `first` stood. NULL: there is none. */
static struct evb_lane_item *succeed(struct evb_lanes *lanes, struct evb_lane_item *first)
{
    struct evb_lane_item *next = first->behind;
    if (!has_keys(lanes))
        return NULL;
    struct evb_lane_item **link = find(lanes, first->key);
    if (next) {
        next->last = first->last;
        next->in_bucket = first->in_bucket;
        *link = next;
    } else {
        *link = first->in_bucket;
        lanes->key_count--;
    }
    return next;
}

/* It waits no more. */
static void leave(struct evb_lanes *lanes, struct evb_lane_item *item)
{
    evb_list_remove(&item->age);
    lanes->count--;
    lanes->bytes -= item->event->size;
}

/* The oldest of all is the first of its key, or stands behind one that is in hand. */
static void drop_oldest(struct evb_lanes *lanes)
{
    struct evb_lane_item *item = evb_container(lanes->ages.next, struct evb_lane_item, age);
    leave(lanes, item);
    if (!evb_list_empty(&item->ready)) {
        struct evb_lane_item *next = succeed(lanes, item);
        if (next)
            evb_list_insert(&item->ready, &next->ready);
        evb_list_remove(&item->ready);
    } else {
        struct evb_lane_item *first = *find(lanes, item->key);
        first->behind = item->behind;
        if (first->last == item)
            first->last = first;
    }
    evbus_event_unref(item->event);
    item_free(lanes, item);
}

static bool fits(const struct evb_lanes *lanes, int64_t size)
{
    return !lanes->closed && lanes->count < lanes->max_events &&
           lanes->bytes + size <= lanes->max_bytes;
}

/* True: it is the first of its key. */
static bool append(struct evb_lanes *lanes, struct evb_lane_item *item)
{
    struct evb_lane_item **link = has_keys(lanes) ? find(lanes, item->key) : NULL;
    item->last = item;
    item->behind = item->in_bucket = NULL;
    evb_list_init(&item->ready);
    evb_list_push(&lanes->ages, &item->age);
    lanes->bytes += item->event->size;
    if (++lanes->count > lanes->peak)
        lanes->peak = lanes->count;
    if (link && *link) {
        (*link)->last->behind = item;
        (*link)->last = item;
        return false;
    }
    evb_list_push(&lanes->ready, &item->ready);
    if (link) {
        *link = item;
        if (++lanes->key_count > lanes->bucket_count)
            grow(lanes);
    }
    return true;
}

int evb_lanes_push(struct evb_lanes *lanes, evbus_event *event, uint64_t key, bool *ready)
{
    int64_t size = event->size;
    struct evb_lane_item *item = NULL;
    int dropped = 0;
    *ready = false;
    if (lanes->full == EVB_FULL_DROP_OLDEST && size <= lanes->max_bytes && !lanes->closed)
        for (; !fits(lanes, size) && lanes->count > 0; dropped++)
            drop_oldest(lanes);
    if (fits(lanes, size) && (item = item_new(lanes))) {
        item->event = event;
        item->key = key;
        *ready = append(lanes, item) && !lanes->alone;
    } else {
        evbus_event_unref(event);
        dropped++;
    }
    return dropped;
}

bool evb_lanes_push_alone(struct evb_lanes *lanes, evbus_event *event)
{
    struct evb_lane_item *item = lanes->closed ? NULL : item_new(lanes);
    if (!item) {
        evbus_event_unref(event);
        return false;
    }
    item->event = event;
    lanes->alone = item;
    lanes->alone_waits = true;
    return true;
}

static struct evb_lane_item *take_alone(struct evb_lanes *lanes)
{
    bool waits = lanes->alone_waits;
    lanes->alone_waits = false;
    return waits ? lanes->alone : NULL;
}

struct evb_lane_item *evb_lanes_take(struct evb_lanes *lanes)
{
    if (lanes->alone)
        return take_alone(lanes);
    if (evb_list_empty(&lanes->ready))
        return NULL;
    struct evb_lane_item *item = evb_container(lanes->ready.next, struct evb_lane_item, ready);
    evb_list_remove(&item->ready);
    leave(lanes, item);
    return item;
}

bool evb_lanes_done(struct evb_lanes *lanes, struct evb_lane_item *item)
{
    bool alone = item == lanes->alone;
    struct evb_lane_item *next = alone ? NULL : succeed(lanes, item);
    if (next)
        evb_list_push(&lanes->ready, &next->ready);
    item_free(lanes, item);
    if (alone)
        lanes->alone = NULL;
    return alone && lanes->ready.next != lanes->ready.prev;
}
