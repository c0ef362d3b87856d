// Writes the seeds of gguf_fuzz into the folder given: small whole files that between them hold every kind of value.
// Run it again when the format's reader learns something new, and commit what it writes (fuzz/seeds/gguf_fuzz).
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "gguf/writer.h"

namespace {

using namespace loadline;
using gguf::Array;
using gguf::Metadata;
using gguf::NewTensor;
using gguf::Value;

void write(const std::filesystem::path& path, const Metadata& metadata, const std::vector<NewTensor>& tensors) {
  gguf::Writer writer(path, metadata, tensors);
  writer.leave_hole();
  writer.finish();
}

Metadata scalars() {
  Metadata metadata;
  metadata.set("u8", {std::uint8_t{1}});
  metadata.set("i8", {std::int8_t{-1}});
  metadata.set("u16", {std::uint16_t{2}});
  metadata.set("i16", {std::int16_t{-2}});
  metadata.set("u32", {std::uint32_t{3}});
  metadata.set("i32", {std::int32_t{-3}});
  metadata.set("f32", {0.5F});
  metadata.set("bool", {true});
  metadata.set("string", {std::string("text")});
  metadata.set("u64", {std::uint64_t{4}});
  metadata.set("i64", {std::int64_t{-4}});
  metadata.set("f64", {0.25});
  return metadata;
}

Metadata arrays() {
  Metadata metadata;
  metadata.set("tokens", {Array::of(std::vector<std::string>{"a", "", "bc"})});
  metadata.set("scores", {Array::of(std::vector<float>{0.0F, -1.0F})});
  metadata.set("types", {Array::of(std::vector<std::int32_t>{1, 3})});
  metadata.set("flags", {Array::of(std::vector<bool>{true, false})});
  metadata.set(
      "nested",
      {Array::of(std::vector<Array>{Array::of(std::vector<std::uint8_t>{1}), Array::of(std::vector<Array>{})})});
  return metadata;
}

Metadata model() {
  Metadata metadata;
  metadata.set("general.architecture", {std::string("llama")});
  metadata.set("general.name", {std::string("seed")});
  metadata.set("general.file_type", {std::uint32_t{15}});
  metadata.set("general.alignment", {std::uint32_t{64}});
  return metadata;
}

Metadata part(std::uint16_t number) {
  Metadata metadata;
  metadata.set("split.no", {number});
  metadata.set("split.count", {std::uint16_t{2}});
  metadata.set("split.tensors.count", {std::int32_t{2}});
  return metadata;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: make_gguf_seeds FOLDER\n", stderr);
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  std::filesystem::create_directories(folder);
  write(folder / "scalars.gguf", scalars(), {});
  write(folder / "arrays.gguf", arrays(), {});
  write(folder / "model.gguf", model(),
        {{"token_embd.weight", quant::TensorType::F16, {8, 2}},
         {"blk.0.attn_q.weight", quant::TensorType::Q8_0, {32, 1, 2}},
         {"blk.1.attn_q.weight", quant::TensorType::Q4_K, {256}}});
  // The two files of a split model one after the other, as the fuzzer takes them.
  write(folder / "split.gguf", part(0), {{"output.weight", quant::TensorType::F32, {1}}});
  write(folder / "second.gguf", part(1), {{"output_norm.weight", quant::TensorType::F32, {1}}});
  std::ofstream(folder / "split.gguf", std::ios::binary | std::ios::app)
      << std::ifstream(folder / "second.gguf", std::ios::binary).rdbuf();
  std::filesystem::remove(folder / "second.gguf");
  return 0;
}
