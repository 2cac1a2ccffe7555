/* registry.c - entries under a lock, snapshots without. Any thread. */
#include "registry.h"
#include "alloc.h"
#include "err.h"
#include "wait.h"
#include <errno.h>
#include <string.h>

enum { TABLE_SMALLEST = 64, TABLE_LARGEST = 8192 };

struct evb_bucket {               /* one type that was published */
    struct evb_bucket *next;      /* fixed once it is in the table */
    const void *_Atomic snapshot; /* NULL: none yet, or taken away */
    uint64_t hash;
    size_t length;
    char type[];
};

struct evb_table {
    struct evb_table *retired;
    size_t size, count;
    struct evb_bucket *_Atomic bucket[];
};

static struct evb_table *table_now(const struct evb_registry *registry)
{
    return (struct evb_table *)atomic_load(&registry->table);
}

void evb_entry_ref(struct evb_entry *entry)
{
    atomic_fetch_add(&entry->refs, 1);
}

void evb_entry_unref(struct evb_entry *entry)
{
    if (atomic_fetch_sub(&entry->refs, 1) == 1)
        evb_free(entry);
}

/* ---- snapshots: made and let go under the lock ---- */

static void snapshot_free(struct evb_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->count; i++)
        evb_sub_unref(snapshot->subs[i]);
    evb_free(snapshot);
}

static void table_free(struct evb_table *table)
{
    for (size_t i = 0; i < table->size; i++) {
        struct evb_bucket *bucket = atomic_load(&table->bucket[i]);
        while (bucket) {
            struct evb_bucket *next = bucket->next;
            evb_free(bucket);
            bucket = next;
        }
    }
    evb_free(table);
}

/* Frees what no thread holds. */
static void reclaim(struct evb_registry *registry)
{
    for (struct evb_snapshot **link = &registry->retired_snapshots; *link;) {
        struct evb_snapshot *snapshot = *link;
        if (evb_hazard_held(snapshot)) {
            link = &snapshot->retired;
            continue;
        }
        *link = snapshot->retired;
        snapshot_free(snapshot);
    }
    for (struct evb_table **link = &registry->retired_tables; *link;) {
        struct evb_table *table = *link;
        if (evb_hazard_held(table)) {
            link = &table->retired;
            continue;
        }
        *link = table->retired;
        table_free(table);
    }
}

static void bucket_retire(struct evb_registry *registry, struct evb_bucket *bucket)
{
    struct evb_snapshot *old = (struct evb_snapshot *)atomic_exchange(&bucket->snapshot, NULL);
    if (!old)
        return;
    old->retired = registry->retired_snapshots;
    registry->retired_snapshots = old;
}

static struct evb_table *table_new(size_t size)
{
    struct evb_table *table = evb_calloc(1, sizeof *table + size * sizeof table->bucket[0]);
    if (table)
        table->size = size;
    return table;
}

static void retire_all(struct evb_registry *registry)
{
    struct evb_table *table = table_now(registry);
    for (size_t i = 0; i < table->size; i++)
        for (struct evb_bucket *b = atomic_load(&table->bucket[i]); b; b = b->next)
            bucket_retire(registry, b);
    registry->stale = 0;
}

/* A table of another size begins empty and fills as types are published: nothing is copied, and
 * what readers still hold of the old one finds no snapshot in it. */
static void table_replace(struct evb_registry *registry, struct evb_table *fresh)
{
    retire_all(registry);
    struct evb_table *old = (struct evb_table *)atomic_exchange(&registry->table, fresh);
    old->retired = registry->retired_tables;
    registry->retired_tables = old;
    reclaim(registry);
}

static struct evb_bucket *bucket_find(struct evb_table *table, const char *type, size_t length,
                                      uint64_t hash)
{
    struct evb_bucket *bucket = atomic_load(&table->bucket[hash & (table->size - 1)]);
    while (bucket && (bucket->hash != hash || bucket->length != length ||
                      memcmp(bucket->type, type, length) != 0))
        bucket = bucket->next;
    return bucket;
}

