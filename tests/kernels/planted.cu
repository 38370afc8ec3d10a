// Kernels with one bug each, which is there when `broken` is not 0. They show that the checker is
// alive, and that it is quiet about the same kernel without the bug. Blocks of 64 threads; `n`
// elements.

// The other half of the block's elements, through shared memory.
extern "C" __global__ void removed_barrier(const real *in, real *out, int broken) {
    SHARED(real, tile, 64);
    tile[threadIdx.x] = 0;
    __syncthreads();
    tile[threadIdx.x] = in[threadIdx.x];
    if (!broken) __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x ^ 32];
}

// The same within a warp: a shuffle does not order memory.
extern "C" __global__ void removed_warp_barrier(const real *in, real *out, int broken) {
    SHARED(real, tile, 64);
    tile[threadIdx.x] = in[threadIdx.x];
    if (!broken) __syncwarp();
    if (broken) __shfl_xor_sync(0xffffffffu, 1, 1);
    out[threadIdx.x] = tile[threadIdx.x ^ 1];
}

// A second round that does not wait for the first one's readers.
extern "C" __global__ void removed_second_barrier(const real *in, real *out, int broken) {
    SHARED(real, tile, 64);
    for (int i = 0; i < 2; ++i) {
        tile[threadIdx.x] = in[threadIdx.x];
        __syncthreads();
        out[threadIdx.x] = tile[63 - threadIdx.x];
        if (!broken) __syncthreads();
    }
}

extern "C" __global__ void store_off_by_one(const real *in, real *out, int n, int broken) {
    for (int i = threadIdx.x; i < n + (broken != 0); i += 64) out[i] = 1;
}

extern "C" __global__ void load_off_by_one(const real *in, real *out, int n, int broken) {
    for (int i = threadIdx.x; i < n; i += 64) out[i] = in[i + (broken != 0)];
}

extern "C" __global__ void load_before_start(const real *in, real *out, int n, int broken) {
    for (int i = threadIdx.x; i < n; i += 64) out[i] = in[i - (broken != 0)];
}

extern "C" __global__ void shared_off_by_one(const real *in, real *out, int broken) {
    SHARED(real, tile, 64);
    real *behind = tile;
    behind[threadIdx.x + (broken != 0)] = in[threadIdx.x];
    out[threadIdx.x] = 1;
}

// Two groups of copies, of which `broken` waits for the first alone.
extern "C" __global__ void missing_wait(const real *in, real *out, int broken) {
    SHARED(real, tile, 128);
    copy_async<sizeof(real)>(&tile[threadIdx.x], &in[threadIdx.x], true);
    copy_commit();
    copy_async<sizeof(real)>(&tile[64 + threadIdx.x], &in[63 - threadIdx.x], true);
    copy_commit();
    if (broken) copy_wait<1>();
    if (!broken) copy_wait<0>();
    __syncthreads();
    out[threadIdx.x] = tile[63 - threadIdx.x] + tile[127 - threadIdx.x];
    copy_wait<0>();
}

// A copy that is waited for by the thread that issued it, but by no other.
extern "C" __global__ void wait_without_barrier(const real *in, real *out, int broken) {
    SHARED(real, tile, 64);
    tile[threadIdx.x] = 0;
    __syncthreads();
    copy_async<sizeof(real)>(&tile[threadIdx.x], &in[threadIdx.x], true);
    copy_commit();
    copy_wait<0>();
    if (!broken) __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x ^ 32];
}

extern "C" __global__ void write_to_input(const real *in, real *out, int broken) {
    out[threadIdx.x] = in[threadIdx.x];
    if (broken) ((real *)in)[threadIdx.x] = 0;
}

extern "C" __global__ void unwritten_shared(const real *in, real *out, int n, int broken) {
    SHARED(real, tile, 64);
    if ((int)threadIdx.x < n) tile[threadIdx.x] = in[threadIdx.x];
    if (!broken && (int)threadIdx.x >= n) tile[threadIdx.x] = 0;
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x ^ 32];
}

