/* judge.c - the promises, held against the books. */
#include "soak/checker.h"
#include <evbus.h>
#include <stdlib.h>
#include <string.h>

static int by_start(const void *a, const void *b)
{
    const struct check_window *x = a, *y = b;
    return (x->from_us > y->from_us) - (x->from_us < y->from_us);
}

/* As rising, separate windows: those of gaps in a row begin alike. */
static void merge_windows(struct check_process *process)
{
    size_t kept = 0;
    process->windows = calloc(process->gap_count + 1, sizeof *process->windows);
    if (!process->windows)
        abort();
    struct check_window *windows = process->windows;
    for (size_t i = 0; i < process->gap_count; i++)
        windows[i] = process->gaps[i].window;
    qsort(windows, process->gap_count, sizeof *windows, by_start);
    for (size_t i = 0; i < process->gap_count; i++)
        if (kept && windows[i].from_us <= windows[kept - 1].to_us) {
            if (windows[i].to_us > windows[kept - 1].to_us)
                windows[kept - 1].to_us = windows[i].to_us;
        } else {
            windows[kept++] = windows[i];
        }
    process->window_count = kept;
}

bool check_in_gap(const struct check_process *process, int64_t from_us, int64_t to_us)
{
    size_t low = 0, high = process->window_count;
    while (low < high) { /* the first that ends at `from` or later */
        size_t middle = (low + high) / 2;
        if (process->windows[middle].to_us < from_us)
            low = middle + 1;
        else
            high = middle;
    }
    return low < process->window_count && process->windows[low].from_us <= to_us;
}

bool check_explained(const struct check *check, int process, const struct check_window *window)
{
    for (size_t i = 0; i < check->fault_count; i++) {
        const struct check_fault *fault = &check->faults[i];
        if (fault->processes >> process & 1 && fault->window.from_us <= window->to_us &&
            window->from_us <= fault->window.to_us)
            return true;
    }
    return false;
}

long long check_stat(const struct check_process *process, const char *name)
{
    for (int i = 0; i < process->stat_count; i++)
        if (!strcmp(process->stats[i].name, name))
            return process->stats[i].value;
    return -1;
}

/* ---- who received what ---- */

static bool owed(const struct check_stream *stream, const struct check_fact *fact, bool own)
{
    return own || (!stream->local && fact->outcome == EVBUS_ACKED);
}

static void lose(struct check *check, struct check_stream *stream, int lane, uint32_t n)
{
    const struct check_fact *fact = &check->lanes[lane].facts[n];
    const struct check_process *process = &check->processes[stream->process];
    bool own = check->lanes[lane].process == stream->process;
    if (!own && check_in_gap(process, fact->published_us, fact->reported_us)) {
        stream->inside++;
        return;
    }
    stream->outside++;
    check_blame(check, own ? CHECK_LOCAL : CHECK_LOST, 1,
                "%s/%s: lane %d type %d number %u, published %lld, reported %lld", process->name,
                stream->name, lane, fact->type, n, (long long)fact->published_us,
                (long long)fact->reported_us);
}

static void judge_fact(struct check *check, struct check_stream *stream, int lane, uint32_t n)
{
    const struct check_fact *fact = &check->lanes[lane].facts[n];
    const struct check_process *process = &check->processes[stream->process];
    bool own = check->lanes[lane].process == stream->process;
    bool came = n < stream->room[lane] && stream->seen[lane][n];
    stream->received += came;
    if (came && !own && (fact->outcome == EVBUS_EVICTED || fact->outcome == EVBUS_EXPIRED))
        check_blame(check, CHECK_GHOST, 1, "%s/%s: lane %d number %u", process->name, stream->name,
                    lane, n);
    if (!fact->accepted || !(stream->types >> fact->type & 1) ||
        fact->published_us <= stream->live_us || (stream->local && !own))
        return;
    bool here = !own && n < process->room[lane] && process->came[lane][n];
    stream->owed += owed(stream, fact, own);
    stream->missed += !came && here;
    if (!came && (!here || check->history) && owed(stream, fact, own))
        lose(check, stream, lane, n);
}

/* Without history a subscription's own limit may drop, and has to count it exactly. With it, it
 * reads later what found no room. */
static void judge_dropped(struct check *check, const struct check_stream *stream)
{
    if (stream->dropped != (check->history ? 0 : stream->missed))
        check_blame(check, CHECK_DROPPED, 1, "%s/%s: %lld it missed alone, %lld it counted",
                    check->processes[stream->process].name, stream->name, stream->missed,
                    stream->dropped);
}

