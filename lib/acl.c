/* acl.c - rights by name. */
#include "acl.h"
#include "buf.h"
#include <string.h>

bool evb_acl_refuses(const char *error)
{
    return strncmp(error, "NOPERM", 6) == 0 || strstr(error, "user executing the script can't") ||
           strstr(error, "ACL failure in script");
}

/* "... to run the 'publish' command", "... can't run this command", "... one of the channels used
 * as arguments", "... to access a channel". Commands first: those refusals may hold a user's name,
 * which is any word. */
enum evb_right evb_acl_right(const char *error)
{
    if (strstr(error, "' command") || strstr(error, "this command"))
        return EVB_RIGHT_COMMAND;
    return strstr(error, "channel") ? EVB_RIGHT_CHANNEL : EVB_RIGHT_BOTH;
}

/* A rule is a glob: what must stand for itself is escaped. A pattern is one already. */
static void add_rule(struct evb_buf *out, const struct evb_need *need)
{
    evb_buf_char(out, '&');
    for (size_t i = 0; i < need->length; i++) {
        if (need->kind != EVB_CHANNEL_PATTERN && strchr("*?[]\\", need->channel[i]))
            evb_buf_char(out, '\\');
        evb_buf_char(out, need->channel[i]);
    }
    if (need->kind == EVB_CHANNEL_PREFIX)
        evb_buf_char(out, '*');
    if (need->kind == EVB_CHANNEL_PATTERN)
        evb_buf_text(out, " (word for word)");
}

void evb_acl_name(char *out, size_t room, const struct evb_need *need)
{
    struct evb_buf buf = {.data = out, .room = room, .fixed = true};
    out[0] = '\0';
    if (need->right != EVB_RIGHT_CHANNEL)
        evb_buf_printf(&buf, "+%s", need->command);
    if (need->right == EVB_RIGHT_BOTH)
        evb_buf_text(&buf, " and ");
    if (need->right != EVB_RIGHT_COMMAND)
        add_rule(&buf, need);
}

static const struct {
    const char *right, *loss;
} table[EVB_LACKS] = {
    [EVB_LACK_NAME] = {"+client|setname", "CLIENT LIST shows no name"},
    [EVB_LACK_PING] = {"+ping", "its refusals count as answers"},
    [EVB_LACK_ROLE] = {"+hello", "a master that turns replica is not noticed"},
    [EVB_LACK_UNSUBSCRIBE] = {"+unsubscribe", "Redis goes on sending what nobody wants any more"},
    [EVB_LACK_PUNSUBSCRIBE] = {"+punsubscribe", "Redis goes on sending what nobody wants any more"},
    [EVB_LACK_FENCE] = {"", "delivery is not proven, answers alone show that the link lives"},
    [EVB_LACK_GROUPS] = {"", "this process does not know which types have groups, and what is not "
                             "kept in the history may pass them by"},
    [EVB_LACK_CONTROL] = {"", "new groups are known with a heartbeat only"},
};

void evb_lacks_tell(struct evb_lacks *lacks, enum evb_lack lack, const char *right)
{
    unsigned bit = 1U << lack;
    if (!(lacks->told & bit))
        evb_log(lacks->log, EVBUS_LOG_WARNING, "redis: the user needs %s; without it %s",
                right ? right : table[lack].right, table[lack].loss);
    lacks->told |= bit;
}
