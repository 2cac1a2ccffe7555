/*
 * leader_book.h - what members that may lead wrote down (leader_member.h), read together, and what
 * that proves. Knows nothing of the library.
 */
#ifndef LEADER_BOOK_H
#define LEADER_BOOK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum leader_kind {
    LEADER_EVENT,
    LEADER_POLL,
    LEADER_GAINED,
    LEADER_LOST,
    LEADER_CHANGED,
    LEADER_STRANGE /* a line that is none */
};

struct leader_line {
    int64_t at_us, fence;
    enum leader_kind kind;
    int number;    /* EVENT */
    char word[20]; /* POLL: its reason */
    int member;
};

struct leader_book {
    struct leader_line *lines; /* owned; by time */
    size_t count;
};

/* All books there are, in one; a file that is not there is an empty one. */
void leader_book_read(struct leader_book *book, const char *const *paths, int count);
void leader_book_free(struct leader_book *book);

size_t leader_book_count(const struct leader_book *book, enum leader_kind kind, int member);
/* Handler calls (events and polls) with a lower number that began after one with a higher number
 * had begun. Unless NULL, the first of them is told in `first`. */
size_t leader_book_overlaps(const struct leader_book *book, const struct leader_line **first);
/* Handler calls without a number, or by two members with the same. */
size_t leader_book_unnumbered(const struct leader_book *book);
/* Of 1..count, those that no handler was called with; `times` (NULL or room for count + 1) gets how
 * often each was. */
int leader_book_lost(const struct leader_book *book, int count, int *times);
/* Pairs of neighbours among the first calls with each number that are not in order. */
int leader_book_reordered(const struct leader_book *book);
/* The first handler call with an event that began at or after `at_us` by another member with a
 * higher number than `fence`; -1: none. */
int64_t leader_book_next_us(const struct leader_book *book, int64_t at_us, int64_t fence);

#endif
