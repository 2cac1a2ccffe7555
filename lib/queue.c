/* queue.c - the pull queue. Pushed on any thread (evb_sub_deliver), pulled on any thread. */
#include "queue.h"
#include "alloc.h"
#include "err.h"
#include "fork.h"
#include "wait.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void item_drop(struct evb_fifo_item *item)
{
    atomic_fetch_add_explicit(&item->sub->dropped, 1, memory_order_relaxed);
    evbus_event_unref(item->event);
    evb_sub_unref(item->sub);
}

/* The queue is full: the event is none of those that its subscription was to get. Lock held. */
static void item_evict(struct evb_fifo_item *item)
{
    struct evb_limit *limit = item->sub->limit;
    if (limit && !limit->all_put)
        limit->put--;
    item_drop(item);
}

evbus_queue *evb_queue_new(int64_t max_events, int64_t max_bytes, int full)
{
    evbus_queue *queue = evb_calloc(1, sizeof *queue);
    if (!queue) {
        evb_fail_memory();
        return NULL;
    }
    atomic_init(&queue->refs, 1);
    queue->generation = evb_fork_generation();
    evb_list_init(&queue->node);
    queue->fds[0] = queue->fds[1] = -1;
    evb_lock_init(&queue->lock);
    evb_cond_init(&queue->filled);
    evb_fifo_init(&queue->fifo, max_events, max_bytes, full, item_evict);
    return queue;
}

void evb_queue_ref(evbus_queue *queue)
{
    atomic_fetch_add(&queue->refs, 1);
}

void evb_queue_drop(evbus_queue *queue)
{
    if (queue->fds[0] >= 0) {
        close(queue->fds[0]);
        close(queue->fds[1]);
    }
    queue->fds[0] = queue->fds[1] = -1;
}

void evb_queue_unref(evbus_queue *queue)
{
    if (atomic_fetch_sub(&queue->refs, 1) != 1)
        return;
    evb_fifo_fini(&queue->fifo);
    evb_queue_drop(queue);
    pthread_cond_destroy(&queue->filled);
    pthread_mutex_destroy(&queue->lock);
    evb_free(queue->subs);
    evb_slow_free(queue->slow);
    if (queue->keeper)
        queue->keeper_unref(queue->keeper);
    evb_free(queue);
}

/* One byte into an empty socket of our own never waits, so the lock may stay held: outside it a
 * puller could take the byte before it is there, and the next poll(2) would lie. */
static void signal_set(evbus_queue *queue)
{
    if (queue->fds[1] >= 0)
        (void)!send(queue->fds[1], "", 1, MSG_NOSIGNAL);
}

static void signal_clear(evbus_queue *queue)
{
    char byte;
    if (queue->fds[0] >= 0)
        (void)!recv(queue->fds[0], &byte, 1, 0);
}

static struct evb_fill fill_of(const evbus_queue *queue)
{
    const struct evb_fifo *fifo = &queue->fifo;
    return (struct evb_fill){fifo->count, fifo->bytes, fifo->max_events, fifo->max_bytes};
}

/* Into the queue, unless it is evicted right now; its limit (NULL: none) counts it. True: that was
 * the last one. Lock held. */
static bool put(evbus_queue *queue, struct evb_fifo_item item, struct evb_limit *limit,
                int *dropped)
{
    if (limit)
        limit->put++;
    *dropped = evb_fifo_push(&queue->fifo, item);
    if (limit)
        limit->all_put = limit->put >= limit->most;
    return limit && limit->all_put;
}

/* Lock held. True: an edge is to be told. */
static bool became_slow(evbus_queue *queue, int dropped, unsigned how)
{
    if (how & EVB_OF_SLOW && !evb_slow_is(queue->slow))
        return false;
    if (!queue->slow)
        queue->slow = evb_slow_new(queue, &queue->lock);
    return queue->slow && evb_slow_dropped(queue->slow, dropped, fill_of(queue), queue->metrics);
}

static void tell_edge(evbus_queue *queue)
{
    if (queue->slow_edge)
        queue->slow_edge(queue);
}

