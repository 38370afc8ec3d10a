// μ_k = (1/n_k) Σ_{i: y_i = k} x_i: the mean row of each class over the rows of one part or two. A
// class without rows has mean 0.
//
// x [P|1, n, d] and y [P, n] of each part; μ [P, K, d]; n_k [P, 1, K].

// One block per class and 32 columns. Without a second part its rows are 0.
extern "C" __global__ __launch_bounds__(256)
void class_means(const real *__restrict__ x, const int *__restrict__ labels,
                 const real *__restrict__ x2, const int *__restrict__ labels2,
                 real *__restrict__ means, real *__restrict__ counts, int cols, int rows,
                 int x_stride, int labels_stride, int rows2, int x2_stride, int labels2_stride) {
    SHARED(unsigned, masks, 32);
    SHARED(int, found, 1024);
    SHARED(real, sums, 8 * 32);
    const int k = blockIdx.x, c = blockIdx.y * 32 + lane();
    x = partition(x, x_stride) + c;
    x2 = partition(x2, x2_stride) + c;
    labels = partition(labels, labels_stride);
    labels2 = partition(labels2, labels2_stride);
    const bool inside = c < cols;
    int n = 0;
    real sum = class_sum(labels, k, rows, masks, found, n, [=](int i) {
        return inside ? x[(long long)i * cols] : (real)0;
    });
    sum += class_sum(labels2, k, rows2, masks, found, n, [=](int i) {
        return inside ? x2[(long long)i * cols] : (real)0;
    });
    sum = add_warps(sum, sums);
    if (threadIdx.x < 32 && inside) {
        partition(means, gridDim.x * cols)[(long long)k * cols + c] = n > 0 ? sum / n : sum;
    }
    if (threadIdx.x == 0 && blockIdx.y == 0) partition(counts, gridDim.x)[k] = n;
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
