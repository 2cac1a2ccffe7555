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

/* The envelope in a nameless file: a command that does not read it cannot block us. -1 with errno.
 */
static int stdin_of(evbus_event *event)
{
    char *json = evbus_event_to_json(event);
    int fd = json ? memfd_create("event", MFD_CLOEXEC) : -1;
    size_t length = json ? strlen(json) : 0, done = 0;
    ssize_t n = 1;
    while (fd >= 0 && done < length && n > 0) {
        n = write(fd, json + done, length - done);
        done += n > 0 ? (size_t)n : 0;
    }
    evbus_string_free(json);
    if (fd >= 0 && done == length && lseek(fd, 0, SEEK_SET) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
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

/* 0, or an error number. The child has a process group of its own, so that all of it can be ended.
 */
static int start(const char *command, int in, char *const *env, pid_t *pid)
{
    char *const argv[] = {"sh", "-c", (char *)command, NULL};
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGPIPE};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t set;
    sigemptyset(&set);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
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

static int wait_for(pid_t pid)
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
        poll(&poll_fd, 1, -1);
    }
}

int exec_event(const char *command, evbus_event *event)
{
    char *fields[FIELDS + 1];
    pid_t pid = -1;
    fflush(stdout);
    fields_of(event, fields);
    char **env = environment(fields);
    int in = stdin_of(event), rc = in < 0 || !env ? ENOMEM : start(command, in, env, &pid);
    if (in >= 0)
        close(in);
    free(env);
    for (char **field = fields; *field; field++)
        free(*field);
    if (rc != 0) {
        cli_error("cannot run the command: %s", strerror(rc));
        return -1;
    }
    int status = wait_for(pid);
    if (signals_end() || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
        return 0; /* what we ended ourselves has not failed */
    if (WIFSIGNALED(status))
        cli_error("the command was ended by signal %d (%s)", WTERMSIG(status),
                  evbus_event_id(event));
    else
        cli_error("the command answered %d (%s)", WEXITSTATUS(status), evbus_event_id(event));
    return -1;
}
