// Similarity of every row to every class prototype: cosine f_i·c_k / (‖f_i‖ ‖c_k‖), or Euclidean
// −‖f_i − c_k‖². A class without a prototype is at −∞ of every row.
//
// f [P|1, n, d]; c [P, K, d]; counts, norms [P, 1, K]; y [P, n, K].

// norms_k = ‖c_k‖. One warp per class.
extern "C" __global__ void similarity_norms(const real *__restrict__ means,
                                            real *__restrict__ norms, int classes, int cols) {
    const int k = warp_row();
    means = partition(means, classes * cols) + (long long)k * cols;
    real sum = 0;
    for (int c = lane(); c < (k < classes ? cols : 0); c += 32) sum += means[c] * means[c];
    sum = warp_sum(sum);
    if (k < classes && lane() == 0) partition(norms, classes)[k] = sqrt(sum);
}

// The divisor is at least 1e-8. One warp per row.
extern "C" __global__ void similarity_cosine(const real *__restrict__ x,
                                             const real *__restrict__ means,
                                             const real *__restrict__ counts,
                                             const real *__restrict__ norms, real *__restrict__ y,
                                             int rows, int cols, int classes, int x_stride) {
    const int i = warp_row();
    const int end = i < rows ? cols : 0;
    x = partition(x, x_stride) + (long long)i * cols;
    means = partition(means, classes * cols);
    y = partition(y, rows * classes) + (long long)i * classes;
    real square = 0;
    for (int c = lane(); c < end; c += 32) square += x[c] * x[c];
    const real length = sqrt(warp_sum(square));
    for (int k = 0; k < classes; k++, means += cols) {
        real dot = 0;
        for (int c = lane(); c < end; c += 32) dot += x[c] * means[c];
        dot = warp_sum(dot);
        if (i < rows && lane() == 0) {
            const real divisor = fmax(length * partition(norms, classes)[k], (real)1e-8);
            y[k] = partition(counts, classes)[k] == 0 ? NEGATIVE_INFINITY : dot / divisor;
        }
    }
}

// One warp per row.
extern "C" __global__ void similarity_euclidean(const real *__restrict__ x,
                                                const real *__restrict__ means,
                                                const real *__restrict__ counts,
                                                real *__restrict__ y, int rows, int cols,
                                                int classes, int x_stride) {
    const int i = warp_row();
    const int end = i < rows ? cols : 0;
    x = partition(x, x_stride) + (long long)i * cols;
    means = partition(means, classes * cols);
    y = partition(y, rows * classes) + (long long)i * classes;
    for (int k = 0; k < classes; k++, means += cols) {
        real square = 0;
        for (int c = lane(); c < end; c += 32) {
            square += (x[c] - means[c]) * (x[c] - means[c]);
        }
        square = warp_sum(square);
        if (i < rows && lane() == 0) {
            y[k] = partition(counts, classes)[k] == 0 ? NEGATIVE_INFINITY : -square;
        }
    }
}
