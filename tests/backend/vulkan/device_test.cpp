// A GPU as a device: it holds exactly the plan's bytes, survives every failure, stops between command lists and keeps
// its pipeline cache. The models are made up; whether the figures are right is the golden logits' affair.
#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <numeric>
#include <random>

#include "backend/vulkan/gpu.h"
#include "backend/vulkan/vulkan_device.h"
#include "base/error.h"
#include "engine/backends.h"
#include "model/rope.h"
#include "plan/layout.h"
#include "plan/models.h"
#include "plan/planner.h"
#include "quant/format.h"
#include "support/test_data.h"

namespace loadline::vulkan::test {
namespace {

using loadline::test::ModelShape;
using quant::TensorType;

constexpr plan::DeviceIndex kGpu = 1;
const std::atomic<bool> kNeverStop{false};

// A model, where its groups are, and the plan of it.
struct Loaded {
  // `through`: all on the GPU but the weights of the first feed-forward, which pass through it from 16 tokens on.
  Loaded(const ModelShape& model_shape, TensorType type, plan::Shape plan_shape, bool whole = true,
         bool kv_on_cpu = false, bool through = false)
      : model(loadline::test::make_model(model_shape, loadline::test::all_of(type))),
        program(model::build_program(model)) {
    plan::Placement placement;
    placement.groups.resize(program.groups.size());
    for (std::size_t i = 0; i < placement.groups.size(); ++i) {
      placement.groups[i].device = whole || i % 2 == 1 ? kGpu : plan::kCpu;
      placement.groups[i].kv_on_cpu = kv_on_cpu;
    }
    if (through) {
      placement.groups[2].device = plan::kCpu;
      placement.prompt = {16, kGpu, 16 * kKiB, {2}};
    }
    const std::vector<plan::Tier> tiers = {{plan::TierKind::Ram, "RAM", kGiB, kGiB, Bytes(0), kGiB},
                                           {plan::TierKind::Gpu, "GPU", kGiB, kGiB, Bytes(0), kGiB},
                                           {plan::TierKind::Disk, "disk", Bytes(0), Bytes(0), Bytes(0), Bytes(0)}};
    const plan::NeedsTable needs(model, program, plan_shape, engine::backends(), 2);
    plan = plan::lay_out(needs, tiers, std::vector<plan::ContextOverhead>(3), placement);
  }

  gguf::Model model;
  model::Program program;
  plan::Plan plan;
};

plan::Shape shape_of(std::uint32_t context, std::uint32_t batch, TensorType kv = TensorType::F16) {
  plan::Shape shape;
  shape.context = context;
  shape.batch = batch;
  shape.k_type = kv;
  shape.v_type = kv;
  return shape;
}

ModelShape one_layer() {
  ModelShape shape = loadline::test::tiny();
  shape.layers = 1;
  return shape;
}

std::uint64_t row_bytes_of(const gguf::TensorInfo& tensor) {
  return quant::size_of(tensor.type, tensor.columns()).value;
}

// The same random weights for the same tensor.
std::vector<std::byte> random_weights(const Loaded& setup, model::TensorIndex index) {
  std::mt19937 random(static_cast<std::uint32_t>(index));
  std::normal_distribution<float> normal(0, 0.05F);
  const gguf::TensorInfo& tensor = setup.model.tensors[static_cast<std::size_t>(index)];
  std::vector<float> row(tensor.columns());
  std::vector<std::byte> bytes(tensor.size.value);
  for (std::uint64_t r = 0; r < tensor.rows(); ++r) {
    for (float& value : row) value = normal(random);
    quant::encode_row(tensor.type, row.data(), bytes.data() + r * row_bytes_of(tensor), row.size());
  }
  return bytes;
}

// What the GPU does not hold, as the file has it.
class RamWeights final : public backend::WeightSource {
 public:
  explicit RamWeights(const Loaded& setup) : setup_(setup), bytes_(setup.plan.regions.size()) {}
  void put(plan::RegionIndex region, std::vector<std::byte> bytes) { bytes_[region] = std::move(bytes); }
  void read(std::span<const Rows> all) noexcept override {
    ++reads_;
    for (const Rows& part : all) {
      const model::TensorIndex tensor = setup_.plan.regions[part.region].tensor;
      const std::uint64_t row = row_bytes_of(setup_.model.tensors[static_cast<std::size_t>(tensor)]);
      std::memcpy(part.target, bytes_[part.region].data() + part.first_row * row, part.rows * row);
    }
  }
  [[nodiscard]] int reads() const { return reads_; }

