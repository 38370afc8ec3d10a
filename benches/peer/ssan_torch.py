#!/usr/bin/env python3
"""SSAN in plain, vectorised PyTorch: the peer that ssan's speed is measured against.

SSAN is the Simultaneous Semantic Alignment Network for heterogeneous domain
adaptation (Li et al., ACM MM 2020, arXiv 2008.01677). This file computes what
the authors' released code computes, written as one would write it in PyTorch
for speed: full batch, class means as matrix products, no loop over samples, a
fused optimiser, nothing read back from the device inside the loop, and on CUDA
the whole epoch captured as one graph if wanted. As in the release, an epoch is
one training step, then a second forward pass that gives the three accuracies.

    python ssan_torch.py --source amazon_surf.mat --target amazon_googlenet.mat
    python ssan_torch.py --synthetic 958x800,958x4096,10 --nepoch 30 --partition 1
    python ssan_torch.py --golden default.json

It prints one JSON object at the end. `accuracy_last` is the result;
`accuracy_best` is the best epoch by the unlabelled target's own labels, which
nobody has: it is there because the paper reports it.
"""

import argparse
import json
import math
import statistics
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

# ---------------------------------------------------------------- model


class Projector(nn.Module):
    """Features of one domain to unit rows of the common space."""

    def __init__(self, d_in, d_common, layer):
        super().__init__()
        hidden = (d_in + d_common) // 2
        sizes = [d_in, d_common] if layer == "single" else [d_in, hidden, d_common]
        layers = []
        for a, b in zip(sizes, sizes[1:]):
            layers += [nn.Linear(a, b), nn.LeakyReLU(0.2, inplace=True)]
        self.projector = nn.Sequential(*layers)

    def forward(self, x):
        return F.normalize(self.projector(x))


class Classifier(nn.Module):
    def __init__(self, d_common, classes):
        super().__init__()
        self.class_classifier = nn.Sequential(
            nn.Linear(d_common, classes), nn.LeakyReLU(0.2, inplace=True)
        )

    def forward(self, f):
        return self.class_classifier(f)


class ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, coefficient):
        ctx.save_for_backward(coefficient)
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        (coefficient,) = ctx.saved_tensors
        return g * -coefficient, None


class Discriminator(nn.Module):
    """Probability that a row is of the source domain."""

    def __init__(self, d_common):
        super().__init__()
        self.discriminator = nn.Sequential(nn.Linear(d_common, 1), nn.Sigmoid())

    def forward(self, f, coefficient):
        return self.discriminator(ReverseGradient.apply(f, coefficient)).squeeze(1)


class Ssan(nn.Module):
    """Parameter names are the released code's, so its states load as they are."""

    def __init__(self, ds, dt, classes, config):
        super().__init__()
        self.projector_source = Projector(ds, config.d_common, config.layer)
        self.projector_target = Projector(dt, config.d_common, config.layer)
        self.classifier = Classifier(config.d_common, classes)
        self.discriminator_net = Discriminator(config.d_common)

    def forward(self, xs, xt):
        f = torch.cat([self.projector_source(xs), self.projector_target(xt)])
        return f, self.classifier(f)


# ---------------------------------------------------------------- training


def class_means(labels, classes, dtype):
    """K x n matrix whose product with n x d features is their means per class."""
    one_hot = F.one_hot(labels, classes).to(dtype)
    counts = one_hot.sum(0)
    if (counts == 0).any():
        raise SystemExit("every class needs a source and a labelled target sample")
    return (one_hot / counts).T.contiguous(), counts


