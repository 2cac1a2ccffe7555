/* signals.c - the self-pipe. */
#include "signals.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static int pipe_fds[2] = {-1, -1};
static volatile sig_atomic_t end_signal;

static void on_signal(int number)
{
    int saved = errno;
    if (number != SIGCHLD)
        end_signal = number;
    ssize_t written = write(pipe_fds[1], number == SIGCHLD ? "c" : "e", 1);
    (void)written; /* a full pipe is readable anyway */
    errno = saved;
}

int signals_init(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, before;
    sigemptyset(&action.sa_mask);
    if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) != 0)
        return -1;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (sigaction(numbers[i], NULL, &before) != 0)
            return -1;
        if (numbers[i] == SIGHUP && before.sa_handler == SIG_IGN)
            continue; /* nohup(1) */
        if (sigaction(numbers[i], &action, NULL) != 0)
            return -1;
    }
    return 0;
}

int signals_fd(void)
{
    return pipe_fds[0];
}

int signals_end(void)
{
    return end_signal;
}

bool signals_drain(void)
{
    char bytes[64];
    bool end = false;
    ssize_t n;
    while ((n = read(pipe_fds[0], bytes, sizeof bytes)) > 0)
        for (ssize_t i = 0; i < n; i++)
            end = end || bytes[i] == 'e';
    return end;
}
