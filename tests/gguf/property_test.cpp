// Properties of any model: what is written is what is read, and no file, however damaged, does worse than be refused.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "gguf/gguf.h"
#include "gguf/writer.h"
#include "support/allocations.h"
#include "support/memory_file.h"
#include "support/refusal.h"
#include "support/small_models.h"
#include "support/test_data.h"

namespace loadline::gguf {
namespace {

// ---- random models
// -----------------------------------------------------------------------------------------------------

template <typename T>
T any_item(int depth);

Array any_array(int depth);

// Every bit pattern but NaN, which is not equal to itself.
template <typename T>
T any_number() {
  std::array<std::uint8_t, sizeof(T)> bits{};
  for (std::uint8_t& byte : bits) byte = *rc::gen::arbitrary<std::uint8_t>();
  T number;
  std::memcpy(&number, bits.data(), sizeof number);
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(number)) return T{1};
  }
  return number;
}

std::string any_text() { return *rc::gen::container<std::string>(rc::gen::arbitrary<char>()); }

template <typename T>
T any_item(int depth) {
  if constexpr (std::is_same_v<T, std::string>) {
    return any_text();
  } else if constexpr (std::is_same_v<T, Array>) {
    return any_array(depth);
  } else if constexpr (std::is_same_v<T, bool>) {
    return *rc::gen::arbitrary<bool>();
  } else {
    return any_number<T>();
  }
}

// One alternative of a variant, chosen by its index.
template <typename Variant, std::size_t index = 0, typename Make>
Variant alternative(std::size_t chosen, Make&& make) {
  if constexpr (index < std::variant_size_v<Variant>) {
    if (chosen == index) return make.template operator()<std::variant_alternative_t<index, Variant>>();
    return alternative<Variant, index + 1>(chosen, make);
  } else {
    throw std::logic_error("no such alternative");
  }
}

// `depth` levels may follow this one.
Array any_array(int depth) {
  Array array;
  std::size_t type = *rc::gen::inRange<std::size_t>(0, kValueTypes);
  if (depth == 0 && type == static_cast<std::size_t>(ValueType::Array)) type = 0;
  array.items = alternative<decltype(array.items)>(type, [&]<typename Elements>() {
    Elements elements;
    const int count = *rc::gen::inRange(0, 6);
    for (int i = 0; i < count; ++i) {
      if constexpr (std::is_same_v<Elements, Strings>) {
        elements.push_back(any_text());
      } else {
        elements.push_back(any_item<typename Elements::value_type>(depth - 1));
      }
    }
    return elements;
  });
  array.element_type = static_cast<ValueType>(type);
  return array;
}

Value any_value() {
  return {alternative<decltype(Value::data)>(*rc::gen::inRange<std::size_t>(0, kValueTypes),
                                             []<typename T>() { return any_item<T>(kMaxNesting - 1); })};
}

Metadata any_metadata() {
  Metadata metadata;
  const int keys = *rc::gen::inRange(0, 12);
  for (int i = 0; i < keys; ++i) metadata.set("key." + std::to_string(i) + any_text(), any_value());
  const int log2_alignment = *rc::gen::inRange(2, 13);  // 2: leave it out
  if (log2_alignment > 2) metadata.set("general.alignment", {std::uint32_t{1} << log2_alignment});
  return metadata;
}

