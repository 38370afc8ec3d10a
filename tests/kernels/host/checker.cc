// Checks every access of the instrumented kernels: the compiler's -fsanitize=thread calls the
// functions below before each one. All checked memory lies in one region with unused gaps, with a
// cell of bookkeeping for each 4 bytes of it. Two accesses to a cell, one of them a write, are a
// race unless the same thread made both or a barrier that orders them lies between.
#include "checker.h"

#include <algorithm>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <vector>

#include "host.h"

namespace host {
enum Content : uint8_t { UNWRITTEN, PENDING, WRITTEN };
// Who read a cell, beside the last one.
enum Readers : uint8_t { SAME_WARP = 1, OTHER_WARP = 2, OTHER_BLOCK = 4 };
// Blocks are counted over all launches, intervals between barriers within a block, intervals
// between warp barriers within a block for each warp.
struct Access { uint32_t block, interval, warp_interval; uint16_t thread; };
struct Cell {
    Access write, read;
    uint8_t bytes;  // how many of the 4 exist
    uint8_t content, writable, readers;
};

constexpr size_t REGION = 64 << 20, GAP = 64 << 10;
static char* base;
static Cell* cells;
static size_t top, launch_top;
static uint32_t block, first_block, interval, warp_intervals[32];

// What a block has passed on: by an atomic on `at`, in a thread whose last fence was in `interval`.
// It is what this thread wrote, and what all wrote before the barrier ahead of the fence.
struct Passed { const void* at; uint32_t block, interval; uint16_t thread; };
static std::vector<Passed> passed;
// Of each thread of the block, the interval of its last fence, or 0.
static uint32_t fences[1024];
// What the block's last atomic came after, and what of it a fence since lets this thread see, and all
// beyond the next barrier.
static std::vector<Passed> reached, seen;
static uint32_t seen_interval;
static unsigned seen_thread;

static Cell* cell(const void* p) { return cells + ((const char*)p - base) / 4; }

static char* place(size_t bytes, Content content, bool writable) {
    char* at = base + top + GAP;
    const size_t next = (top + GAP + bytes + 255) / 256 * 256;
    if (next + GAP > REGION) return nullptr;
    top = next;
    for (size_t i = 0; i < bytes; i += 4) {
        Cell& c = *cell(at + i);
        c = Cell();
        c.bytes = (uint8_t)std::min<size_t>(4, bytes - i);
        c.content = content;
        c.writable = writable;
    }
    return at;
}

// Clears the cells of what was placed from `start` on.
static void clear(size_t start) {
    memset((void*)cell(base + start), 0, (top - start) / 4 * sizeof(Cell));
    top = start;
}

// Buffers of a launch that overlap, as one.
struct Buffer { char *from, *end, *at; };
static std::vector<Buffer> buffers;

const char* checker_begin(Argument* arguments, size_t count) {
    if (!base) {
        const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, rights = PROT_READ | PROT_WRITE;
        void* memory = mmap(nullptr, REGION, rights, flags, -1, 0);
        void* shadow = mmap(nullptr, REGION / 4 * sizeof(Cell), rights, flags, -1, 0);
        if (memory == MAP_FAILED || shadow == MAP_FAILED) return "no memory for the checker";
        base = (char*)memory;
        cells = (Cell*)shadow;
    }
    std::vector<Argument*> sorted;
    for (size_t i = 0; i < count; ++i)
        if (arguments[i].kind != SCALAR) sorted.push_back(&arguments[i]);
    std::stable_sort(sorted.begin(), sorted.end(), [](auto a, auto b) { return a->at < b->at; });
    buffers.clear();
    for (Argument* a : sorted) {
        char *from = (char*)a->at, *end = from + a->bytes;
        if (!buffers.empty() && from < buffers.back().end)
            buffers.back().end = std::max(buffers.back().end, end);
        else
            buffers.push_back({from, end, nullptr});
    }
    first_block = block + 1;
    passed.clear();
    for (Buffer& b : buffers) {
        b.at = place(b.end - b.from, WRITTEN, false);
        if (!b.at) return "its buffers are too large for the checker";
        memcpy(b.at, b.from, b.end - b.from);
    }
    for (Argument* a : sorted) {
        char* from = (char*)a->at;
        for (const Buffer& b : buffers)
            // An empty buffer has a place of its own, unless it lies inside another.
            if (from >= b.from && (from < b.end || (from == b.end && b.from == b.end)))
                a->at = b.at + (from - b.from);
        if (a->kind == OUTPUT)
            for (size_t i = 0; i < a->bytes; i += 4) cell((char*)a->at + i)->writable = true;
    }
    launch_top = top;
    return nullptr;
}

void checker_end() {
    for (const Buffer& b : buffers) memcpy(b.from, b.at, b.end - b.from);
    clear(0);
}

void checker_block_begin() {
    clear(launch_top);
    ++block;
    interval = 1;
    memset(warp_intervals, 0, sizeof warp_intervals);
    memset(fences, 0, sizeof fences);
    reached.clear();
    seen.clear();
}
void checker_barrier() { ++interval; }
void checker_warp_barrier(unsigned warp) { ++warp_intervals[warp]; }
void* checker_shared(size_t bytes) { return place(bytes, UNWRITTEN, true); }
void checker_pending(const void* p, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 4) cell((const char*)p + i)->content = PENDING;
}

