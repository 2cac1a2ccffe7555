/* trace.h - the events of one correlation id as a story: oldest first, a column for each source.
 * Main thread. */
#ifndef TRACE_H
#define TRACE_H
#include <evbus.h>
#include <stdio.h>

/* They are given oldest first. `width`: columns that a line may have. */
void trace_print(FILE *out, evbus_event **events, int count, int width);
/* Those with this correlation id among the envelopes in a file, one a line ("-": standard input),
 * oldest first; the references and the array are the caller's. How many, or -1 after an error; *bad counts lines
 * that are no envelope, each told on stderr. */
int trace_read(const char *path, const char *correlation, evbus_event ***events, int *bad);

#endif