static bool give_back(evbus_queue *queue, struct evb_fifo_item item, bool answer)
{
    pthread_mutex_unlock(&queue->lock);
    evbus_event_unref(item.event);
    evb_sub_unref(item.sub);
    return answer;
}

/* Lock held. False: no room, and the event comes again. */
static bool has_room(evbus_queue *queue, const evbus_event *event, bool *edge)
{
    if (evb_fifo_fits(&queue->fifo, event->size) || event->size > queue->fifo.max_bytes)
        return true;
    *edge = became_slow(queue, 0, 0);
    return false;
}

bool evb_queue_push(evbus_queue *queue, struct evb_fifo_item item, unsigned how)
{
    struct evb_limit *limit = item.sub->limit;
    bool slow = false;
    pthread_mutex_lock(&queue->lock);
    if (queue->freed) { /* what it holds keeps its subscription, and that the queue: for ever */
        pthread_mutex_unlock(&queue->lock);
        item_drop(&item);
        return true;
    }
    if (limit && limit->all_put)
        return give_back(queue, item, true);
    if (how & EVB_MAY_LAG && !has_room(queue, item.event, &slow)) {
        give_back(queue, item, false);
        if (slow)
            tell_edge(queue);
        return false;
    }
    bool was_empty = queue->fifo.count == 0;
    int dropped;
    bool last = put(queue, item, limit, &dropped);
    bool edge = dropped && became_slow(queue, dropped, how);
    bool filled = was_empty && queue->fifo.count > 0;
    if (filled)
        signal_set(queue);
    pthread_mutex_unlock(&queue->lock);
    if (filled)
        pthread_cond_broadcast(&queue->filled);
    if (dropped)
        evb_count(queue->metrics, EVB_COUNT_dropped, dropped);
    if (edge)
        tell_edge(queue);
    if (last)
        evb_sub_end(item.sub);
    return true;
}

static int64_t queue_room(evbus_queue *queue, int64_t most)
{
    pthread_mutex_lock(&queue->lock);
    struct evb_fill fill = fill_of(queue);
    queue->starved = !evb_fill_is_well(&fill);
    int64_t room = queue->starved ? 0 : fill.max_events - fill.events;
    pthread_mutex_unlock(&queue->lock);
    return room < most ? room : most;
}

static void queue_lag(evbus_queue *queue, bool on)
{
    pthread_mutex_lock(&queue->lock);
    if (queue->slow)
        queue->slow->lagging += on ? 1 : -1;
    bool edge = !on && queue->slow && evb_slow_taken(queue->slow, fill_of(queue));
    pthread_mutex_unlock(&queue->lock);
    if (edge)
        tell_edge(queue);
}

static int64_t queue_bytes(const evbus_queue *queue)
{
    return queue->fifo.max_bytes;
}

const struct evb_sub_queue evb_queue_door = {evb_queue_push, queue_room, queue_lag, queue_bytes};

void evb_queue_close(evbus_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    bool signal = !queue->closed && queue->fifo.count == 0;
    queue->closed = true;
    if (signal) /* a poller wakes up and learns it from the next pull */
        signal_set(queue);
    pthread_mutex_unlock(&queue->lock);
    pthread_cond_broadcast(&queue->filled);
}

void evb_queue_clear(evbus_queue *queue)
{
    struct evb_fifo_item item;
    evb_queue_settle(queue, NULL);
    for (;;) {
        pthread_mutex_lock(&queue->lock);
        queue->freed = true;
        int n = evb_fifo_pop(&queue->fifo, &item, 1);
        pthread_mutex_unlock(&queue->lock);
        if (n == 0)
            return;
        item_drop(&item);
    }
}

