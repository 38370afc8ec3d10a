// What runtime.cc and checker.cc know of each other.
#pragma once
#include <stddef.h>

namespace host {
// One argument of a launch, as the test binary passes it.
enum Kind { SCALAR, INPUT, OUTPUT };
struct Argument {
    void* at;      // the scalar, or the buffer
    size_t bytes;
    int kind;
};

// Ends the launch with a report about the running thread; `pc` is in the code that did it.
[[noreturn]] void fail(const void* pc, const char* format, ...)
    __attribute__((format(printf, 2, 3)));
// The running thread's index in its block, and whether bytes lie on its stack.
unsigned thread_index();
bool on_stack(const void* p, size_t bytes);

#ifdef CHECKED
// Moves every buffer of a launch to a place of its own: `at` changes. Null, or what is wrong.
const char* checker_begin(Argument* arguments, size_t count);
// Moves what is there back.
void checker_end();
void checker_block_begin();
void checker_barrier();
void checker_warp_barrier(unsigned warp);
void* checker_shared(size_t bytes);
void checker_fence();
void checker_atomic(const void* p, size_t bytes, const void* pc);
// Accesses on behalf of asynchronous copies.
void checker_access(const void* p, size_t bytes, bool write, const void* pc);
void checker_pending(const void* p, size_t bytes);
#else
inline const char* checker_begin(Argument*, size_t) { return nullptr; }
inline void checker_end() {}
inline void checker_block_begin() {}
inline void checker_barrier() {}
inline void checker_warp_barrier(unsigned) {}
inline void* checker_shared(size_t) { return nullptr; }
inline void checker_fence() {}
inline void checker_atomic(const void*, size_t, const void*) {}
inline void checker_access(const void*, size_t, bool, const void*) {}
inline void checker_pending(const void*, size_t) {}
#endif
}  // namespace host
