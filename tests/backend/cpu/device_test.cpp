// The CPU as a device against the oracle where caches are long: past the first chunk of attention, with passes of a few
// tokens, heads of several widths, and one to three threads. The model has random weights in float32 and no other data.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <random>
#include <vector>

#include "backend/cpu/cpu_device.h"
#include "backend/cpu/lower.h"
#include "backend/reference/reference.h"
#include "gguf/writer.h"
#include "model/rope.h"
#include "plan/machines.h"
#include "plan/planner.h"

namespace loadline::cpu {
namespace {

constexpr std::uint32_t kHeads = 4;
constexpr std::uint32_t kKvHeads = 2;
constexpr std::uint32_t kWidth = 128;
constexpr std::uint32_t kVocabulary = 32;
constexpr std::uint32_t kTokens = 1092;

// A model of one layer whose heads have `head_dim` values, in a file of its own.
std::filesystem::path write_model(std::uint32_t head_dim) {
  using gguf::Value;
  gguf::Metadata metadata;
  const auto number = [&](const char* key, std::uint32_t value) { metadata.set(key, Value{value}); };
  metadata.set("general.architecture", Value{std::string("llama")});
  number("llama.block_count", 1);
  number("llama.context_length", 2048);
  number("llama.embedding_length", kWidth);
  number("llama.feed_forward_length", kWidth);
  number("llama.attention.head_count", kHeads);
  number("llama.attention.head_count_kv", kKvHeads);
  number("llama.attention.key_length", head_dim);
  number("llama.attention.value_length", head_dim);
  number("llama.rope.dimension_count", head_dim);
  metadata.set("llama.attention.layer_norm_rms_epsilon", Value{1e-5F});
  const std::uint64_t q = std::uint64_t{kHeads} * head_dim;
  const std::uint64_t kv = std::uint64_t{kKvHeads} * head_dim;
  const std::vector<gguf::NewTensor> tensors = {
      {"token_embd.weight", quant::TensorType::F32, {kWidth, kVocabulary}},
      {"blk.0.attn_norm.weight", quant::TensorType::F32, {kWidth}},
      {"blk.0.attn_q.weight", quant::TensorType::F32, {kWidth, q}},
      {"blk.0.attn_k.weight", quant::TensorType::F32, {kWidth, kv}},
      {"blk.0.attn_v.weight", quant::TensorType::F32, {kWidth, kv}},
      {"blk.0.attn_output.weight", quant::TensorType::F32, {q, kWidth}},
      {"blk.0.ffn_norm.weight", quant::TensorType::F32, {kWidth}},
      {"blk.0.ffn_gate.weight", quant::TensorType::F32, {kWidth, kWidth}},
      {"blk.0.ffn_up.weight", quant::TensorType::F32, {kWidth, kWidth}},
      {"blk.0.ffn_down.weight", quant::TensorType::F32, {kWidth, kWidth}},
      {"output_norm.weight", quant::TensorType::F32, {kWidth}},
      {"output.weight", quant::TensorType::F32, {kWidth, kVocabulary}},
  };
  const std::filesystem::path path =
      std::filesystem::path(testing::TempDir()) / ("loadline_heads_" + std::to_string(head_dim) + ".gguf");
  gguf::Writer writer(path, metadata, tensors);
  std::mt19937 random(head_dim);
  std::normal_distribution<float> normal(0, 0.15F);
  for (const gguf::TensorInfo& tensor : writer.tensors()) {
    std::vector<float> values(tensor.elements());
    for (float& value : values) value = normal(random) + (tensor.dimensions == 1 ? 1.0F : 0.0F);
    writer.append(std::as_bytes(std::span(values)));
  }
  writer.finish();
  return path;
}

// A model on the CPU alone, and what the oracle says of it.
class LongCache : public testing::TestWithParam<std::uint32_t> {
 protected:
  LongCache()
      : file_(write_model(GetParam())), model_(gguf::open_model(file_)), program_(model::build_program(model_)) {
    std::mt19937 random(1);
    for (std::int32_t& token : tokens_) token = static_cast<std::int32_t>(random() % kVocabulary);
    expected_ = reference::logits(model_, program_, tokens_);
    std::iota(pages_.rbegin(), pages_.rend(), 0);
    const model::RopeConfig& rope = program_.ropes.front().config;
    frequencies_ = model::rope_frequencies(rope, {});
  }
  ~LongCache() override { std::filesystem::remove(file_); }

