/* event_set.c - building an event by hand: the setters of evbus.h. Called by the application, on
 * the one thread that holds the event until it is published. */
#include "alloc.h"
#include "err.h"
#include "event.h"
#include "json.h"
#include "match.h"
#include <string.h>

evbus_event *evbus_event_new(const char *type)
{
    if (!type) {
        evb_fail(EVBUS_EINVAL, "an event's type is NULL");
        return NULL;
    }
    size_t length = strlen(type);
    if (evb_type_check(type, length) != 0)
        return NULL;
    if (evb_type_is_system(type, length)) {
        evb_fail(EVBUS_EINVAL, "types under '%s' are the bus's own", EVB_SYSTEM_PREFIX);
        return NULL;
    }
    return evb_event_make(type, length, NULL, 0, false);
}

static int building(const evbus_event *event)
{
    if (!event)
        return evb_fail(EVBUS_EINVAL, "the event is NULL");
    if (atomic_load_explicit(&event->frozen, memory_order_relaxed))
        return evb_fail(EVBUS_EINVAL, "the event is published: it cannot be changed");
    return 0;
}

/* Is `text` fit for a field that `name` says, `min` to `max` bytes? */
static int text_check(const char *name, const char *text, size_t min, size_t max, bool lines)
{
    size_t length = text ? strlen(text) : 0;
    if (!text)
        return evb_fail(EVBUS_EINVAL, "%s is NULL", name);
    if (length < min)
        return evb_fail(EVBUS_EINVAL, "%s is empty", name);
    if (length > max)
        return evb_fail(EVBUS_EINVAL, "%s is longer than %zu bytes", name, max);
    if (!evb_text_good(text, length, lines))
        return evb_fail(EVBUS_EINVAL, "%s %sis not UTF-8", name,
                        lines ? "" : "has control characters or ");
    return 0;
}

static int field_set(evbus_event *event, struct evb_text *field, const char *bytes, size_t length)
{
    char *copy = evb_event_keep(event, bytes, length);
    if (!copy)
        return evbus_last_code();
    evb_event_drop(event, field->ptr);
    *field = (struct evb_text){copy, (uint32_t)length};
    return 0;
}

int evbus_event_set_id(evbus_event *event, const char *id)
{
    int error = building(event);
    if (!error)
        error = text_check("an event's id", id, 1, EVB_TEXT_MAX, false);
    return error ? error : field_set(event, &event->id, id, strlen(id));
}

int evbus_event_set_version(evbus_event *event, const char *version)
{
    int error = building(event);
    if (!error)
        error = text_check("an event's version", version, 1, EVB_TEXT_MAX, false);
    return error ? error : field_set(event, &event->version, version, strlen(version));
}

int evbus_event_set_source(evbus_event *event, const char *source)
{
    int error = building(event);
    if (!error)
        error = text_check("an event's source", source, 0, EVB_TEXT_MAX, false);
    return error ? error : field_set(event, &event->source, source, strlen(source));
}

int evbus_event_set_time_us(evbus_event *event, int64_t unix_us)
{
    int error = building(event);
    if (error)
        return error;
    event->time_us = unix_us;
    event->has_time = true;
    atomic_store_explicit(&event->text_state, 0, memory_order_relaxed);
    return 0;
}

int evbus_event_set_correlation(evbus_event *event, const char *id)
{
    int error = building(event);
    if (!error)
        error = text_check("an event's correlation id", id, 1, EVB_TEXT_MAX, false);
    return error ? error : field_set(event, &event->correlation, id, strlen(id));
}

int evbus_event_set_cause(evbus_event *event, const evbus_event *cause)
{
    static const char *const trace[] = {"traceparent", "tracestate"}; /* W3C Trace Context */
    int error = building(event);
    if (error)
        return error;
    if (!cause)
        return evb_fail(EVBUS_EINVAL, "the cause is NULL");
    struct evb_text correlation = evb_event_correlation(cause);
    if (!correlation.length)
        return evb_fail(EVBUS_EINVAL, "the cause is not published yet and has no id");
    uint32_t more = 0;
    for (size_t i = 0; i < sizeof trace / sizeof trace[0]; i++)
        more += evbus_event_attr(cause, trace[i]) && !evbus_event_attr(event, trace[i]);
    if (event->attr_count + more > EVB_ATTR_MAX)
        return evb_fail(EVBUS_EFULL, "an event has at most %d attributes: no room for the trace",
                        EVB_ATTR_MAX);
    error = field_set(event, &event->correlation, correlation.ptr, correlation.length);
    for (size_t i = 0; i < sizeof trace / sizeof trace[0] && !error; i++) {
        const char *value = evbus_event_attr(cause, trace[i]);
        if (value)
            error = evbus_event_set_attr(event, trace[i], value);
    }
    return error;
}

