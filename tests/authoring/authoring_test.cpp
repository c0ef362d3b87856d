// Files written by synthesize and requantize, read back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "authoring/requantize.h"
#include "authoring/synthesize.h"
#include "gguf/writer.h"
#include "model/program.h"
#include "support/refusal.h"
#include "support/small_models.h"
#include "support/test_data.h"

namespace loadline::authoring {
namespace {

using testing::HasSubstr;

const Progress kSilent = [](Bytes /*done*/, Bytes /*total*/) {};

class Authoring : public testing::Test {
 protected:
  std::filesystem::path synth(const std::string& shape, const std::string& mix, SynthOptions options = {}) {
    const auto path = folder_.path() / (shape + "-" + mix + "-" + std::to_string(number_++) + ".gguf");
    synthesize(*find_shape(shape), *model::find_mix(mix), options, path, kSilent);
    return path;
  }
  [[nodiscard]] std::filesystem::path in_folder(const std::string& name) const { return folder_.path() / name; }

 private:
  test::TemporaryFolder folder_;
  int number_ = 0;
};

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<std::byte> bytes_of(const gguf::Model& model, const gguf::TensorInfo& tensor) {
  std::vector<std::byte> bytes(tensor.size.value);
  model.files[tensor.file].read_at(tensor.offset, bytes);
  return bytes;
}

std::vector<gguf::NewTensor> new_tensors(const gguf::Model& model) {
  std::vector<gguf::NewTensor> tensors;
  for (const gguf::TensorInfo& tensor : model.tensors) {
    tensors.push_back({tensor.name, tensor.type, {tensor.shape.begin(), tensor.shape.begin() + tensor.dimensions}});
  }
  return tensors;
}

std::vector<float> decoded(const gguf::Model& model, const gguf::TensorInfo& tensor) {
  std::vector<float> values(tensor.elements());
  quant::decode_row(tensor.type, bytes_of(model, tensor).data(), values.data(), values.size());
  return values;
}

double relative_rms(const std::vector<float>& values, const std::vector<float>& truth) {
  double error = 0;
  double power = 0;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    error += std::pow(double{values[i]} - truth[i], 2);
    power += std::pow(double{truth[i]}, 2);
  }
  return std::sqrt(error / power);
}

TEST_F(Authoring, SyntheticModelsAreModels) {
  for (const char* shape : {"tiny", "tiny-llama3", "tiny-qwen2", "tiny-qwen3"}) {
    for (const model::FormatMix& mix : model::all_mixes()) {
      if (shape != std::string("tiny") && mix.name != "Q4_K_M") continue;
      const gguf::Model model = gguf::open_model(synth(shape, std::string(mix.name)));
      EXPECT_NO_THROW(static_cast<void>(model::build_program(model))) << shape << " " << mix.name;
      const gguf::Model described = describe(*find_shape(shape), mix);
      EXPECT_EQ(model.metadata, described.metadata);
      ASSERT_EQ(model.tensors.size(), described.tensors.size());
      for (std::size_t i = 0; i < model.tensors.size(); ++i) {
        EXPECT_EQ(model.tensors[i].name, described.tensors[i].name);
        EXPECT_EQ(model.tensors[i].type, described.tensors[i].type);
        EXPECT_EQ(model.tensors[i].size, described.tensors[i].size);
      }
    }
  }
}

TEST_F(Authoring, SyntheticWeightsDependOnTheSeedAlone) {
  const std::string first = bytes_of(synth("tiny", "Q4_K_M", {.seed = 1}));
  EXPECT_EQ(first, bytes_of(synth("tiny", "Q4_K_M", {.seed = 1})));
  EXPECT_NE(first, bytes_of(synth("tiny", "Q4_K_M", {.seed = 2})));
}

TEST_F(Authoring, SyntheticMatricesKeepActivationsOfTheOrderOfOne) {
  const gguf::Model model = gguf::open_model(synth("tiny-llama3", "Q4_K_M"));
  for (const gguf::TensorInfo& tensor : model.tensors) {
    const auto values = decoded(model, tensor);
    double squares = 0;
    for (const float value : values) squares += double{value} * value;
    const double rms = std::sqrt(squares / static_cast<double>(values.size()));
    if (tensor.name == "rope_freqs.weight") {
      EXPECT_EQ(values.front(), 1.0F);
      EXPECT_EQ(values.back(), 8.0F);
    } else if (tensor.dimensions == 1) {
      EXPECT_NEAR(rms, 1.0, 0.02) << tensor.name;
    } else {
      const double gain = tensor.name == "token_embd.weight" ? 3 : 1;  // tied to the output
      EXPECT_NEAR(rms * std::sqrt(static_cast<double>(tensor.columns())), gain, 0.06 * gain) << tensor.name;
    }
  }
}

TEST_F(Authoring, AHeaderOnlyFileHasTheFullSizeAndTakesNoRoom) {
  const auto whole = synth("tinyllama-1.1b", "Q4_K_M", {.header_only = true});
  EXPECT_EQ(gguf::open_model(whole).tensor_bytes(),
            describe(*find_shape("tinyllama-1.1b"), *model::find_mix("Q4_K_M")).tensor_bytes());
  EXPECT_GT(std::filesystem::file_size(whole), 600U << 20U);
  struct stat status{};
  ASSERT_EQ(::stat(whole.c_str(), &status), 0);
  EXPECT_LT(status.st_blocks * 512, 8 << 20);
}

TEST_F(Authoring, ProgressEndsAtTheTotal) {
  Bytes last;
  Bytes total;
  synthesize(*find_shape("tiny"), *model::find_mix("Q8_0"), {}, in_folder("progress.gguf"), [&](Bytes done, Bytes all) {
    EXPECT_GE(done, last);
    last = done;
    total = all;
  });
  EXPECT_EQ(last, total);
  EXPECT_EQ(total, describe(*find_shape("tiny"), *model::find_mix("Q8_0")).tensor_bytes());
}

TEST_F(Authoring, WhatProgressThrowsStopsTheWorkAndLeavesNoFile) {
  const auto path = in_folder("stopped.gguf");
  const Progress stop = [](Bytes /*done*/, Bytes /*total*/) { throw Error(ErrorCode::Interrupted, "stopped"); };
  const auto run = [&] {
    synthesize(*find_shape("tiny"), *model::find_mix("Q8_0"), {}, path, stop);
    return 0;
  };
  EXPECT_EQ(test::refusal(run, ErrorCode::Interrupted).sentence, "stopped");
  EXPECT_TRUE(std::filesystem::is_empty(path.parent_path()));
}

// Mixes of formats that need no importance matrix.
bool written(const model::FormatMix& mix) {
  return quant::format_of(mix.base).encode != nullptr && mix.name != "IQ3_XS";
}

// Formats of one or three levels.
bool coarse(quant::TensorType type) {
  using quant::TensorType;
  return type == TensorType::TQ1_0 || type == TensorType::TQ2_0 || type == TensorType::Q1_0 || type == TensorType::Q2_0;
}

TEST_F(Authoring, RequantizingGivesEveryTensorTheMixAndItsError) {
  const gguf::Model source = gguf::open_model(synth("tiny", "F32"));
  for (const model::FormatMix& mix : model::all_mixes()) {
    if (!written(mix)) {
      const auto refused = test::refusal([&] { return requantize(source, mix, 2, in_folder("no.gguf"), kSilent); });
      EXPECT_THAT(refused.sentence, testing::HasSubstr("importance matrix")) << mix.name;
      continue;
    }
    const auto path = in_folder(std::string("as-") + std::string(mix.name) + ".gguf");
    const Requantized result = requantize(source, mix, 2, path, kSilent);
    EXPECT_FALSE(result.was_quantised);
    const gguf::Model model = gguf::open_model(path);
    EXPECT_EQ(result.before, source.tensor_bytes());
    EXPECT_EQ(result.after, model.tensor_bytes());
    EXPECT_EQ(model.metadata.get_unsigned("general.file_type"), mix.file_type);
    EXPECT_EQ(model.metadata, describe(*find_shape("tiny"), mix).metadata);
    for (const gguf::TensorInfo& tensor : model.tensors) {
      EXPECT_EQ(tensor.type, model::type_in_mix(mix, model::mixed_model(source), tensor)) << tensor.name;
      const auto& old = source.tensors[static_cast<std::size_t>(source.find_tensor(tensor.name))];
      EXPECT_LT(relative_rms(decoded(model, tensor), decoded(source, old)), coarse(tensor.type) ? 0.75 : 0.3)
          << tensor.name << " as " << quant::name_of(tensor.type);
    }
  }
}

TEST_F(Authoring, RequantizingDoesNotDependOnTheNumberOfThreads) {
  const gguf::Model source = gguf::open_model(synth("tiny-qwen2", "F16"));
  const model::FormatMix& mix = *model::find_mix("Q4_K_M");
  requantize(source, mix, 1, in_folder("one.gguf"), kSilent);
  requantize(source, mix, 3, in_folder("three.gguf"), kSilent);
  EXPECT_EQ(bytes_of(in_folder("one.gguf")), bytes_of(in_folder("three.gguf")));
}

TEST_F(Authoring, RequantizingSaysThatTheSourceWasQuantised) {
  const gguf::Model source = gguf::open_model(synth("tiny", "Q8_0"));
  EXPECT_TRUE(requantize(source, *model::find_mix("Q4_0"), 1, in_folder("again.gguf"), kSilent).was_quantised);
  EXPECT_FALSE(requantize(source, *model::find_mix("Q8_0"), 1, in_folder("same.gguf"), kSilent).was_quantised);
}

TEST_F(Authoring, RequantizingMakesOneFileOfASplitModel) {
  const gguf::Model described = describe(*find_shape("tiny"), *model::find_mix("Q8_0"));
  const auto parts = test::write_split_model(in_folder(""), "parts", 3, described.metadata, new_tensors(described));
  const gguf::Model source = gguf::open_model(parts.front());
  requantize(source, *model::find_mix("Q8_0"), 1, in_folder("one.gguf"), kSilent);
  const gguf::Model one = gguf::open_model(in_folder("one.gguf"));
  EXPECT_EQ(one.files.size(), 1U);
  EXPECT_EQ(one.metadata, described.metadata);
  for (std::size_t i = 0; i < one.tensors.size(); ++i) {
    EXPECT_EQ(bytes_of(one, one.tensors[i]), bytes_of(source, source.tensors[i])) << one.tensors[i].name;
  }
}

TEST_F(Authoring, RequantizingRefusesWeightsThatAreNotNumbers) {
  const gguf::Model described = describe(*find_shape("tiny"), *model::find_mix("F32"));
  const auto path = in_folder("nan.gguf");
  gguf::Writer writer(path, described.metadata, new_tensors(described));
  for (const gguf::TensorInfo& tensor : writer.tensors()) {
    std::vector<float> values(tensor.elements(), 0.5F);
    if (tensor.name == "blk.1.ffn_up.weight") values[777] = std::nanf("");
    writer.append(std::as_bytes(std::span(values)));
  }
  writer.finish();
  const gguf::Model source = gguf::open_model(path);
  const auto refusal =
      test::refusal([&] { return requantize(source, *model::find_mix("Q4_K_M"), 2, in_folder("out.gguf"), kSilent); });
  EXPECT_THAT(refusal.sentence, HasSubstr("blk.1.ffn_up.weight"));
  EXPECT_FALSE(std::filesystem::exists(in_folder("out.gguf")));
}

}  // namespace
}  // namespace loadline::authoring
