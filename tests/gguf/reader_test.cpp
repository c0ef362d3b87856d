// Files that are right: what comes out of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <vector>

#include "gguf/gguf.h"
#include "gguf/limits.h"
#include "support/refusal.h"
#include "support/small_models.h"
#include "support/test_data.h"

namespace loadline::gguf {
namespace {

using quant::TensorType;
using test::RawGguf;

TEST(Reader, GivesTheMetadataAndTensorsThatWereWritten) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "small.gguf";
  test::write_model(path);
  const Model model = open_model(path);
  EXPECT_EQ(model.version, 3U);
  EXPECT_EQ(model.metadata, test::small_metadata());
  const std::vector<NewTensor> expected = test::small_tensors();
  ASSERT_EQ(model.tensors.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const TensorInfo& tensor = model.tensors[i];
    EXPECT_EQ(tensor.name, expected[i].name);
    EXPECT_EQ(tensor.type, expected[i].type);
    EXPECT_EQ(tensor.dimensions, expected[i].shape.size());
    EXPECT_EQ(tensor.columns(), expected[i].shape[0]);
    EXPECT_EQ(tensor.offset.value % 32, 0U);
    std::vector<std::byte> data(tensor.size.value);
    model.files[tensor.file].read_at(tensor.offset, data);
    EXPECT_EQ(data, test::pattern_data(i, tensor.size)) << tensor.name;
  }
}

TEST(Reader, UnderstandsEveryTypeOfValue) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "types.gguf";
  RawGguf(0, 13)
      .key("u8", ValueType::Uint8)
      .number<std::uint8_t>(200)
      .key("i8", ValueType::Int8)
      .number<std::int8_t>(-100)
      .key("u16", ValueType::Uint16)
      .number<std::uint16_t>(60000)
      .key("i16", ValueType::Int16)
      .number<std::int16_t>(-30000)
      .key("u32", ValueType::Uint32)
      .number<std::uint32_t>(4000000000U)
      .key("i32", ValueType::Int32)
      .number<std::int32_t>(-2000000000)
      .key("f32", ValueType::Float32)
      .number(0.15625F)
      .key("bool", ValueType::Bool)
      .number<std::uint8_t>(1)
      .key("string", ValueType::String)
      .text("grüße")
      .key("array", ValueType::Array)
      .number<std::uint32_t>(3)
      .number<std::uint64_t>(2)
      .number<std::int16_t>(-1)
      .number<std::int16_t>(2)
      .key("u64", ValueType::Uint64)
      .number<std::uint64_t>(18000000000000000000U)
      .key("i64", ValueType::Int64)
      .number<std::int64_t>(-9000000000000000000)
      .key("f64", ValueType::Float64)
      .number(1e300)
      .save(path);
  const Metadata metadata = open_model(path).metadata;
  ASSERT_EQ(metadata.entries().size(), 13U);
  for (std::size_t i = 0; i < 13; ++i) EXPECT_EQ(static_cast<std::size_t>(metadata.entries()[i].second.type()), i);
  EXPECT_EQ(*metadata.find("u8"), Value{std::uint8_t{200}});
  EXPECT_EQ(*metadata.find("i8"), Value{std::int8_t{-100}});
  EXPECT_EQ(*metadata.find("u16"), Value{std::uint16_t{60000}});
  EXPECT_EQ(*metadata.find("i16"), Value{std::int16_t{-30000}});
  EXPECT_EQ(*metadata.find("u32"), Value{std::uint32_t{4000000000U}});
  EXPECT_EQ(*metadata.find("i32"), Value{std::int32_t{-2000000000}});
  EXPECT_EQ(*metadata.find("f32"), Value{0.15625F});
  EXPECT_EQ(*metadata.find("bool"), Value{true});
  EXPECT_EQ(*metadata.find("string"), Value{std::string("grüße")});
  EXPECT_EQ(*metadata.find("array"), Value{Array::of(std::vector<std::int16_t>{-1, 2})});
  EXPECT_EQ(*metadata.find("u64"), Value{std::uint64_t{18000000000000000000U}});
  EXPECT_EQ(*metadata.find("i64"), Value{std::int64_t{-9000000000000000000}});
  EXPECT_EQ(*metadata.find("f64"), Value{1e300});
}

TEST(Reader, TakesVersionTwo) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "two.gguf";
  RawGguf(0, 1, 2).key("a", ValueType::Uint8).number<std::uint8_t>(1).save(path);
  EXPECT_EQ(open_model(path).version, 2U);
}

TEST(Reader, NeedsNoDataWhereThereAreNoTensors) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "none.gguf";
  RawGguf(0, 0).save(path);
  const Model model = open_model(path);
  EXPECT_TRUE(model.tensors.empty());
  EXPECT_EQ(model.find_tensor("any"), -1);
  EXPECT_EQ(model.tensor_bytes(), Bytes(0));
}

TEST(Reader, FollowsTheAlignmentTheFileNames) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "aligned.gguf";
  RawGguf(2, 1)
      .key("general.alignment", ValueType::Uint32)
      .number<std::uint32_t>(256)
      .tensor("a", {3}, 0, 0)
      .tensor("b", {2}, 0, 256)
      .data(256 + 8, 256)
      .save(path);
  const Model model = open_model(path);
  EXPECT_EQ(model.tensors[0].offset, Bytes(256));
  EXPECT_EQ(model.tensors[1].offset, Bytes(512));
}

