// What matvec.comp and matmul.comp share: their arguments, which rows a tile has, and what becomes of a sum.
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
  uint first_token;  // this dispatch computes rows of x from here on (matmul only); of experts, tiles of them
  uint64_t codebooks;
  uint64_t scale;    // a float, or 0: of the products; of experts one for each
  // Of experts (kGrouped):
  uint64_t groups;        // group_experts.comp
  uint64_t expert_bytes;  // from one expert's matrix to the next
  uint used;              // experts of a token
  uint bias_stride;       // floats from one expert's bias to the next
} arguments;

// The matrices are experts', each multiplied by those tokens that go to it; a tile of tokens is one expert's. Results are a
// row for each pair of a token and its expert, and so is x where flag kOut says so.
layout(constant_id = 5) const bool kGrouped = false;

uint64_t codebooks() { return arguments.codebooks; }

const uint kAccumulate = 1u;    // add to what is there
const uint kGated = 2u;         // function(weights . x) * (second . x)
const uint kActivatePrior = 4u; // function(what is there) * (weights . x): a gated product in two
const uint kSelected = 8u;      // rows are the outputs of the pass, not its tokens
const uint kOut = 16u;          // x has a row for each pair
const uint kActivate = 32u;     // function(weights . x)
const uint kWeightBefore = 64u; // times the weight of the pair

// Above these, the function.
float gated(float gate, float up) { return activated_gate(arguments.flags >> 8, gate, up); }

bool flag(uint bit) { return (arguments.flags & bit) != 0u; }

uint tile_expert = 0u;  // set by tile_tokens

// The rows of activations of a tile of `size`: the first, and the end of all that there are. Of experts they are places in
// the order of group_experts.comp.
uvec2 tile_tokens(uint size) {
  if (!kGrouped) {
    return uvec2(arguments.first_token + gl_WorkGroupID.y * size, pass_rows(arguments.table, flag(kSelected)));
  }
  Words groups = Words(arguments.groups);
  const uint tile = arguments.first_token + gl_WorkGroupID.y;
  if (tile >= groups.v[0]) return uvec2(0u);
  tile_expert = groups.v[4u + 3u * tile];
  const uint first = groups.v[5u + 3u * tile];
  return uvec2(first, first + groups.v[6u + 3u * tile]);
}

// The pair at a place, and its weight.
uint pair_at(uint place) { return Words(arguments.groups).v[Words(arguments.groups).v[1] + 2u * place]; }
float weight_at(uint place) { return Floats(arguments.groups).v[Words(arguments.groups).v[1] + 2u * place + 1u]; }

uint64_t activations_of(uint token) {
  uint row = token;
  if (kGrouped) {
    row = pair_at(token);
    if (!flag(kOut)) row /= arguments.used;
  }
  return arguments.x + uint64_t(row) * arguments.columns * 4u;
}

// A tile of `size` weight rows: of a gated product, the first half are rows of `weights`, the second half the same rows
// of `second`. Rows past the end repeat the last one; they are not stored.
uint tile_row(uint tile, uint size, uint local) {
  const uint rows = flag(kGated) ? size / 2u : size;
  return arguments.first_row + tile * rows + local % rows;
}

uint64_t row_address(uint tile, uint size, uint local) {
  uint64_t matrix = flag(kGated) && local >= size / 2u ? arguments.second : arguments.weights;
  if (kGrouped) matrix += tile_expert * arguments.expert_bytes;
  return matrix + uint64_t(min(tile_row(tile, size, local), arguments.end_row - 1u)) * arguments.row_bytes;
}

void store_result(uint row, uint token, float sum) {
  const uint at = (kGrouped ? pair_at(token) : token) * arguments.result_stride + row;
  if (arguments.scale != 0ul) sum *= Floats(arguments.scale).v[tile_expert];
  if (kGrouped && flag(kWeightBefore)) sum *= weight_at(token);
  if (arguments.bias != 0ul) sum += Floats(arguments.bias).v[tile_expert * arguments.bias_stride + row];
  if (flag(kAccumulate)) sum += Floats(arguments.result).v[at];
  if (flag(kActivatePrior)) sum = gated(Floats(arguments.result).v[at], sum);
  if (kGrouped && flag(kActivate)) sum = activated(arguments.flags >> 8, sum);
  Floats(arguments.result).v[at] = sum;
}
