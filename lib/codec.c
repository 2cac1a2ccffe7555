/* codec.c - from JSON to an event; codec_write.c goes the other way. Called on the loop for every
 * message, and by whoever has an envelope as text.
 *
 * The text is copied into the event and scanned there once. Only when the object proves to be an
 * envelope, its strings lose their escapes and get their NUL, in place. */
#include "codec.h"
#include "codec_scan.h"
#include "err.h"
#include "json.h"
#include "list.h"
#include "match.h"
#include <string.h>

/* Which kinds a slot takes; null stands for absent everywhere but in data. */
static const unsigned char slot_kinds[EVB_SLOT_COUNT] = {
    [EVB_SLOT_NODE] = EVB_KIND_STRING,
    [EVB_SLOT_LOCAL] = EVB_KIND_BOOL,
    [EVB_SLOT_SEQ] = EVB_KIND_NUMBER,
    [EVB_SLOT_EVENT_ID] = EVB_KIND_STRING | EVB_KIND_NUMBER,
    [EVB_SLOT_TYPE] = EVB_KIND_STRING,
    [EVB_SLOT_VERSION] = EVB_KIND_STRING | EVB_KIND_NUMBER,
    [EVB_SLOT_TIME] = EVB_KIND_STRING | EVB_KIND_NUMBER,
    [EVB_SLOT_TTL] = EVB_KIND_NUMBER,
    [EVB_SLOT_SOURCE] = EVB_KIND_STRING,
    [EVB_SLOT_CORRELATION] = EVB_KIND_STRING | EVB_KIND_NUMBER,
    [EVB_SLOT_ATTRS] = EVB_KIND_OBJECT,
    [EVB_SLOT_DATA] = EVB_KIND_ANY,
    [EVB_SLOT_BYTES] = EVB_KIND_STRING,
    [EVB_SLOT_PAYLOAD] = EVB_KIND_ANY,
    [EVB_SLOT_METADATA] = EVB_KIND_ANY,
    [EVB_SLOT_SIGNATURE] = EVB_KIND_STRING,
    [EVB_SLOT_POSITION] = EVB_KIND_STRING,
    [EVB_SLOT_ID] = EVB_KIND_STRING | EVB_KIND_NUMBER,
    [EVB_SLOT_SPEC] = EVB_KIND_STRING,
    [EVB_SLOT_REPLY_TO] = EVB_KIND_ANY, /* others have such keys, too */
    [EVB_SLOT_DEADLINE] = EVB_KIND_ANY,
    [EVB_SLOT_IN_REPLY_TO] = EVB_KIND_ANY,
    [EVB_SLOT_ERROR] = EVB_KIND_ANY,
};

static bool is_envelope(const struct evb_scan *scan)
{
    const struct evb_scan_value *slots = scan->slots;
    return (scan->reply && slots[EVB_SLOT_IN_REPLY_TO].kind) || slots[EVB_SLOT_DATA].kind ||
           slots[EVB_SLOT_BYTES].kind || slots[EVB_SLOT_PAYLOAD].kind ||
           slots[EVB_SLOT_METADATA].kind || slots[EVB_SLOT_SPEC].kind ||
           (slots[EVB_SLOT_EVENT_ID].kind && slots[EVB_SLOT_TYPE].kind &&
            slots[EVB_SLOT_VERSION].kind);
}

static int check_kinds(struct evb_scan *scan)
{
    if (scan->twice)
        return evb_scan_fail(scan, "an envelope's key stands twice");
    for (size_t i = 0; i < EVB_SLOT_COUNT; i++) {
        struct evb_scan_value *value = &scan->slots[i];
        if (value->kind == EVB_KIND_NULL && !(slot_kinds[i] & EVB_KIND_NULL))
            value->kind = EVB_KIND_ABSENT;
        if (value->kind & ~slot_kinds[i])
            return evb_scan_fail(scan, "an envelope's key has a value of the wrong kind");
    }
    if (scan->slots[EVB_SLOT_DATA].kind && scan->slots[EVB_SLOT_BYTES].kind)
        return evb_scan_fail(scan, "data and dataBase64 together");
    return 0;
}

/* Undoes escapes and ends the text; false if that brings NUL or (but for `lines`) control
 * characters into it. */
