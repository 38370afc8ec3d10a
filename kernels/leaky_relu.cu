// y = x where x > 0, else slope·x.
//
// x, y [P, n]. One thread per element.
extern "C" __global__ void leaky_relu(const real *__restrict__ x, real *__restrict__ y, int n,
                                      real slope) {
    const int i = element();
    if (i < n) {
        const real value = partition(x, n)[i];
        partition(y, n)[i] = value > 0 ? value : slope * value;
    }
}

// dx = dy where y > 0, else slope·dy. One thread per element.
extern "C" __global__ void leaky_relu_backward(const real *__restrict__ y,
                                               const real *__restrict__ dy, real *__restrict__ dx,
                                               int n, real slope, int want) {
    const int i = element();
    if (i < n) {
        const real derivative = partition(y, n)[i] > 0 ? (real)1 : slope;
        put(partition(dx, n) + i, derivative * partition(dy, n)[i], want);
    }
}
