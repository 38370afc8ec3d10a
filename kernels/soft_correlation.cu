// L = −Σ_k mean_{i: y_i = k} Σ_c q_kc log(softmax(z_i)_c + 1e-5): labelled rows follow the class
// correlations q.
//
// z, s [P, n, K]; y [P, n]; q [P, K, K]; counts n_k [P, 1, K]; L [P, 1, 1].
#define EPSILON (real)1e-5

// Counts, s = softmax(z) on labelled rows, and L. One block per partition: a warp per class counts,
// then a warp per labelled row.
extern "C" __global__ __launch_bounds__(1024, 1)
void soft_correlation(const real *__restrict__ z, const int *__restrict__ labels,
                      const real *__restrict__ q, real *__restrict__ s, real *counts,
                      real *__restrict__ loss, int rows, int classes, int labels_stride) {
    SHARED(real, scratch, 32);
    SHARED(unsigned, masks, 32);
    SHARED(int, found, 1024);
    labels = partition(labels, labels_stride);
    counts = partition(counts, classes);
    const int warps = blockDim.x / 32;
    for (int k0 = 0; k0 < classes; k0 += warps) {
        const int k = k0 + threadIdx.x / 32;
        int count = 0;
        for (int i = lane(); i < rows; i += 32) {
            if (labels[i] == k) count += 1;
        }
        const real sum = warp_sum((real)count);
        // Read behind the barriers of `rows_where`.
        if (k < classes && lane() == 0) counts[k] = sum;
    }
    z = partition(z, rows * classes);
    q = partition(q, classes * classes);
    s = partition(s, rows * classes);
    real sum = 0;
    for (int i0 = 0; i0 < rows; i0 += 1024) {
        const int hits = rows_where(labels, i0, rows, masks, found, [](int y) { return y >= 0; });
        for (int m = threadIdx.x / 32; m < hits; m += warps) {
            const int i = found[m], k = labels[i];
            const real *zi = z + (long long)i * classes;
            const real *qk = q + (long long)k * classes;
            real *si = s + (long long)i * classes;
            real top = NEGATIVE_INFINITY;
            for (int c = lane(); c < classes; c += 32) top = fmax(top, zi[c]);
            top = warp_max(top);
            real total = 0;
            for (int c = lane(); c < classes; c += 32) total += exp(zi[c] - top);
            const real log_sum = top + log(warp_sum(total));
            for (int c = lane(); c < classes; c += 32) {
                const real softmax = exp(zi[c] - log_sum);
                si[c] = softmax;
                sum -= qk[c] * log(softmax + EPSILON) / counts[k];
            }
        }
    }
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) *partition(loss, 1) = sum;
}

// With g_c = −q_kc dL / (n_k (s_ic + 1e-5)): dz_ic = s_ic (g_c − Σ_j s_ij g_j) on labelled rows, 0
// elsewhere. One warp per row.
extern "C" __global__ void soft_correlation_backward_z(
    const real *__restrict__ s, const int *__restrict__ labels, const real *__restrict__ q,
    const real *__restrict__ counts, const real *__restrict__ dloss, real *__restrict__ dz,
    int rows, int classes, int labels_stride, int want) {
    const int i = warp_row();
    const int k = i < rows ? partition(labels, labels_stride)[i] : -1;
    s = partition(s, rows * classes) + (long long)i * classes;
    q = partition(q, classes * classes) + (long long)k * classes;
    dz = partition(dz, rows * classes) + (long long)i * classes;
    real weight = 0, mean = 0;
    if (k >= 0) {
        weight = -*partition(dloss, 1) / partition(counts, classes)[k];
        for (int c = lane(); c < classes; c += 32) mean += s[c] * (weight * q[c] / (s[c] + EPSILON));
    }
    mean = warp_sum(mean);
    for (int c = lane(); c < (i < rows ? classes : 0); c += 32) {
        real gradient = 0;
        if (k >= 0) gradient = s[c] * (weight * q[c] / (s[c] + EPSILON) - mean);
        put(dz + c, gradient, want);
    }
}

// dq_kc = −mean_{i: y_i = k} log(s_ic + 1e-5) dL. One block per class k and 32 of the classes c.
extern "C" __global__ __launch_bounds__(256)
void soft_correlation_backward_q(const real *__restrict__ s, const int *__restrict__ labels,
                                 const real *__restrict__ dloss, real *__restrict__ dq, int rows,
                                 int classes, int labels_stride, int want) {
    SHARED(unsigned, masks, 32);
    SHARED(int, found, 1024);
    SHARED(real, sums, 8 * 32);
    const int k = blockIdx.x, c = blockIdx.y * 32 + lane();
    labels = partition(labels, labels_stride);
    s = partition(s, rows * classes) + c;
    int n = 0;
    const real share = class_sum(labels, k, rows, masks, found, n, [=](int i) {
        return c < classes ? log(s[(long long)i * classes] + EPSILON) : (real)0;
    });
    const real sum = add_warps(share, sums);
    if (threadIdx.x < 32 && c < classes) {
        const real scale = n > 0 ? -*partition(dloss, 1) / n : (real)0;
        put(partition(dq, classes * classes) + (long long)k * classes + c, scale * sum, want);
    }
}
