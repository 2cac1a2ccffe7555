/*
 * group_book.h - what each process of a run with a group writes down, for a checker that knows
 * nothing else: a file of lines, each in the file before the program goes on, so that SIGKILL takes
 * none of them:
 *
 *   process KIND              publisher, member or collector
 *   publish NUMBER AT         about to be
 *   report NUMBER OUTCOME AT
 *   begin NUMBER ATTEMPT AT   a handler call
 *   end NUMBER RESULT AT      what it is about to answer: 0 is handled
 *   dead NUMBER AT            it came as a dead letter
 *   killed BOOK AT            the driver's: the process of that book
 *   stuck WHAT                the driver's: what was not done in time
 *
 * All times are Unix time in microseconds. Writing: any thread.
 */
#ifndef SHARE_GROUP_BOOK_H
#define SHARE_GROUP_BOOK_H
#include <stdbool.h>
#include <stdint.h>

#define GROUP_BOOK_LINES(X)                                                                        \
    X(PUBLISH, "publish")                                                                          \
    X(REPORT, "report")                                                                            \
    X(BEGIN, "begin")                                                                              \
    X(END, "end")                                                                                  \
    X(DEAD, "dead")                                                                                \
    X(KILLED, "killed")

#define GROUP_ENUM(name, word) GROUP_##name,
enum group_line { GROUP_BOOK_LINES(GROUP_ENUM) GROUP_LINE_COUNT };
#undef GROUP_ENUM

int group_book_open(const char *path); /* a descriptor to append to; -1 */
/* A line of that kind; `at` is the time now. PUBLISH and DEAD take no detail. */
void group_book_put(int book, enum group_line kind, long long number, long long detail);
void group_book_note(int book, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What the members make of an event, by its number alone. */
bool group_is_poison(long long number);      /* every attempt fails: it becomes a dead letter */
bool group_fails_at_first(long long number); /* the first attempt fails */

#endif
