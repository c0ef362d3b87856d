// Between two steps of which one writes what the other reads or writes there is a barrier, in everything that is
// recorded. Buffers are found by address, which the validation layers cannot follow, and llvmpipe runs one step after
// the other anyway: so the commands are looked at as they are recorded. Nothing is run, and no shader is made.
#include <gmock/gmock.h>

#include <cstring>
#include <map>
#include <mutex>
#include <set>

#include "authoring/shapes.h"
#include "backend/vulkan/gpu.h"
#include "backend/vulkan/vulkan_device.h"
#include "engine/backends.h"
#include "model/format_mix.h"
#include "plan/layout.h"

namespace loadline::vulkan::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr plan::DeviceIndex kTheGpu = 1;
constexpr std::uint64_t kWhole = ~std::uint64_t{0};

// Memory that a step touches, by where it begins. Steps that compute parts of one result touch different parts.
struct Access {
  std::uint64_t begin, bytes;
  bool writes;
  std::uint64_t part = kWhole;
  std::string step = {};

  [[nodiscard]] bool disturbs(const Access& earlier) const {
    if (!writes && !earlier.writes) return false;
    if (begin >= earlier.begin + earlier.bytes || earlier.begin >= begin + bytes) return false;
    return part == kWhole || earlier.part == kWhole || part == earlier.part;
  }
};

// What a shader touches, by its arguments.
class Touched {
 public:
  Touched(Shader shader, const std::vector<std::byte>& arguments) : bytes_(arguments) { of(shader); }
  [[nodiscard]] const std::vector<Access>& all() const { return all_; }

 private:
  template <class T>
  [[nodiscard]] T arguments() const {
    T result;
    std::memcpy(&result, bytes_.data(), sizeof result);
    return result;
  }
  void reads(std::initializer_list<Address> addresses) {
    for (const Address address : addresses) {
      if (address != 0) all_.push_back({address, 1, false});
    }
  }
  void writes(Address address, std::uint64_t part = kWhole) {
    if (address != 0) all_.push_back({address, 1, true, part});
  }
  static std::uint64_t part_of(std::uint32_t row, std::uint32_t token) { return std::uint64_t{row} << 32 | token; }

  void of(Shader shader) {
    switch (shader) {
      case Shader::Matvec:
      case Shader::MatvecDots:
      case Shader::Matmul:
      case Shader::MatmulDots:
      case Shader::MatmulUnits:
      case Shader::MatmulEmulated: {
        const auto a = arguments<ProductArguments>();
        reads({a.weights, a.second, a.x, a.norm, a.bias, a.table, a.codebooks, a.scale, a.groups});
        return writes(a.result, part_of(a.first_row, a.first_token));
      }
      case Shader::Experts: {
        const auto a = arguments<ExpertArguments>();
        reads({a.weights, a.x, a.chosen, a.bias, a.scale, a.table, a.codebooks});
        return writes(a.result, part_of(a.first_row, 0));
      }
      case Shader::Embed: {
        const auto a = arguments<EmbedArguments>();
        reads({a.weights, a.ids, a.table, a.codebooks});
        return writes(a.result);
      }
      case Shader::HeadLinear: {
        const auto a = arguments<HeadLinearArguments>();
        reads({a.weights, a.x, a.table, a.codebooks});
        return writes(a.result);
      }
      case Shader::Norm: {
        const auto a = arguments<NormArguments>();
        reads({a.x, a.weight, a.bias, a.table});
        return writes(a.result);
      }
      case Shader::Rope: {
        const auto a = arguments<RopeArguments>();
        reads({a.angles, a.table});
        return writes(a.x);
      }
      case Shader::Map: {
        const auto a = arguments<MapArguments>();
        reads({a.a, a.b, a.tensor, a.table});
        return writes(a.result);
      }
      case Shader::Split: {
        const auto a = arguments<SplitArguments>();
        reads({a.x, a.table});
        return writes(a.result);
      }
      default: return of_attention(shader);
    }
  }
  void of_attention(Shader shader) {
    switch (shader) {
      case Shader::Heads: {
        const auto a = arguments<HeadsArguments>();
        reads({a.k, a.v, a.q_norm, a.k_norm, a.angles, a.tokens, a.pages, a.table});
        writes(a.q);
        writes(a.k_cache);
        return writes(a.v_cache);
      }
      case Shader::Attention: {
        const auto a = arguments<AttentionArguments>();
        reads({a.q, a.k_cache, a.v_cache, a.tiles, a.tokens, a.pages, a.table, a.sinks});
        writes(a.workspace, part_of(0, a.first_tile));
        return writes(a.result, part_of(0, a.first_tile));
      }
      case Shader::MergeAttention: {
        const auto a = arguments<MergeArguments>();
        reads({a.workspace, a.table, a.sinks});
        return writes(a.result);
      }
      case Shader::Route: {
        const auto a = arguments<RouteArguments>();
        reads({a.logits, a.choice_bias, a.table});
        return writes(a.result);
      }
      case Shader::GroupExperts: {
        const auto a = arguments<GroupArguments>();
        reads({a.chosen, a.table});
        return writes(a.groups);
      }
      case Shader::SumExperts: {
        const auto a = arguments<SumArguments>();
        reads({a.x, a.chosen, a.table});
        return writes(a.result);
      }
      case Shader::SelectRows: {
        const auto a = arguments<SelectArguments>();
        reads({a.outputs, a.table});
        return writes(a.x);
      }
      default: return of_states(shader);
    }
  }
  void of_states(Shader shader) {
    switch (shader) {
      case Shader::Convolution: {
        const auto a = arguments<ConvolutionArguments>();
        reads({a.x, a.weight, a.bias, a.states, a.runs, a.table});
        return writes(a.leaves != 0 ? a.states : a.result);
      }
      case Shader::DeltaNet: {
        const auto a = arguments<DeltaNetArguments>();
        reads({a.qkv, a.beta, a.decay, a.dt_bias, a.rate, a.runs, a.table});
        writes(a.states);
        return writes(a.result, part_of(0, a.first));
      }
      case Shader::StateSpace: {
        const auto a = arguments<StateSpaceArguments>();
        reads({a.xbc, a.dt, a.dt_bias, a.rate, a.direct, a.runs, a.table});
        writes(a.states);
        return writes(a.result, part_of(0, a.first));
      }
      default: ADD_FAILURE() << "nothing is known of what " << name_of(shader) << " touches";
    }
  }

