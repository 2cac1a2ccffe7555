/* redis_lease.c - asking for a lease, and reading the answer. Loop only. */
#include "redis_lease.h"
#include <string.h>

enum { HEAD = 3, OTHERS_HEAD = 4 };

static void put_text(struct evb_buf *out, const char *text)
{
    evb_script_word(out, text, strlen(text));
}

bool evb_lease_send(struct evb_stream *stream, struct evb_asks *asks,
                    const struct evb_lease_ask *ask, evb_ask_fn fn, void *user)
{
    struct evb_buf out;
    if (!evb_asks_expect(asks, fn, user))
        return false;
    evb_buf_init(&out);
    evb_script_begin(&stream->scripts, &out, EVB_SCRIPT_LEADER, !stream->known[EVB_SCRIPT_LEADER],
                     10 + 2 * ask->place_count);
    evb_script_number(&out, 2);
    put_text(&out, ask->lease);
    put_text(&out, ask->waiting);
    put_text(&out, ask->owner);
    put_text(&out, ask->mode);
    evb_script_number(&out, ask->ttl_ms);
    evb_script_number(&out, ask->idle_ms);
    evb_script_number(&out, ask->above);
    put_text(&out, ask->channel);
    put_text(&out, ask->notice);
    for (size_t i = 0; i < 2 * ask->place_count; i++)
        put_text(&out, ask->places[i]);
    if (out.failed)
        asks->link->gate.error = evb_gate_no_memory;
    else
        evb_link_send(asks->link, out.data, out.length);
    evb_buf_fini(&out);
    return true;
}

static bool has_kinds(const struct evb_reply *reply, const enum evb_reply_kind *kinds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (reply->item[i]->kind != kinds[i])
            return false;
    return true;
}

static bool read_others(const struct evb_reply *reply, struct evb_lease_answer *answer)
{
    static const enum evb_reply_kind kinds[OTHERS_HEAD] = {EVB_REPLY_INTEGER, EVB_REPLY_STRING,
                                                           EVB_REPLY_INTEGER, EVB_REPLY_INTEGER};
    if (reply->count != OTHERS_HEAD || !has_kinds(reply, kinds, OTHERS_HEAD))
        return false;
    answer->holder = reply->item[1]->text;
    answer->fence = reply->item[2]->integer;
    answer->left_ms = reply->item[3]->integer;
    return answer->left_ms >= 0;
}

static bool read_held(const struct evb_reply *reply, size_t place_count,
                      struct evb_lease_answer *answer)
{
    if (reply->count != HEAD + place_count)
        return false;
    for (size_t i = 1; i < reply->count; i++)
        if (reply->item[i]->kind != (i < HEAD ? EVB_REPLY_INTEGER : EVB_REPLY_STRING))
            return false;
    answer->fence = reply->item[1]->integer;
    answer->renewed_ms = reply->item[2]->integer;
    return answer->fence > 0;
}

bool evb_lease_read(const struct evb_reply *reply, size_t place_count,
                    struct evb_lease_answer *answer)
{
    *answer = (struct evb_lease_answer){.holder = ""};
    if (reply->kind != EVB_REPLY_ARRAY || reply->count < HEAD ||
        reply->item[0]->kind != EVB_REPLY_INTEGER)
        return false;
    int64_t outcome = reply->item[0]->integer;
    if (outcome < EVB_LEASE_OTHERS || outcome > EVB_LEASE_GAINED)
        return false;
    answer->outcome = (enum evb_lease_outcome)outcome;
    return outcome == EVB_LEASE_OTHERS ? read_others(reply, answer)
                                       : read_held(reply, place_count, answer);
}

const struct evb_reply *evb_lease_place(const struct evb_reply *reply, size_t n)
{
    return reply->item[HEAD + n];
}
