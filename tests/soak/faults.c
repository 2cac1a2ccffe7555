/* faults.c - what can break between a bus and Redis, one at a time. */
#include "harness/until.h"
#include "soak/run.h"
#include "harness/check.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum {
    CUT_MOST = 24 * 1024,
    CUT_MS = 3000,
    BALLAST = 128 * 1024,
    BALLAST_MOST = 200,
    SWALLOW_MS = 300,
    AWAY_MS = 300 /* longest time without a server */
};

static int some_ms(struct soak *soak)
{
    int most = soak->plan->stop_ms;
    return most / 4 + dice_roll(&soak->dice, most - most / 4);
}

/* A member that a middle stands before, or one that none does. */
static int one_of(struct soak *soak, bool behind_middle)
{
    int who = dice_roll(&soak->dice, SOAK_MEMBERS);
    while ((soak->members[who].middle != NULL) != behind_middle)
        who = (who + 1) % SOAK_MEMBERS;
    return who;
}

static unsigned kill_subscribers(struct soak *soak)
{
    server_command(soak->server, "CLIENT KILL TYPE pubsub");
    return SOAK_EVERYBODY;
}

static unsigned kill_publishers(struct soak *soak)
{
    server_command(soak->server, "CLIENT KILL TYPE normal");
    return SOAK_EVERYBODY;
}

static unsigned reset(struct soak *soak)
{
    int who = one_of(soak, true);
    middle_cut_after(soak->members[who].middle, 0, true);
    return 1U << who;
}

/* Somewhere in the bytes to come, most likely inside a frame. */
static unsigned cut(struct soak *soak)
{
    int who = one_of(soak, true);
    struct middle *middle = soak->members[who].middle;
    int before = middle_accepted(middle);
    middle_cut_after(middle, 1 + (size_t)dice_roll(&soak->dice, CUT_MOST),
                     dice_roll(&soak->dice, 2));
    struct wait wait = wait_for(CUT_MS);
    while (middle_accepted(middle) == before && wait_more(&wait))
        ;
    if (middle_accepted(middle) == before) /* not so much has come */
        middle_cut(middle);
    return 1U << who;
}

/* What is on its way never arrives, which nobody is told of but by the reset after it. */
static unsigned swallow(struct soak *soak)
{
    int who = one_of(soak, true);
    middle_swallow(soak->members[who].middle);
    nap_us(dice_roll(&soak->dice, SWALLOW_MS) * INT64_C(1000));
    middle_cut_after(soak->members[who].middle, 0, true);
    return 1U << who;
}

static unsigned stop_server(struct soak *soak)
{
    int ms = some_ms(soak);
    server_stop(soak->server);
    nap_us(ms * INT64_C(1000));
    server_continue(soak->server);
    return SOAK_EVERYBODY;
}

/* Where the history ends now, for the judge. */
static void note_tail(struct soak *soak, int64_t killed_us)
{
    char *last = server_text(soak->server, "XREVRANGE %s + - COUNT 1", "evbus:history:{0}");
    ledger_note(&soak->ledger, "tail %lld %lld %lld", strtoll(last, NULL, 10) * 1000,
                (long long)killed_us, (long long)now_wall_us());
    free(last);
}

static unsigned restart_server(struct soak *soak)
{
    int64_t killed_us = now_wall_us();
    server_kill(soak->server);
    nap_us(dice_roll(&soak->dice, AWAY_MS) * INT64_C(1000));
    server_run(soak->server);
    if (soak->plan->history)
        note_tail(soak, killed_us);
    return SOAK_EVERYBODY;
}

/* What it erases is history: without any, nothing. */
static unsigned flush(struct soak *soak)
{
    server_command(soak->server, "FLUSHALL");
    return 0;
}

static unsigned forget_scripts(struct soak *soak)
{
    server_command(soak->server, "SCRIPT FLUSH");
    return 0;
}

