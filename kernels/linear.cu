// y = LeakyReLU(x·wᵀ + b), a fully connected layer; slope 1 is no LeakyReLU. Backward, with g the
// gradient at x·wᵀ + b: dx = g·w, dw = gᵀ·x, db = Σ_rows g.
//
// x [P|1, n, in]; w [P, out, in]; b [P, 1, out]; y, g [P, n, out].
//
// And gram_linear, the same layer on inputs that never change: y = LeakyReLU(a·s + k·c + b) with
// k = x·xᵀ [1, n, n], s = x·w₀ᵀ [P, n, out], coefficients c [P, n, out], scale a [P, 1, 1]. What it
// puts into the gradient of c is g, see `src/ops/gram_linear.rs`.
//
// The products are one: out_ij = Σ_k a_ik b_jk, in tiles of 64×64. A block of 256 threads
// takes 16 steps k of both operands at a time into shared memory; each thread keeps a 4×4 grid of
// sums in registers, 16 rows and 16 columns apart, so that neighbouring threads read neighbouring
// words. They differ in how the operands lie in memory: along k (a_ik = a[i·inner + k]) or across
// it (a_ik = a[k·outer + i]).
enum {
    TILE = 64,
    DEPTH = 16,
    THREADS = 256,
    // Words from one k of a tile to the next: 2 more than the tile's side, so that the 32 words
    // that a warp stores along k lie in 32 banks.
    PITCH = TILE + 2,
    // Entries of a tile that each thread fetches.
    STAGED = TILE * DEPTH / THREADS,
};

// Which entry of a 64×16 tile is the n-th of this thread: consecutive threads read consecutive
// addresses.
template <bool ALONG_K>
__device__ __forceinline__ void tile_entry(int n, int &i, int &k) {
    const int at = threadIdx.x + n * THREADS;
    i = ALONG_K ? at / DEPTH : at % TILE;
    k = ALONG_K ? at % DEPTH : at / TILE;
}

// Reads this thread's entries of the operand's tile at (i0, k0) into registers, 0 outside.
template <bool ALONG_K>
__device__ __forceinline__ void fetch(real (&staged)[STAGED], const real *__restrict__ from,
                                             int i0, int outer, int k0, int inner) {
#pragma unroll
    for (int n = 0; n < STAGED; n++) {
        int i, k;
        tile_entry<ALONG_K>(n, i, k);
        i += i0, k += k0;
        const long long at = ALONG_K ? (long long)i * inner + k : (long long)k * outer + i;
        staged[n] = i < outer && k < inner ? from[at] : (real)0;
    }
}

// Puts them into the tile in shared memory.
template <bool ALONG_K>
__device__ __forceinline__ void store(real *tile, const real (&staged)[STAGED]) {
#pragma unroll
    for (int n = 0; n < STAGED; n++) {
        int i, k;
        tile_entry<ALONG_K>(n, i, k);
        tile[k * PITCH + i] = staged[n];
    }
}

// Calls out(i, j, Σ_k a_ik b_jk) for this thread's entries of the block's tile of a rows × cols
// matrix. The tiles are in shared memory, DEPTH * PITCH words each.
template <bool A_ALONG_K, bool B_ALONG_K, typename Out>
__device__ __forceinline__ void product(const real *__restrict__ a,
                                               const real *__restrict__ b, int rows, int cols,
                                               int inner, real *a_tile, real *b_tile, Out out) {
    const int i0 = blockIdx.y * TILE, j0 = blockIdx.x * TILE;
    const int ti = threadIdx.x / 16, tj = threadIdx.x % 16;
    real sums[4][4] = {};
    real a_staged[STAGED], b_staged[STAGED];
    fetch<A_ALONG_K>(a_staged, a, i0, rows, 0, inner);
    fetch<B_ALONG_K>(b_staged, b, j0, cols, 0, inner);
    for (int k0 = 0; k0 < inner; k0 += DEPTH) {
        __syncthreads();
        store<A_ALONG_K>(a_tile, a_staged);
        store<B_ALONG_K>(b_tile, b_staged);
        __syncthreads();
        // The next tiles are on their way while this one is multiplied; past the end they are 0.
        fetch<A_ALONG_K>(a_staged, a, i0, rows, k0 + DEPTH, inner);
        fetch<B_ALONG_K>(b_staged, b, j0, cols, k0 + DEPTH, inner);
#pragma unroll
        for (int k = 0; k < DEPTH; k++) {
            real a_column[4], b_column[4];
#pragma unroll
            for (int n = 0; n < 4; n++) {
                a_column[n] = a_tile[k * PITCH + ti + 16 * n];
                b_column[n] = b_tile[k * PITCH + tj + 16 * n];
            }
#pragma unroll
            for (int m = 0; m < 4; m++) {
#pragma unroll
                for (int n = 0; n < 4; n++) sums[m][n] += a_column[m] * b_column[n];
            }
        }
    }
#pragma unroll
    for (int m = 0; m < 4; m++) {
#pragma unroll
        for (int n = 0; n < 4; n++) {
            const int i = i0 + ti + 16 * m, j = j0 + tj + 16 * n;
            if (i < rows && j < cols) out(i, j, sums[m][n]);
        }
    }
}

