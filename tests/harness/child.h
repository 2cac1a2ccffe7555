/*
 * child.h - another program, talked to line by line. It dies with the process that started it,
 * which must be the main thread. Failures end the test.
 */
#ifndef HARNESS_CHILD_H
#define HARNESS_CHILD_H
#include <stdio.h>
#include <sys/types.h>

struct child {
    pid_t pid;
    FILE *to, *from;
    char *line; /* owned: the last one read */
    size_t room;
};

void child_start(struct child *child,
                 const char *const *words); /* ends with NULL; looked up in PATH */
const char *
child_line(struct child *child);     /* without its newline; NULL: it has closed its output */
int child_wait(struct child *child); /* until it ends by itself: its exit status, or -1 */
void child_kill(struct child *child);

#endif