std::vector<NewTensor> any_tensors() {
  std::vector<NewTensor> tensors;
  const int count = *rc::gen::inRange(0, 8);
  for (int i = 0; i < count; ++i) {
    const std::span<const quant::Format> formats = quant::all_formats();
    const quant::Format& format = formats[*rc::gen::inRange<std::size_t>(0, formats.size())];
    NewTensor tensor{"tensor." + std::to_string(i) + any_text(), format.type, {}};
    const int dimensions = *rc::gen::inRange(1, 5);
    for (int d = 0; d < dimensions; ++d) {
      tensor.shape.push_back(*rc::gen::inRange<std::uint64_t>(1, 4) * (d == 0 ? format.block_elements : 1));
    }
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

// ---- properties
// --------------------------------------------------------------------------------------------------------

RC_GTEST_PROP(GgufProperty, WhatIsWrittenIsRead, ()) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "any.gguf";
  const Metadata metadata = any_metadata();
  const std::vector<NewTensor> tensors = any_tensors();
  test::write_model(path, metadata, tensors);
  const Model model = open_model(path);
  RC_ASSERT(model.metadata == metadata);
  RC_ASSERT(model.tensors.size() == tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorInfo& tensor = model.tensors[i];
    RC_ASSERT(tensor.name == tensors[i].name);
    RC_ASSERT(tensor.type == tensors[i].type);
    RC_ASSERT(std::ranges::equal(std::span(tensor.shape).first(tensor.dimensions), tensors[i].shape));
    RC_ASSERT(model.find_tensor(tensor.name) == static_cast<std::int32_t>(i));
    std::vector<std::byte> data(tensor.size.value);
    model.files[0].read_at(tensor.offset, data);
    RC_ASSERT(data == test::pattern_data(i, tensor.size));
  }
}

// Damages a file as transport and malice do. Most of it in the header, where it matters.
class Damage {
 public:
  explicit Damage(std::vector<std::byte>& bytes) : bytes_(bytes) {}

  void flip_a_bit() { bytes_[place()] ^= std::byte{1} << *rc::gen::inRange(0, 8); }

  void truncate() { bytes_.resize(place()); }

  // A number that is likely to be wrong where a count, a length or an offset stands.
  void write_a_number() {
    constexpr std::array<std::uint64_t, 16> kNumbers = {0,          1,          2,          7,        8,   9,
                                                        255,        1U << 16,   1U << 20,   1U << 31, ~0U, 1ULL << 32,
                                                        1ULL << 61, 1ULL << 62, 1ULL << 63, ~0ULL};
    const std::uint64_t number = kNumbers[*rc::gen::inRange<std::size_t>(0, kNumbers.size())];
    const std::size_t length = std::min<std::size_t>(*rc::gen::element(4, 8), bytes_.size());
    const std::size_t at = std::min(place(), bytes_.size() - length);
    std::memcpy(&bytes_[at], &number, length);
  }

  // Copies one stretch of the file over another.
  void copy_a_stretch() {
    const std::size_t length = std::min<std::size_t>(*rc::gen::inRange(1, 200), bytes_.size());
    const std::size_t from = std::min(place(), bytes_.size() - length);
    const std::size_t to = std::min(place(), bytes_.size() - length);
    std::memmove(&bytes_[to], &bytes_[from], length);
  }

  // Takes a stretch out, or puts one in twice.
  void splice() {
    const std::size_t length = std::min<std::size_t>(*rc::gen::inRange(1, 64), bytes_.size());
    const std::size_t at = std::min(place(), bytes_.size() - length);
    const auto begin = bytes_.begin() + static_cast<std::ptrdiff_t>(at);
    const auto end = begin + static_cast<std::ptrdiff_t>(length);
    if (*rc::gen::arbitrary<bool>()) {
      bytes_.erase(begin, end);
    } else {
      const std::vector<std::byte> again(begin, end);
      bytes_.insert(end, again.begin(), again.end());
    }
  }

  void anything() {
    if (bytes_.empty()) return;
    switch (*rc::gen::inRange(0, 5)) {
      case 0: return flip_a_bit();
      case 1: return truncate();
      case 2: return write_a_number();
      case 3: return copy_a_stretch();
      default: return splice();
    }
  }

 private:
  [[nodiscard]] std::size_t place() const {
    const std::size_t header = std::min<std::size_t>(bytes_.size(), 1800);
    return *rc::gen::weightedOneOf<std::size_t>(
        {{8, rc::gen::inRange<std::size_t>(0, header)}, {1, rc::gen::inRange<std::size_t>(0, bytes_.size())}});
  }

  std::vector<std::byte>& bytes_;
};

// A string object takes 32 bytes where an empty string takes 8 in the file, an Array 40 for 12, a key's entry with its
// place in the index about 200 for 14; text is held once more while it is read.
Bytes allowed_memory(std::size_t file_size) { return Bytes(file_size) * 20 + 16 * kKiB; }

// Opens the file and looks at all of it. True where it was taken for a model.
bool opens_or_is_refused(const test::MemoryFile& file, std::size_t size) {
  const test::AllocationWatch watch;
  bool opened = false;
  try {
    const Model model = open_model(file.path());
    opened = true;
    for (const TensorInfo& tensor : model.tensors) {
      RC_ASSERT(tensor.offset.value <= size && tensor.size.value <= size - tensor.offset.value);
      RC_ASSERT(tensor.elements() > 0);
      RC_ASSERT(quant::size_of(tensor.type, tensor.elements()) == tensor.size);
      RC_ASSERT(model.find_tensor(tensor.name) >= 0);
    }
  } catch (const Error& error) {
    RC_ASSERT(error.code() == ErrorCode::BadInput);
    RC_ASSERT(std::string(error.what()).find('\n') == std::string::npos);
  }
  const Bytes peak = watch.peak();
  RC_ASSERT(peak <= allowed_memory(size));
  return opened;
}

RC_GTEST_PROP(GgufProperty, ADamagedFileOpensOrIsRefusedWithinItsOwnMemory, ()) {
  static const std::vector<std::byte> kWhole = [] {
    const test::TemporaryFolder folder;
    test::write_model(folder.path() / "small.gguf");
    return test::read_bytes(folder.path() / "small.gguf");
  }();
  // Each case damages many copies: writing down one case costs rapidcheck more than opening a hundred files.
  static test::MemoryFile file;
  for (int copy = 0; copy < 40; ++copy) {
    std::vector<std::byte> bytes = kWhole;
    Damage damage(bytes);
    const int times = *rc::gen::inRange(1, 5);
    for (int i = 0; i < times; ++i) damage.anything();
    file.set(bytes);
    opens_or_is_refused(file, bytes.size());
  }
}

RC_GTEST_PROP(GgufProperty, ADamagedFileOfAnyMetadataOpensOrIsRefused, ()) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "any.gguf";
  test::write_model(path, any_metadata(), any_tensors());
  std::vector<std::byte> bytes = test::read_bytes(path);
  const test::MemoryFile file(bytes);
  RC_ASSERT(opens_or_is_refused(file, bytes.size()));
  Damage(bytes).anything();
  const test::MemoryFile damaged(bytes);
  opens_or_is_refused(damaged, bytes.size());
}

