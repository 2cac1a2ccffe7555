/* awake.c - see awake.h. */
#include "awake.h"
#include "probe.h"
#include <sched.h>
#include <stdatomic.h>

enum { CORES = 2 };

static const int cores[CORES] = {PROBE_SERVER_CORE, PROBE_CLIENT_CORE};
static int spinners[CORES];

static _Noreturn void spin(int core)
{
    const struct sched_param none = {0};
    probe_pin(core);
    if (sched_setscheduler(0, SCHED_IDLE, &none) != 0)
        probe_fail("SCHED_IDLE is not to be had");
    for (;;)
        atomic_signal_fence(memory_order_seq_cst);
}

void awake_begin(void)
{
    for (int i = 0; i < CORES; i++) {
        spinners[i] = probe_fork();
        if (spinners[i] == 0)
            spin(cores[i]);
    }
}

void awake_end(void)
{
    for (int i = 0; i < CORES; i++)
        probe_kill(spinners[i]);
}
