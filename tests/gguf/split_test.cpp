// Models split over several files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "gguf/gguf.h"
#include "support/refusal.h"
#include "support/small_models.h"
#include "support/test_data.h"

namespace loadline::gguf {
namespace {

using test::Refusal;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class SplitModel : public testing::Test {
 protected:
  static Refusal open(const std::filesystem::path& path) {
    return test::refusal([&] { return open_model(path); });
  }
  // Writes a part anew with other split keys.
  static void write_part(const std::filesystem::path& path, std::uint16_t number, std::uint16_t count,
                         const std::vector<NewTensor>& tensors) {
    Metadata metadata;
    metadata.set("split.no", {number});
    metadata.set("split.count", {count});
    test::write_model(path, metadata, tensors);
  }

  test::TemporaryFolder folder_;
  std::vector<std::filesystem::path> parts_ = test::write_split_model(folder_.path(), "small", 3);
};

TEST_F(SplitModel, IsFoundWholeFromItsFirstFile) {
  const Model model = open_model(parts_[0]);
  ASSERT_EQ(model.files.size(), 3U);
  const std::vector<NewTensor> expected = test::small_tensors();
  ASSERT_EQ(model.tensors.size(), expected.size());
  EXPECT_EQ(*model.metadata.get_string("general.name"), "Small Test");
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const TensorInfo& tensor = model.tensors[i];
    EXPECT_EQ(tensor.name, expected[i].name);
    EXPECT_EQ(model.find_tensor(tensor.name), static_cast<std::int32_t>(i));
    std::vector<std::byte> data(tensor.size.value);
    model.files[tensor.file].read_at(tensor.offset, data);
    EXPECT_EQ(data, test::pattern_data(i, tensor.size));
  }
  EXPECT_EQ(model.tensors.front().file, 0U);
  EXPECT_EQ(model.tensors.back().file, 2U);
}

TEST_F(SplitModel, IsFoundFromARelativePath) {
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder_.path());
  EXPECT_EQ(open_model(parts_[0].filename()).files.size(), 3U);
  EXPECT_EQ(open_model("./" + parts_[0].filename().string()).files.size(), 3U);
  std::filesystem::current_path(before);
}

TEST_F(SplitModel, GivenALaterPartNamesTheFirst) {
  const Refusal refusal = open(parts_[1]);
  EXPECT_THAT(refusal.sentence, AllOf(StartsWith(parts_[1].string()), HasSubstr("part 2 of a model split into 3")));
  EXPECT_THAT(refusal.hint, HasSubstr(parts_[0].string()));
  const auto renamed = folder_.path() / "renamed.gguf";
  std::filesystem::rename(parts_[1], renamed);
  EXPECT_THAT(open(renamed).hint, HasSubstr("ends in -00001-of-00003.gguf"));
}

TEST_F(SplitModel, WithoutAPartNamesTheMissingFile) {
  std::filesystem::remove(parts_[2]);
  const Refusal refusal = open(parts_[0]);
  EXPECT_THAT(refusal.sentence, AllOf(StartsWith(parts_[2].string()), HasSubstr("no such file")));
  EXPECT_THAT(refusal.hint, HasSubstr("part 3 of 3"));
}

TEST_F(SplitModel, WithADamagedPartNamesThatFile) {
  std::filesystem::resize_file(parts_[1], std::filesystem::file_size(parts_[1]) - 4096);
  EXPECT_THAT(open(parts_[0]).sentence, StartsWith(parts_[1].string()));
}

TEST_F(SplitModel, WhoseFirstFileWasRenamedCannotFindTheRest) {
  const auto renamed = folder_.path() / "renamed.gguf";
  std::filesystem::rename(parts_[0], renamed);
  EXPECT_THAT(open(renamed).sentence, AllOf(StartsWith(renamed.string()), HasSubstr("-00001-of-00003.gguf")));
}

