// L = Σ_k w_k ‖μs_k − μt_k‖² over classes that have rows in both domains: w_k = 1 with two
// prototypes, 1 + (ns² + nt²)/(ns + nt)² with three (see src/ops/pairwise_alignment.rs).
//
// μs, μt [P, K, d]; ns, nt [P, 1, K]; L [P, 1, 1].
__device__ __forceinline__ real class_weight(real ns, real nt, int three) {
    if (ns == 0 || nt == 0) return 0;
    return three ? 1 + (ns * ns + nt * nt) / ((ns + nt) * (ns + nt)) : (real)1;
}

// One block per partition.
extern "C" __global__ __launch_bounds__(1024)
void pairwise_alignment(const real *__restrict__ s, const real *__restrict__ t,
                        const real *__restrict__ ns, const real *__restrict__ nt,
                        real *__restrict__ loss, int classes, int cols, int three) {
    SHARED(real, scratch, 32);
    s = partition(s, classes * cols);
    t = partition(t, classes * cols);
    ns = partition(ns, classes);
    nt = partition(nt, classes);
    real sum = 0;
    for (int at = threadIdx.x; at < classes * cols; at += blockDim.x) {
        const int k = at / cols;
        const real difference = s[at] - t[at];
        sum += class_weight(ns[k], nt[k], three) * (difference * difference);
    }
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) *partition(loss, 1) = sum;
}

// dμs_k = 2 w_k (μs_k − μt_k) dL, dμt_k = −dμs_k. One thread per element.
extern "C" __global__ void pairwise_alignment_backward(
    const real *__restrict__ s, const real *__restrict__ t, const real *__restrict__ ns,
    const real *__restrict__ nt, const real *__restrict__ dloss, real *ds, real *dt, int classes,
    int cols, int three, int want_s, int want_t) {
    const int at = element();
    if (at < classes * cols) {
        const int k = at / cols;
        ns = partition(ns, classes);
        nt = partition(nt, classes);
        const real weight = class_weight(ns[k], nt[k], three);
        const real difference = partition(s, classes * cols)[at] - partition(t, classes * cols)[at];
        const real gradient = 2 * weight * *partition(dloss, 1) * difference;
        put(partition(ds, classes * cols) + at, gradient, want_s);
        put(partition(dt, classes * cols) + at, -gradient, want_t);
    }
}
