// y_i = x_i / max(‖x_i‖, 1e-12), row by row.
//
// x, y [P, n, d]; norms [P, n, 1] keeps the divisors. One warp per row.
extern "C" __global__ void l2_normalize(const real *__restrict__ x, real *__restrict__ y,
                                        real *__restrict__ norms, int rows, int cols) {
    const int i = warp_row();
    const int end = i < rows ? cols : 0;
    x = partition(x, rows * cols) + (long long)i * cols;
    y = partition(y, rows * cols) + (long long)i * cols;
    real sum = 0;
    for (int c = lane(); c < end; c += 32) sum += x[c] * x[c];
    const real norm = fmax(sqrt(warp_sum(sum)), (real)1e-12);
    for (int c = lane(); c < end; c += 32) y[c] = x[c] / norm;
    if (i < rows && lane() == 0) partition(norms, rows)[i] = norm;
}

// dx_i = (dy_i − y_i (y_i·dy_i)) / ‖x_i‖; where the norm is at most 1e-12 the divisor is a constant.
// One warp per row.
extern "C" __global__ void l2_normalize_backward(const real *__restrict__ y,
                                                 const real *__restrict__ dy,
                                                 const real *__restrict__ norms,
                                                 real *__restrict__ dx, int rows, int cols,
                                                 int want) {
    const int i = warp_row();
    const int end = i < rows ? cols : 0;
    const long long row = (long long)i * cols;
    y = partition(y, rows * cols) + row;
    dy = partition(dy, rows * cols) + row;
    dx = partition(dx, rows * cols) + row;
    const real norm = i < rows ? partition(norms, rows)[i] : (real)1;
    real dot = 0;
    for (int c = lane(); c < end; c += 32) dot += y[c] * dy[c];
    dot = warp_sum(dot);
    const real along = norm > (real)1e-12 ? dot : (real)0;
    for (int c = lane(); c < end; c += 32) put(dx + c, (dy[c] - y[c] * along) / norm, want);
}
