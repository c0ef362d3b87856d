#!/bin/sh
# cross_check.sh SOURCE_DIR BUILD_DIR: compiles the kernels and cross_check.cpp for 64-bit ARM and runs them in an
# emulator. Exits with 77, which CTest shows as skipped, where the compiler or the emulator is missing.
source=$1
build=$2/cross
compiler=aarch64-linux-gnu-g++
for tool in $compiler qemu-aarch64; do
  if ! command -v $tool >/dev/null; then
    echo "skipped: $tool is not installed (./dev setup)"
    exit 77
  fi
done
mkdir -p "$build"
cache=
command -v ccache >/dev/null && cache=ccache
flags="-std=gnu++23 -O1 -ffp-contract=off -Wall -Wextra -Wno-psabi -I$source/src -I$source/tests"
for file in "$source"/src/quant/*.cpp "$source"/src/backend/cpu/attention_units.cpp \
  "$source"/src/backend/cpu/kernels.cpp "$source"/src/backend/cpu/kernels_scalar.cpp \
  "$source"/src/backend/cpu/layout.cpp "$source"/src/backend/cpu/tile.cpp \
  "$source"/tests/backend/cpu/kernel_cases.cpp "$source"/tests/backend/cpu/cross_check.cpp; do
  object=$build/$(basename "$file" .cpp).o
  $cache $compiler $flags -c "$file" -o "$object" || exit 1
done &
plain=$!
$cache $compiler $flags -march=armv8.2-a+dotprod -c "$source/src/backend/cpu/kernels_neon.cpp" \
  -o "$build/kernels_neon.o" || exit 1
wait $plain || exit 1
rm -f "$build/cross_check"
$compiler -static "$build"/*.o -o "$build/cross_check" && qemu-aarch64 "$build/cross_check"
