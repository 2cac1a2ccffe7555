/* lease_tell.c - evbus.leader: who leads, when that changes. Loop only. */
#include "json.h"
#include "lease.h"
#include "route.h"
#include <stdio.h>
#include <string.h>

void evb_lease_tell(struct evb_lease *lease, const char *change, const char *node, int64_t fence)
{
    struct evb_buf json;
    evb_buf_init(&json);
    evb_buf_text(&json, "{\"name\":");
    evb_json_quote(&json, lease->name, strlen(lease->name));
    evb_buf_printf(&json, ",\"change\":\"%s\",\"node\":", change);
    if (node[0])
        evb_json_quote(&json, node, strlen(node));
    else
        evb_buf_text(&json, "null");
    evb_buf_printf(&json, ",\"fence\":%lld}", (long long)fence);
    evb_log(&lease->bus->log, EVBUS_LOG_INFO, "leader %s: %s; %s leads, number %lld", lease->name,
            change, node[0] ? node : "nobody", (long long)fence);
    if (!json.failed)
        evb_route_system(lease->bus, "evbus.leader", json.data);
    evb_buf_fini(&json);
}

void evb_lease_tell_members(struct evb_lease *lease, enum evb_lease_turn turn)
{
    EVB_LIST_EACH(&lease->members, node)
    {
        struct evb_lease_member *member = evb_container(node, struct evb_lease_member, node);
        member->leads = member->leads && turn == EVB_TURN_ENDED;
        member->turn(member, turn);
    }
}

void evb_lease_tell_lost(struct evb_lease *lease, const char *node, int64_t fence, bool counted)
{
    if (!lease->told)
        return;
    lease->told = false;
    if (counted)
        evb_count(&lease->bus->metrics, EVB_COUNT_leases_lost, 1);
    evb_lease_tell(lease, "lost", node, fence);
}

void evb_lease_tell_gained(struct evb_lease *lease, int64_t before)
{
    struct evbus *bus = lease->bus;
    int64_t fence = atomic_load(&lease->fence);
    bool first = !lease->told;
    snprintf(lease->holder, sizeof lease->holder, "%s", bus->node);
    lease->holder_fence = fence;
    lease->told = true;
    if (first)
        evb_count(&bus->metrics, EVB_COUNT_leases_gained, 1);
    if (first || fence != before)
        evb_lease_tell(lease, first ? "gained" : "changed", bus->node, fence);
}