int evb_queue_add_sub(evbus_queue *queue, evbus_sub *sub)
{
    int rc = 0;
    pthread_mutex_lock(&queue->lock);
    int kept = 0; /* those that ended meanwhile make room */
    for (int i = 0; i < queue->sub_count; i++)
        if (atomic_load(&queue->subs[i]->state) == EVB_SUB_LIVE)
            queue->subs[kept++] = queue->subs[i];
        else
            evb_sub_unref(queue->subs[i]);
    queue->sub_count = kept;
    if (kept == queue->sub_room) {
        int room = kept ? kept * 2 : 4;
        evbus_sub **subs = evb_resize(queue->subs, (size_t)room * sizeof(evbus_sub *));
        if (subs) {
            queue->subs = subs;
            queue->sub_room = room;
        } else {
            rc = EVBUS_ENOMEM;
        }
    }
    if (rc == 0) {
        evb_sub_ref(sub);
        queue->subs[queue->sub_count++] = sub;
    }
    pthread_mutex_unlock(&queue->lock);
    return rc == 0 ? 0 : evb_fail_memory();
}

evbus_sub **evb_queue_take_subs(evbus_queue *queue, int *count)
{
    pthread_mutex_lock(&queue->lock);
    evbus_sub **subs = queue->subs;
    *count = queue->sub_count;
    queue->subs = NULL;
    queue->sub_count = queue->sub_room = 0;
    pthread_mutex_unlock(&queue->lock);
    return subs;
}

int evb_queue_list_subs(evbus_queue *queue, evbus_sub **subs, int room, int *listed)
{
    int live = 0;
    *listed = 0;
    pthread_mutex_lock(&queue->lock);
    for (int i = 0; i < queue->sub_count; i++) {
        if (atomic_load(&queue->subs[i]->state) != EVB_SUB_LIVE)
            continue;
        if (live++ < room) {
            evb_sub_ref(queue->subs[i]);
            subs[(*listed)++] = queue->subs[i];
        }
    }
    pthread_mutex_unlock(&queue->lock);
    return live;
}

static bool is_wanted(const evbus_sub *sub, evbus_event *event)
{
    if (event->delivery)
        return atomic_load(&sub->state) != EVB_SUB_ENDED &&
               event->delivery->door->begin(event->delivery);
    return atomic_load(&sub->state) == EVB_SUB_LIVE || sub->queue->closed ||
           (sub->limit && sub->limit->all_put && !atomic_load(&sub->limit->let_go));
}

/* Those whose subscription ended while they waited are nobody's any more. */
static int keep_live(struct evb_fifo_item *items, int count)
{
    int kept = 0;
    for (int i = 0; i < count; i++)
        if (is_wanted(items[i].sub, items[i].event))
            items[kept++] = items[i];
        else
            item_drop(&items[i]);
    return kept;
}

/* Its lock may have been held when the child began: there it must not be touched. */
static int check_fork(const evbus_queue *queue)
{
    if (queue->generation == evb_fork_generation())
        return 0;
    return evb_fail(EVBUS_EFORK, "the queue belongs to the parent process");
}

enum { PULL_MOST = 256 };

/* Up to `max` that are somebody's. Lock held. */
static int take_live(evbus_queue *queue, struct evb_fifo_item *items, int max)
{
    int n = 0;
    while (n == 0 && queue->fifo.count > 0) {
        n = keep_live(items, evb_fifo_pop(&queue->fifo, items, max));
        if (queue->fifo.count == 0 && !queue->closed)
            signal_clear(queue);
    }
    return n;
}

/* The same, when something comes before the time is up or the queue is closed. Lock held. */
static int wait_live(evbus_queue *queue, int timeout_ms, struct evb_fifo_item *items, int max)
{
    int64_t deadline_ms = evb_deadline_ms(timeout_ms);
    int n = 0, rc = 0;
    while (n == 0 && !queue->closed && rc != ETIMEDOUT) {
        rc = evb_cond_wait(&queue->filled, &queue->lock, deadline_ms);
        n = take_live(queue, items, max);
    }
    return n;
}

