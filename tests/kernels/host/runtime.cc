// Runs a launch on the host: block after block, the threads of a block as fibers that switch at
// barriers, shuffles and their end. Compiled without instrumentation. One launch at a time.
#include "host.h"
#include "checker.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace host {
Indices indices;

// ---- contexts -------------------------------------------------------------------------------
#if defined(__x86_64__)
typedef void* Context;  // stack pointer of what is suspended
extern "C" void host_switch(Context* from, Context* to);
asm(R"(
.text
.hidden host_switch
.globl host_switch
.type host_switch,@function
host_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq (%rsi), %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size host_switch,.-host_switch
)");
static void switch_context(Context& from, Context& to) { host_switch(&from, &to); }
static void make_context(Context& context, char* stack, size_t bytes, void (*entry)()) {
    void** top = (void**)(stack + bytes);
    *--top = nullptr;  // `entry` does not return; this aligns the stack as a call does
    *--top = (void*)entry;
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    context = top;
}
#else
typedef ucontext_t Context;
static void switch_context(Context& from, Context& to) { swapcontext(&from, &to); }
static void make_context(Context& context, char* stack, size_t bytes, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = bytes;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
}
#endif

// ---- threads --------------------------------------------------------------------------------
enum State { READY, AT_BARRIER, IN_WARP, DONE };
struct Copy { void* to; const void* from; size_t bytes; };  // from nowhere: zeros
struct Mma { float* d; const unsigned *a, *b; };
struct Thread {
    Context context;
    char* stack = nullptr;
    uint3 position;
    State state;
    // What it waits in, and where.
    const char* what;
    const char* file;
    int line;
    unsigned mask;
    // A lane's part in what a warp does together.
    void* value;
    size_t bytes;
    unsigned from;
    std::vector<Copy> copies;    // not waited for, in order of issue
    std::vector<size_t> groups;  // sizes of the committed groups among them
};
struct SharedMemory { const void* key; char* at; };

constexpr size_t STACK = 128 << 10, GUARD = 64 << 10, MOST_THREADS = 1024;
constexpr size_t MOST_SHARED = 48 << 10;
static Thread threads[MOST_THREADS];
static Context launcher;
static unsigned running, count, done, at_barrier;
static unsigned arrived[MOST_THREADS / 32];
static std::vector<SharedMemory> shared_memory;
static size_t shared_bytes;
static char plain_shared[MOST_SHARED + 4096] __attribute__((aligned(256)));
static size_t plain_top;

static const char* kernel;
static void (*call)(void**);
static void** values;

static char report[2048];
static size_t report_length, report_pc;
static bool failed;

static void vreport(const char* format, va_list list) {
    const size_t left = sizeof report - report_length;
    const int n = vsnprintf(report + report_length, left, format, list);
    report_length += n < 0 ? 0 : (size_t)n < left ? n : left - 1;
}
__attribute__((format(printf, 1, 2))) static void add_report(const char* format, ...) {
    va_list list;
    va_start(list, format);
    vreport(format, list);
    va_end(list);
}

static void leave() { switch_context(threads[running].context, launcher); }

void fail(const void* pc, const char* format, ...) {
    const uint3 b = indices.block, t = indices.thread;
    add_report("%s: block (%u,%u,%u), thread (%u,%u,%u): ", kernel, b.x, b.y, b.z, t.x, t.y, t.z);
    va_list list;
    va_start(list, format);
    vreport(format, list);
    va_end(list);
    Dl_info info = {};
    if (pc && dladdr(pc, &info)) report_pc = (const char*)pc - (const char*)info.dli_fbase - 1;
    failed = true;
    leave();
    abort();
}

unsigned thread_index() { return running; }
bool on_stack(const void* p, size_t bytes) {
    const char *start = threads[running].stack, *at = (const char*)p;
    return at >= start && at + bytes <= start + STACK;
}

// ---- what threads do together ---------------------------------------------------------------
void barrier(const char* file, int line) {
    Thread& me = threads[running];
    me.state = AT_BARRIER;
    me.what = "__syncthreads";
    me.file = file;
    me.line = line;
    me.mask = 0;
    if (++at_barrier + done == count) {
        if (done) fail(nullptr, "divergent barrier at %s:%d: %u threads have returned", file, line, done);
        for (unsigned i = 0; i < count; ++i)
            if (threads[i].line != line || strcmp(threads[i].file, file))
                fail(nullptr, "divergent barrier: waits at %s:%d, thread %u at %s:%d", file, line,
                     i, threads[i].file, threads[i].line);
        for (unsigned i = 0; i < count; ++i) threads[i].state = READY;
        at_barrier = 0;
        checker_barrier();
    }
    leave();
}

