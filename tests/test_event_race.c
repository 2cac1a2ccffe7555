/* test_event_race.c - two threads at one event. Under a thread sanitizer it says most. */
#include "event.h"
#include "harness/check.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define NODE  "0123456789abcdef"
#define RACES 2000

struct race {
    pthread_barrier_t start, end;
    evbus_event *event;
    const char *ids[2], *times[2];
    int frozen[2];
};

static void race_step(struct race *race, int who)
{
    pthread_barrier_wait(&race->start);
    race->ids[who] = evbus_event_id(race->event);
    race->times[who] = evbus_event_timestamp(race->event);
    ck_assert_int_eq((int)strlen(race->ids[who]), 36);
    ck_assert_int_eq((int)strlen(race->times[who]), 24);
    evbus_event_unref(race->event);
    pthread_barrier_wait(&race->end);
}

static void *race_run(void *user)
{
    for (int i = 0; i < RACES; i++)
        race_step(user, 1);
    return NULL;
}

/* Both readers see one whole id; the last one to let go frees (a sanitizer sees who does not). */
START_TEST(text_race)
{
    struct race race;
    pthread_t thread;
    pthread_barrier_init(&race.start, NULL, 2);
    pthread_barrier_init(&race.end, NULL, 2);
    ck_assert_int_eq(pthread_create(&thread, NULL, race_run, &race), 0);
    for (int i = 0; i < RACES; i++) {
        race.event = evb_event_make("task.created", 12, "1", 1, true);
        ck_assert_int_eq(evb_event_freeze(race.event, NODE, NULL), 0);
        evbus_event_ref(race.event);
        evbus_event *held = evbus_event_ref(race.event);
        race_step(&race, 0);
        ck_assert_ptr_eq(race.ids[0], race.ids[1]);
        ck_assert_ptr_eq(race.times[0], race.times[1]);
        ck_assert_str_eq(race.ids[0], evbus_event_id(held));
        evbus_event_unref(held);
    }
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&race.start);
    pthread_barrier_destroy(&race.end);
}
END_TEST

static void *freeze_run(void *user)
{
    struct race *race = user;
    for (int i = 0; i < RACES; i++) {
        pthread_barrier_wait(&race->start);
        race->frozen[1] = evb_event_freeze(race->event, "1111111111111111", "one");
        pthread_barrier_wait(&race->end);
    }
    return NULL;
}

START_TEST(freeze_race)
{
    struct race race;
    pthread_t thread;
    pthread_barrier_init(&race.start, NULL, 2);
    pthread_barrier_init(&race.end, NULL, 2);
    ck_assert_int_eq(pthread_create(&thread, NULL, freeze_run, &race), 0);
    for (int i = 0; i < RACES; i++) {
        race.event = evb_event_make("task.created", 12, "1", 1, true);
        pthread_barrier_wait(&race.start);
        race.frozen[0] = evb_event_freeze(race.event, "0000000000000000", "zero");
        pthread_barrier_wait(&race.end);
        ck_assert_int_eq(race.frozen[0] + race.frozen[1], EVBUS_EINVAL);
        ck_assert_str_eq(evbus_event_source(race.event), race.frozen[0] ? "one" : "zero");
        evbus_event_unref(race.event);
    }
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&race.start);
    pthread_barrier_destroy(&race.end);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("event, races");
    TCase *tests = tcase_create("races");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, text_race);
    tcase_add_test(tests, freeze_race);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
