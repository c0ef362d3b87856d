#include "backend/vulkan/pipelines.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <fstream>
#include <span>
#include <system_error>
#include <thread>
#include <vector>

#include "backend/vulkan/arguments.h"
#include "backend/vulkan/broken_shader.h"
#include "base/clock.h"
#include "base/output_file.h"

namespace loadline::vulkan {
namespace {

// A cache is some hundred KiB; what is much larger was not written by us.
constexpr std::uintmax_t kMostCacheBytes = 256U << 20;

std::vector<char> read_cache(const std::filesystem::path& file) {
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(file, error);
  if (error || size > kMostCacheBytes) return {};
  std::vector<char> bytes(size);
  std::ifstream stream(file, std::ios::binary);
  if (!stream.read(bytes.data(), static_cast<std::streamsize>(size))) return {};
  return bytes;
}

}  // namespace

Pipelines::Pipelines(Context& context) : context_(context) {
  VkPushConstantRange range{VK_SHADER_STAGE_COMPUTE_BIT, 0, kMostArguments};
  VkPipelineLayoutCreateInfo layout{};
  layout.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO;
  layout.pushConstantRangeCount = 1;
  layout.pPushConstantRanges = &range;
  VkResult result = context.fault(Call::CreatePipeline);
  if (result == VK_SUCCESS) result = context.vkCreatePipelineLayout(context.device(), &layout, nullptr, &layout_);
  context.check(result, "preparing its shaders");

  // The driver checks the header (vendor, device, its own version) and ignores what is not its own.
  std::vector<char> old;
  if (!context.options().cache_folder.empty()) old = read_cache(context.options().cache_folder / context.cache_name());
  loaded_bytes_ = old.size();
  VkPipelineCacheCreateInfo cache{};
  cache.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO;
  cache.initialDataSize = old.size();
  cache.pInitialData = old.data();
  if (context.vkCreatePipelineCache(context.device(), &cache, nullptr, &cache_) != VK_SUCCESS) cache_ = VK_NULL_HANDLE;
}

Pipelines::~Pipelines() { release(); }

void Pipelines::release() noexcept {
  for (const auto& [key, pipeline] : pipelines_) context_.vkDestroyPipeline(context_.device(), pipeline, nullptr);
  if (cache_ != VK_NULL_HANDLE) context_.vkDestroyPipelineCache(context_.device(), cache_, nullptr);
  if (layout_ != VK_NULL_HANDLE) context_.vkDestroyPipelineLayout(context_.device(), layout_, nullptr);
}

VkPipeline Pipelines::get(const PipelineKey& key) {
  const auto found = pipelines_.find(key);
  if (found != pipelines_.end()) return found->second;
  return pipelines_.emplace(key, create(key)).first->second;
}

unsigned Pipelines::usual_threads() { return std::clamp(std::thread::hardware_concurrency(), 1U, 8U); }

double Pipelines::make_wanted(unsigned threads) {
  std::vector<PipelineKey> missing;
  std::ranges::copy_if(wanted_, std::back_inserter(missing),
                       [&](const PipelineKey& key) { return !pipelines_.contains(key); });
  wanted_.clear();
  if (missing.empty() || context_.options().fault) return 0;
  const double begin = steady_seconds();
  std::vector<VkPipeline> made(missing.size(), VK_NULL_HANDLE);
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i = next++; i < missing.size(); i = next++) {
      try {
        made[i] = create(missing[i]);
      } catch (const std::exception&) {
        made[i] = VK_NULL_HANDLE;  // said by `get`
      }
    }
  };
  {
    std::vector<std::jthread> others;
    try {
      for (unsigned i = 1; i < std::min<std::size_t>(threads, missing.size()); ++i) others.emplace_back(work);
    } catch (const std::system_error&) {
      threads = 1;  // as many as the system gives
    }
    work();
  }
  for (std::size_t i = 0; i < missing.size(); ++i) {
    if (made[i] != VK_NULL_HANDLE) pipelines_.emplace(missing[i], made[i]);
  }
  return steady_seconds() - begin;
}

