#!/bin/sh
# Builds the fuzz targets with libFuzzer and coverage counters, and runs each for a while. Stable Rust and a C++ compiler.
#
# FUZZ_SECONDS: for each target. FUZZ_ONLY: one target. FUZZ_TARGET_DIR: where to build, and where the grown corpora are.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
seconds=${FUZZ_SECONDS:-20}
built=${FUZZ_TARGET_DIR:-$here/../target/fuzz}
host=$(rustc -vV | sed -n 's/^host: //p')
command -v c++ >/dev/null 2>&1 || { echo "fuzz: a C++ compiler is missing: apt-get install g++" >&2; exit 1; }

# What sanitizer coverage asks of the compiler (clang's SanitizerCoverage), without a sanitizer. Naming the target keeps the
# flags from build scripts and macros.
flags="--cfg fuzzing --cfg fuzzing_libfuzzer -C debug-assertions -C overflow-checks -C passes=sancov-module"
for feature in level=4 inline-8bit-counters pc-table trace-compares; do
    flags="$flags -C llvm-args=-sanitizer-coverage-$feature"
done

for main in "$here"/targets/*/main.rs; do
    folder=$(dirname "$main")
    name=$(basename "$folder")
    [ "${FUZZ_ONLY:-$name}" = "$name" ] || continue
    grown=$built/corpus/$name
    mkdir -p "$grown" "$folder/crashes"
    echo "fuzz: $name, $seconds s"
    # The first folder takes what is found; the others are only read.
    (cd "$here" && RUSTFLAGS="$flags" CARGO_TARGET_DIR="$built" \
        BOLERO_LIBFUZZER_ARGS="$grown $folder/corpus $folder/crashes -artifact_prefix=$folder/crashes/ -max_total_time=$seconds -max_len=4096 -rss_limit_mb=1024 -print_final_stats=1" \
        ${CARGO:-cargo} test --profile quick --target "$host" -p switchyard-fuzz --test "$name")
    rmdir "$folder/crashes" 2>/dev/null || true
done
