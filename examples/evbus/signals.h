/*
 * signals.h - signals as bytes in a pipe, so that poll(2) sees them beside everything else. The
 * program's business: the library has no handlers and blocks all signals on its own thread. Main
 * thread.
 */
#ifndef SIGNALS_H
#define SIGNALS_H
#include <stdbool.h>

int signals_init(void);   /* SIGINT, SIGTERM, SIGHUP and SIGCHLD; 0 or -1 with errno */
int signals_fd(void);     /* readable when one came */
bool signals_drain(void); /* makes it unreadable; was one that asks to end among them? */
int signals_end(void);    /* the last one that asked to end, 0: none yet */

#endif
