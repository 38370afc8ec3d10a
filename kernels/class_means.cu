// μ_k = (1/n_k) Σ_{i: y_i = k} x_i: the mean row of each class over one or several blocks of rows,
// one launch per block: the first starts from 0, the last divides. A class without rows has mean 0.
//
// x [P|1, n, d]; y [P, n]; μ [P, K, d]; n_k [P, 1, K].

// The rows of class k among the 1024 from i0, in their order; returns how many. `masks` and `found`
// are shared memory of 32 and 1024 words: a bit for each row, and the rows.
__device__ __forceinline__ int rows_of_class(const int *labels, int k, int i0, int rows,
                                             unsigned *masks, int *found) {
    const int warp = threadIdx.x / 32, warps = blockDim.x / 32;
    for (int part = warp; part < 32; part += warps) {
        const int i = i0 + 32 * part + lane();
        const unsigned mask = __ballot_sync(0xffffffffu, i < rows && labels[i] == k);
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

// One block per class, threads over columns; every column adds up the class's rows in row order,
// eight of them on their way at once.
extern "C" __global__ void class_means(const real *__restrict__ x, const int *__restrict__ labels,
                                       real *__restrict__ means, real *__restrict__ counts,
                                       int rows, int cols, int x_stride, int labels_stride,
                                       int first, int last) {
    SHARED(unsigned, masks, 32);
    SHARED(int, found, 1024);
    const int k = blockIdx.x;
    x = partition(x, x_stride);
    labels = partition(labels, labels_stride);
    real *mean = partition(means, gridDim.x * cols) + (long long)k * cols;
    real *count = partition(counts, gridDim.x) + k;
    const real before = first ? (real)0 : *count;
    real n = before;
    for (int c0 = 0; c0 < cols; c0 += blockDim.x) {
        const int c = c0 + threadIdx.x;
        real sum = first || c >= cols ? (real)0 : mean[c];
        n = before;
        for (int i0 = 0; i0 < rows; i0 += 1024) {
            const int hits = rows_of_class(labels, k, i0, rows, masks, found);
            n += (real)hits;
            for (int m0 = 0; m0 < hits; m0 += 8) {
                real values[8];
#pragma unroll
                for (int m = 0; m < 8; m++) {
                    const bool inside = m0 + m < hits && c < cols;
                    values[m] = inside ? x[(long long)found[m0 + m] * cols + c] : (real)0;
                }
#pragma unroll
                for (int m = 0; m < 8; m++) sum += values[m];
            }
        }
        if (c < cols) mean[c] = last && n > 0 ? sum / n : sum;
    }
    if (threadIdx.x == 0) *count = n;
}

// dx_i = dμ_{y_i} / n_{y_i}, 0 for rows labelled −1. One thread per element.
extern "C" __global__ void class_means_backward(const real *__restrict__ dmeans,
                                                const real *__restrict__ counts,
                                                const int *__restrict__ labels,
                                                real *__restrict__ dx, int rows, int cols,
                                                int classes, int labels_stride, int want) {
    const int at = element();
    if (at < rows * cols) {
        const int k = partition(labels, labels_stride)[at / cols];
        const long long mean = (long long)k * cols + at % cols;
        const real gradient = k < 0 ? (real)0
                                    : partition(dmeans, classes * cols)[mean] /
                                          partition(counts, classes)[k];
        put(partition(dx, rows * cols) + at, gradient, want);
    }
}
