/* redis_dns.c - names to addresses. Loop only. */
#include "redis_dns.h"
#include "err.h"
#include <arpa/inet.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <evbus.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

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

static void on_answer(int error, struct evutil_addrinfo *list, void *arg)
{
    struct evb_dns *dns = arg;
    struct evb_loop *loop = dns->loop;
    struct evb_address addresses[EVB_ADDRESSES];
    int count = 0;
    dns->request = NULL;
    if (error != EVUTIL_EAI_CANCEL) {
        for (struct evutil_addrinfo *i = list; i && count < EVB_ADDRESSES; i = i->ai_next)
            count += to_address(i, dns->port, &addresses[count]);
        evb_loop_begin(loop);
        dns->done(addresses, count, error ? evutil_gai_strerror(error) : "no address", dns->user);
        evb_loop_end(loop);
    }
    if (list)
        evutil_freeaddrinfo(list);
}

int evb_dns_start(struct evb_dns *dns, const char *host, int port)
{
    struct evutil_addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP};
    evb_dns_stop(dns);
    /* Without a readable resolv.conf it still knows /etc/hosts. */
    dns->base = evdns_base_new(dns->loop->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (!dns->base)
        return evb_fail(EVBUS_ENOMEM, "evdns: no resolver (memory ran out)");
    evdns_base_resolv_conf_parse(dns->base, DNS_OPTIONS_ALL, "/etc/resolv.conf");
    dns->port = port;
    dns->request = evdns_getaddrinfo(dns->base, host, NULL, &hints, on_answer, dns);
    return 0;
}

void evb_dns_stop(struct evb_dns *dns)
{
    if (dns->request)
        evdns_getaddrinfo_cancel(dns->request);
    dns->request = NULL;
    if (dns->base)
        evdns_base_free(dns->base, 0);
    dns->base = NULL;
}
