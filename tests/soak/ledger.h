/*
 * ledger.h - what each process of a soak run writes down, for a checker that knows nothing else: a
 * file of records, and beside it one of notes, a line of words each:
 *
 *   process INDEX NAME
 *   lane NUMBER                                 it publishes that lane: a thread's events
 *   stream ID TYPES LIVE_US both|local NAME     a subscription: the types of a bit mask
 *   dropped STREAM COUNT                        what its own limit dropped
 *   gap FROM_US TO_US REASON                    an announced one
 *   mode AT_US NAME                             the bus's mode from then on
 *   stat NAME VALUE                             a counter of the bus, at the end
 *   fault KIND START_US END_US PROCESSES        may break the links of those of a bit mask
 *   tail AT_US START_US END_US                  where the history of a server ended that was killed
 *   stuck PROCESS WHAT                          what it did not do in time
 *
 * All times are Unix time in microseconds. Writing: any thread.
 */
#ifndef SOAK_LEDGER_H
#define SOAK_LEDGER_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { LEDGER_LANES = 32, LEDGER_STREAMS = 64, LEDGER_PROCESSES = 16, LEDGER_TYPES = 8 };

enum ledger_kind {
    LEDGER_PUBLISH,  /* about to be; `what` is its type */
    LEDGER_REFUSED,  /* publish said no: the number is used again */
    LEDGER_REPORT,   /* `what` is the outcome */
    LEDGER_RECEIVED, /* `what` is the type that it came with */
    LEDGER_STRANGE   /* came with a type or number that nobody has */
};

struct ledger_record {
    int64_t at_us;
    uint32_t number;
    uint8_t lane, stream, what, kind; /* enum ledger_kind */
};

struct ledger {
    FILE *records, *notes; /* owned */
};

bool ledger_open(struct ledger *ledger, const char *base); /* base.records, base.notes */
bool ledger_close(struct ledger *ledger); /* false: not all of it could be written */
void ledger_put(struct ledger *ledger, const struct ledger_record *record); /* at_us 0: now */
void ledger_note(struct ledger *ledger, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

FILE *ledger_read(const char *base, const char *kind); /* "records" or "notes"; NULL: not there */

#endif
