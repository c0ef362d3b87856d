// The golden logits of shared/data, and how far from them is how far.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace loadline::test {

struct Golden {
  std::string name;
  // Mean KL divergence allowed from the golden distribution, and for F32 the largest absolute difference.
  double kl;
  double absolute = 0;
};

// The bounds: float formats differ by rounding only; quantised files by the 8 bits that activations are rounded to
// (which alone costs about 1.5e-4 on these models).
const std::vector<Golden>& golden_files();

// All of a file of little-endian float32.
std::vector<float> read_floats(const std::filesystem::path& path);
std::vector<float> golden_logits(const std::filesystem::path& folder, const Golden& golden);
std::vector<std::int32_t> golden_tokens(const std::filesystem::path& folder, const char* file = "tokens.txt");

struct Difference {
  double kl = 0;                  // mean over the rows
  double absolute = 0;            // largest
  double same_top = 0;            // share of rows with the same most likely token
  std::vector<double> rows = {};  // the divergence of each
};
Difference compare(const std::vector<float>& expected, const std::vector<float>& actual, std::size_t rows);

// Rows of states: the least cosine of two that belong together.
double least_cosine(const std::vector<float>& expected, const std::vector<float>& actual, std::size_t rows);

void expect_within(const Difference& difference, const Golden& golden);

}  // namespace loadline::test
