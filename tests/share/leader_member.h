/*
 * leader_member.h - a process with a bus of its own and one subscription with leader=: this program
 * once more, as "<program> leader-member BOOK PATTERN OPTIONS KEY=VALUE...". It writes each begun
 * handler call into its book, a line each, before anything else happens in the handler:
 *   AT_US FENCE event NUMBER      AT_US: CLOCK_BOOTTIME; FENCE 0: none
 *   AT_US FENCE poll REASON
 *   AT_US FENCE gained -          when evbus.leader told so; and lost, changed
 * It takes a line of words and answers a line:
 *   wait MS              evbus_sub_wait()
 *   connected MS         evbus_wait_connected()
 *   stat NAME            evbus_stat()
 *   sub NAME             evbus_sub_stat()
 *   hold MS              from now on a handler call lasts so long
 *   publish FIRST LAST   numbered events of "t.own", and waits for no answer; how many were accepted
 *   cpu                  microseconds of processor time that it took so far
 *   unsubscribe, subscribe
 *   close MS             evbus_close(), and it ends
 */
#ifndef LEADER_MEMBER_H
#define LEADER_MEMBER_H
#include "harness/child.h"
#include "harness/server.h"
#include <stdbool.h>
#include <stdint.h>

struct leader_member {
    struct child child; /* pid 0: not running */
    char book[120];
    char pattern[40], options[160], settings[400];
};

/* Starts it with an empty book, or (again) with the one that it has. Failures end the test. */
void leader_member_start(struct leader_member *member, struct server *server);
long long leader_member_ask(struct leader_member *member, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void leader_member_kill(struct leader_member *member); /* -9, reaped */
void leader_member_end(struct leader_member *member);  /* closes, and expects that all was well */

int64_t leader_boot_us(void);

/* main()'s result if this program is called as a member, else -1. */
int leader_member_main(int argc, char **argv);

#endif
