// A GGUF model as read from its header: metadata and the tensor table of one file or of all parts of a split model.
// Reading touches headers only, never weights; nothing in a file is believed before it is checked.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <optional>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/file.h"
#include "quant/format.h"

namespace loadline::gguf {

// The type ids of metadata values, as stored (GGUF specification, "gguf_metadata_value_type").
enum class ValueType : std::uint32_t {
  Uint8 = 0, Int8 = 1, Uint16 = 2, Int16 = 3, Uint32 = 4, Int32 = 5, Float32 = 6, Bool = 7,
  String = 8, Array = 9, Uint64 = 10, Int64 = 11, Float64 = 12,
};

struct Value;

// A homogeneous array. Numbers keep their width; strings and nested arrays are their own vectors.
struct Array {
  ValueType element_type = ValueType::Uint8;
  std::variant<std::vector<std::uint8_t>, std::vector<std::int8_t>, std::vector<std::uint16_t>,
               std::vector<std::int16_t>, std::vector<std::uint32_t>, std::vector<std::int32_t>, std::vector<float>,
               std::vector<bool>, std::vector<std::string>, std::vector<Array>, std::vector<std::uint64_t>,
               std::vector<std::int64_t>, std::vector<double>>
      items;

  [[nodiscard]] std::size_t size() const;
};

struct Value {
  // The alternative's index equals the ValueType.
  std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t, std::uint32_t, std::int32_t, float, bool,
               std::string, Array, std::uint64_t, std::int64_t, double>
      data;

  [[nodiscard]] ValueType type() const { return static_cast<ValueType>(data.index()); }
};

// Keys in file order, unique. The typed getters accept every integer (or float) width that holds the value exactly, and
// throw Error(BadInput) naming the key where the type is wrong or the value out of range.
class Metadata {
 public:
  [[nodiscard]] const std::vector<std::pair<std::string, Value>>& entries() const { return entries_; }
  [[nodiscard]] const Value* find(std::string_view key) const;
  [[nodiscard]] bool contains(std::string_view key) const { return find(key) != nullptr; }

  // Null or nullopt when the key is missing.
  [[nodiscard]] std::optional<std::uint64_t> get_unsigned(std::string_view key) const;
  [[nodiscard]] std::optional<std::int64_t> get_signed(std::string_view key) const;
  [[nodiscard]] std::optional<double> get_number(std::string_view key) const;
  [[nodiscard]] std::optional<bool> get_bool(std::string_view key) const;
  [[nodiscard]] const std::string* get_string(std::string_view key) const;
  [[nodiscard]] const Array* get_array(std::string_view key) const;
  [[nodiscard]] const std::vector<std::string>* get_strings(std::string_view key) const;
  // Arrays of any float or integer width, converted; nullopt when missing.
  [[nodiscard]] std::optional<std::vector<float>> get_floats(std::string_view key) const;
  [[nodiscard]] std::optional<std::vector<std::int64_t>> get_integers(std::string_view key) const;

  // Appends, or replaces the value of a key that is there.
  void set(std::string key, Value value);

 private:
  std::vector<std::pair<std::string, Value>> entries_;
};

// One tensor. `shape[0]` is the innermost dimension (the row length); unused dimensions are 1.
struct TensorInfo {
  std::string name;
  quant::TensorType type = quant::TensorType::F32;
  std::array<std::uint64_t, 4> shape = {1, 1, 1, 1};
  std::uint32_t dimensions = 1;
  std::uint32_t file = 0;  // index into Model::files
  Bytes offset;            // of the data, from the start of that file
  Bytes size;

  [[nodiscard]] std::uint64_t elements() const { return shape[0] * shape[1] * shape[2] * shape[3]; }
  [[nodiscard]] std::uint64_t columns() const { return shape[0]; }
  [[nodiscard]] std::uint64_t rows() const { return shape[1] * shape[2] * shape[3]; }
};

// The header of a model, with its files kept open for reading the weights. Immutable after open.
struct Model {
  Metadata metadata;  // of the first file, without the split.* keys' meaning
  std::vector<TensorInfo> tensors;
  std::vector<File> files;

  // Index into `tensors`, or -1.
  [[nodiscard]] std::int32_t find_tensor(std::string_view name) const;
  // All weights together.
  [[nodiscard]] Bytes tensor_bytes() const;
};

// Opens a model, given its file or the first file of a split model (NAME-00001-of-0000N.gguf; the rest are found beside
// it). Throws Error(BadInput) with one sentence that names the file and what is wrong.
Model open_model(const std::filesystem::path& path);

}  // namespace loadline::gguf
