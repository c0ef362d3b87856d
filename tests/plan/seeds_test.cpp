// The machines and models this project began with, and what is suggested on them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "engine/backends.h"
#include "plan/describe.h"
#include "plan/machines.h"
#include "plan/models.h"
#include "plan/planner.h"
#include "plan/predict.h"
#include "plan/refusal.h"
#include "plan/suggest.h"
#include "support/refusal.h"

namespace loadline::plan {
namespace {

using quant::TensorType;
using testing::AllOf;
using testing::HasSubstr;

const Suggestion* find(const std::vector<Suggestion>& suggestions, std::string_view beginning) {
  const auto found =
      std::ranges::find_if(suggestions, [&](const Suggestion& one) { return one.what.starts_with(beginning); });
  return found == suggestions.end() ? nullptr : &*found;
}

// Llama 3 8B Q4_K_M on a notebook with 4 GB of graphics memory and 16 GB of RAM.
class Notebook : public testing::Test {
 protected:
  Notebook() {
    options_.context = 4096;
    options_.batch = 512;
  }
  gguf::Model model_ = test::make_model(test::llama_3_8b(), test::q4_k_m(32));
  model::Program program_ = model::build_program(model_);
  hardware::Profile profile_ = test::machine(parse_bytes("16GB", "RAM"), {"RTX 3050 Ti Mobile"});
  Options options_;
};

TEST_F(Notebook, all_layers_on_the_gpu_are_refused_with_the_numbers) {
  options_.gpu_layers = {GpuLayers::Kind::Count, 33};
  const test::Refusal refusal = test::refusal(
      [&] { return make_plan(model_, program_, profile_, options_, engine::backends()); }, ErrorCode::DoesNotFit);
  EXPECT_THAT(refusal.sentence, AllOf(HasSubstr("33 layers need 4.9"), HasSubstr("GPU 0 (RTX 3050 Ti Mobile)"),
                                      HasSubstr("weights 4.34 GiB"), HasSubstr("KV cache 512 MiB"),
                                      HasSubstr("3.50 GiB"), HasSubstr("headroom")));
  EXPECT_THAT(refusal.hint, AllOf(HasSubstr("-ngl 2"), HasSubstr("leave -ngl out"), HasSubstr("tok/s")));
}

TEST_F(Notebook, as_many_layers_as_fit_are_suggested_and_fit_and_one_more_does_not) {
  options_.gpu_layers = {GpuLayers::Kind::Count, 33};
  const auto suggestions = suggest_fitting(model_, program_, profile_, options_, engine::backends());
  const auto fewer =
      std::ranges::find_if(suggestions, [](const Suggestion& one) { return one.how.starts_with("-ngl "); });
  ASSERT_NE(fewer, suggestions.end());
  const auto layers = static_cast<std::uint32_t>(std::stoul(fewer->how.substr(5)));
  options_.gpu_layers.count = layers;
  const Attempt fits = try_plan(model_, program_, profile_, options_, engine::backends());
  EXPECT_TRUE(fits.fits);
  EXPECT_EQ(fits.plan.prediction.generation_rate, fewer->prediction.generation_rate);
  options_.gpu_layers.count = layers + 1;
  EXPECT_FALSE(try_plan(model_, program_, profile_, options_, engine::backends()).fits);
}

TEST_F(Notebook, left_to_itself_it_puts_about_twenty_layers_on_the_gpu) {
  const Attempt attempt = try_plan(model_, program_, profile_, options_, engine::backends());
  ASSERT_TRUE(attempt.fits);
  const LayersOnGpu layers = layers_on_gpu(program_, attempt.plan);
  EXPECT_GE(layers.whole, 18U);
  EXPECT_LE(layers.whole + layers.attention + layers.feed_forward, 28U);
  EXPECT_GT(attempt.plan.tiers[1].headroom, 100 * kMiB);
  EXPECT_LE(tier_total(attempt.plan, 1) + attempt.plan.tiers[1].headroom, attempt.plan.tiers[1].available);
  EXPECT_GT(attempt.plan.prediction.generation_rate, 5);
  EXPECT_LT(attempt.plan.prediction.generation_rate, 30);
}

TEST_F(Notebook, smaller_formats_are_suggested_with_their_speeds) {
  const Attempt attempt = try_plan(model_, program_, profile_, options_, engine::backends());
  const auto faster = suggest_faster(model_, program_, profile_, options_, engine::backends(), attempt.plan);
  const Suggestion* q4_0 = find(faster, "Q4_0 of this model, 4.3");
  const Suggestion* q2_k = find(faster, "Q2_K of this model, 2.9");
  ASSERT_NE(q4_0, nullptr);
  ASSERT_NE(q2_k, nullptr);
  EXPECT_GT(q4_0->prediction.generation_rate, attempt.plan.prediction.generation_rate);
  EXPECT_GT(q2_k->prediction.generation_rate, q4_0->prediction.generation_rate);
  EXPECT_THAT(q2_k->how, HasSubstr("lower quality"));
}

// A file of 64 GB: 70 B parameters, most layers in Q8_0 and the rest in Q6_K.
class LargeModel : public testing::Test {
 protected:
  static TensorType type_of(std::string_view name, std::uint32_t layer) {
    if (!name.starts_with("blk.")) return TensorType::Q6_K;
    return layer % 5 < 2 ? TensorType::Q8_0 : TensorType::Q6_K;
  }
  [[nodiscard]] static hardware::Profile machine(const char* ram) {
    return test::machine(parse_bytes(ram, "RAM"), {"RTX 3060"});
  }
  gguf::Model model_ = test::make_model(test::llama_2_70b(), type_of);
  model::Program program_ = model::build_program(model_);
};

TEST_F(LargeModel, is_64_gb) {
  EXPECT_GT(model_.tensor_bytes(), parse_bytes("62GB", "size"));
  EXPECT_LT(model_.tensor_bytes(), parse_bytes("66GB", "size"));
}

TEST_F(LargeModel, runs_on_64_gb_and_a_full_card_at_the_speed_such_machines_have) {
  const Attempt attempt = try_plan(model_, program_, machine("64GB"), {}, engine::backends());
  ASSERT_TRUE(attempt.fits);
  EXPECT_TRUE(attempt.plan.stream.empty());
  const Bytes layer = 64 * kGiB / 80;
  EXPECT_LT(attempt.plan.tiers[1].budget - tier_total(attempt.plan, 1), layer / 3) << "an attention is a fifth of it";
  EXPECT_GT(attempt.plan.prediction.generation_rate, 0.5);
  EXPECT_LT(attempt.plan.prediction.generation_rate, 2);
  EXPECT_EQ(attempt.plan.prediction.generation_bound, "RAM bandwidth");
}

TEST_F(LargeModel, with_32_gb_is_refused_without_the_disk_and_smaller_formats_are_suggested) {
  Options options;
  options.disk = false;
  const hardware::Profile profile = machine("32GB");
  const test::Refusal refusal = test::refusal(
      [&] { return make_plan(model_, program_, profile, options, engine::backends()); }, ErrorCode::DoesNotFit);
  EXPECT_THAT(refusal.sentence, AllOf(HasSubstr("of RAM"), HasSubstr("weights")));
  const auto suggestions = suggest_fitting(model_, program_, profile, options, engine::backends());
  for (const char* format : {"Q3_K_M of this model, 3", "Q2_K of this model, 2"}) {
    const Suggestion* found = find(suggestions, format);
    ASSERT_NE(found, nullptr) << format;
    EXPECT_GT(found->prediction.generation_rate, 1) << format;
    EXPECT_THAT(refusal.hint, HasSubstr(found->what));
  }
  const Suggestion* disk = find(suggestions, "weights read from disk");
  ASSERT_NE(disk, nullptr);
  EXPECT_EQ(disk->how, "--disk on");
  EXPECT_LT(disk->prediction.generation_rate, 0.5);
}

TEST_F(LargeModel, with_32_gb_is_planned_with_the_disk) {
  for (const std::optional<bool> disk : {std::optional(true), std::optional<bool>()}) {
    Options options;
    options.disk = disk;
    const Attempt attempt = try_plan(model_, program_, machine("32GB"), options, engine::backends());
    ASSERT_TRUE(attempt.fits);
    EXPECT_GT(streamed_bytes(attempt.plan), 20 * kGiB);
    EXPECT_LT(streamed_bytes(attempt.plan), 32 * kGiB) << "what RAM and the card hold is not read again";
    EXPECT_EQ(attempt.plan.prediction.generation_bound, "disk bandwidth");
  }
}

// Following a suggestion to take more RAM works, to the MiB that is named.
TEST(Suggestions, the_ram_that_is_named_suffices) {
  const gguf::Model model = test::make_model(test::llama_3_2_1b(), test::q4_k_m(16));
  const model::Program program = model::build_program(model);
  const hardware::Profile profile = test::machine(16 * kGiB);
  Options options;
  options.ram_budget = 300 * kMiB;
  options.disk = false;
  const auto suggestions = suggest_fitting(model, program, profile, options, engine::backends());
  const auto more =
      std::ranges::find_if(suggestions, [](const Suggestion& one) { return one.how.starts_with("--ram "); });
  ASSERT_NE(more, suggestions.end());
  options.ram_budget = parse_bytes(more->how.substr(6), "--ram");
  EXPECT_TRUE(try_plan(model, program, profile, options, engine::backends()).fits);
  options.ram_budget = *options.ram_budget - kMiB;
  EXPECT_FALSE(try_plan(model, program, profile, options, engine::backends()).fits);
}

TEST(Suggestions, more_ram_than_the_machine_has_is_no_flag) {
  const gguf::Model model = test::make_model(test::llama_3_8b(), test::q4_k_m(32));
  const model::Program program = model::build_program(model);
  Options options;
  options.disk = false;
  const auto suggestions = suggest_fitting(model, program, test::machine(4 * kGiB), options, engine::backends());
  const auto more = std::ranges::find_if(
      suggestions, [](const Suggestion& one) { return one.what.find("of RAM") != std::string::npos; });
  ASSERT_NE(more, suggestions.end());
  EXPECT_EQ(more->how, "more than is free here");
}

TEST(Refusals, what_is_free_now_must_hold_the_plan) {
  const gguf::Model model = test::make_model(test::tiny(), test::all_of(TensorType::F16));
  const model::Program program = model::build_program(model);
  const Attempt attempt = try_plan(model, program, test::machine(16 * kGiB), {}, engine::backends());
  hardware::Profile busy = test::machine(16 * kGiB);
  EXPECT_NO_THROW(require_available(attempt.plan, busy));
  busy.ram.available = tier_total(attempt.plan, kCpu) - Bytes(1);
  EXPECT_THROW(require_available(attempt.plan, busy), Error);
}

TEST(Refusals, a_process_that_holds_more_than_was_planned_is_an_error) {
  const gguf::Model model = test::make_model(test::tiny(), test::all_of(TensorType::F16));
  const model::Program program = model::build_program(model);
  const Plan plan = make_plan(model, program, test::machine(16 * kGiB), {}, engine::backends());
  const Bytes planned = tier_total(plan, kCpu);
  EXPECT_NO_THROW(require_held(plan, {planned}));
  EXPECT_THROW(require_held(plan, {planned + Bytes(1)}), Error);
}

// A plan for a software GPU: its memory is RAM, and its driver's part is measured as it is opened.
struct OnSoftware {
  OnSoftware() {
    hardware::Profile profile = test::machine(16 * kGiB);
    hardware::Gpu& gpu = profile.gpus.emplace_back();
    gpu.name = "llvmpipe";
    gpu.id = "vulkan0";
    gpu.software = true;
    gpu.total = gpu.free = 2 * kGiB;
    gpu.context_host_memory = 64 * kMiB;
    Options options;
    options.gpu_layers.kind = GpuLayers::Kind::All;
    options.ram_budget = kGiB;
    const gguf::Model model = test::make_model(test::tiny(), test::all_of(TensorType::F16));
    plan = make_plan(model, model::build_program(model), profile, options, engine::backends());
  }
  Plan plan;
};

TEST(Refusals, a_driver_may_hold_what_was_planned_or_what_opening_it_took) {
  const Plan plan = OnSoftware().plan;
  EXPECT_EQ(why_not_verified(plan), "");
  const Bytes planned = tier_total(plan, kCpu);
  const Bytes gpu = tier_total(plan, 1);
  ASSERT_GT(planned, 64 * kMiB);
  EXPECT_NO_THROW(require_held(plan, {planned + gpu, 64 * kMiB, gpu}));
  EXPECT_NO_THROW(require_held(plan, {planned + gpu, Bytes(0), gpu}));
  const auto refused = [&](const Held& held, ErrorCode code) {
    return test::refusal([&] { return require_held(plan, held); }, code).sentence;
  };
  EXPECT_THAT(refused({planned + gpu + Bytes(1), 64 * kMiB, gpu}, ErrorCode::Internal), HasSubstr("the process holds"));
  // A driver that took 100 MiB more than planned explains those, and not a byte more.
  EXPECT_NO_THROW(require_held(plan, {planned + gpu + 100 * kMiB, 164 * kMiB, gpu}));
  refused({planned + gpu + 100 * kMiB + Bytes(1), 164 * kMiB, gpu}, ErrorCode::Internal);
  // Unless the budget does not hold it.
  const Bytes most = plan.tiers[kCpu].budget + gpu;
  EXPECT_NO_THROW(require_held(plan, {most, kGiB, gpu}));
  EXPECT_THAT(refused({most + Bytes(1), kGiB, gpu}, ErrorCode::DoesNotFit),
              HasSubstr("opening the GPUs took 1.00 GiB"));
}

TEST(Refusals, a_driver_nobody_measured_is_named) {
  const gguf::Model model = test::make_model(test::tiny(), test::all_of(TensorType::F16));
  const model::Program program = model::build_program(model);
  hardware::Profile profile = test::machine(16 * kGiB, {"RTX 3060"});
  Options options;
  options.gpu_layers.kind = GpuLayers::Kind::All;
  EXPECT_THAT(why_not_verified(make_plan(model, program, profile, options, engine::backends())),
              HasSubstr("what the driver of RTX 3060 takes (`loadline devices"));
  profile.gpus[0].context_measured = true;
  EXPECT_EQ(why_not_verified(make_plan(model, program, profile, options, engine::backends())), "");
  EXPECT_EQ(why_not_verified(make_plan(model, program, test::machine(16 * kGiB), {}, engine::backends())), "");
}

}  // namespace
}  // namespace loadline::plan
