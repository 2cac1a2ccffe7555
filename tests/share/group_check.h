/*
 * group_check.h - judges the books of a run with a group (group_book.h): each acknowledged event
 * was handled to success at least once; more than once only where a member was killed between its
 * effect and its acknowledgement; never by two at a time; what always fails is a dead letter once,
 * and nothing else is. It knows the promises and the books, not the library. One thread.
 */
#ifndef SHARE_GROUP_CHECK_H
#define SHARE_GROUP_CHECK_H
#include "share/group_book.h"
#include <stdio.h>

#define GROUP_RULES(X)                                                                             \
    X(LOST, "acknowledged, and never handled to success")                                          \
    X(DOUBLED, "handled to success again, though its member lived")                                \
    X(BESIDE, "handled by two at a time")                                                          \
    X(UNDEAD, "failed for good, and no dead letter came")                                          \
    X(DEAD_TWICE, "a dead letter came twice")                                                      \
    X(BURIED, "a dead letter of what can be handled")                                              \
    X(STRANGE, "handled, but never published")                                                     \
    X(REPORTS, "not reported exactly once")                                                        \
    X(STUCK, "not done in time")                                                                   \
    X(BOOKS, "the books are not whole")

#define GROUP_ENUM(name, says) GROUP_RULE_##name,
enum group_rule { GROUP_RULES(GROUP_ENUM) GROUP_RULE_COUNT };
#undef GROUP_ENUM

struct group_sums {
    long long published, acked, calls, handled, failed, cut_off, again, doubles, dead, killed;
};

struct group_check;

struct group_check *group_check_new(void);
void group_check_free(struct group_check *check);
/* The book at `path`; `number` is what KILLED lines call it. */
void group_check_read(struct group_check *check, const char *path, int number);
void group_check_line(struct group_check *check, const char *line, int book);
bool group_check_judge(struct group_check *check); /* true: every promise was kept */
void group_check_print(const struct group_check *check, FILE *out);
long long group_check_broken(const struct group_check *check, enum group_rule rule);
struct group_sums group_check_sums(const struct group_check *check);

#endif
