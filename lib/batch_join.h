/* batch_join.h - an event joins the open batch of its type (EVBUS_BATCH). Publisher's thread. */
#ifndef EVB_BATCH_JOIN_H
#define EVB_BATCH_JOIN_H
#include "handover.h"

/* A checked event is frozen, serialised and added; `way` says who asks for its report. The caller
 * holds bus->state. EVBUS_SENT_BATCH, or EVBUS_EINVAL (its type is too long, its data too deep for
 * a batch; published before), EVBUS_ETOOBIG, EVBUS_EFULL, EVBUS_ECLOSED, EVBUS_ENOMEM: nothing
 * happened. */
int evb_batch_join(struct evbus *bus, evbus_event *event, int flags,
                   const struct evb_handover *way);

#endif
