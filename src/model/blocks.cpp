// The builder's blocks: embedding, attention, feed-forward, experts, output.
#include <fmt/format.h>

#include <array>
#include <cmath>

#include "base/error.h"
#include "model/builder.h"

namespace loadline::model {

float ProgramBuilder::epsilon() {
  return norm_kind_ == ops::NormKind::Rms ? needed(config().rms_epsilon, "attention.layer_norm_rms_epsilon")
                                          : needed(config().layer_epsilon, "attention.layer_norm_epsilon");
}

void ProgramBuilder::norm(ValueId in, ValueId to, std::string_view tensor) { norm_parts(in, to, tensor, 1); }

void ProgramBuilder::norm_parts(ValueId in, ValueId to, std::string_view tensor, std::uint32_t parts,
                                bool weight_per_part) {
  const std::uint32_t part = width(in) / parts;
  ops::Norm op{.kind = norm_kind_, .epsilon = epsilon(), .part = part, .parts = parts};
  op.weight_per_part = weight_per_part && parts > 1;
  const std::string weight = fmt::format("{}.weight", tensor);
  op.weight = weight_per_part ? require_floats(weight, {part, parts}) : require_floats(weight, {part});
  if (norm_kind_ == ops::NormKind::Layer && !weight_per_part) {
    op.bias = find_floats(fmt::format("{}.bias", tensor), {part});
  }
  append(op, {in}, {to});
}

ValueId ProgramBuilder::linear(ValueId in, std::string_view tensor, std::uint32_t rows, std::string_view value_name) {
  const ValueId out = value(value_name, rows);
  append(ops::Linear{{matrix(tensor, width(in), rows)}}, {in}, {out});
  return out;
}

void ProgramBuilder::add_branch(ValueId in, std::string_view tensor, const BranchStyle& style) {
  const std::uint32_t rows = config().embedding;
  if (style.post_norm.empty() && style.factor == 1) {
    append(ops::Linear{{matrix(tensor, width(in), rows)}, true}, {in}, {kHidden});
    return;
  }
  add_result(linear(in, tensor, rows, "branch"), style);
}

void ProgramBuilder::add_result(ValueId in, const BranchStyle& style) {
  if (!style.post_norm.empty()) norm(in, in, name(style.post_norm));
  append(ops::Add{style.factor}, {kHidden, in}, {kHidden});
}

void ProgramBuilder::embedding(float factor) {
  const ModelConfig& c = config();
  begin(GroupKind::Embedding);
  append(ops::Embed{.table = require("token_embd.weight", {c.embedding, c.vocabulary})}, {}, {kHidden});
  if (factor != 1) append(ops::Scale{factor}, {kHidden}, {kHidden});
}

ProgramBuilder::Heads ProgramBuilder::project(ValueId in, const LayerConfig& own, const AttentionStyle& style) {
  const ModelConfig& c = config();
  const std::uint32_t dim_k = style.head_dim != 0 ? style.head_dim : c.head_dim_k;
  const std::uint32_t dim_v = style.head_dim != 0 ? style.head_dim : c.head_dim_v;
  const std::uint32_t q_width = own.heads * dim_k;
  const std::uint32_t k_width = own.kv_heads * dim_k;
  const std::uint32_t v_width = own.kv_heads * dim_v;
  const Heads heads{value("q", q_width), value("k", k_width), value("v", v_width)};
  const std::string fused = name("attn_qkv");
  if (style.gated) {
    const ValueId both = linear(in, name("attn_q"), 2 * q_width, "q and gate");
    append(ops::Linear{{matrix(name("attn_k"), c.embedding, k_width), matrix(name("attn_v"), c.embedding, v_width)}},
           {in}, {heads.k, heads.v});
    append(ops::Split{own.heads, {dim_k, dim_k}}, {both}, {heads.q, value("gate of q", q_width)});
  } else if (has(fused + ".weight")) {
    const std::uint64_t all = q_width + k_width + v_width;
    append(
        ops::Linear{{rows_of(fused, c.embedding, 0, q_width, all), rows_of(fused, c.embedding, q_width, k_width, all),
                     rows_of(fused, c.embedding, q_width + k_width, v_width, all)}},
        {in}, {heads.q, heads.k, heads.v});
  } else {
    append(ops::Linear{{matrix(name("attn_q"), c.embedding, q_width, style.needs_biases),
                        matrix(name("attn_k"), c.embedding, k_width, style.needs_biases),
                        matrix(name("attn_v"), c.embedding, v_width, style.needs_biases)}},
           {in}, {heads.q, heads.k, heads.v});
  }
  if (style.clamp != 0) {
    for (const ValueId each : {heads.q, heads.k, heads.v}) append(ops::Clamp{style.clamp}, {each}, {each});
  }
  return heads;
}

void ProgramBuilder::normalize_heads(const Heads& heads, const LayerConfig& own, const AttentionStyle& style) {
  const std::array<std::pair<ValueId, std::uint32_t>, 2> both = {{{heads.q, own.heads}, {heads.k, own.kv_heads}}};
  const std::array<std::string, 2> names = {name("attn_q_norm"), name("attn_k_norm")};
  const bool there = has(names[0] + ".weight");
  for (std::size_t i = 0; i < 2; ++i) {
    const auto& [value, count] = both[i];
    switch (style.head_norm) {
      case HeadNorm::None: break;
      case HeadNorm::EachIfThere:
        if (there) norm_parts(value, value, names[i], count);
        break;
      case HeadNorm::Each: norm_parts(value, value, names[i], count); break;
      case HeadNorm::OwnIfThere:
        if (there) norm_parts(value, value, names[i], count, true);
        break;
      case HeadNorm::Own: norm_parts(value, value, names[i], count, true); break;
      case HeadNorm::Rows: norm(value, value, names[i]); break;
      case HeadNorm::Unweighted:
        append(ops::Norm{.epsilon = epsilon(), .part = width(value) / count, .parts = count}, {value}, {value});
        break;
    }
  }
}

void ProgramBuilder::attention(std::uint32_t layer, const AttentionStyle& style) {
  begin(GroupKind::Attention, layer);
  const ModelConfig& c = config();
  const LayerConfig& own = this->layer(layer);
  needed(own.heads, "attention.head_count");
  ValueId in = kHidden;
  if (!style.norm.empty()) {
    in =
        style.parallel == Parallel::Same ? carried_value("normed for both", c.embedding) : value("normed", c.embedding);
    norm(kHidden, in, name(style.norm));
  }
  parallel_input_ = kHidden;
  if (style.parallel == Parallel::Same) parallel_input_ = in;
  if (style.parallel == Parallel::OwnNorm) {
    parallel_input_ = carried_value("normed for the feed-forward", c.embedding);
    norm(kHidden, parallel_input_, name(style.parallel_norm));
  }
  const Heads heads = project(in, own, style);
  ops::Attention op;
  op.heads = own.heads;
  op.kv_heads = own.kv_heads;
  op.head_dim_k = width(heads.q) / own.heads;
  op.head_dim_v = width(heads.v) / own.kv_heads;
  op.scale = style.scale != 0 ? style.scale : 1.0F / std::sqrt(static_cast<float>(op.head_dim_k));
  op.softcap = style.softcap;
  op.window = style.window;
  op.chunk = style.chunk;
  op.temperature = style.temperature;
  op.alibi = style.alibi;
  if (style.sinks) op.sinks = require_floats(name("attn_sinks.weight"), {own.heads});
  if (!style.norm_after_rope) normalize_heads(heads, own, style);
  if (style.rope) append(ops::Rope{*style.rope, op.head_dim_k}, {heads.q, heads.k}, {heads.q, heads.k});
  if (style.norm_after_rope) normalize_heads(heads, own, style);
  const std::uint32_t seen = op.window != 0 ? op.window : op.chunk;
  op.cache = cache({.kind = seen != 0 ? CacheKind::Window : CacheKind::Full,
                    .kv_heads = op.kv_heads,
                    .head_dim_k = op.head_dim_k,
                    .head_dim_v = op.head_dim_v,
                    .window = seen});
  const ValueId mixed = value("attention", op.heads * op.head_dim_v);
  append(op, {heads.q, heads.k, heads.v}, {mixed});
  if (style.gated) {
    append(ops::Multiply{Activation::Sigmoid}, {mixed, value("gate of q", width(heads.q))}, {mixed});
  }
  add_branch(mixed, name("attn_output"), style.branch);
}

void ProgramBuilder::latent_attention(std::uint32_t layer, const LatentStyle& style) {
  begin(GroupKind::Attention, layer);
  const ModelConfig& c = config();
  const std::uint32_t heads = needed(this->layer(layer).heads, "attention.head_count");
  const std::uint32_t plain = style.head_dim - style.rotated;  // of a query, the values that are not rotated
  const std::uint32_t row = style.rank + style.rotated;
  const ValueId normed = value("normed", c.embedding);
  norm(kHidden, normed, name("attn_norm"));
  ValueId q = normed;
  if (style.query_rank > 0) {
    q = linear(normed, name("attn_q_a"), style.query_rank, "compressed q");
    norm(q, q, name("attn_q_a_norm"));
    q = linear(q, name("attn_q_b"), heads * style.head_dim, "q");
  } else {
    q = linear(normed, name("attn_q"), heads * style.head_dim, "q");
  }
  const ValueId kv = linear(normed, name("attn_kv_a_mqa"), row, "compressed kv");
  append(ops::Norm{.kind = norm_kind_,
                   .epsilon = epsilon(),
                   .part = style.rank,
                   .weight = require_floats(name("attn_kv_a_norm.weight"), {style.rank})},
         {kv}, {kv});
  if (style.rope) {
    append(ops::Rope{*style.rope, style.head_dim, plain}, {q}, {q});
    append(ops::Rope{*style.rope, row, style.rank}, {kv}, {kv});
  }
  // The key's matrix is multiplied with the query, so that the compressed rows serve as keys, and as values.
  const bool joint = has(name("attn_kv_b.weight"));
  ops::HeadLinear to_keys{.heads = heads, .columns = plain, .rows = style.rank, .copied = style.rotated};
  ops::HeadLinear from_values{.heads = heads, .columns = style.rank, .rows = style.value_dim};
  if (joint) {
    to_keys.tensor = require(name("attn_kv_b.weight"), {style.rank, std::uint64_t{heads} * (plain + style.value_dim)});
    to_keys.head_rows = plain + style.value_dim;
    to_keys.transposed = true;
    from_values.tensor = to_keys.tensor;
    from_values.head_rows = to_keys.head_rows;
    from_values.first_row = plain;
  } else {
    to_keys.tensor = require(name("attn_k_b.weight"), {plain, style.rank, heads});
    to_keys.head_rows = style.rank;
    from_values.tensor = require(name("attn_v_b.weight"), {style.rank, style.value_dim, heads});
    from_values.head_rows = style.value_dim;
  }
  const ValueId wide = value("q for the compressed rows", heads * row);
  const ValueId mixed = value("compressed attention", heads * style.rank);
  const ValueId result = value("attention", heads * style.value_dim);
  append(to_keys, {q}, {wide});
  ops::Attention op;
  op.heads = heads;
  op.kv_heads = 1;
  op.head_dim_k = row;
  op.head_dim_v = style.rank;
  op.scale = style.scale;
  op.temperature = style.temperature;
  op.values_in_keys = true;
  op.cache = cache({.kind = CacheKind::Latent, .kv_heads = 1, .head_dim_k = row});
  append(op, {wide, kv}, {mixed});
  append(from_values, {mixed}, {result});
  add_branch(result, name("attn_output"), style.branch);
}

ValueId ProgramBuilder::feed_forward_input(const FeedForwardStyle& style) {
  if (parallel_input_ != kHidden) return std::exchange(parallel_input_, kHidden);
  if (style.norm.empty()) return kHidden;
  const ValueId normed = value("normed", config().embedding);
  norm(kHidden, normed, name(style.norm));
  return normed;
}

ValueId ProgramBuilder::gated_values(ValueId in, const FeedForwardStyle& style, std::string_view gate,
                                     std::string_view up, std::uint32_t rows) {
  const ValueId out = value("gated", rows);
  const std::uint32_t columns = width(in);
  if (!style.gated) {
    append(ops::Linear{{matrix(up, columns, rows)}}, {in}, {out});
    append(ops::Activate{style.activation, style.alpha_p, style.alpha_n, style.beta, style.epsilon}, {out}, {out});
  } else if (style.fused) {
    append(ops::GatedLinear{{rows_of(up, columns, 0, rows, 2 * rows), rows_of(up, columns, rows, rows, 2 * rows)},
                            style.activation},
           {in}, {out});
  } else {
    append(ops::GatedLinear{{matrix(gate, columns, rows), matrix(up, columns, rows)}, style.activation}, {in}, {out});
  }
  return out;
}

void ProgramBuilder::feed_forward(std::uint32_t layer, const FeedForwardStyle& style) {
  begin(GroupKind::FeedForward, layer);
  const std::uint32_t rows = needed(this->layer(layer).feed_forward, "feed_forward_length");
  const ValueId in = feed_forward_input(style);
  add_branch(gated_values(in, style, name("ffn_gate"), name("ffn_up"), rows), name("ffn_down"), style.branch);
}

ValueId ProgramBuilder::route(ValueId in, const ExpertStyle& experts) {
  const ValueId logits = value("router", experts.experts);
  ops::LinearPart part;
  part.tensor = require(name("ffn_gate_inp.weight"), {width(in), experts.experts});
  part.rows = experts.experts;
  part.bias = experts.router_bias ? require_floats(name("ffn_gate_inp.bias"), {experts.experts})
                                  : find_floats(name("ffn_gate_inp.bias"), {experts.experts});
  append(ops::Linear{{part}}, {in}, {logits});
  ops::Route op;
  op.experts = experts.experts;
  op.used = experts.used;
  op.gating = experts.gating;
  op.groups = experts.groups;
  op.groups_used = experts.groups_used;
  op.normalize = experts.normalize;
  op.scale = experts.scale;
  if (experts.choice_bias != ExpertStyle::Bias::None) {
    op.choice_bias = experts.choice_bias == ExpertStyle::Bias::Needed
                         ? require_floats(name("exp_probs_b.bias"), {experts.experts})
                         : find_floats(name("exp_probs_b.bias"), {experts.experts});
  }
  const ValueId route = value("route", 2 * experts.used);
  append(op, {logits}, {route});
  return route;
}

ops::ExpertPart ProgramBuilder::expert_part(std::string_view tensor, std::uint64_t columns, std::uint64_t first,
                                            std::uint64_t rows, std::uint64_t all, const ExpertStyle& experts) {
  ops::ExpertPart part;
  part.tensor = require(fmt::format("{}.weight", tensor), {columns, all, experts.experts});
  part.first_row = first;
  part.rows = rows;
  part.whole = rows == all;
  const std::string bias = fmt::format("{}.bias", tensor);
  part.bias = experts.biases ? require_floats(bias, {all, experts.experts}) : find_floats(bias, {all, experts.experts});
  part.scale = find_floats(fmt::format("{}.scale", tensor), {experts.experts});
  return part;
}

ValueId ProgramBuilder::expert_values(ValueId in, ValueId route, const ExpertStyle& experts) {
  ops::Experts op;
  op.experts = experts.experts;
  op.used = experts.used;
  op.activation = experts.activation;
  op.weights_before = experts.weights_before;
  const std::uint32_t columns = width(in);
  const std::uint32_t rows = experts.width;
  const std::string fused = name("ffn_gate_up_exps");
  if (experts.gated && has(fused + ".weight")) {
    op.gate = expert_part(fused, columns, 0, rows, 2 * rows, experts);
    op.up = expert_part(fused, columns, rows, rows, 2 * rows, experts);
  } else {
    if (experts.gated) op.gate = expert_part(name("ffn_gate_exps"), columns, 0, rows, rows, experts);
    op.up = expert_part(name("ffn_up_exps"), columns, 0, rows, rows, experts);
  }
  op.down = expert_part(name("ffn_down_exps"), rows, 0, columns, columns, experts);
  const ValueId out = value("experts", columns);
  append(op, {in, route}, {out});
  return out;
}

void ProgramBuilder::expert_feed_forward(std::uint32_t layer, const FeedForwardStyle& style,
                                         const ExpertStyle& experts) {
  begin(GroupKind::FeedForward, layer);
  const ValueId in = feed_forward_input(style);
  const ValueId chosen = route(in, experts);
  ValueId result = kHidden;
  if (experts.latent > 0) {
    const ValueId compressed = linear(in, name("ffn_latent_down"), experts.latent, "compressed");
    result = linear(expert_values(compressed, chosen, experts), name("ffn_latent_up"), width(in), "experts");
  } else {
    result = expert_values(in, chosen, experts);
  }
  if (experts.shared > 0) {
    FeedForwardStyle shared = style;
    shared.activation = experts.activation;
    shared.gated = experts.gated;
    shared.fused = false;
    const ValueId inner = gated_values(in, shared, name("ffn_gate_shexp"), name("ffn_up_shexp"), experts.shared);
    if (experts.shared_gate) {
      const ValueId own = linear(inner, name("ffn_down_shexp"), width(in), "shared expert");
      const ValueId gate = value("gate of the shared expert", 1);
      ops::LinearPart part;
      part.tensor = require(name("ffn_gate_inp_shexp.weight"), {width(in)});
      part.rows = 1;
      append(ops::Linear{{part}}, {in}, {gate});
      append(ops::Multiply{Activation::Sigmoid}, {own, gate}, {own});
      append(ops::Add{}, {result, own}, {result});
    } else {
      append(ops::Linear{{matrix(name("ffn_down_shexp"), experts.shared, width(in))}, true}, {inner}, {result});
    }
  }
  add_result(result, style.branch);
}

void ProgramBuilder::output(const OutputStyle& style) {
  begin(GroupKind::Output);
  const ModelConfig& c = config();
  // Not the layers' "normed", which has a row for every token and is gone when the next is made.
  const ValueId normed = value("state", c.embedding);
  const ValueId logits = value("logits", c.vocabulary);
  program_.logits = logits;
  program_.normed = normed;
  program_.values[normed].outputs_only = true;
  program_.values[logits].outputs_only = true;
  norm(kHidden, normed, style.norm);
  if (style.state_factor != 1) append(ops::Scale{style.state_factor}, {normed}, {normed});
  using Matrix = OutputStyle::Matrix;
  program_.tied_embeddings =
      style.matrix == Matrix::Tied || (style.matrix == Matrix::OwnOrTied && !has("output.weight"));
  append(ops::Linear{{matrix(program_.tied_embeddings ? "token_embd" : "output", c.embedding, c.vocabulary)}}, {normed},
         {logits});
  if (style.factor != 1) append(ops::Scale{style.factor}, {logits}, {logits});
  if (style.softcap != 0) append(ops::SoftCap{style.softcap}, {logits}, {logits});
}

}  // namespace loadline::model
