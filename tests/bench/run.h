/* run.h - one run of one program, and the suite's own redis-server. */
#ifndef BENCH_RUN_H
#define BENCH_RUN_H
#include <stdbool.h>

#define RUN_FIGURES 8

struct run_outcome {
    int count;
    struct {
        char name[16];
        double value;
    } figure[RUN_FIGURES];
};

bool run_exists(const char *command);
/* Answers false, having said why, when the program failed or took too long. */
bool run_probe(const char *command, struct run_outcome *outcome);
double run_figure(const struct run_outcome *outcome, const char *name); /* NAN: none */

/* A private server on a free port of 127.0.0.1, pinned to the first core, in a temporary folder.
 * Sets BENCH_PORT and BENCH_FRAMES for the programs. False, having said why, when it cannot be had.
 */
bool server_start(void);
void server_stop(void);
#endif
