/* ledger.c - two files a process; stdio's own lock keeps records whole. */
#include "soak/ledger.h"
#include "harness/until.h"
#include <stdarg.h>

enum { BUFFER = 256 * 1024 };

static FILE *open_file(const char *base, const char *kind, const char *how)
{
    char path[256];
    snprintf(path, sizeof path, "%s.%s", base, kind);
    return fopen(path, how);
}

bool ledger_open(struct ledger *ledger, const char *base)
{
    ledger->records = open_file(base, "records", "we");
    ledger->notes = open_file(base, "notes", "we");
    if (!ledger->records || !ledger->notes)
        return false;
    setvbuf(ledger->records, NULL, _IOFBF, BUFFER);
    return true;
}

static bool close_file(FILE *file)
{
    bool fine = file && !ferror(file);
    return (!file || fclose(file) == 0) && fine;
}

bool ledger_close(struct ledger *ledger)
{
    bool records = close_file(ledger->records), notes = close_file(ledger->notes);
    return records && notes;
}

void ledger_put(struct ledger *ledger, const struct ledger_record *record)
{
    struct ledger_record stamped = *record;
    if (!stamped.at_us)
        stamped.at_us = now_wall_us();
    fwrite(&stamped, sizeof stamped, 1, ledger->records);
}

void ledger_note(struct ledger *ledger, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    flockfile(ledger->notes);
    vfprintf(ledger->notes, format, args);
    fputc('\n', ledger->notes);
    funlockfile(ledger->notes);
    va_end(args);
}

FILE *ledger_read(const char *base, const char *kind)
{
    return open_file(base, kind, "re");
}
