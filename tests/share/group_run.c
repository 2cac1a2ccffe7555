/* group_run.c - a run with a group from its start to its judgement. */
#include "share/group_run.h"
#include "harness/child.h"
#include "harness/server.h"
#include "harness/suite.h"
#include "harness/until.h"
#include "share/group_check.h"
#include "share/group_member.h"
#include "soak/dice.h"
#include "harness/check.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MEMBERS_MOST = 16,
    BOOKS_MOST = 1000,
    AWAY_MS = 300,     /* longest time without a server */
    QUIET_MS = 6000,   /* longer than group.reclaim and a try: nobody has anything left to do */
    DRAIN_MS = 120000, /* for all of it */
    WORDS_MOST = 20
};
#define RECLAIM "2s"

struct run {
    const struct group_plan *plan;
    struct server *server;
    struct child publisher, collector, members[MEMBERS_MOST];
    int member_book[MEMBERS_MOST];
    int books;  /* names given */
    int driver; /* its book */
    struct dice dice;
};

static void book_path(char out[120], int number)
{
    snprintf(out, 120, "%s/group.%d", suite_folder(), number);
}

static int start(struct run *run, struct child *child, const char *kind)
{
    const char *argv[WORDS_MOST + 1];
    char line[600], book[120], *state = NULL;
    int count = 0, number = run->books++;
    ck_assert_int_lt(number, BOOKS_MOST);
    book_path(book, number);
    snprintf(line, sizeof line,
             "/proc/self/exe %s %s %d %d redis.path=%s reconnect.backoff.max=300ms "
             "redis.ping.interval=250ms group.reclaim=" RECLAIM " group.retry.delay=20ms",
             kind, book, run->plan->events, run->plan->rate, run->server->socket);
    for (char *word = strtok_r(line, " ", &state); word && count < WORDS_MOST;
         word = strtok_r(NULL, " ", &state))
        argv[count++] = word;
    argv[count] = NULL;
    child_start(child, argv);
    return number;
}

static void expect_live(struct child *child, const char *kind)
{
    const char *answer = child_line(child);
    ck_assert_msg(answer && !strcmp(answer, "live"), "a %s did not come up", kind);
}

static long long ask(struct child *child, const char *line)
{
    fprintf(child->to, "%s\n", line);
    fflush(child->to);
    const char *answer = child_line(child);
    if (!answer)
        ck_abort_msg("a process is gone; it was asked: %s", line);
    return strtoll(answer, NULL, 10);
}

/* ---- trouble ---- */

static void kill_member(struct run *run)
{
    int who = dice_roll(&run->dice, run->plan->members);
    child_kill(&run->members[who]);
    group_book_put(run->driver, GROUP_KILLED, run->member_book[who], 0);
    run->member_book[who] = start(run, &run->members[who], "member");
    expect_live(&run->members[who], "member");
}

static void restart_server(struct run *run)
{
    server_kill(run->server);
    nap_us(dice_roll(&run->dice, AWAY_MS) * INT64_C(1000));
    server_run(run->server);
}

/* Kills and restarts, mixed, over the time that publishing takes. */
static void trouble(struct run *run)
{
    const struct group_plan *plan = run->plan;
    int kills = plan->kills, restarts = plan->restarts, all = kills + restarts;
    int64_t spacing_us = (int64_t)plan->events * 1000000 / plan->rate / (all + 1);
    int64_t start_us = now_us();
    for (int i = 0; i < all; i++) {
        int64_t wait_us = start_us + (i + 1) * spacing_us - now_us();
        nap_us(wait_us > 0 ? wait_us : dice_roll(&run->dice, 100) * INT64_C(1000));
        if (dice_roll(&run->dice, kills + restarts) < kills) {
            kills--;
            kill_member(run);
        } else {
            restarts--;
            restart_server(run);
        }
        if ((i + 1) % 20 == 0)
            printf("group: %d kills and restarts, %lld events\n", i + 1,
                   ask(&run->publisher, "count"));
    }
}

static long long handled(struct run *run)
{
    long long sum = ask(&run->collector, "count");
    for (int i = 0; i < run->plan->members; i++)
        sum += ask(&run->members[i], "count");
    return sum;
}

static void drain(struct run *run)
{
    struct wait wait = wait_for(DRAIN_MS);
    long long before = -1, now;
    while (!ask(&run->publisher, "done") && wait_more(&wait))
        ;
    if (!ask(&run->publisher, "done"))
        group_book_note(run->driver, "stuck publishing");
    while ((now = handled(run)) != before && wait_more(&wait)) {
        before = now;
        nap_us(suite_patience(QUIET_MS) * INT64_C(1000));
    }
    if (now != before)
        group_book_note(run->driver, "stuck handling");
}

static void end(struct run *run, struct child *child, const char *kind)
{
    fprintf(child->to, "end\n");
    int status = child_wait(child);
    if (status != 0)
        group_book_note(run->driver, "stuck a %s ended with %d", kind, status);
}

static void judge(const struct run *run)
{
    struct group_check *check = group_check_new();
    char path[120];
    ck_assert_ptr_nonnull(check);
    for (int i = 0; i < run->books; i++) {
        book_path(path, i);
        group_check_read(check, path, i);
    }
    bool kept = group_check_judge(check);
    printf("group: seed %u\n", run->plan->seed);
    group_check_print(check, stdout);
    group_check_free(check);
    if (!kept)
        ck_abort_msg("a promise is broken; to repeat: %s", run->plan->command);
}

void group_run(const struct group_plan *plan)
{
    static struct run run;
    char path[120];
    run = (struct run){.plan = plan, .dice = dice_of(plan->seed, 0)};
    printf("group: %d members, %d events at %d a second, %d members and %d servers killed; seed "
           "%u\n",
           plan->members, plan->events, plan->rate, plan->kills, plan->restarts, plan->seed);
    ck_assert_int_le(plan->members, MEMBERS_MOST);
    book_path(path, run.books++);
    run.driver = group_book_open(path);
    run.server = server_start("appendonly yes\nappendfsync always\nno-appendfsync-on-rewrite no");
    signal(SIGPIPE, SIG_IGN); /* a process that is gone is told of by name */
    start(&run, &run.collector, "collector");
    expect_live(&run.collector, "collector");
    for (int i = 0; i < plan->members; i++)
        run.member_book[i] = start(&run, &run.members[i], "member");
    for (int i = 0; i < plan->members; i++)
        expect_live(&run.members[i], "member");
    start(&run, &run.publisher, "publisher");
    expect_live(&run.publisher, "publisher");
    ck_assert_int_eq(ask(&run.publisher, "go"), 1);
    trouble(&run);
    drain(&run);
    for (int i = 0; i < plan->members; i++)
        end(&run, &run.members[i], "member");
    end(&run, &run.publisher, "publisher");
    end(&run, &run.collector, "collector");
    server_free(run.server);
    judge(&run);
}
