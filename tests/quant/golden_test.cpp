// The golden files hold one random model, encoded by an independent implementation in every format. Decoding each must
// give the F32 file's values back within the error that the format's width allows.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "quant/golden_file.h"
#include "support/test_data.h"

namespace loadline::test {
namespace {

using quant::TensorType;

double relative_rms(const std::vector<float>& values, const std::vector<float>& truth) {
  double error = 0;
  double power = 0;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    error += (double{values[i]} - truth[i]) * (double{values[i]} - truth[i]);
    power += double{truth[i]} * truth[i];
  }
  return std::sqrt(error / power);
}

// Relative RMS error of each format on the golden model, as measured with the files' own
// encoder, plus 1.5 %. A wrong bit anywhere in a layout costs far more than that.
struct ExpectedError {
  TensorType type;
  double relative_rms;
};
constexpr ExpectedError kExpectedErrors[] = {
    {TensorType::F32, 0},        {TensorType::F16, 0.00022},   {TensorType::BF16, 0.00170},
    {TensorType::Q4_0, 0.0878},  {TensorType::Q4_1, 0.0798},   {TensorType::Q5_0, 0.0437},
    {TensorType::Q5_1, 0.0387},  {TensorType::Q8_0, 0.00549},  {TensorType::Q2_K, 0.3023},
    {TensorType::Q3_K, 0.1543},  {TensorType::Q4_K, 0.0728},   {TensorType::Q5_K, 0.0369},
    {TensorType::Q6_K, 0.01820}, {TensorType::IQ4_NL, 0.0776}, {TensorType::IQ4_XS, 0.0782},
};

double expected_error(TensorType type) {
  for (const ExpectedError& expected : kExpectedErrors) {
    if (expected.type == type) return expected.relative_rms;
  }
  ADD_FAILURE() << "no expected error for " << quant::name_of(type);
  return 0;
}

class GoldenFile : public testing::TestWithParam<const char*> {};

TEST_P(GoldenFile, DecodesToTheValuesOfTheF32File) {
  LOADLINE_REQUIRE_SHARED(golden, "golden");
  const auto truth = read_golden(golden / "llama-F32.gguf");
  const auto file = read_golden(golden / (std::string("llama-") + GetParam() + ".gguf"));
  ASSERT_EQ(file.size(), truth.size());
  for (const auto& [name, tensor] : file) {
    EXPECT_LE(relative_rms(tensor.decoded(), truth.at(name).decoded()), expected_error(tensor.type))
        << name << " as " << quant::name_of(tensor.type);
  }
}

TEST_P(GoldenFile, IsEncodedNoWorseByUs) {
  LOADLINE_REQUIRE_SHARED(golden, "golden");
  const auto truth = read_golden(golden / "llama-F32.gguf");
  const auto file = read_golden(golden / (std::string("llama-") + GetParam() + ".gguf"));
  std::map<TensorType, double> worst;
  for (const auto& [name, tensor] : file) {
    const std::vector<float> original = truth.at(name).decoded();
    GoldenTensor ours = tensor;
    quant::encode_row(tensor.type, original.data(), ours.bytes.data(), original.size());
    const double their_error = relative_rms(tensor.decoded(), original);
    const double our_error = relative_rms(ours.decoded(), original);
    EXPECT_LE(our_error, 1.01 * their_error) << name << " as " << quant::name_of(tensor.type);
    if (their_error > 0) worst[tensor.type] = std::max(worst[tensor.type], our_error / their_error);
  }
  for (const auto& [type, ratio] : worst) RecordProperty(std::string(quant::name_of(type)), std::to_string(ratio));
}

INSTANTIATE_TEST_SUITE_P(AllFiles, GoldenFile,
                         testing::Values("F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K_M",
                                         "Q4_K_M", "Q5_K_M", "Q6_K", "IQ4_NL", "IQ4_XS"),
                         [](const auto& file) { return std::string(file.param); });

TEST(GoldenFiles, CoverEveryFormat) {
  LOADLINE_REQUIRE_SHARED(golden, "golden");
  LOADLINE_REQUIRE_SHARED(blocks, "blocks");  // those that no file of the golden model is in
  std::set<TensorType> seen;
  for (const auto& entry : std::filesystem::directory_iterator(golden)) {
    if (entry.path().extension() != ".gguf") continue;
    for (const auto& [name, tensor] : read_golden(entry.path())) seen.insert(tensor.type);
  }
  for (const auto& entry : std::filesystem::directory_iterator(blocks)) {
    if (entry.path().extension() == ".f32") seen.insert(quant::find_format(entry.path().stem().string())->type);
  }
  for (const quant::Format& format : quant::all_formats()) EXPECT_TRUE(seen.contains(format.type)) << format.name;
}

}  // namespace
}  // namespace loadline::test
