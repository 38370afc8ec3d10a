// What the kernels share. REAL is the type of a compilation: float, or double for checks.
//
// Conventions of all kernels:
// - blockIdx.z is the partition; a buffer that all partitions share has stride 0 over them;
// - blocks have a multiple of 32 threads, and all of them reach every barrier and shuffle;
// - sums run in a fixed order, so that the same step gives the same bytes.
typedef REAL real;

// A block's shared memory, so that an executor on the host can put its own in its place.
#ifndef SHARED
#define SHARED(type, name, count) __shared__ __align__(16) type name[count]
#endif

// All inline PTX there is, for sm_80 and later. An executor on the host has functions of its own in
// its place, which do what the PTX manual says.
#ifndef HOST_EXECUTOR
// Copies BYTES (4, 8 or 16; both addresses are multiples of it) to shared memory while the thread
// goes on; zeros unless `inside`, and then nothing is read.
template <int BYTES>
__device__ __forceinline__ void copy_async(void *to, const void *from, bool inside) {
    const unsigned at = (unsigned)__cvta_generic_to_shared(to);
    const int bytes = inside ? BYTES : 0;
    if constexpr (BYTES == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                     :: "r"(at), "l"(from), "r"(bytes) : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
                     :: "r"(at), "l"(from), "n"(BYTES), "r"(bytes) : "memory");
    }
}

// Ends a group of copies.
__device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until all groups of this thread but the last LEFT are there, for this thread.
template <int LEFT>
__device__ __forceinline__ void copy_wait() {
    asm volatile("cp.async.wait_group %0;" :: "n"(LEFT) : "memory");
}

// x rounded to tf32: 10 bits after the point, ties away from 0.
__device__ __forceinline__ unsigned to_tf32(float x) {
    unsigned y;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
    return y;
}

// Two numbers rounded to bf16: 7 bits after the point, ties to even.
__device__ __forceinline__ unsigned to_bf16x2(float low, float high) {
    unsigned y;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
}

// d += a·b by a warp, d 16×8, a 16×K, b K×8. With g = lane / 4 and t = lane % 4, a lane has
// d: (g, 2t), (g, 2t+1), (g+8, 2t), (g+8, 2t+1). Volatile: all lanes must come to it together.
// K = 8, tf32. a: (g, t), (g+8, t), (g, t+4), (g+8, t+4); b: (t, g), (t+4, g).
__device__ __forceinline__ void mma_tf32(float (&d)[4], const unsigned (&a)[4],
                                         const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// K = 16, bf16, two neighbours along k in a word, the first in its low half.
// a: (g, 2t), (g+8, 2t), (g, 2t+8), (g+8, 2t+8); b: (2t, g), (2t+8, g).
__device__ __forceinline__ void mma_bf16(float (&d)[4], const unsigned (&a)[4],
                                         const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

// What `to_tf32` gives for every finite x, and for infinity, in an addition where that also looks
// for NaN: of a NaN this makes another, infinity or 0, so that its bits must not be lost elsewhere.
__device__ __forceinline__ unsigned finite_to_tf32(float x) {
    return (__float_as_uint(x) + 0x1000u) & ~0x1fffu;
}

// What a backward pass does with the gradient of one input: leave it, store it, or add to it.
enum Want { NO, WRITE, ADD };

__device__ __forceinline__ void put(real *slot, real value, int want) {
    if (want == WRITE) *slot = value;
    if (want == ADD) *slot += value;
}

// Where this block's partition of a buffer starts, `stride` elements from one to the next.
template <typename T>
__device__ __forceinline__ T *partition(T *buffer, int stride) {
    return buffer + (long long)blockIdx.z * stride;
}

// Of a kernel with one thread per element: the element of this thread.
__device__ __forceinline__ int element() { return blockIdx.x * blockDim.x + threadIdx.x; }

// Of a kernel with one warp per row: the row of this warp.
__device__ __forceinline__ int warp_row() {
    return blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
}

__device__ __forceinline__ int lane() { return threadIdx.x % 32; }

__device__ __forceinline__ real warp_sum(real x) {
    for (int i = 16; i > 0; i /= 2) x += __shfl_xor_sync(0xffffffffu, x, i);
    return x;
}

__device__ __forceinline__ real warp_max(real x) {
    for (int i = 16; i > 0; i /= 2) x = fmax(x, __shfl_xor_sync(0xffffffffu, x, i));
    return x;
}

// Sum over the block, the same in every thread. `scratch` has 32 elements of shared memory.
__device__ __forceinline__ real block_sum(real x, real *scratch) {
    x = warp_sum(x);
    if (lane() == 0) scratch[threadIdx.x / 32] = x;
    __syncthreads();
    x = warp_sum(lane() < (int)blockDim.x / 32 ? scratch[lane()] : (real)0);
    __syncthreads();
    return x;
}

// The rows among the 1024 from i0 whose label is `wanted`, in their order; returns how many. `masks`
// and `found` are shared memory of 32 and 1024 words: a bit for each row, and the rows.
template <typename Wanted>
__device__ __forceinline__ int rows_where(const int *labels, int i0, int rows, unsigned *masks,
                                          int *found, Wanted wanted) {
    const int warp = threadIdx.x / 32, warps = blockDim.x / 32;
    for (int part = warp; part < 32; part += warps) {
        const int i = i0 + 32 * part + lane();
        const unsigned mask = __ballot_sync(0xffffffffu, i < rows && wanted(labels[i]));
        if (lane() == 0) masks[part] = mask;
    }
    __syncthreads();
    const real of_part = __popc(masks[lane()]);
    for (int part = warp; part < 32; part += warps) {
        const int before = (int)warp_sum(lane() < part ? of_part : (real)0);
        const unsigned mask = masks[part], below = (1u << lane()) - 1;
        if (mask >> lane() & 1) found[before + __popc(mask & below)] = i0 + 32 * part + lane();
    }
    __syncthreads();
    return (int)warp_sum(of_part);
}

// This warp's share of the sum of value(i) over the rows i of class k: of so many warps, each takes
// every row that many after the one before, eight on their way at once. Adds the rows to n.
template <typename Value>
__device__ __forceinline__ real class_sum(const int *labels, int k, int rows, unsigned *masks,
                                          int *found, int &n, Value value) {
    const int warps = blockDim.x / 32;
    real sum = 0;
    for (int i0 = 0; i0 < rows; i0 += 1024) {
        const int hits = rows_where(labels, i0, rows, masks, found, [=](int y) { return y == k; });
        n += hits;
        for (int m0 = threadIdx.x / 32; m0 < hits; m0 += 8 * warps) {
            real values[8];
#pragma unroll
            for (int m = 0; m < 8; m++) {
                const int at = m0 + m * warps;
                values[m] = at < hits ? value(found[at]) : (real)0;
            }
#pragma unroll
            for (int m = 0; m < 8; m++) sum += values[m];
        }
    }
    return sum;
}

// Σ over the warps of x, lane by lane, for the first warp. `sums` is shared memory of 32 words for
// each warp.
__device__ __forceinline__ real add_warps(real x, real *sums) {
    sums[threadIdx.x] = x;
    __syncthreads();
    x = 0;
    if (threadIdx.x < 32) {
        for (int warp = 0; warp < (int)blockDim.x / 32; warp++) x += sums[32 * warp + lane()];
    }
    return x;
}

// −∞, without a header.
#define NEGATIVE_INFINITY log((real)0)
