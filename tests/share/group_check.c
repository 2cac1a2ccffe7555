/* group_check.c - what the books say of each event. */
#include "share/group_check.h"
#include <evbus.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum {
    BOOKS_MOST = 1024,
    NUMBERS_MOST = 100000000,
    SHOWN = 5,
    UNACKED_US = 5000000 /* a member killed later than this after its effect had acknowledged it */
};

struct call {
    int64_t begun_us, ended_us; /* ended 0: it never did */
    int result;
    int book;
    struct call *next; /* of the same number, in the order of the books */
};

struct fact {           /* of one number */
    struct call *calls; /* owned */
    uint8_t published, reports, outcome, dead;
};

struct group_check {
    struct fact *facts; /* owned: that of number n is facts[n] */
    long long count;    /* numbers below it have a fact */
    int64_t killed_us[BOOKS_MOST];
    long long broken[GROUP_RULE_COUNT];
    char shown[GROUP_RULE_COUNT][SHOWN][160];
    struct group_sums sums;
};

struct group_check *group_check_new(void)
{
    return calloc(1, sizeof(struct group_check));
}

void group_check_free(struct group_check *check)
{
    for (long long n = 0; n < check->count; n++)
        while (check->facts[n].calls) {
            struct call *call = check->facts[n].calls;
            check->facts[n].calls = call->next;
            free(call);
        }
    free(check->facts);
    free(check);
}

__attribute__((format(printf, 3, 4))) static void
blame(struct group_check *check, enum group_rule rule, const char *format, ...)
{
    va_list args;
    if (check->broken[rule]++ >= SHOWN)
        return;
    va_start(args, format);
    vsnprintf(check->shown[rule][check->broken[rule] - 1], sizeof check->shown[rule][0], format,
              args);
    va_end(args);
}

/* ---- reading ---- */

static struct fact *fact_of(struct group_check *check, long long number)
{
    if (number < 0 || number > NUMBERS_MOST)
        return NULL;
    if (number >= check->count) {
        long long count = (number + 1) * 2;
        struct fact *facts = realloc(check->facts, (size_t)count * sizeof *facts);
        if (!facts)
            return NULL;
        memset(facts + check->count, 0, (size_t)(count - check->count) * sizeof *facts);
        check->facts = facts;
        check->count = count;
    }
    return &check->facts[number];
}

static bool begin(struct fact *fact, int book, int64_t at_us)
{
    struct call *call = calloc(1, sizeof *call);
    if (!call)
        return false;
    *call = (struct call){.begun_us = at_us, .book = book, .next = fact->calls};
    fact->calls = call;
    return true;
}

static bool end(const struct fact *fact, int book, int result, int64_t at_us)
{
    struct call *call = fact->calls;
    while (call && (call->book != book || call->ended_us))
        call = call->next;
    if (!call)
        return false;
    call->ended_us = at_us;
    call->result = result;
    return true;
}

static bool take(struct group_check *check, const char *word, long long number, long long detail,
                 int64_t at_us, int book)
{
    struct fact *fact = fact_of(check, number);
    if (!strcmp(word, "killed")) {
        if (number < 0 || number >= BOOKS_MOST)
            return false;
        check->killed_us[number] = at_us;
        check->sums.killed++;
        return true;
    }
    if (!fact)
        return false;
    if (!strcmp(word, "publish"))
        fact->published = 1;
    else if (!strcmp(word, "report")) {
        fact->reports += fact->reports < 255;
        fact->outcome = (uint8_t)detail;
    } else if (!strcmp(word, "begin"))
        return begin(fact, book, at_us);
    else if (!strcmp(word, "end"))
        return end(fact, book, (int)detail, at_us);
    else if (!strcmp(word, "dead"))
        fact->dead += fact->dead < 255;
    else
        return false;
    return true;
}

void group_check_line(struct group_check *check, const char *line, int book)
{
    char word[16];
    long long number, second, third;
    int got = sscanf(line, "%15s %lld %lld %lld", word, &number, &second, &third);
    if (got >= 1 && !strcmp(word, "process"))
        return;
    if (got >= 1 && !strcmp(word, "stuck")) {
        blame(check, GROUP_RULE_STUCK, "%s", line + 6);
        return;
    }
    if (got < 3 ||
        !take(check, word, number, got == 4 ? second : 0, got == 4 ? third : second, book))
        blame(check, GROUP_RULE_BOOKS, "book %d: %.100s", book, line);
}

/* The last line of one that was killed may be half of one: it was about to do what it says. */
void group_check_read(struct group_check *check, const char *path, int number)
{
    FILE *in = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    if (!in) {
        blame(check, GROUP_RULE_BOOKS, "%.100s is not there", path);
        return;
    }
    while ((length = getline(&line, &room, in)) > 0 && line[length - 1] == '\n') {
        line[length - 1] = '\0';
        group_check_line(check, line, number);
    }
    free(line);
    fclose(in);
}

/* ---- judging ---- */

