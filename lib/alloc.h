/* alloc.h - every allocation of the library goes through here (evbus_set_allocator). Any thread. */
#ifndef EVB_ALLOC_H
#define EVB_ALLOC_H
#include <stdbool.h>
#include <stddef.h>

void *evb_alloc(size_t size);
void *evb_calloc(size_t count, size_t size); /* zeroed; NULL on overflow too */
void *evb_resize(void *old, size_t size);
void evb_free(void *memory);
char *evb_strndup(const char *text, size_t length);
char *evb_strdup(const char *text);
void evb_wipe_free(char *secret); /* overwrites a NUL-terminated secret first; NULL is fine */
/* The caller brought an allocator, or a sanitizer or valgrind watches malloc's: nothing is kept
 * back for the next time. */
bool evb_alloc_is_hooked(void);

#endif
