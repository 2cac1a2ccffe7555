/*
 * redis_dns.h - a host name to numeric addresses without blocking the loop (libevent's evdns).
 * Numeric names and Unix paths never get here. A fresh resolver each time reads resolv.conf and
 * hosts anew. Loop only.
 */
#ifndef EVB_REDIS_DNS_H
#define EVB_REDIS_DNS_H
#include "redis_link.h"

#define EVB_ADDRESSES 8

struct evdns_base;
struct evdns_getaddrinfo_request;

struct evb_dns {
    struct evb_loop *loop; /* fixed after init */
    struct evdns_base *base;
    struct evdns_getaddrinfo_request *request;
    int port;
    /* count 0: `why` tells */
    void (*done)(const struct evb_address *addresses, int count, const char *why, void *user);
    void *user;
};

void evb_dns_init(struct evb_dns *dns, struct evb_loop *loop,
                  void (*done)(const struct evb_address *, int, const char *, void *), void *user);
int evb_dns_start(struct evb_dns *dns, const char *host, int port); /* done() follows if 0 */
void evb_dns_stop(struct evb_dns *dns); /* done() is not called any more */
bool evb_dns_is_numeric(const char *host);

#endif
