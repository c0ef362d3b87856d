// The table of shapes: sizes of the files that were published, and descriptions that the rest of the program accepts.
#include "authoring/shapes.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "model/program.h"

namespace loadline::authoring {
namespace {

double gigabytes(std::string_view shape, std::string_view mix) {
  Bytes total;
  for (const gguf::TensorInfo& tensor : tensors_of(*find_shape(shape), *model::find_mix(mix))) total += tensor.size;
  return static_cast<double>(total.value) * 1e-9;
}

// In billions.
double parameters(std::string_view shape) {
  std::uint64_t count = 0;
  for (const gguf::TensorInfo& tensor : tensors_of(*find_shape(shape), *model::find_mix("F16"))) {
    count += tensor.elements();
  }
  return static_cast<double>(count) * 1e-9;
}

// The table in the README of llama.cpp's quantize, for Llama 3.1 8B.
TEST(Shapes, HaveTheBitsPerWeightThatLlamaCppStates) {
  struct Row {
    std::string_view mix;
    double bits;
  };
  for (const Row& row :
       {Row{"IQ4_XS", 4.4597}, Row{"IQ4_NL", 4.6818}, Row{"Q2_K_S", 2.9697}, Row{"Q2_K", 3.1593}, Row{"Q3_K_S", 3.6429},
        Row{"Q3_K_L", 4.2979}, Row{"Q4_K_S", 4.6672}, Row{"Q4_K_M", 4.8944}, Row{"Q5_K_S", 5.5704},
        Row{"Q5_K_M", 5.7036}, Row{"Q6_K", 6.5633}, Row{"Q8_0", 8.5008}, Row{"F16", 16.0005}}) {
    const double bits = 8 * gigabytes("llama-3.1-8b", row.mix) / parameters("llama-3.1-8b");
    EXPECT_NEAR(bits, row.bits, 1e-3 * row.bits) << row.mix;
  }
}

// Sizes of files as published, in decimal GB, whole files: one percent covers vocabularies and rounding.
TEST(Shapes, HaveTheSizesOfPublishedFiles) {
  struct Row {
    std::string_view shape;
    std::string_view mix;
    double gigabytes;
  };
  for (const Row& row :
       {// The project's own transcripts state these in GiB: 4.58, 2.96, 4.34 and 0.62.
        Row{"llama-3-8b", "Q4_K_M", 4.92}, Row{"llama-3-8b", "Q2_K", 3.18}, Row{"llama-3-8b", "Q4_0", 4.66},
        Row{"tinyllama-1.1b", "Q4_K_M", 0.668},
        // bartowski/Meta-Llama-3.1-70B-Instruct-GGUF
        Row{"llama-3.1-70b", "Q8_0", 74.98}, Row{"llama-3.1-70b", "Q6_K", 57.89}, Row{"llama-3.1-70b", "Q5_K_M", 49.95},
        Row{"llama-3.1-70b", "Q5_K_S", 48.66}, Row{"llama-3.1-70b", "Q4_K_M", 42.52},
        Row{"llama-3.1-70b", "Q4_K_S", 40.35}, Row{"llama-3.1-70b", "Q3_K_L", 37.14},
        Row{"llama-3.1-70b", "Q3_K_M", 34.27}, Row{"llama-3.1-70b", "Q3_K_S", 30.91}}) {
    EXPECT_NEAR(gigabytes(row.shape, row.mix), row.gigabytes, 0.01 * row.gigabytes) << row.shape << " " << row.mix;
  }
}

// The numbers of parameters the models were published with, in billions.
TEST(Shapes, HaveTheParametersOfTheirModels) {
  struct Row {
    std::string_view shape;
    double billions;
  };
  for (const Row& row : {Row{"tinyllama-1.1b", 1.10},    Row{"llama-2-7b", 6.74},     Row{"llama-2-13b", 13.02},
                         Row{"llama-2-70b", 68.98},      Row{"llama-3-8b", 8.03},     Row{"llama-3-70b", 70.55},
                         Row{"llama-3.1-405b", 405.85},  Row{"llama-3.2-1b", 1.236},  Row{"llama-3.2-3b", 3.21},
                         Row{"mistral-7b", 7.24},        Row{"qwen2.5-0.5b", 0.494},  Row{"qwen2.5-1.5b", 1.544},
                         Row{"qwen2.5-3b", 3.09},        Row{"qwen2.5-7b", 7.62},     Row{"qwen2.5-14b", 14.77},
                         Row{"qwen2.5-32b", 32.76},      Row{"qwen2.5-72b", 72.71},   Row{"qwen3-0.6b", 0.596},
                         Row{"qwen3-1.7b", 1.72},        Row{"qwen3-4b", 4.02},       Row{"qwen3-8b", 8.19},
                         Row{"qwen3-14b", 14.77},        Row{"qwen3-32b", 32.76},     Row{"gpt-oss-20b", 20.91},
                         Row{"gpt-oss-120b", 116.83},    Row{"qwen3-30b-a3b", 30.53}, Row{"qwen3-235b-a22b", 235.09},
                         Row{"mixtral-8x7b", 46.70},     Row{"gemma-3-4b", 3.88},     Row{"gemma-3-12b", 11.77},
                         Row{"gemma-3-27b", 27.01},      Row{"phi-4", 14.66},         Row{"glm-4.5-air", 106.85},
                         Row{"deepseek-v2-lite", 15.71}, Row{"deepseek-v3", 671.03},  Row{"qwen3-next-80b-a3b", 79.67},
                         Row{"llama-4-scout", 107.77}}) {
    EXPECT_NEAR(parameters(row.shape), row.billions, 0.002 * row.billions) << row.shape;
  }
}

TEST(Shapes, AreModelsOfFamiliesWeKnow) {
  for (const Shape& shape : all_shapes()) {
    const model::Program program = model::build_program(describe(shape, *model::find_mix("Q4_K_M")));
    EXPECT_EQ(program.config.layers, shape.layers) << shape.name;
    EXPECT_EQ(program.config.vocabulary, shape.vocabulary) << shape.name;
    EXPECT_EQ(program.config.trained_context, shape.context) << shape.name;
    EXPECT_EQ(program.tied_embeddings, shape.tied_embeddings) << shape.name;
    const bool factors = !program.ropes.empty() && program.ropes.front().factors != model::kNoTensor;
    EXPECT_EQ(factors, shape.rope_factor != 0) << shape.name;
  }
}

TEST(Shapes, AreFoundByNameInAnyCase) {
  std::set<std::string_view> names;
  for (const Shape& shape : all_shapes()) {
    EXPECT_EQ(find_shape(shape.name), &shape);
    EXPECT_TRUE(names.insert(shape.name).second);
  }
  EXPECT_EQ(find_shape("LLAMA-3-8B"), find_shape("llama-3-8b"));
  EXPECT_EQ(find_shape("llama-9"), nullptr);
}

}  // namespace
}  // namespace loadline::authoring
