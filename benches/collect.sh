#!/usr/bin/env bash
# Builds, strips and collects into one folder what a GPU machine without a Rust toolchain needs to
# run the tests, the benchmarks and a training run:
#
#     benches/collect.sh [FOLDER]        default: target/collect
#
# There, ./run.sh (benches/run.sh) runs it all. The folder:
#
#     run.sh, built    the script; from what and for which paths it was built
#     tests/           test binaries
#     benches/         benchmark binaries
#     bin/ssan         the command, where the crate has it
#     repo/            the repository's own files, which tests read
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
limit_mib=60

for tool in cargo git strip tar; do
    command -v "$tool" >/dev/null || { echo "error: $tool is not found" >&2; exit 1; }
done

metadata=$(cargo metadata --format-version 1 --no-deps --locked)
target=$(sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p' <<<"$metadata")
out=${1:-$root/target/collect}

# An older collection is replaced, nothing else.
if [ -e "$out" ]; then
    if [ ! -f "$out/built" ] || [ ! -f "$out/run.sh" ]; then
        echo "error: $out is there and is no collection; name another folder" >&2
        exit 1
    fi
    rm -rf -- "$out"
fi
mkdir -p "$out"/{tests,benches,bin}
out=$(cd "$out" && pwd)
# From here on it is a collection, which the next run replaces should this one fail.
cp benches/run.sh "$out/run.sh"
chmod +x "$out/run.sh"
echo 'echo "this collection is incomplete" >&2; exit 1' >"$out/built"

# "kind name executable" of everything that a build makes.
executables() {
    sed -n '/"reason":"compiler-artifact"/s/.*"target":{"kind":\["\([^"]*\)"\].*"name":"\([^"]*\)".*"executable":"\([^"]*\)".*/\1 \2 \3/p'
}

# take FOLDER/NAME EXECUTABLE
take() {
    strip -o "$out/$1" "$2"
    chmod +x "$out/$1"
}

built=$(cargo test --release --locked --no-run --message-format=json | executables)
while read -r kind name executable; do
    case $kind in
        test) take "tests/$name" "$executable" ;;
        lib) take "tests/unit" "$executable" ;;
        # Of binaries: the binary itself, which tests run, and not its unit tests.
        bin) [[ $executable == */deps/* ]] || take "bin/$name" "$executable" ;;
    esac
done <<<"$built"

built=$(cargo bench --locked --no-run --benches --message-format=json | executables)
while read -r kind name executable; do
    [ "$kind" != bench ] || take "benches/$name" "$executable"
done <<<"$built"

mkdir "$out/repo"
git ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do
        # A file that is deleted but still tracked is not there.
        [ ! -e "$file" ] || printf '%s\0' "$file"
    done | tar -c --null -T - | tar -x -C "$out/repo"

{
    # Paths that are compiled into the tests.
    printf 'ROOT=%q\n' "$root"
    printf 'TARGET=%q\n' "$target"
    printf 'COMMIT=%q\n' "$(git rev-parse HEAD)$(git diff --quiet HEAD || echo ' and changes')"
    printf 'RUSTC=%q\n' "$(rustc --version)"
    printf 'DATE=%q\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
} >"$out/built"

[ -e "$out/tests/kernels" ] || { echo "error: no test binary named kernels was built" >&2; exit 1; }
[ -e "$out/bin/ssan" ] || echo "note: the crate has no ssan binary: no training run" >&2
size=$(du -s -k "$out" | cut -f1)
echo "$out: $(find "$out/tests" -type f | wc -l) test binaries," \
    "$(find "$out/benches" -type f | wc -l) benchmarks, $((size / 1024)) MiB"
if ((size > limit_mib * 1024)); then
    echo "error: that is more than $limit_mib MiB" >&2
    exit 1
fi