static bool finish_text(struct evb_scan_value *value, struct evb_text *text, bool lines)
{
    if (value->escaped)
        value->length = (uint32_t)evb_json_unescape(value->ptr, value->length);
    value->ptr[value->length] = '\0';
    *text = (struct evb_text){value->ptr, value->length};
    return !value->escaped || evb_text_good(text->ptr, text->length, lines);
}

static int take_text(struct evb_scan *scan, enum evb_scan_slot slot, struct evb_text *field)
{
    struct evb_scan_value *value = &scan->slots[slot];
    struct evb_text text;
    if (!value->kind)
        return 0;
    if (!finish_text(value, &text, false))
        return evb_scan_fail(scan, "control characters in an envelope's text");
    if (text.length > EVB_TEXT_MAX)
        return evb_scan_fail(scan, "an envelope's text is too long");
    if (text.length)
        *field = text;
    return 0;
}

/* What cannot be an attribute is let go, but for NUL under attrs. */
static int take_attr(struct evb_scan *scan, struct evb_text name, struct evb_scan_value *value,
                     bool strict)
{
    struct evb_text text;
    evbus_event *event = scan->event;
    if (value->kind != EVB_KIND_STRING)
        return 0;
    if (!finish_text(value, &text, true))
        return strict ? evb_scan_fail(scan, "NUL in an attribute") : 0;
    if (!name.length || name.length > EVB_TEXT_MAX || text.length > EVB_ATTR_VALUE_MAX ||
        event->attr_count == EVB_ATTR_MAX)
        return 0;
    int error = evb_event_add_attr(event, name, text);
    if (error)
        scan->why = "out of memory";
    return error;
}

static int take_member(struct evb_scan *scan, struct evb_scan_member *member, bool strict)
{
    struct evb_text name;
    if (!finish_text(&member->name, &name, false))
        return strict ? evb_scan_fail(scan, "control characters in an attribute's name") : 0;
    return take_attr(scan, name, &member->value, strict);
}

/* Those under attrs come first when there are too many. */
static int take_attrs(struct evb_scan *scan)
{
    struct evb_scan_member member;
    int error = 0;
    if (scan->slots[EVB_SLOT_ATTRS].kind) {
        scan->p = scan->slots[EVB_SLOT_ATTRS].ptr + 1;
        scan->first = true;
        while (!error && evb_scan_name(scan, &member.name) > 0) {
            error = evb_scan_value(scan, &member.value);
            if (!error)
                error = take_member(scan, &member, true);
        }
    }
    for (size_t i = 0; i < scan->foreign_count && !error; i++)
        error = take_member(scan, &scan->foreign[i], false);
    return error;
}

static bool is_node(const struct evb_scan_value *value)
{
    bool hex = value->length == EVB_NODE_LENGTH;
    for (uint32_t i = 0; i < value->length && hex; i++)
        hex = (value->ptr[i] >= '0' && value->ptr[i] <= '9') ||
              (value->ptr[i] >= 'a' && value->ptr[i] <= 'f');
    return hex;
}

static int take_node(struct evb_scan *scan)
{
    struct evb_scan_value *value = &scan->slots[EVB_SLOT_NODE], *seq = &scan->slots[EVB_SLOT_SEQ];
    if (!is_node(value))
        return take_attr(scan, (struct evb_text){"node", 4}, value, false);
    finish_text(value, &scan->event->node, false);
    uint32_t at = 0;
    for (; at < seq->length && at < 18 && seq->ptr[at] >= '0' && seq->ptr[at] <= '9'; at++)
        scan->event->seq = scan->event->seq * 10 + (uint64_t)(seq->ptr[at] - '0');
    return at == seq->length ? 0 : evb_scan_fail(scan, "seq is no whole number");
}

/* Unix time in seconds, milliseconds, microseconds or nanoseconds: told by its size, which none of
 * them shares with another between 1973 and 5138. */
