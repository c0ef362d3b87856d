// What matvec.comp and matmul.comp share: their arguments, which weight rows a tile has, and what becomes of a sum.
// ProductArguments in arguments.h is the same structure.
#include "activation.glsl"

layout(push_constant, std430) uniform ProductArguments {
  uint64_t weights;  // [rows][columns], as in the file
  uint64_t second;   // of a gated product: the matrix that is not activated
  uint64_t x;        // [..][columns] floats
  uint64_t norm;     // [columns] floats, or 0: x is normalised first (matvec only)
  uint64_t bias;     // [rows] floats, or 0
  uint64_t result;   // [..][result_stride] floats
  uint64_t table;    // the pass
  uint columns;
  uint row_bytes;
  uint first_row;    // this dispatch computes rows [first_row, end_row)
  uint end_row;
  uint result_stride;
  uint flags;
  float epsilon;
  uint first_token;  // this dispatch computes rows of x from here on (matmul only)
  uint64_t codebooks;
  uint64_t scale;    // a float, or 0: of the products
} arguments;

uint64_t codebooks() { return arguments.codebooks; }

const uint kAccumulate = 1u;    // add to what is there
const uint kGated = 2u;         // function(weights . x) * (second . x)
const uint kActivatePrior = 4u; // function(what is there) * (weights . x): a gated product in two
const uint kSelected = 8u;      // rows are the outputs of the pass, not its tokens

// Above these, the function.
float gated(float gate, float up) { return activated_gate(arguments.flags >> 8, gate, up); }

bool flag(uint bit) { return (arguments.flags & bit) != 0u; }

// A tile of `size` weight rows: of a gated product, the first half are rows of `weights`, the second half the same rows
// of `second`. Rows past the end repeat the last one; they are not stored.
uint tile_row(uint tile, uint size, uint local) {
  const uint rows = flag(kGated) ? size / 2u : size;
  return arguments.first_row + tile * rows + local % rows;
}

uint64_t row_address(uint tile, uint size, uint local) {
  const uint64_t matrix = flag(kGated) && local >= size / 2u ? arguments.second : arguments.weights;
  return matrix + uint64_t(min(tile_row(tile, size, local), arguments.end_row - 1u)) * arguments.row_bytes;
}

void store_result(uint row, uint token, float sum) {
  const uint at = token * arguments.result_stride + row;
  if (arguments.scale != 0ul) sum *= Floats(arguments.scale).v[0];
  if (arguments.bias != 0ul) sum += Floats(arguments.bias).v[row];
  if (flag(kAccumulate)) sum += Floats(arguments.result).v[at];
  if (flag(kActivatePrior)) sum = gated(Floats(arguments.result).v[at], sum);
  Floats(arguments.result).v[at] = sum;
}
