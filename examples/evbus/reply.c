/* reply.c - from a request to a command, and from what it writes to the answer. Main thread. */
#include "reply.h"
#include "exec.h"
#include "signals.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What the command said first, behind its exit code: "3: no such user". */
static void refusal_of(const struct exec_answer *answer, char *out, size_t room)
{
    const char *line = answer->err + strspn(answer->err, " \t\r\n");
    int length = (int)strcspn(line, "\r\n");
    snprintf(out, room, length ? "%d: %.*s" : "%d", answer->status, length, line);
}

/* JSON, unless it is none: then bytes. An event that was refused can be changed and given again. */
static int give(evbus *bus, const struct reply *reply, evbus_event *request, evbus_event *event,
                const struct exec_answer *answer)
{
    size_t length = answer->length;
    while (length && !reply->bytes &&
           (answer->out[length - 1] == '\n' || answer->out[length - 1] == '\r'))
        length--;
    int rc = 0;
    if (length && !reply->bytes) {
        rc = evbus_event_set_json(event, answer->out, length);
        rc = rc == 0 ? evbus_reply(bus, request, event) : rc;
        if (rc != EVBUS_EINVAL)
            return rc;
    }
    if (length)
        rc = evbus_event_set_bytes(event, answer->out, length);
    return rc == 0 || rc == EVBUS_EINVAL ? evbus_reply(bus, request, event) : rc;
}

static int answer_with(evbus *bus, const struct reply *reply, evbus_event *request,
                       const struct exec_answer *answer)
{
    char refusal[512];
    if (answer->status != 0) {
        refusal_of(answer, refusal, sizeof refusal);
        cli_error("the command answered %s (%s)", refusal, evbus_event_id(request));
        if (evbus_reply_error(bus, request, refusal) != 0)
            cli_error("%s", evbus_last_error());
        return -1;
    }
    evbus_event *event = evbus_event_new(reply->type);
    int rc = event ? give(bus, reply, request, event, answer) : evbus_last_code();
    evbus_event_unref(event);
    if (rc == 0)
        return 0;
    cli_error("%s (%s)", evbus_last_error(), evbus_event_id(request));
    if (rc != EVBUS_ETIMEDOUT)
        evbus_reply_error(bus, request, evbus_strerror(rc)); /* better than silence */
    return -1;
}

/* cli_now_ms() at which nobody waits any more, -1: never. */
static int64_t end_of(const evbus_event *request)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t deadline_ms = evbus_event_deadline_ms(request);
    if (deadline_ms == INT64_MAX)
        return -1;
    return cli_now_ms() + deadline_ms - ((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

int reply_event(const struct cli *cli, evbus *bus, const struct reply *reply, evbus_event *event)
{
    struct exec_answer answer;
    const char *id = evbus_event_id(event);
    int64_t end_ms = end_of(event);
    if (end_ms >= 0 && end_ms <= cli_now_ms()) {
        cli_note(cli, "too late for %s (%s)", evbus_event_type(event), id);
        return 0;
    }
    if (exec_answer(reply->command, event, end_ms, &answer) != 0) {
        evbus_reply_error(bus, event, "the command cannot be run");
        return -1;
    }
    if (!cli->quiet || answer.status != 0)
        fputs(answer.err, stderr);
    int rc = -1;
    if (answer.late)
        cli_error("the command took longer than its asker waits, and was killed (%s)", id);
    else if (signals_end() && answer.status != 0)
        rc = evbus_reply_error(bus, event, "the responder has ended") == 0 ? 0 : -1;
    else
        rc = answer_with(bus, reply, event, &answer);
    exec_answer_free(&answer);
    return rc;
}