static unsigned warp_of(const Access& a) { return a.thread >> 5; }

// Whether this block sees what another has done.
static bool passed_on(const Access& then, const Access& now) {
    if (now.thread != seen_thread && now.interval <= seen_interval) return false;
    return std::any_of(seen.begin(), seen.end(), [&](const Passed& p) {
        return p.block == then.block && (then.thread == p.thread || then.interval < p.interval);
    });
}

// Whether an earlier access may happen at the same time as `now`.
static bool concurrent(const Access& then, const Access& now) {
    if (then.block < first_block) return false;
    if (then.block != now.block) return !passed_on(then, now);
    if (then.thread == now.thread || then.interval != now.interval) return false;
    return warp_of(then) != warp_of(now) || then.warp_interval == now.warp_interval;
}

static const char* race(const Cell& c, const Access& now, bool write) {
    const bool block_wrote = c.write.block == now.block, block_read = c.read.block == now.block;
    if (concurrent(c.write, now))
        return block_wrote ? "race: another thread wrote it" : "race between blocks: another wrote it";
    if (!write || c.read.block < first_block) return nullptr;
    if (!block_read || c.readers & OTHER_BLOCK) return "race between blocks: another read it";
    if (concurrent(c.read, now)) return "race: another thread read it";
    if (c.read.interval != now.interval) return nullptr;
    const bool lanes = c.readers & SAME_WARP && c.read.warp_interval == now.warp_interval;
    return lanes || c.readers & OTHER_WARP ? "race: other threads read it" : nullptr;
}

static void note_read(Cell& c, const Access& now) {
    if (c.read.block != now.block) {
        c.readers = c.read.block >= first_block ? OTHER_BLOCK : 0;
    } else if (c.read.interval != now.interval) {
        c.readers &= OTHER_BLOCK;
    } else if (warp_of(c.read) != warp_of(now)) {
        c.readers |= OTHER_WARP;
    } else if (c.read.warp_interval != now.warp_interval) {
        c.readers &= ~SAME_WARP;
    } else if (c.read.thread != now.thread) {
        c.readers |= SAME_WARP;
    }
    c.read = now;
}

void checker_fence() {
    fences[thread_index()] = interval;
    if (reached.empty()) return;
    seen = reached;
    seen_interval = interval;
    seen_thread = thread_index();
}

// Atomics do not race with each other: only what else is done there is noted.
void checker_atomic(const void* p, size_t bytes, const void* pc) {
    const Cell before = *cell(p);
    checker_access(p, bytes, true, pc);
    cell(p)->write = before.write;
    for (const Passed& other : passed)
        if (other.at == p) reached.push_back(other);
    const unsigned thread = thread_index();
    if (fences[thread]) passed.push_back({p, block, fences[thread], (uint16_t)thread});
}

