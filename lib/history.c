/*
 * history.c - queries of history: the doors (any thread), and their way over the sources (loop).
 */
#include "history.h"
#include "alloc.h"
#include "err.h"
#include "wait.h"
#include <stdio.h>

enum { WAITING_MOST = 10000 };         /* queries of one bus */
enum { PAGE = 64, PAGES_A_TURN = 32 }; /* then the loop does something else */

/* ---- this process's ring ---- */

static const char *local_lacks(const struct evbus *bus)
{
    return bus->recent.limit ? NULL
                             : "this process keeps no events: set history.local.events to how many "
                               "it shall keep (1000, say)";
}

/* A page into the query: how many events it had, 0 at the end, or an error. */
static int local_page(struct evb_history *history)
{
    evbus_event *events[PAGE];
    int rc = 0, count = evb_recent_read(&history->bus->recent, &history->cursor, events, PAGE);
    for (int i = 0; i < count; i++) {
        if (rc == 0)
            rc = evb_history_take(history, events[i], NULL);
        else
            evbus_event_unref(events[i]);
    }
    return rc != 0 ? rc : count;
}

static void local_ask(struct evb_history *history)
{
    int rc = 1;
    for (int i = 0; i < PAGES_A_TURN && rc > 0; i++)
        rc = local_page(history);
    evb_history_page(history, rc < 0 ? rc : 0, rc == 0);
}

/* ---- the sources, in the order in which they are asked ---- */

static const struct evb_history_source local = {EVB_SOURCE_LOCAL, local_lacks, local_ask};
static const struct evb_history_source *const sources[] = {&local, &evb_history_redis};

static bool is_named(const struct evb_history *history, unsigned i)
{
    return history->query.source == EVB_SOURCE_BOTH ||
           history->query.source == (int64_t)sources[i]->name;
}

static unsigned next_source(const struct evb_history *history, unsigned from)
{
    while (from < EVB_COUNT(sources) &&
           !(is_named(history, from) && !sources[from]->lacks(history->bus)))
        from++;
    return from;
}

/* 0, or EVBUS_ENOTSUP: none of those that are asked for is there. */
static int check_sources(const struct evb_history *history)
{
    const char *lacks[EVB_COUNT(sources) + 1] = {"", ""};
    size_t count = 0;
    if (next_source(history, 0) < EVB_COUNT(sources))
        return 0;
    for (unsigned i = 0; i < EVB_COUNT(sources); i++)
        if (is_named(history, i))
            lacks[count++] = sources[i]->lacks(history->bus);
    return evb_fail(EVBUS_ENOTSUP, "%s%s%s", lacks[0], count > 1 ? "; " : "", lacks[1]);
}

/* ---- a query's way ---- */

int evb_history_take(struct evb_history *history, evbus_event *event, const struct evb_moment *at)
{
    if (history->over || !evb_query_wants(&history->query, event, at)) {
        evbus_event_unref(event);
        return 0;
    }
    return evb_found_add(&history->found, event, history->query.limit);
}

static void history_free(struct evb_history *history)
{
    evb_found_fini(&history->found);
    evb_query_fini(&history->query);
    atomic_fetch_sub(&history->bus->queries, 1);
    evb_bus_unref(history->bus);
    evb_free(history);
}

/* Calls fn, once; whoever comes back to the query later only frees it. */
static void end(struct evb_history *history, int error)
{
    struct evb_thread *thread = evb_thread_self();
    evbus_list *list = NULL;
    if (error == 0)
        list = evb_found_list(&history->found, history->query.limit, history->asked > 1);
    if (error == 0 && !list)
        error = EVBUS_ENOMEM;
    evb_list_remove(&history->node);
    history->over = true;
    if (thread)
        thread->callbacks++;
    history->fn(list, error, history->user);
    if (thread)
        thread->callbacks--;
    if (!history->busy)
        history_free(history);
}

static int closed(void)
{
    return evb_fail(EVBUS_ECLOSED, "the bus was closed before the query was answered");
}

static void ask(struct evb_history *history)
{
    history->busy = true;
    sources[history->source]->ask(history);
}

void evb_history_go(struct evb_history *history)
{
    history->busy = false;
    if (history->over)
        history_free(history);
    else if (atomic_load(&history->bus->state) == EVB_BUS_CLOSED)
        end(history, closed());
    else if (history->given_up && atomic_load(history->given_up))
        end(history, EVBUS_ETIMEDOUT);
    else
        ask(history);
}

/* On the loop, a turn each: the first page, the next one, the next source, the end. */
static void go_on(struct evb_job *job)
{
    evb_history_go(evb_container(job, struct evb_history, job));
}

static void begin(struct evb_job *job)
{
    struct evb_history *history = evb_container(job, struct evb_history, job);
    evb_list_push(&history->bus->histories, &history->node);
    job->run = go_on;
    evb_history_go(history);
}