static const char *const WARP_BARRIER = "__syncwarp", *const SHUFFLE = "shuffle", *const BALLOT = "__ballot_sync",
    *const MMA_TF32 = "mma (tf32)", *const MMA_BF16 = "mma (bf16)";

// The lanes of a warp that are there: threads of the block that have not returned.
static unsigned present(unsigned first) {
    unsigned lanes = 0;
    for (unsigned i = 0; i < 32 && first + i < count; ++i)
        if (threads[first + i].state != DONE) lanes |= 1u << i;
    return lanes;
}

static float as_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// d += a·b, d 16×8, a 16×K, b K×8, in the registers that the PTX manual gives each lane ("Matrix
// Fragments for mma.m16n8k8" and ".m16n8k16"). Products are exact; the manual leaves
// open how sums are rounded: here once and towards 0, since cards have been seen to cut them off.
static void multiply(unsigned first, bool bf16) {
    const unsigned depth = bf16 ? 16 : 8;
    auto lane = [&](unsigned i) { return *(const Mma*)threads[first + i].value; };
    auto number = [&](unsigned word, unsigned half) {
        if (bf16) return as_float(half ? word & 0xffff0000u : word << 16);
        if (word & 0x1fffu) fail(nullptr, "mma: %g is no tf32", as_float(word));
        return as_float(word);
    };
    // Where column k of a and row k of b lie: in which of a group's four lanes, in which of its
    // words (of two for each row of a), in which half of that.
    struct Place { unsigned t, word, half; };
    auto place = [&](unsigned k) -> Place {
        if (bf16) return {k % 8 / 2, k / 8, k % 2};
        return {k % 4, k / 4, 0};
    };
    float d[16][8];
    for (unsigned i = 0; i < 16; ++i)
        for (unsigned j = 0; j < 8; ++j) {
            double sum = lane(i % 8 * 4 + j / 2).d[i / 8 * 2 + j % 2];
            for (unsigned k = 0; k < depth; ++k) {
                const Place p = place(k);
                sum += (double)number(lane(i % 8 * 4 + p.t).a[i / 8 + 2 * p.word], p.half) *
                       number(lane(j * 4 + p.t).b[p.word], p.half);
            }
            d[i][j] = (float)sum;
            if (fabs(d[i][j]) > fabs(sum)) d[i][j] = nextafterf(d[i][j], 0);
        }
    for (unsigned i = 0; i < 16; ++i)
        for (unsigned j = 0; j < 8; ++j) lane(i % 8 * 4 + j / 2).d[i / 8 * 2 + j % 2] = d[i][j];
}

// What the lanes of `mask` came for, now that all have arrived.
static void complete(unsigned first, unsigned mask, const char* what) {
    char moved[32][16];
    unsigned votes = 0;
    if (what == MMA_TF32 || what == MMA_BF16) multiply(first, what == MMA_BF16);
    for (unsigned i = 0; i < 32; ++i) {
        if (!(mask >> i & 1)) continue;
        const Thread& lane = threads[first + i];
        if (what == SHUFFLE) {
            if (!(mask >> lane.from & 1))
                fail(nullptr, "shuffle at %s:%d: lane %u reads lane %u, absent from mask %08x",
                     lane.file, lane.line, i, lane.from, mask);
            memcpy(moved[i], threads[first + lane.from].value, lane.bytes);
        } else if (what == BALLOT && *(bool*)lane.value) {
            votes |= 1u << i;
        }
    }
    for (unsigned i = 0; i < 32; ++i) {
        if (!(mask >> i & 1)) continue;
        Thread& lane = threads[first + i];
        if (what == SHUFFLE) memcpy(lane.value, moved[i], lane.bytes);
        if (what == BALLOT) lane.from = votes;
        lane.state = READY;
    }
    // A shuffle moves values between registers and orders nothing in memory.
    if (what == WARP_BARRIER) checker_warp_barrier(first / 32);
}

