/*
 * seen.h - one delivery per subscription: marks per publishing node, and a small window of ids for
 * foreign events that carry one. What has a position in the history comes in the order of its
 * numbers, and has a mark of its own: it may come later than what has none. What has none may come
 * late, when Redis refused it for a while and took what was behind it: of the last numbers below
 * the mark it is known which came. Loop only, no lock; bounded.
 */
#ifndef EVB_SEEN_H
#define EVB_SEEN_H
#include "list.h"
#include "map.h"
#include <stdbool.h>
#include <stdint.h>

/* Beyond, the node longest not heard of is forgotten. */
#define EVB_SEEN_NODES      65536
/* So far below its node's highest number an event may come late; of so many nodes: of others, what
 * comes late counts as old. */
#define EVB_SEEN_LATE       65472
#define EVB_SEEN_LATE_NODES 1024

struct evb_seen_id;

struct evb_seen {
    struct evb_map nodes;     /* node -> struct evb_seen_node, owned */
    struct evb_node idle;     /* the same, longest not heard of first */
    size_t late_nodes;        /* have a window of their last numbers */
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
