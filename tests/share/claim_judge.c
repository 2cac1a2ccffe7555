/* claim_judge.c - was every event handled, and by one at a time? Pure. */
#include "share/claim.h"
#include <stdlib.h>
#include <time.h>

int64_t share_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void share_add(struct share_calls *calls, struct share_call call)
{
    if (calls->count == calls->room) {
        calls->room = calls->room ? calls->room * 2 : 1024;
        calls->call = realloc(calls->call, calls->room * sizeof call);
        if (!calls->call)
            abort();
    }
    calls->call[calls->count++] = call;
}

static int by_event_and_time(const void *a, const void *b)
{
    const struct share_call *x = a, *y = b;
    if (x->event != y->event)
        return x->event < y->event ? -1 : 1;
    return x->begin_us < y->begin_us ? -1 : x->begin_us > y->begin_us;
}

/* The lease of one that died lasts to its end: Redis tells it by the millisecond. */
static void judge_after_death(struct share_verdict *verdict, int64_t free_us, int64_t next_us)
{
    int64_t after_us = next_us - free_us;
    verdict->early += after_us < -(int64_t)SHARE_KEEP_MS * 1000;
    if (after_us < verdict->soonest_us || verdict->soonest_us == INT64_MAX)
        verdict->soonest_us = after_us;
    if (after_us > verdict->latest_us)
        verdict->latest_us = after_us;
}

static void judge_pair(struct share_verdict *verdict, const struct share_call *first,
                       const struct share_call *next)
{
    if (first->end_us && next->begin_us < first->end_us) {
        verdict->overlapping++;
    } else if (first->free_us) {
        verdict->again += first->end_us && first->rc == 0;
        judge_after_death(verdict, first->free_us, next->begin_us);
    } else if (!first->end_us) {
        verdict->overlapping++; /* it runs to this day, or nobody saw its lease */
    } else if (first->rc == 0) {
        verdict->doubled++;
    }
}

struct share_verdict share_judge(struct share_calls *calls, int events)
{
    struct share_verdict verdict = {.soonest_us = INT64_MAX, .latest_us = INT64_MIN};
    int handled = 0;
    if (calls->count)
        qsort(calls->call, calls->count, sizeof *calls->call, by_event_and_time);
    for (size_t i = 0; i < calls->count; i++) {
        const struct share_call *call = &calls->call[i];
        verdict.calls++;
        verdict.failed += call->end_us && call->rc != 0;
        verdict.unfinished += !call->end_us;
        if (i > 0 && call[-1].event == call->event)
            judge_pair(&verdict, call - 1, call);
        if (call->end_us && call->rc == 0 && call->event != handled) {
            handled = call->event;
            verdict.handled++;
        }
    }
    verdict.unhandled = events - verdict.handled;
    return verdict;
}

bool share_is_clean(const struct share_verdict *verdict)
{
    return !verdict->unhandled && !verdict->overlapping && !verdict->doubled && !verdict->early;
}
