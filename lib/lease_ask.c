/* lease_ask.c - when to ask for the lease, and the question. Loop only. */
#include "alloc.h"
#include "clock.h"
#include "lease.h"
#include "redis_lease.h"
#include <event2/event.h>

enum {
    AGAIN_MS = 100, /* after want of memory */
    IDLE_MS = 7 * 86400000,
    PLACE_ROOM = EVB_LEASE_PLACE_ROOM
};

int64_t evb_lease_ttl_ms(const struct evb_lease *lease)
{
    return evb_config_number(lease->bus->config, EVB_CFG_LEASE_TTL);
}

bool evb_lease_is_ready(const struct evb_lease *lease)
{
    const struct evbus *bus = lease->bus;
    return bus->wants_redis && atomic_load(&bus->redis.state) == EVB_REDIS_READY;
}

void evb_lease_arm(struct evb_lease *lease, int64_t ms)
{
    ms = ms > 0 ? ms : 0;
    struct timeval in = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    int64_t at_ms = evb_clock_mono_ms() + ms;
    if (lease->timer_ms && lease->timer_ms <= at_ms)
        return;
    lease->timer_ms = at_ms;
    event_add(lease->timer, &in);
}

void evb_lease_disarm(struct evb_lease *lease)
{
    event_del(lease->timer);
    lease->timer_ms = 0;
}

/* To be renewed; and where that fails, it ends in time. */
void evb_lease_arm_holder(struct evb_lease *lease)
{
    int64_t left_ms = (atomic_load(&lease->until_us) - evb_clock_boot_us()) / 1000 + 1;
    int64_t third_ms = evb_lease_ttl_ms(lease) / 3;
    evb_lease_arm(lease, left_ms > 0 && left_ms < third_ms ? left_ms : third_ms);
}

struct pairs {
    const char **words; /* owned */
    char (*texts)[PLACE_ROOM];
    size_t count;
};

static bool pairs_of(struct evb_lease *lease, struct pairs *pairs)
{
    size_t most = lease->member_count + 1;
    *pairs = (struct pairs){.words = evb_calloc(most, 2 * sizeof *pairs->words),
                            .texts = evb_calloc(most, PLACE_ROOM)};
    EVB_LIST_EACH(&lease->members, node)
    {
        struct evb_lease_member *member = evb_container(node, struct evb_lease_member, node);
        if (!pairs->words || !pairs->texts)
            break;
        char *text = pairs->texts[pairs->count];
        if (!member->leads || !member->place(member, text, PLACE_ROOM))
            text[0] = '\0';
        pairs->words[2 * pairs->count] = member->name;
        pairs->words[2 * pairs->count + 1] = text;
        member->over = atomic_load(&member->sub->state) == EVB_SUB_ENDED;
        member->asked = (int)pairs->count++;
    }
    return pairs->words && pairs->texts;
}

void evb_lease_question(struct evb_lease *lease, bool leave)
{
    struct evbus *bus = lease->bus;
    struct pairs pairs;
    if (lease->asked || !evb_lease_is_ready(lease))
        return;
    bool good = pairs_of(lease, &pairs);
    struct evb_lease_ask words = {.lease = lease->key,
                                  .waiting = lease->waiting,
                                  .owner = bus->node,
                                  .mode = leave                                ? "leave"
                                          : lease->holds                       ? "stay"
                                          : lease->looks                       ? "look"
                                          : lease->above > 0 && !lease->waited ? "careful"
                                                                               : "take",
                                  .channel = bus->inbox,
                                  .notice = lease->notice,
                                  .ttl_ms = evb_lease_ttl_ms(lease),
                                  .idle_ms = IDLE_MS,
                                  .above = lease->above,
                                  .places = pairs.words,
                                  .place_count = pairs.count};
    lease->sent_us = evb_clock_boot_us();
    if (good)
        lease->asked =
            evb_lease_send(&bus->redis.stream, &bus->redis.asks, &words, evb_lease_answered, lease);
    else
        evb_lease_arm(lease, AGAIN_MS);
    lease->leaving = leave && lease->asked;
    lease->asked_count = pairs.count;
    evb_free(pairs.words);
    evb_free(pairs.texts);
}
