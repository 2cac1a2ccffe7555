/* err.h - this thread's last failure: set where an error is born, passed on untouched. */
#ifndef EVB_ERR_H
#define EVB_ERR_H

/* Stores code and sentence for evbus_last_error(), answers code. */
int evb_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
int evb_fail_memory(void);            /* EVBUS_ENOMEM */
int evb_fail_errno(const char *what); /* EVBUS_ESYS: "what: strerror(errno)" */

#endif
