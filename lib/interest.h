/*
 * interest.h - from the registry's patterns to Redis's channels and patterns: entries that need the
 * same one share it. Loop only, but for evb_interest_changed().
 */
#ifndef EVB_INTEREST_H
#define EVB_INTEREST_H
#include "bus.h"

struct evb_via { /* one channel or pattern on the wire */
    bool pattern;
    int wire;             /* EVB_WIRE_* */
    enum evb_right lacks; /* REFUSED: what is missing */
    struct evb_node entries;
    size_t length;
    char name[];
};

void evb_interest_changed(struct evb_entry *entry, void *bus); /* the registry's hook; any thread */
/* What Redis decided of one; NULL: it knows none such. */
struct evb_via *evb_interest_decided(struct evbus *bus, const struct evb_topic *topic);
void evb_interest_again(struct evbus *bus); /* asks once more for what Redis refused */
void evb_interest_lost(struct evbus *bus);  /* the link is gone: all are open again */
/* The right that a refused pattern needs, in words; any thread. */
void evb_interest_lacks(const struct evbus *bus, struct evb_entry *entry, char *out, size_t room);
struct evb_via *evb_interest_find(struct evbus *bus, const char *name, size_t length, bool pattern);
void evb_interest_fini(struct evbus *bus);

#endif
