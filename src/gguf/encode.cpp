#include "gguf/encode.h"

#include <fmt/format.h>

#include <span>
#include <string_view>
#include <type_traits>

#include "base/error.h"
#include "base/text.h"
#include "gguf/layout.h"

namespace loadline::gguf {
namespace {

class Encoder {
 public:
  template <typename T>
  void number(T value) {
    static_assert(std::is_arithmetic_v<T>);
    raw(std::as_bytes(std::span(&value, 1)));
  }

  void text(std::string_view value) {
    number<std::uint64_t>(value.size());
    raw(std::as_bytes(std::span(value)));
  }

  void value(std::string_view key, const Value& value) {
    number(static_cast<std::uint32_t>(value.type()));
    std::visit([&](const auto& stored) { item(key, stored, 1); }, value.data);
  }

  void raw(std::span<const std::byte> data) { bytes_.insert(bytes_.end(), data.begin(), data.end()); }

  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  template <typename T>
  void item(std::string_view key, const T& stored, int depth) {
    if constexpr (std::is_convertible_v<T, std::string_view>) {
      text(stored);
    } else if constexpr (std::is_same_v<T, Array>) {
      array(key, stored, depth);
    } else if constexpr (std::is_same_v<T, bool>) {
      number<std::uint8_t>(stored ? 1 : 0);
    } else {
      number(stored);
    }
  }

  void array(std::string_view key, const Array& array, int depth) {
    if (depth > kMaxNesting) {
      throw bad_input(
          fmt::format("metadata key {} has arrays within arrays more than {} deep", printable(key), kMaxNesting));
    }
    number(static_cast<std::uint32_t>(array.items.index()));
    number<std::uint64_t>(array.size());
    std::visit(
        [&](const auto& elements) {
          using Element = typename std::decay_t<decltype(elements)>::value_type;
          if constexpr (std::is_arithmetic_v<Element> && !std::is_same_v<Element, bool>) {
            raw(std::as_bytes(std::span(elements)));
          } else {
            for (const Element& element : elements) item<Element>(key, element, depth + 1);
          }
        },
        array.items);
  }

  std::vector<std::byte> bytes_;
};

}  // namespace

std::vector<std::byte> encode_header(const Metadata& metadata, const std::vector<TensorInfo>& tensors) {
  Encoder encoder;
  encoder.raw(std::as_bytes(std::span(kMagic)));
  encoder.number(kNewestVersion);
  encoder.number<std::uint64_t>(tensors.size());
  encoder.number<std::uint64_t>(metadata.entries().size());
  for (const auto& [key, value] : metadata.entries()) {
    check_key(key);
    encoder.text(key);
    encoder.value(key, value);
  }
  for (const TensorInfo& tensor : tensors) {
    check_tensor_name(tensor.name);
    encoder.text(tensor.name);
    encoder.number(tensor.dimensions);
    for (std::uint32_t d = 0; d < tensor.dimensions; ++d) encoder.number(tensor.shape[d]);
    encoder.number(static_cast<std::uint32_t>(tensor.type));
    encoder.number(tensor.offset.value);
  }
  return encoder.take();
}

}  // namespace loadline::gguf
