/* group_book.c - lines, whole in the file at once. */
#include "share/group_book.h"
#include "harness/until.h"
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { POISON_EVERY = 1000, FAIL_EVERY = 50 };

int group_book_open(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void put(int book, const char *line, int length)
{
    if (write(book, line, (size_t)length) != length)
        abort(); /* a book that is not whole proves nothing */
}

void group_book_put(int book, enum group_line kind, long long number, long long detail)
{
    static const char *const words[] = {
#define X(name, word) word,
        GROUP_BOOK_LINES(X)
#undef X
    };
    char line[96];
    long long now = (long long)now_wall_us();
    int length =
        kind == GROUP_PUBLISH || kind == GROUP_DEAD || kind == GROUP_KILLED
            ? snprintf(line, sizeof line, "%s %lld %lld\n", words[kind], number, now)
            : snprintf(line, sizeof line, "%s %lld %lld %lld\n", words[kind], number, detail, now);
    put(book, line, length);
}

void group_book_note(int book, const char *format, ...)
{
    char line[200];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    length = length < (int)sizeof line - 1 ? length : (int)sizeof line - 2;
    line[length++] = '\n';
    put(book, line, length);
}

bool group_is_poison(long long number)
{
    return number % POISON_EVERY == 7;
}

bool group_fails_at_first(long long number)
{
    return number % FAIL_EVERY == 13;
}
