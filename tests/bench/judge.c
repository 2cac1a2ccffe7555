/* judge.c - medians, spread, verdict; see judge.h. */
#include "judge.h"
#include "probe.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define MOVED 0.2 /* a reference that far from its median makes a round worthless */
#define NEAR  3   /* "within 3x" */

struct verdict {
    double ours, peer, value, low,
        high; /* medians of the kept rounds; value: what the goal bounds */
    int kept, dropped;
};

static bool held_still(const struct judge_rounds *rounds, int round)
{
    double all[JUDGE_ROUNDS];
    memcpy(all, rounds->peer, (size_t)rounds->count * sizeof *all);
    double median = probe_median(all, rounds->count);
    return fabs(rounds->peer[round] - median) <= MOVED * median;
}

int judge_kept(const struct judge_rounds *rounds, bool has_peer)
{
    int kept = 0;
    for (int i = 0; i < rounds->count; i++)
        kept += !has_peer || held_still(rounds, i);
    return kept;
}

static double compare(const struct bench_row *row, double ours, double peer)
{
    if (!row->peer)
        return ours;
    if (row->goal == GOAL_EXTRA_MOST)
        return ours - peer;
    return strcmp(row->unit, "M/s") ? ours / peer : peer / ours;
}

static struct verdict judge(const struct bench_row *row, const struct judge_rounds *rounds)
{
    double ours[JUDGE_ROUNDS], peer[JUDGE_ROUNDS], values[JUDGE_ROUNDS];
    struct verdict verdict = {.low = INFINITY, .high = -INFINITY};
    for (int i = 0; i < rounds->count; i++) {
        if (row->peer && !held_still(rounds, i)) {
            verdict.dropped++;
            continue;
        }
        double value = compare(row, rounds->ours[i], rounds->peer[i]);
        ours[verdict.kept] = rounds->ours[i];
        peer[verdict.kept] = rounds->peer[i];
        values[verdict.kept++] = value;
        verdict.low = fmin(verdict.low, value);
        verdict.high = fmax(verdict.high, value);
    }
    verdict.ours = probe_median(ours, verdict.kept);
    verdict.peer = row->peer ? probe_median(peer, verdict.kept) : NAN;
    verdict.value = probe_median(values, verdict.kept);
    return verdict;
}

static const char *verdict_word(const struct bench_row *row, double value)
{
    double bound = row->bound;
    switch (row->goal) {
    case GOAL_NONE:
        return "";
    case GOAL_RATE_LEAST:
        return value >= bound ? "met" : value >= bound / NEAR ? "within 3x" : "missed";
    default:
        return value <= bound ? "met" : value <= bound * NEAR ? "within 3x" : "missed";
    }
}

static void format_figure(char *out, size_t room, const struct bench_row *row, double value)
{
    if (isnan(value))
        snprintf(out, room, "-");
    else if (!strcmp(row->unit, "M/s"))
        snprintf(out, room, "%.2f M/s", 1000 / value);
    else
        snprintf(out, room, "%.*f%s%s",
                 value < 10    ? 3
                 : value < 100 ? 1
                               : 0,
                 value, *row->unit ? " " : "", row->unit);
}

static void format_number(char *out, size_t room, double value)
{
    snprintf(out, room, "%.*f", fabs(value) < 0.1 ? 3 : fabs(value) < 10 ? 2 : 0, value);
}

static void format_goal(char *out, size_t room, const struct bench_row *row)
{
    static const char *const signs[] = {"", "<= ", ">= ", "<= +", "<= "};
    if (row->goal == GOAL_NONE)
        snprintf(out, room, "-");
    else
        snprintf(out, room, "%s%g%s%s", signs[row->goal], row->bound,
                 row->goal == GOAL_EXTRA_MOST ? " " : "",
                 row->goal == GOAL_EXTRA_MOST ? row->unit : "");
}

void judge_header(void)
{
    printf("%-15s %-47s %10s %10s %7s %15s %11s  %s\n", "row", "what", "libevbus", "peer", "ratio",
           "spread", "goal", "verdict");
}

void judge_line(const struct bench_row *row, const struct judge_rounds *rounds)
{
    struct verdict verdict = judge(row, rounds);
    char ours[24], peer[24], ratio[16], low[16], high[16], spread[40], goal[24];
    format_figure(ours, sizeof ours, row, verdict.ours);
    format_figure(peer, sizeof peer, row, verdict.peer);
    format_number(ratio, sizeof ratio, verdict.value);
    format_number(low, sizeof low, verdict.low);
    format_number(high, sizeof high, verdict.high);
    snprintf(spread, sizeof spread, "%s..%s", low, high);
    format_goal(goal, sizeof goal, row);
    printf("%-15s %-47s %10s %10s %7s %15s %11s  %s", row->name, row->title, ours, peer, ratio,
           spread, goal, verdict_word(row, verdict.value));
    if (verdict.dropped > 0)
        printf("  (%d of %d rounds thrown away: the reference moved)", verdict.dropped,
               verdict.dropped + verdict.kept);
    putchar('\n');
    fflush(stdout);
}

void judge_skipped(const struct bench_row *row, const char *why)
{
    printf("%-15s %-47s SKIPPED: %s\n", row->name, row->title, why);
    fflush(stdout);
}
