/* claim.c - what the claims of one bus share: the timer, the link's coming and going, its end. Loop
 * only. */
#include "claim.h"
#include "alloc.h"
#include "claim_key.h"
#include "claim_sub.h"
#include "clock.h"
#include "err.h"
#include <event2/event.h>
#include <stdio.h>

void evb_claims_name_rights(const struct evbus *bus, char *out, size_t room)
{
    snprintf(out, room, "+eval +evalsha +get +set +pttl +del and ~%s*",
             evb_config_text(bus->config, EVB_CFG_CLAIM_PREFIX));
}

void evb_claims_refused(struct evbus *bus, const char *error)
{
    struct evb_claims *claims = bus->claims;
    char rights[400];
    if (claims->told)
        return;
    claims->told = true;
    evb_claims_name_rights(bus, rights, sizeof rights);
    evb_log(&bus->log, EVBUS_LOG_WARNING,
            "redis: claims are refused: %s (the user needs %s); claim.away says what becomes of "
            "the events",
            error, rights);
}

bool evb_claims_are_ready(const struct evbus *bus)
{
    return atomic_load(&bus->redis.state) == EVB_REDIS_READY;
}

static bool is_busy(const struct evbus *bus, enum evb_claim_stage stage)
{
    const struct evb_claims *claims = bus->claims;
    EVB_LIST_EACH(&claims->subs, node)
    if (evb_claim_sub_busy(node, stage))
        return true;
    return stage == EVB_CLAIMS_SETTLING && evb_claims_are_ready(bus) &&
           !evb_list_empty(&claims->calls);
}

void evb_claims_moved(struct evbus *bus)
{
    struct evb_claims *claims = bus->claims;
    struct evb_job *job = claims->drained;
    if (!job || is_busy(bus, claims->stage))
        return;
    claims->drained = NULL;
    evb_loop_post(&bus->loop, job);
}

static void look_at_all(struct evbus *bus)
{
    EVB_LIST_EACH(&bus->claims->subs, node)
    evb_claim_sub_look(node);
    evb_claims_moved(bus);
}

void evb_claims_arm(struct evbus *bus, int64_t at_ms)
{
    struct evb_claims *claims = bus->claims;
    int64_t in_ms = at_ms - evb_clock_boot_ms();
    if (claims->timer_ms && claims->timer_ms <= at_ms)
        return;
    in_ms = in_ms < 1 ? 1 : in_ms;
    struct timeval in = {.tv_sec = in_ms / 1000, .tv_usec = in_ms % 1000 * 1000};
    claims->timer_ms = at_ms;
    event_add(claims->timer, &in);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct evbus *bus = arg;
    (void)fd;
    (void)what;
    evb_bus_ref(bus);
    evb_loop_begin(&bus->loop);
    bus->claims->timer_ms = 0;
    evb_claim_keys_look(bus);
    look_at_all(bus);
    evb_loop_end(&bus->loop);
    evb_bus_unref(bus);
}

int evb_claims_init(struct evbus *bus)
{
    struct evb_claims *claims = evb_calloc(1, sizeof *claims);
    if (!claims)
        return evb_fail_memory();
    bus->claims = claims;
    evb_key_leases_init(&claims->leases, &bus->redis.asks);
    evb_list_init(&claims->subs);
    evb_list_init(&claims->calls);
    evb_map_init(&claims->held);
    pthread_mutex_init(&claims->lock, NULL);
    claims->timer = event_new(bus->loop.base, -1, 0, on_timer, bus);
    return claims->timer ? 0 : evb_fail_memory();
}

void evb_claims_fini(struct evbus *bus)
{
    struct evb_claims *claims = bus->claims;
    if (!claims)
        return;
    if (claims->timer)
        event_free(claims->timer);
    evb_map_fini(&claims->held, evb_free);
    pthread_mutex_destroy(&claims->lock);
    evb_free(claims);
    bus->claims = NULL;
}

/* What was handled, and what may be ours, before anything new. */
void evb_claims_ready(struct evbus *bus)
{
    struct evb_claims *claims = bus->claims;
    evb_key_leases_anew(&claims->leases);
    claims->told = false;
    look_at_all(bus);
    evb_claim_keys_again(bus);
}

void evb_claims_lost(struct evbus *bus)
{
    look_at_all(bus);
}

void evb_claims_end_all(struct evbus *bus)
{
    struct evb_claims *claims = bus->claims;
    if (!claims)
        return;
    evb_claim_keys_end_all(bus);
    look_at_all(bus);
    if (claims->drained)
        evb_loop_post(&bus->loop, claims->drained);
    claims->drained = NULL;
}

bool evb_claims_drain(struct evbus *bus, struct evb_job *job, enum evb_claim_stage stage)
{
    struct evb_claims *claims = bus->claims;
    if (!claims || atomic_load(&bus->state) == EVB_BUS_CLOSED)
        return false;
    atomic_store(&claims->closing, true);
    EVB_LIST_EACH(&claims->subs, node)
    evb_claim_sub_look(node);
    if (!is_busy(bus, stage))
        return false;
    claims->stage = stage;
    claims->drained = job;
    return true;
}