RC_GTEST_PROP(GgufProperty, NoiseAfterTheMagicIsRefused, (const std::vector<std::uint8_t>& noise)) {
  test::RawGguf start(*rc::gen::inRange<std::uint64_t>(0, 3), *rc::gen::inRange<std::uint64_t>(1, 4));
  start.raw(std::as_bytes(std::span(noise)));
  const test::TemporaryFolder folder;
  start.save(folder.path() / "noise.gguf");
  const std::vector<std::byte> bytes = test::read_bytes(folder.path() / "noise.gguf");
  const test::MemoryFile file(bytes);
  opens_or_is_refused(file, bytes.size());
}

// The smallest objects a file can hold are the costliest in memory for their size.
TEST(GgufMemory, StaysInProportionForFilesOfTheSmallestObjects) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "costly.gguf";
  constexpr std::uint64_t kObjects = 60'000;

  test::RawGguf keys(0, kObjects);
  for (std::uint64_t i = 0; i < kObjects; ++i) {
    const auto name = static_cast<std::uint32_t>(i + 1);
    keys.key({reinterpret_cast<const char*>(&name), 3}, ValueType::Uint8).number<std::uint8_t>(1);
  }
  test::RawGguf strings(0, 1);
  strings.key("a", ValueType::Array).number<std::uint32_t>(8).number(kObjects);
  for (std::uint64_t i = 0; i < kObjects; ++i) strings.number<std::uint64_t>(0);
  test::RawGguf arrays(0, 1);
  arrays.key("a", ValueType::Array).number<std::uint32_t>(9).number(kObjects);
  for (std::uint64_t i = 0; i < kObjects; ++i) arrays.number<std::uint32_t>(0).number<std::uint64_t>(0);
  test::RawGguf tensors(kObjects, 0);
  for (std::uint64_t i = 0; i < kObjects; ++i) {
    const auto name = static_cast<std::uint32_t>(i + 1);
    tensors.tensor({reinterpret_cast<const char*>(&name), 3}, {1}, 0, i * 32);
  }
  tensors.data(kObjects * 32);
  for (const test::RawGguf* file : {&keys, &strings, &arrays, &tensors}) {
    file->save(path);
    const test::AllocationWatch watch;
    const Bytes size(std::filesystem::file_size(path));
    if (file == &keys || file == &arrays) {  // more than twice their bytes: refused before it is taken
      test::expect_refused([&] { return open_model(path); }, "more than twice");
      EXPECT_LE(watch.peak(), 2 * size + 2 * kMiB);
      continue;
    }
    const Model model = open_model(path);
    EXPECT_LE(watch.peak(), file == &strings ? 2 * size + kMiB : allowed_memory(size.value));
  }
}

// Opening must not cost more than the header, however large the file.
TEST(GgufMemory, DoesNotGrowWithTheWeights) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "large.gguf";
  Writer writer(path, test::small_metadata(), std::vector<NewTensor>{{"w", quant::TensorType::F32, {1ULL << 34}}});
  writer.leave_hole();
  writer.finish();
  const test::AllocationWatch watch;
  EXPECT_EQ(open_model(path).tensor_bytes(), Bytes(1ULL << 36));
  EXPECT_LE(watch.peak(), 256 * kKiB);
}

}  // namespace
}  // namespace loadline::gguf