class Trainer:
    """One partition: all buffers on the device, and the epoch as a function of them."""

    def __init__(self, config, problem, state=None, seed=0):
        self.config = config
        device, dtype = config.device, config.dtype

        def put(a):
            return torch.as_tensor(a).to(device, dtype)

        self.xs = put(problem["xs"])
        self.xt = put(np.concatenate([problem["xl"], problem["xu"]]))
        ys, yl, yu = (
            torch.as_tensor(problem[k], dtype=torch.long, device=device)
            for k in ("ys", "yl", "yu")
        )
        self.ys, self.yl, self.y = ys, yl, torch.cat([ys, yl, yu])
        self.ns, self.nl, self.nu = len(ys), len(yl), len(yu)
        self.parts = [self.ns, self.nl, self.nu]
        classes = problem["classes"]

        # What the labels alone decide is computed once.
        self.class_range = torch.arange(classes, device=device)
        self.mean_source, counts = class_means(ys, classes, dtype)
        self.count_source = counts[:, None]
        self.mean_labelled, _ = class_means(yl, classes, dtype)
        self.mean_known, _ = class_means(torch.cat([ys, yl]), classes, dtype)
        self.one_hot_labelled = F.one_hot(yl, classes).to(dtype)
        self.domain = torch.zeros(len(self.y), dtype=dtype, device=device)
        self.domain[: self.ns] = 1

        # Scalars that change with the epoch are looked up by a counter on the
        # device, so that a captured graph sees them change.
        e = np.arange(config.nepoch, dtype=np.float64)
        reversal = 2 / (1 + np.exp(-10 * e / config.nepoch)) - 1
        threshold = 1 / (1 + np.exp(-0.8 * (e + 1))) - 0.01
        self.schedule = put(np.stack([reversal, threshold], 1))
        self.epoch = torch.zeros(1, dtype=torch.long, device=device)
        self.correct = torch.zeros(config.nepoch, 3, dtype=torch.long, device=device)

        self.model = Ssan(self.xs.shape[1], self.xt.shape[1], classes, config)
        if state is None:
            generator = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                for p in self.model.parameters():
                    p.normal_(0, 0.01, generator=generator)
        else:
            self.model.load_state_dict(state)
        self.model.to(device, dtype)
        self.optimizer = make_optimizer(config, self.model.parameters())
        self.values = {}
        self.run_epoch = self.capture() if config.cuda_graph else self.epoch_body

    # -- one epoch

    def refine(self, f, z, threshold):
        """The network's and the prototypes' labels of the unlabelled rows (-1 for none)."""
        known = self.ns + self.nl
        fu = f[known:]
        pseudo = z[known:].argmax(1)
        how = self.config.combine_pred
        if how == "None":
            return pseudo, pseudo
        centres = self.mean_known @ f[:known]
        if how.startswith("Cosine"):
            similarity = fu @ F.normalize(centres).T
        else:
            similarity = 2 * (fu @ centres.T) - centres.square().sum(1)
            similarity = similarity - fu.square().sum(1, keepdim=True)
        best, opinion = similarity.max(1)
        if how == "Cosine_threshold":
            opinion = torch.where(best >= threshold, opinion, -1)
        elif how == "Euclidean_threshold":
            # -distance >= 0.2 never holds; that is what the release asks for.
            opinion = torch.where(best >= 0.2, opinion, -1)
        return pseudo, opinion

    def alignment(self, f, pseudo, opinion):
        """Squared distances of the class means of source, target and both."""
        fs, ft = f.split([self.ns, self.nl + self.nu])
        chosen = torch.where(pseudo == opinion, pseudo, -1)
        chosen = (chosen[:, None] == self.class_range).to(f.dtype)
        weight = torch.cat([self.one_hot_labelled, chosen])
        count = weight.sum(0)[:, None]
        source = self.mean_source @ fs
        target_sum = weight.T @ ft
        target = target_sum / count
        loss = (source - target).square().sum()
        if self.config.prototype == "three":
            both = self.count_source * source + target_sum
            both = both / (self.count_source + count)
            loss = loss + (source - both).square().sum() + (target - both).square().sum()
        return loss

    def loss(self):
        c = self.config
        reversal, threshold = self.schedule.index_select(0, self.epoch)[0].unbind()
        f, z = self.model(self.xs, self.xt)
        zs, zl, _ = z.split(self.parts)

        source_ce = F.cross_entropy(zs, self.ys)
        hard = F.cross_entropy(zl, self.yl)
        total = source_ce + hard
        v = {"source_ce": source_ce, "grl": reversal}
        if c.alpha != 1:
            # The soft label of a class is its source samples' mean prediction.
            q = self.mean_source @ F.softmax(zs / c.temperature, 1)
            soft = -(q * (self.mean_labelled @ (F.softmax(zl, 1) + 1e-5).log())).sum()
            v["hard"], v["soft"] = (1 - c.alpha) * hard, c.alpha * soft
            total = source_ce + v["hard"] + v["soft"]
        if c.gamma != 0:
            probability = self.model.discriminator_net(f, reversal)
            v["adversarial"] = F.binary_cross_entropy(probability, self.domain)
            total = total + c.gamma * v["adversarial"]
        if c.beta != 0 or c.traced:
            with torch.no_grad():
                v["pseudo"], v["prototype"] = self.refine(f, z, threshold)
        if c.beta != 0:
            v["alignment"] = self.alignment(f, v["pseudo"], v["prototype"])
            total = total + c.beta * v["alignment"]
        v["total"] = total
        return total, v

    @torch.no_grad()
    def evaluate(self):
        """Rows labelled right: source, labelled target, unlabelled target."""
        _, z = self.model(self.xs, self.xt)
        right = z.argmax(1) == self.y
        return torch.stack([part.sum() for part in right.split(self.parts)])

    def epoch_body(self):
        self.optimizer.zero_grad(set_to_none=True)
        total, values = self.loss()
        total.backward()
        self.optimizer.step()
        if self.config.eval:
            self.correct.index_copy_(0, self.epoch, self.evaluate()[None])
        if self.config.traced:
            self.values = {k: v.detach() for k, v in values.items()}
        self.epoch.add_(1)

    def capture(self):
        """The epoch as one CUDA graph, and everything as it was before warming up."""
        start = [p.detach().clone() for p in self.model.parameters()]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.epoch.zero_()
                self.epoch_body()
        torch.cuda.current_stream().wait_stream(side)
        self.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.epoch_body()
        with torch.no_grad():
            for p, p0 in zip(self.model.parameters(), start):
                p.copy_(p0)
        for state in self.optimizer.state.values():
            for value in state.values():
                if torch.is_tensor(value):
                    value.zero_()
        self.epoch.zero_()
        self.correct.zero_()
        return graph.replay

    # -- all epochs

    def train(self):
        """Milliseconds of every epoch."""
        if self.config.device.type == "cuda":
            events = [
                torch.cuda.Event(enable_timing=True)
                for _ in range(self.config.nepoch + 1)
            ]
            events[0].record()
            for event in events[1:]:
                self.run_epoch()
                event.record()
            torch.cuda.synchronize()
            return [a.elapsed_time(b) for a, b in zip(events, events[1:])]
        times = [time.perf_counter()]
        for _ in range(self.config.nepoch):
            self.run_epoch()
            times.append(time.perf_counter())
        return [1e3 * (b - a) for a, b in zip(times, times[1:])]

    def accuracies(self):
        """Per cent per epoch and part; only the end's where nothing was evaluated."""
        correct = self.correct if self.config.eval else self.evaluate()[None]
        return 100 * correct.cpu().double() / torch.tensor(self.parts)


