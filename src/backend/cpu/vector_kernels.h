// The CPU's kernels beside products and attention: norms, activations, the choice of experts, recurrent layers. One
// table per instruction set, reached through KernelTable::vectors. Like those they compute and nothing else; none looks
// at a stop flag, since each call is short.
#pragma once

#include <cstdint>

namespace loadline::cpu {

enum class NormKind : std::uint8_t {
  Rms,    // x / sqrt(mean(x^2) + epsilon)
  Layer,  // (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon)
  L2,     // x / max(sqrt(sum(x^2)), epsilon)
};

struct Norm {
  NormKind kind = NormKind::Rms;
  float epsilon = 0;
  const float* weight = nullptr;  // [columns], or null for 1
  const float* bias = nullptr;    // [columns], or null for 0
};

enum class ActivationFunction : std::uint8_t {
  Identity,
  Silu,       // x sigmoid(x)
  Gelu,       // x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
  Relu2,      // max(x, 0)^2
  Sigmoid,    // 1 / (1 + exp(-x))
  Softplus,   // ln(1 + exp(x))
  Softcap,    // a tanh(x / a)
  Xielu,      // x > 0: a x^2 + c x, else (exp(min(x, d)) - 1 - x) b + c x
  SwigluOai,  // gated alone: with g = min(gate, b), u = clamp(up, -b, b): g sigmoid(a g) (u + 1)
};
struct Activation {
  ActivationFunction function = ActivationFunction::Identity;
  float a = 0, b = 0, c = 0, d = 0;  // as above
};

// How a token's experts are chosen from the router's logits.
struct Routing {
  enum class Gating : std::uint8_t {
    Softmax,          // probabilities: softmax over all logits
    Sigmoid,          // sigmoid of each
    SoftmaxOfChosen,  // the logits decide; weights are the softmax over those chosen
    SqrtSoftplus,     // sqrt(ln(1 + exp(logit)))
    SigmoidOfChosen,  // the logits decide; weights are the sigmoid of each (llama4)
  };
  Gating gating = Gating::Softmax;
  std::uint32_t experts = 0;           // at most kMaxExperts
  std::uint32_t used = 0;              // chosen for each token, at most `experts`
  std::uint32_t groups = 1;            // divides `experts`
  std::uint32_t groups_used = 1;       // of the groups, by the sum of their two best
  bool normalise = false;              // weights are divided by their sum, or by kLeastWeightSum where that is less
  float scale = 1;                     // of the weights, after that
  const float* choice_bias = nullptr;  // [experts], added to choose by, not to the weights; or null
};
constexpr std::uint32_t kMaxExperts = 1024;
constexpr float kLeastWeightSum = 6.1035e-5F;  // the smallest normal half, as everyone has it

// A causal convolution of each channel over the tokens of one sequence.
struct Convolution {
  const float* weight;  // [channels][taps], the last tap is the present token's
  const float* bias;    // [channels] or null
  std::uint32_t taps;   // at most kMaxTaps
  std::uint32_t channels;
  bool silu;  // of the result
};
constexpr std::uint32_t kMaxTaps = 8;

// One layer's gated delta net for one sequence (arXiv:2412.06464). For value head h with key head k(h), of each token:
//   M = M exp(decay), M += key^T (beta (value - key M)), out = query M
struct DeltaNet {
  std::uint32_t key_heads, value_heads;
  std::uint32_t head_dim;  // of keys and values
  bool tiled;              // k(h) = h mod key_heads, else floor(h / (value_heads / key_heads))
};
struct DeltaRows {
  const float *query, *key, *value;  // [tokens][...]: heads lie one after the other, normalised and scaled already
  std::uint64_t query_stride, key_stride, value_stride;  // floats from token to token
  const float* decay;                                    // [tokens][value_heads], the logarithm
  const float* beta;                                     // [tokens][value_heads]
  std::uint64_t gate_stride;                             // of both
  float* out;                                            // [tokens][value_heads * head_dim]
  std::uint64_t out_stride;
  float* state;  // [value_heads][head_dim of keys][head_dim of values], as the tokens before left it
  std::uint32_t tokens;
};

// One layer's Mamba-2 scan for one sequence (arXiv:2405.21060). For head h of group g(h) = floor(h / (heads / groups)):
//   S = S exp(dt A) + B (dt x)^T, y = C S + D x
struct Mamba2 {
  std::uint32_t heads, head_dim, groups, state_dim;
  const float* a;  // [heads]
  const float* d;  // [heads]
};
struct MambaRows {
  const float *x, *b, *c;  // [tokens][heads * head_dim], [tokens][groups * state_dim] twice
  std::uint64_t stride;    // of these three
  const float* dt;         // [tokens][heads], after softplus
  std::uint64_t dt_stride;
  float* out;  // [tokens][heads * head_dim]
  std::uint64_t out_stride;
  float* state;  // [heads][state_dim][head_dim]
  std::uint32_t tokens;
};

struct VectorKernels {
  // One row of `columns`; of it columns [begin, end), begin a multiple of 16. `out` may be `x` where that is all.
  void (*norm)(const Norm& norm, const float* x, float* out, std::uint64_t columns, std::uint64_t begin,
               std::uint64_t end);
  // out[i] = f(x[i]), or with `up` f(x[i]) * up[i] (SwigluOai as it says). `out` may be either.
  void (*activate)(const Activation& activation, const float* x, const float* up, float* out, std::uint64_t count);
  // target[i] += factor * source[i]
  void (*add_scaled)(float* target, const float* source, float factor, std::uint64_t count);
  // x[i] *= factor
  void (*scale)(float* x, float factor, std::uint64_t count);
  // out[i] = a[i] * b[i]. `out` may be either.
  void (*multiply)(const float* a, const float* b, float* out, std::uint64_t count);
  // The experts of one token, the best first, and their weights; of equal ones those with lower numbers.
  void (*route)(const Routing& routing, const float* logits, std::uint32_t* chosen, float* weights);
  // `tokens` consecutive rows of one sequence, channels [begin, end), begin a multiple of 16. `state` [taps -
  // 1][channels] is what came before them, and is left as what comes before the next.
  void (*convolve)(const Convolution& convolution, const float* x, std::uint64_t stride, float* out,
                   std::uint64_t out_stride, std::uint32_t tokens, float* state, std::uint64_t begin,
                   std::uint64_t end);
  // Columns [begin, end) of a value head's values, begin a multiple of 16. (They do not depend on each other.)
  void (*delta_net)(const DeltaNet& net, const DeltaRows& rows, std::uint32_t value_head, std::uint32_t begin,
                    std::uint32_t end);
  // Columns [begin, end) of a head, likewise.
  void (*mamba2)(const Mamba2& scan, const MambaRows& rows, std::uint32_t head, std::uint32_t begin, std::uint32_t end);
};

}  // namespace loadline::cpu
