/* accumulator.c - gathering events into batches. Any thread. */
#include "accumulator.h"
#include "alloc.h"
#include "err.h"
#include "pool.h"
#include "wait.h"
#include <string.h>

#define HEAD "{\"events\":["
#define TAIL "],\"count\":"

void evb_accumulator_init(struct evb_accumulator *acc)
{
    evb_lock_init(&acc->lock);
    evb_map_init(&acc->open);
    evb_list_init(&acc->by_age);
    evb_list_init(&acc->closed);
}

void evb_accumulator_fini(struct evb_accumulator *acc)
{
    struct evb_batch *batch;
    evb_accumulator_close(acc, true);
    while ((batch = evb_accumulator_take(acc)))
        evb_batch_free(batch);
    evb_map_fini(&acc->open, NULL);
    pthread_mutex_destroy(&acc->lock);
}

void evb_batched_free(struct evb_batched *member)
{
    if (member->event)
        evbus_event_unref(member->event);
    evb_pool_give(member);
}

void evb_batch_free(struct evb_batch *batch)
{
    while (batch->first) {
        struct evb_batched *member = batch->first;
        batch->first = member->next;
        evb_batched_free(member);
    }
    evb_free(batch);
}

/* ---- under lock ---- */

static void close_one(struct evb_accumulator *acc, struct evb_batch *batch,
                      enum evb_batch_trigger trigger)
{
    evb_map_remove(&acc->open, batch->key, batch->key_length);
    evb_list_remove(&batch->node);
    evb_list_push(&acc->closed, &batch->node);
    acc->closed_count++;
    batch->trigger = trigger;
}

static struct evb_batch *open_one(struct evb_accumulator *acc, const char *key, size_t length)
{
    if (acc->open.count >= EVB_BATCH_TYPES) {
        evb_fail(EVBUS_EFULL,
                 "events of %d types wait in batches already: publish without EVBUS_BATCH, or set "
                 "a shorter batch.interval",
                 EVB_BATCH_TYPES);
        return NULL;
    }
    struct evb_batch *batch = evb_calloc(1, sizeof *batch);
    if (!batch || evb_map_put(&acc->open, key, length, batch) != 0) {
        evb_free(batch);
        evb_fail_memory();
        return NULL;
    }
    batch->end = &batch->first;
    batch->length = EVB_BATCH_FRAME;
    batch->key_length = length;
    memcpy(batch->key, key, length);
    evb_list_push(&acc->by_age, &batch->node);
    return batch;
}

static void join(struct evb_accumulator *acc, struct evb_batch *batch, struct evb_batched *member)
{
    member->next = NULL;
    *batch->end = member;
    batch->end = &member->next;
    batch->count++;
    batch->length += member->length + 1;
    batch->size += member->size;
    atomic_fetch_add_explicit(&acc->waiting, 1, memory_order_relaxed);
    if (batch->count >= acc->max_events)
        close_one(acc, batch, EVB_BATCH_BY_SIZE);
    else if (batch->length >= acc->max_length)
        close_one(acc, batch, EVB_BATCH_BY_BYTES);
}

static struct evb_batch *oldest(const struct evb_node *list)
{
    return evb_list_empty(list) ? NULL : evb_container(list->next, struct evb_batch, node);
}

static bool ask_for_look(struct evb_accumulator *acc)
{
    bool open = !evb_list_empty(&acc->by_age);
    if (acc->told || (evb_list_empty(&acc->closed) && (!open || acc->timed)))
        return false;
    acc->told = true;
    return true;
}

static int add(struct evb_accumulator *acc, const char *key, size_t length,
               struct evb_batched *member, int64_t now_ms)
{
    if (acc->ended)
        return evb_fail(EVBUS_ECLOSED, "the bus is closed");
    struct evb_batch *batch = evb_map_get(&acc->open, key, length);
    if (batch && batch->length + member->length + 1 > acc->max_length) {
        close_one(acc, batch, EVB_BATCH_BY_BYTES);
        batch = NULL;
    }
    if (!batch) {
        batch = open_one(acc, key, length);
        if (!batch)
            return evbus_last_code();
        batch->flags = key[0];
        batch->closes_ms = now_ms + acc->interval_ms;
    }
    join(acc, batch, member);
    return 0;
}

