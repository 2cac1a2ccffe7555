/*
 * group_run.h - a run with a group: a server of its own, a publisher, members that are killed and
 * started again, a collector of dead letters, and the judgement at the end. Inside a test of Check,
 * on its main thread; whoever calls suite_run() asks group_member_main() first.
 */
#ifndef SHARE_GROUP_RUN_H
#define SHARE_GROUP_RUN_H

struct group_plan {
    int events, rate;             /* a second, at most */
    int members, kills, restarts; /* of members; of the server */
    unsigned seed;
    const char *command; /* repeats it */
};

/* Ends the test if a promise is broken, the table printed before. */
void group_run(const struct group_plan *plan);

#endif
