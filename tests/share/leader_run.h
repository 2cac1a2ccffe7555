/*
 * leader_run.h - a run of takeovers: members with leader=, a publisher, whoever leads is killed with
 * SIGKILL again and again, and the books are judged at the end. Inside a test of Check, on its main
 * thread; whoever calls suite_run() asks leader_member_main() and leader_publisher_main() first.
 */
#ifndef LEADER_RUN_H
#define LEADER_RUN_H

struct leader_plan {
    int takeovers, members, rate; /* events a second */
    unsigned seed;
    int p95_ms;          /* of takeovers, at most */
    const char *command; /* repeats it */
};

/* Ends the test if a promise is broken, the figures printed before. */
void leader_run(const struct leader_plan *plan);

/* main()'s result if this program is called as the publisher, else -1: "<program> leader-publisher
 * RATE KEY=VALUE..." publishes numbered events of "t.n", evenly, until a line comes; then it
 * flushes and answers how many were accepted. */
int leader_publisher_main(int argc, char **argv);

#endif
