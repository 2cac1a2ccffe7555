/* run.c - starts the programs that lie beside this one and reads their figures; see run.h. */
#include "run.h"
#include "probe.h"
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIMEOUT_MS 60000
#define MAX_ARGS   8

static void program_path(const char *command, char *out, size_t room)
{
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    self[length > 0 ? length : 0] = 0;
    snprintf(out, room, "%s/%.*s", dirname(self), (int)strcspn(command, " "), command);
}

bool run_exists(const char *command)
{
    char path[PATH_MAX];
    program_path(command, path, sizeof path);
    return access(path, X_OK) == 0;
}

static _Noreturn void become(const char *command)
{
    char path[PATH_MAX], words[256], *args[MAX_ARGS + 1], *rest = words;
    int count = 0;
    program_path(command, path, sizeof path);
    snprintf(words, sizeof words, "%s", command);
    while (count < MAX_ARGS && (args[count] = strsep(&rest, " ")))
        count++;
    args[count] = NULL;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execv(path, args);
    probe_fail("%s cannot be run", path);
}

/* All that comes before the end of file or the deadline. */
static bool read_all(int fd, char *text, size_t room)
{
    int64_t deadline = probe_now_ns() / 1000000 + TIMEOUT_MS;
    for (size_t at = 0;;) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        int64_t left = deadline - probe_now_ns() / 1000000;
        if (left <= 0 || poll(&wait, 1, (int)left) < 0)
            return false;
        ssize_t n = read(fd, text + at, room - 1 - at);
        if (n <= 0) {
            text[at] = 0;
            return n == 0;
        }
        at += (size_t)n;
    }
}

static void parse(char *text, struct run_outcome *outcome)
{
    outcome->count = 0;
    for (char *line; outcome->count < RUN_FIGURES && (line = strsep(&text, "\n"));) {
        int i = outcome->count;
        if (sscanf(line, "%15s %lf", outcome->figure[i].name, &outcome->figure[i].value) == 2)
            outcome->count++;
    }
}

bool run_probe(const char *command, struct run_outcome *outcome)
{
    int fds[2], status;
    char text[1024];
    if (pipe2(fds, O_CLOEXEC))
        return false;
    int pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        become(command);
    }
    close(fds[1]);
    bool whole = read_all(fds[0], text, sizeof text);
    close(fds[0]);
    if (!whole)
        kill(pid, SIGKILL);
    if (waitpid(pid, &status, 0) != pid || status != 0 || !whole) {
        fprintf(stderr, "bench: %s %s\n", command, whole ? "failed" : "was cut off");
        return false;
    }
    parse(text, outcome);
    return true;
}

double run_figure(const struct run_outcome *outcome, const char *name)
{
    for (int i = 0; i < outcome->count; i++) {
        if (!strcmp(outcome->figure[i].name, name))
            return outcome->figure[i].value;
    }
    return NAN;
}
