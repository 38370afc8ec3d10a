// L = −(1/m) Σ_{i: y_i >= 0} log softmax(z_i)_{y_i}, the mean over the m labelled rows; 0 when
// there is none.
//
// z [P, n, K]; y [P, n]; L [P, 1, 1]; saved [P, n, 2]: per row log Σ exp z_i and its term of the
// sum; weight [P, 1, 1] = 1/m.

// saved_i = (lse_i, lse_i − z_{i y_i}) on labelled rows, 0 elsewhere. One warp per row.
extern "C" __global__ void cross_entropy_rows(const real *__restrict__ z,
                                              const int *__restrict__ labels,
                                              real *__restrict__ saved, int rows, int cols,
                                              int labels_stride) {
    const int i = warp_row();
    const int k = i < rows ? partition(labels, labels_stride)[i] : -1;
    z = partition(z, rows * cols) + (long long)i * cols;
    const int end = k < 0 ? 0 : cols;
    real top = NEGATIVE_INFINITY;
    for (int c = lane(); c < end; c += 32) top = fmax(top, z[c]);
    top = warp_max(top);
    real sum = 0;
    for (int c = lane(); c < end; c += 32) sum += exp(z[c] - top);
    sum = warp_sum(sum);
    if (i < rows && lane() == 0) {
        const real log_sum = top + log(sum);
        real *row = partition(saved, rows * 2) + 2 * (long long)i;
        row[0] = k < 0 ? (real)0 : log_sum;
        row[1] = k < 0 ? (real)0 : log_sum - z[k];
    }
}

// weight = 1/m, 0 without rows; L = weight · Σ of the rows' terms. One block per partition.
extern "C" __global__ __launch_bounds__(1024)
void cross_entropy_mean(const real *__restrict__ saved, const int *__restrict__ labels,
                        real *__restrict__ weight, real *__restrict__ loss, int rows,
                        int labels_stride) {
    SHARED(real, scratch, 32);
    saved = partition(saved, rows * 2);
    labels = partition(labels, labels_stride);
    int count = 0;
    real sum = 0;
    for (int i = threadIdx.x; i < rows; i += blockDim.x) {
        if (labels[i] >= 0) count += 1;
        sum += saved[2 * (long long)i + 1];
    }
    const real m = block_sum((real)count, scratch);
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) {
        const real w = m > 0 ? 1 / m : (real)0;
        *partition(weight, 1) = w;
        *partition(loss, 1) = sum * w;
    }
}

// dz_ic = (softmax(z_i)_c − [c = y_i]) · dL/m on labelled rows, 0 elsewhere. One thread per
// element.
extern "C" __global__ void cross_entropy_backward(
    const real *__restrict__ z, const int *__restrict__ labels, const real *__restrict__ saved,
    const real *__restrict__ weight, const real *__restrict__ dloss, real *__restrict__ dz,
    int rows, int cols, int labels_stride, int want) {
    const int at = element();
    if (at < rows * cols) {
        const int i = at / cols, c = at % cols;
        const int k = partition(labels, labels_stride)[i];
        real gradient = 0;
        if (k >= 0) {
            const real log_sum = partition(saved, rows * 2)[2 * (long long)i];
            const real softmax = exp(partition(z, rows * cols)[at] - log_sum);
            const real scale = *partition(dloss, 1) * *partition(weight, 1);
            gradient = scale * (softmax - (c == k ? (real)1 : (real)0));
        }
        put(partition(dz, rows * cols) + at, gradient, want);
    }
}
