/*
 * ending.h - the end of the process. exit(3) runs the handlers of other libraries while our threads
 * live on: OpenSSL's takes away what a connection is just using. So its calls go through a gate
 * that is shut before. Any thread.
 */
#ifndef EVB_ENDING_H
#define EVB_ENDING_H
#include <stdbool.h>

/* At exit() first() is called (NULL: nothing), then the gate is shut; before the handlers of those
 * who registered before this call. False: no memory. */
bool evb_ending_register(void (*first)(void));
/* False: the process ends. True: it waits for evb_ending_leave(), which must follow soon, on this
 * thread, and with no function of the user's in between. */
bool evb_ending_enter(void);
void evb_ending_leave(void);

#endif
