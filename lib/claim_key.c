/* claim_key.c - evbus_claim(), evbus_release(). Doors: any thread; jobs: loop. */
#include "claim_key.h"
#include "alloc.h"
#include "clock.h"
#include "err.h"
#include "wait.h"
#include <stdio.h>
#include <string.h>

enum { CALLS_MOST = 10000, HELD_MOST = 10000, KEY_MOST = 512, LOST_MOST_MS = 10000 };
enum { SAY_AGAIN_MS = 200 };
#define TTL_MOST_MS INT64_C(31536000000)

enum { ASKED, ANSWERED, GIVEN_UP };

struct answer { /* from the loop to who waits for it */
    atomic_int refs;
    atomic_int state; /* ASKED, then whoever is first */
    struct evb_wait *wait;
    int result; /* written before ANSWERED */
    char why[300];
};

struct call { /* evbus_claim() or evbus_release() on its way */
    struct evb_job job;
    struct evb_node node; /* in the bus's list, once the loop has it */
    struct evbus *bus;    /* ref */
    struct evb_key_lease lease;
    enum evb_key_lease_verb verb;
    evbus_done_fn fn; /* NULL: nobody is told */
    void *user;
    struct answer *answer; /* ref; of the waiting form */
    bool held_before;      /* by this bus, when it was won */
    bool late;             /* RELEASE: of what was won when nobody waited any more */
    int64_t until_ms;      /* RELEASE: what it held ends by itself then. CLOCK_BOOTTIME */
    int64_t give_up_ms;    /* its answer was lost: asked again until then; 0: it was not */
    int64_t again_ms;      /* RELEASE: Redis would not, and is told again then; 0: it did not say */
    const char *name;      /* the key without its prefix */
    char key[];
};

struct held {
    int64_t until_ms; /* CLOCK_BOOTTIME */
};

/* ---- the table of what this bus holds ---- */

/* When it ends; 0: this bus does not hold it. Lock held. */
static int64_t held_until(struct evb_claims *claims, const char *key)
{
    const struct held *held = evb_map_get(&claims->held, key, strlen(key));
    return held && held->until_ms > evb_clock_boot_ms() ? held->until_ms : 0;
}

static void forget(struct evb_claims *claims, const char *key)
{
    pthread_mutex_lock(&claims->lock);
    struct held *held = evb_map_remove(&claims->held, key, strlen(key));
    pthread_mutex_unlock(&claims->lock);
    evb_free(held);
}

/* False: no memory. *before: this bus held it already. */
static bool remember(struct evb_claims *claims, const char *key, int64_t until_ms, bool *before)
{
    struct held *fresh = evb_calloc(1, sizeof *fresh);
    pthread_mutex_lock(&claims->lock);
    *before = held_until(claims, key) != 0;
    struct held *held = evb_map_get(&claims->held, key, strlen(key));
    if (!held && fresh && evb_map_put(&claims->held, key, strlen(key), fresh) == 0) {
        held = fresh;
        fresh = NULL;
    }
    if (held)
        held->until_ms = until_ms;
    pthread_mutex_unlock(&claims->lock);
    evb_free(fresh);
    return held != NULL;
}

static void forget_old(const char *key, size_t length, void *value, void *user)
{
    struct evb_claims *claims = user;
    const struct held *held = value;
    if (held->until_ms <= evb_clock_boot_ms())
        evb_free(evb_map_remove(&claims->held, key, length));
}

/* 0, or EVBUS_EFULL. */
static int admit(struct evb_claims *claims, const char *key)
{
    pthread_mutex_lock(&claims->lock);
    bool before = held_until(claims, key) != 0;
    if (!before && claims->held.count >= HELD_MOST)
        evb_map_each(&claims->held, forget_old, claims);
    bool full = !before && claims->held.count >= HELD_MOST;
    pthread_mutex_unlock(&claims->lock);
    return full ? evb_fail(EVBUS_EFULL, "this bus holds %d keys: release some", HELD_MOST) : 0;
}

/* It has won the key, or asks for it. */
static bool is_wanted(struct evbus *bus, const char *key)
{
    struct evb_claims *claims = bus->claims;
    pthread_mutex_lock(&claims->lock);
    bool held = held_until(claims, key) != 0;
    pthread_mutex_unlock(&claims->lock);
    EVB_LIST_EACH(&claims->calls, node)
    {
        const struct call *call = evb_container(node, struct call, node);
        held = held || (call->verb == EVB_KEY_LEASE_TAKE && !strcmp(call->key, key));
    }
    return held;
}