static int by_begin(const void *a, const void *b)
{
    const struct call *x = *(struct call *const *)a, *y = *(struct call *const *)b;
    return (x->begun_us > y->begun_us) - (x->begun_us < y->begun_us);
}

/* Its calls in the order of their beginning; the caller frees. */
static struct call **sorted(const struct fact *fact, size_t *count)
{
    *count = 0;
    for (const struct call *call = fact->calls; call; call = call->next)
        ++*count;
    struct call **calls = malloc((*count + 1) * sizeof *calls);
    if (!calls)
        abort();
    size_t n = 0;
    for (struct call *call = fact->calls; call; call = call->next)
        calls[n++] = call;
    qsort(calls, n, sizeof calls[0], by_begin);
    return calls;
}

/* When it was over for certain: it ended, or its process did; INT64_MAX: never. */
static int64_t over_us(const struct group_check *check, const struct call *call)
{
    int64_t killed_us = check->killed_us[call->book];
    return call->ended_us ? call->ended_us : killed_us ? killed_us : INT64_MAX;
}

static bool died_unacknowledged(const struct group_check *check, const struct call *call)
{
    int64_t killed_us = check->killed_us[call->book];
    return killed_us >= call->ended_us && killed_us - call->ended_us <= UNACKED_US;
}

static void judge_calls(struct group_check *check, long long number, const struct fact *fact)
{
    size_t count;
    struct call **calls = sorted(fact, &count);
    const struct call *success = NULL;
    struct group_sums *sums = &check->sums;
    for (size_t i = 0; i < count; i++) {
        const struct call *call = calls[i];
        sums->calls++;
        sums->again += i > 0;
        sums->cut_off += !call->ended_us;
        sums->failed += call->ended_us && call->result != 0;
        if (i > 0 && over_us(check, calls[i - 1]) > call->begun_us)
            blame(check, GROUP_RULE_BESIDE, "%lld in the books %d and %d", number,
                  calls[i - 1]->book, call->book);
        if (!call->ended_us || call->result != 0)
            continue;
        if (success && !died_unacknowledged(check, success))
            blame(check, GROUP_RULE_DOUBLED, "%lld in the books %d and %d, %lld ms apart", number,
                  success->book, call->book,
                  (long long)(call->begun_us - success->ended_us) / 1000);
        sums->doubles += success != NULL;
        success = call;
    }
    sums->handled += success != NULL;
    if (!success && fact->outcome == EVBUS_ACKED && !group_is_poison(number))
        blame(check, GROUP_RULE_LOST, "%lld, %zu calls", number, count);
    free(calls);
}

static void judge_dead(struct group_check *check, long long number, const struct fact *fact)
{
    check->sums.dead += fact->dead > 0;
    if (fact->dead > 1)
        blame(check, GROUP_RULE_DEAD_TWICE, "%lld, %d times", number, fact->dead);
    if (fact->dead && !group_is_poison(number))
        blame(check, GROUP_RULE_BURIED, "%lld", number);
    if (!fact->dead && group_is_poison(number) && fact->outcome == EVBUS_ACKED)
        blame(check, GROUP_RULE_UNDEAD, "%lld", number);
}

bool group_check_judge(struct group_check *check)
{
    long long all = 0;
    for (long long number = 0; number < check->count; number++) {
        const struct fact *fact = &check->facts[number];
        if (!fact->published && (fact->calls || fact->dead))
            blame(check, GROUP_RULE_STRANGE, "%lld", number);
        if (!fact->published)
            continue;
        check->sums.published++;
        check->sums.acked += fact->outcome == EVBUS_ACKED;
        if (fact->reports != 1)
            blame(check, GROUP_RULE_REPORTS, "%lld: %d reports", number, fact->reports);
        judge_calls(check, number, fact);
        judge_dead(check, number, fact);
    }
    for (int rule = 0; rule < GROUP_RULE_COUNT; rule++)
        all += check->broken[rule];
    return all == 0;
}

void group_check_print(const struct group_check *check, FILE *out)
{
    static const char *const says[] = {
#define X(name, text) text,
        GROUP_RULES(X)
#undef X
    };
    const struct group_sums *sums = &check->sums;
    fprintf(out,
            "%lld published, %lld acknowledged; %lld handler calls: %lld events handled, %lld "
            "calls failed, %lld cut off by a kill; %lld members killed\n",
            sums->published, sums->acked, sums->calls, sums->handled, sums->failed, sums->cut_off,
            sums->killed);
    fprintf(
        out,
        "%lld handled again where the member died before its acknowledgement, %lld dead letters\n",
        sums->doubles, sums->dead);
    for (int rule = 0; rule < GROUP_RULE_COUNT; rule++) {
        fprintf(out, "%8lld %s\n", check->broken[rule], says[rule]);
        for (int i = 0; i < SHOWN && i < check->broken[rule]; i++)
            fprintf(out, "         %s\n", check->shown[rule][i]);
    }
    fflush(out);
}

long long group_check_broken(const struct group_check *check, enum group_rule rule)
{
    return check->broken[rule];
}

struct group_sums group_check_sums(const struct group_check *check)
{
    return check->sums;
}
