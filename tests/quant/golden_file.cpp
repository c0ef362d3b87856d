#include "quant/golden_file.h"

#include <array>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace loadline::test {
namespace {

// A position in the file's bytes; `at` of std::vector catches a file that ends early.
class Cursor {
 public:
  explicit Cursor(const std::vector<char>& bytes) : bytes_(bytes) {}

  template <class T>
  T number() {
    T value;
    static_cast<void>(bytes_.at(position_ + sizeof value - 1));
    std::memcpy(&value, bytes_.data() + position_, sizeof value);
    position_ += sizeof value;
    return value;
  }

  std::string text() {
    const auto length = number<std::uint64_t>();
    static_cast<void>(bytes_.at(position_ + length - 1));
    std::string value(bytes_.data() + position_, length);
    position_ += length;
    return value;
  }

  void skip_value(std::uint32_t type) {
    constexpr std::array<std::size_t, 13> kSizes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type == 8) {
      static_cast<void>(text());
    } else if (type == 9) {
      const auto element = number<std::uint32_t>();
      const auto count = number<std::uint64_t>();
      for (std::uint64_t i = 0; i < count; ++i) skip_value(element);
    } else {
      position_ += kSizes.at(type);
    }
  }

  [[nodiscard]] std::size_t position() const { return position_; }

 private:
  const std::vector<char>& bytes_;
  std::size_t position_ = 0;
};

}  // namespace

std::vector<float> GoldenTensor::decoded() const {
  std::vector<float> values(rows * columns);
  quant::decode_row(type, bytes.data(), values.data(), values.size());
  return values;
}

std::map<std::string, GoldenTensor> read_golden(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  Cursor cursor(bytes);
  if (cursor.number<std::uint32_t>() != 0x46554747 || cursor.number<std::uint32_t>() != 3) {
    throw std::runtime_error("not a GGUF 3 file: " + path.string());
  }
  const auto tensor_count = cursor.number<std::uint64_t>();
  const auto key_count = cursor.number<std::uint64_t>();
  for (std::uint64_t i = 0; i < key_count; ++i) {
    static_cast<void>(cursor.text());
    cursor.skip_value(cursor.number<std::uint32_t>());
  }
  std::map<std::string, GoldenTensor> tensors;
  std::map<std::string, std::uint64_t> offsets;
  for (std::uint64_t i = 0; i < tensor_count; ++i) {
    const std::string name = cursor.text();
    const auto dimensions = cursor.number<std::uint32_t>();
    GoldenTensor tensor;
    tensor.columns = cursor.number<std::uint64_t>();
    tensor.rows = 1;
    for (std::uint32_t d = 1; d < dimensions; ++d) tensor.rows *= cursor.number<std::uint64_t>();
    tensor.type = static_cast<quant::TensorType>(cursor.number<std::uint32_t>());
    offsets[name] = cursor.number<std::uint64_t>();
    tensors[name] = tensor;
  }
  const std::uint64_t data = align_up(cursor.position(), 32);
  for (auto& [name, tensor] : tensors) {
    const std::uint64_t size = quant::size_of(tensor.type, tensor.columns * tensor.rows).value;
    const std::uint64_t start = data + offsets[name];
    static_cast<void>(bytes.at(start + size - 1));
    tensor.bytes.resize(size);
    std::memcpy(tensor.bytes.data(), bytes.data() + start, size);
  }
  return tensors;
}

}  // namespace loadline::test
