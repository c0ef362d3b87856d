#include "plan/fingerprint.h"

#include <fmt/format.h>

#include <bit>
#include <string_view>
#include <variant>

namespace loadline::plan {
namespace {

// FNV-1a, 64 bits (the constants of Fowler, Noll and Vo).
class Hash {
 public:
  void add(std::string_view text) {
    add(std::uint64_t{text.size()});
    for (const char c : text) step(static_cast<unsigned char>(c));
  }
  void add(std::uint64_t number) {
    for (int i = 0; i < 8; ++i) step(static_cast<unsigned char>(number >> (8 * i)));
  }
  [[nodiscard]] std::uint64_t value() const { return value_; }

 private:
  void step(unsigned char byte) { value_ = (value_ ^ byte) * 0x100000001b3ULL; }
  std::uint64_t value_ = 0xcbf29ce484222325ULL;
};

void add_value(Hash& hash, const gguf::Value& value) {
  std::visit(
      [&](const auto& data) {
        using Data = std::decay_t<decltype(data)>;
        if constexpr (std::is_same_v<Data, std::string>) {
          hash.add(std::string_view(data));
        } else if constexpr (std::is_same_v<Data, gguf::Array>) {
          // Arrays are vocabularies; their length is enough beside the sizes of the files.
          hash.add(std::uint64_t{data.size()});
        } else if constexpr (std::is_floating_point_v<Data>) {
          hash.add(std::bit_cast<std::uint64_t>(static_cast<double>(data)));
        } else {
          hash.add(static_cast<std::uint64_t>(data));
        }
      },
      value.data);
}

}  // namespace

std::string fingerprint(const gguf::Model& model) {
  Hash hash;
  for (const auto& [key, value] : model.metadata.entries()) {
    hash.add(std::string_view(key));
    add_value(hash, value);
  }
  for (const gguf::TensorInfo& tensor : model.tensors) {
    hash.add(std::string_view(tensor.name));
    hash.add(static_cast<std::uint64_t>(tensor.type));
    for (const std::uint64_t size : tensor.shape) hash.add(size);
    hash.add(std::uint64_t{tensor.file});
    hash.add(tensor.offset.value);
  }
  for (const File& file : model.files) hash.add(file.size().value);
  return fmt::format("{:016x}", hash.value());
}

}  // namespace loadline::plan