static int pull(evbus_queue *queue, int timeout_ms, struct evb_fifo_item *items, int max)
{
    pthread_mutex_lock(&queue->lock);
    int n = take_live(queue, items, max);
    bool waits = n == 0 && timeout_ms != 0;
    if (waits) { /* it may be freed meanwhile */
        evb_queue_ref(queue);
        n = wait_live(queue, timeout_ms, items, max);
    }
    bool edge = queue->slow && evb_slow_taken(queue->slow, fill_of(queue));
    struct evb_fill fill = fill_of(queue);
    bool roomy = queue->starved && evb_fill_is_well(&fill);
    queue->starved = queue->starved && !roomy;
    if (n == 0 && queue->closed)
        n = EVBUS_ECLOSED;
    pthread_mutex_unlock(&queue->lock);
    if (edge)
        tell_edge(queue);
    if (roomy)
        queue->roomy(queue->keeper);
    if (waits)
        evb_queue_unref(queue);
    return n;
}

int evbus_queue_next_many(evbus_queue *queue, int timeout_ms, evbus_event **events, int64_t *tags,
                          int max)
{
    struct evb_fifo_item items[PULL_MOST];
    struct evb_thread *thread = evb_thread_self();
    if (!queue || !events || max < 1)
        return evb_fail(EVBUS_EINVAL,
                        "evbus_queue_next: needs a queue, room for events and max >= 1");
    if (check_fork(queue) != 0)
        return EVBUS_EFORK;
    if (timeout_ms != 0 && evb_loop_is_here(queue->loop))
        return evb_fail(EVBUS_EDEADLK,
                        "pulling with a timeout on the bus's own loop would wait for "
                        "itself: use timeout 0 there");
    if (!thread)
        return EVBUS_ENOMEM;
    if (queue->handled)
        evb_queue_settle(queue, thread);
    int n = pull(queue, timeout_ms, items, max < PULL_MOST ? max : PULL_MOST);
    if (n == EVBUS_ECLOSED)
        return evb_fail(EVBUS_ECLOSED, "the queue's bus is closed and nothing is left in it");
    if (n > 0) /* while what was pulled still keeps the queue */
        evb_count(queue->metrics, EVB_COUNT_pulled, n);
    for (int i = 0; i < n; i++) {
        events[i] = items[i].event;
        if (tags)
            tags[i] = items[i].sub->tag;
        evb_sub_count(items[i].sub, thread);
        if (items[i].sub->tally || (events[i]->delivery && !events[i]->delivery->by_hand))
            evb_queue_remember(queue, items[i].sub, events[i], thread);
        evb_sub_unref(items[i].sub);
    }
    return n;
}

int evbus_queue_next(evbus_queue *queue, int timeout_ms, evbus_event **event, int64_t *tag)
{
    return evbus_queue_next_many(queue, timeout_ms, event, tag, 1);
}

int evbus_queue_fd(evbus_queue *queue)
{
    if (!queue)
        return evb_fail(EVBUS_EINVAL, "evbus_queue_fd: no queue");
    if (check_fork(queue) != 0)
        return EVBUS_EFORK;
    int rc = 0;
    pthread_mutex_lock(&queue->lock);
    if (queue->fds[0] < 0) {
        rc = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, queue->fds);
        if (rc == 0 && (queue->fifo.count > 0 || queue->closed))
            signal_set(queue);
    }
    int fd = queue->fds[0];
    pthread_mutex_unlock(&queue->lock);
    return rc == 0 ? fd : evb_fail_errno("socketpair");
}

int64_t evbus_queue_stat(const evbus_queue *queue, const char *name)
{
    if (!queue || !name)
        return -1;
    if (check_fork(queue) != 0)
        return EVBUS_EFORK;
    pthread_mutex_t *lock = (pthread_mutex_t *)&queue->lock;
    pthread_mutex_lock(lock);
    int64_t value = !strcmp(name, "queued")    ? queue->fifo.count
                    : !strcmp(name, "peak")    ? queue->fifo.peak
                    : !strcmp(name, "dropped") ? queue->fifo.dropped
                    : !strcmp(name, "slow")    ? evb_slow_is(queue->slow)
                                               : -1;
    pthread_mutex_unlock(lock);
    return value;
}
