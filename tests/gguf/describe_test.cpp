#include "gguf/describe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gguf/file_type.h"
#include "support/small_models.h"
#include "support/test_data.h"

namespace loadline::gguf {
namespace {

using quant::TensorType;
using testing::ElementsAre;
using testing::HasSubstr;

// A tensor as the sums see it.
TensorInfo tensor(std::string name, TensorType type, std::uint64_t columns, std::uint64_t rows) {
  TensorInfo info;
  info.name = std::move(name);
  info.type = type;
  info.shape = {columns, rows, 1, 1};
  info.dimensions = 2;
  info.size = quant::size_of(type, columns * rows);
  return info;
}

TEST(Describe, NamesAModelInOneLine) {
  const Summary summary{"Llama 3 8B Instruct", "llama", "Q4_K_M", 8'030'261'312, Bytes(4'920'734'272), 1};
  EXPECT_EQ(to_line(summary), "Llama 3 8B Instruct · llama · Q4_K_M · 8.03 B parameters · 4.58 GiB in one file");
  const Summary split{"a\nb", "", "", 0, Bytes(2048), 3};
  EXPECT_EQ(to_line(split), "a\\x0ab · no architecture · no tensors · 2.00 KiB in 3 files");
}

TEST(Describe, SummarisesTheFiles) {
  const test::TemporaryFolder folder;
  const auto parts = test::write_split_model(folder.path(), "small", 2);
  const Summary summary = summarise(open_model(parts[0]));
  EXPECT_EQ(summary.name, "Small Test");
  EXPECT_EQ(summary.architecture, "llama");
  EXPECT_EQ(summary.format, "Q4_K_M");
  EXPECT_EQ(summary.parameters, 256U * 4 + 2 * (256 + 256 * 256 + 256 * 64) + 256);
  EXPECT_EQ(summary.files, 2U);
  EXPECT_EQ(summary.file_bytes.value, std::filesystem::file_size(parts[0]) + std::filesystem::file_size(parts[1]));
}

TEST(Describe, FallsBackToTheFilesNameAndTheFormatOfMostBytes) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "nameless.gguf";
  Metadata odd;
  odd.set("general.name", {std::uint32_t{5}});
  odd.set("general.file_type", {std::uint32_t{999}});
  test::write_model(path, odd);
  const Summary summary = summarise(open_model(path));
  EXPECT_EQ(summary.name, "nameless.gguf");
  EXPECT_EQ(summary.architecture, "");
  EXPECT_EQ(summary.format, "Q4_K");
}

TEST(Describe, KnowsTheFileTypesByNumberAndName) {
  EXPECT_EQ(file_type_name(15), "Q4_K_M");
  EXPECT_EQ(file_type_name(15 + 1024), "Q4_K_M");  // guessed
  EXPECT_EQ(file_type_name(0), "F32");
  EXPECT_EQ(file_type_name(4), "");  // withdrawn
  EXPECT_EQ(find_file_type("q4_k_m"), 15U);
  EXPECT_EQ(find_file_type("Q4_K"), std::nullopt);
  for (std::uint32_t number = 0; number < 100; ++number) {
    const std::string_view name = file_type_name(number);
    if (name.empty()) continue;
    EXPECT_EQ(find_file_type(name), number);
  }
}