def make_optimizer(config, parameters):
    if config.optimizer == "Adam":
        return torch.optim.Adam(
            parameters, lr=config.lr, betas=(0.9, 0.99), eps=1e-8,
            fused=True, capturable=config.cuda_graph,
        )
    if config.optimizer == "SGD":
        return torch.optim.SGD(parameters, lr=config.lr, fused=True)
    return torch.optim.SGD(
        parameters, lr=config.lr, momentum=0.9, nesterov=True, weight_decay=0.001,
        fused=True,
    )


# ---------------------------------------------------------------- data


def read_mat(path):
    from scipy.io import loadmat
    from scipy.sparse import issparse

    fields = {k.lower(): v for k, v in loadmat(path).items() if not k.startswith("__")}

    def pick(names):
        for name in names:
            if name in fields:
                return fields[name]
        raise SystemExit(f"{path}: none of the fields {', '.join(names)}")

    x = pick(["fts", "features", "feature", "feas", "fea", "data", "x"])
    y = pick(["labels", "label", "gnd", "y"])
    x = np.asarray(x.toarray() if issparse(x) else x, dtype=np.float64)
    y = np.asarray(y).ravel()
    if x.shape[0] != len(y):
        x = x.T
    if x.shape[0] != len(y):
        raise SystemExit(f"{path}: {len(y)} labels do not fit features {x.T.shape}")
    return unit_rows(x), y


