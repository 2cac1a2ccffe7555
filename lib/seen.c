/* seen.c - marks of nodes, least recently heard first, and a ring of ids. Called by the receiving
 * side, on the loop. */
#include "seen.h"
#include "alloc.h"
#include "err.h"
#include "event.h"
#include <string.h>

enum { LATE_WORDS = EVB_SEEN_LATE / 64 + 1 };

struct evb_seen_node {
    struct evb_node idle;
    uint64_t seq[2]; /* the highest that came, by positioned */
    uint64_t *late;  /* owned, LATE_WORDS: a bit for each of the last numbers that came without
                      * position; NULL: none came, or there is no room for more of these */
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

static void free_node(void *value)
{
    struct evb_seen_node *node = value;
    evb_free(node->late);
    evb_free(node);
}

void evb_seen_fini(struct evb_seen *seen)
{
    for (size_t i = 0; i < seen->window && seen->ring; i++)
        evb_free(seen->ring[i].text);
    evb_free(seen->ring);
    evb_map_fini(&seen->ids, NULL);
    evb_map_fini(&seen->nodes, free_node);
    *seen = (struct evb_seen){0};
}

/* ---- what came late (RFC 6479: the window turns by words, no bit is ever shifted) ---- */

static uint64_t *late_word(struct evb_seen_node *node, uint64_t seq)
{
    return &node->late[seq / 64 % LATE_WORDS];
}

static uint64_t late_bit(uint64_t seq)
{
    return UINT64_C(1) << seq % 64;
}

/* Which of those before came, nobody knows any more: they count as if they had. */
static void begin_late(struct evb_seen *seen, struct evb_seen_node *node)
{
    if (seen->late_nodes >= EVB_SEEN_LATE_NODES)
        return;
    node->late = evb_alloc(LATE_WORDS * sizeof *node->late);
    if (!node->late)
        return;
    memset(node->late, node->seq[false] ? 0xff : 0, LATE_WORDS * sizeof *node->late);
    seen->late_nodes++;
}

/* `seq` is the highest from now on. */
static void turn_late(struct evb_seen_node *node, uint64_t seq)
{
    uint64_t from = node->seq[false] / 64, to = seq / 64;
    if (to - from >= LATE_WORDS)
        memset(node->late, 0, LATE_WORDS * sizeof *node->late);
    else
        while (from < to)
            node->late[++from % LATE_WORDS] = 0;
    *late_word(node, seq) |= late_bit(seq);
}

/* Not above the mark: has it not come yet? */
static bool is_late(struct evb_seen_node *node, uint64_t seq)
{
    if (!node->late || node->seq[false] - seq >= EVB_SEEN_LATE ||
        *late_word(node, seq) & late_bit(seq))
        return false;
    *late_word(node, seq) |= late_bit(seq);
    return true;
}

/* ---- nodes ---- */

/* True: it is new. */
static bool note_seq(struct evb_seen *seen, struct evb_seen_node *node, uint64_t seq,
                     bool positioned)
{
    if (seq <= node->seq[positioned])
        return !positioned && is_late(node, seq);
    if (!positioned && !node->late)
        begin_late(seen, node);
    if (!positioned && node->late)
        turn_late(node, seq);
    node->seq[positioned] = seq;
    return true;
}

static void forget_node(struct evb_seen *seen, struct evb_seen_node *node)
{
    evb_list_remove(&node->idle);
    evb_map_remove(&seen->nodes, node->name, EVB_NODE_LENGTH);
    seen->late_nodes -= node->late != NULL;
    free_node(node);
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
    struct evb_seen_node *node = evb_calloc(1, sizeof *node);
    if (!node)
        return;
    node->heard_ms = now_ms;
    memcpy(node->name, name, EVB_NODE_LENGTH);
    if (evb_map_put(&seen->nodes, name, EVB_NODE_LENGTH, node) != 0) {
        evb_free(node);
        return;
    }
    evb_list_push(&seen->idle, &node->idle);
    note_seq(seen, node, seq, positioned);
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
    return note_seq(seen, node, seq, positioned);
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
