/* redis_asks.c - questions to Redis among the events. Loop only. */
#include "redis_asks.h"
#include "alloc.h"

struct ask {
    struct evb_node node;
    uint64_t after; /* commands for events before it */
    evb_ask_fn fn;  /* NULL: nobody wants to know any more */
    void *user;
};

void evb_asks_init(struct evb_asks *asks, struct evb_link *link, const uint64_t *written)
{
    *asks = (struct evb_asks){.link = link, .written = written};
    evb_list_init(&asks->list);
}

bool evb_asks_expect(struct evb_asks *asks, evb_ask_fn fn, void *user)
{
    if (asks->link->stage != EVB_LINK_UP)
        return false;
    struct ask *ask = evb_alloc(sizeof *ask);
    if (!ask) {
        asks->link->gate.error = evb_gate_no_memory;
        return false;
    }
    ask->after = *asks->written;
    ask->fn = fn;
    ask->user = user;
    evb_list_push(&asks->list, &ask->node);
    asks->count++;
    return true;
}

bool evb_asks_send(struct evb_asks *asks, const char *const *words, evb_ask_fn fn, void *user)
{
    if (!evb_asks_expect(asks, fn, user))
        return false;
    evb_link_command(asks->link, words);
    return true;
}

static struct ask *first(const struct evb_asks *asks)
{
    return evb_container(asks->list.next, struct ask, node);
}

bool evb_asks_expects(const struct evb_asks *asks, uint64_t answered)
{
    return !evb_list_empty(&asks->list) && first(asks)->after == answered;
}

void evb_asks_answer(struct evb_asks *asks, const struct evb_reply *reply)
{
    struct ask *ask = first(asks);
    evb_ask_fn fn = ask->fn;
    void *user = ask->user;
    evb_list_remove(&ask->node);
    evb_free(ask);
    asks->count--;
    if (fn)
        fn(reply, user);
}

void evb_asks_lost(struct evb_asks *asks)
{
    while (!evb_list_empty(&asks->list))
        evb_asks_answer(asks, NULL);
}

void evb_asks_forget(struct evb_asks *asks, const void *user)
{
    EVB_LIST_EACH(&asks->list, node)
    {
        struct ask *ask = evb_container(node, struct ask, node);
        if (ask->user == user)
            ask->fn = NULL;
    }
}