static struct evb_bucket *bucket_add(struct evb_registry *registry, const char *type, size_t length,
                                     uint64_t hash)
{
    struct evb_table *table = table_now(registry);
    if (table->count >= table->size) {
        size_t most = TABLE_LARGEST;
        while (most < registry->entries.count * 2)
            most *= 2;
        struct evb_table *fresh = table_new(table->size < most ? table->size * 2 : table->size);
        if (!fresh)
            return NULL;
        table_replace(registry, fresh);
        table = fresh;
    }
    struct evb_bucket *bucket = evb_alloc(sizeof *bucket + length);
    if (!bucket)
        return NULL;
    atomic_init(&bucket->snapshot, NULL);
    bucket->hash = hash;
    bucket->length = length;
    memcpy(bucket->type, type, length);
    bucket->next = atomic_load(&table->bucket[hash & (table->size - 1)]);
    atomic_store(&table->bucket[hash & (table->size - 1)], bucket);
    table->count++;
    return bucket;
}

/* ---- from a type to its subscriptions ---- */

struct gather {
    struct evb_snapshot *snapshot; /* NULL: only counting */
    size_t count;
};

static void gather_entry(void *value, void *user)
{
    struct evb_entry *entry = value;
    struct gather *gather = user;
    if (!gather->snapshot) {
        gather->count += (size_t)entry->count;
        return;
    }
    EVB_LIST_EACH(&entry->subs, node)
    {
        evbus_sub *sub = evb_container(node, evbus_sub, node);
        evb_sub_ref(sub);
        gather->snapshot->subs[gather->snapshot->count++] = sub;
    }
}

static void gather_all(struct evb_registry *registry, const char *type, size_t length,
                       struct gather *gather)
{
    struct evb_entry *exact = evb_map_get(&registry->entries, type, length);
    if (exact && exact->kind == EVB_PATTERN_EXACT) /* "glob:a" is a type, too */
        gather_entry(exact, gather);
    evb_trie_match(&registry->trie, type, length, gather_entry, gather);
    for (size_t i = 0; i < registry->glob_count; i++) {
        struct evb_entry *entry = registry->glob[i];
        if (evb_pattern_matches(entry->pattern, entry->length, type, length))
            gather_entry(entry, gather);
    }
}

static struct evb_snapshot *snapshot_new(struct evb_registry *registry, const char *type,
                                         size_t length)
{
    struct gather gather = {0};
    gather_all(registry, type, length, &gather);
    gather.snapshot = evb_alloc(sizeof *gather.snapshot + gather.count * sizeof(evbus_sub *));
    if (!gather.snapshot)
        return NULL;
    gather.snapshot->count = 0;
    gather.snapshot->retired = NULL;
    gather.snapshot->version = atomic_load(&registry->version);
    gather_all(registry, type, length, &gather);
    return gather.snapshot;
}

static const struct evb_snapshot *snapshot_make(struct evb_registry *registry,
                                                struct evb_thread *thread, const char *type,
                                                size_t length, uint64_t hash)
{
    pthread_mutex_lock(&registry->lock);
    struct evb_bucket *bucket = bucket_find(table_now(registry), type, length, hash);
    const struct evb_snapshot *now = bucket ? atomic_load(&bucket->snapshot) : NULL;
    if (!now || now->version != atomic_load(&registry->version)) {
        struct evb_snapshot *fresh = snapshot_new(registry, type, length);
        if (fresh && !bucket)
            bucket = bucket_add(registry, type, length, hash);
        if (fresh && !bucket) {
            snapshot_free(fresh);
            fresh = NULL;
        }
        if (fresh) {
            bucket_retire(registry, bucket);
            atomic_store(&bucket->snapshot, fresh);
        }
        now = fresh;
    }
    if (now)
        evb_hazard_hold(thread, now);
    reclaim(registry);
    pthread_mutex_unlock(&registry->lock);
    if (!now)
        evb_fail_memory();
    return now;
}

const struct evb_snapshot *evb_registry_snapshot(struct evb_registry *registry,
                                                 struct evb_thread *thread, const char *type,
                                                 size_t length)
{
    uint64_t hash = evb_hash(type, length);
    struct evb_table *table = (struct evb_table *)evb_hazard_acquire(thread, &registry->table);
    struct evb_bucket *bucket = bucket_find(table, type, length, hash);
    const struct evb_snapshot *snapshot = NULL;
    if (bucket) {
        snapshot = evb_hazard_acquire(thread, &bucket->snapshot);
        if (snapshot && snapshot->version == atomic_load(&registry->version)) {
            evb_hazard_swap(thread); /* the table goes, the snapshot stays */
            return snapshot;
        }
        evb_hazard_release(thread);
    }
    evb_hazard_release(thread);
    return snapshot_make(registry, thread, type, length, hash);
}

