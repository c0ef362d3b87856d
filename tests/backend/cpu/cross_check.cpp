// Every kernel of the sets of another processor than the one that builds, against the scalar set: a program without
// test libraries, so that it can be compiled for that processor and run in an emulator (cross_check.sh).
// Prints what differs; exits with 1 if anything does.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <numeric>

#include "backend/cpu/kernel_cases.h"
#include "quant/attention_workspace.h"

namespace loadline::cpu::test {
namespace {

int failures = 0;

void expect(bool holds, const char* what, std::string_view detail) {
  if (holds) return;
  std::printf("%s %.*s differs\n", what, static_cast<int>(detail.size()), detail.data());
  ++failures;
}

bool close(const std::vector<float>& a, const std::vector<float>& b, double tolerance) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!(std::fabs(double{a[i]} - b[i]) <= tolerance * (1 + std::fabs(double{b[i]})))) return false;
  }
  return true;
}

void check_products(const KernelTable& table, TensorType type, Random& random) {
  const std::uint32_t block = quant::format_of(type).block_elements;
  for (const Style style : {Style::Normal, Style::Extreme}) {
    for (const auto& [rows, blocks] : {std::pair{33U, 3U}, std::pair{70U, 9U}}) {
      for (const std::uint32_t tokens : {1U, 2U, 3U, 4U, 5U, 19U}) {
        const TestMatrix m(type, rows, blocks * block, style, random);
        const std::vector<float> x = random_activations(tokens, m.columns, style, random);
        const Buffer activations = prepared(table, type, x, tokens, m.columns);
        const Buffer as_scalar = prepared(*available_kernels()[0], type, x, tokens, m.columns);
        const std::size_t bytes = quant::activation_bytes(quant::activation_kind(type), m.columns, tokens).value;
        expect(std::memcmp(activations.data(), as_scalar.data(), bytes) == 0, "prepare", quant::name_of(type));
        const std::vector<float> seen = restored(quant::activation_kind(type), activations, tokens, m.columns);
        std::vector<float> out(std::size_t{tokens} * rows);
        table.matmul({m.matrix(), activations.data(), tokens, out.data(), rows, nullptr, false}, 0, m.matrix().tiles(),
                     nullptr);
        bool good = true;
        for (std::uint32_t t = 0; t < tokens; ++t) {
          for (std::uint32_t r = 0; r < rows; ++r) {
            const Expected expected = expected_product(m, seen, r, t);
            good &= std::fabs(out[std::size_t{t} * rows + r] - expected.value) <= expected.tolerance;
          }
        }
        expect(good, "matmul", quant::name_of(type));
        // Its last token's are what they are without the others.
        const std::vector<float> last(x.end() - m.columns, x.end());
        const Buffer of_last = prepared(table, type, last, 1, m.columns);
        std::vector<float> alone(rows);
        table.matmul({m.matrix(), of_last.data(), 1, alone.data(), rows, nullptr, false}, 0, m.matrix().tiles(),
                     nullptr);
        expect(std::memcmp(alone.data(), out.data() + std::size_t{tokens - 1} * rows, rows * sizeof(float)) == 0,
               "matmul of one of several tokens", quant::name_of(type));
      }
    }
  }
}

void check_gated(const KernelTable& table, Random& random) {
  const TestMatrix gate(TensorType::Q4_K, 53, 512, Style::Normal, random);
  const TestMatrix up(TensorType::F16, 53, 512, Style::Normal, random);
  for (const std::uint32_t tokens : {1U, 21U}) {
    std::vector<float> x = random_activations(tokens, 512, Style::Normal, random);
    for (float& value : x) value *= 0.1F;
    const Buffer a = prepared(table, gate.type, x, tokens, 512);
    const Buffer b = prepared(table, up.type, x, tokens, 512);
    std::vector<float> out(tokens * 53UL);
    std::vector<float> gates(out.size());
    std::vector<float> ups(out.size());
    table.matmul({gate.matrix(), a.data(), tokens, gates.data(), 53, nullptr, false}, 0, 4, nullptr);
    table.matmul({up.matrix(), b.data(), tokens, ups.data(), 53, nullptr, false}, 0, 4, nullptr);
    table.gated({gate.matrix(), up.matrix(), a.data(), b.data(), tokens, out.data(), 53}, 0, 4, nullptr);
    bool good = true;
    for (std::size_t i = 0; i < out.size(); ++i) {
      const double expected = gates[i] / (1 + std::exp(-double{gates[i]})) * ups[i];
      good &= std::fabs(out[i] - expected) <= 1e-5 * (std::fabs(expected) + std::fabs(ups[i]));
    }
    expect(good, "gated", "");
  }
}

