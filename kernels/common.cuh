// What the kernels share. REAL is the type of a compilation: float, or double for checks.
//
// Conventions of all kernels:
// - blockIdx.z is the partition; a buffer that all partitions share has stride 0 over them;
// - blocks have a multiple of 32 threads, and all of them reach every barrier and shuffle;
// - sums run in a fixed order, so that the same step gives the same bytes.
typedef REAL real;

// A block's shared memory, so that an executor on the host can put its own in its place.
#ifndef SHARED
#define SHARED(type, name, count) __shared__ type name[count]
#endif

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

// −∞, without a header.
#define NEGATIVE_INFINITY log((real)0)