static bool read_unix_time(const struct evb_scan_value *value, int64_t *unix_us)
{
    const char *p = value->ptr, *end = p + value->length;
    bool negative = *p == '-';
    int64_t whole = 0, fraction = 0, unit = 100000;
    for (p += negative; p < end && *p >= '0' && *p <= '9'; p++) {
        if (whole > INT64_MAX / 10 - 1)
            return false;
        whole = whole * 10 + (*p - '0');
    }
    if (p < end && *p == '.')
        for (p++; p < end && *p >= '0' && *p <= '9'; p++, unit /= 10)
            fraction += (*p - '0') * unit;
    if (p < end)
        return false;
    if (whole < INT64_C(100000000000))
        *unix_us = whole * 1000000 + fraction;
    else if (whole < INT64_C(100000000000000))
        *unix_us = whole * 1000 + fraction / 1000;
    else
        *unix_us = whole < INT64_C(100000000000000000) ? whole : whole / 1000;
    *unix_us = negative ? -*unix_us : *unix_us;
    return true;
}

static int take_time(struct evb_scan *scan)
{
    struct evb_scan_value *value = &scan->slots[EVB_SLOT_TIME];
    evbus_event *event = scan->event;
    if (value->kind == EVB_KIND_NUMBER)
        event->has_time = read_unix_time(value, &event->time_us);
    else if (value->kind)
        event->has_time = evb_time_read(value->ptr, value->length, &event->time_us) == 0;
    if (event->has_time || value->kind != EVB_KIND_STRING)
        return 0;
    return take_attr(scan, (struct evb_text){"timestamp", 9}, value, false);
}

static void take_ttl(struct evb_scan *scan)
{
    const struct evb_scan_value *value = &scan->slots[EVB_SLOT_TTL];
    int64_t ttl = 0;
    for (uint32_t i = 0; i < value->length && value->kind; i++) {
        if (value->ptr[i] < '0' || value->ptr[i] > '9' || ttl > INT64_MAX / 10 - 1)
            return;
        ttl = ttl * 10 + (value->ptr[i] - '0');
    }
    scan->event->ttl_ms = ttl;
}

static int take_base64(struct evb_scan *scan)
{
    struct evb_scan_value *value = &scan->slots[EVB_SLOT_BYTES];
    if (value->escaped)
        value->length = (uint32_t)evb_json_unescape(value->ptr, value->length);
    ptrdiff_t length = evb_base64_read(value->ptr, value->length);
    if (length < 0)
        return evb_scan_fail(scan, "dataBase64 is no base64");
    value->ptr[length] = '\0';
    scan->event->data = (struct evb_text){value->ptr, (uint32_t)length};
    return 0;
}

static int take_data(struct evb_scan *scan)
{
    static const enum evb_scan_slot order[] = {EVB_SLOT_DATA, EVB_SLOT_PAYLOAD, EVB_SLOT_METADATA};
    struct evb_scan_value *slots = scan->slots, *value = NULL;
    if (slots[EVB_SLOT_BYTES].kind)
        return take_base64(scan);
    for (size_t i = 0; i < EVB_COUNT(order) && !value; i++)
        value = slots[order[i]].kind ? &slots[order[i]] : NULL;
    if (!value)
        return 0;
    uint32_t quote = value->kind == EVB_KIND_STRING;
    struct evb_text data = {value->ptr - quote, value->length + 2 * quote};
    value->ptr[value->length + quote] = '\0';
    scan->event->data = data;
    scan->event->is_json = true;
    return 0;
}

/* Where the script that keeps the history put the event; others' words are attributes. */
static int take_position(struct evb_scan *scan)
{
    struct evb_scan_value *value = &scan->slots[EVB_SLOT_POSITION];
    evbus_event *event = scan->event;
    if (!event->seq || !value->kind ||
        !evb_position_read(value->ptr, value->length, &event->position))
        return take_attr(scan, (struct evb_text){"position", 8}, value, false);
    value->ptr[value->length] = '\0';
    atomic_store_explicit(&event->position_text, value->ptr, memory_order_relaxed);
    return 0;
}

/* Why there is no answer: a text, or what others write instead of one, as it stands. */
static void take_refusal(struct evb_scan_value *value, struct evb_text *error)
{
    if (value->kind == EVB_KIND_NULL || (value->kind == EVB_KIND_BOOL && *value->ptr == 'f'))
        value->kind = EVB_KIND_ABSENT;
    if (!value->kind)
        return;
    if (value->escaped)
        value->length = (uint32_t)evb_json_unescape(value->ptr, value->length);
    error->ptr = value->ptr;
    error->length = evb_refusal_clean(value->ptr, value->length);
    value->kind = EVB_KIND_ABSENT;
}

