/* event.c - making, sharing and freezing events, and what stands in them. Called from the
 * publisher's thread and from the loop; getters on any thread. */
#include "event.h"
#include "alloc.h"
#include "err.h"
#include "json.h"
#include "match.h"
#include "pool.h"
#include "rand.h"
#include <sched.h>
#include <string.h>

#define SPARE 48 /* bytes left for a source and other short texts, so that they need no piece */

struct evb_piece {
    struct evb_piece *next;
    size_t size; /* of bytes */
    char bytes[];
};

enum { TEXT_NONE, TEXT_BEING_WRITTEN, TEXT_THERE };

evbus_event *evb_event_alloc(size_t room)
{
    if (room > INT32_MAX - sizeof(evbus_event)) {
        evb_fail(EVBUS_ETOOBIG, "an event above 2 GiB");
        return NULL;
    }
    evbus_event *event = evb_pool_take(sizeof *event + room);
    if (!event) {
        evb_fail_memory();
        return NULL;
    }
    memset(event, 0, offsetof(evbus_event, node_text));
    atomic_init(&event->refs, 1);
    event->origin = EVBUS_ORIGIN_LOCAL;
    event->size = (uint32_t)evb_pool_room(sizeof *event + room);
    event->version = (struct evb_text){EVB_VERSION_DEFAULT, sizeof EVB_VERSION_DEFAULT - 1};
    event->spare = event->body;
    event->spare_room = (uint32_t)room;
    return event;
}

static char *piece_uncounted(evbus_event *event, size_t size)
{
    struct evb_piece *piece = evb_alloc(sizeof *piece + size);
    if (!piece) {
        evb_fail_memory();
        return NULL;
    }
    piece->next = event->pieces;
    piece->size = size;
    event->pieces = piece;
    return piece->bytes;
}

static char *piece_new(evbus_event *event, size_t size)
{
    if (size > (size_t)INT32_MAX - event->size) {
        evb_fail(EVBUS_ETOOBIG, "an event above 2 GiB");
        return NULL;
    }
    char *bytes = piece_uncounted(event, size);
    event->size += bytes ? (uint32_t)size : 0;
    return bytes;
}

void evb_event_drop(evbus_event *event, const void *bytes)
{
    struct evb_piece **link = &event->pieces;
    while (*link && (*link)->bytes != bytes)
        link = &(*link)->next;
    struct evb_piece *piece = *link;
    if (!piece)
        return;
    *link = piece->next;
    event->size -= (uint32_t)piece->size;
    evb_free(piece);
}

