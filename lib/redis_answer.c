/* redis_answer.c - replies to events. Loop only. */
#include "redis_answer.h"
#include "acl.h"
#include "clock.h"
#include "err.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Errors of PUBLISH: none of them was executed. Those that may pass are tried again, in order. */
static const struct {
    const char *prefix;
    bool again;
    int error;
} publish_errors[] = {
    {"NOPERM", false, EVBUS_EDENIED},
    {"LOADING", true, 0},
    {"BUSY", true, 0},
    {"OOM", true, 0},
    {"MISCONF", true, 0},
    {"MASTERDOWN", true, 0},
    {"CLUSTERDOWN", true, 0},
    {"TRYAGAIN", true, 0},
    {"NOREPLICAS", true, 0},
    {"READONLY", true, 0},
    {"", false, EVBUS_EREMOTE},
};

/* The oldest written one. Marks may stand in front of it while something was refused for now. */
static struct evb_item *oldest(const struct evb_outbox *outbox)
{
    EVB_LIST_EACH(&outbox->written, node)
    {
        struct evb_item *item = evb_container(node, struct evb_item, node);
        if (!item->mark)
            return item;
    }
    return NULL;
}

bool evb_answer_is_call(const struct evb_outbox *outbox)
{
    const struct evb_item *item = oldest(outbox);
    return item && item->scripted;
}

bool evb_answer_ok(struct evb_outbox *outbox, int64_t receivers)
{
    struct evb_item *item = oldest(outbox);
    outbox->answered_count++;
    if (!item)
        return false;
    if (item->maybe_old)
        evb_outbox_finish(outbox, item, EVBUS_UNKNOWN, EVBUS_EAWAY, receivers);
    else
        evb_outbox_finish(outbox, item, EVBUS_ACKED, 0, receivers);
    evb_outbox_finish_marks(outbox);
    return true;
}

static void note_refusal(struct evb_outbox *outbox, const struct evb_item *item, const char *error)
{
    char right[EVB_RIGHT_TEXT];
    struct evb_need need = {evb_acl_right(error), "publish", EVB_CHANNEL_EXACT, NULL, 0};
    if (!evb_acl_refuses(error)) {
        snprintf(outbox->refusal, sizeof outbox->refusal, "PUBLISH refused: %s", error);
        return;
    }
    need.channel = evb_item_channel(item, &need.length);
    evb_acl_name(right, sizeof right, &need);
    snprintf(outbox->refusal, sizeof outbox->refusal, "PUBLISH refused: the user needs %s (%s)",
             right, error);
}

static void complain(struct evb_outbox *outbox)
{
    int64_t now_ms = evb_clock_mono_ms();
    outbox->complaints++;
    if (!outbox->log || (outbox->complained_ms && now_ms - outbox->complained_ms < 1000))
        return; /* a line a second: a right that is missing must not fill a disk */
    evb_log(outbox->log, EVBUS_LOG_WARNING, "redis: %lld x %s", (long long)outbox->complaints,
            outbox->refusal);
    outbox->complained_ms = now_ms;
    outbox->complaints = 0;
}

static size_t find_error(const char *error)
{
    size_t i = 0;
    if (evb_acl_refuses(error)) /* scripts say it in other words */
        return 0;
    while (strncmp(error, publish_errors[i].prefix, strlen(publish_errors[i].prefix)) != 0)
        i++;
    return i;
}

static void fail(struct evb_outbox *outbox, struct evb_item *item, int error)
{
    evb_fail(error, "%s", outbox->refusal); /* for the report */
    evb_outbox_finish(outbox, item, EVBUS_FAILED, error, -1);
}

static void put_off(struct evb_outbox *outbox, struct evb_item *item)
{
    evb_list_remove(&item->node);
    evb_list_push(&outbox->again, &item->node);
    item->written_once = item->in_doubt;
}