/* ---- entries ---- */

int evb_registry_init(struct evb_registry *registry, bool wants_redis,
                      void (*interest)(struct evb_entry *entry, void *user), void *user)
{
    memset(registry, 0, sizeof *registry);
    struct evb_table *table = table_new(TABLE_SMALLEST);
    if (!table)
        return evb_fail_memory();
    atomic_init(&registry->table, table);
    atomic_init(&registry->version, 1);
    pthread_mutex_init(&registry->lock, NULL);
    evb_cond_init(&registry->changed);
    evb_map_init(&registry->entries);
    evb_trie_init(&registry->trie);
    registry->wants_redis = wants_redis;
    registry->interest = interest;
    registry->user = user;
    return 0;
}

void evb_registry_fini(struct evb_registry *registry)
{
    if (!atomic_load(&registry->table))
        return;
    table_replace(registry, NULL);
    evb_map_fini(&registry->entries, NULL);
    evb_trie_fini(&registry->trie);
    evb_free(registry->glob);
    pthread_cond_destroy(&registry->changed);
    pthread_mutex_destroy(&registry->lock);
}

static int index_add(struct evb_registry *registry, struct evb_entry *entry)
{
    if (entry->kind == EVB_PATTERN_WORDS)
        return evb_trie_add(&registry->trie, entry->pattern, entry->length, entry);
    if (entry->kind == EVB_PATTERN_EXACT)
        return 0;
    if (registry->glob_count == registry->glob_room) {
        size_t room = registry->glob_room ? registry->glob_room * 2 : 4;
        struct evb_entry **glob = evb_resize(registry->glob, room * sizeof(struct evb_entry *));
        if (!glob)
            return evb_fail_memory();
        registry->glob = glob;
        registry->glob_room = room;
    }
    registry->glob[registry->glob_count++] = entry;
    return 0;
}

static void index_remove(struct evb_registry *registry, struct evb_entry *entry)
{
    if (entry->kind == EVB_PATTERN_WORDS)
        evb_trie_remove(&registry->trie, entry->pattern, entry->length);
    for (size_t i = 0; entry->kind == EVB_PATTERN_GLOB && i < registry->glob_count; i++)
        if (registry->glob[i] == entry)
            registry->glob[i] = registry->glob[--registry->glob_count];
}

static void entry_unlink(struct evb_registry *registry, struct evb_entry *entry)
{
    index_remove(registry, entry);
    evb_map_remove(&registry->entries, entry->pattern, entry->length);
    entry->linked = false;
    evb_entry_unref(entry);
}

static struct evb_entry *entry_get(struct evb_registry *registry, const char *pattern)
{
    size_t length = strlen(pattern);
    struct evb_entry *entry = evb_map_get(&registry->entries, pattern, length);
    if (entry)
        return entry;
    entry = evb_calloc(1, sizeof *entry + length + 1);
    if (!entry) {
        evb_fail_memory();
        return NULL;
    }
    atomic_init(&entry->refs, 1);
    entry->registry = registry;
    entry->kind = (enum evb_pattern_kind)evb_pattern_check(pattern, length);
    entry->length = length;
    memcpy(entry->pattern, pattern, length + 1);
    evb_list_init(&entry->subs);
    evb_list_init(&entry->via_node);
    entry->linked = true;
    if (evb_map_put(&registry->entries, pattern, length, entry) != 0) {
        evb_free(entry);
        return NULL;
    }
    if (index_add(registry, entry) != 0) {
        entry_unlink(registry, entry);
        return NULL;
    }
    return entry;
}

/* Does the loop have to look at the entry? Then a reference goes with its job. Lock held. */
static bool needs_look(struct evb_entry *entry, int remote_before)
{
    if ((remote_before > 0) == (entry->remote > 0) || entry->posted)
        return false;
    entry->posted = true;
    evb_entry_ref(entry);
    return true;
}

