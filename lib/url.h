/*
 * url.h - a Redis URL in its parts (the IANA registrations of redis: and rediss:, RFC 3986). Pure;
 * any thread. Called by config.c.
 */
#ifndef EVB_URL_H
#define EVB_URL_H
#include <stdbool.h>
#include <stdint.h>

struct evb_url { /* texts owned, percent-decoded; NULL or -1: the URL does not say */
    char *host;  /* without brackets */
    char *path;  /* of a Unix socket */
    char *username;
    char *password;
    char *shown; /* the URL with **** for user and password */
    int64_t port;
    int64_t db;
    bool tls; /* rediss:// */
};

/* 0; EVBUS_EINVAL; EVBUS_ENOTSUP for a scheme of a later version; EVBUS_ENOMEM. The sentence begins
 * with `label` and quotes nothing of the URL: in a bad one a password may stand anywhere. */
int evb_url_parse(const char *label, const char *text, struct evb_url *url);
void evb_url_fini(struct evb_url *url); /* wipes */

#endif
