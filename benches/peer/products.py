#!/usr/bin/env python3
"""Each matrix product of a step beside PyTorch's at the same shape and precision.

Reads the table that the benchmark `kernels` prints, and times the same products as PyTorch
computes them: with cuBLAS on a card, with MKL on the CPU. Bias, LeakyReLU and the sum of the Gram
form, which ssan's kernels do as well, are left out, so the comparison favours PyTorch.

    cargo bench --bench kernels -- --device cuda | python benches/peer/products.py --device cuda

As in `kernels`, a card's time is that of a CUDA graph of 20 times the same product between two
events, a twentieth of it, the median of 30 such measurements after 5. "speed" is PyTorch's time
over ssan's: 1 is as fast as PyTorch, more is faster. With `--precision bf16` PyTorch's factors are
in bfloat16 to begin with; ssan's kernels read float and round.
"""

import argparse
import math
import re
import statistics
import sys
import time

import torch

# Which factor is stored transposed.
LAYOUTS = {
    "linear": (False, True),  # x · wᵀ
    "linear_backward_x": (False, False),  # g · w
    "linear_backward_w": (True, False),  # gᵀ · x
    "gram_linear": (False, False),  # K · c
}
AT_ONCE = 20
# `20·958×1024×256`: partitions, where there are several, rows, inner size, columns.
SIZE = re.compile(r"^(?:(\d+)·)?(\d+)×(\d+)×(\d+)$")


def rows(lines):
    """Kernel with its rung, name of the kernel, pass, sizes and microseconds of ssan."""
    for line in lines:
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        name = cells[0].split(" ")[0]
        # On the CPU a backward row holds all gradients of an operation.
        if len(cells) < 5 or name not in LAYOUTS:
            continue
        found = [SIZE.match(size) for size in cells[2].split(", ")]
        if all(found):
            sizes = [[int(n or 1) for n in match.groups()] for match in found]
            yield cells[0], name, cells[1], sizes, float(cells[4])


def product(name, phase, size, device, dtype):
    """A function that computes one product into a buffer that is there."""
    partitions, m, k, n = size
    left, right = LAYOUTS[name]
    if (name, phase) == ("linear", "backward"):
        left, right = False, False

    def factor(rows, cols, transposed, shared=False):
        shape = (cols, rows) if transposed else (rows, cols)
        shape = shape if partitions == 1 or shared else (partitions, *shape)
        x = torch.randn(shape, device=device).to(dtype)
        return x.mT if transposed else x

    # All partitions have the Gram matrix in common.
    a = factor(m, k, left, shared=name == "gram_linear")
    b = factor(k, n, right)
    if a.dim() == 2 and b.dim() == 3:
        # One product, K · (c₁ c₂ …): what cuBLAS does best.
        b = b.permute(1, 0, 2).reshape(k, partitions * n)
    out = torch.matmul(a, b)
    return lambda: torch.matmul(a, b, out=out)


def seconds(run, device, repetitions, warm_up):
    if device.type == "cpu":
        times = []
        for _ in range(warm_up + repetitions):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        return statistics.median(times[warm_up:])
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(AT_ONCE):
            run()
    times = []
    for _ in range(warm_up + repetitions):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3 / AT_ONCE)
    return statistics.median(times[warm_up:])


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("table", nargs="?", type=argparse.FileType(), default=sys.stdin,
                   help="what `kernels` printed; without it: standard input")
    p.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    p.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32",
                   help="the one that `kernels` was given")
    p.add_argument("--threads", type=int, help="of PyTorch on the CPU")
    p.add_argument("--repetitions", type=int, default=30)
    p.add_argument("--warm-up", type=int, default=5)
    args = p.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.device.type == "cpu" and args.precision != "fp32":
        p.error("--precision tf32 and bf16 need --device cuda")
    torch.backends.cuda.matmul.allow_tf32 = args.precision == "tf32"
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32

    table = list(rows(args.table))
    if not table:
        p.error("no matrix product in the table: is it what `kernels` printed?")
    print(f"torch {torch.__version__}, {args.device}, {args.precision}")
    print("| kernel | pass | rows×inner×columns | ssan µs | PyTorch µs | speed |")
    print("|---|---|---|---|---|---|")
    speeds = []
    for kernel, name, phase, sizes, ours in table:
        theirs = 0.0
        for i, size in enumerate(sizes):
            # On the CPU: the gradient of x, then that of w, or that of w alone.
            of_w = (name, phase) == ("linear", "backward") and i == len(sizes) - 1
            run = product("linear_backward_w" if of_w else name, phase, size, args.device, dtype)
            theirs += 1e6 * seconds(run, args.device, args.repetitions, args.warm_up)
        speeds.append(theirs / ours)
        size = ", ".join(f"{p}·{m}×{k}×{n}" if p > 1 else f"{m}×{k}×{n}" for p, m, k, n in sizes)
        print(f"| {kernel} | {phase} | {size} | {ours:.2f} | {theirs:.2f} | {speeds[-1]:.2f} |")
    mean = math.exp(statistics.fmean(map(math.log, speeds)))
    print(f"geometric mean {mean:.2f}, slowest {min(speeds):.2f}")


if __name__ == "__main__":
    main()
