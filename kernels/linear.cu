// y = LeakyReLU(x·wᵀ + b), a fully connected layer; slope 1 is no LeakyReLU. Backward, with g the
// gradient at x·wᵀ + b: dx = g·w, dw = gᵀ·x, db = Σ_rows g.
//
// x [P|1, n, in]; w [P, out, in]; b [P, 1, out]; y, g [P, n, out].
//
// And gram_linear, the same layer on inputs that never change: y = LeakyReLU(a·s + k·c + b) with
// k = x·xᵀ [1, n, n], s = x·w₀ᵀ [P, n, out], coefficients c [P, n, out], scale a [P, 1, 1]. What it
// puts into the gradient of c is g, see `src/ops/gram_linear.rs`.
//
// The products are one: out_ij = Σ_k a_ik b_jk, in a tile of the result for each block. Operands
// differ in how they lie in memory: along k (a_ik = a[i·inner + k]) or across it
// (a_ik = a[k·outer + i]). The ladder of ways to compute it has a rung for each compilation of this
// file, named by two macros; `src/device/rung.rs` says which product takes which.
//
// ARITHMETIC, of the multiplications; sums are in `real` always:
enum {
    PLAIN,       // as they are, in `real`
    TF32,        // tensor cores, factors rounded to 10 bits after the point
    THREE_TF32,  // tensor cores, each factor as the sum of two of those: nearly float
    BF16,        // tensor cores, factors rounded to 7 bits
};
// TILE, the part of the result that a block makes:
enum {
    LARGE,   // 128×128, the fewest reads of each operand; PLAIN and THREE_TF32 do without
    MEDIUM,  // 64×64
    SMALL,   // 32×32, with a quarter of each sum for each quarter of the threads: a result that is
             // small has more blocks, and they take fewer steps one after the other
};

// Where tiles are too few to keep a card busy, several blocks make each, next to each other in the
// grid's x, each from a part of the terms. The last to arrive adds up the sums of all.
struct SplitK {
    real *sums;    // every block's
    int *arrived;  // of each tile, the blocks whose sums are there; 0 between launches
    int parts;     // blocks of a tile

    // The tile's column in the grid of tiles.
    __device__ __forceinline__ int tile_j() const { return blockIdx.x / parts; }

    // Which of the tile's blocks this is.
    __device__ __forceinline__ int part() const { return blockIdx.x % parts; }
};

// The terms of this block, from `begin` to `end`, in whole steps of DEPTH as far as there are.
template <int DEPTH>
struct Terms {
    int begin, end;

    __device__ __forceinline__ Terms(SplitK split, int inner) {
        const int steps = (inner + DEPTH - 1) / DEPTH, part = split.part();
        begin = steps * part / split.parts * DEPTH;
        end = min(steps * (part + 1) / split.parts * DEPTH, inner);
    }
};

// Whether this block is the last of `all` to come here; it then sees what the others have written
// before. `arrived` is 0 before, and again after the last has come; `shared` is a word of shared memory.
__device__ __forceinline__ bool comes_last(int *arrived, int all, real *shared) {
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        const bool last = atomicAdd(arrived, 1) + 1 == all;
        __threadfence();
        if (last) *arrived = 0;
        *shared = last;
    }
    __syncthreads();
    return *shared != 0;
}

// Adds up what the blocks of a tile have; whether this one has the result and goes on, the last or the
// only one. own(visit) calls visit(i, j, sum) for the N sums of each thread, of THREADS; what threads
// of the same number have belongs together. `shared` is a word of shared memory.
template <int N, int THREADS, typename Own>
__device__ __forceinline__ bool merge(SplitK split, Own own, real *shared) {
    if (split.parts == 1) return true;
    const int tiles_j = gridDim.x / split.parts;
    const int tile = (blockIdx.z * gridDim.y + blockIdx.y) * tiles_j + split.tile_j();
    // Neighbouring threads write and read neighbouring words.
    real *const first = split.sums + (long long)tile * split.parts * N * THREADS + threadIdx.x;
    real *at = first + (long long)split.part() * N * THREADS;
    own([&](int, int, real &sum) { *at = sum, at += THREADS; });
    if (!comes_last(split.arrived + tile, split.parts, shared)) return false;
    at = first;
    own([&](int, int, real &sum) { sum = *at, at += THREADS; });
    for (int part = 1; part < split.parts; part++) {
        own([&](int, int, real &sum) { sum += *at, at += THREADS; });
    }
    return true;
}

