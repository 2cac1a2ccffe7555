/* redis_claim.c - taking, renewing and giving back leases. Loop only. */
#include "redis_claim.h"
#include "buf.h"
#include "clock.h"
#include "redis_stream.h"
#include <string.h>

static const char *const verbs[] = {[EVB_KEY_LEASE_TAKE] = "take",
                                    [EVB_KEY_LEASE_DONE] = "done",
                                    [EVB_KEY_LEASE_RELEASE] = "release"};

void evb_key_leases_init(struct evb_key_leases *leases, struct evb_asks *asks)
{
    leases->asks = asks;
    leases->known = false;
    evb_scripts_init(&leases->scripts);
}

void evb_key_leases_anew(struct evb_key_leases *leases)
{
    leases->known = false;
}

static void on_reply(const struct evb_reply *reply, void *user);

static bool call(struct evb_key_lease *lease)
{
    struct evb_key_leases *leases = lease->leases;
    struct evb_buf words;
    if (!evb_asks_expect(leases->asks, on_reply, lease))
        return false;
    lease->until_ms = evb_clock_boot_ms() + lease->ttl_ms;
    evb_buf_init(&words);
    evb_script_begin(&leases->scripts, &words, EVB_SCRIPT_LEASE, !leases->known, 5);
    evb_script_number(&words, 1);
    evb_script_word(&words, lease->key, strlen(lease->key));
    evb_script_word(&words, verbs[lease->verb], strlen(verbs[lease->verb]));
    evb_script_word(&words, lease->owner, strlen(lease->owner));
    evb_script_number(&words, lease->ttl_ms);
    if (words.failed)
        leases->asks->link->gate.error = evb_gate_no_memory;
    else
        evb_link_send(leases->asks->link, words.data, words.length);
    evb_buf_fini(&words);
    return true;
}

/* {1, "" or owner, 0}, {0, owner, ms left}, {2, "done", ms left} */
static bool is_lease(const struct evb_reply *reply)
{
    return reply->kind == EVB_REPLY_ARRAY && reply->count == 3 &&
           reply->item[0]->kind == EVB_REPLY_INTEGER && reply->item[1]->kind == EVB_REPLY_STRING &&
           reply->item[2]->kind == EVB_REPLY_INTEGER;
}

static void read_answer(struct evb_key_lease_answer *answer, const struct evb_reply *reply)
{
    if (!reply) {
        answer->result = EVB_KEY_LEASE_LOST;
    } else if (reply->kind == EVB_REPLY_ERROR) {
        answer->result =
            evb_stream_passes(reply->text) ? EVB_KEY_LEASE_PASSES : EVB_KEY_LEASE_REFUSED;
        answer->error = reply->text;
    } else if (!is_lease(reply)) {
        answer->result = EVB_KEY_LEASE_REFUSED;
        answer->error = "not the answer of the script";
    } else if (reply->item[0]->integer == 1) {
        answer->result = EVB_KEY_LEASE_OK;
        answer->was_free = reply->item[1]->length == 0;
    } else {
        answer->result = reply->item[0]->integer == 2 ? EVB_KEY_LEASE_OVER : EVB_KEY_LEASE_OTHERS;
        answer->holder = reply->item[1]->text;
        answer->left_ms = reply->item[2]->integer;
    }
}

static void tell(struct evb_key_lease *lease, struct evb_key_lease_answer answer)
{
    enum evb_key_lease_verb next = lease->next;
    lease->verb = lease->next = EVB_KEY_LEASE_NONE;
    lease->fn(lease, &answer);
    if (next != EVB_KEY_LEASE_NONE && answer.result != EVB_KEY_LEASE_LOST)
        evb_key_lease_ask(lease->leases, lease, next);
}

static void on_reply(const struct evb_reply *reply, void *user)
{
    struct evb_key_lease *lease = user;
    struct evb_key_lease_answer answer = {.verb = lease->verb};
    if (reply && reply->kind == EVB_REPLY_ERROR && !strncmp(reply->text, "NOSCRIPT", 8)) {
        lease->leases->known = false;
        if (call(lease))
            return;
        reply = NULL;
    }
    read_answer(&answer, reply);
    lease->leases->known = lease->leases->known || answer.result <= EVB_KEY_LEASE_OVER;
    tell(lease, answer);
}

bool evb_key_lease_ask(struct evb_key_leases *leases, struct evb_key_lease *lease,
                       enum evb_key_lease_verb verb)
{
    lease->leases = leases;
    if (lease->verb != EVB_KEY_LEASE_NONE) {
        lease->next = verb;
        return true;
    }
    lease->verb = verb;
    if (call(lease))
        return true;
    lease->verb = EVB_KEY_LEASE_NONE;
    return false;
}
