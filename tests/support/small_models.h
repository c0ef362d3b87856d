// Small valid GGUF files for tests, split ones included, and a builder for files that are wrong in one chosen place.
// Not models that could be run: shapes and bytes are whatever the test asks for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "gguf/gguf.h"
#include "gguf/writer.h"

namespace loadline::test {

// The bytes that the functions below give tensor number `index`; every tensor's differ.
std::vector<std::byte> pattern_data(std::size_t index, Bytes size);

// Metadata of a small llama: its hyper-parameters, a vocabulary of four tokens, some of every kind of array.
gguf::Metadata small_metadata();

// An embedding, two layers of three tensors in several formats, and an output norm.
std::vector<gguf::NewTensor> small_tensors();

// Writes a file whose tensors hold pattern_data.
void write_model(const std::filesystem::path& path, const gguf::Metadata& metadata = small_metadata(),
                 std::span<const gguf::NewTensor> tensors = small_tensors());

// Writes NAME-00001-of-0000N.gguf and so on into `folder`: the tensors dealt out in order, the metadata in the first
// part, the split.* keys in each. Returns the paths.
std::vector<std::filesystem::path> write_split_model(const std::filesystem::path& folder, const std::string& name,
                                                     std::size_t parts,
                                                     const gguf::Metadata& metadata = small_metadata(),
                                                     std::span<const gguf::NewTensor> tensors = small_tensors());

std::vector<std::byte> read_bytes(const std::filesystem::path& path);
void write_bytes(const std::filesystem::path& path, std::span<const std::byte> bytes);

// Puts a GGUF file together field by field, right or wrong.
class RawGguf {
 public:
  // The start of a file that announces so many tensors and keys.
  RawGguf(std::uint64_t tensors, std::uint64_t keys, std::uint32_t version = 3, std::string_view magic = "GGUF");

  template <typename T>
  RawGguf& number(T value) {
    static_assert(std::is_arithmetic_v<T>);
    return raw(std::as_bytes(std::span(&value, 1)));
  }
  RawGguf& text(std::string_view value);  // length and characters
  RawGguf& raw(std::span<const std::byte> bytes);

  // A key and the type of its value, which is to follow.
  RawGguf& key(std::string_view name, gguf::ValueType type);
  RawGguf& tensor(std::string_view name, std::vector<std::uint64_t> shape, std::uint32_t type, std::uint64_t offset);

  // Zeros up to a multiple of `alignment`, and `data` more zeros.
  RawGguf& data(std::uint64_t bytes, std::uint64_t alignment = 32);

  void save(const std::filesystem::path& path) const { write_bytes(path, bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace loadline::test
