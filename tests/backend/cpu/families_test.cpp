// Every family's small model (shared/data/golden2) on the CPU's own steps, without a planner or an engine: each buffer,
// weight and cache that the recipes ask for has memory of its own. What is refused is refused by name; what runs is
// right.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>

#include "backend/cpu/kernel_cases.h"
#include "backend/cpu/lower.h"
#include "backend/cpu/recorder.h"
#include "model/rope.h"
#include "plan/cache_pages.h"
#include "quant/kv_page.h"
#include "support/test_data.h"

namespace loadline::cpu::test {
namespace {

namespace fs = std::filesystem;

std::vector<std::byte> bytes_of(const gguf::Model& model, model::TensorIndex index) {
  const gguf::TensorInfo& info = model.tensors[static_cast<std::size_t>(index)];
  std::vector<std::byte> bytes(info.size.value);
  model.files[info.file].read_at(info.offset, bytes);
  return bytes;
}

class OnTheCpu {
 public:
  OnTheCpu(const fs::path& file, std::uint32_t batch, quant::TensorType cells = quant::TensorType::F32)
      : model_(gguf::open_model(file)), program_(model::build_program(model_)), pool_(2), shares_(2) {
    plan_.shape.context = 512;
    plan_.shape.batch = batch;
    plan_.shape.outputs = batch;
    plan_.shape.threads = 2;
    plan_.shape.k_type = cells;
    plan_.shape.v_type = cells;
    plan_.weights.assign(model_.tensors.size(), plan::kNoRegion);
    plan_.kv.resize(program_.caches.size());
    plan_.scratch.resize(1);
    plan_.scratch[0].values.assign(program_.values.size(), plan::kNoRegion);
    plan_.scratch[0].own.assign(kOwnBuffers, plan::kNoRegion);
    plan_.groups.resize(program_.groups.size());
    lay_out();
    const plan::Stage all{plan::kCpu, 0, static_cast<std::uint32_t>(program_.groups.size())};
    recording_ = record_stage(model_, program_, plan_, all, [&](plan::RegionIndex i) { return memory_[i]->data(); });
    for (std::uint32_t page = 0; page < plan_.shape.context / quant::kKvPageCells; ++page) pages_.push_back(page);
    const std::uint32_t windows = plan::window_pages(program_, plan_.shape);
    for (const std::uint32_t page : pages_) window_pages_.push_back(windows > 0 ? page % windows : 0);
    for (const model::RopeTable& table : program_.ropes) {
      std::vector<float> factors;
      if (const model::TensorIndex tensor = table.factors_for(plan_.shape.context); tensor != model::kNoTensor) {
        const std::vector<std::byte> bytes = bytes_of(model_, tensor);
        factors.resize(bytes.size() / sizeof(float));
        std::memcpy(factors.data(), bytes.data(), bytes.size());
      }
      frequencies_.push_back(model::rope_frequencies(table.config, factors));
    }
  }

  // The logits of tokens from `position` on, in one pass.
  std::vector<float> run(std::span<const std::int32_t> tokens, std::uint32_t position) {
    const auto count = static_cast<std::uint32_t>(tokens.size());
    const std::array runs = {backend::TokenRun{0, count, position, pages_.data(), state_, state_ ^ 1U}};
    // Of windows the pages go round.
    const std::array window_runs = {backend::TokenRun{0, count, position, window_pages_.data()}};
    state_ ^= 1U;
    std::vector<std::uint32_t> outputs(count);
    for (std::uint32_t t = 0; t < count; ++t) outputs[t] = t;
    std::vector<std::vector<float>> cosines, sines;
    std::vector<backend::RopeAngles> ropes;
    for (std::size_t i = 0; i < program_.ropes.size(); ++i) {
      const std::size_t pairs = frequencies_[i].size();
      cosines.emplace_back(count * pairs);
      sines.emplace_back(count * pairs);
      for (std::uint32_t t = 0; t < count; ++t) {
        model::rope_table(program_.ropes[i].config, frequencies_[i], position + t, cosines[i].data() + t * pairs,
                          sines[i].data() + t * pairs);
      }
    }
    for (std::size_t i = 0; i < program_.ropes.size(); ++i) ropes.push_back({cosines[i].data(), sines[i].data()});
    const backend::Batch batch{tokens, runs, outputs, ropes, backend::Rounding::Fastest, window_runs};
    for (WorkQueue& queue : recording_.queues) queue.reset();
    const StopFlag stop{false};
    std::atomic<bool> failed{false};
    std::exception_ptr error;
    const Pass pass{&batch, &stop, &kernels(), pool_.threads(), &shares_, nullptr, &failed, &error};
    renew_shares(shares_, pool_.threads());
    pool_.run([&](int thread) noexcept {
      for (std::size_t i = 0; i < recording_.steps.size(); ++i) {
        run_step(recording_.steps[i], i, pass, recording_.queues[i], thread);
        pool_.barrier().wait();
      }
    });
    const auto* logits = memory_[plan_.scratch[0].values[program_.logits]]->as<float>();
    return {logits, logits + std::size_t{count} * program_.config.vocabulary};
  }

