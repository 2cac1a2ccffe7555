/*
 * group_member.h - a process of a run with a group: this program once more, as
 * "<program> publisher|member|collector BOOK EVENTS RATE KEY=VALUE...", with a bus of its own that
 * takes these settings. It says "live", and then answers a line for each it reads:
 *
 *   count         how much it published, handled or collected
 *   end           gives all back and ends
 *   go | done     a publisher: starts; 1 when all is published and reported, else 0
 */
#ifndef SHARE_GROUP_MEMBER_H
#define SHARE_GROUP_MEMBER_H

#define GROUP_TYPE "share.job"

/* The main() of such a process if argv asks for one: its exit status, else -1. */
int group_member_main(int argc, char **argv);

#endif
