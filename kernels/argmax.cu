// l_i = argmax_c x_ic, ties to the lowest c.
//
// x [P, n, K]; l [P, n]. One warp per row.
extern "C" __global__ void argmax(const real *__restrict__ x, int *__restrict__ labels, int rows,
                                  int cols) {
    const int i = warp_row();
    x = partition(x, rows * cols) + (long long)i * cols;
    // Every lane finds the first maximum of its columns; a lane without columns loses to all.
    real best = NEGATIVE_INFINITY;
    int at = lane();
    if (i < rows && at < cols) {
        best = x[at];
        for (int c = at + 32; c < cols; c += 32) {
            if (x[c] > best) best = x[c], at = c;
        }
    }
    for (int step = 16; step > 0; step /= 2) {
        const real other = __shfl_xor_sync(0xffffffffu, best, step);
        const int other_at = __shfl_xor_sync(0xffffffffu, at, step);
        if (other > best || (other == best && other_at < at)) best = other, at = other_at;
    }
    if (i < rows && lane() == 0) partition(labels, rows)[i] = at;
}