TEST(Describe, CountsInDecimalThousands) {
  EXPECT_EQ(count_text(0), "0");
  EXPECT_EQ(count_text(999), "999");
  EXPECT_EQ(count_text(1000), "1.00 k");
  EXPECT_EQ(count_text(137'022'720), "137 M");
  EXPECT_EQ(count_text(999'600'000), "1.00 B");
  EXPECT_EQ(count_text(70'553'706'496), "70.6 B");
}

TEST(Describe, ShowsValuesInOneLine) {
  EXPECT_EQ(value_text({std::int8_t{-5}}), "-5");
  EXPECT_EQ(value_text({std::uint8_t{65}}), "65");
  EXPECT_EQ(value_text({1e-5F}), "1e-05");
  EXPECT_EQ(value_text({true}), "true");
  EXPECT_EQ(value_text({std::string("two\nlines")}), "\"two\\x0alines\"");
  EXPECT_EQ(value_text({Array::of(std::vector<bool>{true, false})}), "2 x bool: [true, false]");
  EXPECT_EQ(value_text({Array::of(std::vector<float>{})}), "0 x float32: []");
}

TEST(Describe, AbbreviatesLongValuesUnlessAskedForAll) {
  const Value numbers{Array::of(std::vector<std::int32_t>{1, 2, 3, 4, 5, 6, 7, 8})};
  EXPECT_EQ(value_text(numbers), "8 x int32: [1, 2, 3, 4, 5, 6, …]");
  EXPECT_EQ(value_text(numbers, true), "8 x int32: [1, 2, 3, 4, 5, 6, 7, 8]");
  const Value text{std::string(5000, 'x')};
  EXPECT_LT(value_text(text).size(), 110U);
  EXPECT_EQ(value_text(text, true).size(), 5002U);
  Array nested = Array::of(std::vector<std::uint8_t>(20));
  for (int depth = 1; depth < kMaxNesting; ++depth) nested = Array::of(std::vector<Array>(3, nested));
  EXPECT_LT(value_text({nested}).size(), 1000U);
}

TEST(Describe, FindsTheLayerInATensorsName) {
  EXPECT_EQ(layer_of("blk.0.attn_q.weight"), 0U);
  EXPECT_EQ(layer_of("blk.123.x"), 123U);
  EXPECT_EQ(layer_of("output.weight"), std::nullopt);
  EXPECT_EQ(layer_of("blk."), std::nullopt);
  EXPECT_EQ(layer_of("blk.7"), std::nullopt);
  EXPECT_EQ(layer_of("blk.x.y"), std::nullopt);
  EXPECT_EQ(layer_of("blk.-1.y"), std::nullopt);
  EXPECT_EQ(layer_of("blk.99999999999999999999.y"), std::nullopt);
}

TEST(Describe, WritesListsOfLayersAsRanges) {
  EXPECT_EQ(ranges_text({}), "");
  EXPECT_EQ(ranges_text({4}), "4");
  EXPECT_EQ(ranges_text({4, 5}), "4, 5");
  EXPECT_EQ(ranges_text({0, 1, 2, 3, 6, 9, 10, 11}), "0-3, 6, 9-11");
}

TEST(Describe, JoinsTheLayersThatAreAlike) {
  Model model;
  model.tensors = {tensor("token_embd.weight", TensorType::Q8_0, 64, 10)};
  for (int layer = 0; layer < 4; ++layer) {
    const std::string prefix = "blk." + std::to_string(layer) + ".";
    model.tensors.push_back(tensor(prefix + "a", TensorType::F32, 8, 1));
    model.tensors.push_back(tensor(prefix + "b", layer == 1 ? TensorType::Q5_0 : TensorType::Q4_0, 64, 2));
  }
  std::swap(model.tensors[7], model.tensors[8]);  // the order within a layer does not matter
  model.tensors.push_back(tensor("output.weight", TensorType::Q8_0, 64, 10));

  const std::vector<TensorGroup> groups = group_by_layer(model);
  ASSERT_EQ(groups.size(), 4U);
  EXPECT_EQ(groups[0].name, "token_embd.weight");
  EXPECT_THAT(groups[1].layers, ElementsAre(0, 2, 3));
  EXPECT_EQ(groups[1].tensors, 6U);
  EXPECT_EQ(groups[1].formats.at(TensorType::F32).bytes, Bytes(3 * 32));
  EXPECT_EQ(groups[1].formats.at(TensorType::Q4_0).bytes, Bytes(3 * 4 * 18));
  EXPECT_EQ(groups[1].formats.at(TensorType::Q4_0).elements, 3U * 128);
  EXPECT_THAT(groups[2].layers, ElementsAre(1));
  EXPECT_EQ(groups[2].formats.at(TensorType::Q5_0).tensors, 1U);
  EXPECT_EQ(groups[3].name, "output.weight");
  EXPECT_EQ(sum_formats(model).at(TensorType::Q8_0).tensors, 2U);
}

TEST(Describe, KeepsLayersApartThatDifferInShapeOnly) {
  Model model;
  model.tensors = {tensor("blk.0.a", TensorType::F32, 8, 2), tensor("blk.1.a", TensorType::F32, 2, 8),
                   tensor("blk.2.b", TensorType::F32, 8, 2)};
  EXPECT_EQ(group_by_layer(model).size(), 3U);
}

}  // namespace
}  // namespace loadline::gguf
