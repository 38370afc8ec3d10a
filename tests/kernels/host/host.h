// The small part of CUDA C++ that the kernels use, for the host. It comes before `common.cuh`.
// Threads are fibers of one OS thread (runtime.cc); accesses are checked in checker.cc.
#pragma once
#include <math.h>
#include <stddef.h>
#include <string.h>

// NVRTC has none of these.
#undef INFINITY
#undef NAN
#undef HUGE_VAL

#define HOST_EXECUTOR 1
#define __global__ __attribute__((noinline))
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

// `count` may be several extents: SHARED(real, tile, 16][17).
#define SHARED(type, name, count)               \
    typedef type name##_shared_type[count];     \
    static const char name##_shared_key = 0;    \
    name##_shared_type& name =                  \
        *(name##_shared_type*)host::shared(&name##_shared_key, sizeof(name##_shared_type))

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; };
#define HOST_VECTOR(name, type, alignment, ...) \
    struct __attribute__((aligned(alignment), may_alias)) name { type __VA_ARGS__; };
HOST_VECTOR(float2, float, 8, x, y)
HOST_VECTOR(float4, float, 16, x, y, z, w)
HOST_VECTOR(double2, double, 16, x, y)
HOST_VECTOR(int2, int, 8, x, y)
HOST_VECTOR(int4, int, 16, x, y, z, w)
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline double2 make_double2(double x, double y) { return {x, y}; }

namespace host {
struct Indices { uint3 thread, block; dim3 block_dim, grid_dim; };
extern Indices indices;

// A block's shared memory for the declaration that `key` stands for.
void* shared(const void* key, size_t bytes);
unsigned lane();
// What the lanes of a warp, or the threads of a block, do together.
void barrier(const char* file, int line);
void warp_barrier(unsigned mask, const char* file, int line);
void shuffle(unsigned mask, void* value, size_t bytes, unsigned from, const char* file, int line);
unsigned ballot(unsigned mask, bool vote, const char* file, int line);
// What blocks pass on to each other.
void fence();
int atomic_add(int* to, int value);
// Asynchronous copies to shared memory; they take place when they are waited for.
void copy_async(void* to, const void* from, size_t bytes, bool inside);
void copy_commit();
void copy_wait(size_t left);
// d += a·b of a whole warp; each lane has its 4 numbers of d, 4 words of a and 2 of b.
void mma_tf32(float* d, const unsigned* a, const unsigned* b, const char* file, int line);
void mma_bf16(float* d, const unsigned* a, const unsigned* b, const char* file, int line);
}  // namespace host

#define threadIdx host::indices.thread
#define blockIdx host::indices.block
#define blockDim host::indices.block_dim
#define gridDim host::indices.grid_dim
static const int warpSize = 32;

// Where in the source a call stands.
#define HOST_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()
static inline void __syncthreads(HOST_SITE) { host::barrier(file, line); }
static inline void __syncwarp(unsigned mask = 0xffffffffu, HOST_SITE) {
    host::warp_barrier(mask, file, line);
}
template <class T> T __shfl_sync(unsigned mask, T value, int from, int width = 32, HOST_SITE) {
    const unsigned first = host::lane() & ~(width - 1);
    host::shuffle(mask, &value, sizeof value, first | (from & (width - 1)), file, line);
    return value;
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, HOST_SITE) {
    const unsigned lane = host::lane(), from = lane ^ bits, last = lane | (width - 1);
    host::shuffle(mask, &value, sizeof value, from > last ? lane : from, file, line);
    return value;
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, HOST_SITE) {
    const unsigned lane = host::lane(), last = lane | (width - 1);
    host::shuffle(mask, &value, sizeof value, lane + by > last ? lane : lane + by, file, line);
    return value;
}
static inline unsigned __ballot_sync(unsigned mask, int vote, HOST_SITE) {
    return host::ballot(mask, vote != 0, file, line);
}

static inline void __threadfence() { host::fence(); }
static inline int atomicAdd(int* to, int value) { return host::atomic_add(to, value); }

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
template <class T> T __ldg(const T* p) { return *p; }
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
static inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }
static inline float rsqrt(float x) { return 1 / sqrtf(x); }
static inline double rsqrt(double x) { return 1 / sqrt(x); }
template <class To, class From> To host_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "as many bits");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
static inline float __int_as_float(int x) { return host_bits<float>(x); }
static inline int __float_as_int(float x) { return host_bits<int>(x); }
static inline float __uint_as_float(unsigned x) { return host_bits<float>(x); }
static inline unsigned __float_as_uint(float x) { return host_bits<unsigned>(x); }
static inline double __longlong_as_double(long long x) { return host_bits<double>(x); }
static inline long long __double_as_longlong(double x) { return host_bits<long long>(x); }

// What is inline PTX in `common.cuh`, as the PTX manual describes it.
template <int BYTES> void copy_async(void* to, const void* from, bool inside) {
    host::copy_async(to, from, BYTES, inside);
}
static inline void copy_commit() { host::copy_commit(); }
template <int LEFT> void copy_wait() { host::copy_wait(LEFT); }
static inline unsigned to_tf32(float x) {
    const unsigned bits = host_bits<unsigned>(x);
    if (x != x) return 0x7fc00000u;
    return (bits & 0x7f800000u) == 0x7f800000u ? bits : (bits + 0x1000u) & ~0x1fffu;
}
static inline unsigned to_bf16(float x) {
    const unsigned bits = host_bits<unsigned>(x);
    return x != x ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}
static inline unsigned to_bf16x2(float low, float high) { return to_bf16(high) << 16 | to_bf16(low); }
static inline void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], HOST_SITE) {
    host::mma_tf32(d, a, b, file, line);
}
static inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], HOST_SITE) {
    host::mma_bf16(d, a, b, file, line);
}