def unit_rows(x):
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def read_domains(args):
    """Source features and labels, target features and labels, class count."""
    if args.synthetic:
        source, target, classes = args.synthetic.split(",")
        rng = np.random.default_rng(args.seed)
        domains = []
        for shape in (source, target):
            n, d = map(int, shape.split("x"))
            domains += [unit_rows(rng.standard_normal((n, d))), np.arange(n) % int(classes)]
        return *domains, int(classes)
    if not (args.source and args.target):
        raise SystemExit("give --source and --target, --synthetic, or --golden")
    xs, ys = read_mat(args.source)
    xt, yt = read_mat(args.target)
    names, y = np.unique(np.concatenate([ys, yt]), return_inverse=True)
    return xs, y[: len(ys)], xt, y[len(ys) :], len(names)


def draw_partition(domains, per_class, seed):
    """A random few of every target class keep their labels."""
    xs, ys, xt, yt, classes = domains
    rng = np.random.default_rng(seed)
    labelled = np.concatenate(
        [rng.permutation(np.flatnonzero(yt == k))[:per_class] for k in range(classes)]
    )
    rest = np.setdiff1d(np.arange(len(yt)), labelled)
    return {
        "xs": xs, "ys": ys, "xl": xt[labelled], "yl": yt[labelled],
        "xu": xt[rest], "yu": yt[rest], "classes": classes,
    }


# ---------------------------------------------------------------- commands


def check_golden(path, args):
    """Follows a float64 trace of the released code; the list of what differs."""
    with open(path) as file:
        golden = json.load(file)
    settings = {k: v for k, v in golden["config"].items() if hasattr(args, k)}
    config = argparse.Namespace(**{**vars(args), **settings})
    config.nepoch = golden["config"]["epochs"]
    config.dtype, config.traced, config.eval = torch.float64, True, True
    problem = {"classes": golden["config"]["classes"]}
    for key, part in (("s", "source"), ("l", "target_labelled"), ("u", "target_unlabelled")):
        problem["x" + key] = np.array(golden[part]["features"])
        problem["y" + key] = np.array(golden[part]["labels"])
    initial = {
        k: torch.tensor(v, dtype=torch.float64) for k, v in golden["initial"].items()
    }
    # Built in float64, or loading the state would round it.
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        trainer = Trainer(config, problem, state=initial)
    finally:
        torch.set_default_dtype(default)

    # In the Euclidean run a sample near a tie amplifies rounding.
    tolerance = 1e-7 if config.combine_pred == "Euclidean" else 1e-9
    wrong, worst = [], 0.0

    def close(what, got, want):
        nonlocal worst
        # Through NumPy: torch.as_tensor would make a Python float a float32.
        got, want = (np.asarray(a, dtype=np.float64) for a in (got, want))
        error = np.abs(got - want).max() / max(np.abs(want).max(), 1e-30)
        worst = max(worst, float(error))
        if not error <= tolerance:
            wrong.append(f"{what}: relative difference {error:.1e}")

    def equal(what, got, want):
        if got != want:
            wrong.append(f"{what}: {got}, not {want}")

    for want in golden["trace"]:
        trainer.run_epoch()
        got, at = trainer.values, f"epoch {want['epoch']}"
        for key in ("total", "source_ce", "hard", "soft", "adversarial", "alignment", "grl"):
            value = got.get(key)
            close(f"{at} {key}", 0.0 if value is None else value.item(), want[key])
        for key in ("pseudo", "prototype"):
            equal(f"{at} {key}", got[key].tolist(), want[key])
        selected = int((got["pseudo"] == got["prototype"]).sum())
        equal(f"{at} selected", selected, want["selected"])
        accuracies = trainer.accuracies()[want["epoch"]]
        for key, value in zip(("source", "labelled", "unlabelled"), accuracies.tolist()):
            close(f"{at} {key}_acc", value, want[f"{key}_acc"])
    equal("epochs", len(golden["trace"]), config.nepoch)
    state = trainer.model.state_dict()
    equal("parameters", sorted(state), sorted(golden["final"]))
    for key, value in golden["final"].items():
        close(f"final {key}", state[key].cpu(), value)
    return {
        "golden": path, "passed": not wrong, "worst_relative": worst,
        "tolerance": tolerance, "wrong": wrong[:10], "wrong_count": len(wrong),
    }