int evb_registry_add(struct evb_registry *registry, evbus_sub *sub, const char *pattern)
{
    bool look = false;
    pthread_mutex_lock(&registry->lock);
    int rc = registry->closed ? evb_fail(EVBUS_ECLOSED, "the bus is closed") : 0;
    struct evb_entry *entry = rc == 0 ? entry_get(registry, pattern) : NULL;
    if (rc == 0 && !entry)
        rc = EVBUS_ENOMEM;
    if (rc == 0) {
        int remote_before = entry->remote;
        evb_sub_ref(sub);
        evb_entry_ref(entry);
        sub->entry = entry;
        evb_list_push(&entry->subs, &sub->node);
        entry->count++;
        registry->sub_count++;
        entry->remote += registry->wants_redis && (sub->scope & EVB_FROM_REDIS);
        if (entry->remote && !remote_before)
            entry->wire = EVB_WIRE_PENDING;
        look = needs_look(entry, remote_before);
        atomic_fetch_add(&registry->version, 1);
    }
    pthread_mutex_unlock(&registry->lock);
    if (look)
        registry->interest(entry, registry->user);
    return rc;
}

void evb_registry_purge(struct evb_registry *registry)
{
    pthread_mutex_lock(&registry->lock);
    retire_all(registry);
    reclaim(registry);
    pthread_mutex_unlock(&registry->lock);
}

void evb_registry_remove(struct evb_registry *registry, evbus_sub *sub)
{
    struct evb_entry *entry = sub->entry;
    bool look = false, mine;
    pthread_mutex_lock(&registry->lock);
    mine = !evb_list_empty(&sub->node);
    if (mine) {
        int remote_before = entry->remote;
        evb_list_remove(&sub->node);
        entry->count--;
        registry->sub_count--;
        entry->remote -= registry->wants_redis && (sub->scope & EVB_FROM_REDIS);
        look = needs_look(entry, remote_before);
        if (entry->count == 0 && entry->linked)
            entry_unlink(registry, entry);
        atomic_fetch_add(&registry->version, 1);
        /* Snapshots that nobody asks for again would keep it: now and then they all go. */
        if (++registry->stale > table_now(registry)->count + TABLE_SMALLEST)
            retire_all(registry);
    }
    reclaim(registry);
    pthread_mutex_unlock(&registry->lock);
    if (look)
        registry->interest(entry, registry->user);
    if (mine)
        evb_sub_unref(sub);
}

struct collect {
    evbus_sub **subs;
    size_t count;
};

static void collect_entry(const char *key, size_t length, void *value, void *user)
{
    (void)key;
    (void)length;
    struct evb_entry *entry = value;
    struct collect *collect = user;
    EVB_LIST_EACH(&entry->subs, node)
    {
        evbus_sub *sub = evb_container(node, evbus_sub, node);
        evb_sub_ref(sub);
        collect->subs[collect->count++] = sub;
    }
}

static evbus_sub **list(struct evb_registry *registry, size_t *count)
{
    struct collect collect = {evb_alloc(registry->sub_count * sizeof(evbus_sub *)), 0};
    if (collect.subs)
        evb_map_each(&registry->entries, collect_entry, &collect);
    *count = collect.count;
    return collect.subs;
}

evbus_sub **evb_registry_list(struct evb_registry *registry, size_t *count)
{
    pthread_mutex_lock(&registry->lock);
    evbus_sub **subs = list(registry, count);
    pthread_mutex_unlock(&registry->lock);
    return subs;
}

evbus_sub **evb_registry_close(struct evb_registry *registry, size_t *count)
{
    pthread_mutex_lock(&registry->lock);
    registry->closed = true;
    evbus_sub **subs = list(registry, count);
    pthread_cond_broadcast(&registry->changed);
    pthread_mutex_unlock(&registry->lock);
    return subs;
}

void evb_entry_set_wire(struct evb_entry *entry, int wire)
{
    pthread_mutex_lock(&entry->registry->lock);
    entry->wire = wire;
    pthread_cond_broadcast(&entry->registry->changed);
    pthread_mutex_unlock(&entry->registry->lock);
}

int evb_entry_wait(struct evb_entry *entry, int timeout_ms)
{
    struct evb_registry *registry = entry->registry;
    int64_t deadline_ms = evb_deadline_ms(timeout_ms);
    int rc = 0;
    pthread_mutex_lock(&registry->lock);
    while (entry->wire == EVB_WIRE_PENDING && !registry->closed && rc != ETIMEDOUT)
        rc = evb_cond_wait(&registry->changed, &registry->lock, deadline_ms);
    int wire = entry->wire;
    pthread_mutex_unlock(&registry->lock);
    return wire;
}
