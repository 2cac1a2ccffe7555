/*
 * redis_fault.h - why a shard is away, in words and by code. Told on the loop, read on any thread.
 * Lock: a leaf.
 */
#ifndef EVB_REDIS_FAULT_H
#define EVB_REDIS_FAULT_H
#include <pthread.h>
#include <stddef.h>

#define EVB_FAULT_TEXT 320

struct evb_fault {
    pthread_mutex_t lock;
    int code;                  /* under lock; EVBUS_E*, 0: none */
    char text[EVB_FAULT_TEXT]; /* under lock; "": none */
};

void evb_fault_init(struct evb_fault *fault);
void evb_fault_fini(struct evb_fault *fault);
void evb_fault_set(struct evb_fault *fault, int code, const char *text); /* text is cut to fit */
/* The code; `out` gets the words. */
int evb_fault_read(struct evb_fault *fault, char *out, size_t room);

#endif