void checker_access(const void* p, size_t bytes, bool write, const void* pc) {
    const char* const verb = write ? "write" : "read";
    const char* at = (const char*)p;
    if (at < base || at + bytes > base + REGION) {
        const char* own = (const char*)&indices;
        if (on_stack(p, bytes) || (at >= own && at + bytes <= own + sizeof indices)) return;
        fail(pc, "out of bounds: %s of %zu bytes far from every buffer", verb, bytes);
    }
    const unsigned thread = thread_index();
    const Access now = {block, interval, warp_intervals[thread >> 5], (uint16_t)thread};
    for (const char* end = at + bytes; at < end;) {
        const size_t offset = (size_t)at & 3, in_cell = std::min<size_t>(4 - offset, end - at);
        Cell& c = *cell(at);
        const char* wrong = nullptr;
        if (c.bytes < offset + in_cell) wrong = "out of bounds";
        else if (write && !c.writable) wrong = "write to an input";
        else if (!write && c.content == UNWRITTEN) wrong = "unwritten shared memory";
        else if (!write && c.content == PENDING) wrong = "copy not waited for";
        else wrong = race(c, now, write);
        if (wrong) {
            fail(pc, "%s: %s of %zu bytes", wrong, verb, bytes);
        }
        if (write) {
            c.write = now;
            c.content = WRITTEN;
        } else {
            note_read(c, now);
        }
        at += in_cell;
    }
}
}  // namespace host

// ---- what -fsanitize=thread calls ------------------------------------------------------------
static void aligned_access(const void* p, size_t bytes, bool write, const void* pc) {
    if ((size_t)p % bytes) host::fail(pc, "misaligned %s of %zu bytes", write ? "write" : "read", bytes);
    host::checker_access(p, bytes, write, pc);
}
#define PC __builtin_return_address(0)
#define ACCESS(n)                                                                        \
    void __tsan_read##n(void* p) { aligned_access(p, n, false, PC); }                    \
    void __tsan_write##n(void* p) { aligned_access(p, n, true, PC); }                    \
    void __tsan_unaligned_read##n(void* p) { host::checker_access(p, n, false, PC); }    \
    void __tsan_unaligned_write##n(void* p) { host::checker_access(p, n, true, PC); }
extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
ACCESS(1) ACCESS(2) ACCESS(4) ACCESS(8) ACCESS(16)
void __tsan_read_range(void* p, size_t n) { host::checker_access(p, n, false, PC); }
void __tsan_write_range(void* p, size_t n) { host::checker_access(p, n, true, PC); }
void* __tsan_memcpy(void* to, const void* from, size_t n) {
    host::checker_access(from, n, false, PC);
    host::checker_access(to, n, true, PC);
    return memcpy(to, from, n);
}
void* __tsan_memset(void* to, int value, size_t n) {
    host::checker_access(to, n, true, PC);
    return memset(to, value, n);
}
}

// ---- what -fsanitize=alignment,bounds,... call ------------------------------------------------
// All their data start with the place in the source.
struct Place { const char* file; unsigned line, column; };
#define UNDEFINED(name, text)                                                     \
    extern "C" void __ubsan_handle_##name##_abort(const Place* at, ...) {         \
        host::fail(nullptr, "%s at %s:%u", text, at->file, at->line);             \
    }
UNDEFINED(type_mismatch_v1, "misaligned access")
UNDEFINED(out_of_bounds, "out of bounds: index of an array")
UNDEFINED(shift_out_of_bounds, "shift out of range")
UNDEFINED(add_overflow, "overflow of an addition")
UNDEFINED(sub_overflow, "overflow of a subtraction")
UNDEFINED(mul_overflow, "overflow of a product")
UNDEFINED(negate_overflow, "overflow of a negation")
UNDEFINED(divrem_overflow, "division by zero or overflow")
UNDEFINED(float_cast_overflow, "overflow of a conversion to an integer")
