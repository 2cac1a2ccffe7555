/* test_event.c - making, freezing and sharing events, and views of them. */
#include "event_fixture.h"
#include "rand.h"

START_TEST(publish_makes)
{
    evb_clock_set(stopped_clock, NULL);
    evb_rand_set(rfc_dice);
    evbus_event *event = make("{\"a\":1}");
    size_t length = 0;
    ck_assert_str_eq(evbus_event_id(event), "");
    ck_assert_str_eq(evbus_event_timestamp(event), "");
    ck_assert_ptr_null(evbus_event_node(event));
    ck_assert_int_eq(evb_event_freeze(event, NODE, "billing"), 0);
    ck_assert_str_eq(evbus_event_type(event), "task.created");
    ck_assert_str_eq(evbus_event_id(event), "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    ck_assert_str_eq(evbus_event_correlation(event), evbus_event_id(event));
    ck_assert_str_eq(evbus_event_timestamp(event), "2022-02-22T19:22:22.000Z");
    ck_assert_int_eq(evbus_event_time_us(event), stopped_clock());
    ck_assert_str_eq(evbus_event_version(event), "1.0");
    ck_assert_str_eq(evbus_event_source(event), "billing");
    ck_assert_str_eq(evbus_event_node(event), NODE);
    ck_assert_str_eq(evbus_event_data(event, &length), "{\"a\":1}");
    ck_assert_uint_eq(length, 7);
    ck_assert_int_eq(evbus_event_is_json(event), 1);
    ck_assert_int_eq(evbus_event_origin(event), EVBUS_ORIGIN_LOCAL);
    ck_assert_int_eq(evbus_event_ttl(event), 0);
    ck_assert_int_eq(evbus_event_attr_count(event), 0);
    ck_assert_ptr_null(event->pieces); /* one allocation */
    ck_assert_ptr_eq(evbus_event_id(event), evbus_event_id(event));
    evbus_event_unref(event);
    evb_clock_set(NULL, NULL);
    evb_rand_set(NULL);
}
END_TEST

START_TEST(freeze_once)
{
    evbus_event *event = make(NULL);
    ck_assert_int_eq(evb_event_freeze(event, NODE, NULL), 0);
    refused(evb_event_freeze(event, "fedcba9876543210", "other"));
    ck_assert_str_eq(evbus_event_node(event), NODE);
    ck_assert_str_eq(evbus_event_source(event), "");
    ck_assert_ptr_null(evbus_event_data(event, NULL));
    ck_assert_int_eq(evbus_event_is_json(event), 0);
    evbus_event_unref(event);
}
END_TEST

/* What a bus refused goes to the next one without a trace of the first. */
START_TEST(thaw)
{
    evbus_event *event = make("1");
    if (_i) {
        ck_assert_int_eq(evbus_event_set_source(event, "mine"), 0);
        ck_assert_int_eq(evbus_event_set_time_us(event, 5), 0);
    }
    uint32_t size = event->size;
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(
            evb_event_freeze(event, NODE, "a source too long for the spare room of it"), 0);
        ck_assert_str_ne(evbus_event_id(event), "");
        evb_event_thaw(event);
        ck_assert_str_eq(evbus_event_source(event), _i ? "mine" : "");
        ck_assert_str_eq(evbus_event_id(event), "");
        ck_assert_ptr_null(evbus_event_node(event));
        ck_assert_int_eq(evbus_event_time_us(event), _i ? 5 : 0);
        ck_assert_uint_eq(event->size, size);
    }
    ck_assert_int_eq(evb_event_freeze(event, NODE, "other"), 0);
    ck_assert_str_eq(evbus_event_source(event), _i ? "mine" : "other");
    evbus_event_unref(event);
}
END_TEST

START_TEST(null_is_nothing)
{
    ck_assert_ptr_null(evbus_event_ref(NULL));
    evbus_event_unref(NULL);
}
END_TEST

START_TEST(too_big)
{
    ck_assert_ptr_null(evb_event_make("a", 1, "1", SIZE_MAX, true));
    ck_assert_ptr_null(evb_event_alloc(SIZE_MAX));
}
END_TEST

START_TEST(long_source)
{
    evbus_event *event = make("1");
    char source[256];
    memset(source, 's', sizeof source);
    source[255] = '\0';
    ck_assert_int_eq(evb_event_freeze(event, NODE, source), 0);
    ck_assert_str_eq(evbus_event_source(event), source);
    evbus_event_unref(event);
}
END_TEST

/* ---- no memory: every n-th allocation fails once ---- */
static int allocations_left;

static void *scarce_alloc(size_t size)
{
    return allocations_left-- == 0 ? NULL : malloc(size);
}

static bool build_all(void)
{
    char text[256];
    memset(text, 'x', sizeof text);
    text[255] = '\0';
    evbus_event *event = evbus_event_new("a"), *twin = NULL;
    bool done =
        event && !evbus_event_set_id(event, text) && !evbus_event_set_json(event, text, 200) &&
        !evbus_event_set_attr(event, text, text) && !evbus_event_set_attr(event, "b", text) &&
        !evb_event_freeze(event, NODE, text) && (twin = evbus_event_copy(event)) != NULL;
    if (!done)
        ck_assert_int_eq(evbus_last_code(), EVBUS_ENOMEM);
    evbus_event_unref(event);
    evbus_event_unref(twin);
    return done;
}

