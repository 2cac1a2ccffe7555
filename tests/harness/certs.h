/*
 * certs.h - certificates of the test's own, as files in the suite's folder: an authority, and what
 * it signs. Failures end the test. Any thread.
 */
#ifndef HARNESS_CERTS_H
#define HARNESS_CERTS_H
#include <stdbool.h>

struct cert {
    char cert[120], key[120]; /* PEM files */
};

struct cert_wish {
    const char *name;          /* common name */
    const char *alt;           /* "DNS:localhost,IP:127.0.0.1"; NULL: none */
    const char *usage;         /* extended key usage: "serverAuth"; NULL: any */
    const struct cert *issuer; /* NULL: signs itself */
    bool authority;
    int from_days, to_days; /* from now; both 0: from -1 to 2 */
    int rsa_bits;           /* 0: an elliptic curve */
};

/* Files <folder>/<file>.crt and .key. */
struct cert cert_make(const char *file, struct cert_wish wish);
/* Puts new files in the place of the old ones, in one step each. */
void cert_replace(const struct cert *at, const struct cert *by);
/* Adds a copy of the one PEM file to the end of the other: a chain, a list of authorities. */
void cert_append(const char *to, const char *from);
/* Links it into the folder by the hash of its name, as openssl rehash does. */
void cert_link(const struct cert *cert, const char *folder);

#endif
