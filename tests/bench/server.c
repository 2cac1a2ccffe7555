/* server.c - the suite's own redis-server; see run.h. */
#include "run.h"
#include "probe.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_TRIES 100 /* of 50 ms */

static char folder[64], certificate[96];
static int server = -1;

static struct sockaddr_in local_address(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int free_port(void)
{
    struct sockaddr_in address = local_address(0);
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool bound = fd >= 0 && !bind(fd, (struct sockaddr *)&address, sizeof address) &&
                 !getsockname(fd, (struct sockaddr *)&address, &length);
    close(fd);
    return bound ? ntohs(address.sin_port) : -1;
}

static bool answers(int port)
{
    struct sockaddr_in address = local_address(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char reply[8] = "";
    bool good = fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof address) &&
                write(fd, "PING\r\n", 6) == 6 && read(fd, reply, sizeof reply - 1) > 0 &&
                !strncmp(reply, "+PONG", 5);
    close(fd);
    return good;
}

/* A certificate that signs itself: its own authority. */
static bool make_certificate(void)
{
    char command[512];
    snprintf(command, sizeof command,
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
             "-subj /CN=bench -addext subjectAltName=IP:127.0.0.1 -keyout %s/key -out %s/cert "
             "2>/dev/null",
             folder, folder);
    snprintf(certificate, sizeof certificate, "%s/cert", folder);
    setenv("BENCH_CERTIFICATE", certificate, 1);
    return system(command) == 0;
}

static _Noreturn void become_server(int port, int tls_port)
{
    char text[16], tls_text[16], key[96];
    snprintf(text, sizeof text, "%d", port);
    snprintf(tls_text, sizeof tls_text, "%d", tls_port);
    snprintf(key, sizeof key, "%s/key", folder);
    int quiet = open("/dev/null", O_WRONLY);
    dup2(quiet, STDOUT_FILENO);
    probe_pin(PROBE_SERVER_CORE);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execlp("redis-server", "redis-server", "--port", text, "--bind", "127.0.0.1", "--save", "",
           "--appendonly", "no", "--dir", folder, "--daemonize", "no", "--tls-port", tls_text,
           "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate,
           "--tls-auth-clients", "no", "--client-output-buffer-limit", "pubsub", "0", "0", "0",
           (char *)NULL);
    probe_fail("redis-server is not installed: install redis-server");
}

static bool capture_frames(void)
{
    char path[128], command[160];
    struct run_outcome none;
    snprintf(path, sizeof path, "%s/frames", folder);
    snprintf(command, sizeof command, "wire capture %s", path);
    setenv("BENCH_FRAMES", path, 1);
    return run_probe(command, &none);
}

bool server_start(void)
{
    int port = free_port(), tls_port = free_port();
    char text[16];
    snprintf(folder, sizeof folder, "%s/evbus-bench-XXXXXX", P_tmpdir);
    if (port < 0 || tls_port < 0 || port == tls_port || !mkdtemp(folder)) {
        fputs("bench: no free ports or no temporary folder\n", stderr);
        return false;
    }
    if (!make_certificate()) {
        fputs("bench: no certificate: is the openssl program installed?\n", stderr);
        return false;
    }
    snprintf(text, sizeof text, "%d", tls_port);
    setenv("BENCH_TLS_PORT", text, 1);
    snprintf(text, sizeof text, "%d", port);
    setenv("BENCH_PORT", text, 1);
    server = fork();
    if (server == 0)
        become_server(port, tls_port);
    for (int i = 0; i < START_TRIES && waitpid(server, NULL, WNOHANG) == 0; i++) {
        if (answers(port))
            return capture_frames();
        probe_sleep_ms(50);
    }
    fputs("bench: redis-server did not start\n", stderr);
    return false;
}

void server_stop(void)
{
    static const char *const files[] = {"frames", "cert", "key"};
    char path[128];
    if (server > 0) {
        kill(server, SIGTERM);
        waitpid(server, NULL, 0);
    }
    if (folder[0]) {
        for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
            snprintf(path, sizeof path, "%s/%s", folder, files[i]);
            unlink(path);
        }
        rmdir(folder);
    }
}
