// L = Σ_k max(0, ‖a − p‖² − ‖a − n‖² + m): for class k the anchor a = μs_k, the positive p = μt_k,
// the negative n = μt_j of the class j ≠ k nearest to the anchor, ties to the lowest j. Classes
// without rows in either domain, or without another target centroid, add nothing.
//
// μs, μt [P, K, d]; ns, nt [P, 1, K]; nearest [P, K]: j, or −1 where the term is 0; terms
// [P, 1, K]; L [P, 1, 1].

// nearest and terms. One block per class; each warp takes every 8th centroid.
extern "C" __global__ void triplet_margin_terms(const real *__restrict__ s,
                                                const real *__restrict__ t,
                                                const real *__restrict__ ns,
                                                const real *__restrict__ nt,
                                                int *__restrict__ nearest,
                                                real *__restrict__ terms, int classes, int cols,
                                                real margin) {
    SHARED(real, away, 32);
    SHARED(int, which, 32);
    SHARED(real, own, 1);
    const int k = blockIdx.x, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    s = partition(s, classes * cols) + (long long)k * cols;
    t = partition(t, classes * cols);
    nt = partition(nt, classes);
    real best = 0;
    int at = -1;
    for (int j0 = 0; j0 < classes; j0 += warps) {
        const int j = j0 + warp;
        real distance = 0;
        for (int c = lane(); c < (j < classes ? cols : 0); c += 32) {
            const real difference = s[c] - t[(long long)j * cols + c];
            distance += difference * difference;
        }
        distance = warp_sum(distance);
        if (j < classes && j != k && nt[j] > 0 && (at < 0 || distance < best)) {
            best = distance;
            at = j;
        }
        if (j == k && lane() == 0) own[0] = distance;
    }
    if (lane() == 0) away[warp] = best, which[warp] = at;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int n = 1; n < warps; n++) {
            const bool nearer = away[n] < best || (away[n] == best && which[n] < at);
            if (which[n] >= 0 && (at < 0 || nearer)) best = away[n], at = which[n];
        }
        const real term = own[0] - best + margin;
        const bool counts = at >= 0 && partition(ns, classes)[k] > 0 && nt[k] > 0 && term > 0;
        partition(nearest, classes)[k] = counts ? at : -1;
        partition(terms, classes)[k] = counts ? term : (real)0;
    }
}

// L = Σ_k of the terms. One block per partition.
extern "C" __global__ __launch_bounds__(1024)
void triplet_margin_sum(const real *__restrict__ terms, real *__restrict__ loss, int classes) {
    SHARED(real, scratch, 32);
    terms = partition(terms, classes);
    real sum = 0;
    for (int k = threadIdx.x; k < classes; k += blockDim.x) sum += terms[k];
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) *partition(loss, 1) = sum;
}

// Where the term is positive: da = 2(n − p), dp = −2(a − p), dn = 2(a − n), times dL. One thread
// per element of a centroid k, which is its own class's anchor and positive, and the negative of
// every class j whose nearest it is.
extern "C" __global__ void triplet_margin_backward(
    const real *__restrict__ s, const real *__restrict__ t, const int *__restrict__ nearest,
    const real *__restrict__ dloss, real *ds, real *dt, int classes, int cols, int want_s,
    int want_t) {
    const int at = element();
    if (at < classes * cols) {
        const int k = at / cols, c = at % cols;
        s = partition(s, classes * cols);
        t = partition(t, classes * cols);
        nearest = partition(nearest, classes);
        const real two = 2 * *partition(dloss, 1);
        real anchor = 0, centroid = 0;
        for (int j = 0; j < classes; j++) {
            const int negative = nearest[j];
            if (j == k && negative >= 0) {
                anchor = two * (t[(long long)negative * cols + c] - t[at]);
                centroid -= two * (s[at] - t[at]);
            }
            if (negative == k) centroid += two * (s[(long long)j * cols + c] - t[at]);
        }
        put(partition(ds, classes * cols) + at, anchor, want_s);
        put(partition(dt, classes * cols) + at, centroid, want_t);
    }
}
