/*
 * subscriber.c - a process that listens in every way there is: a handler for one type, one for a
 * pattern that covers it, one on workers, and a queue of the default size, which a thread pulls
 * that is fast enough for the rate but not for every burst.
 */
#include "harness/until.h"
#include "soak/member.h"
#include <pthread.h>

enum { PULL_MOST = 32 };

static void *pull(void *user)
{
    struct member_stream *stream = user;
    evbus_event *events[PULL_MOST];
    int count, rate = stream->member->rate * 5 / 4;
    while ((count = evbus_queue_next_many(stream->queue, 1000, events, NULL, PULL_MOST)) >= 0) {
        for (int i = 0; i < count; i++) {
            member_note(stream, events[i]);
            evbus_event_unref(events[i]);
        }
        if (count)
            nap_us(INT64_C(1000000) * count / rate);
    }
    return NULL;
}

int subscriber_main(struct member *member)
{
    evbus_queue *queue = evbus_queue_open(member->bus, NULL);
    pthread_t thread;
    if (!queue || !member_subscribe(member, "type", member_types[0], MEMBER_ROOMY, 1, NULL) ||
        !member_subscribe(member, "pattern", "soak.>", MEMBER_ROOMY, MEMBER_ALL, NULL) ||
        !member_subscribe(member, "workers", "glob:soak.*",
                          "deliver=workers key=type " MEMBER_ROOMY, MEMBER_ALL, NULL) ||
        !member_subscribe(member, "queue", "soak.>", NULL, MEMBER_ALL, queue))
        return 1;
    if (pthread_create(&thread, NULL, pull, &member->streams[member->stream_count - 1]) != 0)
        return 1;
    member_serve(member, NULL);
    evbus_close(member->bus, 5000);
    pthread_join(thread, NULL);
    int status = member_end(member);
    evbus_queue_free(queue);
    return status;
}