// Calls out(i, j, sum) for every entry of the block's tile of ROWS × COLS at (i0, j0) in a
// rows × cols matrix: the sum, in their order, of SHARES tiles in shared memory, PITCH words from
// one of their rows to the next.
template <int SHARES, int ROWS, int COLS, int PITCH, typename T, typename Out>
__device__ __forceinline__ void add_shares(const T *shares, int i0, int j0, int rows, int cols,
                                           Out out) {
    for (int at = threadIdx.x; at < ROWS * COLS; at += blockDim.x) {
        T sum = 0;
#pragma unroll
        for (int n = 0; n < SHARES; n++) sum += shares[(n * ROWS + at / COLS) * PITCH + at % COLS];
        const int i = i0 + at / COLS, j = j0 + at % COLS;
        if (i < rows && j < cols) out(i, j, sum);
    }
}

// ---- on the ordinary units -------------------------------------------------------------------
//
// A block of 256 threads takes DEPTH steps k of both operands at a time into shared memory; each
// thread keeps a 4×4 grid of sums in registers, ACROSS rows and columns apart, so that neighbouring
// threads read neighbouring words.
namespace plain {
enum {
    SIDE = TILE == SMALL ? 32 : 64,
    THREADS = 256,
    // Threads that share a row, and as many that share a column.
    ACROSS = SIDE / 4,
    // Groups of threads with a share of each sum, 16 of the steps k each.
    SHARES = THREADS / (ACROSS * ACROSS),
    SHARE = 16,
    DEPTH = SHARE * SHARES,
    // Words from one k of a tile to the next: more than the tile's side, so that the 32 words that
    // a warp stores along k, 16 or 32 of them, lie in 32 banks.
    PITCH = SIDE + (DEPTH == 16 ? 2 : 1),
    // Entries of a tile that each thread fetches.
    STAGED = SIDE * DEPTH / THREADS,
};
static_assert(SHARES == 1 || SHARES * SIDE * SIDE <= 2 * DEPTH * PITCH, "shares fit the tiles");

// Which entry of a SIDE×DEPTH tile is the n-th of this thread: consecutive threads read consecutive
// addresses.
template <bool ALONG_K>
__device__ __forceinline__ void tile_entry(int n, int &i, int &k) {
    const int at = threadIdx.x + n * THREADS;
    i = ALONG_K ? at / DEPTH : at % SIDE;
    k = ALONG_K ? at % DEPTH : at / SIDE;
}

// Reads this thread's entries of the operand's tile at (i0, k0) into registers, 0 outside and from
// term `end` on.
template <bool ALONG_K>
__device__ __forceinline__ void fetch(real (&staged)[STAGED], const real *__restrict__ from,
                                      int i0, int outer, int k0, int end, int inner) {
#pragma unroll
    for (int n = 0; n < STAGED; n++) {
        int i, k;
        tile_entry<ALONG_K>(n, i, k);
        i += i0, k += k0;
        const long long at = ALONG_K ? (long long)i * inner + k : (long long)k * outer + i;
        staged[n] = i < outer && k < end ? from[at] : (real)0;
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

// Calls out(i, j, Σ_k a_ik b_jk) for the entries of the block's tile of a rows × cols matrix.
template <bool A_ALONG_K, bool B_ALONG_K, typename Out>
__device__ __forceinline__ void product(const real *__restrict__ a, const real *__restrict__ b,
                                        int rows, int cols, int inner, SplitK split,
                                        Out out) {
    SHARED(real, tiles, 2 * DEPTH * PITCH);
    real *const a_tile = tiles, *const b_tile = tiles + DEPTH * PITCH;
    const int i0 = blockIdx.y * SIDE, j0 = split.tile_j() * SIDE;
    const Terms<DEPTH> terms(split, inner);
    const int share = threadIdx.x / (ACROSS * ACROSS);
    const int ti = threadIdx.x / ACROSS % ACROSS, tj = threadIdx.x % ACROSS;
    real sums[4][4] = {};
    real a_staged[STAGED], b_staged[STAGED];
    fetch<A_ALONG_K>(a_staged, a, i0, rows, terms.begin, terms.end, inner);
    fetch<B_ALONG_K>(b_staged, b, j0, cols, terms.begin, terms.end, inner);
    for (int k0 = terms.begin; k0 < terms.end; k0 += DEPTH) {
        __syncthreads();
        store<A_ALONG_K>(a_tile, a_staged);
        store<B_ALONG_K>(b_tile, b_staged);
        __syncthreads();
        // The next tiles are on their way while this one is multiplied; past the end they are 0.
        fetch<A_ALONG_K>(a_staged, a, i0, rows, k0 + DEPTH, terms.end, inner);
        fetch<B_ALONG_K>(b_staged, b, j0, cols, k0 + DEPTH, terms.end, inner);
#pragma unroll
        for (int step = 0; step < SHARE; step++) {
            const int k = share * SHARE + step;
            real a_column[4], b_column[4];
#pragma unroll
            for (int n = 0; n < 4; n++) {
                a_column[n] = a_tile[k * PITCH + ti + ACROSS * n];
                b_column[n] = b_tile[k * PITCH + tj + ACROSS * n];
            }
#pragma unroll
            for (int m = 0; m < 4; m++) {
#pragma unroll
                for (int n = 0; n < 4; n++) sums[m][n] += a_column[m] * b_column[n];
            }
        }
    }
    // Calls visit(i, j, sum) for what this thread has.
    const auto each = [&](auto visit) {
#pragma unroll
        for (int m = 0; m < 4; m++) {
#pragma unroll
            for (int n = 0; n < 4; n++) visit(ti + ACROSS * m, tj + ACROSS * n, sums[m][n]);
        }
    };
    if (!merge<16, THREADS>(split, each, tiles)) return;
    if constexpr (SHARES == 1) {
        each([&](int i, int j, real sum) {
            if (i0 + i < rows && j0 + j < cols) out(i0 + i, j0 + j, sum);
        });
    } else {
        __syncthreads();
        each([&](int i, int j, real sum) { tiles[(share * SIDE + i) * SIDE + j] = sum; });
        __syncthreads();
        add_shares<SHARES, SIDE, SIDE, SIDE>(tiles, i0, j0, rows, cols, out);
    }
}
}  // namespace plain

// ---- on the tensor cores -----------------------------------------------------------------------
//
// A block copies DEPTH steps k of both operands at a time into shared memory, as they are, while it
// multiplies those before. A warp multiplies 16×8 pieces of the result (`mma`), rounding the
// factors as it takes them into registers, and keeps the sums there.
namespace tensor {
struct Block {
    // Warps along rows and columns of the result, and such that share k.
    int warps_i, warps_j, warps_k;
    // Pieces of 16×8 of a warp, along rows and columns.
    int pieces_i, pieces_j;
    int depth;
};
constexpr Block BLOCKS[] = {{2, 4, 1, 4, 4, 16}, {2, 2, 1, 2, 4, 32}, {1, 1, 4, 2, 4, 64}};
constexpr Block BLOCK = BLOCKS[TILE];
enum {
    WARPS_I = BLOCK.warps_i,
    WARPS_J = BLOCK.warps_j,
    WARPS_K = BLOCK.warps_k,
    PIECES_I = BLOCK.pieces_i,
    PIECES_J = BLOCK.pieces_j,
    DEPTH = BLOCK.depth,
    THREADS = 32 * WARPS_I * WARPS_J * WARPS_K,
    ROWS = 16 * PIECES_I * WARPS_I,
    COLS = 8 * PIECES_J * WARPS_J,
    // Steps k that one `mma` takes.
    STEP = ARITHMETIC == BF16 ? 16 : 8,
};

// An operand's tile, `SIDE` of i or j by DEPTH of k, in rows as they lie in memory.
template <bool ALONG_K, int SIDE>
struct Tile {
    enum {
        HEIGHT = ALONG_K ? SIDE : DEPTH,
        WIDTH = ALONG_K ? DEPTH : SIDE,
        // Words from one row to the next: with 4 more, or 8, the 32 words that a warp takes for an
        // `mma`, 8 of i by 4 of k, lie in 32 banks.
        PITCH = WIDTH + (ALONG_K ? 4 : 8),
        WORDS = HEIGHT * PITCH,
    };

    // Begins to copy the operand's tile at (i0, k0), 0 outside: as many words at a time as rows of
    // this length allow, so that no copy is partly outside.
    static __device__ __forceinline__ void copy(float *tile, const float *__restrict__ from, int i0,
                                                int outer, int k0, int inner) {
        const int row0 = ALONG_K ? i0 : k0, rows = ALONG_K ? outer : inner;
        const int col0 = ALONG_K ? k0 : i0, cols = ALONG_K ? inner : outer;
        const int words = cols % 4 == 0 ? 4 : cols % 2 == 0 ? 2 : 1;
        // A thread stays in its column, so that from one copy to the next there is an addition to
        // be done and no more.
        const int row = threadIdx.x * words / WIDTH, col = threadIdx.x * words % WIDTH;
        const float *source = from + (long long)(row0 + row) * cols + col0 + col;
        float *const place = tile + row * PITCH + col;
        const int left = col0 + col < cols ? rows - row0 - row : 0;
        if (words == 4) {
            copy_column<4>(place, source, left, cols);
        } else if (words == 2) {
            copy_column<2>(place, source, left, cols);
        } else {
            copy_column<1>(place, source, left, cols);
        }
    }

    // What a thread copies of it, N words at a time: `left` rows of the operand are left from its
    // first on.
    template <int N>
    static __device__ __forceinline__ void copy_column(float *place, const float *source, int left,
                                                       int cols) {
        // Rows that the block's threads copy at once.
        constexpr int DOWN = THREADS * N / WIDTH;
        static_assert(THREADS * N % WIDTH == 0 && HEIGHT % DOWN == 0, "all threads copy alike");
#pragma unroll
        for (int n = 0; n < HEIGHT; n += DOWN) {
            copy_async<4 * N>(place + n * PITCH, source, n < left);
            source += (long long)DOWN * cols;
        }
    }

    static __device__ __forceinline__ float get(const float *tile, int i, int k) {
        return tile[ALONG_K ? i * PITCH + k : k * PITCH + i];
    }
};

// This lane's part of an operand of an `mma`: N is 2 for a, of 16 rows, and 1 for b, of 8 columns.
template <int N>
struct Fragment {
    unsigned high[2 * N];
    // What the rounding has left, with THREE_TF32.
    unsigned low[2 * N];

    // Takes it out of a tile at (i, k). With bf16 the k of the tile are given to those of the `mma`
    // in another order, in which a warp reads the same words as with tf32; any will do, as long as
    // a and b have the same.
    template <typename T>
    __device__ __forceinline__ void load(const float *tile, int i, int k) {
        i += lane() / 4, k += lane() % 4;
#pragma unroll
        for (int n = 0; n < 2 * N; n++) {
            const int row = i + n % N * 8, col = k + n / N * (STEP / 2);
            const float x = T::get(tile, row, col);
            if constexpr (ARITHMETIC == BF16) {
                high[n] = to_bf16x2(x, T::get(tile, row, col + 4));
            } else if constexpr (ARITHMETIC == TF32) {
                high[n] = to_tf32(x);
            } else {
                // Where x is NaN, or too large for tf32, the second part is NaN.
                high[n] = finite_to_tf32(x);
                // Cut off to tf32, for nothing: tensor cores read no further. Rounding would be an
                // instruction for a bit of the 22.
                low[n] = __float_as_uint(x - __uint_as_float(high[n])) & ~0x1fffu;
            }
        }
    }
};

__device__ __forceinline__ void multiply(float (&sums)[4], const Fragment<2> &a,
                                         const Fragment<1> &b) {
    if constexpr (ARITHMETIC == BF16) {
        mma_bf16(sums, a.high, b.high);
    } else if constexpr (ARITHMETIC == TF32) {
        mma_tf32(sums, a.high, b.high);
    } else {
        // The smallest first; low·low is below what float keeps. Tensor cores cut sums off where
        // ordinary units round them, which over many steps adds up: they sum one step alone.
        float step[4] = {};
        mma_tf32(step, a.low, b.high);
        mma_tf32(step, a.high, b.low);
        mma_tf32(step, a.high, b.high);
#pragma unroll
        for (int e = 0; e < 4; e++) sums[e] += step[e];
    }
}

// Calls out(i, j, Σ_k a_ik b_jk) for the entries of the block's tile of a rows × cols matrix.
template <bool A_ALONG_K, bool B_ALONG_K, typename Out>
__device__ __forceinline__ void product(const float *__restrict__ a, const float *__restrict__ b,
                                        int rows, int cols, int inner, SplitK split,
                                        Out out) {
    typedef Tile<A_ALONG_K, ROWS> A;
    typedef Tile<B_ALONG_K, COLS> B;
    // Two tiles of each: one arrives while the other is multiplied.
    SHARED(float, tiles, 2 * (A::WORDS + B::WORDS));
    float *const a_tiles = tiles, *const b_tiles = tiles + 2 * A::WORDS;
    const int i0 = blockIdx.y * ROWS, j0 = split.tile_j() * COLS;
    const Terms<DEPTH> terms(split, inner);
    const int warp = threadIdx.x / 32, warp_k = warp % WARPS_K;
    const int warp_i = warp / WARPS_K / WARPS_J * 16 * PIECES_I;
    const int warp_j = warp / WARPS_K % WARPS_J * 8 * PIECES_J;
    float sums[PIECES_I][PIECES_J][4] = {};

    // One step ahead of itself: the first time there is nothing to multiply yet. With the first
    // copies before the loop they would be in the code twice, and addresses and sums not all in
    // registers.
    for (int k0 = terms.begin - DEPTH, now = 1; k0 < terms.end; k0 += DEPTH, now ^= 1) {
        copy_wait<0>();
        __syncthreads();
        // All threads have multiplied what was in the other tiles.
        if (k0 + DEPTH < terms.end) {
            A::copy(a_tiles + (now ^ 1) * A::WORDS, a, i0, rows, k0 + DEPTH, inner);
            B::copy(b_tiles + (now ^ 1) * B::WORDS, b, j0, cols, k0 + DEPTH, inner);
            copy_commit();
        }
        if (k0 < terms.begin) continue;
        // Unrolled, the factors of several steps would be in registers together.
#pragma unroll 1
        for (int k = 0; k < DEPTH; k += STEP * WARPS_K) {
            const int k_of_warp = k + STEP * warp_k;
            Fragment<1> b_piece[PIECES_J];
#pragma unroll
            for (int n = 0; n < PIECES_J; n++) {
                b_piece[n].template load<B>(b_tiles + now * B::WORDS, warp_j + 8 * n, k_of_warp);
            }
#pragma unroll
            for (int m = 0; m < PIECES_I; m++) {
                Fragment<2> a_piece;
                a_piece.template load<A>(a_tiles + now * A::WORDS, warp_i + 16 * m, k_of_warp);
#pragma unroll
                for (int n = 0; n < PIECES_J; n++) multiply(sums[m][n], a_piece, b_piece[n]);
            }
        }
    }
    // Calls visit(i, j, sum) for what this lane has of its warp's sums.
    const auto each = [&](auto visit) {
#pragma unroll
        for (int m = 0; m < PIECES_I; m++) {
#pragma unroll
            for (int n = 0; n < PIECES_J; n++) {
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    visit(warp_i + 16 * m + lane() / 4 + 8 * (e / 2),
                          warp_j + 8 * n + 2 * (lane() % 4) + e % 2, sums[m][n][e]);
                }
            }
        }
    };
    if (!merge<4 * PIECES_I * PIECES_J, THREADS>(split, each, tiles)) return;
    if constexpr (WARPS_K == 1) {
        each([&](int i, int j, float sum) {
            if (i0 + i < rows && j0 + j < cols) out(i0 + i, j0 + j, sum);
        });
    } else {
        // With 8 words more than a row has, the 32 that half a warp stores together, 8 in each of 4
        // rows, lie in 32 banks.
        constexpr int PITCH = COLS + 8;
        static_assert(WARPS_K * ROWS * PITCH <= 2 * (A::WORDS + B::WORDS), "shares fit the tiles");
        __syncthreads();
        each([&](int i, int j, float sum) {
            tiles[(warp_k * ROWS + i) * PITCH + j] = sum;
        });
        __syncthreads();
        add_shares<WARPS_K, ROWS, COLS, PITCH>(tiles, i0, j0, rows, cols, out);
    }
}
}  // namespace tensor

// Calls out(i, j, Σ_k a_ik b_jk) for the entries of the block's tile of a rows × cols matrix.
template <bool A_ALONG_K, bool B_ALONG_K, typename Out>
__device__ __forceinline__ void product(const real *__restrict__ a, const real *__restrict__ b,
                                        int rows, int cols, int inner, SplitK split, Out out) {
    if constexpr (ARITHMETIC == PLAIN) {
        plain::product<A_ALONG_K, B_ALONG_K>(a, b, rows, cols, inner, split, out);
    } else {
        tensor::product<A_ALONG_K, B_ALONG_K>(a, b, rows, cols, inner, split, out);
    }
}

// ---- the kernels -------------------------------------------------------------------------------

// Threads of a product's block, and blocks that a multiprocessor's registers must do for at once:
// as many as leave each thread registers enough to spill none. Of doubles fewer fit.
enum {
    THREADS = ARITHMETIC == PLAIN ? (int)plain::THREADS : (int)tensor::THREADS,
    WARPS = ARITHMETIC != PLAIN ? 16 : TILE == SMALL ? 8 : 24,
    AT_ONCE = sizeof(real) == 8 ? 1 : WARPS * 32 / THREADS,
};

// y = LeakyReLU(x·wᵀ + b).
extern "C" __global__ __launch_bounds__(THREADS, AT_ONCE)
void linear(const real *__restrict__ x, const real *__restrict__ w, const real *__restrict__ b,
            real *__restrict__ y, int rows, int in, int out, int x_stride, real slope, real *sums,
            int *arrived, int parts) {
    x = partition(x, x_stride);
    w = partition(w, out * in);
    b = partition(b, out);
    y = partition(y, rows * out);
    product<true, true>(x, w, rows, out, in, {sums, arrived, parts}, [=](int i, int j, real sum) {
        const real value = sum + b[j];
        y[(long long)i * out + j] = value > 0 ? value : slope * value;
    });
}

// dx = g·w.
extern "C" __global__ __launch_bounds__(THREADS, AT_ONCE)
void linear_backward_x(const real *__restrict__ g, const real *__restrict__ w,
                       real *__restrict__ dx, int rows, int in, int out, int want, real *sums,
                       int *arrived, int parts) {
    g = partition(g, rows * out);
    w = partition(w, out * in);
    dx = partition(dx, rows * in);
    product<true, false>(g, w, rows, in, out, {sums, arrived, parts}, [=](int i, int j, real sum) {
        put(dx + (long long)i * in + j, sum, want);
    });
}

// dw = gᵀ·x.
extern "C" __global__ __launch_bounds__(THREADS, AT_ONCE)
void linear_backward_w(const real *__restrict__ g, const real *__restrict__ x,
                       real *__restrict__ dw, int rows, int in, int out, int x_stride, int want,
                       real *sums, int *arrived, int parts) {
    g = partition(g, rows * out);
    x = partition(x, x_stride);
    dw = partition(dw, out * in);
    product<false, false>(g, x, out, in, rows, {sums, arrived, parts}, [=](int i, int j, real sum) {
        put(dw + (long long)i * in + j, sum, want);
    });
}

// Calls out(at, g) with g = slope·g where y <= 0, for every entry of 32 columns, and db = Σ_rows g:
// once over g for both. `sums` is shared memory of 32 * 33 words; 32 threads share a column, each
// with every 32nd row, four at a time on their way. A partition of a buffer has less than 2³¹
// elements, and with indices of 32 bits two blocks' registers fit a multiprocessor.
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
            values[n] = 0;
            if (i < rows && j < out) {
                const int at = i * out + j;
                values[n] = y[at] > 0 ? g[at] : slope * g[at];
            }
        }
