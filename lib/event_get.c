/* event_get.c - what stands in an event, some of it written when somebody asks. Any thread. */
#include "err.h"
#include "event.h"
#include "rand.h"
#include <sched.h>
#include <string.h>

void evb_uuid_write(const uint8_t uuid[16], char out[EVB_ID_TEXT])
{
    static const char hex[] = "0123456789abcdef", form[] = "01234567-89ab-4def-8123-456789abcdef";
    char digits[32];
    for (int i = 0; i < 16; i++) {
        digits[2 * i] = hex[uuid[i] >> 4];
        digits[2 * i + 1] = hex[uuid[i] & 15];
    }
    memcpy(out, form, EVB_ID_TEXT);
    memcpy(out, digits, 8);
    memcpy(out + 9, digits + 8, 4);
    memcpy(out + 14, digits + 12, 4);
    memcpy(out + 19, digits + 16, 4);
    memcpy(out + 24, digits + 20, 12);
}

static bool is_frozen(const evbus_event *event)
{
    return atomic_load_explicit(&event->frozen, memory_order_relaxed) != 0;
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
    int state = EVB_TEXT_NONE;
    if (atomic_load_explicit(&event->text_state, memory_order_acquire) == EVB_TEXT_THERE)
        return;
    if (atomic_compare_exchange_strong(&event->text_state, &state, EVB_TEXT_BEING_WRITTEN)) {
        if (!event->id.ptr)
            draw_uuid(event, event->id_text);
        evb_time_write(event->time_us, event->time_text);
        atomic_store_explicit(&event->text_state, EVB_TEXT_THERE, memory_order_release);
        return;
    }
    while (atomic_load_explicit(&event->text_state, memory_order_acquire) != EVB_TEXT_THERE)
        sched_yield();
}

struct evb_text evb_event_id(const evbus_event *event)
{
    if (event->id.ptr)
        return event->id;
    if (!is_frozen(event))
        return (struct evb_text){"", 0};
    write_texts(event);
    return (struct evb_text){event->id_text, EVB_ID_TEXT - 1};
}

bool evb_event_is_request(const evbus_event *event)
{
    return event->exchange && event->exchange->reply_to.ptr;
}

int64_t evb_event_time_left_ms(const evbus_event *event)
{
    int64_t deadline_ms = event->exchange ? event->exchange->deadline_ms : INT64_MAX;
    int64_t now_ms = evb_clock_us() / 1000;
    if (deadline_ms == INT64_MAX)
        return INT64_MAX;
    return deadline_ms > now_ms ? deadline_ms - now_ms : 0;
}

const char *evbus_event_position(const evbus_event *event)
{
    return event ? atomic_load_explicit(&event->position_text, memory_order_acquire) : NULL;
}

struct evb_text evb_event_correlation(const evbus_event *event)
{
    return event->correlation.ptr ? event->correlation : evb_event_id(event);
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
    return given(event) ? evb_event_id(event).ptr : NULL;
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
        length > EVB_TEXT_MAX
            ? NULL
            : evb_event_find_attr(event, (struct evb_text){name, (uint32_t)length});
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

int64_t evbus_event_deadline_ms(const evbus_event *event)
{
    if (!given(event))
        return EVBUS_EINVAL;
    return evb_event_is_request(event) ? event->exchange->deadline_ms : 0;
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
