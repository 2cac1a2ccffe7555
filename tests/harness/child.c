/* child.c - another program. */
#include "harness/child.h"
#include "harness/check.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void become(const char *const *words, pid_t parent, int in, int out)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    if (getppid() == parent)
        execvp(words[0], (char *const *)(const void *)words);
    _exit(127);
}

void child_start(struct child *child, const char *const *words)
{
    int to[2], from[2];
    pid_t parent = getpid();
    memset(child, 0, sizeof *child);
    ck_assert_int_eq(pipe2(to, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(from, O_CLOEXEC), 0);
    child->pid = fork();
    if (child->pid == 0) /* no assertion there: another thread may hold Check's lock */
        become(words, parent, to[0], from[1]);
    ck_assert_int_gt(child->pid, 0);
    close(to[0]);
    close(from[1]);
    child->to = fdopen(to[1], "w");
    child->from = fdopen(from[0], "r");
    ck_assert(child->to && child->from);
}

const char *child_line(struct child *child)
{
    if (getline(&child->line, &child->room, child->from) <= 0)
        return NULL;
    child->line[strcspn(child->line, "\r\n")] = '\0';
    return child->line;
}

int child_wait(struct child *child)
{
    int status = 0;
    fclose(child->to);
    fclose(child->from);
    while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
        ;
    free(child->line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void child_kill(struct child *child)
{
    kill(child->pid, SIGKILL);
    child_wait(child);
}
