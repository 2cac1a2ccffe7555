/* exec.h - a command for each event, one at a time and in order. Main thread; needs signals_init().
 */
#ifndef EXEC_H
#define EXEC_H
#include <evbus.h>

/*
 * Runs `command` by sh -c. The event comes as data only: its envelope on stdin, its fields in
 * EVBUS_TYPE, EVBUS_ID, EVBUS_SOURCE, EVBUS_CORRELATION, EVBUS_TIMESTAMP, EVBUS_NODE and
 * EVBUS_ORIGIN; nothing of it is pasted into the command. Waits for its end; a signal that ends
 * this program is passed on to it, the second one kills it. 0, or -1 after a sentence on stderr.
 */
int exec_event(const char *command, evbus_event *event);

#endif
