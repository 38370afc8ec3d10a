// dx = −λ dy. Forward is a view and has no kernel.
//
// dx, dy [P, n]; λ [1]. One thread per element.
extern "C" __global__ void gradient_reversal_backward(const real *__restrict__ dy,
                                                      const real *__restrict__ lambda,
                                                      real *__restrict__ dx, int n, int want) {
    const int i = element();
    if (i < n) put(partition(dx, n) + i, -*lambda * partition(dy, n)[i], want);
}
