/* rand.h - pooled randomness of the kernel, a pool a thread, thrown away after fork. Any thread. */
#ifndef EVB_RAND_H
#define EVB_RAND_H
#include <stddef.h>
#include <stdint.h>

void evb_rand_bytes(void *out, size_t length);
uint64_t evb_rand_below(uint64_t bound);         /* 0 .. bound - 1; 0 for bound 0 */
void evb_rand_set(void (*fill)(void *, size_t)); /* tests only; NULL: the kernel's */

#endif
