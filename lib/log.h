/* log.h - one bus's log: a level and the caller's function. Any thread; takes no lock. */
#ifndef EVB_LOG_H
#define EVB_LOG_H
#include <evbus.h>
#include <stdatomic.h>
#include <stdbool.h>

struct evb_log_target { /* fixed after creation; replaced whole, kept until the log ends */
    struct evb_log_target *older;
    evbus_log_fn fn;
    void *user;
};

struct evb_log {
    _Atomic int level;
    struct evb_log_target *_Atomic target;
    /* fixed after init */
    int setting;   /* what level -1 means */
    char name[32]; /* the bus, in front of each line */
};

void evb_log_init(struct evb_log *log, const char *name,
                  int level); /* the process's default target */
void evb_log_fini(struct evb_log *log);
int evb_log_set(struct evb_log *log, int level, evbus_log_fn fn, void *user);
int evb_log_set_default(int level, evbus_log_fn fn, void *user);
void evb_log(struct evb_log *log, int level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool evb_log_is_calling(void); /* this thread stands inside a log function */

#endif
