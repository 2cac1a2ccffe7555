/* snapshot.c - the table of snapshots. Read on any thread, written under the owner's lock. */
#include "snapshot.h"
#include "alloc.h"
#include "err.h"
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

static struct evb_table *table_now(const struct evb_snapshots *all)
{
    return (struct evb_table *)atomic_load(&all->table);
}

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
void evb_snapshots_reclaim(struct evb_snapshots *all)
{
    if (!all->retired && !all->retired_tables)
        return;
    evb_hazard_barrier();
    for (struct evb_snapshot **link = &all->retired; *link;) {
        struct evb_snapshot *snapshot = *link;
        if (evb_hazard_held(snapshot)) {
            link = &snapshot->retired;
            continue;
        }
        *link = snapshot->retired;
        snapshot_free(snapshot);
    }
    for (struct evb_table **link = &all->retired_tables; *link;) {
        struct evb_table *table = *link;
        if (evb_hazard_held(table)) {
            link = &table->retired;
            continue;
        }
        *link = table->retired;
        table_free(table);
    }
}

static void bucket_retire(struct evb_snapshots *all, struct evb_bucket *bucket)
{
    struct evb_snapshot *old = (struct evb_snapshot *)atomic_exchange(&bucket->snapshot, NULL);
    if (!old)
        return;
    old->retired = all->retired;
    all->retired = old;
}

static struct evb_table *table_new(size_t size)
{
    struct evb_table *table = evb_calloc(1, sizeof *table + size * sizeof table->bucket[0]);
    if (table)
        table->size = size;
    return table;
}

static void retire_all(struct evb_snapshots *all)
{
    struct evb_table *table = table_now(all);
    for (size_t i = 0; i < table->size; i++)
        for (struct evb_bucket *b = atomic_load(&table->bucket[i]); b; b = b->next)
            bucket_retire(all, b);
    all->stale = 0;
}

/* A table of another size begins empty and fills as types are published: nothing is copied, and
 * what readers still hold of the old one finds no snapshot in it. */
static void table_replace(struct evb_snapshots *all, struct evb_table *fresh)
{
    retire_all(all);
    struct evb_table *old = (struct evb_table *)atomic_exchange(&all->table, fresh);
    old->retired = all->retired_tables;
    all->retired_tables = old;
    evb_snapshots_reclaim(all);
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

static struct evb_bucket *bucket_add(struct evb_snapshots *all, const char *type, size_t length,
                                     uint64_t hash)
{
    struct evb_table *table = table_now(all);
    if (table->count >= table->size) {
        size_t most = TABLE_LARGEST;
        while (most < all->wanted * 2)
            most *= 2;
        struct evb_table *fresh = table_new(table->size < most ? table->size * 2 : table->size);
        if (!fresh)
            return NULL;
        table_replace(all, fresh);
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

struct evb_snapshot *evb_snapshot_new(size_t room)
{
    struct evb_snapshot *snapshot = evb_alloc(sizeof *snapshot + room * sizeof(evbus_sub *));
    if (snapshot)
        *snapshot = (struct evb_snapshot){0};
    return snapshot;
}

int evb_snapshots_init(struct evb_snapshots *all)
{
    struct evb_table *table = table_new(TABLE_SMALLEST);
    memset(all, 0, sizeof *all);
    if (!table)
        return evb_fail_memory();
    atomic_init(&all->table, table);
    return 0;
}

void evb_snapshots_fini(struct evb_snapshots *all)
{
    if (table_now(all))
        table_replace(all, NULL);
}

const struct evb_snapshot *evb_snapshots_find(struct evb_snapshots *all, struct evb_thread *thread,
                                              const char *type, size_t length, uint64_t hash,
                                              uint64_t version)
{
    struct evb_table *table = (struct evb_table *)evb_hazard_acquire(thread, &all->table);
    struct evb_bucket *bucket = bucket_find(table, type, length, hash);
    if (bucket) {
        const struct evb_snapshot *snapshot = evb_hazard_acquire(thread, &bucket->snapshot);
        if (snapshot && snapshot->version == version) {
            evb_hazard_swap(thread); /* the table goes, the snapshot stays */
            return snapshot;
        }
        evb_hazard_release(thread);
    }
    evb_hazard_release(thread);
    return NULL;
}

const struct evb_snapshot *evb_snapshots_peek(struct evb_snapshots *all, const char *type,
                                              size_t length, uint64_t hash, uint64_t version)
{
    struct evb_bucket *bucket = bucket_find(table_now(all), type, length, hash);
    const struct evb_snapshot *snapshot = bucket ? atomic_load(&bucket->snapshot) : NULL;
    return snapshot && snapshot->version == version ? snapshot : NULL;
}

bool evb_snapshots_put(struct evb_snapshots *all, const char *type, size_t length, uint64_t hash,
                       struct evb_snapshot *snapshot)
{
    struct evb_bucket *bucket = bucket_find(table_now(all), type, length, hash);
    if (!bucket && !(bucket = bucket_add(all, type, length, hash))) {
        snapshot_free(snapshot);
        return false;
    }
    bucket_retire(all, bucket);
    atomic_store(&bucket->snapshot, snapshot);
    return true;
}

void evb_snapshots_one_ended(struct evb_snapshots *all)
{
    if (++all->stale > table_now(all)->count + TABLE_SMALLEST)
        retire_all(all);
}

void evb_snapshots_purge(struct evb_snapshots *all)
{
    retire_all(all);
    evb_snapshots_reclaim(all);
}
