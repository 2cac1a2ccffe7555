/* server.c - a redis-server of the test's own. */
#include "harness/server.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SERVERS_MOST = 8, ANSWER_MS = 20000 };

static struct server *servers[SERVERS_MOST];
static char last_error[256];

static void kill_all(void)
{
    for (int i = 0; i < SERVERS_MOST; i++)
        if (servers[i] && servers[i]->pid > 0)
            kill(servers[i]->pid, SIGKILL);
}

/* EVB_TEST_ACL: all that the default user may do; the harness is another user. */
static const char *rights(void)
{
    return getenv("EVB_TEST_ACL");
}

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void write_config(const struct server *server, const char *lines)
{
    FILE *file = fopen(server->config, "we");
    ck_assert_ptr_nonnull(file);
    fprintf(file,
            "bind 127.0.0.1\nport %d\nunixsocket %s\ndir %s\nlogfile %s/log\nsave \"\"\n"
            "appendonly no\ndaemonize no\nenable-debug-command local\n%s\n",
            server->port, server->socket, server->folder, server->folder, lines ? lines : "");
    if (rights())
        fprintf(file, "user default on nopass %s\nuser harness on nopass ~* &* +@all\n", rights());
    ck_assert_int_eq(fclose(file), 0);
}

struct server *server_plan(bool tcp, const char *lines)
{
    static int made;
    int slot = 0;
    while (slot < SERVERS_MOST && servers[slot])
        slot++;
    ck_assert_int_lt(slot, SERVERS_MOST);
    if (made++ == 0)
        atexit(kill_all);
    struct server *server = calloc(1, sizeof *server);
    ck_assert_ptr_nonnull(server);
    snprintf(server->folder, sizeof server->folder, "%s/%d.%d", suite_folder(), (int)getpid(),
             made);
    ck_assert_int_eq(mkdir(server->folder, 0700), 0);
    snprintf(server->socket, sizeof server->socket, "%s/s", server->folder);
    snprintf(server->config, sizeof server->config, "%s/conf", server->folder);
    server->port = tcp ? free_port() : 0;
    write_config(server, lines);
    return servers[slot] = server;
}

struct server *server_plan_tls(const struct cert *cert, const char *ca_file, const char *lines)
{
    struct server *server = server_plan(false, NULL);
    char *all = NULL;
    server->tls_port = free_port();
    ck_assert_int_gt(asprintf(&all,
                              "tls-port %d\ntls-cert-file %s\ntls-key-file %s\n"
                              "tls-ca-cert-file %s\ntls-auth-clients no\n%s",
                              server->tls_port, cert->cert, cert->key, ca_file, lines ? lines : ""),
                     0);
    write_config(server, all);
    free(all);
    return server;
}

void server_launch(struct server *server)
{
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) { /* no assertion here: another thread may hold Check's lock */
        int null = open("/dev/null", O_RDWR);
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
        if (getppid() == parent)
            execlp("redis-server", "redis-server", server->config, (char *)NULL);
        _exit(127);
    }
    ck_assert_int_gt(pid, 0);
    server->pid = pid;
}

static redisContext *dial(struct server *server)
{
    struct timeval limit = {.tv_sec = 5};
    redisContext *context = redisConnectUnixWithTimeout(server->socket, limit);
    snprintf(last_error, sizeof last_error, "%s", context ? context->errstr : "no memory");
    if (context && context->err) {
        redisFree(context);
        return NULL;
    }
    if (context)
        redisSetTimeout(context, limit);
    if (context && rights())
        freeReplyObject(redisCommand(context, "AUTH harness -"));
    return context;
}

bool server_answers(struct server *server)
{
    redisContext *context = dial(server);
    redisReply *reply = context ? redisCommand(context, "PING") : NULL;
    bool answers =
        reply && (reply->type == REDIS_REPLY_STATUS || !strncmp(reply->str, "NOAUTH", 6) ||
                  !strncmp(reply->str, "NOPERM", 6));
    freeReplyObject(reply);
    if (context)
        redisFree(context);
    return answers;
}

/* Why it does not answer: its process's state and the end of its log. */
static void give_up(struct server *server)
{
    char path[128], name[64] = "gone", log[800] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)server->pid);
    FILE *file = fopen(path, "re");
    if (file && !fgets(name, sizeof name, file))
        name[0] = '\0';
    if (file)
        fclose(file);
    snprintf(path, sizeof path, "%s/log", server->folder);
    if ((file = fopen(path, "re"))) {
        fseek(file, -(long)sizeof log + 1, SEEK_END);
        log[fread(log, 1, sizeof log - 1, file)] = '\0';
        fclose(file);
    }
    ck_abort_msg("redis-server does not answer on %s: %s; process: %s; log: %s", server->socket,
                 last_error, name, log);
}

