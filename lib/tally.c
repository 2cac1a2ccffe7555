/* tally.c - given and handled. Any thread. */
#include "tally.h"
#include "alloc.h"
#include "err.h"

struct evb_tally_entry {
    struct evb_position at;
    bool begun, done;
};

struct evb_tally *evb_tally_new(void)
{
    struct evb_tally *tally = evb_calloc(1, sizeof *tally);
    if (!tally) {
        evb_fail_memory();
        return NULL;
    }
    pthread_mutex_init(&tally->lock, NULL);
    return tally;
}

void evb_tally_free(struct evb_tally *tally)
{
    if (!tally)
        return;
    pthread_mutex_destroy(&tally->lock);
    evb_free(tally->ring);
    evb_free(tally);
}

static struct evb_tally_entry *entry(const struct evb_tally *tally, size_t n)
{
    return &tally->ring[(tally->first + n) % tally->room];
}

static bool grow(struct evb_tally *tally)
{
    size_t room = tally->room ? tally->room * 2 : 64;
    struct evb_tally_entry *ring = evb_alloc(room * sizeof *ring);
    if (!ring)
        return false;
    for (size_t i = 0; i < tally->count; i++)
        ring[i] = *entry(tally, i);
    evb_free(tally->ring);
    tally->ring = ring;
    tally->room = room;
    tally->first = 0;
    return true;
}

/* Lock held: the first that is not before `at`; they are in order. */
static size_t find(const struct evb_tally *tally, struct evb_position at)
{
    size_t low = 0, high = tally->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (evb_position_compare(entry(tally, middle)->at, at) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct evb_tally_entry *find_exact(const struct evb_tally *tally, struct evb_position at)
{
    size_t n = find(tally, at);
    bool there = n < tally->count && evb_position_compare(entry(tally, n)->at, at) == 0;
    return there ? entry(tally, n) : NULL;
}

static bool insert(struct evb_tally *tally, struct evb_position at)
{
    if (tally->count == tally->room && !grow(tally))
        return false;
    size_t n = find(tally, at);
    tally->count++;
    for (size_t i = tally->count - 1; i > n; i--)
        *entry(tally, i) = *entry(tally, i - 1);
    *entry(tally, n) = (struct evb_tally_entry){.at = at};
    return true;
}

enum evb_tally_gift evb_tally_give(struct evb_tally *tally, struct evb_position at)
{
    enum evb_tally_gift gift = EVB_TALLY_GIVEN;
    pthread_mutex_lock(&tally->lock);
    const struct evb_tally_entry *known = find_exact(tally, at);
    if (known && (known->begun || known->done))
        gift = EVB_TALLY_BEGUN;
    else if (!known && !insert(tally, at))
        gift = EVB_TALLY_NO_MEMORY;
    pthread_mutex_unlock(&tally->lock);
    return gift;
}

/* One that was given before stays, and will be given again. */
void evb_tally_take_back(struct evb_tally *tally, struct evb_position at)
{
    pthread_mutex_lock(&tally->lock);
    const struct evb_tally_entry *last = tally->count ? entry(tally, tally->count - 1) : NULL;
    if (last && !last->begun && !last->done && evb_position_compare(last->at, at) == 0)
        tally->count--;
    pthread_mutex_unlock(&tally->lock);
}

bool evb_tally_begin(struct evb_tally *tally, struct evb_position at)
{
    pthread_mutex_lock(&tally->lock);
    struct evb_tally_entry *known = find_exact(tally, at);
    bool may = known && !known->begun && !known->done;
    if (may)
        known->begun = true;
    pthread_mutex_unlock(&tally->lock);
    return may;
}

void evb_tally_unbegin(struct evb_tally *tally, struct evb_position at)
{
    pthread_mutex_lock(&tally->lock);
    struct evb_tally_entry *known = find_exact(tally, at);
    if (known)
        known->begun = false;
    pthread_mutex_unlock(&tally->lock);
}

/* Lock held. True: the first move. */
static bool move_on(struct evb_tally *tally)
{
    bool moved = false;
    while (tally->count > 0 && entry(tally, 0)->done) {
        tally->handled = entry(tally, 0)->at;
        tally->first = (tally->first + 1) % tally->room;
        tally->count--;
        moved = true;
    }
    bool first = moved && !tally->moved;
    tally->moved = tally->moved || moved;
    return first;
}

bool evb_tally_done(struct evb_tally *tally, struct evb_position at)
{
    pthread_mutex_lock(&tally->lock);
    struct evb_tally_entry *known = find_exact(tally, at);
    if (known)
        known->done = true;
    bool first = move_on(tally);
    pthread_mutex_unlock(&tally->lock);
    return first;
}

bool evb_tally_pass(struct evb_tally *tally, struct evb_position at)
{
    pthread_mutex_lock(&tally->lock);
    bool first = false;
    if (tally->count == 0 && evb_position_compare(at, tally->handled) > 0) {
        tally->handled = at;
        first = !tally->moved;
        tally->moved = true;
    }
    pthread_mutex_unlock(&tally->lock);
    return first;
}

void evb_tally_start(struct evb_tally *tally, struct evb_position at)
{
    pthread_mutex_lock(&tally->lock);
    tally->first = tally->count = 0;
    tally->handled = at;
    tally->moved = true;
    pthread_mutex_unlock(&tally->lock);
}

bool evb_tally_read(struct evb_tally *tally, struct evb_position *handled)
{
    pthread_mutex_lock(&tally->lock);
    bool moved = tally->moved;
    tally->moved = false;
    *handled = tally->handled;
    pthread_mutex_unlock(&tally->lock);
    return moved;
}