VkPipeline Pipelines::create(const PipelineKey& key) const {
  const ShaderCode& code = shader_code(key.shader, key.format);
  const std::string doing = fmt::format("preparing its shader {}", name_of(key.shader));
  VkShaderModuleCreateInfo module_info{};
  module_info.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO;
  std::vector<std::uint32_t> rewritten;
  if (key.shader == Shader::MatmulUnits) rewritten = with_khr_matrices(code.words);
  if (is_broken(context_.options().broken_shader, key.shader, key.format)) {
    rewritten = broken_program(rewritten.empty() ? code.words : rewritten);
  }
  const std::span<const std::uint32_t> words = rewritten.empty() ? code.words : rewritten;
  module_info.codeSize = words.size_bytes();
  module_info.pCode = words.data();
  VkShaderModule shader = VK_NULL_HANDLE;
  VkResult result = context_.fault(Call::CreatePipeline);
  if (result == VK_SUCCESS) result = context_.vkCreateShaderModule(context_.device(), &module_info, nullptr, &shader);
  context_.check(result, doing);

  std::array<VkSpecializationMapEntry, std::tuple_size_v<decltype(key.constants)>> entries{};
  for (std::uint32_t i = 0; i < entries.size(); ++i) {
    entries[i] = {i, static_cast<std::uint32_t>(i * sizeof(std::uint32_t)), sizeof(std::uint32_t)};
  }
  const VkSpecializationInfo special{static_cast<std::uint32_t>(entries.size()), entries.data(), sizeof(key.constants),
                                     key.constants.data()};
  VkPipelineShaderStageRequiredSubgroupSizeCreateInfo lanes{};
  lanes.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO;
  lanes.requiredSubgroupSize = context_.limits().lanes;
  VkComputePipelineCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO;
  info.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  info.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  info.stage.module = shader;
  info.stage.pName = "main";
  info.stage.pSpecializationInfo = &special;
  info.layout = layout_;
  // Those that sum over a subgroup share their work by the number of lanes, which must be what they were told.
  const bool counts_lanes = key.shader == Shader::Matvec || key.shader == Shader::MatvecDots ||
                            key.shader == Shader::Experts || key.shader == Shader::HeadLinear ||
                            key.shader == Shader::Norm || key.shader == Shader::MatmulUnits ||
                            key.shader == Shader::MatmulEmulated;
  if (counts_lanes && context_.limits().fixed_lanes) {
    info.stage.pNext = &lanes;
    info.stage.flags = VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT;
  }
  VkPipeline pipeline = VK_NULL_HANDLE;
  result = context_.fault(Call::CreatePipeline);
  if (result == VK_SUCCESS) {
    result = context_.vkCreateComputePipelines(context_.device(), cache_, 1, &info, nullptr, &pipeline);
  }
  context_.vkDestroyShaderModule(context_.device(), shader, nullptr);
  context_.check(result, doing);
  return pipeline;
}

void Pipelines::save() noexcept {
  if (cache_ == VK_NULL_HANDLE || context_.options().cache_folder.empty()) return;
  try {
    std::size_t size = 0;
    if (context_.vkGetPipelineCacheData(context_.device(), cache_, &size, nullptr) != VK_SUCCESS) return;
    if (size == 0 || size == loaded_bytes_) return;
    std::vector<char> bytes(size);
    if (context_.vkGetPipelineCacheData(context_.device(), cache_, &size, bytes.data()) != VK_SUCCESS) return;
    const std::filesystem::path& folder = context_.options().cache_folder;
    std::filesystem::create_directories(folder);
    OutputFile file(folder / context_.cache_name());
    file.write(std::as_bytes(std::span(bytes)));
    file.finish();
  } catch (const std::exception&) {
    // No cache, then.
    return;
  }
}

}  // namespace loadline::vulkan
