/* reply.h - answering one request by a command. Main thread; needs signals_init(). */
#ifndef REPLY_H
#define REPLY_H
#include "cli.h"

struct reply {
    const char *command;
    const char *type; /* of the replies */
    bool bytes;       /* what the command writes is no JSON */
};

/* Runs the command for a request, and answers it. 0, or -1 after a sentence
 * on stderr: the command failed, or the answer was refused. */
int reply_event(const struct cli *cli, evbus *bus, const struct reply *reply, evbus_event *event);

#endif
