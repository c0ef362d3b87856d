#!/bin/sh
# no_shared_code.sh OBJECT...: the objects of single instruction sets must not define functions that the linker could
# merge with those of other objects; it would keep one copy, perhaps the one this processor cannot run.
status=0
checked=0
for object in "$@"; do
  case "$object" in
    *kernels_scalar*) continue ;;
    *kernels_*) ;;
    *) continue ;;
  esac
  checked=$((checked + 1))
  shared=$(nm -C "$object" | grep -E ' [WVu] [^_]')
  if [ -n "$shared" ]; then
    echo "$object defines what other objects may share:"
    echo "$shared"
    status=1
  fi
done
echo "$checked objects checked"
[ "$checked" -gt 0 ] || status=1
exit $status
