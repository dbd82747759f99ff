/* A load of WebSocket clients that is never the bottleneck: one thread, epoll, no parsing beyond
 * what counts an acknowledgement.
 *
 *     load PLAN CONNECTIONS WINDOW WARMUP_S SECONDS RATE
 *
 * PLAN is written by bench/plans.py: how to connect, what to say first, and frames that are sent
 * over and over with a sequence number and a time patched in. WINDOW: messages that a connection
 * may have unacknowledged. RATE: messages/s of all connections, 0 for as fast as acks come.
 * Modes: sensorlink's cumulative ACK, one answer a frame (text), MQTT's PUBACK.
 * Prints one JSON object: messages acknowledged within SECONDS, latencies (us) and own CPU time.
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
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CUMULATIVE, PER_FRAME, PUBACK };
enum { CONNECTING, SPEAKING, RUNNING, CLOSED };

typedef struct { uint32_t at, width; } Patch;
typedef struct { uint8_t *bytes; uint32_t size, waits; } Frame;

static struct {
    uint32_t port, mode, prelude_count, template_count, connections;
    Frame *prelude;      /* prelude_count for each connection */
    char **upgrade;      /* one for each connection */
    Frame *templates;    /* payloads, unmasked */
    Patch seq, time;     /* within a template; width 0: none */
    uint64_t back_ms;    /* how long before it is sent the first reading of a message was made */
} plan;

typedef struct {
    int fd, state;
    uint32_t index;
    uint32_t said, waiting;
    uint64_t sent, acked;
    uint64_t *stamps;
    uint8_t *out; size_t out_at, out_size, out_room;
    uint8_t *in; size_t in_size, in_room;
    uint64_t due;
} Client;

static uint32_t window;
static uint64_t rate, begin_ns, end_ns, unix_ms;
static uint64_t counted, *latencies, latency_count, latency_room;
static int epoll, failures;

static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

/* ---- the plan --------------------------------------------------------------------------- */

static FILE *source;

static uint32_t number(void)
{
    uint32_t value;
    if (fread(&value, 4, 1, source) != 1) die("the plan is cut off");
    return value;
}

static Frame frame(void)
{
    Frame found = { 0 };
    found.waits = number();
    found.size = number();
    found.bytes = calloc(1, found.size + 1);
    if (found.size && fread(found.bytes, found.size, 1, source) != 1) die("the plan is cut off");
    return found;
}

static void read_plan(const char *path)
{
    source = fopen(path, "rb");
    if (!source) die("%s: %s", path, strerror(errno));
    plan.port = number();
    plan.mode = number();
    plan.connections = number();
    plan.prelude_count = number();
    plan.template_count = number();
    plan.seq.at = number();
    plan.seq.width = number();
    plan.time.at = number();
    plan.time.width = number();
    plan.back_ms = number();
    plan.upgrade = calloc(plan.connections, sizeof *plan.upgrade);
    plan.prelude = calloc((size_t)plan.connections * plan.prelude_count + 1, sizeof(Frame));
    for (uint32_t c = 0; c < plan.connections; c++) {
        plan.upgrade[c] = (char *)frame().bytes;
        for (uint32_t p = 0; p < plan.prelude_count; p++)
            plan.prelude[c * plan.prelude_count + p] = frame();
    }
    plan.templates = calloc(plan.template_count, sizeof(Frame));
    for (uint32_t t = 0; t < plan.template_count; t++) plan.templates[t] = frame();
    fclose(source);
}

/* ---- sending ---------------------------------------------------------------------------- */

static uint8_t *room(Client *c, size_t size)
{
    if (c->out_at && c->out_at == c->out_size) c->out_at = c->out_size = 0;
    if (c->out_size + size > c->out_room) {
        c->out_room = 2 * (c->out_size + size);
        c->out = realloc(c->out, c->out_room);
    }
    c->out_size += size;
    return c->out + c->out_size - size;
}

static void put_frame(Client *c, uint8_t opcode, const uint8_t *payload, size_t size, uint64_t seq)
{
    static const uint8_t key[8] = { 0x5a, 0x13, 0xc7, 0x88, 0x5a, 0x13, 0xc7, 0x88 };
    size_t head = size < 126 ? 2 : size < 65536 ? 4 : 10;
    uint8_t *at = room(c, head + 4 + size);
    at[0] = 0x80 | opcode;
    at[1] = 0x80 | (head == 2 ? size : head == 4 ? 126 : 127);
    for (size_t i = 2; i < head; i++) at[i] = (uint8_t)((uint64_t)size >> 8 * (head - 1 - i));
    memcpy(at + head, key, 4);
    uint8_t *body = at + head + 4;
    memcpy(body, payload, size);
    if (seq) {
        uint64_t t = unix_ms - plan.back_ms;
        for (uint32_t i = 0; i < plan.seq.width; i++)
            body[plan.seq.at + i] = (uint8_t)(seq >> 8 * (plan.seq.width - 1 - i));
        for (uint32_t i = 0; i < plan.time.width; i++)
            body[plan.time.at + i] = (uint8_t)(t >> 8 * (plan.time.width - 1 - i));
    }
    uint64_t wide, mask;
    memcpy(&mask, key, 8);
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        memcpy(&wide, body + i, 8);
        wide ^= mask;
        memcpy(body + i, &wide, 8);
    }
    for (; i < size; i++) body[i] ^= key[i & 3];
}