int evbus_event_set_json(evbus_event *event, const char *json, size_t length)
{
    int error = building(event);
    if (error)
        return error;
    if (!json || !length)
        return evb_fail(EVBUS_EINVAL, "an event's JSON is %s", json ? "empty" : "NULL");
    error = field_set(event, &event->data, json, length);
    event->is_json = error ? event->is_json : true;
    return error;
}

int evbus_event_set_bytes(evbus_event *event, const void *bytes, size_t length)
{
    int error = building(event);
    if (error)
        return error;
    if (!bytes)
        return evb_fail(EVBUS_EINVAL, "an event's bytes are NULL");
    error = field_set(event, &event->data, bytes, length);
    event->is_json = error ? event->is_json : false;
    return error;
}

static int attr_keep(evbus_event *event, struct evb_text name, struct evb_text value)
{
    struct evb_text kept_name = {NULL, 0}, kept_value = {NULL, 0};
    int error = field_set(event, &kept_name, name.ptr, name.length);
    if (!error)
        error = field_set(event, &kept_value, value.ptr, value.length);
    if (!error)
        error = evb_event_add_attr(event, kept_name, kept_value);
    if (error) {
        evb_event_drop(event, kept_name.ptr);
        evb_event_drop(event, kept_value.ptr);
    }
    return error;
}

int evbus_event_set_attr(evbus_event *event, const char *name, const char *value)
{
    int error = building(event);
    if (!error)
        error = text_check("an attribute's name", name, 1, EVB_TEXT_MAX, false);
    if (!error)
        error = text_check("an attribute's value", value, 0, EVB_ATTR_VALUE_MAX, true);
    if (error)
        return error;
    return attr_keep(event, (struct evb_text){name, (uint32_t)strlen(name)},
                     (struct evb_text){value, (uint32_t)strlen(value)});
}

int evbus_event_set_ttl(evbus_event *event, int64_t ttl_ms)
{
    int error = building(event);
    if (error)
        return error;
    if (ttl_ms < 0)
        return evb_fail(EVBUS_EINVAL, "an event's time to live is negative");
    event->ttl_ms = ttl_ms;
    return 0;
}

static int field_copy(evbus_event *event, struct evb_text *field, struct evb_text from)
{
    return from.ptr ? field_set(event, field, from.ptr, from.length) : 0;
}

evbus_event *evbus_event_copy(const evbus_event *event)
{
    if (!event) {
        evb_fail(EVBUS_EINVAL, "the event is NULL");
        return NULL;
    }
    struct evb_text correlation = evb_event_correlation(event);
    size_t room = (size_t)event->type.length + event->version.length + event->source.length +
                  event->data.length + correlation.length + 5;
    for (uint32_t i = 0; i < event->attr_count; i++)
        room += (size_t)event->attrs[i].name.length + event->attrs[i].value.length + 2;
    evbus_event *copy = evb_event_alloc(room);
    if (!copy)
        return NULL;
    copy->is_json = event->is_json;
    copy->ttl_ms = event->ttl_ms;
    int error = field_copy(copy, &copy->type, event->type);
    error = error ? error : field_copy(copy, &copy->version, event->version);
    error = error ? error : field_copy(copy, &copy->source, event->source);
    error = error ? error : field_copy(copy, &copy->data, event->data);
    if (!error && correlation.length)
        error = field_copy(copy, &copy->correlation, correlation);
    for (uint32_t i = 0; i < event->attr_count && !error; i++)
        error = attr_keep(copy, event->attrs[i].name, event->attrs[i].value);
    if (error) {
        evbus_event_unref(copy);
        return NULL;
    }
    return copy;
}
