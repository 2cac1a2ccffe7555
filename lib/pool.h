/*
 * pool.h - memory for what one thread makes and another gives back, event after event: malloc's
 * arenas would have both wait for each other. Each thread keeps a few free blocks of some sizes;
 * what another thread gives back returns to the one that made it. Any thread.
 */
#ifndef EVB_POOL_H
#define EVB_POOL_H
#include <stddef.h>

/* NULL: no memory. *room (unless NULL): bytes that the block takes, what a bound has to count. */
void *evb_pool_take(size_t size, size_t *room);
void evb_pool_give(void *memory);  /* what evb_pool_take() answered; NULL is fine */
size_t evb_pool_room(size_t size); /* the same before it is taken */

#endif
