/* suite.c - the frame of a test program. */
#include "harness/suite.h"
#include "harness/peer.h"
#include "harness/until.h"
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef __has_feature
#define __has_feature(name) 0 /* gcc has macros instead */
#endif

#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
enum { SANITIZED = 2, SCALE = 15, PATIENCE = 6 };
#elif defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
enum { SANITIZED = 1, SCALE = 40, PATIENCE = 3 };
#else
enum { SANITIZED = 0, SCALE = 100, PATIENCE = 1 };
#endif

static char folder[64];

const char *suite_folder(void)
{
    return folder;
}

int suite_scaled(int count)
{
    const char *text = getenv("EVB_TEST_SCALE");
    long percent = text ? strtol(text, NULL, 10) : SCALE;
    long scaled = (long)count * (percent > 0 ? percent : SCALE) / 100;
    return scaled > 0 ? (int)scaled : 1;
}

int suite_rounds(int count)
{
    const char *text = getenv("EVB_TEST_ROUNDS");
    long rounds = text ? strtol(text, NULL, 10) : 0;
    return rounds > 0 && rounds <= INT_MAX ? (int)rounds : suite_scaled(count);
}

unsigned suite_seed(const char *what)
{
    const char *text = getenv("EVB_TEST_SEED");
    unsigned seed = text ? (unsigned)strtoul(text, NULL, 10) : (unsigned)now_us();
    seed = seed ? seed : 1;
    printf("figure: %s: EVB_TEST_SEED=%u\n", what, seed);
    return seed;
}

unsigned suite_seed_in(const char *name, const char *what)
{
    const char *text = getenv(name);
    unsigned seed = text ? (unsigned)strtoul(text, NULL, 10) : 0;
    return seed ? seed : suite_seed(what);
}

int suite_number(const char *name, int least, int most, int otherwise)
{
    const char *text = getenv(name);
    long value = text && *text ? strtol(text, NULL, 10) : least - 1L;
    return value >= least && value <= most ? (int)value : otherwise;
}

int suite_patience(int ms)
{
    return ms * PATIENCE;
}

bool suite_sanitized(void)
{
    return SANITIZED;
}

bool suite_forks_whole(void)
{
    return SANITIZED != 2;
}

void suite_add(Suite *suite, const char *name, const TTest *test, int seconds)
{
    TCase *tcase = tcase_create(name);
    tcase_set_timeout(tcase, suite_patience(seconds));
    tcase_add_test(tcase, test);
    suite_add_tcase(suite, tcase);
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

int suite_run(Suite *suite, int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "peer")) {
        srunner_free(srunner_create(suite));
        return peer_main();
    }
    snprintf(folder, sizeof folder, "/tmp/evbus-test.XXXXXX");
    if (!mkdtemp(folder)) {
        fprintf(stderr, "no temporary folder: %s\n", strerror(errno));
        return EXIT_FAILURE;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
