// Every shader that reads weights, in every format, against what the format's blocks stand for.
#include <fmt/format.h>

#include <algorithm>

#include "backend/vulkan/units_check.h"
#include "quant/packed_codebooks.h"
#include "selftest/checks.h"
#include "selftest/workbench.h"

namespace loadline::selftest {
namespace {

using quant::TensorType;
using vulkan::Buffer;
using vulkan::CommandList;
using vulkan::Shader;

constexpr float kUntouched = -12345.0F;

// Columns of three blocks; those of formats without blocks do not fill what a lane reads.
std::uint32_t columns_of(TensorType type) {
  const std::uint32_t block = quant::format_of(type).block_elements;
  return block == 1 ? 111 : 3 * block;
}

std::string label(TensorType type, std::string_view what) { return fmt::format("{}, {}", quant::name_of(type), what); }

// One product of `tokens` tokens in a pass of up to `most`.
struct Pass {
  std::uint32_t tokens, most;
  std::string_view what;
};

// What every product has.
vulkan::ProductArguments product_arguments(const Matrix& m, const Buffer& weights, const Buffer& x, const Buffer& out,
                                           const Buffer& table) {
  vulkan::ProductArguments arguments;
  arguments.weights = weights.address();
  arguments.x = x.address();
  arguments.result = out.address();
  arguments.table = table.address();
  arguments.columns = m.columns;
  arguments.row_bytes = m.row_bytes;
  return arguments;
}

void check_product(Workbench& bench, TensorType type, const Pass& pass, Comparison& comparison) {
  Random random(pass.most);
  for (const bool gated : {false, true}) {
    const Matrix m(type, gated ? 45 : 70, columns_of(type), 1);
    const Matrix up(type, m.rows, m.columns, 2);
    const Floats x = random_floats(std::size_t{pass.tokens} * m.columns, random);
    const Floats bias = random_floats(m.rows, random);
    const std::uint32_t stride = m.rows + 3;
    const Buffer weights = bench.buffer(m.file);
    const Buffer second = bench.buffer(up.file);
    const Buffer x_buffer = bench.buffer(x);
    const Buffer bias_buffer = bench.buffer(bias);
    const Buffer out = bench.buffer(Floats(std::size_t{pass.tokens + 1} * stride, kUntouched));
    const Buffer table = bench.table(pass.tokens);
    vulkan::ProductArguments arguments = product_arguments(m, weights, x_buffer, out, table);
    arguments.end_row = m.rows;
    arguments.result_stride = stride;
    if (gated) {
      arguments.second = second.address();
      arguments.flags = vulkan::kGated | vulkan::function_flag(model::Activation::Silu);
    } else {
      arguments.bias = bias_buffer.address();
    }
    bench.run([&](CommandList& list) {
      bench.operations.product(list, type, arguments, pass.most, vulkan::Operations::Arithmetic::Plain);
    });
    const auto results = floats_of(out, std::size_t{pass.tokens + 1} * stride);
    for (std::uint32_t t = 0; t < pass.tokens; ++t) {
      const auto of_token = std::span(x).subspan(std::size_t{t} * m.columns, m.columns);
      for (std::uint32_t r = 0; r < m.rows; ++r) {
        const auto row_of = [&](const Matrix& matrix) {
          return std::span(matrix.values).subspan(std::size_t{r} * m.columns, m.columns);
        };
        Wanted wanted = product_of(row_of(m), of_token);
        if (gated) {
          const Wanted b = product_of(row_of(up), of_token);
          const double tolerance = std::fabs(wanted.value) * b.tolerance + std::fabs(b.value) * wanted.tolerance * 1.1;
          wanted = {wanted.value / (1 + std::exp(-wanted.value)) * b.value, tolerance + 1e-5};
        } else {
          wanted.value += bias[r];
          wanted.tolerance += 1e-6;
        }
        comparison.expect(results[std::size_t{t} * stride + r], wanted.value, wanted.tolerance, label(type, pass.what),
                          t, r);
      }
    }
    for (std::uint32_t r = 0; r < stride; ++r) {
      comparison.expect(results[std::size_t{pass.tokens} * stride + r], kUntouched, 0.5,
                        label(type, "past the last token"), pass.tokens, r);
    }
  }
}

void check_embedding(Workbench& bench, TensorType type, Comparison& comparison) {
  const Matrix m(type, 20, columns_of(type), 3);
  const std::vector<std::uint32_t> ids = {3, 19, 0, 3};
  const Buffer weights = bench.buffer(m.file);
  const Buffer id_buffer = bench.buffer(ids);
  const Buffer table = bench.table(4);
  const Buffer out = bench.buffer(Floats(std::size_t{4} * m.columns, 0.5F));
  vulkan::EmbedArguments arguments;
  arguments.weights = weights.address();
  arguments.ids = id_buffer.address();
  arguments.result = out.address();
  arguments.table = table.address();
  arguments.columns = m.columns;
  arguments.row_bytes = m.row_bytes;
  arguments.add = 1;
  bench.run([&](CommandList& list) { bench.operations.embed(list, type, arguments, 6); });
  const auto results = floats_of(out, std::size_t{4} * m.columns);
  for (std::uint32_t t = 0; t < 4; ++t) {
    for (std::uint32_t i = 0; i < m.columns; ++i) {
      const double wanted = double{m.values[std::size_t{ids[t]} * m.columns + i]} + 0.5;
      comparison.expect(results[std::size_t{t} * m.columns + i], wanted, 1e-6 * std::fabs(wanted) + 2e-6,
                        label(type, "rows of it"), t, i);
    }
  }
}

// Both ways: into the experts that a token goes to, and out of them.
void check_experts(Workbench& bench, TensorType type, Comparison& comparison) {
  constexpr std::uint32_t kExperts = 4, kUsed = 2, kTokens = 3, kRows = 21;
  const Matrix m(type, kExperts * kRows, columns_of(type), 4);
  Random random(4);
  const Floats x = random_floats(std::size_t{kTokens} * kUsed * m.columns, random);
  struct Chosen {
    std::uint32_t expert;
    float weight;
  };
  const std::vector<Chosen> chosen = {{1, 0.75F}, {3, 0.25F}, {0, 0.5F}, {2, 0.5F}, {3, 1.5F}, {1, -0.5F}};
  const Buffer weights = bench.buffer(m.file);
  const Buffer x_buffer = bench.buffer(x);
  const Buffer chosen_buffer = bench.buffer(chosen);
  const Buffer table = bench.table(kTokens);
  for (const bool out_of : {false, true}) {
    const Buffer out = bench.buffer(std::size_t{kTokens} * kUsed * kRows * sizeof(float));
    vulkan::ExpertArguments arguments;
    arguments.weights = weights.address();
    arguments.x = x_buffer.address();
    arguments.chosen = chosen_buffer.address();
    arguments.result = out.address();
    arguments.table = table.address();
    arguments.expert_bytes = std::uint64_t{kRows} * m.row_bytes;
    arguments.columns = m.columns;
    arguments.row_bytes = m.row_bytes;
    arguments.end_row = kRows;
    arguments.stride = kRows;
    arguments.used = kUsed;
    arguments.flags = out_of ? vulkan::kOutOfExperts : 0;
    bench.run([&](CommandList& list) { bench.operations.experts(list, type, arguments, 4); });
    const auto results = floats_of(out, std::size_t{kTokens} * kUsed * kRows);
    for (std::uint32_t t = 0; t < kTokens; ++t) {
      for (std::uint32_t r = 0; r < kRows; ++r) {
        Wanted sum;
        for (std::uint32_t i = 0; i < kUsed; ++i) {
          const Chosen& one = chosen[std::size_t{t} * kUsed + i];
          const std::size_t row = std::size_t{one.expert} * kRows + r;
          const std::size_t of_x = out_of ? std::size_t{t} * kUsed + i : t;
          const Wanted wanted = product_of(std::span(m.values).subspan(row * m.columns, m.columns),
                                           std::span(x).subspan(of_x * m.columns, m.columns));
          if (out_of) {
            sum.value += one.weight * wanted.value;
            sum.tolerance += std::fabs(one.weight) * wanted.tolerance + 1e-6;
          } else {
            comparison.expect(results[(std::size_t{t} * kUsed + i) * kRows + r], wanted.value, wanted.tolerance + 1e-6,
                              label(type, "into the experts"), t, r);
          }
        }
        if (out_of) {
          comparison.expect(results[std::size_t{t} * kRows + r], sum.value, sum.tolerance,
                            label(type, "out of the experts"), t, r);
        }
      }
    }
  }
}

// As a prompt's: the tokens of an expert together, more than a tile of one and few of another.
void check_grouped(Workbench& bench, TensorType type, Comparison& comparison) {
  constexpr std::uint32_t kExperts = 3, kUsed = 1, kTokens = 75, kRows = 33, kTiles = 4, kTile = 64;
  constexpr std::uint32_t kOrder = 4 + 3 * kTiles;
  const Matrix m(type, kExperts * kRows, columns_of(type), 6);
  Random random(6);
  const Floats x = random_floats(std::size_t{kTokens} * m.columns, random);
  // The order that group_experts.comp makes, whose own affair it is: every seventh token goes to expert 2.
  std::vector<std::uint32_t> groups(kOrder + 2 * kTokens);
  const auto expert_of = [](std::uint32_t token) { return token % 7 == 0 ? 2U : 0U; };
  std::uint32_t place = 0;
  for (const std::uint32_t expert : {0U, 2U}) {
    const std::uint32_t first = place;
    for (std::uint32_t t = 0; t < kTokens; ++t) {
      if (expert_of(t) == expert) groups[kOrder + 2 * place++] = t;
    }
    for (std::uint32_t at = first; at < place; at += kTile) {
      std::uint32_t* const tile = groups.data() + 4 + 3 * std::size_t{groups[0]++};
      tile[0] = expert;
      tile[1] = at;
      tile[2] = std::min(kTile, place - at);
    }
  }
  groups[1] = kOrder;
  const Buffer weights = bench.buffer(m.file);
  const Buffer x_buffer = bench.buffer(x);
  const Buffer group_buffer = bench.buffer(groups);
  const Buffer table = bench.table(kTokens);
  const Buffer out = bench.buffer(std::size_t{kTokens} * kRows * sizeof(float), 0xFF);
  vulkan::ProductArguments arguments = product_arguments(m, weights, x_buffer, out, table);
  arguments.end_row = arguments.result_stride = kRows;
  arguments.groups = group_buffer.address();
  arguments.expert_bytes = std::uint64_t{kRows} * m.row_bytes;
  arguments.used = kUsed;
  bench.run([&](CommandList& list) {
    bench.operations.grouped_product(list, type, arguments, kTiles, vulkan::Operations::Arithmetic::Plain);
  });
  const auto results = floats_of(out, std::size_t{kTokens} * kRows);
  for (std::uint32_t t = 0; t < kTokens; ++t) {
    for (std::uint32_t r = 0; r < kRows; ++r) {
      const std::size_t row = std::size_t{expert_of(t)} * kRows + r;
      const Wanted wanted = product_of(std::span(m.values).subspan(row * m.columns, m.columns),
                                       std::span(x).subspan(std::size_t{t} * m.columns, m.columns));
      comparison.expect(results[std::size_t{t} * kRows + r], wanted.value, wanted.tolerance + 1e-6,
                        label(type, "tokens of an expert"), t, r);
    }
  }
}

// A matrix for each head, as it lies and transposed.
void check_head_linear(Workbench& bench, TensorType type, Comparison& comparison) {
  constexpr std::uint32_t kHeads = 2, kHeadRows = 21, kTokens = 3, kCopied = 4;
  const Matrix m(type, kHeads * kHeadRows, columns_of(type), 5);
  Random random(5);
  const Buffer weights = bench.buffer(m.file);
  const Buffer table = bench.table(kTokens);
  for (const bool transposed : {false, true}) {
    const std::uint32_t inputs = transposed ? kHeadRows : m.columns;
    const std::uint32_t outputs = transposed ? m.columns : kHeadRows;
    const Floats x = random_floats(std::size_t{kTokens} * kHeads * (inputs + kCopied), random);
    const Buffer x_buffer = bench.buffer(x);
    const std::size_t count = std::size_t{kTokens} * kHeads * (outputs + kCopied);
    const Buffer out = bench.buffer(Floats(count, kUntouched));
    vulkan::HeadLinearArguments arguments;
    arguments.weights = weights.address();
    arguments.x = x_buffer.address();
    arguments.result = out.address();
    arguments.table = table.address();
    arguments.inputs = inputs;
    arguments.outputs = outputs;
    arguments.copied = kCopied;
    arguments.heads = kHeads;
    arguments.head_rows = kHeadRows;
    arguments.row_bytes = m.row_bytes;
    bench.run([&](CommandList& list) { bench.operations.head_linear(list, type, transposed, arguments, 4); });
    const auto results = floats_of(out, count);
    Floats row(inputs);
    for (std::uint32_t pair = 0; pair < kTokens * kHeads; ++pair) {
      const std::uint32_t head = pair % kHeads;
      const auto of_head = std::span(x).subspan(std::size_t{pair} * (inputs + kCopied), inputs + kCopied);
      const auto result = results.subspan(std::size_t{pair} * (outputs + kCopied), outputs + kCopied);
      for (std::uint32_t o = 0; o < outputs; ++o) {
        for (std::uint32_t i = 0; i < inputs; ++i) {
          const std::size_t of_matrix = std::size_t{head} * kHeadRows + (transposed ? i : o);
          row[i] = m.values[of_matrix * m.columns + (transposed ? o : i)];
        }
        const Wanted wanted = product_of(row, of_head.first(inputs));
        comparison.expect(result[o], wanted.value, wanted.tolerance + 1e-6,
                          label(type, transposed ? "transposed" : "as it lies"), pair / kHeads, o);
      }
      for (std::uint32_t i = 0; i < kCopied; ++i) {
        comparison.expect(result[outputs + i], of_head[inputs + i], 1e-6, label(type, "what is copied"), pair / kHeads,
                          i);
      }
    }
  }
}

// A software device compiles each shader for a while. What differs between formats is how they are read, which is the
// same in all shaders: there a shader's less usual ways see one format of each kind.
bool is_sample(TensorType type) {
  return type == TensorType::F16 || type == TensorType::Q4_K || type == TensorType::Q8_0 || type == TensorType::IQ2_XS;
}

using FormatCheck = std::function<void(Workbench&, TensorType, Comparison&)>;

void for_formats(Subject& subject, Row& row, bool only_samples, const FormatCheck& check) {
  Workbench bench(subject.options);
  Comparison comparison;
  std::size_t formats = 0;
  for (const quant::Format& format : quant::all_formats()) {
    if (only_samples && !is_sample(format.type)) continue;
    subject.check_time();
    check(bench, format.type, comparison);
    ++formats;
  }
  row.said = fmt::format("{} formats, {}", formats, comparison.text());
}

void for_all_formats(Subject& subject, Row& row, const FormatCheck& check) { for_formats(subject, row, false, check); }

// `emulated`: the program for matrix units with what these do done in loops.
void check_units(Subject& subject, Row& row, bool emulated) {
  vulkan::DeviceOptions options = subject.options;
  if (emulated) options.emulated_units.emplace();
  Workbench bench(options);
  const auto units = bench.context.matrix_units();
  if (!units) {
    throw NotHere(emulated ? "this device has no float16 arithmetic"
                           : "this device has no matrix units that can be used");
  }
  const Buffer memory = bench.buffer(vulkan::kUnitsCheckMemory.value);
  const vulkan::Place place{memory.handle(), 0, memory.address(), memory.data()};
  std::size_t formats = 0;
  for (const quant::Format& format : quant::all_formats()) {
    subject.check_time();
    if (!vulkan::suits_matrix_units(format.type)) continue;
    if (emulated && subject.software() && !is_sample(format.type)) continue;
    if (!vulkan::matrix_units_agree(bench.context, bench.pipelines, bench.timeline, place, format.type,
                                    bench.codebooks.address())) {
      throw Mismatch(fmt::format("{}: {} not give what plain arithmetic gives", format.name,
                                 emulated ? "matrix units done in loops do" : "the matrix units do"));
    }
    ++formats;
  }
  row.said = fmt::format("{} x {} x {}, agree with plain arithmetic in {} formats", units->rows, units->tokens,
                         units->depth, formats);
}

// Whether the device is fast at it or not.
void check_dots(Subject& subject, Row& row, std::span<const std::uint32_t> tokens) {
  vulkan::DeviceOptions options = subject.options;
  options.integer_dots = true;
  options.matrix_units = false;
  Workbench bench(options);
  if (!bench.context.integer_dots()) throw NotHere("this device has no products of bytes");
  const Buffer memory = bench.buffer(vulkan::kUnitsCheckMemory.value);
  const vulkan::Place place{memory.handle(), 0, memory.address(), memory.data()};
  std::size_t formats = 0;
  for (const quant::Format& format : quant::all_formats()) {
    subject.check_time();
    if (!vulkan::suits_integer_dots(format.type)) continue;
    if (!vulkan::integer_dots_agree(bench.context, bench.pipelines, bench.timeline, place, format.type, tokens)) {
      throw Mismatch(fmt::format("{}: products of bytes do not give what plain arithmetic gives", format.name));
    }
    ++formats;
  }
  row.said = fmt::format("agree with plain arithmetic in {} formats", formats);
}

}  // namespace

void add_shader_checks(Checks& checks) {
  checks.push_back({"shader", "Matvec", 1, [](Subject& subject, Row& row) {
                      const bool samples = subject.software();
                      for_all_formats(subject, row, [&](Workbench& bench, TensorType type, Comparison& comparison) {
                        check_product(bench, type, {1, 1, "one token"}, comparison);
                        if (samples && !is_sample(type)) return;
                        check_product(bench, type, {5, vulkan::kMostVectorRows, "a few tokens"}, comparison);
                      });
                    }});
  checks.push_back({"shader", "Matmul", 1, [](Subject& subject, Row& row) {
                      for_all_formats(subject, row, [](Workbench& bench, TensorType type, Comparison& comparison) {
                        check_product(bench, type, {70, 128, "many tokens"}, comparison);
                      });
                    }});
  checks.push_back({"shader", "Matmul by expert", 3,
                    [](Subject& subject, Row& row) { for_formats(subject, row, subject.software(), check_grouped); }});
  checks.push_back({"shader", "MatmulUnits", 1, [](Subject& subject, Row& row) { check_units(subject, row, false); }});
  checks.push_back({"shader", "MatvecDots", 2, [](Subject& subject, Row& row) {
                      constexpr std::uint32_t kTokens[] = {1, vulkan::kMostVectorRows};
                      check_dots(subject, row, std::span(kTokens).first(subject.software() ? 1 : 2));
                    }});
  checks.push_back({"shader", "MatmulDots", 2, [](Subject& subject, Row& row) {
                      constexpr std::uint32_t kTokens[] = {70};
                      check_dots(subject, row, kTokens);
                    }});
  checks.push_back(
      {"shader", "MatmulEmulated", 3, [](Subject& subject, Row& row) { check_units(subject, row, true); }});
  checks.push_back(
      {"shader", "Embed", 2, [](Subject& subject, Row& row) { for_all_formats(subject, row, check_embedding); }});
  checks.push_back(
      {"shader", "Experts", 3, [](Subject& subject, Row& row) { for_all_formats(subject, row, check_experts); }});
  checks.push_back({"shader", "HeadLinear", 3,
                    [](Subject& subject, Row& row) { for_all_formats(subject, row, check_head_linear); }});
  add_attention_checks(checks);
  add_recurrent_checks(checks);
  add_small_shader_checks(checks);
}

}  // namespace loadline::selftest
