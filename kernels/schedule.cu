// The scalars of epoch e of E, in double and then rounded, and the step to the next epoch.
//
//     λ = 2/(1 + exp(−10 e/E)) − 1;  threshold = 1/(1 + exp(−0.8(e + 1))) − 0.01
//
// e, λ, threshold [1]. One thread does it.
extern "C" __global__ void schedule(const real *__restrict__ epoch, real *__restrict__ lambda,
                                    real *__restrict__ threshold, int epochs) {
    if (threadIdx.x == 0) {
        const double e = *epoch;
        *lambda = (real)(2.0 / (1.0 + exp(-10.0 * e / epochs)) - 1.0);
        *threshold = (real)(1.0 / (1.0 + exp(-0.8 * (e + 1.0))) - 0.01);
    }
}

// e = e + 1.
extern "C" __global__ void schedule_advance(real *epoch) {
    if (threadIdx.x == 0) *epoch += 1;
}
