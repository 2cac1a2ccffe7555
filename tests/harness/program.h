/*
 * program.h - other programs, run as a user would: arguments, standard input from a text, output
 * into files. They die with the test. Main thread of the test.
 */
#ifndef HARNESS_PROGRAM_H
#define HARNESS_PROGRAM_H
#include <sys/types.h>

struct program {
    pid_t pid;  /* 0: ended */
    int status; /* its exit code, or 128 and its signal */
    char out_path[100], err_path[100];
    char *out, *err; /* owned: read anew by each call below */
};

const char *program_built(const char *name); /* the path of what make has built: one at a time */
/* argv ends with NULL; a name without a slash is looked up in PATH. `input` NULL: none. */
struct program *program_start(const char *input, char *const argv[]);
/* Waits until its standard output (error) has `text`; the test ends if that does not come. */
void program_expect_out(struct program *program, const char *text);
void program_expect_err(struct program *program, const char *text);
int program_end(struct program *program); /* waits for it; program->status */
void program_signal(struct program *program, int number);
void program_free(struct program *program); /* kills what runs */

#endif
