/*
 * claim_key.h - evbus_claim() and evbus_release(): the calls on their way, and which keys this bus
 * holds. Loop only, but for the two.
 */
#ifndef EVB_CLAIM_KEY_H
#define EVB_CLAIM_KEY_H
#include "claim.h"

void evb_claim_keys_again(struct evbus *bus);   /* Redis is back: what was not answered is asked */
void evb_claim_keys_look(struct evbus *bus);    /* gives those up whose time is, says what is due */
void evb_claim_keys_end_all(struct evbus *bus); /* the bus is CLOSED */

#endif