static void flush(Client *c)
{
    while (c->out_at < c->out_size) {
        ssize_t n = send(c->fd, c->out + c->out_at, c->out_size - c->out_at, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN) { failures++; c->state = CLOSED; }
            return;
        }
        c->out_at += (size_t)n;
    }
    c->out_at = c->out_size = 0;
}

static uint8_t opcode(void) { return plan.mode == PER_FRAME ? 1 : 2; }

static void fill(Client *c, uint64_t now)
{
    while (now < end_ns && c->sent - c->acked < window && (!rate || c->due <= now)) {
        uint64_t seq = ++c->sent;
        const Frame *form = &plan.templates[seq % plan.template_count];
        /* MQTT packet identifiers are 1 ... 65535 */
        uint64_t shown = plan.mode == PUBACK ? (seq - 1) % 65535 + 1 : seq;
        put_frame(c, opcode(), form->bytes, form->size, shown);
        c->stamps[seq % window] = rate ? c->due : now;
        if (rate) c->due += 1000000000ull * plan.connections / rate;
    }
}

/* ---- receiving -------------------------------------------------------------------------- */

static void note(uint64_t latency)
{
    if (latency_count == latency_room) {
        latency_room = latency_room ? 2 * latency_room : 1 << 20;
        latencies = realloc(latencies, latency_room * sizeof *latencies);
    }
    latencies[latency_count++] = latency;
}

static void acked(Client *c, uint64_t upto, uint64_t now)
{
    if (upto > c->sent) die("an acknowledgement of what was never sent");
    while (c->acked < upto) {
        uint64_t seq = ++c->acked;
        if (now >= begin_ns && now < end_ns) {
            counted++;
            if (latency_count < 50000000) note(now - c->stamps[seq % window]);
        }
    }
}

/* The committed seq of a sensorlink ACK, or 0. */
static uint64_t committed(const uint8_t *p, size_t size)
{
    if (size < 5 || p[1] != 0 || p[2] != 3 || p[3] != 2) return 0;
    uint8_t kind = p[4] & 0x1f, width = kind < 24 ? 0 : (uint8_t)(1 << (kind - 24));
    uint64_t value = kind < 24 ? kind : 0;
    for (uint8_t i = 0; i < width; i++) value = value << 8 | p[5 + i];
    return value;
}

static void take(Client *c, uint8_t opcode, const uint8_t *p, size_t size, uint64_t now)
{
    if (opcode == 9) { put_frame(c, 10, p, size, 0); return; }
    if (opcode == 8) { failures++; c->state = CLOSED; return; }
    if (c->state == SPEAKING) { if (c->waiting) c->waiting--; return; }
    if (plan.mode == CUMULATIVE) {
        uint64_t upto = committed(p, size);
        if (upto) acked(c, upto, now);
    } else if (plan.mode == PER_FRAME) {
        acked(c, c->acked + 1, now);
    } else {
        for (size_t at = 0; at + 4 <= size; at += 4)
            if (p[at] == 0x40) acked(c, c->acked + 1, now);
    }
}

/* Say what comes before the first message, each part once the one before it was answered. */
static void speak(Client *c)
{
    while (c->state == SPEAKING && !c->waiting) {
        if (c->said == plan.prelude_count) { c->state = RUNNING; return; }
        const Frame *next = &plan.prelude[c->index * plan.prelude_count + c->said++];
        put_frame(c, opcode(), next->bytes, next->size, 0);
        c->waiting = next->waits;
    }
}

/* One frame of the server at `p`; its whole size, or 0 if it is not all there. */
static size_t parse(Client *c, const uint8_t *p, size_t size, uint64_t now)
{
    if (size < 2) return 0;
    size_t head = 2, length = p[1] & 0x7f;
    if (length == 126) head = 4; else if (length == 127) head = 10;
    if (size < head) return 0;
    if (head > 2) {
        length = 0;
        for (size_t i = 2; i < head; i++) length = length << 8 | p[i];
    }
    if (size < head + length) return 0;
    take(c, p[0] & 0xf, p + head, length, now);
    return head + length;
}