/* ---- a call's end ---- */

static void answer_unref(struct answer *answer)
{
    if (!answer || atomic_fetch_sub(&answer->refs, 1) != 1)
        return;
    evb_free(answer);
}

static void call_free(struct call *call)
{
    atomic_fetch_sub(&call->bus->claims->calling, 1);
    answer_unref(call->answer);
    evb_bus_unref(call->bus);
    evb_free(call);
}

/* False: nobody waits any more. */
static bool bring(struct answer *answer, int result)
{
    int asked = ASKED;
    answer->result = result;
    if (result < 0)
        snprintf(answer->why, sizeof answer->why, "%s", evbus_last_error());
    bool first = atomic_compare_exchange_strong(&answer->state, &asked, ANSWERED);
    evb_wait_done(result, answer->wait);
    return first;
}

static int release(struct evbus *bus, const char *key, bool late);

/* Won too late for whoever asked: it is free again, unless this bus held it before, or another one
 * of its callers may have it. */
static void give_back(struct call *call)
{
    if (!call->held_before)
        release(call->bus, call->name, true);
}

static void end(struct call *call, int result)
{
    struct evb_thread *thread = evb_thread_self();
    evb_list_remove(&call->node);
    if (call->answer && !bring(call->answer, result) && result == 1)
        give_back(call);
    if (thread)
        thread->callbacks++;
    if (call->fn)
        call->fn(result, call->user);
    if (thread)
        thread->callbacks--;
    call_free(call);
}

static int closed(void)
{
    return evb_fail(EVBUS_ECLOSED, "the bus was closed before Redis answered");
}

static int away(const struct evbus *bus)
{
    char why[EVB_FAULT_TEXT];
    evb_fault_read((struct evb_fault *)&bus->redis.fault, why, sizeof why);
    if (!why[0])
        snprintf(why, sizeof why, "%s",
                 evb_redis_state_name((enum evb_redis_state)atomic_load(&bus->redis.state)));
    return evb_fail(EVBUS_EAWAY, "nothing can be claimed while Redis is away (%s)", why);
}

static int refused(const struct evbus *bus, const char *error)
{
    char rights[400];
    evb_claims_name_rights(bus, rights, sizeof rights);
    if (evb_acl_refuses(error))
        return evb_fail(EVBUS_EDENIED, "Redis refuses claims: the user needs %s (%.200s)", rights,
                        error);
    return evb_fail(EVBUS_EREMOTE, "Redis refuses the claim: %.200s", error);
}

/* ---- a call's way ---- */

static void ask(struct call *call)
{
    bool since = call->late || call->again_ms;
    if (since && is_wanted(call->bus, call->key)) /* claimed anew */
        end(call, 0);
    else
        evb_key_lease_ask(&call->bus->claims->leases, &call->lease, call->verb);
}

/* Answers 1, or why it is not to be had after all. */
static int won(struct call *call)
{
    struct evbus *bus = call->bus;
    evb_count(&bus->metrics, EVB_COUNT_claims_won, 1);
    if (remember(bus->claims, call->key, call->lease.until_ms, &call->held_before))
        return 1;
    return evb_fail_memory(); /* its time to live ends it */
}

static void taken(struct call *call, const struct evb_key_lease_answer *answer)
{
    struct evbus *bus = call->bus;
    switch (answer->result) {
    case EVB_KEY_LEASE_OK:
        end(call, won(call));
        break;
    case EVB_KEY_LEASE_PASSES:
        end(call, evb_fail(EVBUS_EAWAY, "nothing can be claimed right now: %.200s", answer->error));
        break;
    case EVB_KEY_LEASE_REFUSED:
        end(call, refused(bus, answer->error));
        break;
    default:
        evb_count(&bus->metrics, EVB_COUNT_claims_lost, 1);
        forget(bus->claims, call->key);
        end(call, 0);
    }
}

/* The answer may have been that it is ours: it is asked for again, with the same owner. */
static void keep(struct call *call)
{
    int64_t ttl_ms = call->lease.ttl_ms < LOST_MOST_MS ? call->lease.ttl_ms : LOST_MOST_MS;
    if (!call->give_up_ms)
        call->give_up_ms =
            call->verb == EVB_KEY_LEASE_RELEASE ? call->until_ms : evb_clock_boot_ms() + ttl_ms;
    evb_claims_arm(call->bus, call->give_up_ms);
}