/* A process that does not run for a while; its links are fine. */
static unsigned stall(struct soak *soak)
{
    int who = one_of(soak, false), ms = some_ms(soak);
    kill(soak->members[who].child.pid, SIGSTOP);
    nap_us(ms * INT64_C(1000));
    kill(soak->members[who].child.pid, SIGCONT);
    return 0;
}

static int subscribed(struct soak *soak)
{
    char *list = server_text(soak->server, "CLIENT LIST TYPE pubsub");
    int count = 0;
    for (const char *at = list; (at = strstr(at, "id=")); at++)
        count += at == list || at[-1] == '\n';
    free(list);
    return count;
}

/* Much for every bus, by its own channel: what comes there is no event. */
static void send_ballast(struct soak *soak, const char *ballast)
{
    char *channels = server_text(soak->server, "PUBSUB CHANNELS evbus:inbox:*");
    for (char *at = channels, *name; (name = strsep(&at, "\n"));)
        if (name[0])
            server_publish(soak->server, name, ballast, BALLAST);
    free(channels);
}

/* A process that does not read while much comes for it, until the server has had enough. */
static unsigned overflow(struct soak *soak)
{
    int who = one_of(soak, false), before = subscribed(soak), sent = 0;
    char *ballast = malloc(BALLAST + 1);
    ck_assert_ptr_nonnull(ballast);
    memset(ballast, 'x', BALLAST);
    server_command(soak->server, "CONFIG SET client-output-buffer-limit %s",
                   "pubsub 262144 262144 0");
    kill(soak->members[who].child.pid, SIGSTOP);
    while (subscribed(soak) >= before && sent++ < BALLAST_MOST)
        send_ballast(soak, ballast);
    kill(soak->members[who].child.pid, SIGCONT);
    server_command(soak->server, "CONFIG SET client-output-buffer-limit %s",
                   "pubsub 33554432 8388608 60");
    free(ballast);
    struct wait wait = wait_for(CUT_MS); /* what it has to read yet hides its end from it */
    while (subscribed(soak) < before && wait_more(&wait))
        ;
    return SOAK_EVERYBODY; /* a slow one is cut off too */
}

static const struct {
    const char *name;
    unsigned (*strike)(struct soak *soak); /* whose links it may break: a bit each */
    bool erases;                           /* history */
} kinds[] = {{"kill-pubsub", kill_subscribers, false},
             {"kill-normal", kill_publishers, false},
             {"reset", reset, false},
             {"cut", cut, false},
             {"swallow", swallow, false},
             {"stop", stop_server, false},
             {"restart", restart_server, false},
             {"flushall", flush, true},
             {"script-flush", forget_scripts, false},
             {"stall", stall, false},
             {"overflow", overflow, false}};

enum { KINDS = (int)(sizeof kinds / sizeof kinds[0]) };

/* Each kind comes once a round, in another order each time. */
static int next_kind(struct soak *soak)
{
    if (soak->bag_count == 0)
        while (soak->bag_count < KINDS) {
            soak->bag[soak->bag_count] = soak->bag_count;
            soak->bag_count++;
        }
    int slot = dice_roll(&soak->dice, soak->bag_count), kind = soak->bag[slot];
    soak->bag[slot] = soak->bag[--soak->bag_count];
    return kind;
}

void soak_fault(struct soak *soak)
{
    int kind = next_kind(soak);
    int64_t start_us = now_wall_us();
    unsigned who = kinds[kind].strike(soak);
    if (soak->plan->history) /* a break of the link costs nothing; what is erased may */
        who = kinds[kind].erases ? SOAK_EVERYBODY : 0;
    if (dice_roll(&soak->dice, 4)) /* else the next one meets a bus that is coming back */
        soak_settle(soak);
    ledger_note(&soak->ledger, "fault %s %lld %lld %u", kinds[kind].name, (long long)start_us,
                (long long)now_wall_us(), who);
}
