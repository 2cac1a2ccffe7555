/* redis_hello.c - signing in. Loop only. */
#include "redis_hello.h"
#include "acl.h"
#include "list.h"
#include <evbus.h>
#include <stdio.h>
#include <string.h>

void evb_hello_send(struct evb_hello *hello, struct evb_link *link, const struct evb_login *login)
{
    const char *user = login->username[0] ? login->username : "default";
    const char *password = evb_login_password(login);
    bool sign_in = password[0] || login->username[0];
    const char *words[] = {"HELLO", "2", sign_in ? "AUTH" : NULL, user, password, NULL};
    const char *name[] = {"CLIENT", "SETNAME", login->client_name, NULL};
    char database[16];
    const char *select[] = {"SELECT", database, NULL};

    evb_link_command(link, words);
    evb_link_command(link, name);
    hello->login = login;
    hello->left = 2;
    hello->unnamed = false;
    hello->select = login->database != 0;
    if (hello->select) {
        snprintf(database, sizeof database, "%d", login->database);
        evb_link_command(link, select);
        hello->left++;
    }
    evb_link_flush(link);
}

static const struct {
    const char *prefix;
    int error;
    const char *remedy;
    bool fixed; /* the words are the server's own; others may repeat what the command said */
} refusals[] = {
    {"WRONGPASS", EVBUS_EAUTH, "check redis.username and redis.password", true},
    {"NOAUTH", EVBUS_EAUTH, "set redis.password", true},
    {"ERR unknown command", EVBUS_ENOTSUP, "Redis 6.0 or later is needed", false},
    {"ERR max number of clients", EVBUS_EAWAY, "raise maxclients", true},
    {"LOADING", EVBUS_EAWAY, "the server still reads its data", true},
    {"", EVBUS_EREMOTE, "see the server's log", false},
};

/* Redis quotes the words of a command that it does not know, and cuts them off somewhere. */
static bool may_repeat(const char *text, const char *password)
{
    char head[9];
    snprintf(head, sizeof head, "%s", password);
    return password[0] && (strstr(text, head) || strstr(text, "with args"));
}

/* `right`: the one that a NOPERM is about; `password`: what the command held, "" for none. */
static int refused(const char *command, const char *right, const char *password,
                   const struct evb_reply *reply, char *why, size_t room)
{
    size_t i = 0;
    if (evb_acl_refuses(reply->text)) {
        snprintf(why, room, "%s refused (the user needs %s): %s", command, right, reply->text);
        return EVBUS_EDENIED;
    }
    while (strncmp(reply->text, refusals[i].prefix, strlen(refusals[i].prefix)) != 0)
        i++;
    bool hide = !refusals[i].fixed && may_repeat(reply->text, password);
    snprintf(why, room, "%s refused (%s): %s", command, refusals[i].remedy,
             hide ? "its words may repeat the password" : reply->text);
    if (hide)
        explicit_bzero((char *)reply->text, reply->length);
    return refusals[i].error;
}

static void copy(char *out, size_t room, const struct evb_reply *value)
{
    if (value->kind == EVB_REPLY_STRING || value->kind == EVB_REPLY_STATUS)
        snprintf(out, room, "%s", value->text);
}

int evb_hello_read(const struct evb_reply *reply, struct evb_server *server, char *why, size_t room)
{
    if (reply->kind == EVB_REPLY_ERROR)
        return refused("HELLO", "+hello", "", reply, why, room);
    if (reply->kind != EVB_REPLY_ARRAY || reply->count % 2 != 0) {
        snprintf(why, room, "protocol error: the answer to HELLO is no list of pairs");
        return EVBUS_EPARSE;
    }
    memset(server, 0, sizeof *server);
    for (size_t i = 0; i < reply->count; i += 2) {
        const char *key = reply->item[i]->text;
        if (!strcmp(key, "version"))
            copy(server->version, sizeof server->version, reply->item[i + 1]);
        else if (!strcmp(key, "role"))
            copy(server->role, sizeof server->role, reply->item[i + 1]);
        else if (!strcmp(key, "mode"))
            copy(server->mode, sizeof server->mode, reply->item[i + 1]);
    }
    if (!strcmp(server->mode, "sentinel")) {
        snprintf(why, room, "this is a Sentinel, not a Redis server");
        return EVBUS_ENOTSUP;
    }
    if (strcmp(server->role, "master") != 0) {
        snprintf(why, room, "the server is a %s, events go through the master",
                 server->role[0] ? server->role : "server without a role");
        return EVBUS_EAWAY;
    }
    return 0;
}

bool evb_server_is(const struct evb_server *server, int major, int minor)
{
    int have_major, have_minor;
    if (sscanf(server->version, "%d.%d", &have_major, &have_minor) != 2)
        return true;
    return have_major > major || (have_major == major && have_minor >= minor);
}

int evb_hello_reply(struct evb_hello *hello, const struct evb_reply *reply,
                    struct evb_server *server, char *why, size_t room)
{
    int step = hello->left--;
    bool is_hello = step == (hello->select ? 3 : 2);
    if (is_hello && reply->kind == EVB_REPLY_ERROR)
        return refused("HELLO", "+hello", evb_login_password(hello->login), reply, why, room);
    if (is_hello)
        return evb_hello_read(reply, server, why, room);
    bool is_select = hello->select && step == 1;
    if (is_select && reply->kind == EVB_REPLY_ERROR)
        return refused("SELECT", "+select", "", reply, why, room);
    if (!is_select) /* a refused CLIENT SETNAME is only a pity */
        hello->unnamed = reply->kind == EVB_REPLY_ERROR && evb_acl_refuses(reply->text);
    return 0;
}
