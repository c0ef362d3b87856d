#include "gguf/header.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <string>
#include <type_traits>
#include <utility>

#include "base/text.h"
#include "gguf/cursor.h"
#include "gguf/layout.h"

namespace loadline::gguf {
namespace {

// A key: its length, one character, a type, one byte. A tensor: its name's length, one character, the number of
// dimensions, one dimension, type, offset.
constexpr std::uint64_t kSmallestKey = 8 + 1 + 4 + 1;
constexpr std::uint64_t kSmallestTensor = 8 + 1 + 4 + 8 + 4 + 8;

// libstdc++ keeps as many characters inside a std::string; glibc adds as much to a piece of the heap, and its rounding.
constexpr std::uint64_t kInsideString = 15;
constexpr std::uint64_t kHeapOverhead = 1 + 8 + 15;
// Of memory for each byte of the metadata in the file, and beside that: keys and arrays within arrays take more.
constexpr std::uint64_t kMostOfStored = 2;
constexpr std::uint64_t kSpare = 1 << 20;
// A key's entry, and the node of the map that finds it, which holds the key again.
constexpr std::uint64_t kKeyOverhead =
    sizeof(std::pair<std::string, Value>) + sizeof(std::pair<std::string, std::size_t>) + 32 + kHeapOverhead;

// Calls `f`, and puts the file's name before what it throws.
template <typename F>
auto naming(const File& file, F&& f) {
  try {
    return std::forward<F>(f)();
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{}: {}", file.path().string(), error.what()), error.hint());
  }
}

class HeaderReader {
 public:
  HeaderReader(const File& file, std::uint32_t part, Bytes most)
      : file_(file), part_(part), left_(most), most_(most), cursor_(file) {}

  Header read() {
    read_start();
    read_metadata();
    read_tensors();
    check_layout();
    return std::move(header_);
  }

 private:
  void read_start();
  void read_metadata();
  void read_tensors();
  void check_layout();

  TensorInfo read_tensor();
  Value read_value();
  Array read_array(int depth);
  ValueType read_value_type();
  bool read_bool();
  std::string read_text();
  // Before `count` things of `each` bytes are taken, which have at least `stored` bytes each in what follows: refuses
  // where that is more than there may be.
  void charge(std::uint64_t count, std::uint64_t each, std::uint64_t stored);
  Strings read_strings(std::uint64_t count);
  template <typename T>
  std::vector<T> read_elements(std::uint64_t count, int depth);

  [[nodiscard]] Error damaged(const std::string& sentence) const { return cursor_.refusal(sentence, kDamagedHint); }

