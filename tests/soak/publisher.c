/*
 * publisher.c - a process that publishes: threads ("lanes") that number their events over all
 * types, at a steady rate with bursts, a report each; and two subscriptions, one that the
 * publishing threads run, one on the loop, which hears the other publishers too.
 */
#include "harness/recorder.h"
#include "harness/until.h"
#include "soak/dice.h"
#include "soak/member.h"
#include <stdlib.h>
#include <string.h>

enum {
    LANES_MOST = 8,
    FLUSH_MS = 90000,   /* longer than outbox.age */
    BEHIND_US = 500000, /* who was held up so long does not make up for it */
    NAP_US = 50000,
    PADDING_MOST = 20000
};

struct lane {
    struct member *member;
    pthread_t thread;
    int id;
    struct dice dice;
    atomic_int count;
};

static struct lane lanes[LANES_MOST];
static struct member *self;
static atomic_bool stop;

static void on_report(evbus_event *event, int outcome, int error, int64_t receivers, void *user)
{
    int lane = 0, number = 0;
    struct lane *who = user;
    (void)error;
    (void)receivers;
    event_numbers(event, &lane, &number);
    ledger_put(&who->member->ledger, &(struct ledger_record){.kind = LEDGER_REPORT,
                                                             .lane = (uint8_t)lane,
                                                             .number = (uint32_t)number,
                                                             .what = (uint8_t)outcome});
}

/* As event_numbered(), whose failures a test would tell of. */
static evbus_event *make_event(int type, int lane, int number, int padding)
{
    char data[PADDING_MOST + 64];
    int length = snprintf(data, sizeof data, "{\"p\":%d,\"n\":%d,\"pad\":\"%0*d\"}", lane, number,
                          padding + 1, 0);
    evbus_event *event = evbus_event_new(member_types[type]);
    if (!event || evbus_event_set_json(event, data, (size_t)length) != 0)
        abort();
    return event;
}

/* The pace of the one who is refused is the caller's matter. */
static bool publish(struct lane *lane, int type, int padding, bool mark)
{
    int number = atomic_load(&lane->count) + 1;
    struct ledger_record record = {.kind = LEDGER_PUBLISH,
                                   .lane = (uint8_t)lane->id,
                                   .number = (uint32_t)number,
                                   .what = (uint8_t)type};
    evbus_event *event = make_event(type, lane->id, number, padding);
    if (mark)
        evbus_event_set_attr(event, "mark", "yes");
    ledger_put(&lane->member->ledger, &record);
    int sent = evbus_publish_report(lane->member->bus, event, 0, on_report, lane);
    evbus_event_unref(event);
    if (sent > 0) {
        atomic_store(&lane->count, number);
        return true;
    }
    record.kind = LEDGER_REFUSED;
    ledger_put(&lane->member->ledger, &record);
    return false;
}

static int pad(struct dice *dice)
{
    return dice_roll(dice, 200) == 0 ? dice_roll(dice, PADDING_MOST) : dice_roll(dice, 120);
}

static void *run(void *user)
{
    struct lane *lane = user;
    const struct member *member = lane->member;
    int64_t step_us = INT64_C(1000000) * member->publishers * member->lanes / member->rate;
    int64_t due_us = now_us();
    while (!atomic_load(&stop)) {
        bool burst = dice_roll(&lane->dice, 50) == 0;
        int group = burst ? 50 + dice_roll(&lane->dice, 400) : 1 + dice_roll(&lane->dice, 8);
        int64_t now = now_us();
        if (now > due_us + BEHIND_US)
            due_us = now;
        while (now < due_us && !atomic_load(&stop)) {
            nap_us(due_us - now < NAP_US ? due_us - now : NAP_US);
            now = now_us();
        }
        for (int i = 0; i < group && !atomic_load(&stop); i++)
            if (!publish(lane, dice_roll(&lane->dice, MEMBER_TYPES), pad(&lane->dice), false))
                nap_us(1000);
        due_us += group * step_us;
    }
    return NULL;
}

static long long go(void)
{
    for (int i = 0; i < self->lanes; i++) {
        struct lane *lane = &lanes[i];
        lane->member = self;
        lane->id = self->index * self->lanes + i;
        lane->dice = dice_of(self->seed, 1 + lane->id);
        if (pthread_create(&lane->thread, NULL, run, lane) != 0)
            return -1;
    }
    return self->lanes;
}

static long long count(void)
{
    long long sum = 0;
    for (int i = 0; i < self->lanes; i++)
        sum += atomic_load(&lanes[i].count);
    return sum;
}

static long long halt(void)
{
    atomic_store(&stop, true);
    for (int i = 0; i < self->lanes; i++)
        pthread_join(lanes[i].thread, NULL);
    return evbus_flush(self->bus, FLUSH_MS);
}

static long long mark(void)
{
    for (int i = 0; i < self->lanes; i++)
        for (int type = 0; type < MEMBER_TYPES; type++)
            if (!publish(&lanes[i], type, 0, true))
                return -1;
    return evbus_flush(self->bus, FLUSH_MS);
}

static long long obey(const char *line)
{
    return !strcmp(line, "go")      ? go()
           : !strcmp(line, "count") ? count()
           : !strcmp(line, "stop")  ? halt()
           : !strcmp(line, "mark")  ? mark()
                                    : -1;
}

int publisher_main(struct member *member)
{
    self = member;
    if (member->lanes > LANES_MOST)
        return 1;
    for (int i = 0; i < member->lanes; i++)
        ledger_note(&member->ledger, "lane %d", member->index * member->lanes + i);
    if (!member_subscribe(member, "inline", "soak.>", "scope=local deliver=inline", MEMBER_ALL,
                          NULL) ||
        !member_subscribe(member, "loop", "soak.>", MEMBER_ROOMY, MEMBER_ALL, NULL))
        return 1;
    member_serve(member, obey);
    return member_end(member);
}
