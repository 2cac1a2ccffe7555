/* map.c - a chained hash table with keys of its own. One owner. */
#include "map.h"
#include "alloc.h"
#include "err.h"
#include "rand.h"
#include <evbus.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

struct evb_map_slot {
    struct evb_map_slot *next;
    void *value;
    uint64_t hash;
    size_t length;
    char key[];
};

static pthread_once_t secret_once = PTHREAD_ONCE_INIT;
static uint64_t secret[2];
static atomic_int secrets_drawn;

static void secrets_draw(void)
{
    evb_rand_bytes(secret, sizeof secret);
    secret[0] |= 1; /* a factor of 0 would forget the key */
    secret[1] |= 1;
    atomic_store(&secrets_drawn, 1);
}

__extension__ typedef unsigned __int128 wide;

/* The product's two halves folded: every bit of both reaches every bit (as wyhash does). */
static uint64_t fold(uint64_t a, uint64_t b)
{
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t read64(const char *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

static uint64_t read32(const char *bytes)
{
    uint32_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

/* Up to 16 bytes as two words, read from both ends (as wyhash does): a copy of a length known only
 * now would cost more than the hash. With the length they tell all keys apart. */
static void read_rest(const char *bytes, size_t length, uint64_t word[2])
{
    if (length >= 8) {
        word[0] = read64(bytes);
        word[1] = read64(bytes + length - 8);
    } else if (length >= 4) {
        word[0] = read32(bytes);
        word[1] = read32(bytes + length - 4);
    } else {
        word[0] =
            length ? (uint64_t)(unsigned char)bytes[0] << 8 | (unsigned char)bytes[length / 2] : 0;
        word[1] = length ? (unsigned char)bytes[length - 1] : 0;
    }
}

/* Keys come from the network: whoever does not know the two secrets cannot make them collide. */
uint64_t evb_hash(const char *bytes, size_t length)
{
    if (!atomic_load_explicit(&secrets_drawn, memory_order_acquire))
        pthread_once(&secret_once, secrets_draw);
    uint64_t hash = fold(secret[0] ^ length, secret[1]), word[2];
    for (; length > 16; bytes += 16, length -= 16)
        hash = fold(read64(bytes) ^ secret[0] ^ hash, read64(bytes + 8) ^ secret[1]);
    read_rest(bytes, length, word);
    return fold(word[0] ^ secret[0] ^ hash, word[1] ^ secret[1] ^ (hash >> 32));
}

void evb_map_init(struct evb_map *map)
{
    *map = (struct evb_map){0};
}

void evb_map_fini(struct evb_map *map, void (*free_value)(void *))
{
    for (size_t i = 0; i < map->bucket_count; i++) {
        struct evb_map_slot *slot = map->buckets[i];
        while (slot) {
            struct evb_map_slot *next = slot->next;
            if (free_value)
                free_value(slot->value);
            evb_free(slot);
            slot = next;
        }
    }
    evb_free(map->buckets);
    *map = (struct evb_map){0};
}

static struct evb_map_slot **find(const struct evb_map *map, const char *key, size_t length,
                                  uint64_t hash)
{
    if (!map->bucket_count)
        return NULL;
    struct evb_map_slot **link = &map->buckets[hash & (map->bucket_count - 1)];
    while (*link && ((*link)->hash != hash || (*link)->length != length ||
                     memcmp((*link)->key, key, length) != 0))
        link = &(*link)->next;
    return link;
}

void *evb_map_get(const struct evb_map *map, const char *key, size_t length)
{
    struct evb_map_slot **link = find(map, key, length, evb_hash(key, length));
    return link && *link ? (*link)->value : NULL;
}

static int grow(struct evb_map *map)
{
    size_t count = map->bucket_count ? map->bucket_count * 2 : 16;
    struct evb_map_slot **buckets = evb_calloc(count, sizeof(struct evb_map_slot *));
    if (!buckets)
        return evb_fail_memory();
    for (size_t i = 0; i < map->bucket_count; i++) {
        struct evb_map_slot *slot = map->buckets[i];
        while (slot) {
            struct evb_map_slot *next = slot->next;
            slot->next = buckets[slot->hash & (count - 1)];
            buckets[slot->hash & (count - 1)] = slot;
            slot = next;
        }
    }
    evb_free(map->buckets);
    map->buckets = buckets;
    map->bucket_count = count;
    return 0;
}

int evb_map_put(struct evb_map *map, const char *key, size_t length, void *value)
{
    uint64_t hash = evb_hash(key, length);
    struct evb_map_slot **link = find(map, key, length, hash);
    if (link && *link) {
        (*link)->value = value;
        return 0;
    }
    if (map->count >= map->bucket_count && grow(map) != 0)
        return EVBUS_ENOMEM;
    struct evb_map_slot *slot = evb_alloc(sizeof *slot + length);
    if (!slot)
        return evb_fail_memory();
    slot->hash = hash;
    slot->length = length;
    slot->value = value;
    memcpy(slot->key, key, length);
    slot->next = map->buckets[hash & (map->bucket_count - 1)];
    map->buckets[hash & (map->bucket_count - 1)] = slot;
    map->count++;
    return 0;
}

void *evb_map_remove(struct evb_map *map, const char *key, size_t length)
{
    struct evb_map_slot **link = find(map, key, length, evb_hash(key, length));
    if (!link || !*link)
        return NULL;
    struct evb_map_slot *slot = *link;
    void *value = slot->value;
    *link = slot->next;
    evb_free(slot);
    map->count--;
    return value;
}

void evb_map_each(struct evb_map *map,
                  void (*each)(const char *key, size_t length, void *value, void *user), void *user)
{
    for (size_t i = 0; i < map->bucket_count; i++) {
        struct evb_map_slot *slot = map->buckets[i];
        while (slot) {
            struct evb_map_slot *next = slot->next;
            each(slot->key, slot->length, slot->value, user);
            slot = next;
        }
    }
}
