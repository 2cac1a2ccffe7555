/*
 * recorder.h - numbered events and who saw them: a publisher p numbers its events 1, 2, 3, ... as
 * data
 * {"p":2,"n":17}; a recorder at the other end tells what was lost, doubled or reordered. Any
 * thread.
 */
#ifndef HARNESS_RECORDER_H
#define HARNESS_RECORDER_H
#include <evbus.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum { RECORDER_PUBLISHERS = 16 };

struct recorder_line {   /* one publisher's; under lock */
    unsigned char *seen; /* owned: times that number n came */
    int room, highest, last;
};

struct recorder {
    pthread_mutex_t lock;
    struct recorder_line line[RECORDER_PUBLISHERS];
    long received, doubled, reordered, foreign;
};

void recorder_init(struct recorder *recorder);
void recorder_fini(struct recorder *recorder);
int recorder_handle(evbus_sub *sub, evbus_event *event, void *recorder); /* an evbus_event_fn */
void recorder_note(struct recorder *recorder, const char *data);
long recorder_received(struct recorder *recorder);
long recorder_lost(struct recorder *recorder, int publisher, int published); /* of 1..published */
int recorder_has(struct recorder *recorder, int publisher, int number);
/* Ends the test unless all of 1..published came once and in order from publishers 0..count-1. */
void recorder_expect_perfect(struct recorder *recorder, const char *who, int count,
                             const int *published);

/* One numbered event of type `type`; evbus_publish()'s answer. */
int publish_numbered(evbus *bus, const char *type, int publisher, int number);
/* Such an event, not published. `padding` more bytes of data. */
evbus_event *event_numbered(const char *type, int publisher, int number, int padding);
/* The two numbers of an event of the kind; false: it is another kind. */
bool event_numbers(const evbus_event *event, int *publisher, int *number);
int event_number(const evbus_event *event); /* its n, -1: none */

#endif
