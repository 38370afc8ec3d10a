// q_ic = exp(z_ic/τ) / Σ_j exp(z_ij/τ): softmax with temperature τ, row by row.
//
// z, q [P, n, K]. One warp per row.
extern "C" __global__ void softmax(const real *__restrict__ z, real *__restrict__ q, int rows,
                                   int cols, real temperature) {
    const int i = warp_row();
    const int end = i < rows ? cols : 0;
    z = partition(z, rows * cols) + (long long)i * cols;
    q = partition(q, rows * cols) + (long long)i * cols;
    real top = NEGATIVE_INFINITY;
    for (int c = lane(); c < end; c += 32) top = fmax(top, z[c] / temperature);
    top = warp_max(top);
    real sum = 0;
    for (int c = lane(); c < end; c += 32) sum += exp(z[c] / temperature - top);
    const real log_sum = top + log(warp_sum(sum));
    for (int c = lane(); c < end; c += 32) q[c] = exp(z[c] / temperature - log_sum);
}

// dz_ic = q_ic (dq_ic − Σ_j q_ij dq_ij) / τ. One warp per row.
extern "C" __global__ void softmax_backward(const real *__restrict__ q,
                                            const real *__restrict__ dq, real *__restrict__ dz,
                                            int rows, int cols, real temperature, int want) {
    const int i = warp_row();
    const int end = i < rows ? cols : 0;
    const long long row = (long long)i * cols;
    q = partition(q, rows * cols) + row;
    dq = partition(dq, rows * cols) + row;
    dz = partition(dz, rows * cols) + row;
    real mean = 0;
    for (int c = lane(); c < end; c += 32) mean += q[c] * dq[c];
    mean = warp_sum(mean);
    for (int c = lane(); c < end; c += 32) put(dz + c, q[c] * (dq[c] - mean) / temperature, want);
}
