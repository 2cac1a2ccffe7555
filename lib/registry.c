/* registry.c - entries under a lock, snapshots without. Any thread. */
#include "registry.h"
#include "alloc.h"
#include "err.h"
#include "wait.h"
#include <errno.h>
#include <string.h>

void evb_entry_ref(struct evb_entry *entry)
{
    atomic_fetch_add(&entry->refs, 1);
}

void evb_entry_unref(struct evb_entry *entry)
{
    if (atomic_fetch_sub(&entry->refs, 1) == 1)
        evb_free(entry);
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

static struct evb_snapshot *snapshot_make(struct evb_registry *registry, const char *type,
                                          size_t length, uint64_t version)
{
    struct gather gather = {0};
    gather_all(registry, type, length, &gather);
    gather.snapshot = evb_snapshot_new(gather.count);
    if (!gather.snapshot)
        return NULL;
    gather.snapshot->version = version;
    gather_all(registry, type, length, &gather);
    return gather.snapshot;
}

static const struct evb_snapshot *snapshot_slowly(struct evb_registry *registry,
                                                  struct evb_thread *thread, const char *type,
                                                  size_t length, uint64_t hash)
{
    struct evb_snapshots *all = &registry->snapshots;
    pthread_mutex_lock(&registry->lock);
    uint64_t version = atomic_load(&registry->version);
    const struct evb_snapshot *now = evb_snapshots_peek(all, type, length, hash, version);
    if (!now) {
        struct evb_snapshot *fresh = snapshot_make(registry, type, length, version);
        all->wanted = registry->entries.count;
        now = fresh && evb_snapshots_put(all, type, length, hash, fresh) ? fresh : NULL;
    }
    if (now)
        evb_hazard_hold(thread, now);
    evb_snapshots_reclaim(all);
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
    const struct evb_snapshot *snapshot = evb_snapshots_find(
        &registry->snapshots, thread, type, length, hash, atomic_load(&registry->version));
    return snapshot ? snapshot : snapshot_slowly(registry, thread, type, length, hash);
}

/* ---- entries ---- */

int evb_registry_init(struct evb_registry *registry, bool wants_redis,
                      void (*interest)(struct evb_entry *entry, void *user), void *user)
{
    memset(registry, 0, sizeof *registry);
    if (evb_snapshots_init(&registry->snapshots) != 0)
        return EVBUS_ENOMEM;
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
    if (!atomic_load(&registry->snapshots.table))
        return;
    evb_snapshots_fini(&registry->snapshots);
    evb_map_fini(&registry->entries, NULL);
    evb_trie_fini(&registry->trie);
    evb_free(registry->glob);
    evb_free(registry->last);
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

static bool make_room(struct evb_registry *registry)
{
    if (registry->sub_count < registry->last_room)
        return true;
    size_t room = registry->last_room ? registry->last_room * 2 : 8;
    evbus_sub **last = evb_resize(registry->last, room * sizeof(evbus_sub *));
    if (!last) {
        evb_fail_memory();
        return false;
    }
    registry->last = last;
    registry->last_room = room;
    return true;
}

int evb_registry_add(struct evb_registry *registry, evbus_sub *sub, const char *pattern)
{
    bool look = false;
    pthread_mutex_lock(&registry->lock);
    int rc = registry->closed ? evb_fail(EVBUS_ECLOSED, "the bus is closed") : 0;
    struct evb_entry *entry = rc == 0 && make_room(registry) ? entry_get(registry, pattern) : NULL;
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
    evb_snapshots_purge(&registry->snapshots);
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
        evb_snapshots_one_ended(&registry->snapshots);
    }
    evb_snapshots_reclaim(&registry->snapshots);
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

static void find_pending(const char *key, size_t length, void *value, void *user)
{
    (void)key;
    (void)length;
    if (((struct evb_entry *)value)->wire == EVB_WIRE_PENDING)
        *(bool *)user = true;
}

bool evb_registry_is_pending(struct evb_registry *registry)
{
    bool pending = false;
    pthread_mutex_lock(&registry->lock);
    evb_map_each(&registry->entries, find_pending, &pending);
    pthread_mutex_unlock(&registry->lock);
    return pending;
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
    struct collect collect = {registry->last, 0};
    registry->closed = true;
    evb_map_each(&registry->entries, collect_entry, &collect);
    registry->last = NULL;
    registry->last_room = 0;
    pthread_cond_broadcast(&registry->changed);
    pthread_mutex_unlock(&registry->lock);
    *count = collect.count;
    return collect.subs;
}

static void set_wire(struct evb_entry *entry, int wire, enum evb_right lacks)
{
    pthread_mutex_lock(&entry->registry->lock);
    entry->wire = wire;
    entry->lacks = lacks;
    pthread_cond_broadcast(&entry->registry->changed);
    pthread_mutex_unlock(&entry->registry->lock);
}

void evb_entry_set_wire(struct evb_entry *entry, int wire)
{
    set_wire(entry, wire, EVB_RIGHT_BOTH);
}

void evb_entry_refuse(struct evb_entry *entry, enum evb_right lacks)
{
    set_wire(entry, EVB_WIRE_REFUSED, lacks);
}

enum evb_right evb_entry_lacks(struct evb_entry *entry)
{
    pthread_mutex_lock(&entry->registry->lock);
    enum evb_right lacks = entry->lacks;
    pthread_mutex_unlock(&entry->registry->lock);
    return lacks;
}

int evb_entry_wait(struct evb_entry *entry, int timeout_ms)
{
    struct evb_registry *registry = entry->registry;
    int64_t deadline_ms = evb_deadline_ms(timeout_ms);
    int rc = 0;
    pthread_mutex_lock(&registry->lock);
    while (entry->wire == EVB_WIRE_PENDING && !registry->closed && rc != ETIMEDOUT)
        rc = evb_cond_wait(&registry->changed, &registry->lock, deadline_ms);
    int wire = entry->wire == EVB_WIRE_PENDING && registry->closed ? EVBUS_ECLOSED : entry->wire;
    pthread_mutex_unlock(&registry->lock);
    return wire;
}