static const struct {
    const char *text;
    size_t length;
    const char *clean;
} refusals[] = {
    {"", 0, ""},
    {"no", 2, "no"},
    {"a\tb\nc\x7f", 6, "a b c "},
    {"caf\xc3\xa9", 5, "caf\xc3\xa9"},
    {"caf\xc3", 4, "caf?"},
    {"\xff\xc3\xa9", 3, "\?\?\?"},
    {"a\0b", 3, "a b"},
};

START_TEST(refusals_are_cleaned)
{
    char text[EVB_REFUSAL_MAX + 20];
    memcpy(text, refusals[_i].text, refusals[_i].length + 1);
    ck_assert_uint_eq(evb_refusal_clean(text, refusals[_i].length), strlen(refusals[_i].clean));
    ck_assert_str_eq(text, refusals[_i].clean);
}
END_TEST

/* Cut between characters. */
START_TEST(refusals_are_cut)
{
    for (size_t lead = 0; lead < 3; lead++) {
        char text[EVB_REFUSAL_MAX + 20] = "";
        memset(text, 'x', lead);
        while (strlen(text) < EVB_REFUSAL_MAX + 10)
            strcat(text, "\xe2\x82\xac");
        uint32_t length = evb_refusal_clean(text, strlen(text));
        ck_assert_uint_eq(length, strlen(text));
        ck_assert_uint_gt(length, EVB_REFUSAL_MAX - 3);
        ck_assert_uint_le(length, EVB_REFUSAL_MAX);
        ck_assert_uint_eq((length - lead) % 3, 0);
        ck_assert_ptr_null(strchr(text, '?'));
    }
}
END_TEST

START_TEST(no_memory)
{
    int n = 0;
    ck_assert_int_eq(evbus_set_allocator(scarce_alloc, realloc, free), 0);
    do
        allocations_left = n++;
    while (!build_all() && n < 100);
    ck_assert_int_gt(n, 8);
    ck_assert_int_lt(n, 100);
    evbus_set_allocator(NULL, NULL, NULL);
}
END_TEST

/* It shows all that the other has, and one attribute more; the other stays as it is. */
START_TEST(a_view)
{
    static const char *const names[] = {"a", "n", NULL};
    evbus_event *event = evbus_event_new("t.x");
    evbus_event_set_json(event, "{\"a\":1}", 7);
    evbus_event_set_correlation(event, "c");
    evbus_event_set_ttl(event, 50);
    for (int i = 0; names[i]; i++)
        evbus_event_set_attr(event, names[i], "old");
    ck_assert_int_eq(evb_event_freeze(event, "0123456789abcdef", "me"), 0);
    evbus_event *view = evb_event_view(event, "n", "17", 3),
                *plain = evb_event_view(event, "x", "", 0);
    ck_assert(view && plain);
    ck_assert_str_eq(evbus_event_attr(view, "n"), "17");
    ck_assert_str_eq(evbus_event_attr(view, "a"), "old");
    ck_assert_int_eq(evbus_event_attr_count(view), 2);
    ck_assert_int_eq(evbus_event_attr_count(plain), 3);
    ck_assert_str_eq(evbus_event_attr(event, "n"), "old");
    ck_assert_uint_eq(view->term, 3);
    ck_assert_str_eq(evbus_event_id(view), evbus_event_id(event));
    ck_assert_str_eq(evbus_event_type(view), "t.x");
    ck_assert_str_eq(evbus_event_data(view, NULL), "{\"a\":1}");
    ck_assert_str_eq(evbus_event_correlation(view), "c");
    ck_assert_str_eq(evbus_event_source(view), "me");
    ck_assert_str_eq(evbus_event_node(view), "0123456789abcdef");
    ck_assert_str_eq(evbus_event_timestamp(view), evbus_event_timestamp(event));
    ck_assert_int_eq(evbus_event_ttl(view), 50);
    ck_assert_int_eq(evbus_event_set_attr(view, "a", "new"), EVBUS_EINVAL);
    ck_assert_uint_gt(view->size, event->size);
    evbus_event_unref(event); /* the views keep it */
    evbus_event_unref(plain);
    ck_assert_str_eq(evbus_event_data(view, NULL), "{\"a\":1}");
    evbus_event_unref(view);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("event");
    TCase *tests = tcase_create("event");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_add_test(tests, a_view);
    tcase_add_test(tests, publish_makes);
    tcase_add_test(tests, freeze_once);
    tcase_add_loop_test(tests, thaw, 0, 2);
    tcase_add_test(tests, null_is_nothing);
    tcase_add_test(tests, too_big);
    tcase_add_test(tests, long_source);
    tcase_add_loop_test(tests, refusals_are_cleaned, 0, (int)EVB_COUNT(refusals));
    tcase_add_test(tests, refusals_are_cut);
    tcase_add_test(tests, no_memory);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
