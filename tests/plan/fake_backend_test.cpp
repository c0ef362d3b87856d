// A backend that nobody knows is planned for without a word of the planner: with a layout, buffers, staging, caches and
// limits of its own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "backend/cpu/lower.h"
#include "base/error.h"
#include "plan/json.h"
#include "plan/machines.h"
#include "plan/models.h"
#include "plan/planner.h"
#include "plan/validate.h"

namespace loadline::plan {
namespace {

constexpr Layout kSpiral{7};
constexpr Bytes kCacheOfALayer(3 * 4096);

// Runs feed-forwards, and attentions unless told otherwise; each in two steps over one buffer of its own.
class SpiralLowering final : public Lowering {
 public:
  bool attends = true;

  [[nodiscard]] Needs needs(const LoweringTask& task, const Part& part) const override {
    const model::Group& group = task.program.groups[part.group];
    if (group.kind == model::GroupKind::Attention && !attends) {
      throw bad_input("the spiral cannot run the attention of " + group.name());
    }
    Needs needs;
    needs.steps = 2;
    const auto values = static_cast<Slot>(task.program.values.size());
    const Bytes hidden(std::uint64_t{task.shape.batch} * task.program.values[model::kHidden].width * sizeof(float));
    needs.buffers = {{model::kHidden, hidden, 0, 1}, {values, Bytes(1000), 0, 0}, {values + 1, Bytes(500), 1, 1}};
    for (const model::Op& op : group.ops) {
      for (const model::TensorUse& use : op.tensors) {
        const Bytes size = task.model.tensors[static_cast<std::size_t>(use.tensor)].size;
        needs.slabs.push_back({use.tensor, kSpiral, size, use.role == model::TensorRole::Matrix});
      }
      if (op.kind != model::OpKind::Attention) continue;
      needs.caches.push_back(
          {op.as<model::ops::Attention>().cache, task.shape.context / 32, kCacheOfALayer, kCacheOfALayer});
    }
    return needs;
  }
  [[nodiscard]] std::vector<std::string_view> own_buffers() const override { return {"inward", "outward"}; }
  [[nodiscard]] std::vector<StagingNeed> staging(const LoweringTask&, const DeviceTask& device) const override {
    return {{"mailbox", Bytes(device.makes_logits ? 2048 : 1024), false}, {"post office", Bytes(4096), true}};
  }
  [[nodiscard]] bool can_pass_through(const model::Group&) const override { return false; }
  [[nodiscard]] DeviceRates rates(const hardware::Profile&, DeviceIndex, const Shape&,
                                  std::vector<std::string>& assumed) const override {
    assumed.emplace_back("spiral 1 TB/s");
    DeviceRates rates;
    rates.bandwidth = rates.cache_bandwidth = rates.host_bandwidth = 1e12;
    rates.attention_ops = 1e14;
    for (const quant::Format& format : quant::all_formats()) rates.products.push_back({format.type, 1e12, 1e14});
    return rates;
  }
};

gguf::Model with_experts() {
  gguf::Model model = test::make_model(test::tiny(), test::all_of(quant::TensorType::F32));
  for (const auto& [key, value] : {std::pair{"expert_count", 8U}, {"expert_used_count", 2U}, {"vocab_size", 512U}}) {
    model.metadata.set(std::string("llama.") + key, gguf::Value{value});
  }
  model.tensors = model::make_tensors(model.metadata, [](std::string_view) { return false; });
  return model;
}

class FakeBackend : public ::testing::Test {
 protected:
  [[nodiscard]] Attempt plan() const {
    return try_plan(model_, program_, test::machine(16 * kGiB, {"RTX 3060"}), {}, backends_);
  }