static void meet(const char* what, unsigned mask, const char* file, int line) {
    const unsigned first = running & ~31u, mine = lane();
    Thread& me = threads[running];
    if (!(mask >> mine & 1))
        fail(nullptr, "%s at %s:%d: lane %u is absent from its own mask %08x", what, file, line, mine, mask);
    if (const unsigned absent = mask & ~present(first))
        fail(nullptr, "%s at %s:%d: mask %08x names absent lanes %08x", what, file, line, mask, absent);
    me.state = IN_WARP;
    me.what = what;
    me.file = file;
    me.line = line;
    me.mask = mask;
    unsigned& here = arrived[first / 32];
    here |= 1u << mine;
    if ((here & mask) == mask) {
        for (unsigned i = 0; i < 32; ++i) {
            if (!(mask >> i & 1)) continue;
            const Thread& lane = threads[first + i];
            if (lane.what != what || lane.mask != mask || lane.line != line)
                fail(nullptr, "%s at %s:%d with mask %08x, but lane %u is in %s at %s:%d with mask %08x",
                     what, file, line, mask, i, lane.what, lane.file, lane.line, lane.mask);
        }
        here &= ~mask;
        complete(first, mask, what);
    }
    leave();
}

unsigned lane() { return running & 31; }
void warp_barrier(unsigned mask, const char* file, int line) { meet(WARP_BARRIER, mask, file, line); }
void shuffle(unsigned mask, void* value, size_t bytes, unsigned from, const char* file, int line) {
    Thread& me = threads[running];
    me.value = value;
    me.bytes = bytes;
    me.from = from;
    meet(SHUFFLE, mask, file, line);
}
unsigned ballot(unsigned mask, bool vote, const char* file, int line) {
    threads[running].value = &vote;
    meet(BALLOT, mask, file, line);
    return threads[running].from;
}
static void mma(const char* what, Mma mine, const char* file, int line) {
    threads[running].value = &mine;
    meet(what, 0xffffffffu, file, line);
}
void mma_tf32(float* d, const unsigned* a, const unsigned* b, const char* file, int line) {
    mma(MMA_TF32, {d, a, b}, file, line);
}
void mma_bf16(float* d, const unsigned* a, const unsigned* b, const char* file, int line) {
    mma(MMA_BF16, {d, a, b}, file, line);
}

// ---- what blocks pass on to each other ------------------------------------------------------
void fence() { checker_fence(); }
int atomic_add(int* to, int value) {
    checker_atomic(to, sizeof *to, __builtin_return_address(0));
    const int before = *to;
    *to += value;
    return before;
}

// ---- asynchronous copies --------------------------------------------------------------------
void copy_async(void* to, const void* from, size_t bytes, bool inside) {
    const void* pc = __builtin_return_address(0);
    if (bytes != 4 && bytes != 8 && bytes != 16) fail(pc, "asynchronous copy of %zu bytes", bytes);
    if ((size_t)to % bytes || (size_t)from % bytes)
        fail(pc, "misaligned asynchronous copy of %zu bytes", bytes);
    if (inside) checker_access(from, bytes, false, pc);
    checker_access(to, bytes, true, pc);
    checker_pending(to, bytes);
    threads[running].copies.push_back({to, inside ? from : nullptr, bytes});
}
void copy_commit() {
    Thread& me = threads[running];
    size_t committed = 0;
    for (size_t size : me.groups) committed += size;
    me.groups.push_back(me.copies.size() - committed);
}
void copy_wait(size_t left) {
    Thread& me = threads[running];
    while (me.groups.size() > left) {
        for (size_t i = 0; i < me.groups[0]; ++i) {
            const Copy& copy = me.copies[i];
            if (copy.from) checker_access(copy.from, copy.bytes, false, __builtin_return_address(0));
            checker_access(copy.to, copy.bytes, true, __builtin_return_address(0));
            if (copy.from) memcpy(copy.to, copy.from, copy.bytes);
            else memset(copy.to, 0, copy.bytes);
        }
        me.copies.erase(me.copies.begin(), me.copies.begin() + me.groups[0]);
        me.groups.erase(me.groups.begin());
    }
}

// ---- shared memory --------------------------------------------------------------------------
void* shared(const void* key, size_t bytes) {
    for (const SharedMemory& s : shared_memory)
        if (s.key == key) return s.at;
    shared_bytes += bytes;
    if (shared_bytes > MOST_SHARED)
        fail(__builtin_return_address(0), "%zu bytes of static shared memory, at most %zu",
             shared_bytes, MOST_SHARED);
    char* at = (char*)checker_shared(bytes);
    if (!at) {
        at = plain_shared + plain_top;
        plain_top += (bytes + 127) / 128 * 128;
    }
    memset(at, 0xff, bytes);  // NaN
    shared_memory.push_back({key, at});
    return at;
}

