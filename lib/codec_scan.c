/* codec_scan.c - an envelope's members, by a table of the known keys. Called by codec.c. */
#include "codec_scan.h"
#include "json.h"
#include "list.h"
#include <string.h>

#define NAMED(text) text, sizeof text - 1

/* In the order of evbus's own writer, so that the search for the next key mostly ends where it
 * begins. */
static const struct key {
    const char *name;
    unsigned char length;
    unsigned char slot;
} keys[] = {
    {NAMED("node"), EVB_SLOT_NODE},
    {NAMED("local"), EVB_SLOT_LOCAL},
    {NAMED("seq"), EVB_SLOT_SEQ},
    {NAMED("eventId"), EVB_SLOT_EVENT_ID},
    {NAMED("type"), EVB_SLOT_TYPE},
    {NAMED("version"), EVB_SLOT_VERSION},
    {NAMED("timestamp"), EVB_SLOT_TIME},
    {NAMED("source"), EVB_SLOT_SOURCE},
    {NAMED("correlationId"), EVB_SLOT_CORRELATION},
    {NAMED("data"), EVB_SLOT_DATA},
    {NAMED("sig"), EVB_SLOT_SIGNATURE},
    {NAMED("position"), EVB_SLOT_POSITION},
    {NAMED("ttl"), EVB_SLOT_TTL},
    {NAMED("attrs"), EVB_SLOT_ATTRS},
    {NAMED("dataBase64"), EVB_SLOT_BYTES},
    {NAMED("payload"), EVB_SLOT_PAYLOAD},
    {NAMED("metadata"), EVB_SLOT_METADATA},
    {NAMED("id"), EVB_SLOT_ID},
    {NAMED("specversion"), EVB_SLOT_SPEC},
    {NAMED("replyTo"), EVB_SLOT_REPLY_TO},
    {NAMED("deadline"), EVB_SLOT_DEADLINE},
    {NAMED("inReplyTo"), EVB_SLOT_IN_REPLY_TO},
    {NAMED("error"), EVB_SLOT_ERROR},
    {NAMED("event_id"), EVB_SLOT_EVENT_ID},
    {NAMED("time"), EVB_SLOT_TIME},
    {NAMED("correlation_id"), EVB_SLOT_CORRELATION},
    {NAMED("correlationid"), EVB_SLOT_CORRELATION},
    {NAMED("data_base64"), EVB_SLOT_BYTES},
    {NAMED("Type"), EVB_SLOT_TYPE},
    {NAMED("Timestamp"), EVB_SLOT_TIME},
    {NAMED("Data"), EVB_SLOT_DATA},
};

int evb_scan_fail(struct evb_scan *scan, const char *why)
{
    scan->why = why;
    return EVBUS_EPARSE;
}

static int read_string(struct evb_scan *scan, struct evb_scan_value *value)
{
    value->ptr = scan->p + 1;
    value->kind = EVB_KIND_STRING;
    const char *quote = evb_json_string(value->ptr, scan->end, &value->escaped, &scan->why);
    if (!quote)
        return EVBUS_EPARSE;
    value->length = (uint32_t)(quote - value->ptr);
    scan->p = value->ptr + value->length + 1;
    return 0;
}

static enum evb_scan_kind kind_of(char first)
{
    switch (first) {
    case '{':
        return EVB_KIND_OBJECT;
    case '[':
        return EVB_KIND_ARRAY;
    case 't':
    case 'f':
        return EVB_KIND_BOOL;
    case 'n':
        return EVB_KIND_NULL;
    default:
        return EVB_KIND_NUMBER;
    }
}

int evb_scan_value(struct evb_scan *scan, struct evb_scan_value *value)
{
    if (*scan->p == '"')
        return read_string(scan, value);
    *value = (struct evb_scan_value){.ptr = scan->p, .kind = (unsigned char)kind_of(*scan->p)};
    const char *end = evb_json_skip(scan->p, scan->end, &scan->why);
    if (!end)
        return EVBUS_EPARSE;
    value->length = (uint32_t)(end - value->ptr);
    scan->p += value->length;
    return 0;
}