void check_vectors(const KernelTable& table, Random& random) {
  const KernelTable& scalar = *available_kernels()[0];
  for (const std::uint32_t columns : {70U, 512U}) {
    const std::vector<float> x = random_activations(1, columns, Style::Normal, random);
    const std::vector<float> weight = random_activations(1, columns, Style::Normal, random);
    std::vector<float> a(columns);
    std::vector<float> b(columns);
    table.rms_norm(x.data(), weight.data(), a.data(), columns, 0, columns, 1e-5F);
    scalar.rms_norm(x.data(), weight.data(), b.data(), columns, 0, columns, 1e-5F);
    expect(close(a, b, 1e-5), "rms_norm", "");
    a = b = x;
    table.add(a.data(), weight.data(), columns);
    scalar.add(b.data(), weight.data(), columns);
    expect(close(a, b, 0), "add", "");
    for (const bool neox : {false, true}) {
      a = b = x;
      table.rope(a.data(), 1, columns, 64, weight.data(), weight.data() + 32, neox);
      scalar.rope(b.data(), 1, columns, 64, weight.data(), weight.data() + 32, neox);
      expect(close(a, b, 1e-5), "rope", neox ? "neox" : "");
    }
  }
}

// 100 cells are there already; then 1 or 40 tokens.
void check_attention(const KernelTable& table, TensorType k_type, TensorType v_type, std::uint32_t count,
                     Random& random) {
  constexpr std::uint32_t kHeads = 4, kKvHeads = 2, kDim = 96, kBefore = 100;
  const std::uint32_t cells = kBefore + count;
  const std::uint32_t page_count = (cells + 31) / 32;
  const std::vector<float> k = random_activations(cells, kKvHeads * kDim, Style::Normal, random);
  const std::vector<float> v = random_activations(cells, kKvHeads * kDim, Style::Normal, random);
  const std::vector<float> q = random_activations(count, kHeads * kDim, Style::Normal, random);
  std::vector<std::uint32_t> pages(page_count);
  std::iota(pages.rbegin(), pages.rend(), 0U);
  std::vector<float> out[2];
  const KernelTable* both[2] = {&table, available_kernels()[0]};
  for (int i = 0; i < 2; ++i) {
    const Buffer k_pages(quant::kv_page_head_bytes(k_type, kDim).value * kKvHeads * page_count);
    const Buffer v_pages(quant::kv_page_head_bytes(v_type, kDim).value * kKvHeads * page_count);
    const KvLayer layer{k_type, v_type, k_pages.data(), v_pages.data(), kKvHeads, kDim, kDim};
    for (std::uint32_t cell = 0; cell < cells; ++cell) {
      both[i]->store_kv(layer, pages[cell / 32], cell % 32, k.data() + std::size_t{cell} * kKvHeads * kDim,
                        v.data() + std::size_t{cell} * kKvHeads * kDim, 0, kKvHeads);
    }
    const backend::TokenRun run{0, count, kBefore, pages.data()};
    const Buffer workspace(quant::attention_workspace(kHeads, kDim, count, cells).value);
    out[i].resize(std::size_t{count} * kHeads * kDim);
    const AttentionTask task{layer, {&run, 1}, q.data(), out[i].data(), kHeads, 0.1F, workspace.data()};
    both[i]->attention(task, 0, attention_units(task), nullptr);
    both[i]->attention_finish(task, 0, count, 0, task.heads);
  }
  // The query is rounded to 8 bits where K is.
  expect(close(out[0], out[1], k_type == TensorType::Q8_0 ? 0.05 : 1e-4), "attention", quant::name_of(k_type));
}

int check_all() {
  Random random(1);
  for (const KernelTable* table : available_kernels().subspan(1)) {
    for (const TensorType type : weight_types()) check_products(*table, type, random);
    check_gated(*table, random);
    check_vectors(*table, random);
    for (const TensorType type : {TensorType::F32, TensorType::F16, TensorType::Q8_0}) {
      for (const std::uint32_t tokens : {1U, 40U}) check_attention(*table, type, type, tokens, random);
    }
    std::printf("%s: %d differences\n", std::string(table->name).c_str(), failures);
  }
  return available_kernels().size() > 1 && failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace loadline::cpu::test

int main() { return loadline::cpu::test::check_all(); }
