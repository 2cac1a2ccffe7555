/* log.c - lines go to the caller's function, or nowhere. Any thread. */
#include "log.h"
#include "alloc.h"
#include "err.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The process's default: what buses opened later begin with. */
static struct evb_log defaults = {.level = -1, .setting = -1};

static int target_push(struct evb_log *log, evbus_log_fn fn, void *user)
{
    struct evb_log_target *target = evb_alloc(sizeof *target);
    if (!target)
        return evb_fail_memory();
    target->fn = fn;
    target->user = user;
    target->older = atomic_load(&log->target);
    while (!atomic_compare_exchange_weak(&log->target, &target->older, target))
        continue;
    return 0;
}

static _Thread_local int calling;

void evb_log_init(struct evb_log *log, const char *name, int level)
{
    int default_level = atomic_load(&defaults.level);
    struct evb_log_target *target = atomic_load(&defaults.target);
    memset(log, 0, sizeof *log);
    snprintf(log->name, sizeof log->name, "%s", name);
    log->setting = level;
    atomic_init(&log->level, default_level < 0 ? level : default_level);
    atomic_init(&log->target, NULL);
    if (target && target->fn)
        target_push(log, target->fn, target->user);
}

void evb_log_fini(struct evb_log *log)
{
    struct evb_log_target *target = atomic_load(&log->target);
    while (target) {
        struct evb_log_target *older = target->older;
        evb_free(target);
        target = older;
    }
    atomic_store(&log->target, NULL);
}

int evb_log_set(struct evb_log *log, int level, evbus_log_fn fn, void *user)
{
    if (level > EVBUS_LOG_DEBUG)
        return evb_fail(EVBUS_EINVAL, "log level %d: 0 (none) to %d (debug)", level,
                        EVBUS_LOG_DEBUG);
    int rc = target_push(log, fn, user);
    if (rc == 0)
        atomic_store(&log->level, level < 0 ? log->setting : level);
    return rc;
}

int evb_log_set_default(int level, evbus_log_fn fn, void *user)
{
    return evb_log_set(&defaults, level, fn, user);
}

void evb_log(struct evb_log *log, int level, const char *format, ...)
{
    if (level > atomic_load_explicit(&log->level, memory_order_relaxed))
        return;
    struct evb_log_target *target = atomic_load_explicit(&log->target, memory_order_acquire);
    if (!target || !target->fn)
        return;
    char line[1024];
    int n = snprintf(line, sizeof line, "%s: ", log->name);
    va_list args;
    va_start(args, format);
    vsnprintf(line + n, sizeof line - (size_t)n, format, args);
    va_end(args);
    for (char *p = line; *p; p++) /* text of peers must not forge lines */
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    calling++;
    target->fn(level, line, target->user);
    calling--;
}

bool evb_log_is_calling(void)
{
    return calling > 0;
}
