/* test_rand.c - the pool gives nothing twice, not even to a child, and below() has no bias. */
#include "rand.h"
#include "unit.h"
#include <sys/wait.h>
#include <unistd.h>

enum { SAMPLE = 64 };

static uint64_t next_word;
static int fills;

static void teardown(void)
{
    evb_rand_set(NULL);
    next_word = 0;
    fills = 0;
}

/* What a child of this process draws. */
static void child_draws(unsigned char out[SAMPLE])
{
    int ends[2], status;
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        evb_rand_bytes(out, SAMPLE);
        _exit(write(ends[1], out, SAMPLE) == SAMPLE ? 0 : 1);
    }
    ck_assert_int_eq(read(ends[0], out, SAMPLE), SAMPLE);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    close(ends[0]);
    close(ends[1]);
}

START_TEST(children_draw_their_own)
{
    unsigned char drawn[4][SAMPLE];
    evb_rand_bytes(drawn[0], SAMPLE); /* the pool is filled and would be copied */
    child_draws(drawn[0]);
    child_draws(drawn[1]);
    evb_rand_bytes(drawn[2], SAMPLE);
    child_draws(drawn[3]);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < i; j++)
            ck_assert_mem_ne(drawn[i], drawn[j], SAMPLE);
}
END_TEST

static void *draw(void *out)
{
    evb_rand_bytes(out, SAMPLE);
    return NULL;
}

START_TEST(threads_draw_their_own)
{
    unsigned char drawn[8][SAMPLE];
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
        threads[i] = thread_start(draw, drawn[i]);
    for (int i = 0; i < 8; i++) {
        thread_join(threads[i]);
        for (int j = 0; j < i; j++)
            ck_assert_mem_ne(drawn[i], drawn[j], SAMPLE);
    }
}
END_TEST

static void fill_counting(void *out, size_t length)
{
    fills++;
    for (size_t i = 0; i + 8 <= length; i += 8, next_word++)
        memcpy((char *)out + i, &next_word, 8);
}

START_TEST(nothing_is_given_twice)
{
    static bool given[20000];
    uint64_t words[16];
    evb_rand_set(fill_counting);
    for (int i = 0; i < 4000; i++) {
        size_t n = 1 + (size_t)i % 4;
        evb_rand_bytes(words, n * 8);
        for (size_t j = 0; j < n; j++) {
            ck_assert_uint_lt(words[j], EVB_COUNT(given));
            ck_assert(!given[words[j]]);
            given[words[j]] = true;
        }
    }
    ck_assert_int_lt(fills, 50); /* a pool, not a call each */
}
END_TEST

START_TEST(sizes)
{
    static unsigned char big[100000];
    uint64_t last;
    evb_rand_set(fill_counting);
    evb_rand_bytes(big, 0);
    ck_assert_int_eq(fills, 0);
    evb_rand_bytes(big, sizeof big);
    ck_assert_int_eq(fills, 1);
    memcpy(&last, big + sizeof big - 8, 8);
    ck_assert_uint_eq(last, sizeof big / 8 - 1);
    for (size_t length = 4090; length < 4100; length++) {
        memset(big, 0xee, sizeof big);
        evb_rand_set(NULL);
        evb_rand_bytes(big, length);
        ck_assert_uint_eq(big[length], 0xee);
        ck_assert_mem_ne(big + length - 8, "\xee\xee\xee\xee\xee\xee\xee\xee", 8);
    }
}
END_TEST

/* Dice that show `shown` first and 5 ever after. */
static uint64_t shown;

static void fill_shown(void *out, size_t length)
{
    const uint64_t five = 5;
    for (size_t i = 0; i + 8 <= length; i += 8)
        memcpy((char *)out + i, i + 16 <= length ? &five : &shown, 8);
}

static uint64_t below(uint64_t bound, uint64_t dice)
{
    shown = dice;
    evb_rand_set(fill_shown);
    return evb_rand_below(bound);
}

static const uint64_t bounds[] = {2,
                                  3,
                                  6,
                                  10,
                                  1000,
                                  4096,
                                  UINT64_C(1) << 32,
                                  (UINT64_C(1) << 63) - 1,
                                  UINT64_C(1) << 63,
                                  (UINT64_C(1) << 63) + 1,
                                  UINT64_MAX - 1,
                                  UINT64_MAX};

/* A word counts unless it lies in the incomplete range at the top: then each result has as many
 * words as any other. */
START_TEST(no_bias)
{
    uint64_t bound = bounds[_i], whole = UINT64_MAX / bound * bound;
    bool divides = (bound & (bound - 1)) == 0;
    ck_assert_uint_eq(below(bound, 0), 0);
    ck_assert_uint_eq(below(bound, bound - 1), bound - 1);
    ck_assert_uint_eq(below(bound, whole - 1), bound - 1);
    if (!divides) {
        ck_assert_uint_eq(below(bound, whole), 5 % bound); /* thrown again */
        ck_assert_uint_eq(below(bound, UINT64_MAX), 5 % bound);
    }
}
END_TEST

START_TEST(below_nothing_and_one)
{
    ck_assert_uint_eq(evb_rand_below(0), 0);
    for (int i = 0; i < 100; i++)
        ck_assert_uint_eq(evb_rand_below(1), 0);
}
END_TEST

/* Pearson's chi-squared with 9 degrees of freedom: beyond 45 once in a million runs. */
START_TEST(the_kernels_dice_are_fair)
{
    enum { SIDES = 10, THROWS = 100000 };
    double counts[SIDES] = {0}, chi = 0, want = (double)THROWS / SIDES;
    for (int i = 0; i < THROWS; i++)
        counts[evb_rand_below(SIDES)]++;
    for (int i = 0; i < SIDES; i++)
        chi += (counts[i] - want) * (counts[i] - want) / want;
    ck_assert_msg(chi < 45, "chi squared %f", chi);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rand");
    TCase *tests = unit_case(suite, "rand");
    tcase_add_checked_fixture(tests, NULL, teardown);
    tcase_add_test(tests, children_draw_their_own);
    tcase_add_test(tests, threads_draw_their_own);
    tcase_add_test(tests, nothing_is_given_twice);
    tcase_add_test(tests, sizes);
    tcase_add_loop_test(tests, no_bias, 0, (int)EVB_COUNT(bounds));
    tcase_add_test(tests, below_nothing_and_one);
    tcase_add_test(tests, the_kernels_dice_are_fair);
    return unit_run(suite);
}
