"""Control groups of a test's own, versions 1 and 2, whichever this machine has for a controller."""

import os
import time

# A file that only groups with the controller have, by version.
SIGNS = {"memory": ("memory.limit_in_bytes", "memory.max"), "cpu": ("cpu.shares", "cpu.weight"),
         "blkio": ("blkio.throttle.read_bps_device", "io.max"), "freezer": ("freezer.state", "cgroup.freeze")}


class NoControlGroups(Exception):
    pass


class ControlGroup:
    """One below the group that we are in. `controller` as version 1 names it: memory, cpu, blkio or freezer."""

    def __init__(self, controller):
        self.path, self.version = self._make(controller)

    @staticmethod
    def _make(controller):
        own = {}
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            for line in file:
                _, controllers, path = line.rstrip("\n").split(":", 2)
                own[controllers] = path
        problems = []
        for line in open("/proc/self/mounts", encoding="utf-8"):
            _, point, kind, options = line.split()[:4]
            if kind == "cgroup" and controller in options.split(","):
                name = next((c for c in own if controller in c.split(",")), None)
                parents, version = [own.get(name, "/"), "/"], 1
            elif kind == "cgroup2":
                parents, version = [own.get("", "/"), "/"], 2
            else:
                continue
            for parent in parents:
                path = f"{point}/{parent.strip('/')}/loadline-test-{os.getpid()}"
                try:
                    os.mkdir(path)
                except OSError as problem:
                    problems.append(f"{path}: {problem.strerror}")
                    continue
                if os.access(f"{path}/{SIGNS[controller][version - 1]}", os.W_OK):
                    return path, version
                os.rmdir(path)
                problems.append(f"{path} has no {controller} controller")
        raise NoControlGroups("; ".join(problems) or "no control group file system is mounted")

    def _file(self, version1, version2):
        return f"{self.path}/{version1 if self.version == 1 else version2}"

    def set(self, version1, version2, value):
        """Writes the file of that name; OSError where the system refuses it."""
        with open(self._file(version1, version2), "w", encoding="utf-8") as file:
            file.write(str(value))

    def get(self, version1, version2):
        with open(self._file(version1, version2), encoding="utf-8") as file:
            return file.read()

    def enter(self, process=None):
        """This process, between fork and exec, or another one."""
        with open(f"{self.path}/cgroup.procs", "w", encoding="utf-8") as file:
            file.write(str(process or os.getpid()))

    def leave(self):
        """This process, to the group that this one was made in."""
        with open(f"{os.path.dirname(self.path)}/cgroup.procs", "w", encoding="utf-8") as file:
            file.write(str(os.getpid()))

    def remove(self):
        for _ in range(100):  # the last process leaves it a moment after it was waited for
            try:
                os.rmdir(self.path)
                return
            except OSError:
                time.sleep(0.02)


def held_by(group):
    """Bytes in use in a memory group that cannot be dropped."""
    stat = dict(line.split() for line in group.get("memory.stat", "memory.stat").splitlines())
    prefix = "total_" if group.version == 1 else ""
    cached = sum(int(stat[f"{prefix}{name}"]) for name in ("active_file", "inactive_file"))
    return int(group.get("memory.usage_in_bytes", "memory.current")) - cached
