/*
 * batch.h - what becomes of batches: closed by number, bytes, interval or a flush, a batch is
 * published as one event <type>.batch, always by the loop and in the order of closing. All on the
 * loop, but for init and fini.
 */
#ifndef EVB_BATCH_H
#define EVB_BATCH_H
#include "bus.h"

int evb_batch_init(struct evbus *bus);  /* when the loop is there. 0 or EVBUS_ENOMEM */
void evb_batch_fini(struct evbus *bus); /* before the loop goes; the batches are the bus's memory */
/* Publishes what waits. True: there were batches, now or before, and what they posted may still be
 * in the loop's inbox. */
bool evb_batch_flush(struct evbus *bus);
void evb_batch_end(struct evbus *bus); /* publishes it, and nothing joins a batch any more */

#endif
