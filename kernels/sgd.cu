// SGD with momentum μ and weight decay δ, for all parameters of one span of the arenas:
//
//     g = g + δ·w;  b = μ·b + g;  w = w − η·(g + μ·b) with Nesterov, w − η·b without
//
// w, b, g [n], each in its own place; η [1]. One thread per element. What lies between two parameters is
// 0 in all three and stays so.
extern "C" __global__ void sgd(const real *__restrict__ g, const real *__restrict__ rate,
                               real *__restrict__ w, real *__restrict__ b, int n, real momentum,
                               real weight_decay, int nesterov) {
    const int i = element();
    if (i < n) {
        const real gradient = g[i] + weight_decay * w[i];
        const real velocity = momentum * b[i] + gradient;
        b[i] = velocity;
        w[i] -= *rate * (nesterov ? gradient + momentum * velocity : velocity);
    }
}
