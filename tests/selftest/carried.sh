#!/bin/sh
# carried.sh FOLDER [options of `loadline selftest`]: runs what `./dev gpu --build-only` made (build/carry) as on a
# machine that has libc and a driver and nothing else: in a chroot of its own, without network, with Mesa's llvmpipe
# put into it as "the driver". Needs root (chroot, unshare) and mesa-vulkan-drivers; leaves nothing behind.
set -eu
carried=$(cd "$1" && pwd)
shift
libraries=/usr/lib/x86_64-linux-gnu
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/lib64" "$root/lib/x86_64-linux-gnu" "$root/tmp" "$root/driver" "$root/carry" "$root/dev" "$root/bin"
cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
for name in libc.so.6 libm.so.6 libdl.so.2 libpthread.so.0 librt.so.1; do
  cp -L "$libraries/$name" "$root/lib/x86_64-linux-gnu/"
done
cp "$carried"/* "$root/carry/"
# The driver comes with what it needs, as a card's does.
for library in "$libraries/libvulkan_lvp.so" $(ldd "$libraries/libvulkan_lvp.so" | awk '$3 ~ /^\// { print $3 }'); do
  [ -e "$root/lib/x86_64-linux-gnu/$(basename "$library")" ] || cp -L "$library" "$root/driver/"
done
sed 's#"library_path": *"[^"]*"#"library_path": "/driver/libvulkan_lvp.so"#' \
  /usr/share/vulkan/icd.d/lvp_icd.x86_64.json >"$root/driver/lvp.json"
LOADLINE_CHROOT=$root unshare --net --mount --pid --fork sh -c '
  mkdir "$LOADLINE_CHROOT/proc" "$LOADLINE_CHROOT/sys"
  mount -t proc proc "$LOADLINE_CHROOT/proc"
  mount --rbind /sys "$LOADLINE_CHROOT/sys"
  chroot=$(command -v chroot)
  exec env -i VK_ICD_FILENAMES=/driver/lvp.json LD_LIBRARY_PATH=/driver LOADLINE_VULKAN_LIBRARY=/carry/libvulkan.so.1 \
    HOME=/tmp "$chroot" "$LOADLINE_CHROOT" /carry/loadline selftest "$@"
' sh "$@"
