/* Load on a server: connections that each have one request, and never more than one on the way.
 *
 *     load http|nats PORT MESSAGES [MARK]
 *
 * MESSAGES is a file of messages, each a line with its length in bytes and then the bytes: the publisher's request, the
 * probe's, and one for each connection, which sends it over and over. An empty message means that there is no such
 * connection. With `nats`, connection I takes its acknowledgements at the subject `_INBOX.I`.
 * An answer counts as refused when its status is not 2xx, when JetStream's acknowledgement has an error, or when the
 * answer of one of the N connections lacks MARK.
 *
 * Prints {"connections": N} when all are open, and then one line of JSON for each command on standard input:
 *
 *     run SECONDS   every connection sends, takes its answer, sends again; ends when the last answer is in
 *     park          every connection sends, and is left waiting
 *     fire [probe]  the publisher sends; ends when it and every parked connection have their answers. With `probe`, one
 *                   more connection asks its question all the while: how long it waits is how long the server stalls
 *
 * One thread, which looks at all its sockets through epoll. Anything unexpected ends it with a message and status 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_NS (60 * 1000000000LL)
#define PROBE_PAUSE_NS 2000000
#define MOST_BYTES (4 << 20) /* of one answer */

typedef struct {
    char *bytes;
    size_t length;
} message;

typedef struct {
    int fd;
    bool waiting; /* for an answer */
    message request;
    size_t sent;
    char *rest; /* the beginning of an answer that comes in parts */
    size_t rest_length;
    int64_t began, ended;
} connection;

/* What lies first in what came in: its length, 0 if it is not whole; whether it is an answer, and a refusal. */
typedef struct {
    size_t length;
    bool answer, refused;
} arrival;

static connection *connections;
static int count, waiting, refused;
static connection publisher, probe;
static int poller, port;
static bool nats;
static const char *mark = "";

static _Noreturn void die(const char *why, ...) {
    va_list values;
    va_start(values, why);
    vfprintf(stderr, why, values);
    va_end(values);
    fputc('\n', stderr);
    exit(1);
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Talking */

static arrival read_http(const char *bytes, size_t length) {
    const char *end = memmem(bytes, length, "\r\n\r\n", 4);
    if (end == NULL) return (arrival){0};
    long body = -1;
    for (const char *line = strstr(bytes, "\r\n"); line < end; line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, "content-length:", 15) == 0) body = strtol(line + 17, NULL, 10);
    if (body < 0) die("An answer without Content-Length: %.300s", bytes);
    size_t whole = (size_t)(end + 4 - bytes) + (size_t)body;
    return (arrival){whole <= length ? whole : 0, true, bytes[9] != '2'};
}

static arrival read_nats(const char *bytes, size_t length) {
    const char *end = memmem(bytes, length, "\r\n", 2);
    if (end == NULL) return (arrival){0};
    size_t line = (size_t)(end + 2 - bytes);
    if (strncmp(bytes, "-ERR", 4) == 0) die("NATS: %.*s", (int)line, bytes);
    if (strncmp(bytes, "MSG ", 4) != 0) return (arrival){line, false, false};
    const char *size = memrchr(bytes, ' ', line);
    size_t whole = line + (size_t)strtol(size, NULL, 10) + 2;
    if (whole > length) return (arrival){0};
    return (arrival){whole, true, memmem(bytes, whole, "\"error\"", 7) != NULL};
}

static void send_rest(connection *c) {
    while (c->sent < c->request.length) {
        ssize_t done = send(c->fd, c->request.bytes + c->sent, c->request.length - c->sent, MSG_NOSIGNAL);
        if (done < 0 && errno == EAGAIN) return; /* epoll says when there is room again */
        if (done < 0) die("Sending: %s", strerror(errno));
        c->sent += (size_t)done;
    }
}

static void ask(connection *c) {
    c->waiting = true;
    waiting++;
    c->sent = 0;
    c->began = now();
    send_rest(c);
}