// ---- launch ---------------------------------------------------------------------------------
static void thread_main() {
    call(values);
    Thread& me = threads[running];
    if (!me.copies.empty()) fail(nullptr, "copy not waited for: the thread returns");
    me.state = DONE;
    ++done;
    const unsigned first = running & ~31u;
    for (unsigned i = first; i < first + 32 && i < count; ++i)
        if (threads[i].state == IN_WARP && threads[i].mask >> lane() & 1)
            fail(nullptr, "%s at %s:%d: mask %08x names absent lane %u, which has returned",
                 threads[i].what, threads[i].file, threads[i].line, threads[i].mask, lane());
    leave();
    abort();
}

static void resume(unsigned i) {
    running = i;
    indices.thread = threads[i].position;
    switch_context(launcher, threads[i].context);
}

static void report_deadlock() {
    const uint3 b = indices.block;
    add_report("%s: block (%u,%u,%u): divergent barrier: no thread can go on, %u of %u have returned",
               kernel, b.x, b.y, b.z, done, count);
    const Thread* last = nullptr;
    for (unsigned i = 0; i < count; ++i) {
        const Thread& t = threads[i];
        if (t.state == DONE || (last && last->line == t.line && last->what == t.what)) continue;
        add_report("; thread %u waits in %s at %s:%d, mask %08x", i, t.what, t.file, t.line, t.mask);
        last = &t;
    }
    failed = true;
}

// A warp runs as far as it can before the next one starts: what is missing between warps shows.
static void run_block() {
    for (unsigned i = 0; i < count; ++i) {
        Thread& t = threads[i];
        if (!t.stack) {
            char* memory = (char*)mmap(nullptr, STACK + GUARD, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (memory == MAP_FAILED || mprotect(memory, GUARD, PROT_NONE)) abort();
            t.stack = memory + GUARD;
        }
        t.state = READY;
        t.copies.clear();
        t.groups.clear();
        make_context(t.context, t.stack, STACK, thread_main);
    }
    done = at_barrier = 0;
    memset(arrived, 0, sizeof arrived);
    while (done < count) {
        bool progress = false;
        for (unsigned first = 0; first < count; first += 32) {
            for (bool again = true; again;) {
                again = false;
                for (unsigned i = first; i < first + 32 && i < count; ++i) {
                    if (threads[i].state != READY) continue;
                    again = progress = true;
                    resume(i);
                    if (failed) return;
                }
            }
        }
        if (!progress) return report_deadlock();
    }
}
}  // namespace host

using namespace host;

// Runs `body` as the kernel `name`. Returns null, or a report; then `*pc` is where the code that
// it is about lies in this library, or 0.
extern "C" __attribute__((visibility("default"))) const char* host_launch(
    const char* name, void (*body)(void**), const unsigned* grid, const unsigned* block,
    Argument* arguments, size_t argument_count, size_t* pc) {
    kernel = name;
    call = body;
    failed = false;
    report_length = report_pc = 0;
    *pc = 0;
    const size_t size = (size_t)block[0] * block[1] * block[2];
    if (!size || size > MOST_THREADS || block[2] > 64) {
        add_report("%s: blocks of %u x %u x %u threads", name, block[0], block[1], block[2]);
        return report;
    }
    if (!grid[0] || !grid[1] || !grid[2] || grid[0] > 0x7fffffffu || grid[1] > 65535 || grid[2] > 65535) {
        add_report("%s: a grid of %u x %u x %u blocks", name, grid[0], grid[1], grid[2]);
        return report;
    }
    count = (unsigned)size;
    for (unsigned i = 0; i < count; ++i)
        threads[i].position = {i % block[0], i / block[0] % block[1], i / (block[0] * block[1])};
    indices.block_dim = {block[0], block[1], block[2]};
    indices.grid_dim = {grid[0], grid[1], grid[2]};
    if (const char* wrong = checker_begin(arguments, argument_count)) {
        add_report("%s: %s", name, wrong);
        return report;
    }
    // A scalar is passed where it lies, a buffer by its address.
    std::vector<void*> places;
    for (size_t i = 0; i < argument_count; ++i)
        places.push_back(arguments[i].kind == SCALAR ? arguments[i].at : (void*)&arguments[i].at);
    values = places.data();
    for (unsigned z = 0; z < grid[2] && !failed; ++z)
        for (unsigned y = 0; y < grid[1] && !failed; ++y)
            for (unsigned x = 0; x < grid[0] && !failed; ++x) {
                indices.block = {x, y, z};
                shared_memory.clear();
                shared_bytes = plain_top = 0;
                checker_block_begin();
                run_block();
            }
    checker_end();
    *pc = report_pc;
    return failed ? report : nullptr;
}
