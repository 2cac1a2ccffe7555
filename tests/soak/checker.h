/*
 * checker.h - judges what a soak run wrote down (ledger.h). It knows the promises and the books,
 * not the library: of that only the names of a report's outcomes. One thread.
 */
#ifndef SOAK_CHECKER_H
#define SOAK_CHECKER_H
#include "soak/ledger.h"
#include <stddef.h>

#define CHECK_RULES(X)                                                                             \
    X(LOST, "acknowledged, and lost outside of every announced gap")                               \
    X(LOCAL, "accepted, and lost by a subscriber of the same process")                             \
    X(DOUBLED, "delivered twice")                                                                  \
    X(REORDERED, "not in the order of its thread and type")                                        \
    X(STRANGE, "delivered, but never published so")                                                \
    X(GHOST, "delivered, though reported as never written")                                        \
    X(REPORTS, "not reported exactly once")                                                        \
    X(ACCOUNTS, "the bus's counters say otherwise")                                                \
    X(DROPPED, "dropped by its own limit, and not so counted")                                     \
    X(GAP, "a gap that no fault explains, or a break without a gap")                               \
    X(STUCK, "not done in time")                                                                   \
    X(BOOKS, "the books are not whole")

#define CHECK_ENUM(name, says) CHECK_##name,
enum check_rule { CHECK_RULES(CHECK_ENUM) CHECK_RULE_COUNT };
#undef CHECK_ENUM

enum { CHECK_OUTCOMES = 7, CHECK_STATS = 16, CHECK_SHOWN = 5 };

struct check_fact { /* one event */
    int64_t published_us, reported_us;
    uint8_t type, outcome, reports;
    bool accepted;
};

struct check_lane {
    struct check_fact *facts; /* owned: that of number n is facts[n] */
    uint32_t count, room;     /* numbers 1..count */
    int process;
};

struct check_window {
    int64_t from_us, to_us;
};

struct check_gap {
    struct check_window window;
    char reason[120];
};

struct check_process {
    bool there;
    char name[32];
    struct check_gap *gaps; /* owned */
    size_t gap_count, gap_room;
    struct check_window *windows; /* owned: the gaps' as rising, separate ones */
    size_t window_count;
    int breaks; /* times it was degraded */
    char mode[16];
    uint8_t *came[LEDGER_LANES]; /* owned: number n came to one of its streams */
    uint32_t room[LEDGER_LANES];
    long long outcomes[CHECK_OUTCOMES], accepted, refused;
    struct {
        char name[24];
        long long value;
    } stats[CHECK_STATS];
    int stat_count;
};

struct check_stream {
    bool there, local;
    char name[32];
    int process;
    unsigned types;
    int64_t live_us;
    uint8_t *seen[LEDGER_LANES]; /* owned: how often number n came */
    uint32_t room[LEDGER_LANES];
    uint32_t last[LEDGER_LANES][LEDGER_TYPES];
    /* `missed` came to the process, but not to it; `dropped` is its own count of them */
    long long owed, received, inside, outside, missed, doubled, reordered, dropped;
};

struct check_fault {
    char kind[24];
    struct check_window window;
    unsigned processes;
};

struct check_tail { /* of the history, when a server that was killed had come back */
    int64_t at_us;
    struct check_window window;
};

struct check {
    bool history; /* fixed after init: nothing may be dropped, only a fault's own gaps announced */
    struct check_lane lanes[LEDGER_LANES];
    struct check_stream streams[LEDGER_STREAMS];
    struct check_process processes[LEDGER_PROCESSES];
    struct check_fault *faults; /* owned */
    size_t fault_count, fault_room;
    struct check_tail *tails; /* owned */
    size_t tail_count, tail_room;
    long long broken[CHECK_RULE_COUNT];
    char shown[CHECK_RULE_COUNT][CHECK_SHOWN][240];
};

struct check *check_new(bool history);
void check_free(struct check *check);
/* All of them at once; bases are those of ledger_open(). */
void check_read(struct check *check, const char *const *bases, int count);
bool check_judge(struct check *check); /* true: every promise was kept */
void check_print(const struct check *check, FILE *out);

/* ---- among its own files ---- */
/* One more offence; the first few of a rule are shown. */
void check_blame(struct check *check, enum check_rule rule, long long count, const char *format,
                 ...) __attribute__((format(printf, 4, 5)));
bool check_in_gap(const struct check_process *process, int64_t from_us, int64_t to_us);
bool check_explained(const struct check *check, int process, const struct check_window *window);
long long check_stat(const struct check_process *process, const char *name); /* -1: not told */

#endif