  plan::Plan plan(std::uint32_t threads) {
    plan::Options options;
    options.context = 1120;
    options.batch = 64;
    options.outputs = 8;
    options.threads = threads;
    options.k_type = options.v_type = quant::TensorType::F32;
    const plan::Backends backends({&lowering_});
    return plan::make_plan(model_, program_, test::machine(kGiB), options, backends);
  }

  void load(CpuDevice& device, const plan::Plan& plan) {
    for (plan::RegionIndex i = 0; i < plan.regions.size(); ++i) {
      const plan::Region& region = plan.regions[i];
      if (region.purpose != plan::Purpose::Weights) continue;
      const gguf::TensorInfo& tensor = model_.tensors[static_cast<std::size_t>(region.tensor)];
      std::vector<std::byte> bytes(tensor.size.value);
      model_.files[tensor.file].read_at(tensor.offset, bytes);
      device.upload(i, 0, tensor.rows(), bytes);
    }
    device.populate(kNeverStop);
    device.prepare();
  }

  // The next `count` tokens in one pass; where they are few, all their logits are compared.
  void pass(CpuDevice& device, std::uint32_t first, std::uint32_t count) {
    const model::RopeConfig& rope = program_.ropes.front().config;
    std::vector<float> cosines(count * frequencies_.size());
    std::vector<float> sines(cosines.size());
    for (std::uint32_t t = 0; t < count; ++t) {
      const std::size_t at = t * frequencies_.size();
      model::rope_table(rope, frequencies_, first + t, cosines.data() + at, sines.data() + at);
    }
    std::vector<std::uint32_t> outputs(count <= 8 ? count : 0);
    std::iota(outputs.begin(), outputs.end(), 0);
    const std::array runs = {backend::TokenRun{0, count, first, pages_.data()}};
    const std::array ropes = {backend::RopeAngles{cosines.data(), sines.data()}};
    const backend::Batch batch{std::span(tokens_).subspan(first, count), runs, outputs, ropes};
    ASSERT_TRUE(device.run(0, batch, kNeverStop));
    float worst = 0;
    for (std::size_t i = 0; i < outputs.size() * kVocabulary; ++i) {
      const float error = std::fabs(device.logits()[i] - expected_[first * kVocabulary + i]);
      worst = std::isnan(error) ? INFINITY : std::max(worst, error);
    }
    EXPECT_LT(worst, 2e-3F) << count << " tokens from " << first << " on";
  }

  static inline const backend::StopFlag kNeverStop{false};
  std::filesystem::path file_;
  gguf::Model model_;
  model::Program program_;
  CpuLowering lowering_;
  std::vector<std::int32_t> tokens_ = std::vector<std::int32_t>(kTokens);
  std::vector<float> expected_;  // [tokens][vocabulary]
  std::vector<std::uint32_t> pages_ = std::vector<std::uint32_t>(1120 / 32);
  std::vector<float> frequencies_;
};

TEST_P(LongCache, few_tokens_give_what_the_oracle_gives_whatever_the_threads) {
  for (const std::uint32_t threads : {1U, 2U, 3U}) {
    SCOPED_TRACE(std::to_string(threads) + " thread(s)");
    const plan::Plan plan = this->plan(threads);
    ThreadPool pool(static_cast<int>(threads));
    CpuDevice device(model_, program_, plan, pool, kNeverStop);
    load(device, plan);
    std::uint32_t done = 0;
    const auto next = [&](std::uint32_t count) {
      pass(device, done, count);
      done += count;
    };
    while (done < 592) next(std::min(64U, 592 - done));
    for (std::uint32_t count = 1; count <= 8; ++count) next(count);
    while (done < 1056) next(std::min(64U, 1056 - done));
    for (std::uint32_t count = 8; count >= 1; --count) next(count);
    EXPECT_EQ(done, kTokens);
  }
}

INSTANTIATE_TEST_SUITE_P(Heads, LongCache, testing::Values(64U, 80U, 96U, 128U));

}  // namespace
}  // namespace loadline::cpu