  const File& file_;
  std::uint32_t part_;
  Bytes left_, most_;  // of memory for what is decoded
  Cursor cursor_;
  Header header_;
  std::uint64_t tensor_count_ = 0;
  std::uint64_t key_count_ = 0;
  bool in_metadata_ = false;
  std::string key_;  // being read
};

void HeaderReader::charge(std::uint64_t count, std::uint64_t each, std::uint64_t stored) {
  constexpr std::string_view kHint = "The file is damaged, or made to fill the memory.";
  if (count > left_.value / each) {
    throw cursor_.refusal(
        fmt::format("has a header that takes more than {} of memory, more than any model's", to_string(most_)),
        std::string(kHint));
  }
  left_ -= Bytes(count * each);
  if (in_metadata_ && (most_ - left_).value > kMostOfStored * (cursor_.position() + count * stored) + kSpare) {
    throw cursor_.refusal("has metadata that take more than twice their bytes of memory, as no model's do",
                          std::string(kHint));
  }
}

// A text that does not fit into its std::string takes a piece of the heap.
std::string HeaderReader::read_text() {
  const std::uint64_t length = cursor_.text_length();
  if (length > kInsideString) charge(1, length + kHeapOverhead, length);
  return cursor_.text(length);
}

void HeaderReader::read_start() {
  std::array<char, kMagic.size()> magic{};
  if (cursor_.remaining() < magic.size()) throw not_a_gguf_file(file_);
  cursor_.bytes(std::as_writable_bytes(std::span(magic)));
  if (std::string_view(magic.data(), magic.size()) != kMagic) throw not_a_gguf_file(file_);

  const auto version = cursor_.number<std::uint32_t>();
  if (version == 1) {
    throw cursor_.refusal("is a GGUF file of version 1, which is no longer in use",
                          "Fetch a newer copy of the model, or convert it anew.");
  }
  // A small number with its bytes the wrong way round fills the upper half only.
  if (version != 0 && (version & 0xFFFFU) == 0) {
    throw cursor_.refusal("is a big-endian GGUF file, and Loadline reads little-endian ones only",
                          "Fetch the little-endian copy of the model, or convert it with gguf_convert_endian.");
  }
  if (version < kOldestVersion || version > kNewestVersion) {
    throw cursor_.refusal(fmt::format("is a GGUF file of version {}, and Loadline reads versions {} and {}", version,
                                      kOldestVersion, kNewestVersion),
                          version > kNewestVersion ? "A newer Loadline may be able to read it." : kDamagedHint);
  }
  header_.version = version;
  tensor_count_ = cursor_.count(kSmallestTensor, "tensors");
  key_count_ = cursor_.count(kSmallestKey, "metadata keys");
  if (tensor_count_ > kMaxTensors || key_count_ > kMaxKeys) {
    throw damaged(fmt::format("announces {} tensors and {} metadata keys, more than any model has",
                              grouped(tensor_count_), grouped(key_count_)));
  }
}

void HeaderReader::read_metadata() {
  in_metadata_ = true;
  charge(key_count_, 1, kSmallestKey);  // at least; each is counted as it is read
  header_.metadata.reserve(std::min<std::uint64_t>(key_count_, 1024));
  for (std::uint64_t i = 0; i < key_count_; ++i) {
    cursor_.enter({"metadata key", i + 1, key_count_});
    charge(1, kKeyOverhead, kSmallestKey);
    key_ = read_text();
    naming(file_, [&] { check_key(key_); });
    Value value = read_value();
    if (!header_.metadata.add(key_, std::move(value))) {
      throw damaged(fmt::format("metadata key {} is there twice", printable(key_)));
    }
  }
  in_metadata_ = false;
}

ValueType HeaderReader::read_value_type() {
  const auto type = cursor_.number<std::uint32_t>();
  if (type >= kValueTypes) {
    throw damaged(
        fmt::format("metadata key {} has values of type {}, which GGUF does not define", printable(key_), type));
  }
  return static_cast<ValueType>(type);
}

bool HeaderReader::read_bool() {
  const auto stored = cursor_.number<std::uint8_t>();
  // The specification: any other byte means that the file is invalid.
  if (stored > 1) throw damaged(fmt::format("metadata key {} has a bool that is neither 0 nor 1", printable(key_)));
  return stored == 1;
}

Value HeaderReader::read_value() {
  switch (read_value_type()) {
    case ValueType::Uint8: return {cursor_.number<std::uint8_t>()};
    case ValueType::Int8: return {cursor_.number<std::int8_t>()};
    case ValueType::Uint16: return {cursor_.number<std::uint16_t>()};
    case ValueType::Int16: return {cursor_.number<std::int16_t>()};
    case ValueType::Uint32: return {cursor_.number<std::uint32_t>()};
    case ValueType::Int32: return {cursor_.number<std::int32_t>()};
    case ValueType::Float32: return {cursor_.number<float>()};
    case ValueType::Bool: return {read_bool()};
    case ValueType::String: return {read_text()};
    case ValueType::Array: return {read_array(1)};
    case ValueType::Uint64: return {cursor_.number<std::uint64_t>()};
    case ValueType::Int64: return {cursor_.number<std::int64_t>()};
    case ValueType::Float64: return {cursor_.number<double>()};
  }
  std::unreachable();
}

// Twice over the file: what is allocated is known before it is taken.
Strings HeaderReader::read_strings(std::uint64_t count) {
  charge(count, sizeof(std::uint32_t), stored_size(ValueType::String));
  const std::uint64_t begin = cursor_.position();
  std::uint64_t characters = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t length = cursor_.text_length();
    characters += length;
    cursor_.skip(length);
  }
  if (characters > Strings::kMostText) {
    throw damaged(fmt::format("metadata key {} holds {} of text; at most 4 GiB are possible", printable(key_),
                              to_string(Bytes(characters))));
  }
  cursor_.go_back(begin);
  charge(characters, 1, 1);
  Strings strings;
  strings.reserve(count, characters);
  std::string text;
  for (std::uint64_t i = 0; i < count; ++i) {
    text.resize(cursor_.text_length());
    cursor_.bytes(std::as_writable_bytes(std::span(text)));
    strings.push_back(text);
  }
  return strings;
}

template <typename T>
std::vector<T> HeaderReader::read_elements(std::uint64_t count, int depth) {
  constexpr bool kIsArray = std::is_same_v<T, Array>;
  charge(count, std::is_same_v<T, bool> ? 1 : sizeof(T), kIsArray ? stored_size(ValueType::Array) : sizeof(T));
  std::vector<T> elements;
  if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
    elements.resize(count);
    cursor_.bytes(std::as_writable_bytes(std::span(elements)));
  } else {
    elements.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) {
      if constexpr (std::is_same_v<T, bool>) {
        elements.push_back(read_bool());
      } else {
        elements.push_back(read_array(depth + 1));
      }
    }
  }
  return elements;
}

