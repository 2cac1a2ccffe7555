/*
 * claim_member.c - one of those who share: "<program> share-member BOOK SOCKET SEED LIFE". Writes a line
 * into its book at the begin ("B event id time") and the end ("E event time rc") of each handler
 * call, by one write(2) each, so that kill -9 takes back nothing; at its own end its counters.
 */
#include "harness/recorder.h"
#include "share/claim.h"
#include "soak/dice.h"
#include <evbus.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CONNECT_MS = 30000, CLOSE_MS = 30000 };

static int book = -1;
static unsigned seed;
static bool on_workers;

static void note(const char *line, int length)
{
    if (write(book, line, (size_t)length) != length)
        _exit(2);
}

static void stay_us(int64_t us)
{
    struct timespec time = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&time, NULL);
}

/* Most take no time, some some, a few longer than the lease; of these the loop has none. */
static void work(struct dice *dice)
{
    int luck = dice_roll(dice, 4000);
    if (luck < 10 && on_workers)
        stay_us(1000 * (SHARE_LEASE_MS + dice_roll(dice, SHARE_LEASE_MS)));
    else if (luck < 100)
        stay_us(dice_roll(dice, 30000));
    else if (luck < 2000)
        stay_us(dice_roll(dice, 500));
}

static int on_event(evbus_sub *sub, evbus_event *event, void *user)
{
    static atomic_int calls;
    struct dice dice = dice_of(seed, atomic_fetch_add(&calls, 1));
    char line[160];
    int number = event_number(event);
    (void)sub;
    (void)user;
    note(line, snprintf(line, sizeof line, "B %d %s %lld\n", number, evbus_event_id(event),
                        (long long)share_now_us()));
    work(&dice);
    int rc = dice_roll(&dice, 200) == 0 ? -1 : 0;
    note(line,
         snprintf(line, sizeof line, "E %d %lld %d\n", number, (long long)share_now_us(), rc));
    return rc;
}

static void note_counters(const evbus *bus)
{
    static const char *const names[] = {"claims_won",    "claims_lost", "claims_taken_over",
                                        "claims_lapsed", "dropped",     "gaps"};
    char line[80];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        note(line, snprintf(line, sizeof line, "S %s %lld\n", names[i],
                            (long long)evbus_stat(bus, names[i])));
}

static evbus *open_bus(const char *socket)
{
    evbus_config *config = evbus_config_new();
    char lease[20];
    snprintf(lease, sizeof lease, "%dms", SHARE_LEASE_MS);
    if (evbus_config_set(config, "redis.path", socket) != 0 ||
        evbus_config_set(config, "lease.ttl", lease) != 0 ||
        evbus_config_set(config, "workers", "3") != 0)
        return NULL;
    evbus *bus = evbus_open(config);
    evbus_config_free(config);
    return bus;
}

int share_member_main(int argc, char **argv)
{
    if (argc < 6 || strcmp(argv[1], "share-member") != 0)
        return -1;
    int life = (int)strtol(argv[5], NULL, 10);
    book = open(argv[2], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    seed = (unsigned)strtoul(argv[4], NULL, 10);
    on_workers = life % 3 != 0;
    evbus *bus = open_bus(argv[3]);
    /* What came while others were killed and it was not there yet, too. */
    evbus_sub *sub = evbus_subscribe(bus, "share.work",
                                     !on_workers     ? "claim=share from=10s"
                                     : life % 3 == 1 ? "claim=share from=10s deliver=workers "
                                                       "key=none size=20000 bytes=64MiB"
                                                     : "claim=share from=10s deliver=workers "
                                                       "key=none",
                                     on_event, NULL);
    if (book < 0 || !sub || evbus_sub_wait(sub, CONNECT_MS) != 0) {
        fprintf(stderr, "share: %s\n", evbus_last_error());
        return 1;
    }
    printf("%s\n", evbus_node(bus));
    fflush(stdout);
    while (getchar() != EOF)
        ;
    int rc = evbus_close(bus, CLOSE_MS);
    note_counters(bus);
    evbus_unsubscribe(sub);
    evbus_free(bus);
    return rc == 0 ? 0 : 1;
}