static char *skip_space(const struct evb_scan *scan, char *p)
{
    return p + (evb_json_space(p, scan->end) - p);
}

int evb_scan_name(struct evb_scan *scan, struct evb_scan_value *name)
{
    char *p = skip_space(scan, scan->p);
    if (*p == '}' && p < scan->end) {
        scan->p = p + 1;
        return 0;
    }
    if (!scan->first) {
        if (*p != ',')
            return evb_scan_fail(scan, "',' or '}' is missing");
        p = skip_space(scan, p + 1);
    }
    scan->first = false;
    scan->p = p;
    if (*p != '"')
        return evb_scan_fail(scan, "a key in quotes is missing");
    int error = read_string(scan, name);
    if (error)
        return error;
    p = skip_space(scan, scan->p);
    if (*p != ':')
        return evb_scan_fail(scan, "':' is missing behind a key");
    scan->p = skip_space(scan, p + 1);
    return 1;
}

/* The index in keys[], or EVB_COUNT(keys). Names are taken as they stand: an escaped one is
 * unknown. */
static size_t find_key(struct evb_scan *scan, const struct evb_scan_value *name)
{
    size_t at = name->escaped ? EVB_COUNT(keys) : scan->next_key;
    for (size_t i = 0; i < EVB_COUNT(keys) && !name->escaped; i++) {
        size_t next = at + 1 < EVB_COUNT(keys) ? at + 1 : 0;
        if (keys[at].length == name->length && !memcmp(keys[at].name, name->ptr, name->length)) {
            scan->next_key = next;
            return at;
        }
        at = next;
    }
    return EVB_COUNT(keys);
}

/* A slot that another spelling of its name has taken stays as it is. */
static void note(struct evb_scan *scan, size_t key, const struct evb_scan_value *name,
                 const struct evb_scan_value *value)
{
    struct evb_scan_value *slot = key < EVB_COUNT(keys) ? &scan->slots[keys[key].slot] : NULL;
    if (slot && (!slot->kind || slot->key == key)) {
        scan->twice = scan->twice || slot->kind;
        *slot = *value;
        slot->key = (unsigned char)key;
    } else if (value->kind == EVB_KIND_STRING && scan->foreign_count < EVB_ATTR_MAX) {
        scan->foreign[scan->foreign_count++] = (struct evb_scan_member){*name, *value};
    }
}

size_t evb_scan_position(const char *text, size_t length, struct evb_position *position)
{
    static const char key[] = ",\"position\":\"";
    const size_t most = sizeof key + EVB_POSITION_TEXT + 1, before = sizeof key - 1;
    size_t at = length < 2 || text[length - 1] != '}' || text[length - 2] != '"' ? 0 : length - 2;
    size_t end = at;
    while (at && length - at < most && text[at - 1] != '"')
        at--;
    if (at < before || memcmp(text + at - before, key, before) != 0 ||
        !evb_position_read(text + at, end - at, position))
        return 0;
    return at - before;
}

/* Data that nobody is to look at: evbus's own writer puts it last, but for the position. */
static int take_rest(struct evb_scan *scan, struct evb_scan_value *value)
{
    struct evb_position position;
    char *last = scan->end;
    while (last > scan->p && *last != '}')
        last--;
    if (last == scan->p)
        return evb_scan_fail(scan, "an object without its end");
    size_t at = evb_scan_position(scan->p, (size_t)(last + 1 - scan->p), &position);
    if (at)
        last = scan->p + at;
    *value = (struct evb_scan_value){
        .ptr = scan->p, .length = (uint32_t)(last - scan->p), .kind = EVB_KIND_OBJECT};
    scan->p = last;
    return 0;
}

static inline bool skip_lead(struct evb_scan *scan, const char *lead)
{
    size_t length = strlen(lead);
    bool here = (size_t)(scan->end - scan->p) >= length && !memcmp(scan->p, lead, length);
    scan->p += here ? length : 0;
    return here;
}