  const std::vector<std::byte>& bytes_;
  std::vector<Access> all_;
};

// Everything recorded since it was made, one list after the other. The device's functions have no place for an object:
// one at a time, and in one thread.
class Watch {
 public:
  Watch() { the_one = this; }
  ~Watch() { the_one = nullptr; }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // To be given to DeviceOptions::on_instance.
  static void look_at(hardware::VulkanInstance& instance) {
    real_find = instance.vkGetDeviceProcAddr;
    instance.vkGetDeviceProcAddr = find;
  }
  std::vector<std::string> found;
  std::set<std::string> steps;  // names of shaders that were dispatched

 private:
  static Watch* the_one;
  static PFN_vkGetDeviceProcAddr real_find;

  void touch(std::vector<Access> accesses, const std::string& step) {
    for (Access& access : accesses) {
      access.step = step;
      for (const Access& earlier : since_barrier_) {
        if (access.disturbs(earlier)) {
          found.push_back((access.writes ? step + " writes what " : step + " reads what ") + earlier.step +
                          (earlier.writes ? " writes" : " reads"));
        }
      }
    }
    since_barrier_.insert(since_barrier_.end(), accesses.begin(), accesses.end());
  }

  static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL find(VkDevice device, const char* name) {
    const PFN_vkVoidFunction real = real_find(device, name);
    const std::string_view wanted = name;
    const auto as = [](auto function) { return reinterpret_cast<PFN_vkVoidFunction>(function); };
    if (wanted == "vkGetBufferDeviceAddress") {
      real_address = reinterpret_cast<PFN_vkGetBufferDeviceAddress>(real);
      return as(+[](VkDevice owner, const VkBufferDeviceAddressInfo* info) -> VkDeviceAddress {
        return the_one->buffers_[info->buffer] = real_address(owner, info);
      });
    }
    if (wanted == "vkBeginCommandBuffer") {
      real_begin = reinterpret_cast<PFN_vkBeginCommandBuffer>(real);
      return as(+[](VkCommandBuffer list, const VkCommandBufferBeginInfo* info) -> VkResult {
        the_one->since_barrier_.clear();
        the_one->begun_ = true;
        return real_begin(list, info);
      });
    }
    if (wanted == "vkCreateShaderModule") return as(create_module);
    if (wanted == "vkCreateComputePipelines") return as(create_pipeline);
    if (wanted == "vkDestroyShaderModule") {
      return as(+[](VkDevice, VkShaderModule, const VkAllocationCallbacks*) {});
    }
    if (wanted == "vkDestroyPipeline") return as(+[](VkDevice, VkPipeline, const VkAllocationCallbacks*) {});
    if (wanted == "vkCmdBindPipeline") {
      return as(+[](VkCommandBuffer, VkPipelineBindPoint, VkPipeline pipeline) {
        the_one->bound_ = all_shaders()[reinterpret_cast<std::uintptr_t>(pipeline) - 1].shader;
      });
    }
    if (wanted == "vkCmdPushConstants") {
      return as(+[](VkCommandBuffer, VkPipelineLayout, VkShaderStageFlags, std::uint32_t, std::uint32_t size,
                    const void* values) {
        const auto* const bytes = static_cast<const std::byte*>(values);
        the_one->pushed_.assign(bytes, bytes + size);
      });
    }
    if (wanted == "vkCmdDispatch") {
      return as(+[](VkCommandBuffer, std::uint32_t, std::uint32_t, std::uint32_t) {
        // What an earlier list wrote is as near as what this one does.
        if (the_one->begun_) the_one->found.emplace_back("a list begins without a barrier");
        the_one->begun_ = false;
        the_one->steps.emplace(name_of(the_one->bound_));
        the_one->touch(Touched(the_one->bound_, the_one->pushed_).all(), std::string(name_of(the_one->bound_)));
      });
    }
    if (wanted == "vkCmdCopyBuffer") {
      return as(+[](VkCommandBuffer, VkBuffer from, VkBuffer to, std::uint32_t count, const VkBufferCopy* regions) {
        for (const VkBufferCopy& region : std::span(regions, count)) {
          the_one->touch({{the_one->buffers_[from] + region.srcOffset, region.size, false},
                          {the_one->buffers_[to] + region.dstOffset, region.size, true}},
                         "a copy");
        }
      });
    }
    if (wanted == "vkCmdPipelineBarrier") return as(barrier);
    return real;
  }
  // A module and a pipeline are known by the place of their shader in the list, counted from 1.
  static VKAPI_ATTR VkResult VKAPI_CALL create_module(VkDevice, const VkShaderModuleCreateInfo* info,
                                                      const VkAllocationCallbacks*, VkShaderModule* module) {
    const auto all = all_shaders();
    const auto one = std::ranges::find(all, info->pCode, [](const ShaderCode& code) { return code.words.data(); });
    *module = reinterpret_cast<VkShaderModule>(static_cast<std::uintptr_t>(one - all.begin() + 1));
    return VK_SUCCESS;
  }
  static VKAPI_ATTR VkResult VKAPI_CALL create_pipeline(VkDevice, VkPipelineCache, std::uint32_t,
                                                        const VkComputePipelineCreateInfo* info,
                                                        const VkAllocationCallbacks*, VkPipeline* pipeline) {
    *pipeline = reinterpret_cast<VkPipeline>(info->stage.module);
    return VK_SUCCESS;
  }
  static VKAPI_ATTR void VKAPI_CALL barrier(VkCommandBuffer, VkPipelineStageFlags from, VkPipelineStageFlags to,
                                            VkDependencyFlags, std::uint32_t count, const VkMemoryBarrier* memory,
                                            std::uint32_t, const VkBufferMemoryBarrier*, std::uint32_t,
                                            const VkImageMemoryBarrier*) {
    constexpr VkPipelineStageFlags kStages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    constexpr VkAccessFlags kWrites = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;
    constexpr VkAccessFlags kReads = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_TRANSFER_READ_BIT;
    const bool all_stages = (from & kStages) == kStages && (to & kStages) == kStages;
    if (!all_stages || count != 1) return;
    const bool all_memory = (memory->srcAccessMask & kWrites) == kWrites &&
                            (memory->dstAccessMask & (kWrites | kReads)) == (kWrites | kReads);
    if (!all_memory) return;
    the_one->since_barrier_.clear();
    the_one->begun_ = false;
  }