// y = LeakyReLU(x·wᵀ + b).
extern "C" __global__ void linear(const real *__restrict__ x, const real *__restrict__ w,
                                  const real *__restrict__ b, real *__restrict__ y, int rows,
                                  int in, int out, int x_stride, real slope) {
    SHARED(real, a_tile, DEPTH * PITCH);
    SHARED(real, b_tile, DEPTH * PITCH);
    x = partition(x, x_stride);
    w = partition(w, out * in);
    b = partition(b, out);
    y = partition(y, rows * out);
    product<true, true>(x, w, rows, out, in, a_tile, b_tile, [=](int i, int j, real sum) {
        const real value = sum + b[j];
        y[(long long)i * out + j] = value > 0 ? value : slope * value;
    });
}

// dx = g·w.
extern "C" __global__ void linear_backward_x(const real *__restrict__ g,
                                             const real *__restrict__ w, real *__restrict__ dx,
                                             int rows, int in, int out, int want) {
    SHARED(real, a_tile, DEPTH * PITCH);
    SHARED(real, b_tile, DEPTH * PITCH);
    g = partition(g, rows * out);
    w = partition(w, out * in);
    dx = partition(dx, rows * in);
    product<true, false>(g, w, rows, in, out, a_tile, b_tile, [=](int i, int j, real sum) {
        put(dx + (long long)i * in + j, sum, want);
    });
}

// dw = gᵀ·x.
extern "C" __global__ void linear_backward_w(const real *__restrict__ g,
                                             const real *__restrict__ x, real *__restrict__ dw,
                                             int rows, int in, int out, int x_stride, int want) {
    SHARED(real, a_tile, DEPTH * PITCH);
    SHARED(real, b_tile, DEPTH * PITCH);
    g = partition(g, rows * out);
    x = partition(x, x_stride);
    dw = partition(dw, out * in);
    product<false, false>(g, x, out, in, rows, a_tile, b_tile, [=](int i, int j, real sum) {
        put(dw + (long long)i * in + j, sum, want);
    });
}

// Calls out(at, g) with g = slope·g where y <= 0, for every entry of 32 columns, and db = Σ_rows g:
// once over g for both. `sums` is shared memory of 32 * 33 words; 32 threads share a column, each
// with every 32nd row, four at a time on their way.
template <typename Out>
__device__ __forceinline__ void backward_b(const real *y, const real *g, real *db, int rows,
                                           int out, real slope, int want, real *sums, Out put_g) {
    const int j = blockIdx.x * 32 + lane(), part = threadIdx.x / 32;
    real sum = 0;
    for (int i0 = part; i0 < rows; i0 += 4 * 32) {
        real values[4];
#pragma unroll
        for (int n = 0; n < 4; n++) {
            const int i = i0 + 32 * n;
            const bool inside = i < rows && j < out;
            const long long at = (long long)i * out + j;
            values[n] = inside ? (y[at] > 0 ? g[at] : slope * g[at]) : (real)0;
        }
#pragma unroll
        for (int n = 0; n < 4; n++) {
            const int i = i0 + 32 * n;
            if (i < rows && j < out) put_g((long long)i * out + j, values[n]);
            sum += values[n];
        }
    }
    sums[part * 33 + lane()] = sum;
    __syncthreads();
    if (part == 0 && j < out) {
        sum = 0;
        for (int n = 0; n < 32; n++) sum += sums[n * 33 + lane()];
        put(db + j, sum, want);
    }
}

// g = slope·g where y <= 0, in place, and db = Σ_rows g.
extern "C" __global__ void linear_backward_b(const real *__restrict__ y, real *__restrict__ g,
                                             real *__restrict__ db, int rows, int out, real slope,
                                             int want) {
    SHARED(real, sums, 32 * 33);
    y = partition(y, rows * out);
    g = partition(g, rows * out);
    db = partition(db, out);
    backward_b(y, g, db, rows, out, slope, want, sums,
               [=](long long at, real value) { g[at] = value; });
}

// y = LeakyReLU(a·start + k·c + b).
extern "C" __global__ void gram_linear(const real *__restrict__ k, const real *__restrict__ start,
                                       const real *__restrict__ a, const real *__restrict__ c,
                                       const real *__restrict__ b, real *__restrict__ y, int rows,
                                       int out, real slope) {
    SHARED(real, a_tile, DEPTH * PITCH);
    SHARED(real, b_tile, DEPTH * PITCH);
    start = partition(start, rows * out);
    c = partition(c, rows * out);
    b = partition(b, out);
    y = partition(y, rows * out);
    const real scale = *partition(a, 1);
    product<true, false>(k, c, rows, out, rows, a_tile, b_tile, [=](int i, int j, real sum) {
        const long long at = (long long)i * out + j;
        const real value = sum + scale * start[at] + b[j];
        y[at] = value > 0 ? value : slope * value;
    });
}

// dc = g, where y <= 0 slope·g, and db = Σ_rows of it.
extern "C" __global__ void gram_linear_backward(const real *__restrict__ y,
                                                const real *__restrict__ g,
                                                real *__restrict__ dc, real *__restrict__ db,
                                                int rows, int out, real slope, int want_c,
                                                int want_b) {
    SHARED(real, sums, 32 * 33);
    y = partition(y, rows * out);
    g = partition(g, rows * out);
    dc = partition(dc, rows * out);
    db = partition(db, out);
    backward_b(y, g, db, rows, out, slope, want_b, sums,
               [=](long long at, real value) { put(dc + at, value, want_c); });
}
