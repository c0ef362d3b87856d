"""Every naming rule of the project refuses a wrong name, and right names pass.

Without clang-tidy-19 the test says so and counts as skipped; `./dev setup` installs it.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# One line of code each, all wrong, with the name that must be complained about.
WRONG = [
    ("class tensor_info {};", "tensor_info"),
    ("struct tensorShape {};", "tensorShape"),
    ("union raw_bits { int i; };", "raw_bits"),
    ("enum class colour { Red };", "colour"),
    ("enum class Tier { graphics_memory };", "graphics_memory"),
    ("enum class Format { Q4_k };", "Q4_k"),
    ("using byte_count = int;", "byte_count"),
    ("typedef int byte_size;", "byte_size"),
    ("template <class value_type> void use_type(value_type) {}", "value_type"),
    ("template <class T> concept has_size = sizeof(T) > 1;", "has_size"),
    ("void readTensor() {}", "readTensor"),
    ("void ReadHeader() {}", "ReadHeader"),
    ("struct A { void DecodeBlock() {} };", "DecodeBlock"),
    ("void scale(int blockCount) { (void)blockCount; }", "blockCount"),
    ("void local() { int rowCount = 0; (void)rowCount; }", "rowCount"),
    ("int globalCounter = 0;", "globalCounter"),
    ("struct B { int rowBytes; };", "rowBytes"),
    ("class C { int rows; };", "rows"),
    ("class D { int rowSize_; };", "rowSize_"),
    ("class E { protected: int columns; };", "columns"),
    ("namespace LoadLine {}", "LoadLine"),
    ("constexpr int tile_rows = 16;", "tile_rows"),
    ("constexpr int TileRows = 16;", "TileRows"),
    ("const int kpage_cells = 32;", "kpage_cells"),
    ("void constant() { constexpr int limit = 3; (void)limit; }", "limit"),
    ("int kept() { static const int table = 3; return table; }", "table"),
    ("struct G { static int Shared; };", "Shared"),
    ("struct F { static constexpr int width = 3; };", "width"),
    ("#define max_of(a) (a)", "max_of"),
]

RIGHT = """
namespace load_line {
enum class TensorType { F32, F16, BF16, Q4_0, Q4_K, IQ4_XS, Int8 };
constexpr int kTileRows = 16;
constexpr int kQ4_KBytes = 144;
const char* const kNames[] = {"a"};
#define LOADLINE_FORMAT(name) name
struct BlockQ4_K { int row_bytes = 0; };
template <class Value, int bits>
concept Wide = sizeof(Value) > bits;
using ByteCount = long;
class Reader {
 public:
  explicit Reader(int first) : next_byte_(first) {}
  int next_byte() { return next_byte_++; }
  int and_(int mask) { return next_byte_ & mask; }
  static constexpr int kLimit = 4;
  void (*vkCreateDevice)() = nullptr;
 private:
  static int made_;
  int next_byte_;
};
inline int decode_Q4_K(int block_count) {
  const int rows = block_count;
  static const int kTable = rows;
  return kTable;
}
}  // namespace load_line
"""


def complaints(code, configuration, folder):
    """Line number -> the name complained about there."""
    source = Path(folder, "names.cpp")
    source.write_text(code)
    run = subprocess.run(
        ["clang-tidy-19", "--quiet", f"--config-file={configuration}", str(source), "--", "-std=c++23"],
        capture_output=True,
        text=True,
    )
    if "readability-identifier-naming" not in run.stdout and run.returncode != 0:
        sys.exit(f"clang-tidy failed otherwise: {run.stdout}{run.stderr}")
    found = {}
    for line, name in re.findall(r":(\d+):\d+: error: invalid case style for [^']*'([^']*)'", run.stdout):
        found.setdefault(int(line), []).append(name)
    return found


def main():
    if shutil.which("clang-tidy-19") is None:
        print("clang-tidy-19 is not installed (./dev setup): naming rules not tested")
        return 77
    configuration = sys.argv[1]
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        found = complaints("\n".join(code for code, _ in WRONG) + "\n", configuration, folder)
        for line, (code, name) in enumerate(WRONG, 1):
            if found.get(line) != [name]:
                problems.append(f"expected a complaint about {name} only, got {found.get(line)}: {code}")
        for line, names in complaints(RIGHT, configuration, folder).items():
            problems.append(f"right name refused: {names} in: {RIGHT.splitlines()[line - 1]}")
    print("\n".join(problems) or f"{len(WRONG)} wrong names refused, right ones accepted")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
