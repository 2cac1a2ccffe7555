/* close.h - the end of a bus, where opening needs it. */
#ifndef EVB_CLOSE_H
#define EVB_CLOSE_H
#include "bus.h"

/* Frees what the loop's thread used, and the loop; nobody else is there any more. */
void evb_bus_teardown(struct evbus *bus);
/* evbus_free(), but for the process's bus being forgotten. */
void evb_bus_free(struct evbus *bus);

#endif
