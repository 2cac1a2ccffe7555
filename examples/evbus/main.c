/* main.c - evbus: the command table. */
#include "cli.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct cli_command *const commands[] = {
    &cli_pub,     &cli_sub,    &cli_tail,   &cli_request, &cli_reply,
    &cli_history, &cli_health, &cli_config, &cli_demo,    &cli_demo_peer};

static const struct cli_command *find(const char *name)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static void help(void)
{
    printf("usage: evbus [FLAG]... COMMAND [ARGUMENT]...\n\n"
           "Publishes and receives events of a libevbus bus.\n\nCommands:\n");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (!commands[i]->hidden)
            printf("  %-8s %s\n", commands[i]->name, commands[i]->summary);
    printf("  %-8s %s\n", "help", "Explains a command");
    cli_help_shared();
    printf("      --version            version\n\n"
           "Exit: 0 ok, 1 error, 2 usage, 3 no Redis, 4 refused by Redis,\n"
           "5 no responder, 27 timeout.\n"
           "Try 'evbus demo' first.\n");
}

static int help_for(int count, char **words)
{
    const struct cli_command *command = count > 0 ? find(words[0]) : NULL;
    if (count > 0 && !command)
        return cli_usage(NULL, "no command \"%s\"", words[0]);
    if (command)
        cli_help_command(command);
    else
        help();
    return CLI_OK;
}

static int dispatch(struct cli *cli, int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        printf("evbus %s\n", evbus_version());
        return CLI_OK;
    }
    if (argc > 1 && strcmp(argv[1], "--help") == 0)
        return help_for(0, NULL);
    if (cli_parse(cli, NULL, argc, argv, NULL, NULL) != 0)
        return cli->status;
    if (cli->count == 0) {
        help();
        return CLI_USAGE;
    }
    if (strcmp(cli->words[0], "help") == 0)
        return help_for(cli->count - 1, cli->words + 1);
    const struct cli_command *command = find(cli->words[0]);
    if (!command)
        return cli_usage(NULL, "no command \"%s\"", cli->words[0]);
    return command->run(cli, cli->count, cli->words);
}

int main(int argc, char **argv)
{
    struct cli cli;
    signal(SIGPIPE, SIG_IGN); /* a reader that went away is an error of write(2) */
    int status = cli_init(&cli);
    if (status == CLI_OK)
        status = dispatch(&cli, argc, argv);
    cli_fini(&cli);
    if (fflush(stdout) != 0 && status == CLI_OK)
        status = CLI_ERROR;
    return status;
}