static void take_answer(connection *c, const char *bytes, arrival came) {
    if (!c->waiting) die("An answer to nothing: %.500s", bytes);
    bool marked = c == &publisher || c == &probe || memmem(bytes, came.length, mark, strlen(mark)) != NULL;
    if ((came.refused || !marked) && refused++ == 0) fprintf(stderr, "Refused: %.1000s\n", bytes);
    c->ended = now();
    c->waiting = false;
    waiting--;
}

/* Read what is there; gives whether the answer is whole now. */
static bool receive(connection *c) {
    static char buffer[MOST_BYTES + 1];
    size_t have = c->rest_length, at = 0;
    if (have > 0) memcpy(buffer, c->rest, have);
    ssize_t got = recv(c->fd, buffer + have, MOST_BYTES - have, 0);
    if (got < 0 && errno == EAGAIN) return false;
    if (got <= 0) die("The server hung up: %s", got == 0 ? "end of file" : strerror(errno));
    have += (size_t)got;
    buffer[have] = '\0';
    if (have == MOST_BYTES) die("An answer of more than %d bytes", MOST_BYTES);
    bool was_waiting = c->waiting;
    while (at < have) {
        arrival came = nats ? read_nats(buffer + at, have - at) : read_http(buffer + at, have - at);
        if (came.length == 0) break;
        if (came.answer) take_answer(c, buffer + at, came);
        if (nats && strncmp(buffer + at, "PING", 4) == 0 && send(c->fd, "PONG\r\n", 6, MSG_NOSIGNAL) != 6)
            die("Sending PONG: %s", strerror(errno));
        at += came.length;
    }
    c->rest_length = have - at;
    if (c->rest_length > 0) {
        c->rest = realloc(c->rest, c->rest_length);
        memcpy(c->rest, buffer + at, c->rest_length);
    }
    return was_waiting && !c->waiting;
}

/* Look at the sockets once, for at most so long, and call for every connection that has got its answer. */
static void turn(int milliseconds, void (*answered)(connection *)) {
    struct epoll_event events[64];
    int ready = epoll_wait(poller, events, 64, milliseconds);
    for (int i = 0; i < ready; i++) {
        connection *c = events[i].data.ptr;
        if (c->waiting) send_rest(c);
        if (events[i].events & ~(uint32_t)EPOLLOUT && receive(c)) answered(c);
    }
}

/* Setting up */

static message read_message(FILE *file) {
    message m = {NULL, 0};
    if (fscanf(file, "%zu", &m.length) != 1) return m;
    fgetc(file);
    m.bytes = malloc(m.length + 1);
    if (fread(m.bytes, 1, m.length, file) != m.length) die("The file of messages is cut off");
    return m;
}

static void open_connection(connection *c, int number) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("Making a socket: %s (see ulimit -n)", strerror(errno));
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0) die("Connecting: %s", strerror(errno));
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (nats && dprintf(c->fd, "CONNECT {\"verbose\":false}\r\nSUB _INBOX.%d 1\r\n", number) < 0) die("Greeting");
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event) < 0) die("Watching: %s", strerror(errno));
}

static void open_all(const char *path) {
    FILE *file = fopen(path, "r");
    if (file == NULL) die("%s: %s", path, strerror(errno));
    publisher.request = read_message(file);
    probe.request = read_message(file);
    for (message m = read_message(file); m.bytes != NULL; m = read_message(file)) {
        connections = realloc(connections, (size_t)(count + 1) * sizeof(connection));
        connections[count++] = (connection){.request = m};
    }
    fclose(file);
    for (int i = 0; i < count; i++) {
        open_connection(&connections[i], i);
        /* More at once overflow the server's accept queue, and the kernel tries again only a second later. */
        if (i % 64 == 63) usleep(10000);
    }
}

/* What is told */

static int64_t *times; /* nanoseconds, of the command at work */
static size_t taken, room;

