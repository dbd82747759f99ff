/* Many listeners of one event stream and the one who publishes to it: one thread, epoll.
 *
 *     listen PLAN CLIENTS AHEAD WARMUP_S SECONDS RATE
 *
 * PLAN is written by bench/broadcasts.py: the request of a listener, what the publisher says first,
 * and a message with a sequence number and the time (19 digits of nanoseconds after '@') patched
 * in. RATE 0: AHEAD events may be on their way that not all listeners have; else events/s.
 * Prints "ready" once all listen and came to rest, waits for a line, then prints one JSON object: events that
 * arrived within SECONDS at all listeners together, latencies (us), and listeners that were lost.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DIGITS = 19, TAIL = 64, ROOM = 1 << 18, SETTLE_NS = 300000000 };
typedef struct { int fd, heard, lost; uint64_t got; size_t kept; uint8_t tail[TAIL]; } Client;
typedef struct { uint8_t *bytes; uint32_t size, waits; } Part;

static uint32_t port, parts, seq_at, seq_width, time_at, count, ahead;
static Part request, *prelude, message;
static Client *clients;
static int epoll, publisher, lost;
static uint64_t begin_ns, end_ns, sent, counted, *latencies, latency_count, latency_room;
static uint8_t buffer[TAIL + ROOM];

static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("listen: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    exit(1);
}

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- the plan --------------------------------------------------------------------------- */

static uint32_t number(FILE *source)
{
    uint32_t value;
    if (fread(&value, 4, 1, source) != 1) die("the plan is cut off");
    return value;
}

static Part part(FILE *source)
{
    Part found = { 0 };
    found.waits = number(source);
    found.size = number(source);
    found.bytes = calloc(1, found.size + 1);
    if (found.size && fread(found.bytes, found.size, 1, source) != 1) die("the plan is cut off");
    return found;
}

static void read_plan(const char *path)
{
    FILE *source = fopen(path, "rb");
    if (!source) die("%s: %s", path, strerror(errno));
    port = number(source);
    seq_at = number(source);
    seq_width = number(source);
    time_at = number(source);
    parts = number(source);
    request = part(source);
    message = part(source);
    prelude = calloc(parts + 1, sizeof *prelude);
    for (uint32_t i = 0; i < parts; i++) prelude[i] = part(source);
    fclose(source);
}

/* ---- connections ------------------------------------------------------------------------ */

static int dial(void)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    if (connect(fd, (struct sockaddr *)&to, sizeof to)) die("connect: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void say(const Part *some)
{
    if (send(publisher, some->bytes, some->size, MSG_NOSIGNAL) != (ssize_t)some->size)
        die("the publisher cannot send: %s", strerror(errno));
}

/* Say the publisher's first words, each once something came back to the one before. */
static void introduce(void)
{
    publisher = dial();
    for (uint32_t i = 0; i < parts; i++) {
        say(&prelude[i]);
        if (prelude[i].waits && recv(publisher, buffer, ROOM, 0) <= 0) die("refused");
    }
    fcntl(publisher, F_SETFL, O_NONBLOCK);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
    epoll_ctl(epoll, EPOLL_CTL_ADD, publisher, &event);
}

static void publish(void)
{
    char digits[DIGITS + 1];
    snprintf(digits, sizeof digits, "%019llu", (unsigned long long)now_ns(CLOCK_MONOTONIC));
    memcpy(message.bytes + time_at, digits, DIGITS);
    sent++;
    for (uint32_t i = 0; i < seq_width; i++)
        message.bytes[seq_at + i] = (uint8_t)(sent >> 8 * (seq_width - 1 - i));
    say(&message);
}

/* ---- listening -------------------------------------------------------------------------- */

static void note(uint64_t stamp, uint64_t now)
{
    if (now < begin_ns || now >= end_ns) return;
    counted++;
    if (latency_count == latency_room) {
        latency_room = latency_room ? 2 * latency_room : 1 << 20;
        latencies = realloc(latencies, latency_room * sizeof *latencies);
    }
    latencies[latency_count++] = now - stamp;
}

static void drop(Client *c)
{
    if (!c->lost) lost++;
    c->lost = 1;
    epoll_ctl(epoll, EPOLL_CTL_DEL, c->fd, NULL);
}

/* Take what came; events whose digits are not all there stay for the next time. */
static void listen_to(Client *c, uint64_t now)
{
    memcpy(buffer, c->tail, c->kept);
    ssize_t n = recv(c->fd, buffer + c->kept, ROOM, MSG_DONTWAIT);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) drop(c);
        return;
    }
    c->heard = 1;
    size_t size = c->kept + (size_t)n, at = 0;
    uint8_t *found;
    while ((found = memchr(buffer + at, '@', size - at))) {
        size_t start = (size_t)(found - buffer);
        if (size - start <= DIGITS) break;
        char digits[DIGITS + 1] = { 0 };
        memcpy(digits, found + 1, DIGITS);
        c->got++;
        note(strtoull(digits, NULL, 10), now);
        at = start + 1 + DIGITS;
    }
    c->kept = found ? size - (size_t)(found - buffer) : 0;
    if (found) memcpy(c->tail, found, c->kept);
}

