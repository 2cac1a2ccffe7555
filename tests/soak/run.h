/*
 * run.h - a soak run: a server of its own, publishing and subscribing processes, faults, and the
 * judgement at the end. Inside a test of Check, on its main thread; whoever calls suite_run() asks
 * member_main() first.
 */
#ifndef SOAK_RUN_H
#define SOAK_RUN_H
#include "harness/child.h"
#include "harness/middle.h"
#include "harness/server.h"
#include "soak/dice.h"
#include "soak/ledger.h"

enum { SOAK_PUBLISHERS = 2, SOAK_SUBSCRIBERS = 2, SOAK_MEMBERS = 4, SOAK_LANES = 3 };

struct soak_plan {
    int events, faults; /* at least */
    unsigned seed;
    bool history;
    int spacing_ms;      /* between faults, where they allow it */
    int stop_ms;         /* longest stop of a process */
    int backoff_max_ms;  /* reconnect.backoff.max of all buses */
    const char *command; /* repeats it */
};

struct soak {
    const struct soak_plan *plan;
    struct server *server;
    struct {
        struct child child;
        struct middle *middle; /* owned: between the bus and its server; NULL: none */
        char base[120];        /* of its ledger */
    } members[SOAK_MEMBERS];   /* publishers first */
    struct ledger ledger;
    struct dice dice;
    int bag[32], bag_count; /* kinds of faults that this round still has */
};

/* Ends the test if a promise is broken, the table printed before. */
void soak_run(const struct soak_plan *plan);
/* Whether the library has stored history. */
bool soak_has_history(void);

/* ---- among its own files ---- */
enum { SOAK_EVERYBODY = (1 << SOAK_MEMBERS) - 1 };
void soak_fault(struct soak *soak); /* one of the kind that is next, noted */
long long soak_ask(struct soak *soak, int member, const char *line);
/* All buses are connected again, or it is noted who is not. */
void soak_settle(struct soak *soak);

#endif
