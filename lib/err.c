/* err.c - the thread's last error and the table of codes. Any thread. */
#include "err.h"
#include <errno.h>
#include <evbus.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local struct {
    int code;
    char text[512];
} last;

static const struct {
    int code;
    const char *text;
} names[] = {
    {EVBUS_OK, "no error"},
    {EVBUS_ENOMEM, "out of memory"},
    {EVBUS_EINVAL, "invalid argument"},
    {EVBUS_ETIMEDOUT, "timed out"},
    {EVBUS_EAWAY, "Redis is away"},
    {EVBUS_EFULL, "full"},
    {EVBUS_ETOOBIG, "too big"},
    {EVBUS_ECLOSED, "closed"},
    {EVBUS_ENOENT, "not found"},
    {EVBUS_EPARSE, "not understood"},
    {EVBUS_ETLS, "TLS failed"},
    {EVBUS_EAUTH, "authentication refused"},
    {EVBUS_EDENIED, "permission denied by Redis"},
    {EVBUS_ENOTSUP, "not supported"},
    {EVBUS_EDEADLK, "would wait for itself"},
    {EVBUS_EFORK, "belongs to the parent process"},
    {EVBUS_ENORESPONDER, "no responder"},
    {EVBUS_EREMOTE, "refused by the responder"},
    {EVBUS_ESYS, "system call failed"},
};

int evb_fail(int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(last.text, sizeof last.text, format, args);
    va_end(args);
    last.code = code;
    return code;
}

int evb_fail_memory(void)
{
    return evb_fail(EVBUS_ENOMEM, "out of memory");
}

int evb_fail_errno(const char *what)
{
    int number = errno;
    char text[128];
    return evb_fail(EVBUS_ESYS, "%s: %s", what, strerror_r(number, text, sizeof text));
}

const char *evbus_strerror(int error)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].code == error)
            return names[i].text;
    return "unknown error";
}

const char *evbus_last_error(void)
{
    return last.text;
}

int evbus_last_code(void)
{
    return last.code;
}
