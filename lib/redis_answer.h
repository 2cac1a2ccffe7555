/*
 * redis_answer.h - what Redis's replies to the written events mean for them. Replies come in the
 * order of the commands; each function takes that to the oldest one. Loop only.
 */
#ifndef EVB_REDIS_ANSWER_H
#define EVB_REDIS_ANSWER_H
#include "redis_outbox.h"
#include "redis_reply.h"

/* Is the oldest command a call of the history's script? */
bool evb_answer_is_call(const struct evb_outbox *outbox);
/* To PUBLISH: the receivers, or an error; those that may pass put it back, until
 * evb_outbox_retry(). False: nothing was written. */
bool evb_answer_ok(struct evb_outbox *outbox, int64_t receivers);
bool evb_answer_error(struct evb_outbox *outbox, const char *error);
/* To a call: a result for each event (redis_script.h). False: it is none. `*keep` is what forbade
 * Redis to keep an event that it published, NULL: nothing. */
bool evb_answer_call(struct evb_outbox *outbox, const struct evb_reply *reply, const char **keep);
/* A call was refused as a whole and did nothing: its events wait for evb_outbox_retry(). */
void evb_answer_refused(struct evb_outbox *outbox, const char *error);

#endif