/* Redis will not right now (BUSY, ...): what is given back is not forgotten for that. */
static void say_again(struct call *call)
{
    keep(call);
    call->again_ms = evb_clock_boot_ms() + SAY_AGAIN_MS;
    evb_claims_arm(call->bus, call->again_ms);
}

static void on_lease(struct evb_key_lease *lease, const struct evb_key_lease_answer *answer)
{
    struct call *call = evb_container(lease, struct call, lease);
    struct evbus *bus = call->bus;
    if (answer->result == EVB_KEY_LEASE_LOST)
        keep(call);
    else if (call->verb == EVB_KEY_LEASE_TAKE)
        taken(call, answer);
    else if (answer->result == EVB_KEY_LEASE_PASSES)
        say_again(call);
    else
        end(call, 0);
    evb_claims_moved(bus);
}

static void begin(struct evb_job *job)
{
    struct call *call = evb_container(job, struct call, job);
    struct evbus *bus = call->bus;
    evb_list_push(&bus->claims->calls, &call->node);
    if (atomic_load(&bus->state) == EVB_BUS_CLOSED)
        end(call, closed());
    else if (evb_claims_are_ready(bus))
        ask(call);
    else if (call->verb == EVB_KEY_LEASE_RELEASE)
        keep(call);
    else
        end(call, away(bus));
}

void evb_claim_keys_look(struct evbus *bus)
{
    int64_t now_ms = evb_clock_boot_ms();
    EVB_LIST_EACH(&bus->claims->calls, node)
    {
        struct call *call = evb_container(node, struct call, node);
        if (call->lease.verb != EVB_KEY_LEASE_NONE || !call->give_up_ms)
            continue;
        if (call->give_up_ms <= now_ms)
            end(call, evb_fail(EVBUS_EAWAY, "the connection broke before Redis answered, and did "
                                            "not come back in time: the claim may hold"));
        else if (call->again_ms && call->again_ms <= now_ms && evb_claims_are_ready(bus))
            ask(call);
        else
            evb_claims_arm(bus, call->again_ms > now_ms ? call->again_ms : call->give_up_ms);
    }
}

void evb_claim_keys_again(struct evbus *bus)
{
    EVB_LIST_EACH(&bus->claims->calls, node)
    {
        struct call *call = evb_container(node, struct call, node);
        if (call->lease.verb == EVB_KEY_LEASE_NONE)
            ask(call);
    }
    evb_claims_moved(bus);
}

void evb_claim_keys_end_all(struct evbus *bus)
{
    while (!evb_list_empty(&bus->claims->calls))
        end(evb_container(bus->claims->calls.next, struct call, node), closed());
}

/* ---- the doors ---- */

static int check(const struct evbus *bus, const char *call, const char *key)
{
    int rc = evb_bus_check(bus, false);
    if (rc == 0 && (!key || !*key))
        rc = evb_fail(EVBUS_EINVAL, "%s: no key (%s)", call, key ? "it is empty" : "NULL");
    if (rc == 0 && strlen(key) > KEY_MOST)
        rc = evb_fail(EVBUS_EINVAL, "%s: a key of %zu bytes: %d at the most", call, strlen(key),
                      KEY_MOST);
    if (rc == 0 && !bus->wants_redis)
        rc =
            evb_fail(EVBUS_EAWAY, "claims are kept in Redis, and this bus has none: set redis.url");
    return rc;
}

static struct call *call_new(struct evbus *bus, enum evb_key_lease_verb verb, const char *key)
{
    const char *prefix = evb_config_text(bus->config, EVB_CFG_CLAIM_PREFIX);
    size_t before = strlen(prefix), room = before + strlen(key) + 1;
    struct call *call = evb_calloc(1, sizeof *call + room);
    if (!call) {
        evb_fail_memory();
        return NULL;
    }
    evb_list_init(&call->node);
    snprintf(call->key, room, "%s%s", prefix, key);
    call->name = call->key + before;
    call->bus = bus;
    call->verb = verb;
    call->job.run = begin;
    call->lease.key = call->key;
    call->lease.owner = bus->node;
    call->lease.fn = on_lease;
    evb_bus_ref(bus);
    atomic_fetch_add(&bus->claims->calling, 1);
    return call;
}

/* Frees a call that is refused. */
static int post(struct call *call)
{
    int rc = evb_bus_ask(call->bus, &call->job);
    if (rc != 0)
        call_free(call);
    return rc;
}

