/*
 * seen.h - one delivery per subscription: rising marks per publishing node, and a small window of
 * ids for foreign events that carry one. What has a position in the history has a mark of its own:
 * it may come later than what has none. Loop only, no lock; bounded.
 */
#ifndef EVB_SEEN_H
#define EVB_SEEN_H
#include "list.h"
#include "map.h"
#include <stdbool.h>
#include <stdint.h>

#define EVB_SEEN_NODES 65536 /* beyond, the node longest not heard of is forgotten */

struct evb_seen_id;

struct evb_seen {
    struct evb_map nodes;     /* node -> struct evb_seen_node, owned */
    struct evb_node idle;     /* the same, longest not heard of first */
    struct evb_map ids;       /* id -> struct evb_seen_id in the ring */
    struct evb_seen_id *ring; /* owned: the window, oldest overwritten first */
    size_t window, next;      /* fixed after init, 0 for none; where the next id goes */
    int64_t age_ms;           /* fixed after init: older ids count as new */
};

int evb_seen_init(struct evb_seen *seen, size_t window, int64_t age_ms);
void evb_seen_fini(struct evb_seen *seen);
/* true: new, and now noted. On want of memory true: a double beats a loss. `node` has
 * EVB_NODE_LENGTH bytes; seq 0 (none) is always new. */
bool evb_seen_seq(struct evb_seen *seen, const char *node, uint64_t seq, bool positioned,
                  int64_t now_ms);
bool evb_seen_id(struct evb_seen *seen, const char *id, size_t length, int64_t now_ms);
/* Forgets nodes not heard of for `idle_ms`. */
void evb_seen_prune(struct evb_seen *seen, int64_t now_ms, int64_t idle_ms);

#endif
