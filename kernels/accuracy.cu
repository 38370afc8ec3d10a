// c = |{i : t_i >= 0, l_i = t_i}|: how many rows with a known class are labelled right.
//
// l, t [P, n]; c [P, 1, 1]. One block per partition.
extern "C" __global__ __launch_bounds__(1024)
void count_correct(const int *__restrict__ labels, const int *__restrict__ truth,
                   real *__restrict__ correct, int rows, int labels_stride, int truth_stride) {
    SHARED(real, scratch, 32);
    labels = partition(labels, labels_stride);
    truth = partition(truth, truth_stride);
    int count = 0;
    for (int i = threadIdx.x; i < rows; i += blockDim.x) {
        if (truth[i] >= 0 && labels[i] == truth[i]) count += 1;
    }
    const real sum = block_sum((real)count, scratch);
    if (threadIdx.x == 0) *partition(correct, 1) = sum;
}
