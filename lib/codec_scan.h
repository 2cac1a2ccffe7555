/*
 * codec_scan.h - the first half of reading an envelope: finds the members of a JSON object in one
 * checking pass and notes the known ones by slot. Changes nothing in the text. For codec.c alone.
 */
#ifndef EVB_CODEC_SCAN_H
#define EVB_CODEC_SCAN_H
#include "event.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum evb_scan_kind {
    EVB_KIND_ABSENT = 0,
    EVB_KIND_STRING = 1,
    EVB_KIND_NUMBER = 2,
    EVB_KIND_BOOL = 4,
    EVB_KIND_NULL = 8,
    EVB_KIND_OBJECT = 16,
    EVB_KIND_ARRAY = 32,
    EVB_KIND_ANY = 63
};

enum evb_scan_slot {
    EVB_SLOT_NODE,
    EVB_SLOT_LOCAL,
    EVB_SLOT_SEQ,
    EVB_SLOT_EVENT_ID,
    EVB_SLOT_TYPE,
    EVB_SLOT_VERSION,
    EVB_SLOT_TIME,
    EVB_SLOT_TTL,
    EVB_SLOT_SOURCE,
    EVB_SLOT_CORRELATION,
    EVB_SLOT_ATTRS,
    EVB_SLOT_DATA,
    EVB_SLOT_BYTES,
    EVB_SLOT_PAYLOAD,
    EVB_SLOT_METADATA,
    EVB_SLOT_SIGNATURE,
    EVB_SLOT_POSITION,
    EVB_SLOT_ID,
    EVB_SLOT_SPEC,
    EVB_SLOT_REPLY_TO,
    EVB_SLOT_DEADLINE,
    EVB_SLOT_IN_REPLY_TO,
    EVB_SLOT_ERROR,
    EVB_SLOT_COUNT
};

struct evb_scan_value {
    char *ptr; /* a string's inside, else the first byte */
    uint32_t length;
    unsigned char kind;
    unsigned char key; /* which of keys[] named it */
    bool escaped;
};

struct evb_scan_member {
    struct evb_scan_value name, value;
};

struct evb_scan {
    char *p, *end; /* the copy; a NUL at end */
    char *begin;   /* its first brace */
    bool first;    /* no member of this object was read yet */
    const char *why;
    evbus_event *event;
    bool check; /* data is looked at */
    bool reply; /* EVB_READ_REPLY */
    bool twice; /* a known key came twice */
    size_t next_key;
    size_t foreign_count;
    struct evb_scan_value slots[EVB_SLOT_COUNT];
    struct evb_scan_member foreign[EVB_ATTR_MAX]; /* strings under unknown keys */
};

/* Reads an envelope that is byte for byte as evb_codec_write() makes it, without ttl, attributes,
 * bytes and escapes; false for any other, with the slots spoilt. Only a faster evb_scan_object().
 */
bool evb_scan_own(struct evb_scan *scan);
/* Reads a whole object that fills begin..end: 0 with p behind it, or EVBUS_EPARSE. */
int evb_scan_object(struct evb_scan *scan);
/* The next member's name, p on its value: 1, 0 behind the object, or EVBUS_EPARSE. */
int evb_scan_name(struct evb_scan *scan, struct evb_scan_value *name);
int evb_scan_value(struct evb_scan *scan, struct evb_scan_value *value);
/* Where `,"position":"<ms>-<n>"}` begins at the end of the text; 0: it does not end so. */
size_t evb_scan_position(const char *text, size_t length, struct evb_position *position);
int evb_scan_fail(struct evb_scan *scan, const char *why); /* EVBUS_EPARSE */

#endif
