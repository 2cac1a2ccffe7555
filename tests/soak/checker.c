/* checker.c - reads the books: first what was published and reported, then who received it. */
#include "soak/checker.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 4096, FACTS = 4096 };

static void *more(void *old, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return old;
    *room = *room ? *room * 2 : 16;
    old = realloc(old, *room * size);
    if (!old)
        abort();
    return old;
}

/* Room for index n, new room zeroed. */
static void *reach(void *old, uint32_t n, uint32_t *room, size_t size)
{
    uint32_t before = *room;
    if (n < before)
        return old;
    for (*room = before ? before : FACTS; *room <= n;)
        *room *= 2;
    char *grown = realloc(old, *room * size);
    if (!grown)
        abort();
    memset(grown + before * size, 0, (*room - before) * size);
    return grown;
}

struct check *check_new(bool history)
{
    struct check *check = calloc(1, sizeof *check);
    if (!check)
        abort();
    check->history = history;
    for (int i = 0; i < LEDGER_LANES; i++)
        check->lanes[i].process = -1;
    return check;
}

void check_free(struct check *check)
{
    for (int i = 0; i < LEDGER_LANES; i++)
        free(check->lanes[i].facts);
    for (int i = 0; i < LEDGER_STREAMS; i++)
        for (int lane = 0; lane < LEDGER_LANES; lane++)
            free(check->streams[i].seen[lane]);
    for (int i = 0; i < LEDGER_PROCESSES; i++) {
        free(check->processes[i].gaps);
        free(check->processes[i].windows);
        for (int lane = 0; lane < LEDGER_LANES; lane++)
            free(check->processes[i].came[lane]);
    }
    free(check->faults);
    free(check->tails);
    free(check);
}

void check_blame(struct check *check, enum check_rule rule, long long count, const char *format,
                 ...)
{
    va_list args;
    int slot = 0;
    while (slot < CHECK_SHOWN && check->shown[rule][slot][0])
        slot++;
    check->broken[rule] += count;
    if (slot == CHECK_SHOWN)
        return;
    va_start(args, format);
    vsnprintf(check->shown[rule][slot], sizeof check->shown[rule][slot], format, args);
    va_end(args);
}

/* ---- notes ---- */

static bool add_gap(struct check *check, int process, const char *line)
{
    struct check_process *self = &check->processes[process];
    long long from, to;
    int at = 0;
    if (sscanf(line, "gap %lld %lld %n", &from, &to, &at) != 2 || !at || from > to)
        return false;
    self->gaps = more(self->gaps, self->gap_count, &self->gap_room, sizeof *self->gaps);
    struct check_gap *gap = &self->gaps[self->gap_count++];
    gap->window = (struct check_window){from, to};
    snprintf(gap->reason, sizeof gap->reason, "%s", line + at);
    return true;
}

static bool add_stream(struct check *check, int process, const char *line)
{
    char scope[8], name[32];
    long long live_us;
    unsigned types;
    int id;
    if (sscanf(line, "stream %d %u %lld %7s %31s", &id, &types, &live_us, scope, name) != 5 ||
        id < 0 || id >= LEDGER_STREAMS || check->streams[id].there)
        return false;
    struct check_stream *stream = &check->streams[id];
    stream->there = true;
    stream->local = !strcmp(scope, "local");
    stream->process = process;
    stream->types = types;
    stream->live_us = live_us;
    snprintf(stream->name, sizeof stream->name, "%s", name);
    return true;
}

static bool add_mode(struct check *check, int process, const char *line)
{
    struct check_process *self = &check->processes[process];
    char mode[16];
    if (sscanf(line, "mode %*d %15s", mode) != 1)
        return false;
    if (strcmp(mode, "closed") != 0) /* its end */
        snprintf(self->mode, sizeof self->mode, "%s", mode);
    self->breaks += !strcmp(mode, "degraded");
    return true;
}

static bool add_stat(struct check *check, int process, const char *line)
{
    struct check_process *self = &check->processes[process];
    if (self->stat_count == CHECK_STATS ||
        sscanf(line, "stat %23s %lld", self->stats[self->stat_count].name,
               &self->stats[self->stat_count].value) != 2)
        return false;
    self->stat_count++;
    return true;
}

static bool add_fault(struct check *check, const char *line)
{
    struct check_fault fault;
    long long start, end;
    if (sscanf(line, "fault %23s %lld %lld %u", fault.kind, &start, &end, &fault.processes) != 4)
        return false;
    fault.window = (struct check_window){start, end};
    check->faults =
        more(check->faults, check->fault_count, &check->fault_room, sizeof *check->faults);
    check->faults[check->fault_count++] = fault;
    return true;
}

static bool add_tail(struct check *check, const char *line)
{
    long long at, start, end;
    if (sscanf(line, "tail %lld %lld %lld", &at, &start, &end) != 3)
        return false;
    check->tails = more(check->tails, check->tail_count, &check->tail_room, sizeof *check->tails);
    check->tails[check->tail_count++] = (struct check_tail){at, {start, end}};
    return true;
}