char *evb_event_keep(evbus_event *event, const char *text, size_t length)
{
    char *copy = event->spare;
    if (length < event->spare_room) {
        event->spare += length + 1;
        event->spare_room -= (uint32_t)length + 1;
    } else {
        copy = piece_new(event, length < SIZE_MAX ? length + 1 : length);
        if (!copy)
            return NULL;
    }
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

evbus_event *evb_event_make(const char *type, size_t type_length, const char *data,
                            size_t data_length, bool is_json)
{
    evbus_event *event =
        evb_event_alloc(data_length > INT32_MAX ? data_length : type_length + data_length + SPARE);
    if (!event)
        return NULL;
    event->type =
        (struct evb_text){evb_event_keep(event, type, type_length), (uint32_t)type_length};
    if (data) {
        event->data =
            (struct evb_text){evb_event_keep(event, data, data_length), (uint32_t)data_length};
        event->is_json = is_json;
    }
    return event;
}

static bool same_text(struct evb_text a, struct evb_text b)
{
    return a.length == b.length && memcmp(a.ptr, b.ptr, a.length) == 0;
}

static struct evb_attr *attr_find(const evbus_event *event, struct evb_text name)
{
    for (uint32_t i = 0; i < event->attr_count; i++)
        if (same_text(event->attrs[i].name, name))
            return &event->attrs[i];
    return NULL;
}

static bool attrs_grow(evbus_event *event)
{
    uint32_t room = event->attr_room ? event->attr_room * 4 : 4;
    char *attrs = piece_new(event, room * sizeof *event->attrs);
    if (!attrs)
        return false;
    if (event->attr_count)
        memcpy(attrs, event->attrs, event->attr_count * sizeof *event->attrs);
    evb_event_drop(event, event->attrs);
    event->attrs = (struct evb_attr *)(void *)attrs;
    event->attr_room = room;
    return true;
}

int evb_event_add_attr(evbus_event *event, struct evb_text name, struct evb_text value)
{
    struct evb_attr *attr = attr_find(event, name);
    if (attr) {
        evb_event_drop(event, attr->name.ptr);
        evb_event_drop(event, attr->value.ptr);
    } else {
        if (event->attr_count == EVB_ATTR_MAX)
            return evb_fail(EVBUS_EFULL, "an event has at most %d attributes", EVB_ATTR_MAX);
        if (event->attr_count == event->attr_room && !attrs_grow(event))
            return evbus_last_code();
        attr = &event->attrs[event->attr_count++];
    }
    *attr = (struct evb_attr){name, value};
    return 0;
}

void evb_uuid_write(const uint8_t uuid[16], char out[EVB_ID_TEXT])
{
    static const char hex[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *out++ = '-';
        *out++ = hex[uuid[i] >> 4];
        *out++ = hex[uuid[i] & 15];
    }
    *out = '\0';
}

int evb_event_freeze(evbus_event *event, const char *node, const char *source)
{
    int building = 0;
    if (atomic_load_explicit(&event->frozen, memory_order_relaxed) == EVB_EVENT_PRIVATE)
        atomic_store_explicit(&event->frozen, 1, memory_order_relaxed);
    else if (!atomic_compare_exchange_strong(&event->frozen, &building, 1))
        return evb_fail(EVBUS_EINVAL, "the event is published already");
    if (!event->source.ptr && source && *source) {
        size_t length = strlen(source);
        event->source.ptr = evb_event_keep(event, source, length);
        if (!event->source.ptr) {
            atomic_store(&event->frozen, 0);
            return evbus_last_code();
        }
        event->source.length = (uint32_t)length;
    }
    if (!event->has_time)
        event->time_us = evb_clock_us();
    memcpy(event->node_text, node, EVB_NODE_LENGTH);
    event->node_text[EVB_NODE_LENGTH] = '\0';
    event->node = (struct evb_text){event->node_text, EVB_NODE_LENGTH};
    event->origin = EVBUS_ORIGIN_LOCAL;
    event->seq = 0;
    atomic_store_explicit(&event->text_state, TEXT_NONE, memory_order_relaxed);
    return 0;
}

evbus_event *evbus_event_ref(evbus_event *event)
{
    if (event)
        atomic_fetch_add_explicit(&event->refs, 1, memory_order_relaxed);
    return event;
}

void evbus_event_unref(evbus_event *event)
{
    /* Who holds the only reference needs no locked instruction to give it back. */
    if (!event || (atomic_load_explicit(&event->refs, memory_order_acquire) != 1 &&
                   atomic_fetch_sub_explicit(&event->refs, 1, memory_order_acq_rel) != 1))
        return;
    while (event->pieces) {
        struct evb_piece *piece = event->pieces;
        event->pieces = piece->next;
        evb_free(piece);
    }
    evbus_event *base = event->base; /* no view itself, or of a few */
    evb_pool_give(event);
    evbus_event_unref(base);
}

static bool is_frozen(const evbus_event *event)
{
    return atomic_load_explicit(&event->frozen, memory_order_relaxed) != 0;
}

/* The event may stand in queues already, whose accounts go by its size: that stays. */
void evb_event_set_position(evbus_event *event, struct evb_position position)
{
    char text[EVB_POSITION_TEXT];
    size_t length = evb_position_write(position, text);
    char *kept = piece_uncounted(event, length + 1);
    event->position = position;
    if (!kept)
        return; /* it stays unknown */
    memcpy(kept, text, length + 1);
    atomic_store_explicit(&event->position_text, kept, memory_order_release);
}

const char *evbus_event_position(const evbus_event *event)
{
    return event ? atomic_load_explicit(&event->position_text, memory_order_acquire) : NULL;
}

/* UUIDv7 (RFC 9562 section 5.7) of the event's time. Drawn when somebody asks: randomness costs
 * more than all else that publishing does. */
static void draw_uuid(const evbus_event *event, char out[EVB_ID_TEXT])
{
    uint64_t ms = (uint64_t)(event->time_us / 1000);
    uint8_t uuid[16];
    for (int i = 5; i >= 0; i--, ms >>= 8)
        uuid[i] = (uint8_t)ms;
    evb_rand_bytes(uuid + 6, 10);
    uuid[6] = (uint8_t)(0x70 | (uuid[6] & 0x0f));
    uuid[8] = (uint8_t)(0x80 | (uuid[8] & 0x3f));
    evb_uuid_write(uuid, out);
}

/* Writes id_text and time_text unless that is done. */
static void write_texts(const evbus_event *shared)
{
    evbus_event *event = (evbus_event *)shared;
    int state = TEXT_NONE;
    if (atomic_load_explicit(&event->text_state, memory_order_acquire) == TEXT_THERE)
        return;
    if (atomic_compare_exchange_strong(&event->text_state, &state, TEXT_BEING_WRITTEN)) {
        if (!event->id.ptr)
            draw_uuid(event, event->id_text);
        evb_time_write(event->time_us, event->time_text);
        atomic_store_explicit(&event->text_state, TEXT_THERE, memory_order_release);
        return;
    }
    while (atomic_load_explicit(&event->text_state, memory_order_acquire) != TEXT_THERE)
        sched_yield();
}

static struct evb_text id_text(const evbus_event *event)
{
    if (event->id.ptr)
        return event->id;
    if (!is_frozen(event))
        return (struct evb_text){"", 0};
    write_texts(event);
    return (struct evb_text){event->id_text, EVB_ID_TEXT - 1};
}

static bool view_attrs(evbus_event *view, const evbus_event *base, const char *name,
                       const char *value)
{
    struct evb_text key = {name, (uint32_t)strlen(name)};
    size_t length = strlen(value);
    struct evb_text text = {evb_event_keep(view, value, length), (uint32_t)length};
    char *attrs = piece_new(view, (base->attr_count + 1) * sizeof *view->attrs);
    if (!text.ptr || !attrs)
        return false;
    view->attrs = (struct evb_attr *)(void *)attrs;
    view->attr_room = base->attr_count + 1;
    for (uint32_t i = 0; i < base->attr_count; i++)
        if (!same_text(base->attrs[i].name, key))
            view->attrs[view->attr_count++] = base->attrs[i];
    view->attrs[view->attr_count++] = (struct evb_attr){key, text};
    return true;
}

evbus_event *evb_event_view(evbus_event *base, const char *name, const char *value, uint64_t term)
{
    evbus_event *view = evb_event_alloc(strlen(value) + 1);
    if (!view)
        return NULL;
    atomic_store_explicit(&view->frozen, 1, memory_order_relaxed);
    atomic_store_explicit(&view->position_text, evbus_event_position(base), memory_order_relaxed);
    view->is_json = base->is_json;
    view->has_time = base->has_time;
    view->origin = base->origin;
    view->seq = base->seq;
    if (base->origin != EVBUS_ORIGIN_LOCAL) /* else the loop may be setting it */
        view->position = base->position;
    view->time_us = base->time_us;
    view->ttl_ms = base->ttl_ms;
    view->type = base->type;
    view->version = base->version;
    view->source = base->source;
    view->node = base->node;
    view->correlation = base->correlation;
    view->data = base->data;
    view->id = id_text(base);
    view->term = term;
    view->base = evbus_event_ref(base);
    if (!view_attrs(view, base, name, value)) {
        evbus_event_unref(view);
        return NULL;
    }
    view->size += base->size; /* which it keeps */
    return view;
}

struct evb_text evb_event_correlation(const evbus_event *event)
{
    return event->correlation.ptr ? event->correlation : id_text(event);
}

static bool given(const void *pointer)
{
    if (!pointer)
        evb_fail(EVBUS_EINVAL, "an argument is NULL");
    return pointer != NULL;
}

const char *evbus_event_type(const evbus_event *event)
{
    return given(event) ? event->type.ptr : NULL;
}

const char *evbus_event_id(const evbus_event *event)
{
    return given(event) ? id_text(event).ptr : NULL;
}

const char *evbus_event_version(const evbus_event *event)
{
    return given(event) ? event->version.ptr : NULL;
}

const char *evbus_event_source(const evbus_event *event)
{
    return !given(event) ? NULL : event->source.ptr ? event->source.ptr : "";
}

const char *evbus_event_node(const evbus_event *event)
{
    return given(event) ? event->node.ptr : NULL;
}

const char *evbus_event_correlation(const evbus_event *event)
{
    return given(event) ? evb_event_correlation(event).ptr : NULL;
}

const char *evbus_event_attr(const evbus_event *event, const char *name)
{
    if (!given(event) || !given(name))
        return NULL;
    size_t length = strlen(name);
    const struct evb_attr *attr =
        length > EVB_TEXT_MAX ? NULL : attr_find(event, (struct evb_text){name, (uint32_t)length});
    return attr ? attr->value.ptr : NULL;
}

int evbus_event_attr_count(const evbus_event *event)
{
    return given(event) ? (int)event->attr_count : EVBUS_EINVAL;
}

const char *evbus_event_attr_name(const evbus_event *event, int index)
{
    if (!given(event))
        return NULL;
    if (index < 0 || (uint32_t)index >= event->attr_count) {
        evb_fail(EVBUS_EINVAL, "there is no attribute number %d", index);
        return NULL;
    }
    return event->attrs[index].name.ptr;
}

const char *evbus_event_timestamp(const evbus_event *event)
{
    if (!given(event))
        return NULL;
    if (!is_frozen(event) && !event->has_time)
        return "";
    write_texts(event);
    return event->time_text;
}

int64_t evbus_event_time_us(const evbus_event *event)
{
    return given(event) ? event->time_us : EVBUS_EINVAL;
}

int64_t evbus_event_ttl(const evbus_event *event)
{
    return given(event) ? event->ttl_ms : EVBUS_EINVAL;
}

const char *evbus_event_data(const evbus_event *event, size_t *length)
{
    if (length)
        *length = event ? event->data.length : 0;
    return given(event) ? event->data.ptr : NULL;
}

int evbus_event_is_json(const evbus_event *event)
{
    return given(event) ? event->is_json : EVBUS_EINVAL;
}

int evbus_event_origin(const evbus_event *event)
{
    return given(event) ? event->origin : EVBUS_EINVAL;
}