/* NULL: an error. */
static struct call *claim_new(struct evbus *bus, const char *key, int64_t ttl_ms)
{
    if (ttl_ms < 0 || ttl_ms > TTL_MOST_MS) {
        evb_fail(EVBUS_EINVAL, "evbus_claim: ttl_ms %lld: 1 to %lld, or 0 for claim.ttl",
                 (long long)ttl_ms, (long long)TTL_MOST_MS);
        return NULL;
    }
    struct call *call = call_new(bus, EVB_KEY_LEASE_TAKE, key);
    if (!call)
        return NULL;
    call->lease.ttl_ms = ttl_ms ? ttl_ms : evb_config_number(bus->config, EVB_CFG_CLAIM_TTL);
    int rc = atomic_load(&bus->claims->calling) > CALLS_MOST
                 ? evb_fail(EVBUS_EFULL, "%d claims wait for their answers", CALLS_MOST)
                 : admit(bus->claims, call->key);
    if (rc == 0)
        return call;
    call_free(call);
    return NULL;
}

int evbus_claim_async(evbus *bus, const char *key, int64_t ttl_ms, evbus_done_fn fn, void *user)
{
    int rc = check(bus, "evbus_claim_async", key);
    if (rc == 0 && !fn)
        rc = evb_fail(EVBUS_EINVAL, "evbus_claim_async: no function to call (NULL)");
    if (rc != 0)
        return rc;
    struct call *call = claim_new(bus, key, ttl_ms);
    if (!call)
        return evbus_last_code();
    call->fn = fn;
    call->user = user;
    return post(call);
}

static struct answer *answer_new(void)
{
    struct answer *answer = evb_calloc(1, sizeof *answer);
    if (!answer) {
        evb_fail_memory();
        return NULL;
    }
    atomic_init(&answer->refs, 2);
    answer->wait = evb_wait_new();
    if (answer->wait)
        return answer;
    evb_free(answer);
    return NULL;
}

static int wait_for(struct answer *answer, int timeout_ms)
{
    int asked = ASKED, rc = evb_wait_for(answer->wait, timeout_ms);
    if (rc == EVBUS_ETIMEDOUT && !atomic_compare_exchange_strong(&answer->state, &asked, GIVEN_UP))
        rc = answer->result;
    if (rc == EVBUS_ETIMEDOUT)
        evb_fail(rc,
                 "Redis has not answered the claim within %d ms: if it is won yet, it is given "
                 "back",
                 timeout_ms);
    else if (rc < 0)
        evb_fail(rc, "%s", answer->why);
    answer_unref(answer);
    return rc;
}

int evbus_claim(evbus *bus, const char *key, int64_t ttl_ms, int timeout_ms)
{
    int rc = check(bus, "evbus_claim", key);
    if (rc == 0)
        rc = evb_bus_may_wait(bus, "evbus_claim", timeout_ms);
    if (rc == 0 && timeout_ms == 0)
        rc = evb_fail(EVBUS_ETIMEDOUT, "Redis cannot be asked within 0 ms: evbus_claim_async()");
    struct call *call = rc == 0 ? claim_new(bus, key, ttl_ms) : NULL;
    if (!call)
        return rc != 0 ? rc : evbus_last_code();
    struct answer *answer = answer_new();
    call->answer = answer;
    if (!answer) {
        call_free(call);
        return EVBUS_ENOMEM;
    }
    if ((rc = post(call)) == 0)
        return wait_for(answer, timeout_ms);
    evb_wait_cancel(answer->wait);
    answer_unref(answer);
    return rc;
}

static int release(struct evbus *bus, const char *key, bool late)
{
    struct call *call = call_new(bus, EVB_KEY_LEASE_RELEASE, key);
    if (!call)
        return EVBUS_ENOMEM;
    call->late = late;
    pthread_mutex_lock(&bus->claims->lock);
    call->until_ms = held_until(bus->claims, call->key);
    pthread_mutex_unlock(&bus->claims->lock);
    if (call->until_ms) {
        forget(bus->claims, call->key);
        return post(call);
    }
    call_free(call);
    return evb_fail(EVBUS_ENOENT, "this bus does not hold %s", key);
}

int evbus_release(evbus *bus, const char *key)
{
    int rc = check(bus, "evbus_release", key);
    return rc != 0 ? rc : release(bus, key, false);
}
