// L = (1/m) Σ_i −log σ(z_i) for rows of domain 1, −log(1 − σ(z_i)) for rows of domain 0, over the
// m rows in use of several parts, one launch per part: the first starts from 0, the last divides.
// Each logarithm is at least −100.
//
// z [P, n, 1]; rows in use [P, n], those not −1; L [P, 1, 1]; weight [P, 1, 1]: their number, then
// 1/m. One block per partition.
extern "C" __global__ __launch_bounds__(1024)
void domain_bce(const real *__restrict__ z, const int *__restrict__ used, real *__restrict__ weight,
                real *__restrict__ loss, int rows, int z_stride, int used_stride, int positive,
                int first, int last) {
    SHARED(real, scratch, 32);
    z = partition(z, z_stride);
    used = partition(used, used_stride);
    int count = 0;
    real sum = 0;
    for (int i = threadIdx.x; i < rows; i += blockDim.x) {
        if (used[i] >= 0) {
            const real x = positive ? z[i] : -z[i];
            // −log σ(x)
            const real term = fmax(-x, (real)0) + log1p(exp(-fabs(x)));
            sum += fmin(term, (real)100);
            count += 1;
        }
    }
    sum = block_sum(sum, scratch);
    real m = block_sum((real)count, scratch);
    if (threadIdx.x == 0) {
        weight = partition(weight, 1);
        loss = partition(loss, 1);
        if (!first) sum += *loss, m += *weight;
        const real mean = m > 0 ? 1 / m : (real)0;
        *weight = last ? mean : m;
        *loss = last ? sum * mean : sum;
    }
}

// dz = (σ − y)·σ(1−σ)/max(σ(1−σ), 1e-12)·dL/m on rows in use, 0 elsewhere. One thread per row.
extern "C" __global__ void domain_bce_backward(const real *__restrict__ z,
                                               const int *__restrict__ used,
                                               const real *__restrict__ weight,
                                               const real *__restrict__ dloss,
                                               real *__restrict__ dz, int rows, int used_stride,
                                               int positive, int want) {
    const int i = element();
    if (i < rows) {
        const real y = positive ? 1 : 0;
        const real s = 1 / (1 + exp(-partition(z, rows)[i]));
        const real slope = s * (1 - s);
        const real derivative = (s - y) * slope / fmax(slope, (real)1e-12);
        const real scale = *partition(dloss, 1) * *partition(weight, 1);
        const bool in_use = partition(used, used_stride)[i] >= 0;
        put(partition(dz, rows) + i, in_use ? scale * derivative : (real)0, want);
    }
}