Array HeaderReader::read_array(int depth) {
  if (depth > kMaxNesting) {
    throw damaged(
        fmt::format("metadata key {} has arrays within arrays more than {} deep", printable(key_), kMaxNesting));
  }
  const ValueType type = read_value_type();
  // The count is believed only as far as the rest of the file could hold the elements.
  const std::uint64_t count = cursor_.count(stored_size(type), "array elements");
  switch (type) {
    case ValueType::Uint8: return Array::of(read_elements<std::uint8_t>(count, depth));
    case ValueType::Int8: return Array::of(read_elements<std::int8_t>(count, depth));
    case ValueType::Uint16: return Array::of(read_elements<std::uint16_t>(count, depth));
    case ValueType::Int16: return Array::of(read_elements<std::int16_t>(count, depth));
    case ValueType::Uint32: return Array::of(read_elements<std::uint32_t>(count, depth));
    case ValueType::Int32: return Array::of(read_elements<std::int32_t>(count, depth));
    case ValueType::Float32: return Array::of(read_elements<float>(count, depth));
    case ValueType::Bool: return Array::of(read_elements<bool>(count, depth));
    case ValueType::String: return {ValueType::String, read_strings(count)};
    case ValueType::Array: return Array::of(read_elements<Array>(count, depth));
    case ValueType::Uint64: return Array::of(read_elements<std::uint64_t>(count, depth));
    case ValueType::Int64: return Array::of(read_elements<std::int64_t>(count, depth));
    case ValueType::Float64: return Array::of(read_elements<double>(count, depth));
  }
  std::unreachable();
}

// Leaves the offset as stored: relative to the tensor data, whose start is not known yet.
TensorInfo HeaderReader::read_tensor() {
  TensorInfo tensor;
  tensor.file = part_;
  tensor.name = read_text();
  naming(file_, [&] { check_tensor_name(tensor.name); });
  tensor.dimensions = cursor_.number<std::uint32_t>();
  if (tensor.dimensions == 0 || tensor.dimensions > kMaxDimensions) {
    throw damaged(fmt::format("tensor {} has {} dimensions (1 to {} are possible)", printable(tensor.name),
                              tensor.dimensions, kMaxDimensions));
  }
  const std::span<std::uint64_t> shape = std::span(tensor.shape).first(tensor.dimensions);
  cursor_.bytes(std::as_writable_bytes(shape));

  const auto type = cursor_.number<std::uint32_t>();
  const quant::Format* format = quant::find_format(type);
  if (format == nullptr) {
    std::vector<std::string_view> known;
    for (const quant::Format& row : quant::all_formats()) known.push_back(row.name);
    throw cursor_.refusal(fmt::format("tensor {} is stored as {}, which Loadline cannot read", printable(tensor.name),
                                      quant::ggml_type_name(type)),
                          fmt::format("Use a copy of the model in one of these formats: {}.", fmt::join(known, " ")));
  }
  tensor.type = format->type;
  tensor.size = naming(file_, [&] { return checked_tensor_size(tensor.name, tensor.type, shape); });
  tensor.offset = Bytes(cursor_.number<std::uint64_t>());
  return tensor;
}

void HeaderReader::read_tensors() {
  // Checked again, for the metadata took their share of the file since the count was read.
  cursor_.enter({"the list of tensors"});
  cursor_.require(tensor_count_ * kSmallestTensor);
  charge(tensor_count_, sizeof(TensorInfo), kSmallestTensor);
  header_.tensors.reserve(tensor_count_);
  for (std::uint64_t i = 0; i < tensor_count_; ++i) {
    cursor_.enter({"tensor entry", i + 1, tensor_count_});
    header_.tensors.push_back(read_tensor());
  }
}

// Makes the offsets absolute; refuses data that is misaligned, beyond the file's end, or claimed by two tensors.
void HeaderReader::check_layout() {
  std::vector<TensorInfo>& tensors = header_.tensors;
  const std::uint64_t alignment = naming(file_, [&] { return checked_alignment(header_.metadata); });
  const std::uint64_t data_start = align_up(cursor_.position(), alignment);
  for (TensorInfo& tensor : tensors) {
    if (tensor.offset.value % alignment != 0) {
      throw damaged(fmt::format("tensor {} begins at offset {}, which is not a multiple of the alignment {}",
                                printable(tensor.name), grouped(tensor.offset.value), alignment));
    }
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    if (__builtin_add_overflow(data_start, tensor.offset.value, &begin) ||
        __builtin_add_overflow(begin, tensor.size.value, &end)) {
      throw damaged(
          fmt::format("tensor {} has the impossible offset {}", printable(tensor.name), grouped(tensor.offset.value)));
    }
    if (end > file_.size().value) {
      throw cursor_.refusal(fmt::format("tensor {} ends at byte {}, but the file has {} bytes", printable(tensor.name),
                                        grouped(end), grouped(file_.size().value)),
                            kIncompleteHint);
    }
    tensor.offset = Bytes(begin);
  }

  std::vector<std::uint32_t> order(tensors.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::sort(order, {}, [&](std::uint32_t i) { return tensors[i].offset; });
  for (std::size_t i = 1; i < order.size(); ++i) {
    const TensorInfo& before = tensors[order[i - 1]];
    const TensorInfo& after = tensors[order[i]];
    if (before.offset + before.size > after.offset) {
      throw damaged(fmt::format("tensors {} and {} overlap at byte {}", printable(before.name), printable(after.name),
                                grouped(after.offset.value)));
    }
  }
}

}  // namespace

Header read_header(const File& file, std::uint32_t part, Bytes most) { return HeaderReader(file, part, most).read(); }

}  // namespace loadline::gguf
