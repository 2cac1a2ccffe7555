/* leader_run.c - a run of takeovers from its start to its judgement. */
#include "share/leader_run.h"
#include "harness/process.h"
#include "harness/suite.h"
#include "harness/until.h"
#include "share/leader_book.h"
#include "share/leader_member.h"
#include "soak/dice.h"
#include "harness/check.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MEMBERS_MOST = 5, SOON_MS = 30000, AGAIN_SHOWN = 10 };

struct kill_record {
    int64_t at_us, fence;
    int member;
};

struct run {
    const struct leader_plan *plan;
    struct server *server;
    struct child publisher;
    struct leader_member members[MEMBERS_MOST];
    struct kill_record *kills; /* owned */
    int killed;
    struct dice dice;
};

static void start_member(struct run *run, int index)
{
    struct leader_member *member = &run->members[index];
    leader_member_start(member, run->server);
    ck_assert_int_eq(leader_member_ask(member, "wait %d", suite_patience(SOON_MS)), 0);
}

static void start(struct run *run)
{
    char rate[20], path[140];
    run->server = server_start("");
    for (int i = 0; i < run->plan->members; i++) {
        struct leader_member *member = &run->members[i];
        snprintf(member->book, sizeof member->book, "%s/takeovers.%d", suite_folder(), i);
        snprintf(member->pattern, sizeof member->pattern, "t.*");
        snprintf(member->options, sizeof member->options, "leader=soak%s",
                 i % 2 ? " deliver=workers key=all" : "");
        snprintf(member->settings, sizeof member->settings, "lease.ttl=1s workers=2 bus.name=m%d",
                 i);
        start_member(run, i);
    }
    snprintf(rate, sizeof rate, "%d", run->plan->rate);
    snprintf(path, sizeof path, "redis.path=%s", run->server->socket);
    const char *words[] = {"/proc/self/exe", "leader-publisher", rate, path, NULL};
    child_start(&run->publisher, words);
    const char *answer = child_line(&run->publisher);
    ck_assert_msg(answer && !strcmp(answer, "here"), "the publisher did not come up");
}

/* Who leads, by its own word; *fence is its number. */
static int await_leader(struct run *run, long long *fence)
{
    struct wait wait = wait_for(SOON_MS);
    do
        for (int i = 0; i < run->plan->members; i++)
            if ((*fence = leader_member_ask(&run->members[i], "sub leading")) > 0)
                return i;
    while (wait_more(&wait));
    ck_abort_msg("nobody leads; to repeat: %s", run->plan->command);
    return -1;
}

/* At any point of a lease; sometimes before the new one has caught up. */
static void take_over(struct run *run)
{
    long long fence;
    int who = await_leader(run, &fence);
    nap_us(dice_roll(&run->dice, 700) * INT64_C(1000));
    fence = leader_member_ask(&run->members[who], "sub leading");
    if (fence <= 0)
        return; /* not any more */
    run->kills[run->killed++] =
        (struct kill_record){.at_us = leader_boot_us(), .fence = fence, .member = who};
    leader_member_kill(&run->members[who]);
    start_member(run, who);
    if (run->killed % 20 == 0)
        printf("takeovers: %d\n", run->killed);
}

static int stop_publisher(struct run *run)
{
    fputs("stop\n", run->publisher.to);
    fflush(run->publisher.to);
    const char *answer = child_line(&run->publisher);
    int count = answer ? atoi(answer) : -1;
    ck_assert_int_eq(child_wait(&run->publisher), 0);
    ck_assert_int_gt(count, 0);
    return count;
}

static struct leader_book read_books(const struct run *run)
{
    const char *paths[MEMBERS_MOST];
    struct leader_book book;
    for (int i = 0; i < run->plan->members; i++)
        paths[i] = run->members[i].book;
    leader_book_read(&book, paths, run->plan->members);
    return book;
}

static struct leader_book await_all(const struct run *run, int count)
{
    struct wait wait = wait_for(SOON_MS);
    struct leader_book book = read_books(run);
    while (leader_book_lost(&book, count, NULL) && wait_more(&wait)) {
        leader_book_free(&book);
        nap_us(50000);
        book = read_books(run);
    }
    return book;
}

/* The p95 of the times from a kill to the next leader's first event, in milliseconds. */
static double judge_times(const struct run *run, const struct leader_book *book)
{
    double *times = calloc((size_t)run->killed + 1, sizeof *times);
    ck_assert_ptr_nonnull(times);
    for (int i = 0; i < run->killed; i++) {
        const struct kill_record *kill = &run->kills[i];
        int64_t next_us = leader_book_next_us(book, kill->at_us, kill->fence);
        times[i] = next_us < 0 ? 1e9 : (double)(next_us - kill->at_us) / 1000;
    }
    double p95 =
        figures_print("kill -9 to the next leader's first event", "ms", times, (size_t)run->killed);
    free(times);
    return p95;
}

static void judge(const struct run *run, const struct leader_book *book, int count)
{
    const struct leader_line *first = NULL;
    int *times = calloc((size_t)count + 1, sizeof *times), again = 0, most = 0;
    ck_assert_ptr_nonnull(times);
    int lost = leader_book_lost(book, count, times);
    for (int n = 1; n <= count; n++) {
        again += times[n] > 1;
        most = times[n] > most ? times[n] : most;
    }
    free(times);
    size_t overlaps = leader_book_overlaps(book, &first);
    size_t unnumbered = leader_book_unnumbered(book);
    int reordered = leader_book_reordered(book);
    double p95 = judge_times(run, book);
    printf(
        "takeovers: seed %u: %d kills, %d events, %zu calls; lost %d, reordered %d, with an old "
        "number %zu, without one or two with the same %zu; handled again after a kill %d (one at "
        "most %d times)\n",
        run->plan->seed, run->killed, count, leader_book_count(book, LEADER_EVENT, -1), lost,
        reordered, overlaps, unnumbered, again, most);
    if (first)
        printf("the first: member %d, event %d, number %lld at %lld\n", first->member,
               first->number, (long long)first->fence, (long long)first->at_us);
    if (lost || reordered || overlaps || unnumbered ||
        leader_book_count(book, LEADER_STRANGE, -1) || p95 > run->plan->p95_ms)
        ck_abort_msg("a promise is broken; to repeat: %s", run->plan->command);
}

void leader_run(const struct leader_plan *plan)
{
    struct run run = {.plan = plan, .dice = dice_of(plan->seed, 0)};
    run.kills = calloc((size_t)plan->takeovers, sizeof *run.kills);
    ck_assert_ptr_nonnull(run.kills);
    printf("takeovers: %d of %d members at %d events a second; seed %u\n", plan->takeovers,
           plan->members, plan->rate, plan->seed);
    start(&run);
    signal(SIGPIPE, SIG_IGN); /* a member that is gone is told of by name */
    while (run.killed < plan->takeovers)
        take_over(&run);
    int count = stop_publisher(&run);
    struct leader_book book = await_all(&run, count);
    for (int i = 0; i < plan->members; i++)
        leader_member_end(&run.members[i]);
    server_free(run.server);
    judge(&run, &book, count);
    leader_book_free(&book);
    free(run.kills);
}
