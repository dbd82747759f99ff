/* The least that a server can do: takes WebSocket messages, counts them, acknowledges. It tells how
 * much bench/load/load.c can send, so how much of a figure is the load's own.
 *
 *     serve PORT
 *
 * Speaks sensorlink's side of the gateway: WELCOME after the first message, nothing after the
 * second, then one cumulative ACK for all that a read brought.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ROOM = 1 << 18 };
typedef struct { int fd, upgraded; uint32_t messages; size_t size; uint8_t in[ROOM]; } Client;

static const char UPGRADED[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Protocol: sensorlink.v1\r\n\r\n";
static const uint8_t WELCOME[] = { 0x82, 3, 0xa1, 0, 2 };

static size_t frame(const uint8_t *p, size_t size)
{
    if (size < 2) return 0;
    size_t head = 2, length = p[1] & 0x7f;
    if (length == 126) head = 4; else if (length == 127) head = 10;
    if (size < head) return 0;
    if (head > 2) {
        length = 0;
        for (size_t i = 2; i < head; i++) length = length << 8 | p[i];
    }
    head += 4;
    return size < head + length ? 0 : head + length;
}

static void say(Client *c, const void *bytes, size_t size)
{
    if (send(c->fd, bytes, size, MSG_NOSIGNAL) < 0 && errno != EAGAIN) c->upgraded = -1;
}

static void acknowledge(Client *c)
{
    uint32_t n = htonl(c->messages - 2);
    uint8_t ack[] = { 0x82, 9, 0xa2, 0, 3, 2, 0x1a, 0, 0, 0, 0 };
    memcpy(ack + 7, &n, 4);
    say(c, ack, sizeof ack);
}

static void take(Client *c)
{
    size_t at = 0, used;
    uint32_t before = c->messages;
    if (!c->upgraded) {
        uint8_t *end = memmem(c->in, c->size, "\r\n\r\n", 4);
        if (!end) return;
        at = (size_t)(end + 4 - c->in);
        c->upgraded = 1;
        say(c, UPGRADED, sizeof UPGRADED - 1);
    }
    while ((used = frame(c->in + at, c->size - at))) {
        at += used;
        if (++c->messages == 1) say(c, WELCOME, sizeof WELCOME);
    }
    memmove(c->in, c->in + at, c->size -= at);
    if (c->messages > 2 && c->messages > before) acknowledge(c);
}

static int readable(Client *c)
{
    for (;;) {
        ssize_t n = recv(c->fd, c->in + c->size, ROOM - c->size, 0);
        if (n < 0 && errno == EAGAIN) return 1;
        if (n <= 0) return 0;
        c->size += (size_t)n;
        take(c);
        if (c->upgraded < 0) return 0;
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) return fputs("serve PORT\n", stderr), 1;
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])) };
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1, door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0);
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(door, (struct sockaddr *)&at, sizeof at) || listen(door, 1024)) return perror("serve"), 1;
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL }, events[256];
    epoll_ctl(epoll, EPOLL_CTL_ADD, door, &event);
    for (;;) {
        int n = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            Client *c = events[i].data.ptr;
            if (c) {
                if (!readable(c)) { close(c->fd); free(c); }
                continue;
            }
            int fd = accept4(door, NULL, NULL, SOCK_NONBLOCK);
            if (fd < 0) continue;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            c = calloc(1, sizeof *c);
            c->fd = fd;
            struct epoll_event own = { .events = EPOLLIN, .data.ptr = c };
            epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &own);
        }
    }
}