  static PFN_vkGetBufferDeviceAddress real_address;
  static PFN_vkBeginCommandBuffer real_begin;
  std::map<VkBuffer, VkDeviceAddress> buffers_;
  std::vector<Access> since_barrier_;
  bool begun_ = false;  // a list, and there was no barrier yet
  Shader bound_{};
  std::vector<std::byte> pushed_;
};
Watch* Watch::the_one = nullptr;
PFN_vkGetDeviceProcAddr Watch::real_find;
PFN_vkGetBufferDeviceAddress Watch::real_address;
PFN_vkBeginCommandBuffer Watch::real_begin;

class Barriers : public testing::Test {
 protected:
  void SetUp() override {
    if (!no_gpu().empty()) GTEST_SKIP() << no_gpu();
  }
  DeviceOptions options() {
    DeviceOptions options = options_for_tests(messages_);
    options.validate = false;  // it would be shown pipelines that are none
    options.on_instance = Watch::look_at;
    options.fault = [](Call) { return VK_SUCCESS; };  // in one thread
    return options;
  }
  // Records all passes of a model that is wholly on the GPU; `through`: but for the weights of one group, which pass
  // through it.
  void record(const char* shape_name, plan::Shape shape, std::optional<std::size_t> through = std::nullopt) {
    const gguf::Model model = authoring::describe(*authoring::find_shape(shape_name), *model::find_mix("Q4_K_M"));
    const model::Program program = model::build_program(model);
    plan::Placement placement;
    placement.groups.resize(program.groups.size());
    for (auto& group : placement.groups) group.device = kTheGpu;
    if (through) {
      placement.groups[*through].device = plan::kCpu;
      placement.prompt = {16, kTheGpu, 16 * kKiB, {static_cast<std::uint32_t>(*through)}};
    }
    const std::vector<plan::Tier> tiers = {{plan::TierKind::Ram, "RAM", kGiB, kGiB, Bytes(0), kGiB},
                                           {plan::TierKind::Gpu, "GPU", kGiB, kGiB, Bytes(0), kGiB},
                                           {plan::TierKind::Disk, "disk", Bytes(0), Bytes(0), Bytes(0), Bytes(0)}};
    const plan::NeedsTable needs(model, program, shape, engine::backends(), 2);
    const plan::Plan plan = plan::lay_out(needs, tiers, std::vector<plan::ContextOverhead>(3), placement);
    VulkanDevice device(model, program, plan, kTheGpu, options());
    device.prepare();
  }

