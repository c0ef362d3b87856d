#include "backend/vulkan/matrix_units.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <string>

namespace loadline::vulkan {
namespace {

// VkCooperativeMatrixPropertiesKHR and its enumerators.
struct MatrixProperties {
  VkStructureType type;
  void* next;
  std::uint32_t m, n, k;
  std::uint32_t a, b, c, result;
  VkBool32 saturating;
  std::uint32_t scope;
};
constexpr auto kPropertiesType = static_cast<VkStructureType>(1000506001);
constexpr std::uint32_t kFloat16 = 0;
constexpr std::uint32_t kFloat32 = 1;
constexpr std::uint32_t kSubgroup = 3;
using GetProperties = VkResult(VKAPI_PTR*)(VkPhysicalDevice, std::uint32_t*, MatrixProperties*);

bool divides_a_quarter(std::uint32_t size) { return size != 0 && 32 % size == 0; }

bool has_features(const hardware::VulkanInstance& instance, VkPhysicalDevice device) {
  MatrixFeatures matrices;
  VkPhysicalDeviceVulkan12Features two{};
  two.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
  two.pNext = &matrices;
  VkPhysicalDeviceFeatures2 features{};
  features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  features.pNext = &two;
  instance.vkGetPhysicalDeviceFeatures2(device, &features);
  return matrices.matrices != VK_FALSE && two.shaderFloat16 != VK_FALSE && two.vulkanMemoryModel != VK_FALSE;
}

// SPIR-V: instructions of SPV_NV_cooperative_matrix and SPV_KHR_cooperative_matrix, and others that are looked at.
constexpr std::uint32_t kUndef = 1;
constexpr std::uint32_t kExtension = 10;
constexpr std::uint32_t kCapability = 17;
constexpr std::uint32_t kTypeInt = 21;
constexpr std::uint32_t kConstantTrue = 41;
constexpr std::uint32_t kConstant = 43;
constexpr std::uint32_t kParameter = 55;
constexpr std::uint32_t kCall = 57;
constexpr std::uint32_t kLoad = 61;
constexpr std::uint32_t kConstruct = 80;
constexpr std::uint32_t kExtract = 81;
constexpr std::uint32_t kCopy = 83;
constexpr std::uint32_t kPhi = 245;
constexpr std::uint32_t kTypeNv = 5358;
constexpr std::uint32_t kLoadNv = 5359;
constexpr std::uint32_t kStoreNv = 5360;
constexpr std::uint32_t kMultiplyAddNv = 5361;
constexpr std::uint32_t kLengthNv = 5362;
constexpr std::uint32_t kTypeKhr = 4456;
constexpr std::uint32_t kLoadKhr = 4457;
constexpr std::uint32_t kStoreKhr = 4458;
constexpr std::uint32_t kMultiplyAddKhr = 4459;
constexpr std::uint32_t kLengthKhr = 4460;
constexpr std::uint32_t kMagic = 0x07230203;
constexpr std::uint32_t kCapabilityNv = 5357;
constexpr std::uint32_t kCapabilityKhr = 6022;
constexpr std::size_t kHeader = 5;
constexpr std::size_t kBound = 3;  // word of the header: all ids are below it
// What a matrix is for; the first two are also the names of the layouts by rows and by columns.
constexpr std::uint32_t kUses = 3;  // A, B, accumulator

class Rewriter {
 public:
  explicit Rewriter(std::span<const std::uint32_t> words) : in_(words) {}

  std::vector<std::uint32_t> run() {
    if (!well_formed()) return {in_.begin(), in_.end()};
    each([&](std::span<const std::uint32_t> words) { look_at(words); });
    find_uses();
    out_.assign(in_.begin(), in_.begin() + kHeader);
    first_constant_ = in_[kBound];
    out_[kBound] += kUses;
    each([&](std::span<const std::uint32_t> words) { rewrite(words); });
    return std::move(out_);
  }

 private:
  static std::uint32_t opcode(std::span<const std::uint32_t> words) { return words[0] & 0xFFFFU; }

  [[nodiscard]] bool well_formed() const {
    if (in_.size() < kHeader || in_[0] != kMagic) return false;
    std::size_t at = kHeader;
    while (at < in_.size()) {
      const std::size_t count = in_[at] >> 16;
      if (count == 0 || count > in_.size() - at) return false;
      at += count;
    }
    return true;
  }

  template <class Function>
  void each(Function function) {
    for (std::size_t at = kHeader; at < in_.size(); at += in_[at] >> 16) function(in_.subspan(at, in_[at] >> 16));
  }

  void look_at(std::span<const std::uint32_t> words) {
    switch (opcode(words)) {
      case kTypeInt:
        if (words[2] == 32 && words[3] == 0) uint_ = words[1];
        break;
      case kConstantTrue: true_ = words[2]; break;
      case kMultiplyAddNv: products_.push_back(words); [[fallthrough]];
      case kUndef:
      case kParameter:
      case kCall:
      case kLoad:
      case kConstruct:
      case kExtract:
      case kCopy:
      case kPhi:
      case kLoadNv: type_of_[words[2]] = words[1]; break;
      default: break;
    }
  }