static void turn(int wait)
{
    struct epoll_event events[256];
    int n = epoll_wait(epoll, events, 256, wait);
    uint64_t now = now_ns(CLOCK_MONOTONIC);
    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr) listen_to(events[i].data.ptr, now);
        else if (recv(publisher, buffer, ROOM, 0) == 0) die("the publisher was cut off");
    }
}

/* How many events every listener has. */
static uint64_t everywhere(void)
{
    uint64_t least = sent;
    for (uint32_t i = 0; i < count; i++)
        if (!clients[i].lost && clients[i].got < least) least = clients[i].got;
    return least;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double percentile(double share)
{
    return latency_count ? (double)latencies[(uint64_t)(share * (double)(latency_count - 1))] / 1e3 : 0;
}

static void gather(void)
{
    clients = calloc(count, sizeof *clients);
    for (uint32_t i = 0; i < count; i++) {
        Client *c = &clients[i];
        c->fd = dial();
        if (send(c->fd, request.bytes, request.size, MSG_NOSIGNAL) < 0) die("a listener cannot ask");
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
        epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
        if (i % 64 == 63) turn(1);
    }
    uint64_t deadline = now_ns(CLOCK_MONOTONIC) + 30000000000u;
    for (uint32_t i = 0; i < count; i++)
        while (!clients[i].heard && !clients[i].lost) {
            turn(20);
            if (now_ns(CLOCK_MONOTONIC) > deadline) die("not all listeners were answered");
        }
    uint64_t settled = now_ns(CLOCK_MONOTONIC) + SETTLE_NS;
    while (now_ns(CLOCK_MONOTONIC) < settled) turn(20);
}

int main(int argc, char **argv)
{
    if (argc != 7) die("listen PLAN CLIENTS AHEAD WARMUP_S SECONDS RATE");
    read_plan(argv[1]);
    count = (uint32_t)atoi(argv[2]);
    ahead = (uint32_t)atoi(argv[3]);
    double rate = atof(argv[6]);
    epoll = epoll_create1(0);
    gather();
    puts("ready");
    fflush(stdout);
    if (getchar() == EOF) return 1;
    introduce();
    uint64_t start = now_ns(CLOCK_MONOTONIC), due = start;
    begin_ns = start + (uint64_t)(atof(argv[4]) * 1e9);
    end_ns = begin_ns + (uint64_t)(atof(argv[5]) * 1e9);
    for (uint64_t now = start; now < end_ns; now = now_ns(CLOCK_MONOTONIC)) {
        if (rate > 0) {
            for (; due <= now; due += (uint64_t)(1e9 / rate)) publish();
            turn(1);
        } else {
            while (sent - everywhere() < ahead) publish();
            turn(20);
        }
    }
    qsort(latencies, latency_count, sizeof *latencies, by_value);
    double seconds = atof(argv[5]);
    printf("{\"clients\": %u, \"sent\": %llu, \"deliveries\": %llu, \"per_second\": %.1f, "
           "\"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, \"lost\": %d}\n",
           count, (unsigned long long)sent, (unsigned long long)counted,
           (double)counted / seconds, percentile(.5), percentile(.99), percentile(1), lost);
    return 0;
}
