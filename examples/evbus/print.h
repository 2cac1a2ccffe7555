/* print.h - one event as one line, whatever its publisher put into it. Main thread. */
#ifndef PRINT_H
#define PRINT_H
#include <evbus.h>
#include <stdbool.h>
#include <stdio.h>

/* The first bad conversion of a --format, "" for a % at its end, NULL: it is good. */
const char *print_format_check(const char *format);
void print_format(FILE *out, const char *format, evbus_event *event);
void print_line(FILE *out, evbus_event *event, bool colour); /* time, type, data */
void print_json(FILE *out, evbus_event *event);              /* its envelope */
const char *print_origin(const evbus_event *event);          /* "local", "redis" */

#endif
