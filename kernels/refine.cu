// The class as which each target row takes part in the alignment, or −1: a labelled row its own;
// an unlabelled one the network's label, where the second opinion agrees (and its similarity
// reaches a threshold, if there is one). `selected` counts the latter.
//
// labelled, unlabelled, pseudo, nearest, assigned [P, n]; similarity [P, n, K]; threshold [1];
// selected [P, 1, 1]. One block per partition. Without a second opinion `nearest` is null, without
// a threshold `similarity` is.
__device__ __forceinline__ void refine(const int *labelled, const int *unlabelled,
                                              const int *pseudo, const int *nearest,
                                              const real *similarity, const real *threshold,
                                              int *assigned, real *selected, int rows, int classes,
                                              real *scratch) {
    int count = 0;
    for (int i = threadIdx.x; i < rows; i += blockDim.x) {
        const long long at = (long long)blockIdx.z * rows + i;
        int label = labelled[at];
        if (unlabelled[at] >= 0) {
            const int k = pseudo[at];
            const bool agrees = !nearest || nearest[at] == k;
            if (agrees && (!similarity || similarity[at * classes + k] >= *threshold)) {
                label = k;
                count += 1;
            }
        }
        assigned[at] = label;
    }
    const real sum = block_sum((real)count, scratch);
    if (threadIdx.x == 0) *partition(selected, 1) = sum;
}

// No second opinion: every unlabelled row is selected.
extern "C" __global__ __launch_bounds__(1024)
void refine_all(const int *__restrict__ labelled, const int *__restrict__ unlabelled,
                const int *__restrict__ pseudo, int *__restrict__ assigned,
                real *__restrict__ selected, int rows) {
    SHARED(real, scratch, 32);
    refine(labelled, unlabelled, pseudo, nullptr, nullptr, nullptr, assigned, selected, rows, 0,
           scratch);
}

// The second opinion agrees.
extern "C" __global__ __launch_bounds__(1024)
void refine_agreement(const int *__restrict__ labelled, const int *__restrict__ unlabelled,
                      const int *__restrict__ pseudo, const int *__restrict__ nearest,
                      int *__restrict__ assigned, real *__restrict__ selected, int rows) {
    SHARED(real, scratch, 32);
    refine(labelled, unlabelled, pseudo, nearest, nullptr, nullptr, assigned, selected, rows, 0,
           scratch);
}

// It agrees, and its similarity reaches the threshold.
extern "C" __global__ __launch_bounds__(1024)
void refine_threshold(const int *__restrict__ labelled, const int *__restrict__ unlabelled,
                      const int *__restrict__ pseudo, const int *__restrict__ nearest,
                      const real *__restrict__ similarity, const real *__restrict__ threshold,
                      int *__restrict__ assigned, real *__restrict__ selected, int rows,
                      int classes) {
    SHARED(real, scratch, 32);
    refine(labelled, unlabelled, pseudo, nearest, similarity, threshold, assigned, selected, rows,
           classes, scratch);
}