static void judge_stream(struct check *check, struct check_stream *stream)
{
    for (int lane = 0; lane < LEDGER_LANES; lane++)
        for (uint32_t n = 1; n <= check->lanes[lane].count; n++)
            judge_fact(check, stream, lane, n);
    judge_dropped(check, stream);
}

/* ---- reports and counters ---- */

static void judge_reports(struct check *check, int lane)
{
    const struct check_lane *self = &check->lanes[lane];
    struct check_process *process = &check->processes[self->process];
    for (uint32_t n = 1; n <= self->count; n++) {
        const struct check_fact *fact = &self->facts[n];
        if (!fact->accepted)
            continue;
        process->accepted++;
        process->outcomes[fact->outcome]++;
        if (fact->reports != 1)
            check_blame(check, CHECK_REPORTS, 1, "lane %d number %u, published %lld: %d reports",
                        lane, n, (long long)fact->published_us, fact->reports);
    }
}

static void expect_stat(struct check *check, const struct check_process *process, const char *name,
                        long long expected)
{
    long long value = check_stat(process, name);
    if (value != expected)
        check_blame(check, CHECK_ACCOUNTS, 1, "%s: its %s is %lld, the books have %lld",
                    process->name, name, value, expected);
}

static void judge_accounts(struct check *check, const struct check_process *process)
{
    expect_stat(check, process, "published_redis", process->accepted);
    expect_stat(check, process, "acked", process->outcomes[EVBUS_ACKED]);
    expect_stat(check, process, "failed_redis", process->outcomes[EVBUS_FAILED]);
    expect_stat(check, process, "unknown", process->outcomes[EVBUS_UNKNOWN]);
    expect_stat(check, process, "evicted", process->outcomes[EVBUS_EVICTED]);
    expect_stat(check, process, "expired", process->outcomes[EVBUS_EXPIRED]);
    expect_stat(check, process, "outbox_events", 0);
    expect_stat(check, process, "gaps", (long long)process->gap_count);
    expect_stat(check, process, "disconnects", process->breaks);
}

/* ---- gaps ---- */

/* Redis writes to a client that was slow before it writes to its file: who is killed in between has
 * sent what it does not have any more, and who has received that says so. It is not acknowledged,
 * and sent again. */
static bool is_rolled_back(const struct check *check, const struct check_gap *gap)
{
    static const char reason[] = "Redis lost the end of the history";
    if (strncmp(gap->reason, reason, sizeof reason - 1) != 0)
        return false;
    for (size_t i = 0; i < check->tail_count; i++) {
        const struct check_tail *tail = &check->tails[i];
        if (gap->window.from_us >= tail->at_us && gap->window.from_us <= tail->window.to_us &&
            gap->window.to_us >= tail->window.from_us)
            return true;
    }
    return false;
}

static void judge_gaps(struct check *check, int index)
{
    const struct check_process *process = &check->processes[index];
    for (size_t i = 0; i < process->gap_count; i++) {
        const struct check_gap *gap = &process->gaps[i];
        if (!check_explained(check, index, &gap->window) && !is_rolled_back(check, gap))
            check_blame(check, CHECK_GAP, 1, "%s: %lld to %lld: %s", process->name,
                        (long long)gap->window.from_us, (long long)gap->window.to_us, gap->reason);
    }
    if (!check->history && process->breaks != (int)process->gap_count)
        check_blame(check, CHECK_GAP, 1, "%s: degraded %d times, %zu gaps", process->name,
                    process->breaks, process->gap_count);
    if (strcmp(process->mode, "hybrid") != 0)
        check_blame(check, CHECK_STUCK, 1, "%s: at the end %s", process->name, process->mode);
}

bool check_judge(struct check *check)
{
    long long broken = 0;
    for (int i = 0; i < LEDGER_PROCESSES; i++)
        merge_windows(&check->processes[i]);
    for (int i = 0; i < LEDGER_STREAMS; i++)
        if (check->streams[i].there)
            judge_stream(check, &check->streams[i]);
    for (int lane = 0; lane < LEDGER_LANES; lane++)
        if (check->lanes[lane].process >= 0)
            judge_reports(check, lane);
    for (int i = 0; i < LEDGER_PROCESSES; i++)
        if (check->processes[i].there) {
            judge_accounts(check, &check->processes[i]);
            judge_gaps(check, i);
        }
    for (int rule = 0; rule < CHECK_RULE_COUNT; rule++)
        broken += check->broken[rule];
    return broken == 0;
}
