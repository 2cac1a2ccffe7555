/* map.h - a hash table from byte strings to pointers. One owner, no lock. Hash seeded per process.
 */
#ifndef EVB_MAP_H
#define EVB_MAP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct evb_map_slot;

struct evb_map {
    struct evb_map_slot **buckets; /* owned */
    size_t bucket_count;
    size_t count;
};

uint64_t evb_hash(const char *bytes, size_t length);

void evb_map_init(struct evb_map *map);
void evb_map_fini(struct evb_map *map, void (*free_value)(void *)); /* NULL: values are borrowed */
void *evb_map_get(const struct evb_map *map, const char *key, size_t length); /* NULL: none */
int evb_map_put(struct evb_map *map, const char *key, size_t length,
                void *value);                                              /* copies the key */
void *evb_map_remove(struct evb_map *map, const char *key, size_t length); /* the value, or NULL */
/* Every pair once; `each` may remove the pair it is given, nothing else. */
void evb_map_each(struct evb_map *map,
                  void (*each)(const char *key, size_t length, void *value, void *user),
                  void *user);

#endif