#pragma unroll
        for (int n = 0; n < 4; n++) {
            const int i = i0 + 32 * n;
            if (i < rows && j < out) put_g(i * out + j, values[n]);
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
extern "C" __global__ __launch_bounds__(1024)
void linear_backward_b(const real *__restrict__ y, real *__restrict__ g, real *__restrict__ db,
                       int rows, int out, real slope, int want) {
    SHARED(real, sums, 32 * 33);
    y = partition(y, rows * out);
    g = partition(g, rows * out);
    db = partition(db, out);
    backward_b(y, g, db, rows, out, slope, want, sums,
               [=](int at, real value) { g[at] = value; });
}

// y = LeakyReLU(a·start + k·c + b).
extern "C" __global__ __launch_bounds__(THREADS, AT_ONCE)
void gram_linear(const real *__restrict__ k, const real *__restrict__ start,
                 const real *__restrict__ a, const real *__restrict__ c, const real *__restrict__ b,
                 real *__restrict__ y, int rows, int out, real slope, real *sums, int *arrived,
                 int parts) {
    start = partition(start, rows * out);
    c = partition(c, rows * out);
    b = partition(b, out);
    y = partition(y, rows * out);
    const real scale = *partition(a, 1);
    product<true, false>(k, c, rows, out, rows, {sums, arrived, parts}, [=](int i, int j, real sum) {
        const long long at = (long long)i * out + j;
        const real value = sum + scale * start[at] + b[j];
        y[at] = value > 0 ? value : slope * value;
    });
}

// dc = g, where y <= 0 slope·g, and db = Σ_rows of it.
extern "C" __global__ __launch_bounds__(1024)
void gram_linear_backward(const real *__restrict__ y, const real *__restrict__ g,
                          real *__restrict__ dc, real *__restrict__ db, int rows, int out,
                          real slope, int want_c, int want_b) {
    SHARED(real, sums, 32 * 33);
    y = partition(y, rows * out);
    g = partition(g, rows * out);
    dc = partition(dc, rows * out);
    db = partition(db, out);
    backward_b(y, g, db, rows, out, slope, want_b, sums,
               [=](int at, real value) { put(dc + at, value, want_c); });
}
