// Adam at step t = e + 1, for all parameters of one span of the arenas:
//
//     m = β1·m + (1−β1)·g;  v = β2·v + (1−β2)·g²
//     w = w − η/(1−β1^t) · m / (√v/√(1−β2^t) + ε)
//
// w, m, v, g [n], each in its own place; e [1] counts steps from 0; η [1]. One thread per element.
// What lies between two parameters is 0 in all four and stays so.
extern "C" __global__ void adam(const real *__restrict__ g, const real *__restrict__ epoch,
                                const real *__restrict__ rate, real *__restrict__ w,
                                real *__restrict__ m, real *__restrict__ v, int n, real beta1,
                                real beta2, real epsilon) {
    SHARED(real, rates, 2);
    if (threadIdx.x == 0) {
        const double t = (double)*epoch + 1;
        rates[0] = (real)(*rate / (1 - pow((double)beta1, t)));
        rates[1] = (real)sqrt(1 - pow((double)beta2, t));
    }
    __syncthreads();
    const int i = element();
    if (i < n) {
        const real mean = beta1 * m[i] + (1 - beta1) * g[i];
        const real square = beta2 * v[i] + (1 - beta2) * g[i] * g[i];
        m[i] = mean;
        v[i] = square;
        w[i] -= rates[0] * mean / (sqrt(square) / rates[1] + epsilon);
    }
}