 private:
  const Loaded& setup_;
  std::vector<std::vector<std::byte>> bytes_;
  int reads_ = 0;
};

void upload_all(VulkanDevice& device, const Loaded& setup, RamWeights* in_ram = nullptr) {
  for (plan::RegionIndex i = 0; i < setup.plan.regions.size(); ++i) {
    const plan::Region& region = setup.plan.regions[i];
    if (region.purpose != plan::Purpose::Weights || region.tensor == model::kNoTensor) continue;
    const gguf::TensorInfo& tensor = setup.model.tensors[static_cast<std::size_t>(region.tensor)];
    std::vector<std::byte> bytes = random_weights(setup, region.tensor);
    if (setup.plan.arenas[region.arena].tier == plan::kCpu) {
      if (in_ram != nullptr) in_ram->put(i, std::move(bytes));
      continue;
    }
    const std::uint64_t row_bytes = row_bytes_of(tensor);
    const std::uint64_t first_part = std::min<std::uint64_t>(16, tensor.rows());
    device.upload(i, 0, first_part, std::span(bytes).first(first_part * row_bytes));
    if (first_part < tensor.rows()) {
      device.upload(i, first_part, tensor.rows() - first_part, std::span(bytes).subspan(first_part * row_bytes));
    }
  }
}

// One pass over `count` tokens of a fresh sequence; logits of the last. Empty if stopped.
std::vector<float> run_pass(VulkanDevice& device, const Loaded& setup, std::uint32_t count,
                            const backend::StopFlag& stop = kNeverStop) {
  const model::RopeConfig& rope = setup.program.ropes.front().config;
  const std::vector<float> frequencies = model::rope_frequencies(rope, {});
  std::vector<std::int32_t> tokens(count);
  std::iota(tokens.begin(), tokens.end(), 5);
  std::vector<std::uint32_t> pages(setup.plan.shape.context / 32);
  std::iota(pages.rbegin(), pages.rend(), 0);
  std::vector<float> cosines(count * frequencies.size());
  std::vector<float> sines(count * frequencies.size());
  for (std::uint32_t t = 0; t < count; ++t) {
    const std::size_t at = t * frequencies.size();
    model::rope_table(rope, frequencies, t, cosines.data() + at, sines.data() + at);
  }
  const std::array runs = {backend::TokenRun{0, count, 0, pages.data()}};
  const std::array outputs = {count - 1};
  const std::array ropes = {backend::RopeAngles{cosines.data(), sines.data()}};
  const backend::Batch batch{tokens, runs, outputs, ropes};
  if (!device.run(plan::stages_for(setup.plan, count).first, batch, stop)) return {};
  return {device.logits(), device.logits() + setup.program.config.vocabulary};
}

Bytes planned_bytes(const plan::Plan& plan, plan::DeviceIndex device) {
  Bytes total;
  for (std::uint32_t i = 0; i < plan.arenas.size(); ++i) {
    const bool mine = plan::holder_of(plan, i) == device && plan.arenas[i].purpose != plan::Purpose::Runtime;
    if (mine) total += plan.arenas[i].size;
  }
  return total;
}

class Device : public testing::Test {
 protected:
  void SetUp() override {
    if (!no_gpu().empty()) GTEST_SKIP() << no_gpu();
  }
  void TearDown() override {
    for (const std::string& message : messages_.take()) ADD_FAILURE() << "validation layer: " << message;
  }
  [[nodiscard]] DeviceOptions options() { return options_for_tests(messages_); }

