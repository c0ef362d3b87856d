"""A swap file of a test's own, in use by the whole system until it is removed, or until the test ends in any way."""

import os
import shutil
import subprocess


class NoSwap(Exception):
    pass


# Makes it, says so in a line, and takes it away again when its standard input ends: also where the test was killed.
KEEPER = """
made=$(fallocate -l "$2" "$1" && chmod 600 "$1" && mkswap "$1" 2>&1 >/dev/null && swapon "$1" 2>&1) && echo made ||
  echo "$made" | tail -n 1
cat >/dev/null
swapoff "$1" 2>/dev/null
rm -f "$1"
"""


class SwapFile:
    def __init__(self, path, size):
        """NoSwap with the reason where there can be none. `size` in bytes."""
        missing = [tool for tool in ("fallocate", "mkswap", "swapon", "swapoff") if not shutil.which(tool)]
        if missing:
            raise NoSwap(f"there is no {missing[0]}")
        self.path = os.path.realpath(path)
        # A session of its own: who ends the test's processes does not end this one.
        self.keeper = subprocess.Popen(["sh", "-c", KEEPER, "sh", self.path, str(size)], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
        said = self.keeper.stdout.readline().decode().strip()
        if said != "made":
            self.remove()
            raise NoSwap(said or "the system makes none")

    def remove(self):
        self.keeper.communicate()
        if os.path.exists(self.path):
            raise RuntimeError(f"{self.path} is still in use")
