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
rm -rf "$build"
mkdir -p "$build"
cache=
command -v ccache >/dev/null && cache=ccache
flags="-std=gnu++23 -O1 -ffp-contract=off -Wall -Wextra -Wno-psabi -DLOADLINE_WITH_NEON -I$source/src -I$source/tests"
for file in "$source"/src/quant/*.cpp "$source"/src/backend/cpu/attention_units.cpp \
  "$source"/src/backend/cpu/kernels.cpp "$source"/src/backend/cpu/kernels_scalar.cpp \
  "$source"/src/backend/cpu/layout.cpp "$source"/src/backend/cpu/tile.cpp "$source"/src/backend/cpu/vectors_scalar.cpp \
  "$source"/tests/backend/cpu/kernel_cases.cpp "$source"/tests/backend/cpu/cross_check.cpp; do
  object=$build/$(basename "$file" .cpp).o
  $cache $compiler $flags -c "$file" -o "$object" || exit 1
done &
plain=$!
# The set's translation units, as CMake makes them (src/backend/cpu/CMakeLists.txt).
unit() { # name, header, group
  {
    [ -n "$3" ] && echo "#define LOADLINE_GROUP $3"
    echo '#include "backend/cpu/isa_neon.h"'
    echo "#include \"backend/cpu/$2.h\""
  } >"$build/$1.cpp"
  $cache $compiler $flags -march=armv8.2-a+dotprod -c "$build/$1.cpp" -o "$build/$1.o"
}
for header in $(sed -n 's/^set(units \(.*\))$/\1/p' "$source/src/backend/cpu/CMakeLists.txt"); do
  unit "kernels_neon_$header" "$header" '' || exit 1
done
for group in $(sed -n 's/.*LOADLINE_GROUP == \([0-9]*\).*/\1/p' "$source/src/backend/cpu/kernels.inc"); do
  unit "kernels_neon_group_$group" generic_group "$group" || exit 1
done
wait $plain || exit 1
$compiler -static "$build"/*.o -o "$build/cross_check" && qemu-aarch64 "$build/cross_check"