  Messages messages_;
};

// Past 512 cells, where the cells that a few tokens see are read in parts; prompts of more than one tile.
plan::Shape large_shape() {
  plan::Shape shape;
  shape.context = 2048;
  shape.sequences = 2;
  shape.batch = 160;
  shape.outputs = 8;
  return shape;
}

TEST_F(Barriers, are_where_steps_need_what_others_made) {
  std::set<std::string> steps;
  for (const char* const name : {"tiny", "tiny-llama3", "tiny-qwen3", "tiny-qwen3moe", "tiny-gemma3", "tiny-deepseek2",
                                 "tiny-qwen35", "tiny-mamba2", "tiny-lfm2"}) {
    Watch watch;
    record(name, large_shape());
    EXPECT_THAT(watch.found, IsEmpty()) << name;
    steps.merge(watch.steps);
  }
  // What only measures, and what only other arithmetic needs, is not recorded here.
  std::set<std::string> all;
  for (const ShaderCode& code : all_shaders()) all.emplace(name_of(code.shader));
  for (const char* other : {"MatvecDots", "MatmulDots", "MatmulUnits", "MatmulEmulated", "ReadMemory", "MultiplyAdd"}) {
    all.erase(other);
  }
  EXPECT_EQ(steps, all);
}

TEST_F(Barriers, are_where_weights_pass_through) {
  for (const std::size_t group : {1U, 2U}) {
    Watch watch;
    record("tiny", large_shape(), group);
    EXPECT_THAT(watch.found, IsEmpty()) << group;
  }
}

// The watch itself: partial results that are put together too early are seen, and so is a copy.
TEST_F(Barriers, that_are_missing_are_seen) {
  Watch watch;
  Gpu gpu(options());
  const Buffer memory = gpu.buffer(4096);
  const AttentionShape shape{4, 2, 32, 32};
  AttentionArguments attention;
  attention.workspace = memory.address() + 512;
  attention.result = memory.address();
  const MergeArguments merge{memory.address() + 512, memory.address(), 0, 0, 4, 32, 4};
  const Place place{memory.handle(), 0, memory.address(), memory.data()};
  CommandList list(gpu.context);
  list.begin(false);
  list.barrier();
  const auto attend = [&](std::uint32_t first_tile) {
    attention.first_tile = first_tile;
    gpu.operations.attention(list, shape, gpu.operations.attention_tile(shape, 1), 4, attention, 1);
  };
  attend(0);
  attend(1);
  EXPECT_THAT(watch.found, IsEmpty()) << "parts of one result may be side by side";
  list.barrier();
  gpu.operations.merge_attention(list, merge, 1);
  EXPECT_THAT(watch.found, IsEmpty());
  list.barrier();
  attend(0);
  gpu.operations.merge_attention(list, merge, 1);
  ASSERT_FALSE(watch.found.empty());
  EXPECT_THAT(watch.found.front(), HasSubstr("MergeAttention reads what Attention writes"));
  watch.found.clear();
  list.copy(place, Place{memory.handle(), 2048, memory.address() + 2048, nullptr}, Bytes(512));
  EXPECT_THAT(watch.found, testing::Contains(HasSubstr("a copy reads what MergeAttention writes")));
  list.end();
}

}  // namespace
}  // namespace loadline::vulkan::test
