/* run.c - a soak run from its start to its judgement. */
#include "soak/run.h"
#include "harness/suite.h"
#include "harness/until.h"
#include "soak/checker.h"
#include "harness/check.h"
#include <evbus.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    RATE_MOST = 6000, /* events a second: the machine is to be busy with faults, not with load */
    SETTLE_MS = 30000,
    DRAIN_MS = 30000,
    QUIET_MS = 300,
    WORDS_MOST = 20
};

bool soak_has_history(void)
{
    evbus_config *config = evbus_config_new();
    bool has = evbus_config_get(config, "history.enabled") != NULL;
    evbus_config_free(config);
    return has;
}

/* ---- members ---- */

long long soak_ask(struct soak *soak, int member, const char *line)
{
    struct child *child = &soak->members[member].child;
    fprintf(child->to, "%s\n", line);
    fflush(child->to);
    const char *answer = child_line(child);
    if (!answer)
        ck_abort_msg("member %d is gone; it was asked: %s", member, line);
    return strtoll(answer, NULL, 10);
}

static int rate_of(const struct soak_plan *plan)
{
    int64_t ms = (int64_t)plan->faults * plan->spacing_ms;
    int64_t rate = ms ? (int64_t)plan->events * 1000 / ms : RATE_MOST;
    return rate > RATE_MOST ? RATE_MOST : rate < 100 ? 100 : (int)rate;
}

static void place(struct soak *soak, int index, char *setting, size_t room)
{
    bool alone = index != 0 && index != SOAK_PUBLISHERS; /* the first of each kind has company */
    struct middle_act act = {.kind = MIDDLE_PASS, .path = soak->server->socket, .forget = true};
    if (alone) {
        snprintf(setting, room, "redis.path=%s", soak->server->socket);
        return;
    }
    soak->members[index].middle = middle_start();
    middle_become(soak->members[index].middle, &act, NULL);
    snprintf(setting, room, "redis.url=redis://127.0.0.1:%d",
             middle_port(soak->members[index].middle));
}

static void start_member(struct soak *soak, int index)
{
    const struct soak_plan *plan = soak->plan;
    const char *argv[WORDS_MOST + 1];
    char line[600], address[140], *state = NULL;
    int count = 0;
    place(soak, index, address, sizeof address);
    snprintf(soak->members[index].base, sizeof soak->members[index].base, "%s/soak.%d",
             suite_folder(), index);
    /* Frequent probes: a gap begins at the last that was answered, and is to cover little. */
    snprintf(line, sizeof line,
             "/proc/self/exe %s %d %s %d %d %d %u bus.name=soak%d %s reconnect.backoff.max=%dms "
             "redis.ping.interval=250ms workers=2 %s",
             index < SOAK_PUBLISHERS ? "publisher" : "subscriber", index, soak->members[index].base,
             SOAK_PUBLISHERS, SOAK_LANES, rate_of(plan), plan->seed, index, address,
             plan->backoff_max_ms,
             !soak_has_history() ? ""
             : plan->history     ? "history.enabled=yes"
                                 : "history.enabled=no");
    for (char *word = strtok_r(line, " ", &state); word && count < WORDS_MOST;
         word = strtok_r(NULL, " ", &state))
        argv[count++] = word;
    argv[count] = NULL;
    child_start(&soak->members[index].child, argv);
    const char *answer = child_line(&soak->members[index].child);
    ck_assert_msg(answer && !strcmp(answer, "live"), "member %d did not come up", index);
}

void soak_settle(struct soak *soak)
{
    char line[32];
    snprintf(line, sizeof line, "settle %d", suite_patience(SETTLE_MS));
    for (int i = 0; i < SOAK_MEMBERS; i++)
        if (soak_ask(soak, i, line) != 1)
            ledger_note(&soak->ledger, "stuck %d not connected at %lld", i,
                        (long long)now_wall_us());
}

static long long sum(struct soak *soak, int from, int to, const char *line)
{
    long long all = 0;
    for (int i = from; i < to; i++)
        all += soak_ask(soak, i, line);
    return all;
}

/* ---- the run ---- */

