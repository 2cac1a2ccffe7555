/* redis_login.c - a password and its way. Loop only. */
#include "redis_login.h"
#include "alloc.h"
#include "err.h"
#include <errno.h>
#include <evbus.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { PASSWORD_MOST = 65536 }; /* bytes of the file */

static ssize_t read_all(int fd, char *out, size_t room)
{
    size_t length = 0;
    while (length < room) {
        ssize_t n = read(fd, out + length, room - length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        length += (size_t)n;
    }
    return (ssize_t)length;
}

/* As echo and editors write it: the line's end is not part of it. */
static size_t trimmed(const char *text, size_t length)
{
    if (length && text[length - 1] == '\n')
        length--;
    if (length && text[length - 1] == '\r')
        length--;
    return length;
}

static int file_fail(const struct evb_login *login, const char *why)
{
    return evb_fail(EVBUS_ESYS, "redis.password.file: %s: %s", login->password_file, why);
}

static int take(struct evb_login *login, char *text, ssize_t length, int error)
{
    if (length < 0)
        return file_fail(login, strerrordesc_np(error));
    if (length > PASSWORD_MOST)
        return file_fail(login, "larger than 64 KiB, that is no password");
    length = (ssize_t)trimmed(text, (size_t)length);
    text[length] = '\0';
    if (length == 0)
        return file_fail(login, "empty");
    if (strlen(text) != (size_t)length)
        return file_fail(login, "holds a NUL byte, that is no password");
    evb_wipe_free(login->from_file);
    login->from_file = evb_strdup(text);
    return login->from_file ? 0 : evb_fail_memory();
}

int evb_login_load(struct evb_login *login)
{
    if (!login->password_file[0])
        return 0;
    int fd = open(login->password_file, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* no FIFO holds it */
    if (fd < 0)
        return file_fail(login, strerrordesc_np(errno));
    char *text = evb_alloc(PASSWORD_MOST + 2);
    if (!text) {
        close(fd);
        return evb_fail_memory();
    }
    ssize_t length = read_all(fd, text, PASSWORD_MOST + 1);
    int error = errno;
    close(fd);
    int rc = take(login, text, length, error);
    explicit_bzero(text, PASSWORD_MOST + 2);
    evb_free(text);
    return rc;
}

void evb_login_fini(struct evb_login *login)
{
    evb_wipe_free(login->from_file);
    login->from_file = NULL;
}

const char *evb_login_password(const struct evb_login *login)
{
    return login->password_file[0] ? (login->from_file ? login->from_file : "") : login->password;
}

/* Nobody else's wire lies between. */
static bool is_here(const struct evb_address *address)
{
    return address->path || !strncmp(address->host, "127.", 4) || !strcmp(address->host, "::1") ||
           !strncmp(address->host, "::ffff:127.", 11);
}

int evb_login_check(struct evb_login *login, const struct evb_address *address, bool tls,
                    struct evb_log *log)
{
    if (tls || is_here(address) || !evb_login_password(login)[0])
        return 0;
    if (!login->plaintext)
        return evb_fail(EVBUS_EAUTH,
                        "auth.plaintext=no: the password is not sent to %s without TLS (rediss://)",
                        address->host);
    if (!login->warned)
        evb_log(log, EVBUS_LOG_WARNING,
                "redis: the password goes to %s unencrypted: use rediss://, or forbid it by "
                "auth.plaintext=no",
                address->host);
    login->warned = true;
    return 0;
}
