/*
 * peer.h - the other process: this program once more, as "<program> peer", with a bus of its own.
 * It takes a line of words and answers a line:
 *   open KEY=VALUE...         its bus
 *   connected MS              evbus_wait_connected()
 *   reconnect now             evbus_reconnect()
 *   record PATTERN OPTIONS    hands what comes to its recorder
 *   echo TYPE TO              publishes the data of each TYPE as TO
 *   answer TYPE OPTIONS       replies to each request of TYPE by its own data
 *   work TYPE TO OPTIONS      the same as a member of a group, say
 *   hang TYPE OPTIONS         a handler that never returns
 *   waited MS                 evbus_sub_wait() for the last one
 *   gaps                      keeps the data of each evbus.gap from now on
 *   publish TYPE JSON         evbus_publish()'s answer
 *   stat NAME                 evbus_stat()
 *   totals                    received doubled reordered foreign
 *   lost PUBLISHER COUNT      ranges "a-b" of 1..COUNT that it never got
 *   windows                   the kept gaps as a JSON array
 *   peak reset|read           KiB of memory, at most since the last reset
 *   close
 */
#ifndef HARNESS_PEER_H
#define HARNESS_PEER_H
#include "harness/server.h"

struct peer;

/* Opens its bus at the server's socket (NULL: where the settings say); settings "" for none. */
struct peer *peer_start(struct server *server, const char *settings);
/* The answer; the test ends when there is none or it begins with "error". Valid until the next. */
const char *peer_ask(struct peer *peer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void peer_stop(
    struct peer *peer); /* closes its bus, ends it, fails the test if it did not end well */

void peer_kill(struct peer *peer); /* -9, whatever it does */

int peer_main(void); /* in the other process */

#endif