static void start(struct soak *soak)
{
    char base[100];
    snprintf(base, sizeof base, "%s/soak.driver", suite_folder());
    ck_assert(ledger_open(&soak->ledger, base));
    soak->server = server_start("appendonly yes\nappendfsync always\n"
                                "no-appendfsync-on-rewrite no");
    for (int i = SOAK_MEMBERS - 1; i >= 0; i--) /* who listens comes first */
        start_member(soak, i);
    for (int i = 0; i < SOAK_PUBLISHERS; i++)
        ck_assert_int_eq(soak_ask(soak, i, "go"), SOAK_LANES);
}

static void progress(struct soak *soak, int done)
{
    if (done % 20 == 0 && done)
        printf("soak: %d faults, %lld events\n", done, sum(soak, 0, SOAK_PUBLISHERS, "count"));
}

static void trouble(struct soak *soak)
{
    int64_t start_us = now_us(), spacing_us = soak->plan->spacing_ms * INT64_C(1000);
    for (int i = 0; i < soak->plan->faults; i++) {
        int64_t wait_us = start_us + (i + 1) * spacing_us - now_us();
        if (wait_us > 0)
            nap_us(wait_us);
        else
            nap_us(dice_roll(&soak->dice, 100) * INT64_C(1000));
        soak_fault(soak);
        progress(soak, i + 1);
    }
    while (sum(soak, 0, SOAK_PUBLISHERS, "count") < soak->plan->events)
        nap_us(20000);
}

/* The marks are behind everything; a little later shows what should not have come at all. */
static void drain(struct soak *soak)
{
    struct wait wait = wait_for(DRAIN_MS);
    soak_settle(soak);
    for (int i = 0; i < SOAK_PUBLISHERS; i++)
        if (soak_ask(soak, i, "stop") != 0)
            ledger_note(&soak->ledger, "stuck %d flush", i);
    for (int i = 0; i < SOAK_PUBLISHERS; i++)
        if (soak_ask(soak, i, "mark") != 0)
            ledger_note(&soak->ledger, "stuck %d marks", i);
    while (sum(soak, 0, SOAK_MEMBERS, "lacking") && wait_more(&wait))
        ;
    for (int i = 0; i < SOAK_MEMBERS; i++)
        if (soak_ask(soak, i, "lacking"))
            ledger_note(&soak->ledger, "stuck %d it lacks marks", i);
    long long before = -1, now;
    while ((now = sum(soak, 0, SOAK_MEMBERS, "received")) != before && wait_more(&wait)) {
        before = now;
        nap_us(QUIET_MS * INT64_C(1000));
    }
}

static void finish(struct soak *soak)
{
    for (int i = 0; i < SOAK_MEMBERS; i++) {
        fprintf(soak->members[i].child.to, "end\n");
        int status = child_wait(&soak->members[i].child);
        if (status != 0)
            ledger_note(&soak->ledger, "stuck %d it ended with %d", i, status);
        if (soak->members[i].middle)
            middle_free(soak->members[i].middle);
    }
    server_free(soak->server);
    ck_assert(ledger_close(&soak->ledger));
}

static void judge(const struct soak *soak)
{
    char driver[100];
    const char *bases[SOAK_MEMBERS + 1] = {driver};
    snprintf(driver, sizeof driver, "%s/soak.driver", suite_folder());
    for (int i = 0; i < SOAK_MEMBERS; i++)
        bases[i + 1] = soak->members[i].base;
    struct check *check = check_new(soak->plan->history);
    check_read(check, bases, SOAK_MEMBERS + 1);
    bool kept = check_judge(check);
    printf("soak: seed %u, history %s\n", soak->plan->seed, soak->plan->history ? "yes" : "no");
    check_print(check, stdout);
    check_free(check);
    if (!kept)
        ck_abort_msg("a promise is broken; to repeat: %s", soak->plan->command);
}

void soak_run(const struct soak_plan *plan)
{
    struct soak soak = {.plan = plan, .dice = dice_of(plan->seed, 0)};
    printf("soak: %d events at %d a second, %d faults; seed %u, history %s\n", plan->events,
           rate_of(plan), plan->faults, plan->seed, plan->history ? "yes" : "no");
    if (plan->history && !soak_has_history())
        ck_abort_msg("this library has no stored history (history.enabled): SOAK_HISTORY=no");
    start(&soak);
    signal(SIGPIPE, SIG_IGN); /* a member that is gone is told of by name */
    trouble(&soak);
    drain(&soak);
    finish(&soak);
    judge(&soak);
}
