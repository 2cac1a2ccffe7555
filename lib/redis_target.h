/*
 * redis_target.h - where a shard's server is: a Unix socket, a numeric address, or a name with
 * addresses that are tried in turn. Loop only.
 */
#ifndef EVB_REDIS_TARGET_H
#define EVB_REDIS_TARGET_H
#include "redis_dns.h"

struct evb_target {
    /* fixed after init; borrowed texts */
    const char *host, *path; /* path "": the host counts */
    int port;
    /* The end of a lookup; why NULL: evb_target_now() is the first address. */
    void (*found)(const char *why, void *user);
    void *user;

    struct evb_dns dns;
    struct evb_address addresses[EVB_ADDRESSES];
    int count, index;
};

void evb_target_init(struct evb_target *target, struct evb_loop *loop, const char *host,
                     const char *path, int port, void (*found)(const char *why, void *user),
                     void *user);
bool evb_target_is_known(const struct evb_target *target); /* needs no lookup */
/* 1: evb_target_now() is there; 0: found() follows, or has come already; or an error with its
 * sentence. */
int evb_target_find(struct evb_target *target);
const struct evb_address *evb_target_now(const struct evb_target *target);
bool evb_target_next(struct evb_target *target); /* false: that was the last address */
void evb_target_stop(struct evb_target *target); /* found() is not called any more */

#endif
