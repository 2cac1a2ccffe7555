/* trie.c - a node a word. Called by the registry, under its lock. */
#include "trie.h"
#include "alloc.h"
#include "err.h"
#include "map.h"
#include "match.h"
#include <evbus.h>
#include <stdbool.h>
#include <string.h>

struct evb_trie_node {
    struct evb_map words;       /* word -> node, owned */
    struct evb_trie_node *star; /* owned: "*" */
    void *here;                 /* a pattern ends here */
    void *tail;                 /* a pattern ends here with ">" */
};

static void node_free(void *memory)
{
    struct evb_trie_node *node = memory;
    if (!node)
        return;
    node_free(node->star); /* as deep as a pattern has words: at most 128 */
    evb_map_fini(&node->words, node_free);
    evb_free(node);
}

static struct evb_trie_node *node_new(void)
{
    struct evb_trie_node *node = evb_calloc(1, sizeof *node);
    if (node)
        evb_map_init(&node->words);
    else
        evb_fail_memory();
    return node;
}

void evb_trie_init(struct evb_trie *trie)
{
    trie->root = NULL;
}

void evb_trie_fini(struct evb_trie *trie)
{
    node_free(trie->root);
    trie->root = NULL;
}

static size_t word_length(const char *text, size_t length)
{
    const char *dot = memchr(text, '.', length);
    return dot ? (size_t)(dot - text) : length;
}

static bool is(const char *word, size_t length, char wildcard)
{
    return length == 1 && *word == wildcard;
}

/* The child of `node` for a word; made when it is missing and `make` is asked. */
static struct evb_trie_node *child(struct evb_trie_node *node, const char *word, size_t length,
                                   bool make)
{
    bool star = is(word, length, '*');
    struct evb_trie_node *next = star ? node->star : evb_map_get(&node->words, word, length);
    if (next || !make || !(next = node_new()))
        return next;
    if (star)
        node->star = next;
    else if (evb_map_put(&node->words, word, length, next) != 0) {
        node_free(next);
        return NULL;
    }
    return next;
}

int evb_trie_add(struct evb_trie *trie, const char *pattern, size_t length, void *value)
{
    if (!trie->root && !(trie->root = node_new()))
        return EVBUS_ENOMEM;
    struct evb_trie_node *node = trie->root;
    for (;;) {
        size_t n = word_length(pattern, length);
        if (is(pattern, n, '>')) {
            node->tail = value;
            return 0;
        }
        node = child(node, pattern, n, true);
        if (!node)
            return EVBUS_ENOMEM;
        if (n == length) {
            node->here = value;
            return 0;
        }
        pattern += n + 1;
        length -= n + 1;
    }
}

static bool node_empty(const struct evb_trie_node *node)
{
    return !node->here && !node->tail && !node->star && node->words.count == 0;
}

static void remove_below(struct evb_trie_node *node, const char *pattern, size_t length)
{
    size_t n = word_length(pattern, length);
    if (is(pattern, n, '>')) {
        node->tail = NULL;
        return;
    }
    struct evb_trie_node *next = child(node, pattern, n, false);
    if (!next)
        return;
    if (n == length)
        next->here = NULL;
    else
        remove_below(next, pattern + n + 1, length - n - 1);
    if (!node_empty(next))
        return;
    if (next == node->star)
        node->star = NULL;
    else
        evb_map_remove(&node->words, pattern, n);
    node_free(next);
}

void evb_trie_remove(struct evb_trie *trie, const char *pattern, size_t length)
{
    if (trie->root)
        remove_below(trie->root, pattern, length);
}

struct walk {
    void (*each)(void *value, void *user);
    void *user;
};

static void match_below(const struct evb_trie_node *node, const char *type, size_t length,
                        bool wildcards, const struct walk *walk)
{
    size_t n = word_length(type, length);
    if (node->tail && wildcards)
        walk->each(node->tail, walk->user);
    const struct evb_trie_node *next[] = {evb_map_get(&node->words, type, n),
                                          wildcards ? node->star : NULL};
    for (int i = 0; i < 2; i++) {
        if (!next[i])
            continue;
        if (n < length)
            match_below(next[i], type + n + 1, length - n - 1, true, walk);
        else if (next[i]->here)
            walk->each(next[i]->here, walk->user);
    }
}

void evb_trie_match(const struct evb_trie *trie, const char *type, size_t length,
                    void (*each)(void *value, void *user), void *user)
{
    struct walk walk = {each, user};
    if (trie->root)
        match_below(trie->root, type, length, !evb_type_is_system(type, length), &walk);
}
