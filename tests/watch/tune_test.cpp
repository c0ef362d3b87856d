// The search finds the optimum that was planted, never leaves what fits, and says what it tried.
#include "watch/tune.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <fstream>

#include "support/test_data.h"
#include "watch/tuned.h"

namespace loadline::watch {
namespace {

// A device on which layers help up to a number, after which they no longer fit (or are moved to slow memory), threads
// up to another, and prompts like a batch.
struct FakeDevice {
  std::uint32_t best_layers, best_threads, best_batch;
  std::uint32_t fits = 1000;
  double cliff = 8;  // how much slower each layer beyond the best is than one before it was faster
  int asked = 0;

  std::optional<Measured> measure(const Setting& setting) {
    ++asked;
    const std::uint32_t layers = setting.gpu_layers.value_or(0);
    if (layers > fits) return std::nullopt;
    double seconds = 1.0 - 0.02 * std::min(layers, best_layers);
    if (layers > best_layers) seconds += 0.02 * cliff * (layers - best_layers);
    const double threads = setting.threads;
    seconds *= 1 + 0.2 * std::abs(std::log2(threads / best_threads));
    const double prompt = 100 / (1 + 0.3 * std::abs(std::log2(static_cast<double>(setting.batch) / best_batch)));
    return Measured{1 / seconds, prompt};
  }
};

TuneResult find(FakeDevice& device, const Setting& planned, const TuneSpace& space) {
  return tune(
      planned, space, [&](const Setting& setting) { return device.measure(setting); }, [] { return false; },
      [](const Trial&) {});
}

TEST(Tune, finds_the_planted_optimum) {
  FakeDevice device{21, 6, 1024};
  const TuneResult result = find(device, {12, 8, 512}, {12, 33, 16});
  EXPECT_TRUE(result.finished);
  EXPECT_EQ(result.setting.gpu_layers, 21U);
  EXPECT_EQ(result.setting.threads, 6U);
  EXPECT_EQ(result.setting.batch, 1024U);
  EXPECT_LE(device.asked, 45);
}

RC_GTEST_PROP(Tune, finds_it_wherever_it_is, ()) {
  const auto most = *rc::gen::inRange<std::uint32_t>(1, 80);
  FakeDevice device{*rc::gen::inRange<std::uint32_t>(0, most + 1), *rc::gen::inRange<std::uint32_t>(1, 33), 512};
  const Setting planned{*rc::gen::inRange<std::uint32_t>(0, most + 1), *rc::gen::inRange<std::uint32_t>(1, 33), 512};
  const TuneResult result = find(device, planned, {*planned.gpu_layers, most, 32});
  const Setting best{device.best_layers, device.best_threads, 512};
  RC_ASSERT(result.measured.generation >= 0.97 * device.measure(best)->generation);
}

TEST(Tune, stays_within_what_fits) {
  FakeDevice device{40, 4, 512, 17};
  const TuneResult result = find(device, {10, 4, 512}, {10, 33, 8});
  EXPECT_EQ(result.setting.gpu_layers, 17U);
}

TEST(Tune, keeps_the_plan_where_nothing_is_better) {
  FakeDevice device{0, 8, 512};
  const Setting planned{std::nullopt, 8, 512};
  const TuneResult result = find(device, planned, {0, 0, 16});
  EXPECT_EQ(result.setting, planned);
  EXPECT_TRUE(result.trials.front().best);
}

TEST(Tune, asks_for_no_setting_twice_while_it_searches) {
  FakeDevice device{21, 6, 1024};
  const TuneResult result = find(device, {12, 8, 512}, {12, 33, 16});
  for (std::size_t i = 0; i < result.trials.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) EXPECT_NE(result.trials[i].setting, result.trials[j].setting);
  }
}

TEST(Tune, ends_when_time_is_up_with_the_best_so_far) {
  FakeDevice device{21, 6, 1024};
  const TuneResult result = tune(
      {12, 8, 512}, {12, 33, 16}, [&](const Setting& setting) { return device.measure(setting); },
      [&] { return device.asked >= 5; }, [](const Trial&) {});
  EXPECT_FALSE(result.finished);
  EXPECT_EQ(result.trials.size(), 5U);
  for (const Trial& trial : result.trials) EXPECT_LE(trial.measured->generation, result.measured.generation * 1.01);
}

TEST(Tuned, is_found_again_on_the_same_machine_for_the_same_model_alone) {
  const test::TemporaryFolder folder;
  const auto file = folder.path() / "below" / "tuned.json";
  hardware::Profile machine;
  machine.cpu.model = "Test CPU";
  machine.cpu.cores = 8;
  EXPECT_FALSE(recall_tuned(file, machine, "abcd"));
  remember_tuned(file, machine, "abcd", {{20, 6, 1024}, {12.5, 240}, "2026-01-02"});
  remember_tuned(file, machine, "ef01", {{std::nullopt, 4, 256}, {1, 2}, "2026-01-03"});
  const auto found = recall_tuned(file, machine, "abcd");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->setting, (Setting{20, 6, 1024}));
  EXPECT_DOUBLE_EQ(found->measured.generation, 12.5);
  EXPECT_EQ(found->date, "2026-01-02");
  EXPECT_EQ(recall_tuned(file, machine, "ef01")->setting.gpu_layers, std::nullopt);
  EXPECT_FALSE(recall_tuned(file, machine, "0000"));
  machine.gpus.emplace_back().name = "RTX 3060";
  EXPECT_FALSE(recall_tuned(file, machine, "abcd"));
}

TEST(Tuned, of_a_damaged_file_is_nothing) {
  const test::TemporaryFolder folder;
  hardware::Profile machine;
  for (const char* text : {"", "[]", "{", R"({" x1: m": 5})", R"({" x1: m": {"threads": -1, "batch": "x"}})"}) {
    std::ofstream(folder.path() / "tuned.json") << text;
    EXPECT_FALSE(recall_tuned(folder.path() / "tuned.json", machine, "m")) << text;
  }
}

}  // namespace
}  // namespace loadline::watch
