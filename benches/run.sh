#!/usr/bin/env bash
# Runs what benches/collect.sh collected, in the folder that it made; needs no Rust toolchain:
#
#     OUT=./out ./run.sh
#
# All tests (with a card: those on the card too, and they must run), compute-sanitizer on the tests
# on the card, the benchmarks, the PyTorch peer where Python has torch, training on the bundled
# digits. Every step's output goes to $OUT/STEP.log. A failing step does not stop the others; the
# exit status is 1 if any failed. What cannot run here is listed as NOT RUN with the reason.
#
# LIMIT is the longest a step may take, in seconds (1800).
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${OUT:-./out}
limit=${LIMIT:-1800}
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
# Sets ROOT, TARGET, COMMIT, RUSTC, DATE.
# shellcheck source=/dev/null
. "$here/built" || exit 1

summary=$out/summary.txt
failures=0
: >"$summary"

note() { printf '%s\n' "$*" | tee -a "$summary"; }

skip() { note "NOT RUN  $1: $2"; }

# step NAME COMMAND...
step() {
    local name=$1 start=$SECONDS status
    shift
    printf '%s ...\n' "$name"
    {
        printf '+ %s\n' "$*"
        (cd "$ROOT" 2>/dev/null || cd "$here/repo" || exit 1; exec timeout "$limit" "$@")
    } >"$out/$name.log" 2>&1 </dev/null
    status=$?
    if [ $status -eq 0 ]; then
        note "ok       $name ($((SECONDS - start)) s)"
        # Tests say so where they pass for want of something.
        grep -h '^NOT RUN' "$out/$name.log" | sed 's/^/         /' | tee -a "$summary"
    else
        [ $status -eq 124 ] && status="still running after $limit s"
        note "FAILED   $name ($status), see $out/$name.log"
        tail -n 15 "$out/$name.log" | sed 's/^/    | /'
        failures=$((failures + 1))
    fi
}

# Tests were compiled with the paths of the repository, of its build folder and of the command:
# where they are not there, links to what was collected stand in for them until the end.
links=()
unlink_all() { for link in ${links[@]+"${links[@]}"}; do rm -f -- "$link"; done; }
trap unlink_all EXIT
stand_in() {
    local path=$1 real=$2
    if [ -e "$path" ]; then
        [ "$path" -ef "$real" ] || note "note: $path is there already; tests use it as it is"
    elif mkdir -p "$(dirname "$path")" && ln -sfn "$real" "$path"; then
        links+=("$path")
    else
        note "note: $path cannot be made; tests that use it fail"
    fi
}
mkdir -p "$here/target/release" "$here/target/tmp"
[ ! -e "$here/bin/ssan" ] || cp -f "$here/bin/ssan" "$here/target/release/ssan"
stand_in "$ROOT" "$here/repo"
stand_in "$TARGET" "$here/target"
# A build folder that is there may lack it.
[ -d "$TARGET/tmp" ] || mkdir -p "$TARGET/tmp"

note "ssan $COMMIT, $RUSTC, collected $DATE"
note "run $(date -u +%Y-%m-%dT%H:%M:%SZ), $(uname -sm)," \
    "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) CPUs"
card=
if card=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null) &&
    [ -n "$card" ]; then
    note "card: $card"
    export SSAN_REQUIRE_CUDA=1 SSAN_REQUIRE_NVRTC=1
else
    card=
    note "card: none (nvidia-smi lists none)"
fi
ssan=$here/bin/ssan
[ ! -x "$ssan" ] || step devices "$ssan" devices

# --- tests

# The tests on the card, among those of the kernels.
on_card=cuda::
for test in "$here"/tests/*; do
    name=$(basename "$test")
    if [ "$name" = kernels ] && ! command -v "${CXX:-c++}" >/dev/null; then
        skip "test-kernels on the host" "no C++ compiler (${CXX:-c++})"
        step test-kernels-card "$test" "$on_card"
    else
        step "test-$name" "$test"
    fi
done

for tool in memcheck racecheck; do
    if ! command -v compute-sanitizer >/dev/null; then
        skip "sanitizer-$tool" "compute-sanitizer is not on PATH"
    elif [ -z "$card" ]; then
        skip "sanitizer-$tool" "no card"
    elif ! "$here/tests/kernels" --list "$on_card" 2>/dev/null | grep -q ': test$'; then
        note "FAILED   sanitizer-$tool: no test is named $on_card…"
        failures=$((failures + 1))
    else
        step "sanitizer-$tool" compute-sanitizer --tool "$tool" --error-exitcode 1 \
            "$here/tests/kernels" --test-threads 1 "$on_card"
    fi
done

# --- benchmarks

sizes=(--synthetic "${SIZES:-958x800,958x4096,10}")
if [ -n "$card" ]; then
    for precision in fp32 tf32 bf16; do
        step "bench-kernels-cuda-$precision" \
            "$here/benches/kernels" "${sizes[@]}" --device cuda --precision "$precision"
        step "bench-epoch-cuda-$precision" \
            "$here/benches/epoch" "${sizes[@]}" --device cuda --nepoch 600 --precision "$precision"
    done
    step bench-epoch-cuda-no-graph \
        "$here/benches/epoch" "${sizes[@]}" --device cuda --nepoch 600 --no-graph
    for precision in fp32 tf32; do
        step "bench-epoch-cuda-20-partitions-$precision" "$here/benches/epoch" "${sizes[@]}" \
            --device cuda --nepoch 200 --partition 20 --precision "$precision"
    done
else
    skip bench-kernels-cuda "no card"
    skip bench-epoch-cuda "no card"
fi
step bench-kernels-cpu "$here/benches/kernels" "${sizes[@]}" --device cpu --repetitions 10
step bench-epoch-cpu "$here/benches/epoch" "${sizes[@]}" --device cpu --nepoch 20

# --- PyTorch

python=${PYTHON:-python3}
peer=("$python" "$here/repo/benches/peer/ssan_torch.py" "${sizes[@]}" --partition 1)
if ! "$python" -c 'import torch' 2>/dev/null; then
    skip peer "$python has no torch"
else
    step peer-cpu "${peer[@]}" --device cpu --nepoch 20
    step peer-products-cpu \
        "$python" "$here/repo/benches/peer/products.py" "$out/bench-kernels-cpu.log"
    if "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
        step peer-cuda "${peer[@]}" --device cuda --nepoch 600
        step peer-cuda-graph "${peer[@]}" --device cuda --nepoch 600 --cuda-graph
        step peer-cuda-graph-tf32 \
            "${peer[@]}" --device cuda --nepoch 600 --cuda-graph --precision tf32
        for precision in fp32 tf32 bf16; do
            step "peer-products-$precision" "$python" "$here/repo/benches/peer/products.py" \
                "$out/bench-kernels-cuda-$precision.log" --device cuda --precision "$precision"
        done
    else
        skip peer-cuda "torch sees no card"
    fi
fi

# --- training on the bundled digits

if [ ! -x "$ssan" ]; then
    skip train "no ssan binary was collected"
else
    if [ -n "$card" ]; then
        step train-cuda "$ssan" train --device cuda
    else
        skip train-cuda "no card"
    fi
    step train-cpu "$ssan" train --device cpu
fi

echo
echo "----- $summary"
cat "$summary"
for log in "$out"/bench-*.log "$out"/peer-*.log "$out"/train-*.log; do
    [ ! -e "$log" ] || { echo "----- $log"; tail -n 60 "$log"; }
done >"$out/results.txt"
if [ $failures -gt 0 ]; then
    echo "$failures failed"
    exit 1
fi
echo "nothing failed; results: $out/results.txt"