  gguf::Model model_ = test::make_model(test::tiny(), test::all_of(quant::TensorType::Q8_0));
  model::Program program_ = model::build_program(model_);
  cpu::CpuLowering cpu_;
  SpiralLowering spiral_;
  Backends backends_{{&cpu_, &spiral_}};
};

TEST_F(FakeBackend, has_its_layout_buffers_staging_and_caches_in_the_plan) {
  const Attempt attempt = plan();
  ASSERT_TRUE(attempt.fits);
  const Plan& plan = attempt.plan;
  EXPECT_THAT(attempt.assumed, ::testing::Contains("spiral 1 TB/s"));
  ASSERT_EQ(plan.groups.at(1).device, 1U) << "it is the faster device";
  const DeviceScratch& scratch = plan.scratch.at(1);
  const auto region = [&](RegionIndex index) { return plan.regions.at(index); };
  ASSERT_EQ(scratch.own.size(), 2U);
  EXPECT_EQ(region(scratch.own[0]).name, "inward");
  EXPECT_EQ(region(scratch.own[0]).size, Bytes(1000));
  // They are never used together.
  EXPECT_EQ(region(scratch.own[0]).offset, region(scratch.own[1]).offset);
  ASSERT_EQ(scratch.staging.size(), 2U);
  EXPECT_EQ(region(scratch.staging[0]).size, Bytes(2048));
  EXPECT_EQ(plan.arenas.at(region(scratch.staging[0]).arena).tier, 1U);
  EXPECT_EQ(region(scratch.staging[1]).size, Bytes(4096));
  EXPECT_EQ(plan.arenas.at(region(scratch.staging[1]).arena).tier, kCpu);
  EXPECT_EQ(holder_of(plan, region(scratch.staging[1]).arena), 1U);
  EXPECT_EQ(region(plan.kv.at(0).k).size, kCacheOfALayer);
  const auto is_of_spiral = [&](const Region& r) {
    return plan.arenas[r.arena].tier == 1 && r.tensor != model::kNoTensor;
  };
  EXPECT_GT(std::ranges::count_if(plan.regions, is_of_spiral), 0);
  for (const Region& r : plan.regions) {
    if (is_of_spiral(r)) {
      EXPECT_EQ(r.layout, kSpiral) << r.name;
    }
  }
}

TEST_F(FakeBackend, has_a_plan_that_is_written_and_read_and_holds) {
  const Attempt attempt = plan();
  Plan read = plan_from_json(to_json(model_, program_, attempt.plan), "a test");
  EXPECT_NO_THROW(validate(read, model_, program_, backends_, "a test"));
  EXPECT_TRUE(read == attempt.plan);
}

TEST_F(FakeBackend, has_no_experts_that_are_to_stay_in_ram_but_those_that_a_pattern_names) {
  const gguf::Model model = with_experts();
  const model::Program program = model::build_program(model);
  // The devices of the layers' attentions and feed-forwards.
  const auto devices = [&](const Options& options) {
    const Attempt attempt = try_plan(model, program, test::machine(16 * kGiB, {"RTX 3060"}), options, backends_);
    std::vector<DeviceIndex> of_layers;
    for (std::size_t g = 1; g < 5; ++g) of_layers.push_back(attempt.plan.groups.at(g).device);
    return of_layers;
  };
  Options options;
  EXPECT_THAT(devices(options), ::testing::ElementsAre(1, 1, 1, 1));
  options.cpu_experts = 1;
  EXPECT_THAT(devices(options), ::testing::ElementsAre(1, 0, 1, 1));
  options.cpu_experts = 1000;
  EXPECT_THAT(devices(options), ::testing::ElementsAre(1, 0, 1, 0));
  options.overrides.push_back({"blk.1.ffn_down_exps", 1});
  EXPECT_THAT(devices(options), ::testing::ElementsAre(1, 0, 1, 1));
}

TEST_F(FakeBackend, is_left_out_where_it_cannot_and_named_where_it_must) {
  spiral_.attends = false;
  const Attempt attempt = plan();
  ASSERT_TRUE(attempt.fits);
  for (std::size_t g = 0; g < program_.groups.size(); ++g) {
    if (program_.groups[g].kind == model::GroupKind::Attention) {
      EXPECT_EQ(attempt.plan.groups[g].device, kCpu);
    }
  }
  Options all;
  all.gpu_layers = {GpuLayers::Kind::All, 0};
  try {
    make_plan(model_, program_, test::machine(16 * kGiB, {"RTX 3060"}), all, backends_);
    FAIL() << "planned what nobody can run";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "the spiral cannot run the attention of blk.0.attn");
  }
}

}  // namespace
}  // namespace loadline::plan
