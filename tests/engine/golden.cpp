#include "engine/golden.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>

namespace loadline::test {
namespace {

std::vector<double> log_softmax(const float* logits, std::size_t count) {
  const double highest = *std::max_element(logits, logits + count);
  double total = 0;
  for (std::size_t i = 0; i < count; ++i) total += std::exp(logits[i] - highest);
  std::vector<double> result(count);
  for (std::size_t i = 0; i < count; ++i) result[i] = logits[i] - highest - std::log(total);
  return result;
}

}  // namespace

const std::vector<Golden>& golden_files() {
  static const std::vector<Golden> kFiles = {
      {"llama-F32", 1e-7, 1e-3}, {"llama-F16", 1e-5},    {"llama-BF16", 1e-4},   {"llama-Q4_0", 1e-3},
      {"llama-Q4_1", 1e-3},      {"llama-Q5_0", 1e-3},   {"llama-Q5_1", 1e-3},   {"llama-Q8_0", 1e-3},
      {"llama-Q2_K", 1e-3},      {"llama-Q3_K_M", 1e-3}, {"llama-Q4_K_M", 1e-3}, {"llama-Q5_K_M", 1e-3},
      {"llama-Q6_K", 1e-3},      {"llama-IQ4_NL", 1e-3}, {"llama-IQ4_XS", 1e-3}, {"qwen2-F16", 1e-5},
      {"qwen2-Q4_K_M", 1e-3},    {"qwen3-F16", 1e-5},    {"qwen3-Q4_K_M", 1e-3},
  };
  return kFiles;
}

std::vector<float> read_floats(const std::filesystem::path& path) {
  std::vector<float> values(std::filesystem::file_size(path) / sizeof(float));
  std::ifstream(path, std::ios::binary)
      .read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
  return values;
}

std::vector<float> golden_logits(const std::filesystem::path& folder, const Golden& golden) {
  return read_floats(folder / (golden.name + ".logits.f32"));
}

std::vector<std::int32_t> golden_tokens(const std::filesystem::path& folder, const char* file) {
  std::ifstream stream(folder / file);
  std::vector<std::int32_t> tokens;
  for (std::string item; std::getline(stream, item, ',');) tokens.push_back(std::stoi(item));
  return tokens;
}

Difference compare(const std::vector<float>& expected, const std::vector<float>& actual, std::size_t rows) {
  const std::size_t width = expected.size() / rows;
  Difference difference;
  if (actual.size() != expected.size()) {
    ADD_FAILURE() << actual.size() << " logits instead of " << expected.size();
    return {1e9, 1e9, 0};
  }
  for (std::size_t row = 0; row < rows; ++row) {
    const float* e = expected.data() + row * width;
    const float* a = actual.data() + row * width;
    const auto p = log_softmax(e, width);
    const auto q = log_softmax(a, width);
    double& divergence = difference.rows.emplace_back(0.0);
    for (std::size_t i = 0; i < width; ++i) {
      divergence += std::exp(p[i]) * (p[i] - q[i]);
      const double apart = std::abs(static_cast<double>(e[i]) - a[i]);
      if (!(apart <= difference.absolute)) difference.absolute = std::isnan(apart) ? 1e9 : apart;
    }
    difference.kl += divergence / static_cast<double>(rows);
    const bool same = std::max_element(e, e + width) - e == std::max_element(a, a + width) - a;
    difference.same_top += same ? 1.0 / static_cast<double>(rows) : 0.0;
  }
  return difference;
}

double least_cosine(const std::vector<float>& expected, const std::vector<float>& actual, std::size_t rows) {
  EXPECT_EQ(actual.size(), expected.size());
  if (actual.size() != expected.size()) return -1;
  const std::size_t width = expected.size() / rows;
  double least = 1;
  for (std::size_t row = 0; row < rows; ++row) {
    double product = 0, length = 0, other = 0;
    for (std::size_t i = row * width; i < (row + 1) * width; ++i) {
      product += static_cast<double>(expected[i]) * actual[i];
      length += static_cast<double>(expected[i]) * expected[i];
      other += static_cast<double>(actual[i]) * actual[i];
    }
    least = std::min(least, product / std::sqrt(length * other));
  }
  return least;
}

void expect_within(const Difference& difference, const Golden& golden) {
  EXPECT_LT(difference.kl, golden.kl);
  EXPECT_GE(difference.same_top, 0.85);
  if (golden.absolute > 0) {
    EXPECT_LT(difference.absolute, golden.absolute);
  }
}

}  // namespace loadline::test