/* An id, or a channel. What cannot be one may be an attribute. */
static bool take_address(struct evb_scan_value *value, struct evb_text *field)
{
    struct evb_text text;
    if (value->kind != EVB_KIND_STRING || value->length == 0 || value->length > EVB_TEXT_MAX)
        return false;
    value->kind = EVB_KIND_ABSENT;
    if (!finish_text(value, &text, false))
        return false;
    *field = text;
    return true;
}

static int take_exchange(struct evb_scan *scan)
{
    static const struct evb_text names[] = {
        {"replyTo", 7}, {"deadline", 8}, {"inReplyTo", 9}, {"error", 5}};
    struct evb_scan_value *values = &scan->slots[EVB_SLOT_REPLY_TO];
    struct evb_scan_value *deadline = &scan->slots[EVB_SLOT_DEADLINE];
    struct evb_exchange found = {.deadline_ms = INT64_MAX};
    int64_t unix_us;
    int error = 0;
    if (take_address(&scan->slots[EVB_SLOT_REPLY_TO], &found.reply_to) &&
        deadline->kind == EVB_KIND_NUMBER && read_unix_time(deadline, &unix_us))
        found.deadline_ms = unix_us < 1000 ? 1 : unix_us / 1000;
    if (take_address(&scan->slots[EVB_SLOT_IN_REPLY_TO], &found.in_reply_to))
        take_refusal(&scan->slots[EVB_SLOT_ERROR], &found.error);
    for (size_t i = 0; i < EVB_COUNT(names) && !error; i++)
        error = take_attr(scan, names[i], &values[i], false);
    if (error || (!found.reply_to.ptr && !found.in_reply_to.ptr))
        return error;
    if (!(scan->event->exchange = evb_event_exchange(scan->event))) {
        scan->why = "out of memory";
        return EVBUS_ENOMEM;
    }
    *scan->event->exchange = found;
    return 0;
}

static int take_envelope(struct evb_scan *scan)
{
    struct evb_scan_value *slots = scan->slots;
    evbus_event *event = scan->event;
    int error = 0;
    if (slots[EVB_SLOT_ID].kind && slots[EVB_SLOT_TYPE].kind && !slots[EVB_SLOT_EVENT_ID].kind)
        error = take_text(scan, EVB_SLOT_ID, &event->id);
    else
        error = take_attr(scan, (struct evb_text){"id", 2}, &slots[EVB_SLOT_ID], false);
    error = error ? error : take_text(scan, EVB_SLOT_EVENT_ID, &event->id);
    error = error ? error : take_text(scan, EVB_SLOT_VERSION, &event->version);
    error = error ? error : take_text(scan, EVB_SLOT_SOURCE, &event->source);
    error = error ? error : take_text(scan, EVB_SLOT_CORRELATION, &event->correlation);
    error = error ? error : take_node(scan);
    error = error ? error : take_position(scan);
    error = error ? error : take_time(scan);
    take_ttl(scan);
    if (slots[EVB_SLOT_REPLY_TO].kind | slots[EVB_SLOT_DEADLINE].kind |
        slots[EVB_SLOT_IN_REPLY_TO].kind | slots[EVB_SLOT_ERROR].kind)
        error = error ? error : take_exchange(scan);
    error = error ? error : take_attrs(scan);
    return error ? error : take_data(scan);
}

/* The body's own type, copied: the text may yet be the data as it stands. */
static int take_type(struct evb_scan *scan)
{
    const struct evb_scan_value *value = &scan->slots[EVB_SLOT_TYPE];
    if (value->kind != EVB_KIND_STRING || value->length > 6 * EVB_TYPE_MAX)
        return evb_scan_fail(scan, "no type");
    char *type = evb_event_keep(scan->event, value->ptr, value->length);
    if (!type) {
        scan->why = "out of memory";
        return EVBUS_ENOMEM;
    }
    size_t length = value->escaped ? evb_json_unescape(type, value->length) : value->length;
    type[length] = '\0';
    scan->event->type = (struct evb_text){type, (uint32_t)length};
    return evb_type_check(type, length) ? evb_scan_fail(scan, "the type is no good") : 0;
}

static int too_big(struct evb_scan *scan)
{
    scan->why = "the data is above the limit";
    return EVBUS_ETOOBIG;
}

