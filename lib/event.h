/*
 * event.h - one event: a single allocation for what publish and receive make; setters hang further
 * pieces on it. Immutable and shared once published. Made and read on any thread.
 */
#ifndef EVB_EVENT_H
#define EVB_EVENT_H
#include "clock.h"
#include <evbus.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EVB_NODE_LENGTH 16 /* hex digits of a bus's id */
#define EVB_ID_TEXT 37     /* UUID text and NUL */

struct evb_text { /* borrowed from the event; NUL behind it; ptr NULL: none */
    const char *ptr;
    uint32_t length;
};

struct evb_attr {
    struct evb_text name, value;
};

struct evb_piece; /* what setters allocated: freed with the event */

struct evbus_event {
    atomic_int refs;
    atomic_int text_state; /* atomic: id_text and time_text: 0 unwritten, 1 being written, 2 there */
    atomic_int frozen;     /* atomic: 1 once published or received */

    /* fixed once frozen */
    bool is_json;
    bool has_time; /* time_us was given by the caller */
    uint8_t origin; /* EVBUS_ORIGIN_* */
    uint32_t size; /* bytes of memory that the event holds, pieces included */
    uint64_t seq;  /* of a received event; 0: none */
    int64_t time_us;
    int64_t ttl_ms; /* 0: none */
    struct evb_text type, version, source, node, correlation, data;
    struct evb_text id; /* given or received; ptr NULL: uuid */
    uint8_t uuid[16];
    struct evb_attr *attrs; /* owned array, in a piece of its own */
    uint32_t attr_count, attr_room;
    struct evb_piece *pieces; /* owned */
    char node_text[EVB_NODE_LENGTH + 1];
    char id_text[EVB_ID_TEXT];        /* under text_state */
    char time_text[EVB_TIME_TEXT];    /* under text_state */
    char body[];                      /* type, data: what came with the allocation */
};

/* A building event with type and data copied behind it (data NULL: none). The type must be good. */
evbus_event *evb_event_make(const char *type, size_t type_length, const char *data, size_t data_length,
                            bool is_json);
/* A building event with `room` bytes of body for the codec to fill. */
evbus_event *evb_event_alloc(size_t room);
/* Memory that lives as long as the event (counted in size); NULL: none left. */
char *evb_event_keep(evbus_event *event, const char *text, size_t length);
int evb_event_add_attr(evbus_event *event, struct evb_text name, struct evb_text value); /* borrows */

/* Takes time, id, source and node for what was not given, once. EVBUS_EINVAL: published before.
 * `node` has EVB_NODE_LENGTH bytes; `source` is copied. Loses a race: EVBUS_EINVAL as well. */
int evb_event_freeze(evbus_event *event, const char *node, const char *source);
void evb_uuid_write(const uint8_t uuid[16], char out[EVB_ID_TEXT]); /* RFC 9562 section 4 */

#endif
