/* cli.c - flags and help. Main thread. */
#include "cli.h"
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    FLAG_HELP = CLI_LONG,
    FLAG_USER,
    FLAG_CONFIG,
    FLAG_JSON,
    FLAG_TLS,
    FLAG_CACERT,
    FLAG_CERT,
    FLAG_KEY,
    FLAG_SNI,
    FLAG_INSECURE
};
enum { WHERE_URL = 1, WHERE_SOCKET = 2, WHERE_HOST = 4 };
enum { FLAGS_MAX = 48 };

/* The letters are redis-cli's. */
static const struct cli_flag shared[] = {
    {'u', "url", "URL", "redis[s]://[user[:password]@]host[:port][/db] or unix:///path",
     "redis.url"},
    {'h', "host", "HOST", "Redis server, 127.0.0.1 if nothing else says", "redis.host"},
    {'p', "port", "PORT", "its port", "redis.port"},
    {'s', "socket", "PATH", "its Unix socket", "redis.path"},
    {'a', "password", "PASSWORD", "better: REDISCLI_AUTH in the environment", "redis.password"},
    {FLAG_USER, "user", "NAME", "user of the access list", "redis.username"},
    {'n', "db", "NUMBER", "database", "redis.db"},
    {FLAG_TLS, "tls", NULL, "TLS, as rediss:// says too", "tls.enabled"},
    {FLAG_CACERT, "cacert", "FILE", "trusted certificates, instead of the system's", "tls.ca.file"},
    {FLAG_CERT, "cert", "FILE", "own certificate", "tls.cert.file"},
    {FLAG_KEY, "key", "FILE", "its private key", "tls.key.file"},
    {FLAG_SNI, "sni", "NAME", "name that the server's certificate bears", "tls.server.name"},
    {FLAG_INSECURE, "insecure", NULL, "TLS with whoever answers: for tests", "tls.verify"},
    {'X', "set", "KEY=VALUE", "any setting, such as key.prefix=app:", NULL},
    {FLAG_CONFIG, "config", "FILE", "settings, one key = value a line", NULL},
    {FLAG_JSON, "json", NULL, "JSON on stdout", NULL},
    {'q', "quiet", NULL, "errors only", NULL},
    {'v', "verbose", NULL, "say more; twice: everything", NULL},
    {FLAG_HELP, "help", NULL, "this text", NULL},
    {0, NULL, NULL, NULL, NULL},
};

int cli_init(struct cli *cli)
{
    memset(cli, 0, sizeof *cli);
    const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
    cli->colour = isatty(STDOUT_FILENO) && !(no_colour && no_colour[0]) &&
                  !(term && strcmp(term, "dumb") == 0);
    cli->config = evbus_config_new();
    if (!cli->config) {
        cli_error("%s", evbus_last_error());
        return CLI_ERROR;
    }
    return CLI_OK;
}

void cli_fini(struct cli *cli)
{
    evbus_config_free(cli->config);
}

/* ---- sentences ---- */

__attribute__((format(printf, 1, 0))) static void say(const char *format, va_list args)
{
    char line[1024];
    int length = vsnprintf(line, sizeof line, format, args);
    for (int i = 0; i < length && line[i]; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?'; /* what Redis or an event said may not drive the terminal */
    fprintf(stderr, "evbus: %s\n", line);
}

void cli_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(format, args);
    va_end(args);
}

void cli_note(const struct cli *cli, const char *format, ...)
{
    va_list args;
    if (cli->quiet)
        return;
    va_start(args, format);
    say(format, args);
    va_end(args);
}

int cli_usage(const char *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(format, args);
    va_end(args);
    fprintf(stderr, "evbus: try 'evbus help%s%s'\n", command ? " " : "", command ? command : "");
    return CLI_USAGE;
}

/* ---- help ---- */

void cli_help_flags(const struct cli_flag *flags)
{
    char left[64];
    for (; flags && flags->letter; flags++) {
        int used = flags->letter < CLI_LONG ? snprintf(left, sizeof left, "  -%c, ", flags->letter)
                                            : snprintf(left, sizeof left, "      ");
        snprintf(left + used, sizeof left - (size_t)used, "--%s%s%s", flags->name,
                 flags->value ? " " : "", flags->value ? flags->value : "");
        printf("%-26s %s\n", left, flags->help);
    }
}

void cli_help_shared(void)
{
    printf("\nConnection and output:\n");
    cli_help_flags(shared);
}

void cli_help_command(const struct cli_command *command)
{
    printf("usage: evbus %s %s\n\n%s.\n", command->name, command->words, command->summary);
    if (command->notes)
        printf("%s", command->notes);
    if (command->flags)
        printf("\n");
    cli_help_flags(command->flags);
    cli_help_shared();
}

/* ---- flags ---- */

/* ps(1) shows every command line to everybody: a password does not stay there longer than needed.
 */
static void hide(int letter, char *value)
{
    if (letter == 'a')
        memset(value, '*', strlen(value));
    char *secret = letter == 'u' ? strstr(value, "://") : NULL,
         *end = secret ? strrchr(secret, '@') : NULL;
    if (end)
        memset(secret + 3, '*', (size_t)(end - secret - 3));
}

static int set_pair(struct cli *cli, char *pair)
{
    char *equals = strchr(pair, '=');
    if (!equals) {
        cli_error("-X wants KEY=VALUE, not \"%s\"", pair);
        return -1;
    }
    *equals = '\0';
    int rc = evbus_config_set(cli->config, pair, equals + 1);
    if (rc != 0)
        cli_error("%s", evbus_last_error());
    bool secret = strstr(pair, "password") != NULL;
    *equals = '=';
    if (secret)
        memset(equals + 1, '*', strlen(equals + 1));
    return rc;
}