TEST(Reader, TakesTensorsInAnyOrderAndWithGaps) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "order.gguf";
  RawGguf(2, 0).tensor("late", {8}, 0, 640).tensor("early", {8}, 0, 0).data(640 + 32).save(path);
  const Model model = open_model(path);
  EXPECT_EQ(model.tensors[0].name, "late");
  EXPECT_EQ(model.tensors[0].offset - model.tensors[1].offset, Bytes(640));
  EXPECT_EQ(model.tensor_bytes(), Bytes(64));
}

TEST(Reader, ReadsArraysNestedAsDeepAsItPromises) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "nested.gguf";
  Array innermost = Array::of(std::vector<std::string>{"deep", ""});
  for (int depth = 1; depth < kMaxNesting; ++depth) innermost = Array::of(std::vector<Array>{innermost, innermost});
  Metadata metadata;
  metadata.set("nested", {innermost});
  test::write_model(path, metadata, {});
  EXPECT_EQ(open_model(path).metadata, metadata);
}

// Larger than any buffer, and lying across the edges of one.
TEST(Reader, ReadsLongArraysWhole) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "long.gguf";
  std::vector<std::string> texts;
  std::vector<std::uint16_t> numbers;
  std::vector<bool> flags;
  for (std::size_t i = 0; i < 100'000; ++i) {
    texts.emplace_back(i % 37, static_cast<char>('a' + i % 26));
    numbers.push_back(static_cast<std::uint16_t>(i));
    flags.push_back(i % 3 == 0);
  }
  Metadata metadata;
  metadata.set("texts", {Array::of(texts)});
  metadata.set("numbers", {Array::of(numbers)});
  metadata.set("flags", {Array::of(flags)});
  metadata.set("one", {std::string(300'000, 'x')});
  test::write_model(path, metadata, {});
  EXPECT_EQ(open_model(path).metadata, metadata);
}

// What a vocabulary takes while it is decoded, by the heap's own account: less than it takes in the file.
TEST(Reader, StringsTakeNoMoreMemoryThanInTheFile) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "many.gguf";
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < 200'000; ++i) texts.emplace_back(i % 9, 'x');
  Metadata metadata;
  metadata.set("texts", {Array::of(texts)});
  test::write_model(path, metadata, {});
  const std::uint64_t in_file = std::filesystem::file_size(path);
  const Model model = open_model(path, Bytes(in_file));
  EXPECT_EQ(model.metadata.get_strings("texts")->to_vector(), texts);
  EXPECT_LE(model.metadata.get_strings("texts")->heap_bytes(), in_file);
}

// Keys and arrays within arrays take more memory than bytes in the file: whoever has too many of them means no model.
TEST(Reader, RefusesWhatTakesMoreThanTwiceItsBytes) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "greedy.gguf";
  Metadata arrays;
  arrays.set("empty", {Array::of(std::vector<Array>(200'000, Array::of(std::vector<std::uint8_t>{})))});
  test::write_model(path, arrays, {});
  test::expect_refused([&] { return open_model(path, kGiB); }, "more than twice");
  Metadata keys;
  for (int i = 0; i < 60'000; ++i) keys.add(std::to_string(i), {std::uint8_t{1}});
  test::write_model(path, keys, {});
  test::expect_refused([&] { return open_model(path, kGiB); }, "more than twice");
}

TEST(Reader, FindsTensorsByName) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "small.gguf";
  test::write_model(path);
  Model model = open_model(path);
  for (std::size_t i = 0; i < model.tensors.size(); ++i) {
    EXPECT_EQ(model.find_tensor(model.tensors[i].name), static_cast<std::int32_t>(i));
  }
  EXPECT_EQ(model.find_tensor("blk.0.attn_q"), -1);
  EXPECT_EQ(model.find_tensor("zzz"), -1);
  model.tensors.emplace_back().name = "added.by.hand";
  EXPECT_EQ(model.find_tensor("added.by.hand"), static_cast<std::int32_t>(model.tensors.size() - 1));
  model.index_tensors();
  EXPECT_EQ(model.find_tensor("added.by.hand"), static_cast<std::int32_t>(model.tensors.size() - 1));
}

TEST(Reader, OpensTheGoldenModelsOfEveryFormat) {
  LOADLINE_REQUIRE_SHARED(golden, "golden");
  std::size_t models = 0;
  for (const auto& entry : std::filesystem::directory_iterator(golden)) {
    if (entry.path().extension() != ".gguf") continue;
    const Model model = open_model(entry.path());
    EXPECT_GE(model.tensors.size(), 21U) << entry.path();
    EXPECT_EQ(model.metadata.get_unsigned(*model.metadata.get_string("general.architecture") + ".block_count"), 2U);
    EXPECT_NE(model.find_tensor("token_embd.weight"), -1);
    // The files end with their last tensor's padding, so any error in the sizes shows here.
    Bytes end;
    for (const TensorInfo& tensor : model.tensors) end = std::max(end, tensor.offset + tensor.size);
    EXPECT_EQ(align_up(end, Bytes(32)), model.files[0].size()) << entry.path();
    ++models;
  }
  EXPECT_GE(models, 15U);
}

TEST(Reader, OpensTheVocabularies) {
  LOADLINE_REQUIRE_SHARED(vocabularies, "vocab");
  for (const auto& entry : std::filesystem::directory_iterator(vocabularies)) {
    if (entry.path().extension() != ".gguf") continue;
    const Model model = open_model(entry.path());
    EXPECT_TRUE(model.tensors.empty());
    EXPECT_GT(model.metadata.get_strings("tokenizer.ggml.tokens")->size(), 1'000U) << entry.path();
  }
}

}  // namespace
}  // namespace loadline::gguf
