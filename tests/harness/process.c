/* process.c - reads /proc/self. */
#include "harness/process.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static long status_value(const char *key)
{
    char line[256];
    long value = -1;
    size_t length = strlen(key);
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, key, length))
            value = strtol(line + length, NULL, 10);
    if (file)
        fclose(file);
    return value;
}

long process_rss_kib(void)
{
    return status_value("VmRSS:");
}

long process_peak_kib(void)
{
    return status_value("VmHWM:");
}

void process_peak_reset(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "5", 1) != 1)
        perror("/proc/self/clear_refs");
    if (fd >= 0)
        close(fd);
}

int process_threads(void)
{
    return (int)status_value("Threads:");
}

static bool sleeps(const char *thread)
{
    char path[300], line[256] = "";
    snprintf(path, sizeof path, "/proc/self/task/%s/stat", thread);
    FILE *file = fopen(path, "re");
    const char *state = file && fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
    if (file)
        fclose(file);
    return !state || state[2] == 'S';
}

bool process_others_sleep(void *unused)
{
    bool all = true;
    struct dirent *entry;
    DIR *folder = opendir("/proc/self/task");
    (void)unused;
    while (folder && (entry = readdir(folder)))
        if (entry->d_name[0] != '.' && (pid_t)strtol(entry->d_name, NULL, 10) != getpid())
            all = sleeps(entry->d_name) && all;
    if (folder)
        closedir(folder);
    return all;
}

int process_fds(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (folder && readdir(folder))
        count++;
    if (folder)
        closedir(folder);
    return count - 3; /* ".", ".." and the folder itself */
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double figures_print(const char *what, const char *unit, double *values, size_t count)
{
    if (count == 0) {
        printf("figure: %s: n=0\n", what);
        return 0;
    }
    qsort(values, count, sizeof *values, compare);
    double p95 = values[(count * 95 + 99) / 100 - 1];
    printf("figure: %s: n=%zu p50=%.1f p95=%.1f max=%.1f %s\n", what, count,
           values[(count - 1) / 2], p95, values[count - 1], unit);
    fflush(stdout);
    return p95;
}
