/* judge.h - from the figures of a row's rounds to one line of the table. */
#ifndef BENCH_JUDGE_H
#define BENCH_JUDGE_H
#include "rows.h"

#define JUDGE_ROUNDS 64

struct judge_rounds { /* one row's figures, round by round */
    int count;
    double ours[JUDGE_ROUNDS], peer[JUDGE_ROUNDS];
};

int judge_kept(const struct judge_rounds *rounds,
               bool has_peer); /* rounds whose reference held still */
void judge_header(void);
void judge_line(const struct bench_row *row, const struct judge_rounds *rounds);
void judge_skipped(const struct bench_row *row, const char *why);
#endif
