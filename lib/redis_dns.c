/* redis_dns.c - names to addresses. Loop only. */
#include "redis_dns.h"
#include "alloc.h"
#include "err.h"
#include <arpa/inet.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <evbus.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

/* Lives until libevent has called back, which it does later even where it was cancelled. */
struct evb_lookup {
    struct evb_dns *dns; /* borrowed; NULL: stopped, nobody is told */
    struct evdns_base *base;
    struct evdns_getaddrinfo_request *request;
    int port;
};

void evb_dns_init(struct evb_dns *dns, struct evb_loop *loop,
                  void (*done)(const struct evb_address *, int, const char *, void *), void *user)
{
    *dns = (struct evb_dns){.loop = loop, .done = done, .user = user};
}

bool evb_dns_is_numeric(const char *host)
{
    struct in6_addr address;
    return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

static bool to_address(const struct evutil_addrinfo *info, int port, struct evb_address *out)
{
    memset(out, 0, sizeof *out);
    out->port = port;
    return getnameinfo(info->ai_addr, (socklen_t)info->ai_addrlen, out->host, sizeof out->host,
                       NULL, 0, NI_NUMERICHOST) == 0;
}

static void lookup_free(struct evb_lookup *lookup)
{
    if (lookup->base)
        evdns_base_free(lookup->base, 0);
    evb_free(lookup);
}

static void tell(struct evb_dns *dns, int port, int error, const struct evutil_addrinfo *list)
{
    struct evb_loop *loop = dns->loop;
    struct evb_address addresses[EVB_ADDRESSES];
    int count = 0;
    for (const struct evutil_addrinfo *i = list; i && count < EVB_ADDRESSES; i = i->ai_next)
        count += to_address(i, port, &addresses[count]);
    dns->lookup = NULL; /* done() may start another one */
    evb_loop_begin(loop);
    dns->done(addresses, count, error ? evutil_gai_strerror(error) : "no address", dns->user);
    evb_loop_end(loop);
}

static void on_answer(int error, struct evutil_addrinfo *list, void *arg)
{
    struct evb_lookup *lookup = arg;
    if (lookup->dns)
        tell(lookup->dns, lookup->port, error, list);
    if (list)
        evutil_freeaddrinfo(list);
    lookup_free(lookup);
}

int evb_dns_start(struct evb_dns *dns, const char *host, int port)
{
    struct evutil_addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP};
    evb_dns_stop(dns);
    struct evb_lookup *lookup = evb_calloc(1, sizeof *lookup);
    if (!lookup)
        return evb_fail_memory();
    /* Without a readable resolv.conf it still knows /etc/hosts. */
    lookup->base = evdns_base_new(dns->loop->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (!lookup->base) {
        lookup_free(lookup);
        return evb_fail(EVBUS_ENOMEM, "evdns: no resolver (memory ran out)");
    }
    evdns_base_resolv_conf_parse(lookup->base, DNS_OPTIONS_ALL, "/etc/resolv.conf");
    lookup->port = port;
    lookup->dns = dns;
    dns->lookup = lookup;
    struct evdns_getaddrinfo_request *request =
        evdns_getaddrinfo(lookup->base, host, NULL, &hints, on_answer, lookup);
    if (request) /* else it has called back already, and the lookup is gone */
        lookup->request = request;
    return 0;
}

void evb_dns_stop(struct evb_dns *dns)
{
    struct evb_lookup *lookup = dns->lookup;
    dns->lookup = NULL;
    if (!lookup)
        return;
    lookup->dns = NULL;
    if (lookup->request)
        evdns_getaddrinfo_cancel(lookup->request);
}
