/* event.c - making, sharing and freezing events, and what stands in them. Called from the
 * publisher's thread and from the loop; getters on any thread. */
#include "event.h"
#include "alloc.h"
#include "err.h"
#include "json.h"
#include "pool.h"
#include <string.h>

#define SPARE 48 /* bytes left for a source and other short texts, so that they need no piece */

struct evb_piece {
    struct evb_piece *next;
    size_t size; /* of bytes */
    char bytes[];
};

/* What every event begins as. Copied, for compilers make a copy of this size some moves and a
 * memset() of it a slow string instruction. */
static const evbus_event blank = {
    .refs = 1,
    .origin = EVBUS_ORIGIN_LOCAL,
    .version = {EVB_VERSION_DEFAULT, sizeof EVB_VERSION_DEFAULT - 1},
};

evbus_event *evb_event_alloc(size_t room)
{
    if (room > INT32_MAX - sizeof(evbus_event)) {
        evb_fail(EVBUS_ETOOBIG, "an event above 2 GiB");
        return NULL;
    }
    size_t taken;
    evbus_event *event = evb_pool_take(sizeof *event + room, &taken);
    if (!event) {
        evb_fail_memory();
        return NULL;
    }
    memcpy((void *)event, &blank, offsetof(evbus_event, node_text));
    event->size = (uint32_t)taken;
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

static char *copy_text(char *to, const char *text, size_t length)
{
    memcpy(to, text, length);
    to[length] = '\0';
    return to;
}

/* For a text and its NUL, where there is room for them. */
static char *room_here(evbus_event *event, size_t length)
{
    char *room = event->spare;
    event->spare += length + 1;
    event->spare_room -= (uint32_t)length + 1;
    return room;
}

static struct evb_text keep_here(evbus_event *event, const char *text, size_t length)
{
    char *copy = room_here(event, length);
    return (struct evb_text){copy_text(copy, text, length), (uint32_t)length};
}

char *evb_event_keep(evbus_event *event, const char *text, size_t length)
{
    if (length < event->spare_room)
        return (char *)keep_here(event, text, length).ptr;
    char *copy = piece_new(event, length < SIZE_MAX ? length + 1 : length);
    return copy ? copy_text(copy, text, length) : NULL;
}

static evbus_event *make(const char *type, size_t type_length, size_t data_length)
{
    evbus_event *event =
        evb_event_alloc(data_length > INT32_MAX ? data_length : type_length + data_length + SPARE);
    if (event)
        event->type = keep_here(event, type, type_length);
    return event;
}

evbus_event *evb_event_make(const char *type, size_t type_length, const char *data,
                            size_t data_length, bool is_json)
{
    evbus_event *event = make(type, type_length, data_length);
    if (event && data) {
        event->data = keep_here(event, data, data_length);
        event->is_json = is_json;
    }
    return event;
}

evbus_event *evb_event_make_room(const char *type, size_t type_length, size_t data_length)
{
    evbus_event *event = make(type, type_length, data_length);
    if (event) {
        char *room = room_here(event, data_length);
        room[data_length] = '\0';
        event->data = (struct evb_text){room, (uint32_t)data_length};
        event->is_json = true;
    }
    return event;
}

struct evb_exchange *evb_event_exchange(evbus_event *event)
{
    struct evb_exchange *exchange = (void *)piece_new(event, sizeof *exchange);
    if (exchange)
        *exchange = (struct evb_exchange){.deadline_ms = INT64_MAX};
    return exchange;
}

/* It ends in sentences and in lines of a log. */
uint32_t evb_refusal_clean(char *text, size_t length)
{
    size_t end = length < EVB_REFUSAL_MAX ? length : EVB_REFUSAL_MAX;
    while (end < length && end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80)
        end--; /* not inside a character */
    bool good = evb_text_good(text, end, true);
    for (size_t i = 0; i < end; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = ' ';
        else if (!good && (unsigned char)text[i] >= 0x80)
            text[i] = '?';
    text[end] = '\0';
    return (uint32_t)end;
}

static bool same_text(struct evb_text a, struct evb_text b)
{
    return a.length == b.length && memcmp(a.ptr, b.ptr, a.length) == 0;
}

struct evb_attr *evb_event_find_attr(const evbus_event *event, struct evb_text name)
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
    struct evb_attr *attr = evb_event_find_attr(event, name);
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

int evb_event_freeze(evbus_event *event, const char *node, const char *source)
{
    unsigned char building = 0;
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
        event->bus_source = true;
    }
    if (!event->has_time)
        event->time_us = evb_clock_us();
    memcpy(event->node_text, node, EVB_NODE_LENGTH);
    event->node_text[EVB_NODE_LENGTH] = '\0';
    event->node = (struct evb_text){event->node_text, EVB_NODE_LENGTH};
    event->origin = EVBUS_ORIGIN_LOCAL;
    event->seq = 0;
    atomic_store_explicit(&event->text_state, EVB_TEXT_NONE, memory_order_relaxed);
    return 0;
}

void evb_event_thaw(evbus_event *event)
{
    if (event->bus_source) {
        evb_event_drop(event, event->source.ptr);
        event->source = (struct evb_text){NULL, 0};
    }
    event->bus_source = false;
    if (!event->has_time)
        event->time_us = 0;
    event->node = (struct evb_text){NULL, 0};
    atomic_store_explicit(&event->text_state, EVB_TEXT_NONE, memory_order_relaxed);
    atomic_store(&event->frozen, 0);
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
    if (event->delivery)
        event->delivery->door->gone(event->delivery);
    while (event->pieces) {
        struct evb_piece *piece = event->pieces;
        event->pieces = piece->next;
        evb_free(piece);
    }
    evbus_event *base = event->base; /* no view itself, or of a few */
    evb_pool_give(event);
    evbus_event_unref(base);
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
    view->exchange = base->exchange;
    view->id = evb_event_id(base);
    view->term = term;
    view->base = evbus_event_ref(base);
    if (!view_attrs(view, base, name, value)) {
        evbus_event_unref(view);
        return NULL;
    }
    view->size += base->size; /* which it keeps */
    return view;
}
