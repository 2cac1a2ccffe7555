/* queue_hand.c - what was pulled and is not handled yet: of durable subscriptions, of groups. Any
 * thread. */
#include "alloc.h"
#include "queue.h"

struct evb_in_hand {
    struct evb_in_hand *next;
    evbus_sub *sub; /* ref */
    struct evb_position at;
    evbus_event *event; /* ref; NULL: `at` is all that is told */
    const struct evb_thread *thread;
    unsigned life; /* of its record */
};

/* Who pulled it has ended, and never says that it is handled: it comes again. */
static bool is_abandoned(const struct evb_in_hand *one)
{
    return one->event && atomic_load(&one->thread->life) != one->life;
}

/* Of deliveries to groups, only those that this thread has pulled, or one that has ended (NULL:
 * all). */
static struct evb_in_hand *take_in_hand(evbus_queue *queue, const struct evb_thread *thread)
{
    struct evb_in_hand *all = NULL, **link = &queue->in_hand, *one;
    pthread_mutex_lock(&queue->lock);
    while ((one = *link)) {
        if (thread && one->event && one->thread != thread && !is_abandoned(one)) {
            link = &one->next;
            continue;
        }
        *link = one->next;
        one->next = all;
        all = one;
    }
    pthread_mutex_unlock(&queue->lock);
    return all;
}

static void tell_handled(evbus_queue *queue, const struct evb_in_hand *one)
{
    if (!one->event)
        queue->handled(one->sub, one->at);
    else
        one->event->delivery->door->answer(one->event, EVB_ANSWER_HANDLED, 0);
}

void evb_queue_settle(evbus_queue *queue, const struct evb_thread *thread)
{
    struct evb_in_hand *next, *all = take_in_hand(queue, thread);
    for (; all; all = next) {
        next = all->next;
        if (thread && !is_abandoned(all))
            tell_handled(queue, all);
        evbus_event_unref(all->event);
        evb_sub_unref(all->sub);
        evb_free(all);
    }
}

void evb_queue_remember(evbus_queue *queue, evbus_sub *sub, evbus_event *event,
                        const struct evb_thread *thread)
{
    struct evb_in_hand *one = evb_alloc(sizeof *one);
    if (!one)
        return;
    evb_sub_ref(sub);
    evbus_event *kept = event->delivery ? evbus_event_ref(event) : NULL;
    pthread_mutex_lock(&queue->lock);
    *one = (struct evb_in_hand){.next = queue->in_hand,
                                .sub = sub,
                                .at = event->position,
                                .event = kept,
                                .thread = thread,
                                .life = atomic_load(&thread->life)};
    queue->in_hand = one;
    pthread_mutex_unlock(&queue->lock);
}
