/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer target: feeds any bytes to the console's line buffer, parser and argument check. Invariants are
 * asserted here; the sanitizers detect memory errors and undefined behaviour.
 */
#include <assert.h>
#include <string.h>

#include "array_size.h"
#include "console_caps.h"
#include "console_parser.h"

/* Replaces the real function, which needs ESP-IDF's capability bits: here only the list's format matters. */
bool console_caps_parse(const char *list, uint32_t *caps)
{
    *caps = 0;
    return strspn(list, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789,") == strlen(list);
}

static const char *const USAGES[] = {
    "",
    "caps=CAPS [size=N] [leave=N] [block=N]",
    "caps=CAPS sizes=SIZES",
    "what=get_stats|threshold|log n=N",
    "data=BASE64",
    "context=TEXT [set=1]",
};

static void in_line(const console_line_t *line, const char *text)
{
    assert(text >= line->bytes && text <= line->bytes + CONSOLE_LINE_MAX);
    assert(memchr(text, '\0', (size_t)(line->bytes + sizeof(line->bytes) - text)) != NULL);
}

static void one_line(console_line_t *line)
{
    console_request_t request;
    console_problem_t problem;
    assert(line->length <= CONSOLE_LINE_MAX);
    if (console_parse(line, &request) != CONSOLE_LINE_OK) {
        return;
    }
    in_line(line, request.command);
    assert(*request.command != '\0' && request.arg_count <= CONSOLE_ARGS_MAX);
    for (size_t i = 0; i < request.arg_count; i++) {
        in_line(line, request.args[i].key);
        in_line(line, request.args[i].value);
        assert(console_arg(&request, request.args[i].key) == request.args[i].value);
    }
    for (size_t i = 0; i < ARRAY_SIZE(USAGES); i++) {
        if (!console_check_args(USAGES[i], &request, &problem)) {
            assert(problem.reason != NULL && problem.value != NULL);
            assert(strnlen(problem.key, problem.key_length) == problem.key_length);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static console_line_t s_line;
    console_line_reset(&s_line);
    for (size_t i = 0; i < size; i++) {
        if (console_line_feed(&s_line, (char)data[i])) {
            one_line(&s_line);
            console_line_reset(&s_line);
        }
    }
    one_line(&s_line);
    return 0;
}
