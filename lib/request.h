/*
 * request.h - asking: requests that wait for their reply, from their publication to their one end.
 * reply.c is the other side. Loop only, but for the doors of evbus.h.
 */
#ifndef EVB_REQUEST_H
#define EVB_REQUEST_H
#include "route.h"

#define EVB_REPLY_TYPE "reply" /* of others' replies that name none */

int evb_requests_init(struct evbus *bus);  /* at open, before the loop runs: 0, or EVBUS_ENOMEM */
void evb_requests_fini(struct evbus *bus); /* also of what is only zeroed */
/* Redis's hook: what came on this node's own channel. */
void evb_request_inbox(const struct evb_reply *payload, void *bus);
/* A frozen reply to one of this bus's own requests, which may not wait any more. */
void evb_request_answered(struct evbus *bus, evbus_event *reply);
void evb_request_end_all(struct evbus *bus); /* EVBUS_ECLOSED to all that wait */

#endif
