/* redis_target.c - addresses of a server. Loop only. */
#include "redis_target.h"
#include <stdio.h>
#include <string.h>

static void on_resolved(const struct evb_address *addresses, int count, const char *why, void *user)
{
    struct evb_target *target = user;
    char text[200];
    if (count == 0) {
        snprintf(text, sizeof text, "cannot resolve %s: %s", target->host, why);
        target->found(text, target->user);
        return;
    }
    memcpy(target->addresses, addresses, (size_t)count * sizeof *addresses);
    target->count = count;
    target->found(NULL, target->user);
}

void evb_target_init(struct evb_target *target, struct evb_loop *loop, const char *host,
                     const char *path, int port, void (*found)(const char *why, void *user),
                     void *user)
{
    *target =
        (struct evb_target){.host = host, .path = path, .port = port, .found = found, .user = user};
    evb_dns_init(&target->dns, loop, on_resolved, target);
}

bool evb_target_is_known(const struct evb_target *target)
{
    return target->path[0] || evb_dns_is_numeric(target->host);
}

int evb_target_find(struct evb_target *target)
{
    struct evb_address *first = &target->addresses[0];
    target->index = 0;
    if (!evb_target_is_known(target))
        return evb_dns_start(&target->dns, target->host, target->port);
    *first = (struct evb_address){.port = target->port};
    if (target->path[0])
        first->path = target->path;
    else
        snprintf(first->host, sizeof first->host, "%s", target->host);
    target->count = 1;
    return 1;
}

const struct evb_address *evb_target_now(const struct evb_target *target)
{
    return &target->addresses[target->index];
}

bool evb_target_next(struct evb_target *target)
{
    if (target->index + 1 >= target->count)
        return false;
    target->index++;
    return true;
}

void evb_target_stop(struct evb_target *target)
{
    evb_dns_stop(&target->dns);
}
