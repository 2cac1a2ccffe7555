/*
 * tally.h - which events of a durable subscription were given and which were handled: the place up
 * to which all are, whatever the order in which handlers finish. Any thread; lock: tally (a leaf).
 */
#ifndef EVB_TALLY_H
#define EVB_TALLY_H
#include "position.h"
#include <pthread.h>

struct evb_tally {
    pthread_mutex_t lock;
    /* under lock */
    struct evb_tally_entry *ring; /* owned: given and not yet passed, in the order of positions */
    size_t room, first, count;
    struct evb_position handled; /* all up to here */
    bool moved;                  /* since it was last read */
};

struct evb_tally *evb_tally_new(void); /* NULL: no memory */
void evb_tally_free(struct evb_tally *tally);
enum evb_tally_gift {
    EVB_TALLY_NO_MEMORY, /* it is not to be given */
    EVB_TALLY_GIVEN,
    EVB_TALLY_BEGUN /* it was given before, and its handler was called */
};
/* It is given; later ones are given later, but for those that were given before. */
enum evb_tally_gift evb_tally_give(struct evb_tally *tally, struct evb_position at);
/* It was not given after all. */
void evb_tally_take_back(struct evb_tally *tally, struct evb_position at);
/* Its handler is about to be called. False: it was not given, or its handler was called. */
bool evb_tally_begin(struct evb_tally *tally, struct evb_position at);
void evb_tally_unbegin(struct evb_tally *tally, struct evb_position at); /* was not, after all */
/* It is handled. True: the first move since evb_tally_read(). */
bool evb_tally_done(struct evb_tally *tally, struct evb_position at);
/* What lies up to here is not for this subscription: passed if all before it is. True as above. */
bool evb_tally_pass(struct evb_tally *tally, struct evb_position at);
void evb_tally_start(struct evb_tally *tally, struct evb_position at); /* empties it */
/* True: *handled is another one than last time. */
bool evb_tally_read(struct evb_tally *tally, struct evb_position *handled);

#endif