  void find_uses() {
    for (const std::span<const std::uint32_t> product : products_) {
      use_of_[product[1]] = 2;
      for (std::uint32_t operand = 0; operand < 2; ++operand) use_of_[type_of_[product[3 + operand]]] = operand;
    }
  }

  void put(std::uint32_t code, std::initializer_list<std::uint32_t> operands,
           std::span<const std::uint32_t> rest = {}) {
    out_.push_back(static_cast<std::uint32_t>(1 + operands.size() + rest.size()) << 16 | code);
    out_.insert(out_.end(), operands);
    out_.insert(out_.end(), rest.begin(), rest.end());
  }
  [[nodiscard]] std::uint32_t layout(std::uint32_t by_columns) const {
    return first_constant_ + (by_columns == true_ ? 1 : 0);
  }

  void rewrite(std::span<const std::uint32_t> words) {
    switch (opcode(words)) {
      case kCapability: return put(kCapability, {words[1] == kCapabilityNv ? kCapabilityKhr : words[1]});
      case kExtension: return extension(words);
      case kTypeNv:
        if (!constants_) {
          constants_ = true;
          for (std::uint32_t i = 0; i < kUses; ++i) put(kConstant, {uint_, first_constant_ + i, i});
        }
        return put(kTypeKhr, {words[1], words[2], words[3], words[4], words[5], first_constant_ + use_of_[words[1]]});
      case kLoadNv:  // type, result, pointer, stride, by columns, how memory is accessed
        return put(kLoadKhr, {words[1], words[2], words[3], layout(words[5]), words[4]}, words.subspan(6));
      case kStoreNv:  // pointer, matrix, stride, by columns, how memory is accessed
        return put(kStoreKhr, {words[1], words[2], layout(words[4]), words[3]}, words.subspan(5));
      case kMultiplyAddNv: return put(kMultiplyAddKhr, {}, words.subspan(1));
      case kLengthNv: return put(kLengthKhr, {}, words.subspan(1));
      default: out_.insert(out_.end(), words.begin(), words.end());
    }
  }

  void extension(std::span<const std::uint32_t> words) {
    constexpr char kNv[] = "SPV_NV_cooperative_matrix";
    constexpr char kKhr[] = "SPV_KHR_cooperative_matrix";
    const std::span<const std::uint32_t> text = words.subspan(1);
    if (text.size_bytes() < sizeof kNv || std::memcmp(text.data(), kNv, sizeof kNv) != 0) {
      return put(kExtension, {}, text);
    }
    std::array<std::uint32_t, (sizeof kKhr + 3) / 4> name{};
    std::memcpy(name.data(), kKhr, sizeof kKhr);
    put(kExtension, {}, name);
  }

  std::span<const std::uint32_t> in_;
  std::vector<std::uint32_t> out_;
  std::map<std::uint32_t, std::uint32_t> type_of_;  // of values
  std::map<std::uint32_t, std::uint32_t> use_of_;   // of matrix types
  std::vector<std::span<const std::uint32_t>> products_;
  std::uint32_t uint_ = 0;
  std::uint32_t true_ = 0;
  std::uint32_t first_constant_ = 0;  // the numbers 0, 1, 2
  bool constants_ = false;
};

}  // namespace

std::optional<MatrixShape> find_matrix_shape(const hardware::VulkanInstance& instance, VkPhysicalDevice device) {
  if (!instance.has_extension(device, kMatrixExtension) || !has_features(instance, device)) return std::nullopt;
  const auto get = reinterpret_cast<GetProperties>(instance.find("vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR"));
  std::uint32_t count = 0;
  if (get == nullptr || get(device, &count, nullptr) != VK_SUCCESS) return std::nullopt;
  std::vector<MatrixProperties> all(count, MatrixProperties{kPropertiesType, nullptr, 0, 0, 0, 0, 0, 0, 0, 0, 0});
  if (get(device, &count, all.data()) != VK_SUCCESS) return std::nullopt;
  all.resize(count);
  std::optional<MatrixShape> best;
  const auto volume = [](const MatrixShape& shape) { return shape.rows * shape.tokens * shape.depth; };
  for (const MatrixProperties& p : all) {
    const bool types = p.a == kFloat16 && p.b == kFloat16 && p.c == kFloat32 && p.result == kFloat32;
    const bool sizes = divides_a_quarter(p.m) && divides_a_quarter(p.n) && divides_a_quarter(p.k);
    if (!types || !sizes || p.scope != kSubgroup || p.saturating != VK_FALSE) continue;
    const MatrixShape shape{p.m, p.n, p.k};
    if (!best || volume(shape) > volume(*best)) best = shape;
  }
  return best;
}

std::vector<std::uint32_t> with_khr_matrices(std::span<const std::uint32_t> words) { return Rewriter(words).run(); }

}  // namespace loadline::vulkan
