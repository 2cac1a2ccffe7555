/* fork.h - tells a forked child from its parent without a system call. Any thread. */
#ifndef EVB_FORK_H
#define EVB_FORK_H

extern unsigned evb_fork_count __attribute__((visibility("hidden"))); /* fork.c alone writes it */

/* Counts forks on the way from the first process to this one. Each call of the library asks. */
static inline unsigned evb_fork_generation(void)
{
    return evb_fork_count;
}

#endif