bool evb_answer_error(struct evb_outbox *outbox, const char *error)
{
    struct evb_item *item = oldest(outbox);
    size_t i = find_error(error);
    outbox->answered_count++;
    if (!item)
        return false;
    note_refusal(outbox, item, error);
    complain(outbox);
    if (publish_errors[i].again) {
        put_off(outbox, item);
        if (!item->in_doubt)
            item->seq = 0; /* not executed: as a new one, for later ones may have been */
        return true;
    }
    fail(outbox, item, publish_errors[i].error);
    evb_outbox_finish_marks(outbox);
    return true;
}

/* ---- calls of the history's script ---- */

#define GROUP_MISSED "GROUP " /* begins a result: kept, published, but not all groups have it */

static bool is_call_reply(const struct evb_reply *reply, size_t count)
{
    uint64_t ms;
    if (reply->kind != EVB_REPLY_ARRAY || reply->count != count + 2 ||
        reply->item[0]->kind != EVB_REPLY_STRING || reply->item[1]->kind != EVB_REPLY_INTEGER ||
        sscanf(reply->item[0]->text, "%" SCNu64, &ms) != 1)
        return false;
    for (size_t i = 2; i < reply->count; i++)
        if (reply->item[i]->kind != EVB_REPLY_INTEGER && reply->item[i]->kind != EVB_REPLY_STRING)
            return false;
    return true;
}

/* It was published, but a group of its type has not got it. */
static void miss(struct evb_outbox *outbox, struct evb_item *item, const char *error)
{
    snprintf(outbox->refusal, sizeof outbox->refusal,
             "published, but a group of its type did not get it: %s", error);
    complain(outbox);
    fail(outbox, item, evb_acl_refuses(error) ? EVBUS_EDENIED : EVBUS_EREMOTE);
}

/* What a text for a result says: the event was published without being kept, or was refused. */
static void take_refusal(struct evb_outbox *outbox, struct evb_item *item, const char *text,
                         const char **keep)
{
    if (strncmp(text, "KEEP ", 5) == 0) {
        *keep = text + 5;
        evb_outbox_finish(outbox, item, EVBUS_ACKED, 0, -1);
        return;
    }
    if (strncmp(text, GROUP_MISSED, strlen(GROUP_MISSED)) == 0 || strncmp(text, "LOST ", 5) == 0) {
        miss(outbox, item, strchr(text, ' ') + 1);
        return;
    }
    note_refusal(outbox, item, text);
    complain(outbox);
    int error = publish_errors[find_error(text)].error;
    fail(outbox, item, error ? error : EVBUS_EREMOTE);
}

bool evb_answer_call(struct evb_outbox *outbox, const struct evb_reply *reply, const char **keep)
{
    struct evb_item *item = oldest(outbox);
    size_t count = item ? item->call : 0;
    struct evb_position position = {0, 0};
    *keep = NULL;
    if (!item || !is_call_reply(reply, count))
        return false;
    outbox->answered_count++;
    sscanf(reply->item[0]->text, "%" SCNu64, &position.ms);
    position.n = (uint64_t)reply->item[1]->integer;
    for (size_t i = 0; i < count && (item = oldest(outbox)); i++) {
        const struct evb_reply *result = reply->item[i + 2];
        outbox->told_seq = item->seq;
        if (result->kind == EVB_REPLY_STRING) {
            position.n += item->kept && !strncmp(result->text, GROUP_MISSED, strlen(GROUP_MISSED));
            take_refusal(outbox, item, result->text, keep);
            continue;
        }
        evb_count(outbox->metrics, EVB_COUNT_kept, item->kept);
        position.n += item->kept && result->integer >= 0;
        if (item->event && item->kept && result->integer >= 0)
            evb_event_set_position(item->event, position);
        evb_outbox_finish(outbox, item, EVBUS_ACKED, 0, result->integer);
    }
    evb_outbox_finish_marks(outbox);
    return true;
}

void evb_answer_refused(struct evb_outbox *outbox, const char *error)
{
    struct evb_item *item = oldest(outbox);
    size_t count = item ? item->call : 0;
    outbox->answered_count++;
    snprintf(outbox->refusal, sizeof outbox->refusal, "history refused: %s", error);
    complain(outbox);
    for (size_t i = 0; i < count && (item = oldest(outbox)); i++)
        put_off(outbox, item);
}
