/*
 * bench.c - runs the suite and prints its table. Each group's programs run in turn, round after
 * round, each run a process of its own; every figure is compared with its reference of the same
 * round. BENCH_ROUNDS=5     rounds a row must keep BENCH_ROWS=a,b     only rows whose name begins
 * with a or b
 */
#include "awake.h"
#include "judge.h"
#include "probe.h"
#include "rows.h"
#include "run.h"
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_PROBES 32
#define MAX_ROWS   64

struct suite {
    int rounds; /* to keep */
    const char *filter;
    bool server; /* there is one */
    enum { ROW_OFF, ROW_ON, ROW_FAILED } use[MAX_ROWS];
    struct judge_rounds results[MAX_ROWS];
    int failed;
};

struct group { /* the distinct programs of the rows in use */
    const char *probes[MAX_PROBES];
    bool latency[MAX_PROBES];
    struct run_outcome outcomes[MAX_PROBES];
    bool ran[MAX_PROBES];
    int count;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = number;
}

static bool selected(const char *filter, const char *name)
{
    if (!filter || !*filter)
        return true;
    while (*filter) {
        size_t length = strcspn(filter, ",");
        if (length > 0 && !strncmp(name, filter, length))
            return true;
        filter += length + (filter[length] == ',');
    }
    return false;
}

static size_t group_length(const char *name)
{
    return strcspn(name, ".");
}

static bool same_group(size_t a, size_t b)
{
    size_t length = group_length(bench_rows[a].name);
    return length == group_length(bench_rows[b].name) &&
           !strncmp(bench_rows[a].name, bench_rows[b].name, length);
}

static bool needs_server(const struct bench_row *row)
{
    return !strncmp(row->ours, "wire ", 5);
}

static int find_probe(const struct group *group, const char *command)
{
    for (int i = 0; i < group->count; i++) {
        if (!strcmp(group->probes[i], command))
            return i;
    }
    return -1;
}

static void add_probe(struct group *group, const char *command, bool latency)
{
    if (!command || find_probe(group, command) >= 0 || group->count == MAX_PROBES)
        return;
    group->latency[group->count] = latency;
    group->probes[group->count++] = command;
}

/* Odd rounds run backwards, so that no program always has the same one before it. */
static void run_round(struct group *group, int round)
{
    for (int i = 0; i < group->count && !interrupted; i++) {
        int at = round % 2 ? group->count - 1 - i : i;
        if (group->latency[at])
            awake_begin();
        group->ran[at] = run_probe(group->probes[at], &group->outcomes[at]);
        if (group->latency[at])
            awake_end();
    }
}

static void take_row(struct suite *suite, const struct group *group, size_t index)
{
    const struct bench_row *row = &bench_rows[index];
    struct judge_rounds *rounds = &suite->results[index];
    int ours = find_probe(group, row->ours), peer = row->peer ? find_probe(group, row->peer) : ours;
    if (!group->ran[ours] || !group->ran[peer]) {
        suite->use[index] = ROW_FAILED;
        return;
    }
    rounds->ours[rounds->count] = run_figure(&group->outcomes[ours], row->figure);
    rounds->peer[rounds->count] = run_figure(&group->outcomes[peer], row->figure);
    if (isnan(rounds->ours[rounds->count]) || isnan(rounds->peer[rounds->count]))
        suite->use[index] = ROW_FAILED;
    else
        rounds->count++;
}

static bool wants_more(const struct suite *suite, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        if (suite->use[i] == ROW_ON &&
            judge_kept(&suite->results[i], bench_rows[i].peer) < suite->rounds)
            return true;
    }
    return false;
}

static void print_row(struct suite *suite, size_t index)
{
    const struct bench_row *row = &bench_rows[index];
    if (suite->use[index] == ROW_FAILED) {
        printf("%-15s %-47s FAILED\n", row->name, row->title);
        suite->failed++;
    } else if (suite->use[index] == ROW_ON) {
        judge_line(row, &suite->results[index]);
    }
}

static void choose_row(struct suite *suite, size_t index)
{
    const struct bench_row *row = &bench_rows[index];
    char why[96];
    suite->use[index] = ROW_OFF;
    if (!selected(suite->filter, row->name))
        return;
    if (row->peer && !run_exists(row->peer)) {
        snprintf(why, sizeof why, "its peer was not built, install %s", bench_package(row->peer));
        judge_skipped(row, why);
    } else if (needs_server(row) && !suite->server) {
        judge_skipped(row, "no redis-server, install redis-server");
    } else {
        suite->use[index] = ROW_ON;
    }
}

static void run_group(struct suite *suite, size_t first, size_t end)
{
    struct group group = {.count = 0};
    for (size_t i = first; i < end; i++) {
        choose_row(suite, i);
        if (suite->use[i] == ROW_ON) {
            bool latency = !strcmp(bench_rows[i].figure, "us");
            add_probe(&group, bench_rows[i].ours, latency);
            add_probe(&group, bench_rows[i].peer, latency);
        }
    }
    int most = suite->rounds * 2 < JUDGE_ROUNDS ? suite->rounds * 2 : JUDGE_ROUNDS;
    for (int round = 0; round < most && wants_more(suite, first, end) && !interrupted; round++) {
        run_round(&group, round);
        for (size_t i = first; i < end && !interrupted; i++) {
            if (suite->use[i] == ROW_ON)
                take_row(suite, &group, i);
        }
    }
    for (size_t i = first; i < end && !interrupted; i++)
        print_row(suite, i);
}

static bool any_needs_server(const struct suite *suite)
{
    for (size_t i = 0; i < bench_row_count; i++) {
        if (needs_server(&bench_rows[i]) && selected(suite->filter, bench_rows[i].name))
            return true;
    }
    return false;
}

int main(void)
{
    static struct suite suite;
    const char *rounds = getenv("BENCH_ROUNDS");
    suite.rounds = rounds && atoi(rounds) > 0 ? atoi(rounds) : 5;
    suite.filter = getenv("BENCH_ROWS");
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
        puts("One core only: server and client share it, and the goals do not hold.");
    suite.server = any_needs_server(&suite) && server_start();
    printf("%d rounds or more, programs in turn; medians. M/s: millions of events a second.\n",
           suite.rounds);
    judge_header();
    for (size_t first = 0, end; first < bench_row_count && !interrupted; first = end) {
        for (end = first + 1; end < bench_row_count && same_group(first, end);)
            end++;
        run_group(&suite, first, end);
    }
    server_stop();
    return suite.failed > 0 || interrupted ? 1 : 0;
}
