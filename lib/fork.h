/* fork.h - tells a forked child from its parent without a system call. Any thread. */
#ifndef EVB_FORK_H
#define EVB_FORK_H

unsigned evb_fork_generation(void); /* counts forks on the way from the first process to this one */

#endif
