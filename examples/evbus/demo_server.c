/* demo_server.c - a redis-server on a Unix socket in a folder of its own. Main thread. */
#include "demo.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { START_MS = 5000 };

static bool find_in_path(const char *name, char *out, size_t room)
{
    const char *path = getenv("PATH");
    for (const char *p = path ? path : ""; *p;) {
        int length = (int)strcspn(p, ":");
        snprintf(out, room, "%.*s/%s", length, p, name);
        if (length > 0 && access(out, X_OK) == 0)
            return true;
        p += length + (p[length] == ':');
    }
    return false;
}

static bool find_program(char *out, size_t room)
{
    if (find_in_path("redis-server", out, room) || find_in_path("valkey-server", out, room))
        return true;
    cli_error("the demo needs redis-server, which is not installed: run \"make deps\" "
              "or \"apt install redis-server\"");
    return false;
}

int server_prepare(struct server *server)
{
    enum { FOLDER_MAX = 64 }; /* a Unix socket's path has 107 bytes at most */
    char program[512];
    const char *tmp = getenv("TMPDIR");
    if (!find_program(program, sizeof program))
        return -1;
    if (!tmp || tmp[0] != '/' || strlen(tmp) > FOLDER_MAX)
        tmp = "/tmp";
    snprintf(server->folder, sizeof server->folder, "%.*s/evbus-demo-XXXXXX", FOLDER_MAX, tmp);
    if (!mkdtemp(server->folder)) {
        cli_error("no folder under %s: %s", tmp, strerror(errno));
        server->folder[0] = '\0';
        return -1;
    }
    snprintf(server->socket, sizeof server->socket, "%s/redis.sock", server->folder);
    snprintf(server->door, sizeof server->door, "%s/door.sock", server->folder);
    snprintf(server->log, sizeof server->log, "%s/redis.log", server->folder);
    return 0;
}

/* In the child. The server gets no signals of the terminal, and dies with this program. */
static void become(const struct server *server, const char *program, int log, pid_t parent)
{
    sigset_t none;
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execl(program, "redis-server", "--port", "0", "--unixsocket", server->socket,
          "--unixsocketperm", "700", "--save", "", "--appendonly", "no", "--dir", server->folder,
          "--daemonize", "no", (char *)NULL);
    _exit(127);
}

static bool answers(const struct server *server)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", server->socket);
    bool good = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0)
        close(fd);
    return good;
}

static void say_last_line(const struct server *server)
{
    char line[256] = "", last[256] = "it said nothing";
    FILE *log = fopen(server->log, "re");
    while (log && fgets(line, sizeof line, log)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0])
            memcpy(last, line, sizeof last);
    }
    if (log)
        fclose(log);
    cli_error("redis-server did not start: %s", last);
}

int server_start(struct server *server)
{
    char program[512];
    int64_t end_ms = cli_now_ms() + START_MS;
    const struct timespec pause = {.tv_nsec = 10000000};
    pid_t parent = getpid();
    if (!find_program(program, sizeof program))
        return -1;
    int log = open(server->log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    pid_t pid = log >= 0 ? fork() : -1;
    if (pid == 0)
        become(server, program, log, parent);
    if (log >= 0)
        close(log);
    if (pid < 0) {
        cli_error("cannot start redis-server: %s", strerror(errno));
        return -1;
    }
    server->pid = pid;
    while (!answers(server)) {
        bool gone = waitpid(pid, NULL, WNOHANG) == pid;
        if (gone)
            server->pid = 0;
        if (gone || cli_now_ms() > end_ms) {
            say_last_line(server);
            return -1;
        }
        nanosleep(&pause, NULL);
    }
    return 0;
}

void server_kill(struct server *server)
{
    if (server->pid <= 0)
        return;
    kill(server->pid, SIGKILL);
    while (waitpid(server->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    server->pid = 0;
}

int server_open_door(struct server *server)
{
    if (symlink("redis.sock", server->door) == 0)
        return 0;
    cli_error("%s: %s", server->door, strerror(errno));
    return -1;
}

void server_close_door(struct server *server)
{
    unlink(server->door);
}

void server_remove(struct server *server)
{
    server_kill(server);
    if (!server->folder[0])
        return;
    unlink(server->door);
    unlink(server->socket);
    unlink(server->log);
    if (rmdir(server->folder) != 0)
        cli_error("%s stays: %s", server->folder, strerror(errno));
    server->folder[0] = '\0';
}
