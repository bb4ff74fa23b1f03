/*
 * The least lateness that this system allows: wake at absolute deadlines, read the clock, do nothing else.
 *
 *   clock_loop PERIOD_NS DURATION_NS PRIORITY ASLEEP_PERCENT
 *
 * PRIORITY 1 to 99 asks for SCHED_FIFO and locked memory, 0 for neither. ASLEEP_PERCENT is the part of the time to a
 * deadline that is slept, from 0 to 100; for the rest the clock is read over and over, so that a tick can only be late
 * if the CPU was taken away. Prints a line for each tick: how late it was, in ns, and how many periods were skipped
 * just before it. Deadlines are start + k * period; what was missed is skipped, as in the control loop. Exit code 3: a
 * privilege was refused.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define NS_PER_S 1000000000LL

struct tick {
    long long late_ns;
    long long missed;
};

static long long now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static void sleep_until(long long deadline_ns)
{
    struct timespec t = {deadline_ns / NS_PER_S, deadline_ns % NS_PER_S};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
    }
}

static int ask_for_real_time(int priority)
{
    struct sched_param parameters = {.sched_priority = priority};
    if (sched_setscheduler(0, SCHED_FIFO, &parameters) != 0) {
        fprintf(stderr, "SCHED_FIFO was refused: %s\n", strerror(errno));
        return 0;
    }
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
        fprintf(stderr, "locking memory was refused: %s\n", strerror(errno));
        return 0;
    }
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: %s PERIOD_NS DURATION_NS PRIORITY ASLEEP_PERCENT\n", argv[0]);
        return 2;
    }
    const long long period_ns = atoll(argv[1]), duration_ns = atoll(argv[2]);
    const int priority = atoi(argv[3]), asleep_percent = atoi(argv[4]);
    if (period_ns <= 0 || duration_ns < period_ns || priority < 0 || priority > 99 || asleep_percent < 0 ||
        asleep_percent > 100) {
        fprintf(stderr, "expected PERIOD_NS > 0, DURATION_NS >= PERIOD_NS, PRIORITY from 0 to 99 and "
                        "ASLEEP_PERCENT from 0 to 100\n");
        return 2;
    }
    const long long most = duration_ns / period_ns + 1;
    struct tick *ticks = malloc((size_t)most * sizeof *ticks);
    if (ticks == NULL) {
        fprintf(stderr, "out of memory\n");
        return 2;
    }
    memset(ticks, 0, (size_t)most * sizeof *ticks);
    if (priority > 0 && !ask_for_real_time(priority))
        return 3;

    const long long start_ns = now_ns();
    long long index = 0, count = 0;
    while (count < most && now_ns() - start_ns < duration_ns) {
        const long long current = (now_ns() - start_ns) / period_ns;
        const long long due = current > index + 1 ? current : index + 1;
        const long long deadline_ns = start_ns + due * period_ns;
        const long long left_ns = deadline_ns - now_ns();
        if (asleep_percent > 0 && left_ns > 0)
            sleep_until(deadline_ns - left_ns * (100 - asleep_percent) / 100);
        long long late_ns = now_ns() - deadline_ns;
        while (late_ns < 0)
            late_ns = now_ns() - deadline_ns;
        const long long reached = due + late_ns / period_ns;
        ticks[count].late_ns = late_ns;
        ticks[count].missed = reached - index - 1;
        index = reached;
        count++;
    }
    for (long long i = 0; i < count; i++)
        printf("%lld %lld\n", ticks[i].late_ns, ticks[i].missed);
    free(ticks);
    return 0;
}