/* The process whose book it is stands first. */
static bool read_note(struct check *check, int *process, const char *line)
{
    int index, lane, at = 0;
    long long value;
    char name[32];
    if (sscanf(line, "process %d %31s", &index, name) == 2) {
        if (index < 0 || index >= LEDGER_PROCESSES || check->processes[index].there)
            return false;
        *process = index;
        check->processes[index].there = true;
        snprintf(check->processes[index].name, sizeof check->processes[index].name, "%s", name);
        return true;
    }
    if (!strncmp(line, "fault ", 6))
        return add_fault(check, line);
    if (!strncmp(line, "tail ", 5))
        return add_tail(check, line);
    if (sscanf(line, "stuck %31s %n", name, &at) == 1) {
        check_blame(check, CHECK_STUCK, 1, "%s: %s", name, line + at);
        return true;
    }
    if (*process < 0)
        return false;
    if (sscanf(line, "lane %d", &lane) == 1) {
        if (lane < 0 || lane >= LEDGER_LANES)
            return false;
        check->lanes[lane].process = *process;
        return true;
    }
    if (sscanf(line, "dropped %d %lld", &index, &value) == 2) {
        if (index < 0 || index >= LEDGER_STREAMS || !check->streams[index].there)
            return false;
        check->streams[index].dropped = value;
        return true;
    }
    return !strncmp(line, "gap ", 4)      ? add_gap(check, *process, line)
           : !strncmp(line, "mode ", 5)   ? add_mode(check, *process, line)
           : !strncmp(line, "stream ", 7) ? add_stream(check, *process, line)
                                          : add_stat(check, *process, line);
}

static void read_notes(struct check *check, const char *base)
{
    char line[512];
    int process = -1;
    FILE *file = ledger_read(base, "notes");
    if (!file)
        check_blame(check, CHECK_BOOKS, 1, "%s.notes cannot be read", base);
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        if (!read_note(check, &process, line))
            check_blame(check, CHECK_BOOKS, 1, "%.100s.notes: %.100s", base, line);
    }
    if (file)
        fclose(file);
}

/* ---- records ---- */

static bool known(const struct check *check, const struct ledger_record *record)
{
    const struct check_lane *lane = &check->lanes[record->lane];
    return record->number > 0 && record->number <= lane->count &&
           lane->facts[record->number].accepted;
}

/* True: there is such an event, or it is no record of that pass. */
static bool note_fact(struct check *check, const struct ledger_record *record)
{
    struct check_lane *lane = &check->lanes[record->lane];
    if (record->kind == LEDGER_PUBLISH) {
        lane->facts = reach(lane->facts, record->number, &lane->room, sizeof *lane->facts);
        lane->facts[record->number] = (struct check_fact){
            .published_us = record->at_us, .type = record->what, .accepted = true};
        lane->count = record->number > lane->count ? record->number : lane->count;
        return record->number > 0 && record->what < LEDGER_TYPES;
    }
    if (record->kind != LEDGER_REPORT && record->kind != LEDGER_REFUSED)
        return true;
    if (!known(check, record))
        return false;
    struct check_fact *fact = &lane->facts[record->number];
    if (record->kind == LEDGER_REFUSED) {
        fact->accepted = false;
        check->processes[lane->process].refused++;
        return true;
    }
    fact->reported_us = record->at_us;
    fact->outcome = record->what;
    fact->reports += fact->reports < UINT8_MAX;
    return record->what < CHECK_OUTCOMES;
}

static bool note_received(struct check *check, const struct ledger_record *record)
{
    const struct check_lane *lane = &check->lanes[record->lane];
    struct check_stream *stream = &check->streams[record->stream];
    if (record->kind != LEDGER_RECEIVED && record->kind != LEDGER_STRANGE)
        return true;
    if (!stream->there)
        return false;
    if (record->kind == LEDGER_STRANGE || !known(check, record) ||
        lane->facts[record->number].type != record->what || !(stream->types >> record->what & 1)) {
        check_blame(check, CHECK_STRANGE, 1, "%s/%s: lane %d number %u as type %d",
                    check->processes[stream->process].name, stream->name, record->lane,
                    record->number, record->what);
        return true;
    }
    uint8_t **seen = &stream->seen[record->lane];
    uint32_t *last = &stream->last[record->lane][record->what];
    *seen = reach(*seen, record->number, &stream->room[record->lane], 1);
    if ((*seen)[record->number]) {
        stream->doubled++;
        check_blame(check, CHECK_DOUBLED, 1, "%s/%s: lane %d number %u, at %lld",
                    check->processes[stream->process].name, stream->name, record->lane,
                    record->number, (long long)record->at_us);
    } else if (record->number < *last) {
        stream->reordered++;
        check_blame(check, CHECK_REORDERED, 1, "%s/%s: lane %d type %d number %u after %u, at %lld",
                    check->processes[stream->process].name, stream->name, record->lane,
                    record->what, record->number, *last, (long long)record->at_us);
    }
    (*seen)[record->number] = 1;
    struct check_process *process = &check->processes[stream->process];
    uint8_t **came = &process->came[record->lane];
    *came = reach(*came, record->number, &process->room[record->lane], 1);
    (*came)[record->number] = 1;
    *last = record->number > *last ? record->number : *last;
    return true;
}

static void read_records(struct check *check, const char *base,
                         bool (*note)(struct check *check, const struct ledger_record *record))
{
    static struct ledger_record records[AT_ONCE];
    FILE *file = ledger_read(base, "records");
    size_t count;
    if (!file)
        check_blame(check, CHECK_BOOKS, 1, "%s.records cannot be read", base);
    while (file && (count = fread(records, sizeof *records, AT_ONCE, file)) > 0)
        for (size_t i = 0; i < count; i++)
            if (records[i].lane >= LEDGER_LANES || records[i].stream >= LEDGER_STREAMS ||
                check->lanes[records[i].lane].process < 0 || !note(check, &records[i]))
                check_blame(check, CHECK_BOOKS, 1, "%s.records: kind %d lane %d number %u", base,
                            records[i].kind, records[i].lane, records[i].number);
    if (file)
        fclose(file);
}

void check_read(struct check *check, const char *const *bases, int count)
{
    for (int i = 0; i < count; i++)
        read_notes(check, bases[i]);
    for (int i = 0; i < count; i++)
        read_records(check, bases[i], note_fact);
    for (int i = 0; i < count; i++)
        read_records(check, bases[i], note_received);
}