// Half of the block returns early.
extern "C" __global__ void early_return(const real *in, real *out, int n, int broken) {
    SHARED(real, tile, 64);
    tile[threadIdx.x] = in[threadIdx.x];
    if (broken && (int)threadIdx.x >= n) return;
    __syncthreads();
    if ((int)threadIdx.x < n) out[threadIdx.x] = tile[threadIdx.x ^ 1];
}

// As many barriers for all, but not the same ones.
extern "C" __global__ void divergent_barrier(const real *in, real *out, int n, int broken) {
    if (broken && (int)threadIdx.x >= n) {
        __syncthreads();
        out[threadIdx.x] = 0;
    } else {
        __syncthreads();
        out[threadIdx.x] = in[threadIdx.x];
    }
}

extern "C" __global__ void writes_between_blocks(const real *in, real *out, int broken) {
    out[threadIdx.x + (broken ? 0 : blockIdx.x * 64)] = in[threadIdx.x];
}

// A block reads what the next one writes.
extern "C" __global__ void read_between_blocks(const real *in, real *out, int broken) {
    const int i = blockIdx.x * 64 + threadIdx.x;
    if (broken) out[i] = out[(i + 64) % (gridDim.x * 64)];
    if (!broken) out[i] = out[i] + in[threadIdx.x];
}

// All blocks read one element, and the last of them writes it.
extern "C" __global__ void read_by_all_blocks(const real *in, real *out, int broken) {
    const int i = blockIdx.x * 64 + threadIdx.x;
    const real first = broken ? out[0] : in[0];
    __syncthreads();
    const int last = blockIdx.x + 1 == gridDim.x && threadIdx.x == 0;
    if (i || !broken) out[broken && last ? 0 : i] = first;
}

// The last of all blocks to come reads what each has written; out[0] counts them, from the bits of 2.
// Three things make that safe.
static __device__ void sum_of_all(const real *in, real *out, bool barrier, bool fence_before,
                                  bool fence_after) {
    SHARED(int, last, 1);
    const int own = blockIdx.x * 64 + threadIdx.x, all = gridDim.x;
    if (own) out[own] = in[threadIdx.x];
    if (barrier) __syncthreads();
    if (threadIdx.x == 0) {
        if (fence_before) __threadfence();
        last[0] = atomicAdd((int *)out, 1) - __float_as_int(2) == all - 1;
        if (fence_after) __threadfence();
    }
    __syncthreads();
    if (!last[0]) return;
    real sum = 0;
    for (int block = 0; block < all; ++block) sum += out[block * 64 + 1 + threadIdx.x % 63];
    __syncthreads();
    if (own) out[own] = sum;
}
extern "C" __global__ void passed_on_before_all_wrote(const real *in, real *out, int broken) {
    sum_of_all(in, out, !broken, true, true);
}
extern "C" __global__ void passed_on_without_fence(const real *in, real *out, int broken) {
    sum_of_all(in, out, true, !broken, true);
}
extern "C" __global__ void taken_up_without_fence(const real *in, real *out, int broken) {
    sum_of_all(in, out, true, true, !broken);
}

// The last warp of a block of 48 threads has 16 lanes.
extern "C" __global__ void absent_lanes(const real *in, real *out, int broken) {
    const unsigned mask = threadIdx.x < 32 || broken ? 0xffffffffu : 0xffffu;
    out[threadIdx.x] = __shfl_xor_sync(mask, in[threadIdx.x], 1);
}

extern "C" __global__ void returned_lanes(const real *in, real *out, int n, int broken) {
    if (broken && (int)threadIdx.x >= n) return;
    out[threadIdx.x] = __shfl_down_sync(0xffffffffu, in[threadIdx.x], 1);
}

extern "C" __global__ void misaligned(const real *in, real *out, int broken) {
    if (threadIdx.x < 8) {
        const float4 four = *(const float4 *)(in + 4 * threadIdx.x + (broken != 0));
        out[threadIdx.x] = four.x + four.y + four.z + four.w;
    }
}