/* ---- */

int evb_accumulator_add(struct evb_accumulator *acc, struct evb_text type, int flags,
                        struct evb_batched *member, int64_t now_ms, bool *look)
{
    char key[EVB_TYPE_MAX + 1];
    key[0] = (char)flags;
    memcpy(key + 1, type.ptr, type.length);
    pthread_mutex_lock(&acc->lock);
    int rc = add(acc, key, type.length + 1, member, now_ms);
    *look = ask_for_look(acc);
    pthread_mutex_unlock(&acc->lock);
    return rc;
}

int64_t evb_accumulator_due(struct evb_accumulator *acc, int64_t now_ms, bool told)
{
    struct evb_batch *batch;
    pthread_mutex_lock(&acc->lock);
    acc->told = acc->told && !told;
    while ((batch = oldest(&acc->by_age)) && batch->closes_ms <= now_ms)
        close_one(acc, batch, EVB_BATCH_BY_INTERVAL);
    acc->timed = batch != NULL;
    int64_t next_ms = batch ? batch->closes_ms : INT64_MAX;
    pthread_mutex_unlock(&acc->lock);
    return next_ms;
}

size_t evb_accumulator_close(struct evb_accumulator *acc, bool end)
{
    struct evb_batch *batch;
    pthread_mutex_lock(&acc->lock);
    acc->ended = acc->ended || end;
    while ((batch = oldest(&acc->by_age)))
        close_one(acc, batch, EVB_BATCH_BY_FLUSH);
    acc->timed = false;
    size_t count = acc->closed_count;
    pthread_mutex_unlock(&acc->lock);
    return count;
}

struct evb_batch *evb_accumulator_take(struct evb_accumulator *acc)
{
    pthread_mutex_lock(&acc->lock);
    struct evb_batch *batch = oldest(&acc->closed);
    if (batch) {
        evb_list_remove(&batch->node);
        acc->closed_count--;
        atomic_fetch_sub_explicit(&acc->waiting, batch->count, memory_order_relaxed);
    }
    pthread_mutex_unlock(&acc->lock);
    return batch;
}

bool evb_accumulator_is_left(struct evb_accumulator *acc)
{
    pthread_mutex_lock(&acc->lock);
    bool left = ask_for_look(acc);
    pthread_mutex_unlock(&acc->lock);
    return left;
}

/* ---- a batch that is closed: its taker's alone ---- */

struct evb_text evb_batch_type(const struct evb_batch *batch)
{
    return (struct evb_text){batch->key + 1, (uint32_t)batch->key_length - 1};
}

static size_t digits(int64_t value)
{
    size_t count = 1;
    while (value /= 10)
        count++;
    return count;
}

size_t evb_batch_length(const struct evb_batch *batch)
{
    size_t members = batch->length - EVB_BATCH_FRAME - 1; /* with the commas between them */
    return sizeof HEAD - 1 + members + sizeof TAIL - 1 + digits(batch->count) + 1;
}

static char *append(char *out, const char *bytes, size_t length)
{
    memcpy(out, bytes, length);
    return out + length;
}

void evb_batch_write(const struct evb_batch *batch, char *out)
{
    out = append(out, HEAD, sizeof HEAD - 1);
    for (const struct evb_batched *member = batch->first; member; member = member->next) {
        out = append(out, member->envelope, member->length);
        if (member->next)
            *out++ = ',';
    }
    out = append(out, TAIL, sizeof TAIL - 1);
    char *end = out + digits(batch->count);
    *end = '}';
    for (int64_t left = batch->count; end > out; left /= 10)
        *--end = (char)('0' + left % 10);
}

size_t evb_batch_keep_asking(struct evb_batch *batch)
{
    struct evb_batched **link = &batch->first, *member;
    size_t size = 0;
    while ((member = *link)) {
        if (member->report) {
            size += member->size;
            link = &member->next;
            continue;
        }
        *link = member->next;
        evb_batched_free(member);
    }
    batch->end = link;
    return size;
}
