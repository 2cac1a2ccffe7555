/*
 * redis_dns.h - a host name to numeric addresses without blocking the loop (libevent's evdns).
 * Numeric names and Unix paths never get here. A fresh resolver each time reads resolv.conf and
 * hosts anew. Loop only.
 */
#ifndef EVB_REDIS_DNS_H
#define EVB_REDIS_DNS_H
#include "redis_link.h"

#define EVB_ADDRESSES 8

struct evb_lookup;

struct evb_dns {
    struct evb_loop *loop;     /* fixed after init */
    struct evb_lookup *lookup; /* the one that is under way; NULL: none */
    /* count 0: `why` tells */
    void (*done)(const struct evb_address *addresses, int count, const char *why, void *user);
    void *user;
};

void evb_dns_init(struct evb_dns *dns, struct evb_loop *loop,
                  void (*done)(const struct evb_address *, int, const char *, void *), void *user);
int evb_dns_start(struct evb_dns *dns, const char *host, int port); /* done() follows if 0 */
/* done() is not called any more. libevent's part of it ends when its base runs next. */
void evb_dns_stop(struct evb_dns *dns);
bool evb_dns_is_numeric(const char *host);

#endif