  std::vector<float> run_all(const std::vector<std::int32_t>& tokens) {
    std::vector<float> all;
    for (std::size_t first = 0; first < tokens.size(); first += plan_.shape.batch) {
      const std::size_t count = std::min<std::size_t>(plan_.shape.batch, tokens.size() - first);
      const std::vector<float> some = run(std::span(tokens).subspan(first, count), static_cast<std::uint32_t>(first));
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }

  void take_back_the_last_pass() { state_ ^= 1U; }

  // Whether earlier tokens can be computed anew: nothing overwrites what it keeps of them.
  [[nodiscard]] bool keeps_all() const {
    return std::ranges::none_of(program_.caches,
                                [](const model::Cache& c) { return c.kind == model::CacheKind::State; });
  }

 private:
  plan::RegionIndex region(Bytes size, model::TensorIndex tensor = model::kNoTensor,
                           plan::Layout layout = plan::Layout::File) {
    plan_.regions.push_back({"", plan::Purpose::Scratch, 0, Bytes(0), size, tensor, layout});
    memory_.push_back(std::make_unique<Buffer>(size.value, 0xFF));  // NaN
    return static_cast<plan::RegionIndex>(plan_.regions.size() - 1);
  }

  void lay_out() {
    std::vector<Bytes> slots(program_.values.size() + kOwnBuffers);
    std::vector<std::pair<bool, plan::Layout>> slabs(model_.tensors.size());
    for (std::uint32_t group = 0; group < program_.groups.size(); ++group) {
      const plan::Needs needs = lower({model_, program_, plan_.shape}, {group}).needs;
      for (const plan::BufferNeed& need : needs.buffers) slots[need.slot] = std::max(slots[need.slot], need.size);
      for (const plan::SlabNeed& slab : needs.slabs) {
        auto& [used, layout] = slabs[static_cast<std::size_t>(slab.tensor)];
        if (!used || slab.layout == kRows16) layout = slab.layout;  // a tied embedding lies as the output wants it
        used = true;
      }
      for (const plan::CacheNeed& cache : needs.caches) {
        plan_.kv[cache.cache] = {region(cache.k), region(cache.v), cache.pages};
      }
    }
    for (std::size_t slot = 0; slot < slots.size(); ++slot) {
      if (slots[slot].value == 0) continue;
      const std::size_t values = program_.values.size();
      (slot < values ? plan_.scratch[0].values[slot] : plan_.scratch[0].own[slot - values]) = region(slots[slot]);
    }
    for (std::size_t i = 0; i < slabs.size(); ++i) {
      if (!slabs[i].first) continue;
      const auto index = static_cast<model::TensorIndex>(i);
      const gguf::TensorInfo& info = model_.tensors[i];
      plan_.weights[i] = region(info.size, index, slabs[i].second);
      const std::vector<std::byte> file = bytes_of(model_, index);
      std::byte* target = memory_.back()->data();
      if (slabs[i].second == kRows16) {
        repack_rows(info.type, info.columns(), info.rows(), 0, info.rows(), file.data(), target);
      } else {
        std::memcpy(target, file.data(), file.size());
      }
    }
  }

  gguf::Model model_;
  model::Program program_;
  plan::Plan plan_;
  std::vector<std::unique_ptr<Buffer>> memory_;  // per region
  Recording recording_;
  ThreadPool pool_;
  WorkShares shares_;
  std::vector<std::uint32_t> pages_;
  std::vector<std::uint32_t> window_pages_;
  std::uint32_t state_ = 0;
  std::vector<std::vector<float>> frequencies_;
};

std::vector<float> floats_of(const fs::path& path) {
  std::vector<float> values(fs::file_size(path) / sizeof(float));
  std::ifstream(path, std::ios::binary)
      .read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
  return values;
}

std::vector<std::int32_t> tokens_of(const fs::path& path) {
  std::ifstream file(path);
  std::vector<std::int32_t> tokens;
  for (std::string item; std::getline(file, item, ',');) tokens.push_back(std::stoi(item));
  return tokens;
}

// The largest difference; infinite where there is anything that is no number.
double difference(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return INFINITY;
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double apart = std::fabs(static_cast<double>(a[i]) - b[i]);
    if (!(apart <= largest)) largest = std::isnan(apart) ? INFINITY : apart;
  }
  return largest;
}

constexpr double kExact = 1e-3;

class Families : public testing::TestWithParam<std::string> {
 protected:
  // Null where the family is not known. What is known, the CPU can run.
  static std::unique_ptr<OnTheCpu> open(const fs::path& folder, std::uint32_t batch) {
    const fs::path file = folder / (GetParam() + ".gguf");
    const gguf::Model model = gguf::open_model(file);
    const std::string* family = model.metadata.get_string("general.architecture");
    const std::vector<std::string_view> known = model::known_families();
    if (family == nullptr || std::ranges::find(known, *family) == known.end()) return nullptr;
    return std::make_unique<OnTheCpu>(file, batch);
  }
};

std::vector<std::string> names() {
  std::set<std::string> found;
  std::error_code ignored;
  if (const auto shared = loadline::test::shared_data()) {
    for (const auto& entry : fs::directory_iterator(*shared / "golden2", ignored)) {
      const std::string name = entry.path().stem().string();
      if (entry.path().extension() == ".gguf" && name.ends_with("-F32")) found.insert(name);
    }
  }
  return {found.begin(), found.end()};
}
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Families);
INSTANTIATE_TEST_SUITE_P(Golden2, Families, testing::ValuesIn(names()), [](const auto& row) {
  std::string name = row.param;
  std::ranges::replace(name, '-', '_');
  return name;
});

TEST_P(Families, agree_with_the_golden_logits_batched_and_token_by_token) {
  LOADLINE_REQUIRE_SHARED(folder, "golden2");
  const std::vector<std::int32_t> tokens = tokens_of(folder / "tokens.txt");
  const std::vector<float> expected = floats_of(folder / (GetParam() + ".logits.f32"));
  for (const std::uint32_t batch : {64U, 1U, 5U}) {
    const auto cpu = open(folder, batch);
    if (cpu == nullptr) GTEST_SKIP() << "the family is not known";
    EXPECT_LT(difference(cpu->run_all(tokens), expected), kExact) << "in batches of " << batch;
  }
}

TEST_P(Families, compute_the_same_again_after_cutting_back) {
  LOADLINE_REQUIRE_SHARED(folder, "golden2");
  const std::vector<std::int32_t> tokens = tokens_of(folder / "tokens.txt");
  const std::vector<float> expected = floats_of(folder / (GetParam() + ".logits.f32"));
  const auto cpu = open(folder, 64);
  if (cpu == nullptr) GTEST_SKIP() << "the family is not known";
  const std::size_t row = expected.size() / tokens.size();
  if (!cpu->keeps_all()) {
    // A state is as it was before the last pass, no further back.
    constexpr std::uint32_t kFirst = 20;
    cpu->run(std::span(tokens).first(kFirst), 0);
    for (int time = 0; time < 2; ++time) {
      const std::vector<float> rest = cpu->run(std::span(tokens).subspan(kFirst), kFirst);
      EXPECT_LT(difference(rest, std::span(expected).subspan(kFirst * row)), kExact) << time;
      cpu->take_back_the_last_pass();
    }
    return;
  }
  cpu->run_all(tokens);
  for (const std::uint32_t from : {11U, 3U}) {
    const std::vector<float> again = cpu->run(std::span(tokens).subspan(from), from);
    EXPECT_LT(difference(again, std::span(expected).subspan(from * row)), kExact) << "from " << from;
  }
}

// Mean KL divergence of rows of logits.
double divergence(std::span<const float> expected, std::span<const float> actual, std::size_t rows) {
  if (expected.size() != actual.size()) return INFINITY;
  const std::size_t width = expected.size() / rows;
  double sum = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    const auto total = [&](std::span<const float> all) {
      double exponentials = 0;
      for (const float logit : all.subspan(row * width, width)) exponentials += std::exp(static_cast<double>(logit));
      return std::log(exponentials);
    };
    const double of_expected = total(expected);
    const double of_actual = total(actual);
    for (std::size_t i = row * width; i < (row + 1) * width; ++i) {
      sum += std::exp(expected[i] - of_expected) * ((expected[i] - of_expected) - (actual[i] - of_actual));
    }
  }
  return sum / static_cast<double>(rows);
}

// Experts in 4 bits, with activations in 8: as the golden logits were made, but for how the activations are rounded.
TEST(QuantisedExperts, agree_in_distribution_with_the_golden_logits) {
  LOADLINE_REQUIRE_SHARED(folder, "golden2");
  const std::vector<std::int32_t> tokens = tokens_of(folder / "tokens-quantised.txt");
  const std::vector<float> expected = floats_of(folder / "mixtral-Q4_K_M.logits.f32");
  for (const std::uint32_t batch : {64U, 1U}) {
    OnTheCpu cpu(folder / "mixtral-Q4_K_M.gguf", batch);
    EXPECT_LT(divergence(expected, cpu.run_all(tokens), tokens.size()), 2e-3) << "in batches of " << batch;
  }
}

}  // namespace
}  // namespace loadline::cpu::test
