/*
 * suite.h - what the main() of every integration test program is made of: a temporary folder that
 * goes away with the program, patience for slow builds, and the run itself.
 */
#ifndef HARNESS_SUITE_H
#define HARNESS_SUITE_H
#include "harness/check.h"
#include <stdbool.h>

/* One test in a case of its own, so that its time limit is its own. */
void suite_add(Suite *suite, const char *name, const TTest *test, int seconds);
/* Runs the suite; or, called as "<program> peer", is the other process (peer.h). main()'s result.
 */
int suite_run(Suite *suite, int argc, char **argv);

const char *suite_folder(void); /* for sockets and files of this program's run */
/* count times EVB_TEST_SCALE percent, at least 1. Without the variable: 100, less under a
 * sanitizer. */
int suite_scaled(int count);
/* EVB_TEST_ROUNDS if it is set, else scaled: how often a race or a cycle is run. */
int suite_rounds(int count);
/* EVB_TEST_SEED if it is set, else another one each time; printed with `what`, never 0. */
unsigned suite_seed(const char *what);
/* The number in a variable of the environment; `otherwise` without one from least to most. */
int suite_number(const char *name, int least, int most, int otherwise);
/* The seed in a variable of the environment, else suite_seed(what). */
unsigned suite_seed_in(const char *name, const char *what);
int suite_patience(int ms); /* a deadline: longer under a sanitizer */
bool suite_sanitized(void); /* memory figures mean nothing */
bool suite_forks_whole(
    void); /* a child of a process with threads may start threads (not under TSan) */

#endif