static void scan_start(struct evb_scan *scan)
{
    memset(scan->slots, 0, sizeof scan->slots);
    scan->p = scan->begin + 1;
    scan->first = true;
}

static int read_object(struct evb_scan *scan)
{
    bool typed = scan->event->type.ptr != NULL, own;
    int error = 0;
    scan_start(scan);
    if (!(own = evb_scan_own(scan))) {
        scan_start(scan);
        error = evb_scan_object(scan);
    }
    if (!error && !typed)
        error = take_type(scan);
    if (error)
        return error;
    if (own || is_envelope(scan)) {
        error = own ? 0 : check_kinds(scan);
        return error ? error : take_envelope(scan);
    }
    scan->event->data = (struct evb_text){scan->begin, (uint32_t)(scan->p - scan->begin)};
    scan->event->is_json = true;
    *scan->p = '\0';
    return 0;
}

static int read_plain(struct evb_scan *scan, char *text, size_t length)
{
    if (!scan->event->type.ptr)
        return evb_scan_fail(scan, "no JSON object");
    scan->event->data = (struct evb_text){text, (uint32_t)length};
    return 0;
}

/* A time where none came, and no more changes. */
static void finish(evbus_event *event)
{
    if (!event->has_time)
        event->time_us = evb_clock_us();
    event->has_time = true;
    event->origin = EVBUS_ORIGIN_REDIS;
    atomic_store_explicit(&event->frozen, 1, memory_order_relaxed);
}

bool evb_codec_position(const char *text, size_t length, struct evb_position *position)
{
    return evb_scan_position(text, length, position) != 0;
}

int evb_codec_read(const char *text, size_t length, const char *type, size_t type_length,
                   size_t max_data, unsigned flags, evbus_event **out, const char **why)
{
    struct evb_scan scan;
    memset(&scan, 0, offsetof(struct evb_scan, slots));
    *why = "out of memory";
    size_t texts = flags & EVB_READ_TYPE ? EVB_TYPE_MAX + EVB_ID_TEXT : type_length;
    evbus_event *event = evb_event_alloc(texts + length + 2);
    if (!event)
        return evbus_last_code();
    char *copy = evb_event_keep(event, text, length);
    if (type)
        event->type =
            (struct evb_text){evb_event_keep(event, type, type_length), (uint32_t)type_length};
    scan.event = event;
    scan.check = flags & EVB_READ_CHECK;
    scan.reply = flags & EVB_READ_REPLY;
    scan.begin = copy + (evb_json_space(copy, copy + length) - copy);
    scan.end = copy + length;
    int error = *scan.begin == '{' ? read_object(&scan) : read_plain(&scan, copy, length);
    if (!error && event->data.length > max_data)
        error = too_big(&scan);
    if (error) {
        *why = scan.why;
        evbus_event_unref(event);
        return error;
    }
    finish(event);
    *out = event;
    *why = NULL;
    return 0;
}

evbus_event *evbus_event_from_json(const char *json, size_t length)
{
    evbus_event *event = NULL;
    const char *why = "the JSON is NULL";
    int error = EVBUS_EINVAL;
    if (json)
        error = evb_codec_read(json, length, NULL, 0, SIZE_MAX, EVB_READ_CHECK | EVB_READ_TYPE,
                               &event, &why);
    if (!error && evb_type_is_system(event->type.ptr, event->type.length)) {
        error = EVBUS_EINVAL;
        why = "types under '" EVB_SYSTEM_PREFIX "' are the bus's own";
    }
    if (!error && !event->id.ptr) {
        event->id = (struct evb_text){evb_event_keep(event, evbus_event_id(event), EVB_ID_TEXT - 1),
                                      EVB_ID_TEXT - 1};
        error = event->id.ptr ? 0 : EVBUS_ENOMEM;
        why = "out of memory";
    }
    if (error) {
        evb_fail(error, "%s", why);
        evbus_event_unref(event);
        return NULL;
    }
    event->origin = EVBUS_ORIGIN_LOCAL;
    event->seq = 0;
    event->position = (struct evb_position){0, 0};
    atomic_store_explicit(&event->position_text, NULL, memory_order_relaxed);
    atomic_store_explicit(&event->frozen, 0, memory_order_relaxed);
    return event;
}