static void receive(Client *c, uint64_t now)
{
    for (;;) {
        if (c->in_room - c->in_size < 65536) c->in = realloc(c->in, c->in_room += 131072);
        ssize_t n = recv(c->fd, c->in + c->in_size, c->in_room - c->in_size, 0);
        if (n <= 0) {
            if (n < 0 && errno == EAGAIN) break;
            if (c->state != CLOSED) { failures++; c->state = CLOSED; }
            return;
        }
        c->in_size += (size_t)n;
        size_t at = 0, used;
        if (c->state == CONNECTING) {
            uint8_t *end = memmem(c->in, c->in_size, "\r\n\r\n", 4);
            if (!end) continue;
            if (memcmp(c->in, "HTTP/1.1 101", 12)) die("refused: %.200s", (char *)c->in);
            at = (size_t)(end + 4 - c->in);
            c->state = SPEAKING;
        }
        while (c->state != CLOSED && (used = parse(c, c->in + at, c->in_size - at, now))) at += used;
        memmove(c->in, c->in + at, c->in_size -= at);
        if (c->state == SPEAKING) speak(c);
    }
}

/* ---- the run ---------------------------------------------------------------------------- */

static void open_client(Client *c)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)plan.port) };
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to)) die("connect: %s", strerror(errno));
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    c->stamps = calloc(window, sizeof *c->stamps);
    size_t size = strlen(plan.upgrade[c->index]);
    memcpy(room(c, size), plan.upgrade[c->index], size);
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c };
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
    flush(c);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double percentile(double share)
{
    if (!latency_count) return 0;
    return latencies[(uint64_t)(share * (double)(latency_count - 1))] / 1e3;
}

int main(int argc, char **argv)
{
    if (argc != 7) die("load PLAN CONNECTIONS WINDOW WARMUP_S SECONDS RATE");
    read_plan(argv[1]);
    if ((uint32_t)atoi(argv[2]) < plan.connections) plan.connections = (uint32_t)atoi(argv[2]);
    window = (uint32_t)atoi(argv[3]);
    double warmup = atof(argv[4]), seconds = atof(argv[5]);
    rate = (uint64_t)atof(argv[6]);
    epoll = epoll_create1(0);
    Client *clients = calloc(plan.connections, sizeof *clients);
    begin_ns = UINT64_MAX;
    end_ns = 0;
    for (uint32_t i = 0; i < plan.connections; i++) {
        clients[i].index = i;
        open_client(&clients[i]);
    }
    uint32_t ready = 0;
    uint64_t deadline = now_ns() + 20000000000ull;
    struct epoll_event events[256];
    while (1) {
        uint64_t now = now_ns();
        if (end_ns == 0 && ready == plan.connections) {
            begin_ns = now + (uint64_t)(warmup * 1e9);
            end_ns = begin_ns + (uint64_t)(seconds * 1e9);
            deadline = end_ns + 10000000000ull;
            for (uint32_t i = 0; i < plan.connections; i++)
                clients[i].due = now + 1000000000ull * i / (rate ? rate : 1);
        }
        if (now > deadline) break;
        /* Devices at a given rate: it sleeps between two looks; to spin slows the server. */
        int wait = end_ns == 0 || now >= end_ns || !rate ? 20 : 1;
        int n = epoll_wait(epoll, events, 256, wait);
        now = now_ns();
        unix_ms = clock_ms();
        for (int i = 0; i < n; i++) {
            Client *c = events[i].data.ptr;
            int before = c->state;
            if (c->state == CLOSED) continue;
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(c, now);
            if (c->state == RUNNING && before != RUNNING) ready++;
            if (c->state == RUNNING && end_ns) fill(c, now);
            if (c->state != CLOSED) flush(c);
        }
        uint64_t pending = 0;
        for (uint32_t i = 0; i < plan.connections; i++) {
            Client *c = &clients[i];
            pending += c->state == CLOSED ? 0 : c->sent - c->acked;
            if (end_ns && c->state == RUNNING && (rate || !c->sent)) {
                fill(c, now);
                flush(c);
            }
        }
        if (end_ns && now >= end_ns && !pending) break;
        if (failures && ready < plan.connections) die("a connection was closed before it began");
    }
    uint64_t sent = 0, got = 0;
    for (uint32_t i = 0; i < plan.connections; i++) {
        sent += clients[i].sent;
        got += clients[i].acked;
    }
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    double cpu = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec)
        + (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
    qsort(latencies, latency_count, sizeof *latencies, by_value);
    printf("{\"connections\": %u, \"window\": %u, \"seconds\": %.3f, \"acked\": %llu, "
           "\"per_second\": %.1f, \"sent_in_all\": %llu, \"acked_in_all\": %llu, "
           "\"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, \"failures\": %d, \"cpu_s\": %.2f}\n",
           plan.connections, window, seconds, (unsigned long long)counted, (double)counted / seconds,
           (unsigned long long)sent, (unsigned long long)got, percentile(.5), percentile(.99),
           percentile(1), failures, cpu);
    return failures ? 2 : 0;
}
