/* exec.h - a command for each event, one at a time and in order. Main thread; needs signals_init().
 */
#ifndef EXEC_H
#define EXEC_H
#include <evbus.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Runs `command` by sh -c. The event comes as data only: its envelope on stdin, its fields in
 * EVBUS_TYPE, EVBUS_ID, EVBUS_SOURCE, EVBUS_CORRELATION, EVBUS_TIMESTAMP, EVBUS_NODE and
 * EVBUS_ORIGIN; nothing of it is pasted into the command. Waits for its end; a signal that ends
 * this program is passed on to it, the second one kills it. 0, or -1 after a sentence on stderr.
 */
int exec_event(const char *command, evbus_event *event);

struct exec_answer {
    int status;    /* its exit code, or 128 and the signal that ended it */
    bool late;     /* it was killed at its deadline */
    char *out;     /* owned: its stdout, with a NUL behind */
    size_t length; /* of out */
    char *err;     /* owned: its stderr */
};

/* The same with the data alone on stdin, and what it writes kept. It is killed at until_ms
 * (cli_now_ms(); -1: never). 0, or -1 after a sentence on stderr. */
int exec_answer(const char *command, evbus_event *event, int64_t until_ms,
                struct exec_answer *answer);
void exec_answer_free(struct exec_answer *answer);

#endif
