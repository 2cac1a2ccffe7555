/* seen.c - marks of nodes, least recently heard first, and a ring of ids. Called by the receiving
 * side, on the loop. */
#include "seen.h"
#include "alloc.h"
#include "err.h"
#include "event.h"
#include <string.h>

struct evb_seen_node {
    struct evb_node idle;
    uint64_t seq[2]; /* the highest that came, by positioned */
    int64_t heard_ms;
    char name[EVB_NODE_LENGTH];
};

struct evb_seen_id {
    char *text; /* owned; NULL: a free place */
    size_t length;
    int64_t noted_ms;
};

int evb_seen_init(struct evb_seen *seen, size_t window, int64_t age_ms)
{
    *seen = (struct evb_seen){.window = window, .age_ms = age_ms};
    evb_map_init(&seen->nodes);
    evb_map_init(&seen->ids);
    evb_list_init(&seen->idle);
    seen->ring = evb_calloc(window ? window : 1, sizeof *seen->ring);
    return seen->ring ? 0 : evb_fail_memory();
}

void evb_seen_fini(struct evb_seen *seen)
{
    for (size_t i = 0; i < seen->window && seen->ring; i++)
        evb_free(seen->ring[i].text);
    evb_free(seen->ring);
    evb_map_fini(&seen->ids, NULL);
    evb_map_fini(&seen->nodes, evb_free);
    *seen = (struct evb_seen){0};
}

static void forget_node(struct evb_seen *seen, struct evb_seen_node *node)
{
    evb_list_remove(&node->idle);
    evb_map_remove(&seen->nodes, node->name, EVB_NODE_LENGTH);
    evb_free(node);
}

static struct evb_seen_node *longest_idle(struct evb_seen *seen)
{
    return evb_container(seen->idle.next, struct evb_seen_node, idle);
}

/* Mostly the node that spoke last speaks again. */
static struct evb_seen_node *find_node(struct evb_seen *seen, const char *name)
{
    if (evb_list_empty(&seen->idle))
        return NULL;
    struct evb_seen_node *last = evb_container(seen->idle.prev, struct evb_seen_node, idle);
    if (memcmp(last->name, name, EVB_NODE_LENGTH) == 0)
        return last;
    return evb_map_get(&seen->nodes, name, EVB_NODE_LENGTH);
}

static void note_node(struct evb_seen *seen, const char *name, uint64_t seq, bool positioned,
                      int64_t now_ms)
{
    if (seen->nodes.count >= EVB_SEEN_NODES)
        forget_node(seen, longest_idle(seen));
    struct evb_seen_node *node = evb_alloc(sizeof *node);
    if (!node)
        return;
    node->seq[positioned] = seq;
    node->seq[!positioned] = 0;
    node->heard_ms = now_ms;
    memcpy(node->name, name, EVB_NODE_LENGTH);
    if (evb_map_put(&seen->nodes, name, EVB_NODE_LENGTH, node) != 0) {
        evb_free(node);
        return;
    }
    evb_list_push(&seen->idle, &node->idle);
}

bool evb_seen_seq(struct evb_seen *seen, const char *name, uint64_t seq, bool positioned,
                  int64_t now_ms)
{
    if (!seq)
        return true;
    struct evb_seen_node *node = find_node(seen, name);
    if (!node) {
        note_node(seen, name, seq, positioned, now_ms);
        return true;
    }
    node->heard_ms = now_ms;
    evb_list_remove(&node->idle);
    evb_list_push(&seen->idle, &node->idle);
    if (seq <= node->seq[positioned])
        return false;
    node->seq[positioned] = seq;
    return true;
}

static void forget_id(struct evb_seen *seen, struct evb_seen_id *place)
{
    if (!place->text)
        return;
    evb_map_remove(&seen->ids, place->text, place->length);
    evb_free(place->text);
    place->text = NULL;
}

bool evb_seen_id(struct evb_seen *seen, const char *id, size_t length, int64_t now_ms)
{
    if (!seen->window)
        return true;
    struct evb_seen_id *place = evb_map_get(&seen->ids, id, length);
    if (place && now_ms - place->noted_ms <= seen->age_ms)
        return false;
    if (place)
        forget_id(seen, place);
    place = &seen->ring[seen->next];
    forget_id(seen, place);
    char *text = evb_strndup(id, length);
    if (!text || evb_map_put(&seen->ids, id, length, place) != 0) {
        evb_free(text);
        return true;
    }
    *place = (struct evb_seen_id){text, length, now_ms};
    seen->next = seen->next + 1 < seen->window ? seen->next + 1 : 0;
    return true;
}

void evb_seen_prune(struct evb_seen *seen, int64_t now_ms, int64_t idle_ms)
{
    while (!evb_list_empty(&seen->idle) && now_ms - longest_idle(seen)->heard_ms > idle_ms)
        forget_node(seen, longest_idle(seen));
}
