/* driver.h: the few lines of C that the driver needs: a queue of tasks, a clock, aligned memory. */
#ifndef FC_DRIVER_H
#define FC_DRIVER_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fastconv.h"

#ifdef _WIN32
#include <malloc.h>
#include <windows.h>
static inline double fc_now(void)
{
    LARGE_INTEGER t, f;
    QueryPerformanceCounter(&t);
    QueryPerformanceFrequency(&f);
    return (double)t.QuadPart / (double)f.QuadPart;
}
static inline void *fc_allocate(size_t n) { return _aligned_malloc(n, FC_ALIGN); }
static inline void fc_free(void *p) { _aligned_free(p); }
static inline void fc_advise(void *p, size_t n) { (void)p, (void)n; }
static inline int fc_threads_possible(int n) { return n; }
#else
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>
static inline double fc_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
#define FC_HUGE ((size_t)2 << 20)

/* Asks for huge pages: first touch of small ones costs as much as a small convolution. */
static inline void fc_advise(void *p, size_t n)
{
#ifdef MADV_HUGEPAGE
    size_t before = -(uintptr_t)p % FC_HUGE;
    if (n >= 2 * FC_HUGE)
        madvise((char *)p + before, n - before, MADV_HUGEPAGE); /* advice: nothing depends on its success */
#else
    (void)p, (void)n;
#endif
}
static inline void *fc_allocate(size_t n)
{
    void *p = NULL;
    if (posix_memalign(&p, n >= 2 * FC_HUGE ? FC_HUGE : FC_ALIGN, n))
        return NULL;
    fc_advise(p, n);
    return p;
}
static inline void fc_free(void *p) { free(p); }

static void *fc_wait_for_lock(void *lock)
{
    pthread_mutex_lock(lock);
    pthread_mutex_unlock(lock);
    return NULL;
}

/* How many threads, at most n, can run at once beside each other, this one included. libgomp ends the process when it cannot
 * make a thread (no memory for its stack, a limit on their number); so as many are made and ended here first, once for each
 * calling thread and larger number, since each has OpenMP threads of its own. */
static inline int fc_threads_possible(int n)
{
    enum { MOST = 1024 };
    static __thread int proven = 1;
    if (n <= proven) {
        proven = n > 1 ? n : 1; /* libgomp ends the threads that a smaller team leaves over */
        return n;
    }
    pthread_t made[MOST];
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    int count = 0, wanted = (n < MOST ? n : MOST) - 1;
    pthread_mutex_lock(&lock);
    while (count < wanted && pthread_create(&made[count], NULL, fc_wait_for_lock, &lock) == 0)
        count++;
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < count; i++)
        pthread_join(made[i], NULL);
    pthread_mutex_destroy(&lock);
    if (count < wanted)
        return count > 2 ? count - 1 : 1; /* leave room for what else a region needs */
    proven = count + 1;
    return proven;
}
#endif

/* What a call reads besides its arguments: the process's settings, and the calling thread's own where not negative. */
enum { FC_SET_ISA, FC_SET_PRECISION, FC_SET_THREADS, FC_SETTINGS };
static int fc_common[FC_SETTINGS];
static inline int *fc_own(void)
{
    static _Thread_local int own[FC_SETTINGS] = {-1, -1, -1};
    return own;
}
static inline int fc_setting(int i) { return fc_own()[i] >= 0 ? fc_own()[i] : fc_common[i]; }

/* All tasks of all stages, one after the other: what is over in microseconds needs neither a queue nor a clock. */
static inline void fc_run_all(const fc_plan *plan, fc_call *call, char *scratch)
{
    for (ptrdiff_t s = 0; s < plan->stages; s++) {
        ptrdiff_t grain, tasks = plan->algorithm->tasks(plan, call->mode, s, &grain);
        if (tasks)
            memset(scratch, 0, FC_SCRATCH_HEAD);
        for (ptrdiff_t t = 0; t < tasks; t++)
            plan->algorithm->run(plan, call, s, t, scratch);
    }
}

/* Where the threads of a call stand. Stage and number of the next task are one word, so that a thread that comes late cannot
 * take a task of another stage than it thinks. */
enum { FC_STAGE_SHIFT = 40 };
typedef struct {
    uint64_t next;   /* stage << FC_STAGE_SHIFT | task */
    int64_t done;    /* tasks of the stage that are over: whoever completes them begins the next stage */
    double deadline; /* threads take nothing afterwards */
    int stopped;     /* a thread has seen it pass */
} fc_work;

static inline int64_t fc_stage(const fc_work *w)
{
    return (int64_t)(__atomic_load_n(&w->next, __ATOMIC_ACQUIRE) >> FC_STAGE_SHIFT);
}

/* Begins the first stage from `stage` on that has tasks. */
static inline void fc_begin(fc_work *w, const fc_plan *plan, fc_mode mode, int64_t stage)
{
    ptrdiff_t grain;
    while (stage < plan->stages && plan->algorithm->tasks(plan, mode, (ptrdiff_t)stage, &grain) == 0)
        stage++;
    w->done = 0;
    __atomic_store_n(&w->next, (uint64_t)stage << FC_STAGE_SHIFT, __ATOMIC_RELEASE);
}

static inline void fc_pause(int round)
{
    if (round % 256 == 255) { /* whoever computes the last tasks may need this core */
#ifdef _WIN32
        SwitchToThread();
#else
        sched_yield();
#endif
    }
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Takes and runs tasks, `grain` at a time, through all stages, until none is left or the time is over. Called by every thread of
 * a region with its own scratch. Between stages a thread waits for tasks, not for threads: one that the system does not run
 * holds nobody up unless it is in the middle of a task. */
static inline void fc_drain(fc_work *w, const fc_plan *plan, fc_call *call, char *scratch)
{
    int64_t stage = -1;
    ptrdiff_t tasks = 0, grain = 1;
    for (int round = 0; !__atomic_load_n(&w->stopped, __ATOMIC_RELAXED);) {
        uint64_t next = __atomic_load_n(&w->next, __ATOMIC_ACQUIRE);
        int64_t now = (int64_t)(next >> FC_STAGE_SHIFT), task = (int64_t)(next & ((UINT64_C(1) << FC_STAGE_SHIFT) - 1));
        if (now >= plan->stages)
            return;
        if (now != stage) {
            stage = now;
            tasks = plan->algorithm->tasks(plan, call->mode, (ptrdiff_t)stage, &grain);
            memset(scratch, 0, FC_SCRATCH_HEAD);
        }
        if (task >= tasks) {
            fc_pause(round++);
            continue;
        }
        if (!__atomic_compare_exchange_n(&w->next, &next, next + (uint64_t)grain, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            continue;
        int64_t end = task + grain < tasks ? task + grain : tasks;
        for (int64_t t = task; t < end; t++)
            plan->algorithm->run(plan, call, (ptrdiff_t)stage, (ptrdiff_t)t, scratch);
        if (__atomic_add_fetch(&w->done, end - task, __ATOMIC_ACQ_REL) == tasks)
            fc_begin(w, plan, call->mode, stage + 1);
        if (fc_now() > w->deadline)
            __atomic_store_n(&w->stopped, 1, __ATOMIC_RELAXED);
        round = 0;
    }
}

#endif
