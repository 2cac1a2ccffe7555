/*
 * cli.h - what the subcommands share: flags, help, exit codes, opening and reaching a bus.
 * Everything here runs on the main thread, but for the log, which the library may write from any.
 */
#ifndef CLI_H
#define CLI_H
#include <evbus.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* exit codes */
enum {
    CLI_OK = 0,
    CLI_ERROR = 1,
    CLI_USAGE = 2,
    CLI_DEGRADED = 3, /* no Redis */
    CLI_REFUSED = 4,  /* Redis refused user, password or right */
    CLI_NO_RESPONDER = 5,
    CLI_TIMEOUT = 27
};

/* Letters of flags without a short form: the shared ones, then each command's own. */
enum { CLI_LONG = 256, CLI_OWN = 512 };

struct cli_flag { /* a table of them ends with letter 0 */
    int letter;
    const char *name;
    const char *value; /* what stands for its value in the help; NULL: takes none */
    const char *help;
    const char *key; /* the setting behind it; NULL: it is no setting */
};

struct cli {
    evbus_config *config; /* owned */
    bool json, quiet, colour;
    int verbose;
    char **words; /* after cli_parse(): what is no flag; borrowed from argv */
    int count;
    int status;     /* why cli_parse() or cli_open() said to stop */
    unsigned where; /* which of -u, -s and -h were given: bits */
};

struct cli_command {
    const char *name;
    const char *words; /* as the usage shows them */
    const char *summary;
    const char *notes; /* more lines of help, may be NULL */
    const struct cli_flag *flags;
    int (*run)(struct cli *cli, int argc, char **argv); /* answers the exit code */
    bool connects; /* its settings come from the environment, too */
    bool hidden;
};

/* A command's own flag: 0, or -1 after cli_error(). `value` lives in argv. */
typedef int (*cli_flag_fn)(void *state, int letter, char *value);

int cli_init(struct cli *cli); /* 0 or an exit code */
void cli_fini(struct cli *cli);

/* Reads argv[1...]; with command NULL only up to the first word. -1: stop with cli->status. */
int cli_parse(struct cli *cli, const struct cli_command *command, int argc, char **argv,
              cli_flag_fn take, void *state);
/* Adds the environment to what the flags said, as cli_parse() does for a command that connects. 0,
 * or an exit code after cli_error(). */
int cli_settle(struct cli *cli);
void cli_help_flags(const struct cli_flag *flags);
void cli_help_shared(void);
void cli_help_command(const struct cli_command *command);

/* Sentences for the user, on stderr: "evbus: ...". Control characters are made visible. */
void cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void cli_note(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
int cli_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "250ms" "2s" "5m" "1h"; a bare number is seconds, "0.5" too. Milliseconds, or -1. */
int64_t cli_duration(const char *text);
int64_t cli_number(const char *text); /* a whole number from 0, or -1 */
int64_t cli_now_ms(void);             /* monotonic */

evbus *cli_open(struct cli *cli); /* NULL: said on stderr, stop with cli->status */
/* Waits for Redis. CLI_OK, or the exit code after saying why. */
int cli_connect(evbus *bus, int64_t wait_ms);
/* Why Redis is away, in words. Answers CLI_REFUSED if waiting will not help, else CLI_DEGRADED. */
int cli_why_away(const evbus *bus, char *out, size_t room);

extern const struct cli_command cli_pub, cli_sub, cli_tail, cli_request, cli_reply, cli_history,
    cli_health, cli_config, cli_demo, cli_demo_peer;

#endif
