/*
 * event.h - one event: a single allocation for what publish and receive make; setters hang further
 * pieces on it. Immutable and shared once published. Made and read on any thread.
 */
#ifndef EVB_EVENT_H
#define EVB_EVENT_H
#include "clock.h"
#include "position.h"
#include <evbus.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EVB_EVENT_PRIVATE 2  /* nobody but its maker can know it: freezing it needs no care */
#define EVB_NODE_LENGTH   16 /* hex digits of a bus's id */
#define EVB_ID_TEXT       37 /* UUID text and NUL */

#define EVB_TEXT_MAX        255  /* bytes of an id, a source, a version, an attribute's name */
#define EVB_ATTR_VALUE_MAX  4096 /* bytes */
#define EVB_ATTR_MAX        64   /* attributes of one event */
#define EVB_REFUSAL_MAX     400  /* bytes of a reply's error */
#define EVB_VERSION_DEFAULT "1.0"

enum { EVB_TEXT_NONE, EVB_TEXT_BEING_WRITTEN, EVB_TEXT_THERE };

struct evb_text { /* borrowed from the event; NUL behind it; ptr NULL: none */
    const char *ptr;
    uint32_t length;
};

struct evb_attr {
    struct evb_text name, value;
};

struct evb_exchange {            /* of a request or a reply */
    struct evb_text reply_to;    /* of a request: the channel that its answer goes to */
    struct evb_text in_reply_to; /* of a reply: the request's id */
    struct evb_text error;       /* of a reply: why there is no answer; ptr NULL: there is one */
    int64_t deadline_ms;         /* of a request: Unix time; INT64_MAX: none */
};

struct evb_piece; /* what setters allocated: freed with the event */

enum evb_answer { /* to the delivery of an event that waits for one */
                  EVB_ANSWER_NONE,
                  EVB_ANSWER_HANDLED,
                  EVB_ANSWER_FAILED,
                  EVB_ANSWER_NOT_CALLED /* nobody has tried: it does not count */
};

struct evb_delivery { /* what stands behind an event that is given to one subscription alone */
    const struct evb_delivery_door *door;
    int attempt;  /* 1 for the first */
    bool by_hand; /* the next pull does not mean that it is handled */
};

struct evb_delivery_door {                        /* any thread */
    bool (*begin)(struct evb_delivery *delivery); /* false: it was given back, and is nobody's */
    /* Once; delay_ms -1: the usual one. 0, or EVBUS_ENOENT (answered before), EVBUS_ECLOSED. */
    int (*answer)(evbus_event *event, enum evb_answer answer, int64_t delay_ms);
    void (*gone)(struct evb_delivery *delivery); /* with its event */
};

struct evbus_event {
    /* What every receiver touches: a cache line, with what pool.c puts in front. Fixed once frozen,
     * but for refs. */
    atomic_int refs;
    bool is_json;                  /* of data */
    bool has_time;                 /* time_us was given or received */
    uint8_t origin;                /* EVBUS_ORIGIN_* */
    atomic_uchar frozen;           /* 1 once published or received; or EVB_EVENT_PRIVATE */
    struct evb_piece *pieces;      /* owned */
    struct evb_delivery *delivery; /* ref; NULL: it is everybody's */
    evbus_event *base;             /* ref: of a view, whose texts stand there; NULL: it is none */
    struct evb_exchange *exchange; /* in a piece of its own; NULL: neither request nor reply */
    struct evb_text data;

    /* atomic */
    const char *_Atomic position_text; /* NULL: none known; lives as long as the event */
    atomic_int text_state;             /* id_text and time_text: EVB_TEXT_* */

