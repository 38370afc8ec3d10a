// The scalars of epoch e of E, in double and then rounded, and the step to the next epoch.
//
//     λ = 2/(1 + exp(−10 e/E)) − 1;  threshold = 1/(1 + exp(−0.8(e + 1))) − 0.01
//     η_e = η · min(1, (e + 1)/w) · d,  d = (1 + cos(π e/E))/2 with cosine decay, else 1
//
// e, λ, threshold, η_e [1]. One thread does it.
extern "C" __global__ void schedule(const real *__restrict__ epoch, real *__restrict__ lambda,
                                    real *__restrict__ threshold, real *__restrict__ rate,
                                    int epochs, real peak, int warm_up, int cosine) {
    if (threadIdx.x == 0) {
        const double e = *epoch;
        *lambda = (real)(2.0 / (1.0 + exp(-10.0 * e / epochs)) - 1.0);
        *threshold = (real)(1.0 / (1.0 + exp(-0.8 * (e + 1.0))) - 0.01);
        const double rise = fmin((e + 1.0) / (warm_up > 1 ? warm_up : 1), 1.0);
        const double decay = cosine ? 0.5 * (1.0 + cos(3.14159265358979323846 * e / epochs)) : 1.0;
        *rate = (real)(peak * rise * decay);
    }
}

// e = e + 1.
extern "C" __global__ void schedule_advance(real *epoch) {
    if (threadIdx.x == 0) *epoch += 1;
}
