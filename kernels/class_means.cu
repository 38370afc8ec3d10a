// μ_k = (1/n_k) Σ_{i: y_i = k} x_i: the mean row of each class over one or several blocks of rows,
// one launch per block: the first starts from 0, the last divides. A class without rows has mean 0.
//
// x [P|1, n, d]; y [P, n]; μ [P, K, d]; n_k [P, 1, K]. One block per class, threads over columns;
// every column adds up its rows in row order.
extern "C" __global__ void class_means(const real *__restrict__ x, const int *__restrict__ labels,
                                       real *__restrict__ means, real *__restrict__ counts,
                                       int rows, int cols, int x_stride, int labels_stride,
                                       int first, int last) {
    SHARED(int, classes, 128);
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
        for (int i0 = 0; i0 < rows; i0 += 128) {
            __syncthreads();
            for (int i = threadIdx.x; i < 128; i += blockDim.x) {
                classes[i] = i0 + i < rows ? labels[i0 + i] : -1;
            }
            __syncthreads();
#pragma unroll 8
            for (int i = 0; i < 128; i++) {
                const bool hit = classes[i] == k;
                n += hit ? (real)1 : (real)0;
                sum += hit && c < cols ? x[(long long)(i0 + i) * cols + c] : (real)0;
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
