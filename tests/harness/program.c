/* program.c - other programs, run as a user would. */
#include "harness/program.h"
#include "harness/suite.h"
#include "harness/until.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { END_MS = 30000, TEXT_MS = 15000 };

const char *program_built(const char *name)
{
    static char path[256];
    const char *build = getenv("B");
    snprintf(path, sizeof path, "%s/%s", build ? build : "build", name);
    return path;
}

static int input_of(const char *input)
{
    char path[100];
    if (!input)
        return open("/dev/null", O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof path, "%s/in.XXXXXX", suite_folder());
    int fd = mkostemp(path, O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, input, strlen(input)), (ssize_t)strlen(input));
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static int output_to(char *path, size_t room)
{
    snprintf(path, room, "%s/out.XXXXXX", suite_folder());
    int fd = mkostemp(path, O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

struct program *program_start(const char *input, char *const argv[])
{
    struct program *program = calloc(1, sizeof *program);
    ck_assert_ptr_nonnull(program);
    int in = input_of(input), out = output_to(program->out_path, sizeof program->out_path);
    int err = output_to(program->err_path, sizeof program->err_path);
    pid_t parent = getpid(), pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(in, STDIN_FILENO);
        dup2(out, STDOUT_FILENO);
        dup2(err, STDERR_FILENO);
        close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
        if (getppid() == parent)
            execvp(argv[0], argv);
        _exit(127);
    }
    program->pid = pid;
    close(in);
    close(out);
    close(err);
    return program;
}

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "re");
    char *text = calloc(1, 1);
    size_t length = 0, room = 0;
    ck_assert(file && text);
    do {
        room += 1 << 16;
        text = realloc(text, room + 1);
        ck_assert_ptr_nonnull(text);
        length += fread(text + length, 1, room - length, file);
    } while (length == room);
    text[length] = '\0';
    fclose(file);
    return text;
}

static void read_again(struct program *program)
{
    free(program->out);
    free(program->err);
    program->out = read_file(program->out_path);
    program->err = read_file(program->err_path);
}

static void expect(struct program *program, bool out, const char *text)
{
    struct wait wait = wait_for(TEXT_MS);
    do
        read_again(program);
    while (!strstr(out ? program->out : program->err, text) && wait_more(&wait));
    if (!strstr(out ? program->out : program->err, text))
        ck_abort_msg("no \"%s\" in its %s; out: %.1500s\nerr: %.1500s", text,
                     out ? "output" : "errors", program->out, program->err);
}

void program_expect_out(struct program *program, const char *text)
{
    expect(program, true, text);
}

void program_expect_err(struct program *program, const char *text)
{
    expect(program, false, text);
}

static bool reap(struct program *program)
{
    int status;
    if (waitpid(program->pid, &status, WNOHANG) != program->pid)
        return false;
    program->pid = 0;
    program->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return true;
}

int program_end(struct program *program)
{
    struct wait wait = wait_for(END_MS);
    while (program->pid && !reap(program) && wait_more(&wait))
        ;
    read_again(program);
    if (program->pid)
        ck_abort_msg("it does not end; out: %.1500s\nerr: %.1500s", program->out, program->err);
    return program->status;
}

void program_signal(struct program *program, int number)
{
    ck_assert_int_gt(program->pid, 0);
    ck_assert_int_eq(kill(program->pid, number), 0);
}

void program_free(struct program *program)
{
    if (program->pid > 0) {
        kill(program->pid, SIGKILL);
        waitpid(program->pid, NULL, 0);
    }
    free(program->out);
    free(program->err);
    free(program);
}
