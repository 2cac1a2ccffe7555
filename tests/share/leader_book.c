/* leader_book.c - books read and judged. */
#include "share/leader_book.h"
#include "harness/check.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kinds[] = {"event", "poll", "gained", "lost", "changed"};

static struct leader_line parse(const char *text, int member)
{
    struct leader_line line = {.kind = LEADER_STRANGE, .member = member};
    long long at_us = 0, fence = 0;
    char kind[20] = "";
    int got = sscanf(text, "%lld %lld %19s %19s", &at_us, &fence, kind, line.word);
    line.at_us = at_us;
    line.fence = fence;
    for (int i = 0; got == 4 && i < LEADER_STRANGE; i++)
        if (!strcmp(kind, kinds[i]))
            line.kind = (enum leader_kind)i;
    line.number = atoi(line.word);
    return line;
}

static int by_time(const void *a, const void *b)
{
    const struct leader_line *left = a, *right = b;
    return (left->at_us > right->at_us) - (left->at_us < right->at_us);
}

static void add(struct leader_book *book, struct leader_line line)
{
    if ((book->count & (book->count - 1)) == 0) {
        size_t room = book->count ? book->count * 2 : 1;
        book->lines = realloc(book->lines, room * sizeof line);
        ck_assert_ptr_nonnull(book->lines);
    }
    book->lines[book->count++] = line;
}

void leader_book_read(struct leader_book *book, const char *const *paths, int count)
{
    char text[200];
    *book = (struct leader_book){NULL, 0};
    for (int i = 0; i < count; i++) {
        FILE *file = fopen(paths[i], "re");
        while (file && fgets(text, sizeof text, file))
            add(book, parse(text, i));
        if (file)
            fclose(file);
    }
    if (book->count)
        qsort(book->lines, book->count, sizeof *book->lines, by_time);
}

void leader_book_free(struct leader_book *book)
{
    free(book->lines);
    *book = (struct leader_book){NULL, 0};
}

static bool is_call(const struct leader_line *line)
{
    return line->kind == LEADER_EVENT || line->kind == LEADER_POLL;
}

size_t leader_book_count(const struct leader_book *book, enum leader_kind kind, int member)
{
    size_t count = 0;
    for (size_t i = 0; i < book->count; i++)
        count += book->lines[i].kind == kind && (member < 0 || book->lines[i].member == member);
    return count;
}

size_t leader_book_overlaps(const struct leader_book *book, const struct leader_line **first)
{
    int64_t highest = 0;
    size_t count = 0;
    for (size_t i = 0; i < book->count; i++) {
        const struct leader_line *line = &book->lines[i];
        if (!is_call(line))
            continue;
        if (line->fence < highest && count++ == 0 && first)
            *first = line;
        highest = line->fence > highest ? line->fence : highest;
    }
    return count;
}

size_t leader_book_unnumbered(const struct leader_book *book)
{
    size_t count = 0;
    const struct leader_line *before = NULL;
    for (size_t i = 0; i < book->count; i++) {
        const struct leader_line *line = &book->lines[i];
        if (!is_call(line))
            continue;
        count += line->fence <= 0 ||
                 (before && before->fence == line->fence && before->member != line->member);
        before = line;
    }
    return count;
}

int leader_book_lost(const struct leader_book *book, int count, int *times)
{
    int *seen = times ? times : calloc((size_t)count + 1, sizeof *seen), lost = 0;
    ck_assert_ptr_nonnull(seen);
    memset(seen, 0, ((size_t)count + 1) * sizeof *seen);
    for (size_t i = 0; i < book->count; i++) {
        const struct leader_line *line = &book->lines[i];
        if (line->kind == LEADER_EVENT && line->number >= 1 && line->number <= count)
            seen[line->number]++;
    }
    for (int n = 1; n <= count; n++)
        lost += seen[n] == 0;
    if (!times)
        free(seen);
    return lost;
}

int leader_book_reordered(const struct leader_book *book)
{
    int highest = 0, reordered = 0;
    for (size_t i = 0; i < book->count; i++) {
        const struct leader_line *line = &book->lines[i];
        if (line->kind != LEADER_EVENT || line->number <= highest)
            continue;
        reordered += line->number != highest + 1;
        highest = line->number;
    }
    return reordered;
}

int64_t leader_book_next_us(const struct leader_book *book, int64_t at_us, int64_t fence)
{
    for (size_t i = 0; i < book->count; i++) {
        const struct leader_line *line = &book->lines[i];
        if (line->kind == LEADER_EVENT && line->at_us >= at_us && line->fence > fence)
            return line->at_us;
    }
    return -1;
}
