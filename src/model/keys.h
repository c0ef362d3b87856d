// The metadata keys of one architecture, "ARCH.suffix": read with the bounds every hyper-parameter has, and counted, so
// that a key that nothing reads is noticed. It does not know what a key means.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/metadata.h"

namespace loadline::model {

// Far above any model there is, far below anything that could overflow a size computed from two of them.
inline constexpr std::uint64_t kMostLayers = 4096;
inline constexpr std::uint64_t kMostWidth = 1 << 20;
inline constexpr std::uint64_t kMostHeads = 4096;
inline constexpr std::uint64_t kMostHeadSize = 1024;  // what the attention kernels hold in registers and on the stack
inline constexpr std::uint64_t kMostContext = 1 << 28;
inline constexpr std::uint64_t kMostExperts = 4096;
inline constexpr std::uint64_t kMostRank = 1 << 16;  // of compressed rows, and inputs of a layer's own
inline constexpr std::uint64_t kMostTaps = 64;       // of convolutions

// All getters throw Error(BadInput) that names the key where its type or value is wrong.
class Keys {
 public:
  Keys(const gguf::Metadata& metadata, std::string architecture)
      : metadata_(metadata), architecture_(std::move(architecture)) {}

  [[nodiscard]] const std::string& architecture() const { return architecture_; }
  [[nodiscard]] std::string key(std::string_view suffix) const;
  [[nodiscard]] bool has(std::string_view suffix) const { return metadata_.contains(key(suffix)); }
  [[nodiscard]] bool is_array(std::string_view suffix) const;

  // A count in [least, limit].
  std::optional<std::uint32_t> find_count(std::string_view suffix, std::uint64_t limit, std::uint64_t least = 1);
  std::uint32_t count(std::string_view suffix, std::uint64_t limit, std::uint64_t least = 1);
  // One for each of `layers`, from one number or from an array of that length; empty where the key is missing.
  std::vector<std::uint32_t> find_counts(std::string_view suffix, std::uint32_t layers, std::uint64_t limit,
                                         std::uint64_t least);
  // An array of so many booleans (or of integers, 0 and others).
  std::optional<std::vector<bool>> find_flags(std::string_view suffix, std::uint32_t layers);
  std::optional<bool> find_flag(std::string_view suffix);
  // Finite.
  std::optional<float> find_number(std::string_view suffix);
  // In (0, limit].
  std::optional<float> find_positive(std::string_view suffix, double limit);
  const std::string* find_text(std::string_view suffix);
  // Finite numbers, one for each of `layers`, from one or from an array of that length, under a name without the
  // architecture's in front.
  [[nodiscard]] std::vector<float> bare_numbers(const std::string& name, std::uint32_t layers) const;

  // Has no meaning for what is computed.
  void accept(std::string_view suffix) { read_.emplace(suffix); }
  // Would have a meaning, but is ignored by those who run this family: a remark if it is there. `because` ends it.
  void ignore(std::string_view suffix, std::string_view because);

  // The keys of the architecture that none of the above was asked for.
  [[nodiscard]] std::vector<std::string> unread() const;
  [[nodiscard]] const std::vector<std::string>& remarks() const { return remarks_; }

 private:
  // The full key; it counts as read.
  std::string take(std::string_view suffix);
  void check_length(const std::string& name, std::size_t length, std::uint32_t layers) const;

  const gguf::Metadata& metadata_;
  std::string architecture_;
  std::set<std::string, std::less<>> read_;  // suffixes
  std::vector<std::string> remarks_;
};

}  // namespace loadline::model
