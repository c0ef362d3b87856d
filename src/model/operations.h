// The operations that layer programs are made of: what each reads, writes and computes, attribute by attribute.
// Descriptions only: nothing here owns memory, computes, or knows a backend.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace loadline::model {

// Intermediate values, see Value in program.h.
using ValueId = std::uint32_t;

// Index into gguf::Model::tensors; kNoTensor where an operation has none (a bias that is not there).
using TensorIndex = std::int32_t;
inline constexpr TensorIndex kNoTensor = -1;

// Index into Program::caches and Program::ropes.
using CacheIndex = std::uint32_t;
using RopeIndex = std::uint32_t;

enum class Activation : std::uint8_t {
  None,
  Silu,           // x sigmoid(x)
  Gelu,           // the tanh approximation: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
  ReluSquared,    // max(x, 0)^2
  Sigmoid,        // 1 / (1 + exp(-x))
  XIelu,          // see ops::Activate
  ClampedSwiglu,  // of a gate g and an up u together: g' = min(g, 7), u' = clamp(u, -7, 7): g' sigmoid(1.702 g') (u' +
                  // 1)
};
std::string_view name_of(Activation activation);

namespace ops {

// Some rows of a matrix, which multiply an input: y[r] = scale * (row[first_row + r] . x) + bias[first_row + r].
struct LinearPart {
  TensorIndex tensor = kNoTensor;
  std::uint64_t first_row = 0;
  std::uint64_t rows = 0;
  TensorIndex bias = kNoTensor;   // float32, as long as the tensor has rows
  TensorIndex scale = kNoTensor;  // one float32
  bool whole = true;              // all rows of the tensor
};

// outputs[0] = rows of `table` at the batch's token ids, or at the tokens' positions; added to it with `add`.
struct Embed {
  TensorIndex table = kNoTensor;
  bool by_position = false;
  bool add = false;
};

enum class NormKind : std::uint8_t {
  Rms,    // x / sqrt(mean(x^2) + epsilon)
  Layer,  // (x - mean) / sqrt(variance + epsilon)
};
// outputs[0] = norm(inputs[0]) * weight (+ bias), of `parts` runs of `part` values each (heads, groups; one run: the
// row), the first at `offset`. What is outside of them stays, so that with an offset inputs[0] is outputs[0].
struct Norm {
  NormKind kind = NormKind::Rms;
  float epsilon = 0;
  std::uint32_t part = 0;  // values normalised together
  std::uint32_t parts = 1;
  std::uint32_t offset = 0;
  TensorIndex weight = kNoTensor;
  TensorIndex bias = kNoTensor;
  bool weight_per_part = false;  // weight and bias have part * parts values, else `part`, the same for all
};

// outputs[i] = parts[i] * inputs[0]; added to it with `add`. One input, several matrices.
struct Linear {
  std::vector<LinearPart> parts;
  bool add = false;
};

// outputs[0] = activation(parts[0] * inputs[0]) * (parts[1] * inputs[0]): gate, then up.
struct GatedLinear {
  std::array<LinearPart, 2> parts;
  Activation activation = Activation::Silu;
};

// A matrix for each head: inputs[0] is [heads][columns + copied], outputs[0] [heads][rows + copied]; the first values
// of a head are multiplied, the last `copied` taken as they are. The head's matrix is the `rows` rows (with
// `transposed`: the `columns` rows, read as columns) of the tensor from first_row + head * head_rows on.
struct HeadLinear {
  TensorIndex tensor = kNoTensor;
  std::uint32_t heads = 0;
  std::uint32_t columns = 0;
  std::uint32_t rows = 0;
  std::uint32_t copied = 0;
  std::uint64_t first_row = 0;
  std::uint64_t head_rows = 0;
  bool transposed = false;
};

// Rotates, in place, in each head of `head_dim` values of every input, the rope table's dimensions from `offset` on.
struct Rope {
  RopeIndex table = 0;
  std::uint32_t head_dim = 0;
  std::uint32_t offset = 0;
};

// Queries at position p are multiplied by 1 + scale ln(floor((p + ahead) / length) + 1).
struct Temperature {
  float scale = 0;  // 0: not at all
  std::uint32_t length = 1;
  std::uint32_t ahead = 0;
};

// Stores k and v in a cache, then outputs[0] = attention over it: softmax(mask(cap(scale * temperature * q . k)) +
// bias) v. Query head h uses KV head h / (heads / kv_heads). Inputs: q, k, v; q, k where the values are in the keys; q
// alone where an earlier layer stored them.
struct Attention {
  CacheIndex cache = 0;
  std::uint32_t heads = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t head_dim_k = 0;
  std::uint32_t head_dim_v = 0;
  float scale = 1;
  float softcap = 0;         // c tanh(score / c); 0: none
  std::uint32_t window = 0;  // position p sees j where p - j < window; 0: all
  std::uint32_t chunk = 0;   // position p sees j from chunk * floor(p / chunk) on; 0: all
  Temperature temperature;
  TensorIndex sinks = kNoTensor;  // [heads] float32: one more logit, whose probability is dropped
  float alibi = 0;                // the largest slope's exponent, see alibi_slope; 0: none
  bool values_in_keys = false;    // a value is the first head_dim_v of its key
  bool stores = true;             // else the cache is an earlier layer's, which this one only reads
};
// What ALiBi takes off a score for each position of distance (arXiv:2108.12409).
float alibi_slope(float max_bias, std::uint32_t heads, std::uint32_t head);

enum class Gating : std::uint8_t {
  Softmax,          // probabilities: softmax over all logits
  Sigmoid,          // sigmoid of each logit
  SoftmaxOfChosen,  // chosen by the logits, weights: softmax over those chosen
  SigmoidOfChosen,  // chosen by the logits, weights: sigmoid of those chosen
  SqrtSoftplus,     // sqrt(ln(1 + exp(logit)))
};
std::string_view name_of(Gating gating);
// outputs[0] = the experts that each token goes to, from inputs[0], a logit for each expert: `used` pairs of an int32
// (the expert) and a float32 (its weight). The largest probabilities are chosen, after adding choice_bias, which the
// weights do not have. With groups: the score of a group is the sum of its two largest; only groups_used of them stay.
struct Route {
  std::uint32_t experts = 0;
  std::uint32_t used = 0;
  Gating gating = Gating::Softmax;
  TensorIndex choice_bias = kNoTensor;  // [experts] float32
  std::uint32_t groups = 1;
  std::uint32_t groups_used = 1;
  bool normalize = false;  // weights divided by max(their sum, 6.1035e-5)
  float scale = 1;         // of the weights, after that
};

// A matrix for each expert, one after the other in a tensor [columns, rows of the tensor, experts].
struct ExpertPart {
  TensorIndex tensor = kNoTensor;
  std::uint64_t first_row = 0;  // of each expert
  std::uint64_t rows = 0;
  TensorIndex bias = kNoTensor;   // [rows of the tensor, experts] float32
  TensorIndex scale = kNoTensor;  // [experts] float32, multiplies the product
  bool whole = true;
};
// outputs[0] = sum over the experts e of inputs[1] (see Route) of weight * down_e(activation(gate_e x) * up_e x), x =
// inputs[0]. Without a gate: activation(up_e x). weights_before: the weight multiplies x instead of the result.
struct Experts {
  std::uint32_t experts = 0;
  std::uint32_t used = 0;
  ExpertPart gate;  // no tensor: ungated
  ExpertPart up;
  ExpertPart down;
  Activation activation = Activation::Silu;
  bool weights_before = false;
};

// outputs[0][c] = activation(sum over t < taps of weight[c][t] * x[c] at (position - taps + 1 + t) + bias[c]); before
// the first position lie zeros. `cache` keeps the last taps - 1 rows.
struct Convolution {
  CacheIndex cache = 0;
  std::uint32_t taps = 0;
  TensorIndex weight = kNoTensor;  // [taps, width] float32
  TensorIndex bias = kNoTensor;    // [width] float32
  Activation activation = Activation::None;
};

// The gated delta rule (arXiv:2412.06464), token by token. inputs[0]: q [key_heads][size], k [key_heads][size], v
// [value_heads][size]; inputs[1], inputs[2]: b and a, one for each value head. With q and k divided by max(their
// length, epsilon), q also by sqrt(size), beta = sigmoid(b), g = softplus(a + dt_bias) * decay, and the state M
// [size of k][size of v] of each value head: M *= exp(g); M += k^T (beta (v - k M)); outputs[0] = q M.
struct DeltaNet {
  CacheIndex cache = 0;
  std::uint32_t key_heads = 0;
  std::uint32_t value_heads = 0;
  std::uint32_t size = 0;
  float epsilon = 0;
  bool tiled = false;               // value head j uses key head j mod key_heads, else j / (value_heads / key_heads)
  TensorIndex dt_bias = kNoTensor;  // [value_heads] float32
  TensorIndex decay = kNoTensor;    // [value_heads] float32, negative
};

// The scan of Mamba 2 (arXiv:2405.21060), token by token. inputs[0]: x [heads][inner / heads], B [groups][state], C
// [groups][state]; inputs[1]: dt [heads]. With dt = softplus(dt + dt_bias) and the state S [inner / heads][state] of
// each head, whose group is head / (heads / groups): S = S exp(dt a) + (dt x) B^T; outputs[0] = S C + d x.
struct StateSpace {
  CacheIndex cache = 0;
  std::uint32_t inner = 0;
  std::uint32_t state = 0;
  std::uint32_t heads = 0;
  std::uint32_t groups = 0;
  TensorIndex dt_bias = kNoTensor;  // [heads] float32, like the two below
  TensorIndex a = kNoTensor;
  TensorIndex d = kNoTensor;
};

// inputs[0] is [repeats][sum of widths]; outputs[i] = its [repeats][widths[i]].
struct Split {
  std::uint32_t repeats = 1;
  std::vector<std::uint32_t> widths;
};

// outputs[0] = activation(inputs[0]). XIelu (arXiv:2411.13010), with ap = softplus(alpha_p) and an = beta +
// softplus(alpha_n) already taken: x > 0: ap x^2 + beta x, else (expm1(min(x, epsilon)) - x) an + beta x.
struct Activate {
  Activation activation = Activation::None;
  float alpha_p = 0;
  float alpha_n = 0;
  float beta = 0;
  float epsilon = 0;
};

// outputs[0] = inputs[0] + factor * inputs[1].
struct Add {
  float factor = 1;
};

// outputs[0] = inputs[0] * activation(inputs[1]); an inputs[1] of one value multiplies the whole row.
struct Multiply {
  Activation activation = Activation::None;
};

// outputs[0] = factor * inputs[0] (* the tensor's one float32).
struct Scale {
  float factor = 1;
  TensorIndex tensor = kNoTensor;
};

// outputs[0] = inputs[0], no further from 0 than `limit`.
struct Clamp {
  float limit = 0;
};

// outputs[0] = cap * tanh(inputs[0] / cap).
struct SoftCap {
  float cap = 0;
};

// The inputs, in place: only the rows that the batch wants logits for are kept; later operations see only those.
struct SelectOutputs {};

}  // namespace ops