def measure(args):
    domains = read_domains(args)
    partitions, timed = [], []
    for i in range(args.partition):
        problem = draw_partition(domains, args.labelled_per_class, args.seed + i)
        trainer = Trainer(args, problem, seed=args.seed + i)
        times = trainer.train()
        times = times[min(args.warmup, args.nepoch // 2) :]
        timed += times
        unlabelled = trainer.accuracies()[:, 2]
        partitions.append({
            "partition": i,
            "accuracy_last": unlabelled[-1].item(),
            "accuracy_best": unlabelled.max().item() if args.eval else None,
            "ms_per_epoch": statistics.median(times),
        })
        print(json.dumps(partitions[-1]), file=sys.stderr, flush=True)

    def mean(key):
        values = [p[key] for p in partitions]
        return None if None in values else math.fsum(values) / len(values)

    device = str(args.device)
    if args.device.type == "cuda":
        device += f" ({torch.cuda.get_device_name(args.device)})"
    return {
        "device": device, "threads": torch.get_num_threads(), "torch": torch.__version__,
        "precision": args.precision, "cuda_graph": args.cuda_graph, "eval": args.eval,
        "source": list(domains[0].shape), "target": list(domains[2].shape),
        "classes": domains[4], "nepoch": args.nepoch, "partitions": partitions,
        "mean_last": mean("accuracy_last"), "mean_best": mean("accuracy_best"),
        "ms_per_epoch": statistics.median(timed),
    }


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = p.add_argument
    add("--source", metavar="FILE.mat")
    add("--target", metavar="FILE.mat")
    add("--synthetic", metavar="NSxDS,NTxDT,K", help="random unit rows instead of files")
    add("--golden", metavar="FILE.json", nargs="+", help="follow traces of the released code")
    add("--labelled-per-class", type=int, default=3)
    add("--nepoch", type=int, default=3000)
    add("--partition", type=int, default=20, help="how many random draws")
    add("--prototype", choices=["two", "three"], default="three")
    add("--layer", choices=["single", "double"], default="double")
    add("--d_common", type=int, default=256)
    add("--optimizer", choices=["mSGD", "SGD", "Adam"], default="mSGD")
    add("--lr", type=float, default=0.1)
    add("--alpha", type=float, default=0.1)
    add("--beta", type=float, default=0.004)
    add("--gamma", type=float, default=0.1)
    add(
        "--combine_pred", default="Cosine",
        choices=["Cosine", "Euclidean", "Cosine_threshold", "Euclidean_threshold", "None"],
    )
    add("--temperature", type=float, default=5.0)
    add("--seed", type=int, default=2020)
    add("--device", choices=["cpu", "cuda"], default="cpu")
    add("--threads", type=int, default=torch.get_num_threads())
    add("--precision", choices=["fp32", "tf32"], default="fp32")
    add("--cuda-graph", action="store_true", help="replay the epoch as one CUDA graph")
    add("--no-eval", dest="eval", action="store_false", help="no second forward pass")
    add("--warmup", type=int, default=10, help="epochs left out of the timing")
    args = p.parse_args(argv)
    args.device = torch.device(args.device)
    if args.device.type == "cpu" and (args.cuda_graph or args.precision == "tf32"):
        p.error("--cuda-graph and --precision tf32 need --device cuda")
    if args.nepoch < 1 or args.partition < 1:
        p.error("--nepoch and --partition start at 1")
    args.dtype, args.traced = torch.float32, False
    return args


def main(argv=None):
    args = parse(argv)
    torch.set_num_threads(args.threads)
    torch.set_float32_matmul_precision("high" if args.precision == "tf32" else "highest")
    if not args.golden:
        print(json.dumps(measure(args)))
        return 0
    results = [check_golden(path, args) for path in args.golden]
    passed = all(r["passed"] for r in results)
    print(json.dumps({"passed": passed, "golden": results}, indent=1))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
