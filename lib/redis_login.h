/*
 * redis_login.h - user and password of a connection: where the password comes from, and whether it
 * may go there. Loop only.
 */
#ifndef EVB_REDIS_LOGIN_H
#define EVB_REDIS_LOGIN_H
#include "log.h"
#include "redis_link.h"

struct evb_login {
    /* fixed after init; borrowed texts, "" for none */
    const char *username, *password, *password_file, *client_name;
    int database;
    bool plaintext; /* auth.plaintext: the password may go unencrypted to another host */

    char *from_file; /* owned: what password_file held when it was last read */
    bool warned;     /* that the password goes unencrypted */
};

/* Reads the password's file, if there is one. 0, or EVBUS_ESYS with a sentence. */
int evb_login_load(struct evb_login *login);
void evb_login_fini(struct evb_login *login);                  /* wipes */
const char *evb_login_password(const struct evb_login *login); /* "": none */
/* May the password go there? A password that others on the way can read is warned of once, or
 * refused: EVBUS_EAUTH with a sentence. */
int evb_login_check(struct evb_login *login, const struct evb_address *address, bool tls,
                    struct evb_log *log);

#endif
