/* redis_fault.c - why a shard is away. Any thread. */
#include "redis_fault.h"
#include <stdio.h>

void evb_fault_init(struct evb_fault *fault)
{
    pthread_mutex_init(&fault->lock, NULL);
    fault->code = 0;
    fault->text[0] = '\0';
}

void evb_fault_fini(struct evb_fault *fault)
{
    pthread_mutex_destroy(&fault->lock);
}

void evb_fault_set(struct evb_fault *fault, int code, const char *text)
{
    pthread_mutex_lock(&fault->lock);
    fault->code = code;
    snprintf(fault->text, sizeof fault->text, "%s", text);
    pthread_mutex_unlock(&fault->lock);
}

int evb_fault_read(struct evb_fault *fault, char *out, size_t room)
{
    pthread_mutex_lock(&fault->lock);
    int code = fault->code;
    snprintf(out, room, "%s", fault->text);
    pthread_mutex_unlock(&fault->lock);
    return code;
}
