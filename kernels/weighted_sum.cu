// y = Σ_j c_j x_j, 8 terms a launch (the last ones repeated): the first launch writes y, further
// ones add to it.
//
// x_j, y [P, n]. One thread per element.
extern "C" __global__ void weighted_sum(const real *x0, const real *x1, const real *x2,
                                        const real *x3, const real *x4, const real *x5,
                                        const real *x6, const real *x7, real *y, real c0, real c1,
                                        real c2, real c3, real c4, real c5, real c6, real c7,
                                        int count, int n, int first) {
    const int i = element();
    if (i < n) {
        const real *x[8] = {x0, x1, x2, x3, x4, x5, x6, x7};
        const real c[8] = {c0, c1, c2, c3, c4, c5, c6, c7};
        y = partition(y, n) + i;
        real sum = first ? (real)0 : *y;
#pragma unroll
        for (int j = 0; j < 8; j++) {
            if (j < count) sum += c[j] * partition(x[j], n)[i];
        }
        *y = sum;
    }
}

// dx_j = c_j dy for 8 terms, in their order, since a variable may be several of them; what to do
// with each is in two bits of `wants`. One thread per element.
extern "C" __global__ void weighted_sum_backward(const real *dy, real *dx0, real *dx1, real *dx2,
                                                 real *dx3, real *dx4, real *dx5, real *dx6,
                                                 real *dx7, real c0, real c1, real c2, real c3,
                                                 real c4, real c5, real c6, real c7, int n,
                                                 int wants) {
    const int i = element();
    if (i < n) {
        real *dx[8] = {dx0, dx1, dx2, dx3, dx4, dx5, dx6, dx7};
        const real c[8] = {c0, c1, c2, c3, c4, c5, c6, c7};
        const real gradient = partition(dy, n)[i];
#pragma unroll
        for (int j = 0; j < 8; j++) {
            put(partition(dx[j], n) + i, c[j] * gradient, wants >> 2 * j & 3);
        }
    }
}