void server_run(struct server *server)
{
    struct wait wait = wait_for(ANSWER_MS);
    server_launch(server);
    while (!server_answers(server)) {
        if (waitpid(server->pid, NULL, WNOHANG) == server->pid) {
            server->pid = 0;
            ck_abort_msg("redis-server ended at once: is it installed? See %s/log", server->folder);
        }
        if (!wait_more(&wait))
            give_up(server);
    }
}

struct server *server_start(const char *lines)
{
    struct server *server = server_plan(false, lines);
    server_run(server);
    return server;
}

void server_kill(struct server *server)
{
    if (server->pid == 0)
        return;
    kill(server->pid, SIGKILL);
    while (waitpid(server->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    server->pid = 0;
}

void server_stop(struct server *server)
{
    ck_assert_int_eq(kill(server->pid, SIGSTOP), 0);
}

void server_continue(struct server *server)
{
    ck_assert_int_eq(kill(server->pid, SIGCONT), 0);
}

/* With EVB_TEST_ACL no command may have been denied. */
static void expect_no_denial(struct server *server)
{
    char *denials = server_text(server, "ACL LOG");
    if (denials[0])
        ck_abort_msg("the access list denied: %s", denials);
    free(denials);
}

void server_free(struct server *server)
{
    if (rights() && server->pid)
        expect_no_denial(server);
    server_kill(server);
    for (int i = 0; i < SERVERS_MOST; i++)
        if (servers[i] == server)
            servers[i] = NULL;
    free(server);
}

/* ---- commands ---- */

const char *server_error(void)
{
    return last_error;
}

static long long take_number(redisReply *reply)
{
    long long number = -1;
    if (reply && reply->type == REDIS_REPLY_ERROR)
        snprintf(last_error, sizeof last_error, "%s", reply->str);
    else if (reply)
        number = reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0;
    freeReplyObject(reply);
    return number;
}

static redisReply *command(struct server *server, const char *format, va_list args)
{
    redisContext *context = dial(server);
    redisReply *reply = context ? redisvCommand(context, format, args) : NULL;
    if (context)
        redisFree(context);
    return reply;
}

long long server_command(struct server *server, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = command(server, format, args);
    va_end(args);
    return take_number(reply);
}

long long server_publish(struct server *server, const char *channel, const void *bytes,
                         size_t length)
{
    return server_command(server, "PUBLISH %s %b", channel, bytes, length);
}

static void print_reply(FILE *out, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_INTEGER)
        fprintf(out, "%lld", reply->integer);
    else if (reply->str)
        fwrite(reply->str, 1, reply->len, out);
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
        print_reply(out, reply->element[i]);
        fputc('\n', out);
    }
}

char *server_text(struct server *server, const char *format, ...)
{
    char *text = NULL;
    size_t length;
    va_list args;
    va_start(args, format);
    redisReply *reply = command(server, format, args);
    va_end(args);
    FILE *out = open_memstream(&text, &length);
    ck_assert_ptr_nonnull(out);
    if (reply)
        print_reply(out, reply);
    fclose(out);
    freeReplyObject(reply);
    return text;
}

void server_be_busy(struct server *server)
{
    redisContext *busy = redisConnectUnix(server->socket);
    int done = 0;
    ck_assert(busy && !busy->err);
    ck_assert_int_eq(server_command(server, "CONFIG SET lua-time-limit 20"), 0);
    redisAppendCommand(busy, "EVAL %s 0", "while true do end");
    while (!done)
        ck_assert_int_eq(redisBufferWrite(busy, &done), REDIS_OK);
    server->busy = busy;
    struct wait wait = wait_for(10000);
    while (server_command(server, "PING") >= 0 || strncmp(server_error(), "BUSY", 4) != 0)
        ck_assert(wait_more(&wait));
}

void server_be_calm(struct server *server)
{
    redisReply *reply = NULL;
    ck_assert_int_eq(server_command(server, "SCRIPT KILL"), 0);
    redisGetReply(server->busy, (void **)&reply);
    freeReplyObject(reply);
    redisFree(server->busy);
    server->busy = NULL;
}