static int take_setting(struct cli *cli, const struct cli_flag *flag, char *value)
{
    cli->where |= flag->letter == 'u' ? WHERE_URL : flag->letter == 's' ? WHERE_SOCKET : 0;
    cli->where |= flag->letter == 'h' || flag->letter == 'p' ? WHERE_HOST : 0;
    const char *meant = flag->letter == FLAG_INSECURE ? "none" : "yes"; /* without a value */
    int rc = evbus_config_set(cli->config, flag->key, value ? value : meant);
    if (value)
        hide(flag->letter, value);
    if (rc != 0)
        cli_error("%s", evbus_last_error());
    return rc;
}

/* 0, -1 after an error, 1 to stop with success. */
static int take_shared(struct cli *cli, const struct cli_command *command,
                       const struct cli_flag *flag, char *value)
{
    if (flag->key)
        return take_setting(cli, flag, value);
    switch (flag->letter) {
    case 'X':
        return set_pair(cli, value);
    case 'q':
        cli->quiet = true;
        return 0;
    case 'v':
        cli->verbose++;
        return 0;
    case FLAG_JSON:
        cli->json = true;
        return 0;
    case FLAG_CONFIG:
        if (evbus_config_load_file(cli->config, value) == 0)
            return 0;
        cli_error("%s", evbus_last_error());
        return -1;
    default:
        if (command)
            cli_help_command(command);
        return 1;
    }
}

struct getopt_tables {
    const struct cli_flag *flag[FLAGS_MAX];
    struct option longs[FLAGS_MAX + 1];
    char shorts[2 * FLAGS_MAX + 3];
    int count, own; /* from `own` on they are the command's */
};

static void add_flags(struct getopt_tables *tables, const struct cli_flag *flags)
{
    char *shorts = tables->shorts + strlen(tables->shorts);
    for (; flags && flags->letter && tables->count < FLAGS_MAX; flags++) {
        tables->longs[tables->count] = (struct option){
            flags->name, flags->value ? required_argument : no_argument, NULL, flags->letter};
        tables->flag[tables->count++] = flags;
        if (flags->letter >= CLI_LONG)
            continue;
        *shorts++ = (char)flags->letter;
        if (flags->value)
            *shorts++ = ':';
    }
}

static int find(const struct getopt_tables *tables, int letter)
{
    for (int i = 0; i < tables->count; i++)
        if (tables->flag[i]->letter == letter)
            return i;
    return -1;
}

static int bad_flag(const struct getopt_tables *tables, const char *command, int letter, char *word)
{
    int index = optopt ? find(tables, optopt) : -1;
    const struct cli_flag *flag = index >= 0 ? tables->flag[index] : NULL;
    if (letter == ':' && flag)
        return cli_usage(command, "--%s wants %s", flag->name, flag->value);
    if (flag)
        return cli_usage(command, "--%s takes no value", flag->name);
    if (optopt && optopt < CLI_LONG)
        return cli_usage(command, "unknown flag -%c", optopt);
    return cli_usage(command, "unknown flag %s", word);
}

/* -h beats a socket that the environment names; -u and -s on the same line say where themselves. */
int cli_settle(struct cli *cli)
{
    if (evbus_config_load_env(cli->config, NULL) == 0 &&
        (cli->where != WHERE_HOST || evbus_config_set(cli->config, "redis.path", "") == 0))
        return CLI_OK;
    cli_error("%s", evbus_last_error());
    return CLI_ERROR;
}

int cli_parse(struct cli *cli, const struct cli_command *command, int argc, char **argv,
              cli_flag_fn take, void *state)
{
    struct getopt_tables tables = {.shorts = ":"};
    const char *name = command ? command->name : NULL;
    int letter, rc = 0;
    if (!command)
        memcpy(tables.shorts, "+:", 3); /* the first word is the command: its flags are its own */
    add_flags(&tables, shared);
    tables.own = tables.count;
    add_flags(&tables, command ? command->flags : NULL);
    opterr = 0;
    optind = 0; /* glibc: read a new command line from its start */
    while (rc == 0 && (letter = getopt_long(argc, argv, tables.shorts, tables.longs, NULL)) != -1) {
        int index = find(&tables, letter);
        if (index < 0) {
            cli->status = bad_flag(&tables, name, letter, argv[optind > 1 ? optind - 1 : 1]);
            return -1;
        }
        rc = index >= tables.own ? take(state, letter, optarg)
                                 : take_shared(cli, command, tables.flag[index], optarg);
    }
    cli->words = argv + optind;
    cli->count = argc - optind;
    cli->status = rc < 0 ? CLI_USAGE : CLI_OK;
    if (rc == 0 && command && command->connects)
        rc = cli->status = cli_settle(cli);
    return rc == 0 ? 0 : -1;
}

/* ---- values ---- */

int64_t cli_number(const char *text)
{
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    return errno || end == text || *end || number < 0 ? -1 : (int64_t)number;
}

int64_t cli_duration(const char *text)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    char *end;
    double number = strtod(text, &end);
    if (end == text || !(number >= 0 && number < 1e9))
        return -1;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strcmp(end, units[i].unit) == 0)
            return (int64_t)(number * units[i].ms);
    return -1;
}

int64_t cli_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