void evb_history_page(struct evb_history *history, int error, bool last)
{
    history->busy = false;
    if (history->over) {
        history_free(history);
        return;
    }
    if (error == EVBUS_EAWAY && atomic_load(&history->bus->state) != EVB_BUS_OPEN)
        error = closed(); /* the end of the bus has cut the source off */
    if (error != 0) {
        end(history, error);
        return;
    }
    if (last) {
        history->source = next_source(history, history->source + 1);
        evb_found_next(&history->found);
        if (history->source == EVB_COUNT(sources)) {
            end(history, 0);
            return;
        }
        history->asked++;
    }
    history->busy = true;
    evb_loop_post(&history->bus->loop, &history->job);
}

void evb_history_end_all(struct evbus *bus)
{
    while (!evb_list_empty(&bus->histories))
        end(evb_container(bus->histories.next, struct evb_history, node), closed());
}

/* ---- the doors ---- */

static struct evb_history *history_new(struct evbus *bus, const char *text, evbus_list_fn fn,
                                       void *user)
{
    struct evb_history *history = evb_calloc(1, sizeof *history);
    if (!history) {
        evb_fail_memory();
        return NULL;
    }
    evb_list_init(&history->node);
    evb_list_init(&history->redis.turn);
    evb_bus_ref(bus);
    history->bus = bus;
    bool full = atomic_fetch_add(&bus->queries, 1) >= WAITING_MOST;
    history->job.run = begin;
    history->busy = true;
    history->fn = fn;
    history->user = user;
    if (full) {
        evb_fail(EVBUS_EFULL, "%d queries of history wait for their answers", WAITING_MOST);
    } else if (evb_query_read(&history->query, text) == 0 && check_sources(history) == 0) {
        history->source = next_source(history, 0);
        history->asked = 1;
        return history;
    }
    history_free(history);
    return NULL;
}

/* Frees a query that is refused. */
static int post(struct evb_history *history)
{
    int rc = evb_bus_ask(history->bus, &history->job);
    if (rc != 0)
        history_free(history);
    return rc;
}

int evbus_history_async(evbus *bus, const char *query, evbus_list_fn fn, void *user)
{
    int rc = evb_bus_check(bus, false);
    if (rc == 0 && !fn)
        rc = evb_fail(EVBUS_EINVAL, "evbus_history_async: no function to call (NULL)");
    if (rc != 0)
        return rc;
    struct evb_history *history = history_new(bus, query, fn, user);
    return history ? post(history) : evbus_last_code();
}

struct answer { /* from the loop to who waits for it */
    atomic_int refs;
    atomic_int given_up;
    struct evb_wait *wait;
    evbus_list *list; /* owned; written before `wait` is done */
    char why[256];
};

static struct answer *answer_new(void)
{
    struct answer *answer = evb_calloc(1, sizeof *answer);
    if (!answer) {
        evb_fail_memory();
        return NULL;
    }
    atomic_init(&answer->refs, 2);
    atomic_init(&answer->given_up, 0);
    answer->wait = evb_wait_new();
    if (answer->wait)
        return answer;
    evb_free(answer);
    return NULL;
}

static void answer_unref(struct answer *answer)
{
    if (atomic_fetch_sub(&answer->refs, 1) != 1)
        return;
    evbus_list_free(answer->list);
    evb_free(answer);
}

static void on_answer(evbus_list *list, int error, void *user)
{
    struct answer *answer = user;
    answer->list = list;
    if (error != 0)
        snprintf(answer->why, sizeof answer->why, "%s", evbus_last_error());
    evb_wait_done(error, answer->wait);
    answer_unref(answer);
}

static evbus_list *wait_for(struct answer *answer, int timeout_ms)
{
    evbus_list *list = NULL;
    int rc = evb_wait_for(answer->wait, timeout_ms);
    if (rc == 0) {
        list = answer->list;
        answer->list = NULL;
    } else if (rc == EVBUS_ETIMEDOUT) {
        atomic_store(&answer->given_up, 1);
        evb_fail(rc, "no answer to the query within %d ms", timeout_ms);
    } else {
        evb_fail(rc, "%s", answer->why);
    }
    answer_unref(answer);
    return list;
}

/* What is in this process needs nobody to wait for. */
static evbus_list *look_once(struct evb_history *history)
{
    evbus_list *list = NULL;
    int rc = 1;
    if (sources[history->source]->name != EVB_SOURCE_LOCAL ||
        next_source(history, history->source + 1) < EVB_COUNT(sources))
        rc = evb_fail(EVBUS_ETIMEDOUT, "Redis cannot be asked within 0 ms: source=local can");
    while (rc > 0)
        rc = local_page(history);
    if (rc == 0)
        list = evb_found_list(&history->found, history->query.limit, false);
    history_free(history);
    return list;
}

evbus_list *evbus_history(evbus *bus, const char *query, int timeout_ms)
{
    if (evb_bus_check(bus, false) != 0 || evb_bus_may_wait(bus, "evbus_history", timeout_ms) != 0)
        return NULL;
    struct evb_history *history = history_new(bus, query, on_answer, NULL);
    if (!history || timeout_ms == 0)
        return history ? look_once(history) : NULL;
    struct answer *answer = answer_new();
    if (!answer) {
        history_free(history);
        return NULL;
    }
    history->user = answer;
    history->given_up = &answer->given_up;
    if (post(history) == 0)
        return wait_for(answer, timeout_ms);
    evb_wait_cancel(answer->wait);
    evb_free(answer);
    return NULL;
}
