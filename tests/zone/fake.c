/* SPDX-License-Identifier: Apache-2.0 */
#include "fake.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/io.h"

Gi__Agent__ToAgent *fake_next(int fd)
{
    uint8_t head[4];
    if (gi_read_full(fd, head, 4) < 0)
        return NULL;
    uint32_t len = head[0] | head[1] << 8 | head[2] << 16 | (uint32_t)head[3] << 24;
    cleanup_free uint8_t *data = malloc(len);
    if (!data)
        abort();
    return gi_read_full(fd, data, len) < 0 ? NULL : gi__agent__to_agent__unpack(NULL, len, data);
}

uint64_t fake_next_id(int fd)
{
    Gi__Agent__ToAgent *msg = fake_next(fd);
    uint64_t id = msg ? msg->id : 0;
    if (msg)
        gi__agent__to_agent__free_unpacked(msg, NULL);
    return id;
}

void fake_send(int fd, const Gi__Agent__FromAgent *msg)
{
    struct gi_buf b = GI_BUF_INIT(2u << 20);
    if (agent_frame_append(&b, &msg->base, NULL) == 0)
        send(fd, b.data, b.len, MSG_NOSIGNAL);
    gi_buf_free(&b);
}

void fake_reply(int fd, Gi__Agent__Reply *r)
{
    Gi__Agent__FromAgent msg = GI__AGENT__FROM_AGENT__INIT;
    msg.kind_case = GI__AGENT__FROM_AGENT__KIND_REPLY;
    msg.reply = r;
    fake_send(fd, &msg);
}

void fake_exit(int fd, const char *id, uint32_t code)
{
    Gi__Agent__Exit exit = GI__AGENT__EXIT__INIT;
    exit.exit_code = code;
    Gi__Agent__ContainerExit event = GI__AGENT__CONTAINER_EXIT__INIT;
    event.container_id = (char *)id;
    event.exit = &exit;
    Gi__Agent__FromAgent msg = GI__AGENT__FROM_AGENT__INIT;
    msg.kind_case = GI__AGENT__FROM_AGENT__KIND_EXIT;
    msg.exit = &event;
    fake_send(fd, &msg);
}

void fake_greet(int fd)
{
    uint64_t id = fake_next_id(fd);
    if (!id)
        return;
    Gi__Agent__HelloReply hello = GI__AGENT__HELLO_REPLY__INIT;
    hello.version = AGENT_PROTOCOL_VERSION;
    Gi__Agent__Reply r = GI__AGENT__REPLY__INIT;
    r.id = id;
    r.result_case = GI__AGENT__REPLY__RESULT_HELLO;
    r.hello = &hello;
    fake_reply(fd, &r);
}
