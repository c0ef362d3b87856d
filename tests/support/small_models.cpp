#include "support/small_models.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <stdexcept>

namespace loadline::test {

using gguf::Array;
using gguf::Metadata;
using gguf::NewTensor;
using gguf::Value;
using quant::TensorType;

std::vector<std::byte> pattern_data(std::size_t index, Bytes size) {
  std::vector<std::byte> data(size.value);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(index * 31 + i * 7 + i / 251);
  return data;
}

Metadata small_metadata() {
  Metadata metadata;
  metadata.set("general.architecture", Value{std::string("llama")});
  metadata.set("general.name", Value{std::string("Small Test")});
  metadata.set("general.file_type", Value{std::uint32_t{15}});
  metadata.set("llama.context_length", Value{std::uint32_t{512}});
  metadata.set("llama.embedding_length", Value{std::uint32_t{256}});
  metadata.set("llama.block_count", Value{std::uint32_t{2}});
  metadata.set("llama.feed_forward_length", Value{std::uint32_t{512}});
  metadata.set("llama.attention.head_count", Value{std::uint32_t{8}});
  metadata.set("llama.attention.head_count_kv", Value{std::uint32_t{2}});
  metadata.set("llama.attention.layer_norm_rms_epsilon", Value{1e-5F});
  metadata.set("tokenizer.ggml.model", Value{std::string("gpt2")});
  metadata.set("tokenizer.ggml.tokens", Value{Array::of(std::vector<std::string>{"<s>", "</s>", "a", "\xFF"})});
  metadata.set("tokenizer.ggml.scores", Value{Array::of(std::vector<float>{0.0F, -1.0F, -2.5F, -3.0F})});
  metadata.set("tokenizer.ggml.token_type", Value{Array::of(std::vector<std::int32_t>{3, 3, 1, 6})});
  metadata.set("tokenizer.ggml.add_bos_token", Value{true});
  metadata.set("test.flags", Value{Array::of(std::vector<bool>{true, false, true})});
  metadata.set("test.nested", Value{Array::of(std::vector<Array>{Array::of(std::vector<std::uint8_t>{1, 2}),
                                                                 Array::of(std::vector<std::string>{"three"})})});
  return metadata;
}

std::vector<NewTensor> small_tensors() {
  std::vector<NewTensor> tensors = {{"token_embd.weight", TensorType::Q8_0, {256, 4}}};
  for (int layer = 0; layer < 2; ++layer) {
    tensors.push_back({fmt::format("blk.{}.attn_norm.weight", layer), TensorType::F32, {256}});
    tensors.push_back({fmt::format("blk.{}.attn_q.weight", layer), TensorType::Q4_K, {256, 256}});
    tensors.push_back({fmt::format("blk.{}.attn_v.weight", layer), TensorType::Q6_K, {256, 64}});
  }
  tensors.push_back({"output_norm.weight", TensorType::F32, {256}});
  return tensors;
}

void write_model(const std::filesystem::path& path, const Metadata& metadata, std::span<const NewTensor> tensors) {
  gguf::Writer writer(path, metadata, tensors);
  for (std::size_t i = 0; i < tensors.size(); ++i) writer.append(pattern_data(i, writer.tensors()[i].size));
  writer.finish();
}

std::vector<std::filesystem::path> write_split_model(const std::filesystem::path& folder, const std::string& name,
                                                     std::size_t parts, const Metadata& metadata,
                                                     std::span<const NewTensor> tensors) {
  std::vector<std::filesystem::path> paths;
  for (std::size_t part = 0; part < parts; ++part) {
    Metadata own = part == 0 ? metadata : Metadata();
    own.set("split.no", Value{static_cast<std::uint16_t>(part)});
    own.set("split.count", Value{static_cast<std::uint16_t>(parts)});
    own.set("split.tensors.count", Value{static_cast<std::int32_t>(tensors.size())});
    const std::size_t begin = tensors.size() * part / parts;
    const std::size_t end = tensors.size() * (part + 1) / parts;
    paths.push_back(folder / fmt::format("{}-{:05}-of-{:05}.gguf", name, part + 1, parts));
    gguf::Writer writer(paths.back(), own, tensors.subspan(begin, end - begin));
    for (std::size_t i = begin; i < end; ++i) writer.append(pattern_data(i, writer.tensors()[i - begin].size));
    writer.finish();
  }
  return paths;
}

std::vector<std::byte> read_bytes(const std::filesystem::path& path) {
  const File file = File::open(path);
  std::vector<std::byte> bytes(file.size().value);
  file.read_at(Bytes(0), bytes);
  return bytes;
}

void write_bytes(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  std::ofstream stream(path, std::ios::binary);
  stream.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!stream.flush()) throw std::runtime_error("cannot write " + path.string());
}

RawGguf::RawGguf(std::uint64_t tensors, std::uint64_t keys, std::uint32_t version, std::string_view magic) {
  raw(std::as_bytes(std::span(magic)));
  number(version);
  number(tensors);
  number(keys);
}

RawGguf& RawGguf::text(std::string_view value) {
  number<std::uint64_t>(value.size());
  return raw(std::as_bytes(std::span(value)));
}

RawGguf& RawGguf::raw(std::span<const std::byte> bytes) {
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  return *this;
}

RawGguf& RawGguf::key(std::string_view name, gguf::ValueType type) {
  text(name);
  return number(static_cast<std::uint32_t>(type));
}

RawGguf& RawGguf::tensor(std::string_view name, std::vector<std::uint64_t> shape, std::uint32_t type,
                         std::uint64_t offset) {
  text(name);
  number(static_cast<std::uint32_t>(shape.size()));
  for (const std::uint64_t dimension : shape) number(dimension);
  number(type);
  return number(offset);
}

RawGguf& RawGguf::data(std::uint64_t bytes, std::uint64_t alignment) {
  bytes_.resize(align_up(bytes_.size(), alignment) + bytes);
  return *this;
}

}  // namespace loadline::test