static void note(int64_t nanoseconds) {
    if (taken == room) times = realloc(times, (room = room * 2 + 1024) * sizeof *times);
    times[taken++] = nanoseconds;
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double at_share(double share) {
    return (double)times[(size_t)((double)(taken - 1) * share)] / 1e6;
}

static void print_times(void) {
    qsort(times, taken, sizeof *times, ascending);
    printf("\"refused\": %d, \"first_ms\": %.3f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"last_ms\": %.3f}\n", refused,
           at_share(0), at_share(0.5), at_share(0.99), at_share(1));
}

static void check_patience(int64_t since) {
    if (now() - since > PATIENCE_NS) die("%d answers never came", waiting);
}

/* The commands */

static int64_t deadline;

static void answered_in_run(connection *c) {
    note(c->ended - c->began);
    if (c->ended < deadline) ask(c);
}

static void run(double seconds) {
    int64_t began = now();
    double cpu = cpu_seconds();
    deadline = began + (int64_t)(seconds * 1e9);
    for (int i = 0; i < count; i++) ask(&connections[i]);
    while (waiting > 0) {
        turn(1000, answered_in_run);
        check_patience(deadline);
    }
    double took = (double)(now() - began) / 1e9;
    printf("{\"answers\": %zu, \"seconds\": %.4f, \"client_busy\": %.3f, ", taken, took, (cpu_seconds() - cpu) / took);
    print_times();
}

static void answered_too_soon(connection *c) {
    die("Connection %d was answered before there was an event", (int)(c - connections));
}

static void park(void) {
    for (int i = 0; i < count; i++) ask(&connections[i]);
    printf("{\"parked\": %d}\n", count);
}

static int64_t longest_probe;

static void answered_in_fire(connection *c) {
    if (c == &probe && c->ended - c->began > longest_probe) longest_probe = c->ended - c->began;
    if (c != &probe && c != &publisher) note(c->ended - publisher.began);
}

static void fire(bool probing) {
    /* Opened for each event: a server hangs up on connections that keep silent. */
    open_connection(&publisher, count);
    if (probing) open_connection(&probe, count + 1);
    usleep(50000);
    turn(0, answered_too_soon);
    double cpu = cpu_seconds();
    longest_probe = 0;
    if (probing) ask(&probe);
    ask(&publisher);
    while (waiting > 0) {
        turn(1, answered_in_fire);
        check_patience(publisher.began);
        bool others = waiting > (probe.waiting ? 1 : 0);
        if (probing && others && !probe.waiting && now() - probe.ended > PROBE_PAUSE_NS) ask(&probe);
    }
    double took = (double)(now() - publisher.began) / 1e9;
    printf("{\"answers\": %zu, \"acknowledged_ms\": %.3f, \"longest_probe_ms\": %.3f, \"client_busy\": %.3f, ", taken,
           (double)(publisher.ended - publisher.began) / 1e6, (double)longest_probe / 1e6, (cpu_seconds() - cpu) / took);
    close(publisher.fd);
    if (probing) close(probe.fd);
    print_times();
}

int main(int argc, char **argv) {
    if (argc < 4 || (strcmp(argv[1], "http") != 0 && strcmp(argv[1], "nats") != 0))
        die("load http|nats PORT MESSAGES [MARK]");
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    nats = strcmp(argv[1], "nats") == 0;
    port = atoi(argv[2]);
    if (argc > 4) mark = argv[4];
    poller = epoll_create1(EPOLL_CLOEXEC);
    open_all(argv[3]);
    printf("{\"connections\": %d}\n", count);
    fflush(stdout);
    char line[100];
    while (fgets(line, sizeof line, stdin) != NULL) {
        taken = 0;
        refused = 0;
        if (strncmp(line, "run ", 4) == 0) run(strtod(line + 4, NULL));
        else if (strcmp(line, "park\n") == 0) park();
        else if (strcmp(line, "fire\n") == 0) fire(false);
        else if (strcmp(line, "fire probe\n") == 0) fire(true);
        else die("No command: %s", line);
        fflush(stdout);
    }
    return 0;
}