  Messages messages_;
};

TEST_F(Device, HoldsExactlyThePlannedBytes) {
  for (const ModelShape& model : {one_layer(), loadline::test::tiny(), loadline::test::llama_3_2_1b()}) {
    for (const std::uint32_t context : {64U, 4096U}) {
      for (const TensorType kv : {TensorType::F16, TensorType::Q8_0}) {
        for (const bool whole : {true, false}) {
          for (const bool kv_on_cpu : {false, true}) {
            const Loaded setup(model, TensorType::Q4_0, shape_of(context, 32, kv), whole, kv_on_cpu);
            const VulkanDevice device(setup.model, setup.program, setup.plan, kGpu, options());
            EXPECT_EQ(device.allocated(), planned_bytes(setup.plan, kGpu)) << model.name << ", context " << context;
            // Nothing is held twice: what the GPU's driver gives of RAM, the CPU does not allocate.
            EXPECT_EQ(planned_bytes(setup.plan, kGpu) + planned_bytes(setup.plan, plan::kCpu),
                      plan::tier_total(setup.plan, 0) + plan::tier_total(setup.plan, 1) -
                          plan::tier_total(setup.plan, 0, plan::Purpose::Runtime) -
                          plan::tier_total(setup.plan, 1, plan::Purpose::Runtime));
          }
        }
      }
    }
  }
}

// Budgets as a user gives them: whatever the planner makes of them is held to the byte, the exact total of a plan is
// enough and a byte less is refused while there is only a plan.
TEST_F(Device, HoldsWhatIsPlannedUnderABudgetAndABudgetIsExact) {
  hardware::Profile machine;
  machine.cpu.cores = 2;
  machine.ram.total = machine.ram.available = 64 * kGiB;
  hardware::Gpu gpu;
  gpu.id = options().device;
  gpu.name = "test GPU";
  gpu.total = gpu.free = 2 * kGiB;
  machine.gpus = {gpu};
  for (const ModelShape& shape : {loadline::test::tiny(), loadline::test::llama_3_2_1b()}) {
    const gguf::Model model = loadline::test::make_model(shape, loadline::test::q4_k_m(shape.layers));
    const model::Program program = model::build_program(model);
    for (const std::uint32_t context : {64U, 2048U}) {
      plan::Options wanted;
      wanted.context = context;
      wanted.gpu_layers = {plan::GpuLayers::Kind::All, 0};
      const Bytes all = plan::tier_total(plan::make_plan(model, program, machine, wanted, engine::backends()), kGpu);
      wanted.gpu_budget = all - Bytes(1);
      EXPECT_THROW(plan::make_plan(model, program, machine, wanted, engine::backends()), Error);
      for (const Bytes budget : {all, all / 2, all / 8}) {
        wanted.gpu_budget = budget;
        if (budget < all) wanted.gpu_layers.kind = plan::GpuLayers::Kind::Auto;
        const plan::Plan plan = plan::make_plan(model, program, machine, wanted, engine::backends());
        EXPECT_LE(plan::tier_total(plan, kGpu), budget);
        if (plan.scratch[kGpu].staging.empty()) continue;  // nothing fits there
        const VulkanDevice device(model, program, plan, kGpu, options());
        EXPECT_EQ(device.allocated(), planned_bytes(plan, kGpu)) << shape.name << ", " << to_string(budget);
      }
    }
  }
}

// The context takes its part before the arenas are allocated: what then no longer fits, or exceeds the budget, is
// refused.
TEST_F(Device, RefusesWhatNoLongerFitsBesideTheContext) {
  constexpr Bytes kPlanned = 32 * kMiB;
  Loaded setup(one_layer(), TensorType::Q8_0, shape_of(32, 1));
  std::vector<plan::ContextOverhead> overheads(3);
  overheads[kGpu] = {kPlanned, Bytes(0), true};
  const plan::Shape shape = setup.plan.shape;
  const plan::NeedsTable needs(setup.model, setup.program, shape, engine::backends(), 2);
  setup.plan = plan::lay_out(needs, setup.plan.tiers, overheads, plan::placement_of(setup.model, setup.plan));
  const Bytes total = plan::tier_total(setup.plan, kGpu);
  EXPECT_EQ(total - kPlanned,
            planned_bytes(setup.plan, kGpu) -
                setup.plan.arenas[setup.plan.regions[region_of(setup.plan.scratch[kGpu], Staging::Host)].arena].size);
  struct Case {
    Bytes free;   // before
    Bytes taken;  // by the context
    Bytes budget, headroom;
    std::string refusal;  // a part of it; empty: it fits
  };
  const Case cases[] = {
      {total, kPlanned, total, Bytes(0), ""},
      {total, 20 * kMiB, total, Bytes(0), ""},
      {total - Bytes(1), 20 * kMiB, total, Bytes(0), "are free now"},
      {total, kPlanned + Bytes(1), total, Bytes(0), "took 32.0 MiB of its memory where the plan has 32.0 MiB"},
      {kGiB, 40 * kMiB, total, Bytes(0), "took 40.0 MiB"},
      {kGiB, 40 * kMiB, total, 8 * kMiB, ""},
      {kGiB, 40 * kMiB, total + 8 * kMiB, Bytes(0), ""},
      {total + 8 * kMiB, 41 * kMiB, 2 * kGiB, Bytes(0), "took 41.0 MiB"},
  };
  for (const Case& c : cases) {
    setup.plan.tiers[kGpu].budget = c.budget;
    setup.plan.tiers[kGpu].headroom = c.headroom;
    DeviceOptions told = options();
    int asked = 0;
    told.free_memory = [&] { return asked++ == 0 ? c.free : c.free - c.taken; };
    int allocations = 0;
    told.fault = [&](Call call) {
      if (call == Call::AllocateMemory) ++allocations;
      return VK_SUCCESS;
    };
    std::string refusal;
    try {
      const VulkanDevice device(setup.model, setup.program, setup.plan, kGpu, told);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::DoesNotFit);
      EXPECT_EQ(allocations, 0);
      refusal = error.what();
    }
    EXPECT_EQ(refusal.empty(), c.refusal.empty()) << refusal;
    EXPECT_NE(refusal.find(c.refusal), std::string::npos) << refusal;
  }
}

TEST_F(Device, MeasuresWhatItCanDoAndComputesOn) {
  const Loaded setup(one_layer(), TensorType::Q8_0, shape_of(32, 1));
  VulkanDevice device(setup.model, setup.program, setup.plan, kGpu, options());
  upload_all(device, setup);
  device.prepare();
  const std::vector<float> before = run_pass(device, setup, 1);
  const Peaks peaks = device.measure();
  EXPECT_GT(peaks.read_bandwidth, 0);
  EXPECT_GT(peaks.float_ops, 0);
  EXPECT_EQ(run_pass(device, setup, 1), before);
}

TEST_F(Device, ComputesTheSameWithItsArenasInParts) {
  ModelShape shape = one_layer();
  shape.vocabulary = 65536;  // two matrices of 17 MiB
  const Loaded setup(shape, TensorType::Q8_0, shape_of(64, 16));
  VulkanDevice whole(setup.model, setup.program, setup.plan, kGpu, options());
  DeviceOptions limited = options();
  // The staging region of 32 MiB is the largest thing there is; the weights together are more.
  limited.largest_allocation = setup.plan.regions[region_of(setup.plan.scratch[kGpu], Staging::Host)].size.value;
  VulkanDevice parts(setup.model, setup.program, setup.plan, kGpu, limited);
  for (VulkanDevice* device : {&whole, &parts}) {
    upload_all(*device, setup);
    device->prepare();
  }
  for (const std::uint32_t tokens : {1U, 5U, 16U}) {
    EXPECT_EQ(run_pass(whole, setup, tokens), run_pass(parts, setup, tokens)) << tokens << " tokens";
  }
}

TEST_F(Device, ComputesTheSameWithWeightsThatPassThrough) {
  const plan::Shape shape = shape_of(64, 40);
  for (const TensorType type : {TensorType::Q4_K, TensorType::F16}) {
    const Loaded whole(loadline::test::tiny(), type, shape);
    const Loaded passing(loadline::test::tiny(), type, shape, true, false, true);
    RamWeights in_ram(passing);
    VulkanDevice with_all(whole.model, whole.program, whole.plan, kGpu, options());
    VulkanDevice with_ring(passing.model, passing.program, passing.plan, kGpu, options());
    EXPECT_EQ(with_ring.allocated(), planned_bytes(passing.plan, kGpu));
    upload_all(with_all, whole);
    upload_all(with_ring, passing, &in_ram);
    with_ring.set_source(&in_ram);
    with_all.prepare();
    with_ring.prepare();
    // Twice: what the first pass left in the ring must not matter.
    for (const std::uint32_t tokens : {16U, 40U, 40U}) {
      EXPECT_EQ(run_pass(with_ring, passing, tokens), run_pass(with_all, whole, tokens)) << tokens << " tokens";
    }
    EXPECT_GE(in_ram.reads(), 3 * 4) << "the matrices were not cut";
  }
}

// With matrix units, done in loops here, and with units that are wrong, which are found out and not used.
TEST_F(Device, UsesMatrixUnitsUnlessTheyAreWrong) {
  const Loaded setup(loadline::test::tiny(), TensorType::Q4_K, shape_of(64, 40));
  bool refused = false;  // the second shader that is made for the check, which is that of the units
  const auto pass = [&](std::optional<MatrixShape> units, std::string& remark) {
    DeviceOptions options = options_for_tests(messages_, units);
    int made = 0;
    options.fault = [&](Call call) {
      if (call == Call::CreatePipeline) ++made;
      return refused && call == Call::CreatePipeline && made == 4 ? VK_ERROR_INITIALIZATION_FAILED : VK_SUCCESS;
    };
    VulkanDevice device(setup.model, setup.program, setup.plan, kGpu, options);
    upload_all(device, setup);
    device.prepare();
    remark = device.remark();
    EXPECT_EQ(device.allocated(), planned_bytes(setup.plan, kGpu));
    return run_pass(device, setup, 40);
  };
  std::string remark;
  const std::vector<float> plain = pass(std::nullopt, remark);
  EXPECT_EQ(remark, "");
  EXPECT_EQ(pass(MatrixShape{16, 16, 24}, remark), plain);
  EXPECT_NE(remark.find("multiply Q4_K wrongly"), std::string::npos) << remark;
  refused = true;
  EXPECT_EQ(pass(MatrixShape{}, remark), plain);
  EXPECT_NE(remark.find("cannot be used: the GPU"), std::string::npos) << remark;
  refused = false;
  const std::vector<float> units = pass(MatrixShape{}, remark);
  EXPECT_EQ(remark, "");
  EXPECT_NE(units, plain) << "they were not used";
  double square = 0;
  double difference = 0;
  for (std::size_t i = 0; i < plain.size(); ++i) {
    square += double{plain[i]} * plain[i];
    difference += (double{units[i]} - plain[i]) * (double{units[i]} - plain[i]);
  }
  EXPECT_LT(std::sqrt(difference), 5e-3 * std::sqrt(square));
}

// Likewise products of bytes, for single tokens and for many.
TEST_F(Device, MultipliesBytesUnlessThatIsWrong) {
  const Loaded setup(loadline::test::tiny(), TensorType::Q4_K, shape_of(64, 40));
  std::string remark;
  const auto passes = [&](bool dots, const std::string& broken) {
    DeviceOptions options = options_for_tests(messages_);
    options.integer_dots = dots;
    options.broken_shader = broken;
    VulkanDevice device(setup.model, setup.program, setup.plan, kGpu, options);
    upload_all(device, setup);
    device.prepare();
    remark = device.remark();
    return std::pair{run_pass(device, setup, 40), run_pass(device, setup, 1)};
  };
  const auto plain = passes(false, "");
  EXPECT_EQ(passes(true, "MatvecDots"), plain);
  EXPECT_NE(remark.find("products of bytes are wrong in Q4_K"), std::string::npos) << remark;
  EXPECT_EQ(passes(true, "MatmulDots"), plain);
  const auto dots = passes(true, "");
  EXPECT_EQ(remark, "");
  for (const auto& [exact, seen] : {std::pair{plain.first, dots.first}, {plain.second, dots.second}}) {
    EXPECT_NE(seen, exact) << "they were not used";
    double square = 0;
    double difference = 0;
    for (std::size_t i = 0; i < exact.size(); ++i) {
      square += double{exact[i]} * exact[i];
      difference += (double{seen[i]} - exact[i]) * (double{seen[i]} - exact[i]);
    }
    EXPECT_LT(std::sqrt(difference), 2e-2 * std::sqrt(square));
  }
}

// All shaders are made before anything is recorded in earnest, on several threads; none is left for later.
TEST_F(Device, MakesTheSameShadersOnAnyNumberOfThreads) {
  Context context(options());
  AttentionShape shape{8, 2, 64, 64};
  std::size_t one_by_one = 0;
  for (const unsigned threads : {0U, 1U, 5U}) {
    Pipelines pipelines(context);
    Operations operations(context, pipelines);
    CommandList list(context);
    list.begin(false);
    const auto record = [&] {
      ProductArguments product;
      product.columns = 256;
      product.end_row = 1;
      for (const TensorType type : {TensorType::F16, TensorType::Q4_K, TensorType::Q6_K}) {
        for (const std::uint32_t most : {1U, kMostVectorRows, 64U}) operations.product(list, type, product, most);
      }
      for (const std::uint32_t most : {1U, 64U}) {
        operations.attention(list, shape, operations.attention_tile(shape, most), 1, {}, 1);
      }
      operations.norm(list, {}, 1, 1);
    };
    if (threads != 0) {
      pipelines.collect(true);
      record();
      pipelines.collect(false);
      EXPECT_EQ(pipelines.made(), 0U);
      pipelines.make_wanted(threads);
      EXPECT_EQ(pipelines.made(), one_by_one) << threads << " threads";
    }
    record();
    if (threads == 0) one_by_one = pipelines.made();
    EXPECT_EQ(pipelines.made(), one_by_one);
    list.end();
  }
  EXPECT_EQ(one_by_one, 12U);
}

TEST_F(Device, StopsBetweenTwoSlices) {
  const Loaded setup(loadline::test::tiny(), TensorType::F16, shape_of(64, 16), true, false, true);
  class StoppingSource final : public backend::WeightSource {
   public:
    void read(std::span<const Rows> /*all*/) noexcept override {
      if (++reads == stop_at) stop.store(true);
    }
    int reads = 0;
    int stop_at = 0;
    std::atomic<bool> stop{false};
  };
  StoppingSource source;
  VulkanDevice device(setup.model, setup.program, setup.plan, kGpu, options());
  upload_all(device, setup);
  device.set_source(&source);
  device.prepare();
  for (const int at : {1, 3}) {
    source.reads = 0;
    source.stop_at = at;
    source.stop = false;
    EXPECT_TRUE(run_pass(device, setup, 16, source.stop).empty());
    EXPECT_EQ(source.reads, at) << "was read after the stop";
  }
}

// Which failure a driver reports for a call.
VkResult failure_of(Call call) {
  const bool lost = call == Call::Submit || call == Call::Wait;
  return lost ? VK_ERROR_DEVICE_LOST : VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

// Loads and runs with the call number `failing` made to fail; -1: none. Counts the calls.
std::vector<float> life(const Loaded& setup, DeviceOptions options, int failing, int& calls, std::uint32_t tokens = 1,
                        int* calls_before_pass = nullptr) {
  std::atomic<int> count{0};
  options.fault = [&count, failing](Call call) { return count++ == failing ? failure_of(call) : VK_SUCCESS; };
  try {
    RamWeights in_ram(setup);
    VulkanDevice device(setup.model, setup.program, setup.plan, kGpu, options);
    upload_all(device, setup, &in_ram);
    device.set_source(&in_ram);
    device.prepare();
    if (calls_before_pass != nullptr) *calls_before_pass = count;
    std::vector<float> logits = run_pass(device, setup, tokens);
    calls = count;
    return logits;
  } catch (...) {
    calls = count;
    throw;
  }
}

// Every call from the `first` on fails in turn, in a life of its own with a pass of so many tokens.
void expect_survival(const Loaded& setup, const DeviceOptions& options, Messages& messages, std::uint32_t tokens,
                     bool only_in_pass) {
  int calls = 0;
  int first = 0;
  const std::vector<float> expected = life(setup, options, -1, calls, tokens, &first);
  ASSERT_EQ(expected.size(), setup.program.config.vocabulary);
  if (!only_in_pass) first = 0;
  ASSERT_GT(calls - first, only_in_pass ? 10 : 50);
  int ignored = 0;
  for (int failing = first; failing < calls; ++failing) {
    try {
      life(setup, options, failing, ignored, tokens);
      ADD_FAILURE() << "call " << failing << " failed without an error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::DeviceFailure);
      EXPECT_NE(std::string(error.what()).find("the GPU"), std::string::npos) << error.what();
    }
    // All was given back: the layer names whatever outlives its device.
    for (const std::string& message : messages.take()) ADD_FAILURE() << "call " << failing << ": " << message;
  }
  EXPECT_EQ(life(setup, options, -1, calls, tokens), expected);
}

TEST_F(Device, SurvivesTheFailureOfAnyCall) {
  expect_survival(Loaded(one_layer(), TensorType::Q8_0, shape_of(32, 1)), options(), messages_, 1, false);
}

TEST_F(Device, SurvivesTheFailureOfAnyCallWhileWeightsPassThrough) {
  ModelShape shape = loadline::test::tiny();
  shape.embedding = shape.feed_forward = shape.vocabulary = 128;
  expect_survival(Loaded(shape, TensorType::F16, shape_of(32, 16), true, false, true), options(), messages_, 16, true);
}

TEST_F(Device, StopsBetweenTwoCommandLists) {
  const Loaded setup(loadline::test::tiny(), TensorType::Q8_0, shape_of(256, 256));
  std::atomic<int> submits{0};
  std::atomic<int> stop_at{1 << 30};
  std::atomic<bool> stop{false};
  DeviceOptions watched = options();
  watched.fault = [&](Call call) {
    if (call == Call::Submit && ++submits == stop_at) stop.store(true);
    return VK_SUCCESS;
  };
  VulkanDevice device(setup.model, setup.program, setup.plan, kGpu, watched);
  upload_all(device, setup);
  device.prepare();
  submits = 0;
  const std::vector<float> expected = run_pass(device, setup, 256, stop);
  const int lists = submits;
  ASSERT_GT(lists, 4);
  for (const int at : {1, lists / 2, lists}) {
    submits = 0;
    stop_at = at;
    EXPECT_TRUE(run_pass(device, setup, 256, stop).empty());
    EXPECT_EQ(submits, at) << "was submitted after the stop";
    stop = false;
  }
  stop_at = 1 << 30;
  EXPECT_EQ(run_pass(device, setup, 256, stop), expected);
}

TEST_F(Device, KeepsItsPipelineCacheAndIgnoresADamagedOne) {
  const loadline::test::TemporaryFolder folder;
  const Loaded setup(one_layer(), TensorType::Q8_0, shape_of(32, 1));
  DeviceOptions cached = options();
  cached.cache_folder = folder.path() / "cache";
  int calls = 0;
  const std::vector<float> expected = life(setup, cached, -1, calls);
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(cached.cache_folder)) files.push_back(entry.path());
  ASSERT_EQ(files.size(), 1U);
  EXPECT_EQ(life(setup, cached, -1, calls), expected);
  std::ofstream(files[0], std::ios::binary | std::ios::trunc) << "not a pipeline cache";
  EXPECT_EQ(life(setup, cached, -1, calls), expected);
  messages_.take();  // the layer remarks on the damaged header, the driver ignores it
}

}  // namespace
}  // namespace loadline::vulkan::test