// In the order of OpAttributes.
enum class OpKind : std::uint8_t {
  Embed,
  Norm,
  Linear,
  GatedLinear,
  HeadLinear,
  Rope,
  Attention,
  Route,
  Experts,
  Convolution,
  DeltaNet,
  StateSpace,
  Split,
  Activate,
  Add,
  Multiply,
  Scale,
  Clamp,
  SoftCap,
  SelectOutputs,
};
inline constexpr std::size_t kOpKinds = 20;
std::string_view name_of(OpKind kind);  // "state_space"

using OpAttributes =
    std::variant<ops::Embed, ops::Norm, ops::Linear, ops::GatedLinear, ops::HeadLinear, ops::Rope, ops::Attention,
                 ops::Route, ops::Experts, ops::Convolution, ops::DeltaNet, ops::StateSpace, ops::Split, ops::Activate,
                 ops::Add, ops::Multiply, ops::Scale, ops::Clamp, ops::SoftCap, ops::SelectOutputs>;
static_assert(std::variant_size_v<OpAttributes> == kOpKinds);

// How an operation reads a tensor.
enum class TensorRole : std::uint8_t {
  Table,    // some of its rows
  Matrix,   // its rows multiply an input
  Experts,  // a matrix for each expert, of which a token needs a few
  Vector,   // float32, element by element
};
struct TensorUse {
  TensorIndex tensor;
  TensorRole role;
};

// One operation. Its attributes do not change once it is made.
class Op {
 public:
  Op(OpAttributes attributes, std::vector<ValueId> inputs, std::vector<ValueId> outputs);

  OpKind kind;
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
  std::vector<TensorUse> tensors;  // every tensor that the attributes name, in their order
  bool after_select = false;       // rows are outputs

  [[nodiscard]] const OpAttributes& attributes() const { return attributes_; }
  template <class Kind>
  [[nodiscard]] const Kind& as() const {
    return std::get<Kind>(attributes_);
  }
  // The matrices of a Linear or GatedLinear, in order; empty for the others.
  [[nodiscard]] std::span<const ops::LinearPart> parts() const;
  // By name, what of the attributes is used, that is, not as it is in the plainest operation of the kind: "bias",
  // "softcap". What a backend does not know of these it must refuse (support.h).
  [[nodiscard]] std::vector<std::string_view> used_attributes() const;
  // Whether tokens see earlier tokens through it: attention, convolution and the recurrences.
  [[nodiscard]] bool mixes_tokens() const;

 private:
  OpAttributes attributes_;
};

}  // namespace loadline::model