/* `lead` ends with the opening quote of a string that needs no second look. */
static inline bool take_plain(struct evb_scan *scan, const char *lead, enum evb_scan_slot slot)
{
    if (!skip_lead(scan, lead))
        return false;
    uint32_t length = (uint32_t)(evb_json_plain(scan->p, scan->end) - scan->p);
    if (scan->p[length] != '"')
        return false;
    scan->slots[slot] =
        (struct evb_scan_value){.ptr = scan->p, .length = length, .kind = EVB_KIND_STRING};
    scan->p += length + 1;
    return true;
}

static inline bool take_digits(struct evb_scan *scan, enum evb_scan_slot slot)
{
    char *first = scan->p;
    while (*scan->p >= '0' && *scan->p <= '9')
        scan->p++;
    uint32_t length = (uint32_t)(scan->p - first);
    scan->slots[slot] =
        (struct evb_scan_value){.ptr = first, .length = length, .kind = EVB_KIND_NUMBER};
    return length == 1 || (length && *first != '0');
}

static inline bool take_seq(struct evb_scan *scan)
{
    if (!skip_lead(scan, ",\"local\":true,\"seq\":") &&
        !skip_lead(scan, ",\"local\":false,\"seq\":"))
        return false;
    skip_lead(scan, "        "); /* half of the slot, unless the node has sent 10^8 events */
    scan->p = skip_space(scan, scan->p);
    return take_digits(scan, EVB_SLOT_SEQ);
}

/* A request's words, or a reply's. */
static inline bool take_exchange(struct evb_scan *scan)
{
    if (take_plain(scan, ",\"replyTo\":\"", EVB_SLOT_REPLY_TO))
        return !skip_lead(scan, ",\"deadline\":") || take_digits(scan, EVB_SLOT_DEADLINE);
    take_plain(scan, ",\"inReplyTo\":\"", EVB_SLOT_IN_REPLY_TO);
    return true;
}

bool evb_scan_own(struct evb_scan *scan)
{
    struct evb_scan_value *data = &scan->slots[EVB_SLOT_DATA];
    scan->p = scan->begin;
    if (!take_plain(scan, "{\"node\":\"", EVB_SLOT_NODE) || !take_seq(scan) ||
        !take_plain(scan, ",\"eventId\":\"", EVB_SLOT_EVENT_ID) ||
        !take_plain(scan, ",\"type\":\"", EVB_SLOT_TYPE) ||
        !take_plain(scan, ",\"version\":\"", EVB_SLOT_VERSION) ||
        !take_plain(scan, ",\"timestamp\":\"", EVB_SLOT_TIME))
        return false;
    take_plain(scan, ",\"source\":\"", EVB_SLOT_SOURCE);
    take_plain(scan, ",\"correlationId\":\"", EVB_SLOT_CORRELATION);
    if (!take_exchange(scan) || !skip_lead(scan, ",\"data\":") || scan->end == scan->p)
        return false;
    if (!scan->check) {
        if (take_rest(scan, data))
            return false;
    } else if (evb_scan_value(scan, data)) {
        return false;
    }
    take_plain(scan, ",\"position\":\"", EVB_SLOT_POSITION);
    return skip_lead(scan, "}") && scan->p == scan->end;
}

int evb_scan_object(struct evb_scan *scan)
{
    struct evb_scan_value name, value;
    int more, error = 0;
    while (!error && (more = evb_scan_name(scan, &name)) != 0) {
        if (more < 0)
            return more;
        size_t key = find_key(scan, &name);
        bool unseen = key < EVB_COUNT(keys) && keys[key].slot == EVB_SLOT_DATA && !scan->check &&
                      scan->slots[EVB_SLOT_NODE].kind;
        error = unseen ? take_rest(scan, &value) : evb_scan_value(scan, &value);
        if (!error)
            note(scan, key, &name, &value);
    }
    if (!error && skip_space(scan, scan->p) != scan->end)
        return evb_scan_fail(scan, "more behind the object");
    return error;
}
