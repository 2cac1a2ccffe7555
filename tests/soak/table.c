/* table.c - what the checker found, for people. */
#include "soak/checker.h"
#include <evbus.h>
#include <string.h>

static void print_streams(const struct check *check, FILE *out)
{
    fprintf(out, "%-26s %9s %9s %8s %8s %8s %8s %9s\n", "subscription", "owed", "received",
            "lost in", "lost out", "dropped", "doubled", "reordered");
    for (int i = 0; i < LEDGER_STREAMS; i++) {
        const struct check_stream *stream = &check->streams[i];
        char name[72];
        if (!stream->there)
            continue;
        snprintf(name, sizeof name, "%s/%s", check->processes[stream->process].name, stream->name);
        fprintf(out, "%-26s %9lld %9lld %8lld %8lld %8lld %8lld %9lld\n", name, stream->owed,
                stream->received, stream->inside, stream->outside, stream->dropped, stream->doubled,
                stream->reordered);
    }
    fprintf(out, "(lost in, out: inside, outside of announced gaps)\n");
}

static void print_reports(const struct check *check, FILE *out)
{
    fprintf(out, "%-26s %9s = %9s + %6s + %7s + %7s + %7s   refused\n", "reports", "accepted",
            "acked", "failed", "unknown", "evicted", "expired");
    for (int i = 0; i < LEDGER_PROCESSES; i++) {
        const struct check_process *self = &check->processes[i];
        const long long *of = self->outcomes;
        if (self->accepted || self->refused)
            fprintf(out, "%-26s %9lld = %9lld + %6lld + %7lld + %7lld + %7lld   %7lld\n",
                    self->name, self->accepted, of[EVBUS_ACKED], of[EVBUS_FAILED],
                    of[EVBUS_UNKNOWN], of[EVBUS_EVICTED], of[EVBUS_EXPIRED], self->refused);
    }
}

static void print_faults(const struct check *check, FILE *out)
{
    fprintf(out, "faults: %zu", check->fault_count);
    for (size_t i = 0; i < check->fault_count; i++) {
        int count = 0;
        bool first = true;
        for (size_t k = 0; k < check->fault_count; k++)
            if (!strcmp(check->faults[k].kind, check->faults[i].kind)) {
                first = first && k >= i;
                count++;
            }
        if (first)
            fprintf(out, ", %s %d", check->faults[i].kind, count);
    }
    fputc('\n', out);
}

/* But for the figures in them. */
static bool alike(const char *a, const char *b)
{
    size_t length = strcspn(a, "0123456789");
    return length == strcspn(b, "0123456789") && !strncmp(a, b, length);
}

static void print_reasons(const struct check_process *self, FILE *out)
{
    for (size_t i = 0; i < self->gap_count; i++) {
        int count = 0;
        bool first = true;
        for (size_t k = 0; k < self->gap_count; k++)
            if (alike(self->gaps[k].reason, self->gaps[i].reason)) {
                first = first && k >= i;
                count++;
            }
        if (first)
            fprintf(out, "  %4d  %s\n", count, self->gaps[i].reason);
    }
}

/* How much of the run gaps cover: losses inside of them prove nothing. */
static void print_gaps(const struct check *check, FILE *out)
{
    int64_t first = 0, last = 0;
    for (int lane = 0; lane < LEDGER_LANES; lane++) {
        const struct check_lane *self = &check->lanes[lane];
        if (self->count && (!first || self->facts[1].published_us < first))
            first = self->facts[1].published_us;
        if (self->count && self->facts[self->count].published_us > last)
            last = self->facts[self->count].published_us;
    }
    for (int i = 0; i < LEDGER_PROCESSES; i++) {
        const struct check_process *self = &check->processes[i];
        int64_t covered = 0;
        for (size_t k = 0; k < self->window_count; k++)
            covered += self->windows[k].to_us - self->windows[k].from_us;
        if (!self->there)
            continue;
        fprintf(out, "%s: %zu gaps, %.0f %% of %.1f s; degraded %d times\n", self->name,
                self->gap_count,
                last > first ? 100.0 * (double)covered / (double)(last - first) : 0.0,
                (double)(last - first) / 1e6, self->breaks);
        print_reasons(self, out);
    }
}

void check_print(const struct check *check, FILE *out)
{
#define CHECK_SAYS(name, says) [CHECK_##name] = says,
    static const char *const says[] = {CHECK_RULES(CHECK_SAYS)};
#undef CHECK_SAYS
    print_streams(check, out);
    print_reports(check, out);
    print_faults(check, out);
    print_gaps(check, out);
    for (int rule = 0; rule < CHECK_RULE_COUNT; rule++) {
        if (!check->broken[rule])
            continue;
        fprintf(out, "BROKEN, %lld times: %s\n", check->broken[rule], says[rule]);
        for (int i = 0; i < CHECK_SHOWN && check->shown[rule][i][0]; i++)
            fprintf(out, "  %s\n", check->shown[rule][i]);
    }
}
