"""The part of failing_io.py that takes seconds: every call that fails or is short while the server answers and saves, and
being killed at each call that makes a file."""

import shutil
import tempfile
import unittest

from failing_io import Faults
from server import main


class FailingIo(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.faults = Faults(self.folder)
        self.addCleanup(self.faults.close)

    def test_every_call_may_fail_once(self):
        for kind, least in (("accept", 4), ("write", 8), ("open", 2), ("fsync", 1), ("rename", 1), ("link", 0), ("option", 4)):
            with self.subTest(kind):
                self.assertGreaterEqual(self.faults.each_call(kind, "fails", 60), least)

    def test_killed_while_it_saves_it_leaves_whole_files(self):
        for kind, least in (("fsync", 1), ("link", 0), ("rename", 1)):  # not every file system makes files without names
            with self.subTest(kind):
                self.assertIn(self.faults.each_kill(kind), (least, 1))


if __name__ == "__main__":
    main()