TEST_F(SplitModel, WithPartsInTheWrongPlaceIsRefused) {
  std::filesystem::copy_file(parts_[1], parts_[2], std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(open(parts_[0]).sentence, AllOf(StartsWith(parts_[2].string()), HasSubstr("part 2 of 3")));
  test::write_model(parts_[2]);
  EXPECT_THAT(open(parts_[0]).sentence, AllOf(StartsWith(parts_[2].string()), HasSubstr("part 1 of 1")));
}

TEST_F(SplitModel, WithTensorsMissingIsRefused) {
  write_part(parts_[2], 2, 3, {});
  EXPECT_THAT(open(parts_[0]).sentence, AllOf(HasSubstr("hold 5 tensors"), HasSubstr("8 were announced")));
}

TEST_F(SplitModel, WithATensorInTwoPartsIsRefused) {
  const std::vector<NewTensor> tensors = test::small_tensors();
  write_part(parts_[2], 2, 3, {tensors[6], tensors[0], tensors[7]});
  EXPECT_THAT(open(parts_[0]).sentence,
              AllOf(StartsWith(parts_[2].string()), HasSubstr(tensors[0].name), HasSubstr(parts_[0].string())));
}

TEST_F(SplitModel, WithKeysThatContradictThemselvesIsRefused) {
  const auto path = folder_.path() / "odd.gguf";
  write_part(path, 3, 3, {});
  EXPECT_THAT(open(path).sentence, AllOf(StartsWith(path.string()), HasSubstr("split.no is 3 and split.count 3")));
  Metadata metadata;
  metadata.set("split.count", {std::string("3")});
  test::write_model(path, metadata, {});
  EXPECT_THAT(open(path).sentence, AllOf(StartsWith(path.string()), HasSubstr("split.count is of type string")));
  metadata.set("split.count", {std::int32_t{70'000}});
  test::write_model(path, metadata, {});
  EXPECT_THAT(open(path).sentence, HasSubstr("split.count 70000"));
}

// Some programs number the parts from 1 in the metadata, some from 0 in the names too.
TEST_F(SplitModel, CountedInAnotherWayIsOpenedAllTheSame) {
  const std::vector<NewTensor> tensors = test::small_tensors();
  const auto named = [&](const std::string& name) { return folder_.path() / name; };
  write_part(named("one-00001-of-00002.gguf"), 1, 2, {tensors[0], tensors[1]});
  write_part(named("one-00002-of-00002.gguf"), 2, 2, {tensors[2]});
  EXPECT_EQ(open_model(named("one-00001-of-00002.gguf")).files.size(), 2U);
  EXPECT_THAT(open(named("one-00002-of-00002.gguf")).sentence, HasSubstr("part 2 of a model split into 2"));
  EXPECT_THAT(open(named("one-00002-of-00002.gguf")).hint, HasSubstr("one-00001-of-00002.gguf"));
  write_part(named("zero-0-of-2.gguf"), 0, 2, {tensors[0], tensors[1]});
  write_part(named("zero-1-of-2.gguf"), 1, 2, {tensors[2]});
  EXPECT_EQ(open_model(named("zero-0-of-2.gguf")).files.size(), 2U);
  EXPECT_THAT(open(named("zero-1-of-2.gguf")).hint, HasSubstr("zero-0-of-2.gguf"));
}

TEST_F(SplitModel, NamedInCapitalsIsOpened) {
  const std::vector<NewTensor> tensors = test::small_tensors();
  write_part(folder_.path() / "A-00001-OF-00002.GGUF", 0, 2, {tensors[0], tensors[1]});
  EXPECT_THAT(open(folder_.path() / "A-00001-OF-00002.GGUF").sentence,
              HasSubstr("A-00002-OF-00002.GGUF: no such file"));
  write_part(folder_.path() / "A-00002-OF-00002.GGUF", 1, 2, {tensors[2]});
  EXPECT_EQ(open_model(folder_.path() / "A-00001-OF-00002.GGUF").files.size(), 2U);
}

TEST_F(SplitModel, MergedIntoOneFileIsOne) {
  const auto path = folder_.path() / "merged.gguf";
  write_part(path, 0, 0, test::small_tensors());
  EXPECT_EQ(open_model(path).files.size(), 1U);
  write_part(path, 0, 1, test::small_tensors());
  EXPECT_EQ(open_model(path).files.size(), 1U);
}

}  // namespace
}  // namespace loadline::gguf
