/*
 * trie.h - patterns by their words, so that a type finds the few that match among many. Values are
 * borrowed. Under its owner's lock.
 */
#ifndef EVB_TRIE_H
#define EVB_TRIE_H
#include <stddef.h>

struct evb_trie_node;

struct evb_trie {
    struct evb_trie_node *root; /* owned */
};

void evb_trie_init(struct evb_trie *trie);
void evb_trie_fini(struct evb_trie *trie);
/* `pattern` is of the kind EVB_PATTERN_WORDS, and not in the trie yet. */
int evb_trie_add(struct evb_trie *trie, const char *pattern, size_t length, void *value);
void evb_trie_remove(struct evb_trie *trie, const char *pattern, size_t length);
/* each(value, user) for every pattern that matches; patterns that begin with a wildcard do not
 * match "evbus." types. */
void evb_trie_match(const struct evb_trie *trie, const char *type, size_t length,
                    void (*each)(void *value, void *user), void *user);

#endif
