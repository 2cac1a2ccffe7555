/* exec.c - a command for each event. Main thread. */
#include "exec.h"
#include "cli.h"
#include "print.h"
#include "signals.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FIELDS = 7, FIELD_MAX = 32 << 10 }; /* the kernel limits one variable to 128 KiB */

extern char **environ;

/* A nameless file, at its beginning: a command that does not read it cannot block us, nor can one
 * that writes and is not read. -1 with errno. */
static int file_with(const char *bytes, size_t length)
{
    int fd = memfd_create("event", MFD_CLOEXEC);
    size_t done = 0;
    ssize_t n = 1;
    while (fd >= 0 && done < length && n > 0) {
        n = write(fd, bytes + done, length - done);
        done += n > 0 ? (size_t)n : 0;
    }
    if (fd >= 0 && done == length && lseek(fd, 0, SEEK_SET) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static int envelope_of(evbus_event *event)
{
    char *json = evbus_event_to_json(event);
    int fd = json ? file_with(json, strlen(json)) : -1;
    evbus_string_free(json);
    return fd;
}

static int data_of(evbus_event *event)
{
    size_t length;
    const char *data = evbus_event_data(event, &length);
    return file_with(data ? data : "", data ? length : 0);
}

/* What was written to it, with a NUL behind: owned, NULL without memory. */
static char *text_of(int fd, size_t *length)
{
    off_t end = lseek(fd, 0, SEEK_END);
    char *text = end < 0 ? NULL : malloc((size_t)end + 1);
    size_t done = 0;
    ssize_t n = 1;
    while (text && done < (size_t)end && n > 0) {
        n = pread(fd, text + done, (size_t)end - done, (off_t)done);
        done += n > 0 ? (size_t)n : 0;
    }
    if (text)
        text[done] = '\0';
    *length = done;
    return text;
}

static bool is_ours(const char *variable, char *const *fields)
{
    for (; *fields; fields++) {
        size_t length = (size_t)(strchr(*fields, '=') - *fields) + 1;
        if (strncmp(variable, *fields, length) == 0)
            return true;
    }
    return false;
}

/* This process's environment with the event's fields in it: owned array of borrowed texts. */
static char **environment(char *const *fields)
{
    size_t count = 0, at = 0;
    while (environ[count])
        count++;
    char **list = calloc(count + FIELDS + 1, sizeof *list);
    for (size_t i = 0; list && i < count; i++)
        if (!is_ours(environ[i], fields))
            list[at++] = environ[i];
    for (size_t i = 0; list && fields[i]; i++)
        list[at++] = fields[i];
    return list;
}

/* Fills fields[] with owned texts and a NULL behind; a value that is too long is on stdin only. */
static void fields_of(evbus_event *event, char *fields[FIELDS + 1])
{
    const struct {
        const char *name, *value;
    } all[FIELDS] = {
        {"EVBUS_TYPE", evbus_event_type(event)},
        {"EVBUS_ID", evbus_event_id(event)},
        {"EVBUS_SOURCE", evbus_event_source(event)},
        {"EVBUS_CORRELATION", evbus_event_correlation(event)},
        {"EVBUS_TIMESTAMP", evbus_event_timestamp(event)},
        {"EVBUS_NODE", evbus_event_node(event)},
        {"EVBUS_ORIGIN", print_origin(event)},
    };
    size_t at = 0;
    for (size_t i = 0; i < FIELDS; i++) {
        const char *value = all[i].value ? all[i].value : "";
        if (strlen(value) > FIELD_MAX)
            value = "";
        if (asprintf(&fields[at], "%s=%s", all[i].name, value) >= 0)
            at++;
    }
    fields[at] = NULL;
}

/* 0, or an error number. `fds` take the place of its stdin, stdout and stderr, unless they are -1.
 * The child has a process group of its own, so that all of it can be ended. */
static int start(const char *command, const int fds[3], char *const *env, pid_t *pid)
{
    char *const argv[] = {"sh", "-c", (char *)command, NULL};
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGPIPE};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t set;
    sigemptyset(&set);
    posix_spawn_file_actions_init(&actions);
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0)
            posix_spawn_file_actions_adddup2(&actions, fds[i], i);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK |
                                        POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setsigmask(&attr, &set);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaddset(&set, numbers[i]);
    posix_spawnattr_setsigdefault(&attr, &set);
    posix_spawnattr_setpgroup(&attr, 0);
    int rc = posix_spawn(pid, "/bin/sh", &actions, &attr, argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

/* At until_ms (cli_now_ms(); -1: never) it is killed, and *late. */
static int wait_for(pid_t pid, int64_t until_ms, bool *late)
{
    struct pollfd poll_fd = {.fd = signals_fd(), .events = POLLIN};
    int status = 0;
    bool told = false;
    for (;;) {
        bool came = signals_drain();
        if (waitpid(pid, &status, WNOHANG) == pid)
            return status;
        if (came && signals_end()) {
            kill(-pid, told ? SIGKILL : signals_end());
            told = true;
        }
        int64_t left_ms = until_ms < 0 || *late ? -1 : until_ms - cli_now_ms();
        if (until_ms >= 0 && !*late && left_ms <= 0) {
            *late = true;
            kill(-pid, SIGKILL);
            left_ms = -1;
        }
        poll(&poll_fd, 1, left_ms > 1000000 ? 1000000 : (int)left_ms);
    }
}

/* Closes fds[0]. 0 and how it ended, or -1 after a sentence. */
static int run(const char *command, evbus_event *event, const int fds[3], int64_t until_ms,
               int *status, bool *late)
{
    char *fields[FIELDS + 1];
    pid_t pid = -1;
    fflush(stdout);
    fields_of(event, fields);
    char **env = environment(fields);
    int rc = fds[0] < 0 || !env ? ENOMEM : start(command, fds, env, &pid);
    if (fds[0] >= 0)
        close(fds[0]);
    free(env);
    for (char **field = fields; *field; field++)
        free(*field);
    if (rc != 0) {
        cli_error("cannot run the command: %s", strerror(rc));
        return -1;
    }
    *status = wait_for(pid, until_ms, late);
    return 0;
}

int exec_event(const char *command, evbus_event *event)
{
    const int fds[3] = {envelope_of(event), -1, -1};
    bool late = false;
    int status;
    if (run(command, event, fds, -1, &status, &late) != 0)
        return -1;
    if (signals_end() || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
        return 0; /* what we ended ourselves has not failed */
    if (WIFSIGNALED(status))
        cli_error("the command was ended by signal %d (%s)", WTERMSIG(status),
                  evbus_event_id(event));
    else
        cli_error("the command answered %d (%s)", WEXITSTATUS(status), evbus_event_id(event));
    return -1;
}

int exec_answer(const char *command, evbus_event *event, int64_t until_ms,
                struct exec_answer *answer)
{
    const int fds[3] = {data_of(event), file_with("", 0), file_with("", 0)};
    int status = 0, rc = -1;
    *answer = (struct exec_answer){.status = 0};
    if (fds[1] >= 0 && fds[2] >= 0)
        rc = run(command, event, fds, until_ms, &status, &answer->late);
    else
        cli_error("cannot run the command: %s", strerror(errno));
    if (rc == 0) {
        size_t length;
        answer->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        answer->out = text_of(fds[1], &answer->length);
        answer->err = text_of(fds[2], &length);
        rc = answer->out && answer->err ? 0 : -1;
    }
    for (int i = 1; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    if (rc != 0)
        exec_answer_free(answer);
    return rc;
}

void exec_answer_free(struct exec_answer *answer)
{
    free(answer->out);
    free(answer->err);
    answer->out = answer->err = NULL;
}
