/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * tts.*: the TTS decoder's stream.
 */
#include "console.h"
#include "esp_heap_caps.h"
#include "tts_decoder.h"

static void add_state(console_reply_t *reply)
{
    tts_decoder_info_t info;
    tts_decoder_get_info(&info);
    telemetry_str(console_room(reply, 40), "state", tts_decoder_state_name(info.state));
    console_u32(reply, "written", info.written);
    console_u32(reply, "psram_free", (uint32_t)heap_caps_get_free_size(MALLOC_CAP_SPIRAM));
    console_u32(reply, "required", TTS_REQUIRED_PSRAM);
    console_u32(reply, "largest", (uint32_t)heap_caps_get_largest_free_block(MALLOC_CAP_SPIRAM));
}

static esp_err_t tts_open(const console_request_t *request, console_reply_t *reply)
{
    esp_err_t err = tts_decoder_open(console_arg_u32(request, "bytes", 0));
    if (err == ESP_ERR_NO_MEM) {
        return console_fail(reply, err, "need %u of PSRAM and a block of %u, have %u and a block of %u",
                            TTS_REQUIRED_PSRAM, TTS_STREAM_BUFFER_SIZE,
                            (unsigned)heap_caps_get_free_size(MALLOC_CAP_SPIRAM),
                            (unsigned)heap_caps_get_largest_free_block(MALLOC_CAP_SPIRAM));
    }
    if (err != ESP_OK) {
        return console_fail(reply, err, "a stream is open already");
    }
    add_state(reply);
    return ESP_OK;
}

static esp_err_t tts_write(const console_request_t *request, console_reply_t *reply)
{
    uint8_t data[CONSOLE_BASE64_MAX];
    size_t length = 0;
    console_parse_base64(console_arg(request, "data"), data, sizeof(data), &length);
    esp_err_t err = tts_decoder_write(data, length);
    if (err != ESP_OK) {
        return console_fail(reply, err,
                            err == ESP_ERR_INVALID_SIZE ? "the stream has no room for %u bytes more"
                                                        : "no stream is open for %u bytes",
                            (unsigned)length);
    }
    add_state(reply);
    return ESP_OK;
}

static esp_err_t tts_close(const console_request_t *request, console_reply_t *reply)
{
    (void)request;
    esp_err_t err = tts_decoder_close();
    if (err != ESP_OK) {
        return console_fail(reply, err, "no stream is open");
    }
    add_state(reply);
    return ESP_OK;
}

static const console_command_t COMMANDS[] = {
    {"tts.open", "[bytes=N]", tts_open, "open a stream (of so many bytes): allocates 64 KB of PSRAM"},
    {"tts.write", "data=BASE64", tts_write, "append to the stream"},
    {"tts.close", "", tts_close, "end the stream, give the buffer back"},
};

const console_group_t CMD_TTS = CONSOLE_GROUP(COMMANDS);
