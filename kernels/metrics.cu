// ring[e mod capacity] = the scalars of epoch e, 12 of them at a time (the last ones repeated).
//
// e [1]; scalars [P, 1, 1], or [1, 1, 1] where their bit of `shared` is set; ring
// [P, capacity, width], of which columns `first` and on are written. One block per partition.
extern "C" __global__ void metrics(const real *epoch, const real *s0, const real *s1,
                                   const real *s2, const real *s3, const real *s4, const real *s5,
                                   const real *s6, const real *s7, const real *s8, const real *s9,
                                   const real *s10, const real *s11, real *ring, int capacity,
                                   int width, int first, int count, int shared) {
    if (threadIdx.x == 0) {
        const real *scalars[12] = {s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11};
        const long long row = (int)*epoch % capacity;
        ring = partition(ring, capacity * width) + row * width + first;
#pragma unroll
        for (int n = 0; n < 12; n++) {
            if (n < count) ring[n] = *partition(scalars[n], shared >> n & 1 ? 0 : 1);
        }
    }
}