    /* fixed once frozen */
    uint32_t size;       /* bytes of memory that the event holds, pieces included */
    uint32_t spare_room; /* bytes at `spare` */
    uint16_t attr_count, attr_room;
    bool echo;                    /* of a received one: own, delivered here when published */
    bool bus_source;              /* source was not given, and is the bus's */
    uint64_t seq;                 /* of a received event; 0: none */
    struct evb_position position; /* loop only; none without history */
    int64_t time_us;
    int64_t ttl_ms; /* 0: none */
    struct evb_text type, version, source, node, correlation;
    struct evb_text
        id; /* given or received; ptr NULL: id_text, a UUIDv7 drawn when first asked for */
    struct evb_attr *attrs; /* owned array, in a piece of its own */
    uint64_t term;          /* of a view: what its receiver counts by; else 0 */
    char *spare;            /* what is left of body */
    char node_text[EVB_NODE_LENGTH + 1];
    char id_text[EVB_ID_TEXT];     /* under text_state */
    char time_text[EVB_TIME_TEXT]; /* under text_state */
    char body[];                   /* type, data: what came with the allocation, then spare */
};

/* A building event with type and data copied behind it (data NULL: none). The type must be good. */
evbus_event *evb_event_make(const char *type, size_t type_length, const char *data,
                            size_t data_length, bool is_json);
/* A building event with JSON data of that length for the caller to write. */
evbus_event *evb_event_make_room(const char *type, size_t type_length, size_t data_length);
/* A building event without a type, with `room` bytes that evb_event_keep() takes from first. */
evbus_event *evb_event_alloc(size_t room);
/* A copy with a NUL behind it that lives as long as the event (counted in size); NULL, with the
 * sentence set: none left, or above 2 GiB in all. */
char *evb_event_keep(evbus_event *event, const char *text, size_t length);
/* Gives back what evb_event_keep() allocated, so that setting again and again does not grow the
 * event. Nothing for bytes of the event's own allocation. */
void evb_event_drop(evbus_event *event, const void *bytes);
/* Borrows both texts, which live as long as the event. Takes the place of one of the same name.
 * EVBUS_EFULL: EVB_ATTR_MAX are there. */
int evb_event_add_attr(evbus_event *event, struct evb_text name, struct evb_text value);
/* A new one that lives as long as the event, or until evb_event_drop(); without texts and deadline.
 * NULL: no memory. */
struct evb_exchange *evb_event_exchange(evbus_event *event);
/* A refusal's text, in place: cut to EVB_REFUSAL_MAX bytes and a NUL, control characters and what
 * is not UTF-8 replaced. Its length. */
uint32_t evb_refusal_clean(char *text, size_t length);
bool evb_event_is_request(const evbus_event *event);
/* Milliseconds that are left for an answer, 0 when it is too late; INT64_MAX: no end. */
int64_t evb_event_time_left_ms(const evbus_event *event);
struct evb_attr *evb_event_find_attr(const evbus_event *event, struct evb_text name); /* or NULL */
struct evb_text evb_event_id(const evbus_event *event); /* no length and "" while it has none */
/* The correlation, or the id; no length and "" when there is neither yet. */
struct evb_text evb_event_correlation(const evbus_event *event);

/* Takes time, source and node for what was not given, once. EVBUS_EINVAL: published before.
 * `node` has EVB_NODE_LENGTH bytes; `source` (NULL or "": none) is copied. Loses a race:
 * EVBUS_EINVAL as well. EVBUS_ENOMEM leaves the event as it was. */
int evb_event_freeze(evbus_event *event, const char *node, const char *source);
/* It was not published after all, and nobody has seen it: as it was before it was frozen. */
void evb_event_thaw(evbus_event *event);
/* Its place in the history is known now; others may already look for it. On the loop, which holds a
 * reference. */
void evb_event_set_position(evbus_event *event, struct evb_position position);
/* A frozen event that shows another one and has one attribute more, or another value of it, while
 * the shared one stays as it is. `name` lives for ever. */
evbus_event *evb_event_view(evbus_event *base, const char *name, const char *value, uint64_t term);
void evb_uuid_write(const uint8_t uuid[16], char out[EVB_ID_TEXT]); /* RFC 9562 section 4 */

#endif
