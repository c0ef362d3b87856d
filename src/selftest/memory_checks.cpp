// Bytes are the plan's, a budget is exact, failures are sentences, and stop means now.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>

#include "backend/vulkan/measure.h"
#include "base/clock.h"
#include "base/error.h"
#include "engine/backends.h"
#include "plan/planner.h"
#include "selftest/loaded.h"

namespace loadline::selftest {
namespace {

constexpr std::array<std::size_t, 5> kShortRuns = {20, 7, 1, 1, 1};
constexpr std::size_t kShortTokens = 30;

struct Model {
  const authoring::Shape& shape;
  const model::FormatMix& mix;
};
Model small_model() { return {*authoring::find_shape("tiny"), *model::find_mix("F32")}; }

plan::Options all_on_the_card(const Model& model) {
  plan::Options options;
  options.context = 512;
  options.outputs = options.batch;
  options.k_type = options.v_type = quant::TensorType::F32;
  options.gpu_layers.kind = plan::GpuLayers::Kind::All;
  static_cast<void>(model);
  return options;
}

plan::Plan plan_of(Subject& subject, const std::filesystem::path& file, const plan::Options& options) {
  const gguf::Model model = gguf::open_model(file);
  return plan::make_plan(model, model::build_program(model), subject.machine, options, engine::backends());
}

Distance run_planned(Subject& subject, const Model& model, const plan::Options& options) {
  const std::vector<Token> tokens = random_tokens(kShortTokens, model.shape.vocabulary);
  const std::vector<float>& expected = subject.models.oracle(model.shape, model.mix, tokens);
  const auto engine = load_planned(subject, subject.models.file(model.shape, model.mix), options);
  return distance(expected, logits_of(subject, *engine, tokens, kShortRuns), model.shape.vocabulary);
}

// The exact total is enough, a byte less is refused while there is only a plan, and with half of it the planner
// divides the model; what is allocated is compared with the plan when it is loaded.
void check_budget(Subject& subject, Row& row) {
  const Model model = small_model();
  const std::filesystem::path file = subject.models.file(model.shape, model.mix);
  plan::Options options = all_on_the_card(model);
  const Bytes total = plan::tier_total(plan_of(subject, file, options), kGpu);
  options.gpu_budget = total;
  const Bound bound{1e-6, 2e-3};
  expect_within(run_planned(subject, model, options), bound);
  options.gpu_budget = total - Bytes(1);
  bool refused = false;
  try {
    plan_of(subject, file, options);
  } catch (const Error& error) {
    refused = error.code() == ErrorCode::DoesNotFit;
  }
  if (!refused) throw Mismatch("a budget of a byte too little is not refused");
  options.gpu_layers.kind = plan::GpuLayers::Kind::Auto;
  // So slow a CPU that the card is filled, whatever the fixed costs of such a small model.
  const hardware::Profile real = subject.machine;
  subject.machine.ram.read_bandwidth = {1e6};
  subject.machine.gpus.front().memory_bandwidth = 1e12;
  try {
    const Bytes half =
        total - (total - plan::tier_total(plan_of(subject, file, options), kGpu, plan::Purpose::Runtime)) / 3;
    options.gpu_budget = half;
    const plan::Plan plan = plan_of(subject, file, options);
    const Bytes held = plan::tier_total(plan, kGpu);
    if (held > half) throw Mismatch(fmt::format("a budget of {} bytes is planned with {}", half.value, held.value));
    expect_within(run_planned(subject, model, options), bound);
    row.said = fmt::format("{} bytes are enough and one less is refused; divided at {}", total.value, to_string(held));
  } catch (...) {
    subject.machine = real;
    throw;
  }
  subject.machine = real;
  row.figures = {{"budget", static_cast<double>(total.value), "bytes"}};
}

// What the driver says is taken, against the plan's rows.
void check_driver_bytes(Subject& subject, Row& row) {
  const Model model = small_model();
  plan::Options options = all_on_the_card(model);
  options.context = 2048;
  const auto engine = load_planned(subject, subject.models.file(model.shape, model.mix), options);
  const Bytes planned = plan::tier_total(engine->plan(), kGpu);
  const Bytes context = plan::tier_total(engine->plan(), kGpu, plan::Purpose::Runtime);
  const auto use = engine->device(kGpu)->memory_use();
  if (!use) throw NotHere("its driver does not say what is taken");
  row.figures = {{"taken", static_cast<double>(use->used.value), "bytes"},
                 {"planned", static_cast<double>(planned.value), "bytes"},
                 {"of it for the context", static_cast<double>(context.value), "bytes"}};
  row.said = fmt::format("{} taken by the driver's account, {} planned ({} of it for the context)",
                         to_string(use->used), to_string(planned), to_string(context));
  // What a software device's driver calls its memory is the machine's RAM.
  if (subject.software()) {
    row.verdict = Verdict::Measured;
  } else if (use->used > planned || use->used < planned - context) {
    row.verdict = Verdict::Missed;
  }
}

// A prompt is stopped in its middle, and afterwards everything is as it was.
void check_stop(Subject& subject, Row& row) {
  constexpr double kSoon = 0.1;  // s
  const Model model = small_model();
  Loading loading;
  loading.context = 1024;
  const auto engine = load(subject, subject.models.file(model.shape, model.mix), loading);
  // A software device takes a hundred times as long.
  const std::vector<Token> tokens = random_tokens(subject.software() ? 64 : 512, model.shape.vocabulary);
  const exec::Input input{0, tokens, exec::Want::Last};
  const auto last_row = [&] {
    const auto logits = engine->executor().logits(0);
    return std::vector<float>(logits.begin(), logits.end());
  };
  const double begin = steady_seconds();
  if (!engine->executor().forward({&input, 1}, subject.stop)) throw Stopped();
  const double whole = steady_seconds() - begin;
  const std::vector<float> before = last_row();
  engine->executor().truncate(0, 0);

  StopFlag stop{false};
  double asked = 0;
  std::jthread asks([&] {
    std::this_thread::sleep_for(std::chrono::duration<double>(whole / 3));
    asked = steady_seconds();
    stop.store(true);
  });
  const bool ended = engine->executor().forward({&input, 1}, stop);
  const double answered = steady_seconds();
  asks.join();
  if (!ended && engine->executor().cache().length(0) != 0) throw Mismatch("a stopped pass left cells behind");
  engine->executor().truncate(0, 0);
  if (!engine->executor().forward({&input, 1}, subject.stop)) throw Stopped();
  if (last_row() != before) throw Mismatch("the pass after a stopped one gives other logits");
  const double late = std::max(0.0, answered - asked);
  row.figures = {{"answered after", late, "s"}, {"a whole pass", whole, "s"}};
  row.said = fmt::format("{} after {:.0f} ms; a whole pass of {} tokens takes {:.0f} ms",
                         ended ? "the pass ended by itself" : "stopped", late * 1e3, tokens.size(), whole * 1e3);
  if (!ended && late > kSoon) row.verdict = Verdict::Missed;
}

// The driver refuses each kind of call in turn: a sentence each time, and everything works again.
void check_faults(Subject& subject, Row& row) {
  using vulkan::Call;
  vulkan::DeviceOptions options = subject.options;
  options.largest_allocation = std::uint64_t{64} << 20;
  std::string said;
  int sentences = 0;
  for (const Call failing : {Call::CreateDevice, Call::AllocateMemory, Call::CreateBuffer, Call::MapMemory,
                             Call::CreatePipeline, Call::Record, Call::Submit, Call::Wait}) {
    for (const VkResult result : {VK_ERROR_OUT_OF_DEVICE_MEMORY, VK_ERROR_DEVICE_LOST}) {
      subject.check_time();
      options.fault = [&](Call call) { return call == failing ? result : VK_SUCCESS; };
      try {
        vulkan::measure_device(options);
        throw Mismatch(fmt::format("{} in call {} goes unnoticed", hardware::vulkan_result_name(result),
                                   static_cast<int>(failing)));
      } catch (const Error& error) {
        if (error.code() != ErrorCode::DeviceFailure)
          throw Mismatch(fmt::format("wrong kind of error: {}", error.what()));
        ++sentences;
        said = error.what();
      }
    }
  }
  options.fault = {};
  vulkan::measure_device(options);
  row.said = fmt::format("{} failures of the driver are sentences, such as \"{}\"", sentences, said);
}

}  // namespace

void add_memory_checks(Checks& checks) {
  checks.push_back({"memory", "budget to the byte", 2, check_budget});
  checks.push_back({"memory", "driver's bytes", 2, check_driver_bytes});
  checks.push_back({"memory", "stop", 2, check_stop});
  checks.push_back({"memory", "faults", 3, check_faults});
}

}  // namespace loadline::selftest
