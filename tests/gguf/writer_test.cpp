#include "gguf/writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <span>
#include <thread>

#include "support/refusal.h"
#include "support/small_models.h"
#include "support/test_data.h"

namespace loadline::gguf {
namespace {

using quant::TensorType;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

class WriterTest : public testing::Test {
 protected:
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
      names.push_back(entry.path().filename());
    }
    return names;
  }
  test::Refusal refused(const Metadata& metadata, const std::vector<NewTensor>& tensors) const {
    test::Refusal refusal = test::refusal([&] {
      Writer(path_, metadata, tensors);
      return 0;
    });
    EXPECT_THAT(files(), IsEmpty());
    return refusal;
  }

  test::TemporaryFolder folder_;
  std::filesystem::path path_ = folder_.path() / "out.gguf";
};

TEST_F(WriterTest, TakesATensorInPieces) {
  const std::vector<NewTensor> tensors = {{"a", TensorType::F32, {5}}, {"b", TensorType::F16, {7, 3}}};
  test::write_model(path_, {}, tensors);
  const std::vector<std::byte> whole = test::read_bytes(path_);
  Writer writer(path_, {}, tensors);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::vector<std::byte> data = test::pattern_data(i, writer.tensors()[i].size);
    for (const std::byte& byte : data) writer.append({&byte, 1});
  }
  EXPECT_EQ(writer.file_size(), Bytes(whole.size()));
  writer.finish();
  EXPECT_EQ(test::read_bytes(path_), whole);
}

TEST_F(WriterTest, SaysWhereEachTensorWillBe) {
  Writer writer(path_, test::small_metadata(), test::small_tensors());
  const std::vector<TensorInfo> announced = writer.tensors();
  writer.leave_hole();
  writer.finish();
  const Model model = open_model(path_);
  ASSERT_EQ(model.tensors.size(), announced.size());
  for (std::size_t i = 0; i < announced.size(); ++i) {
    EXPECT_EQ(model.tensors[i].name, announced[i].name);
    EXPECT_EQ(model.tensors[i].offset, announced[i].offset);
    EXPECT_EQ(model.tensors[i].size, announced[i].size);
    EXPECT_EQ(model.tensors[i].shape, announced[i].shape);
  }
}

TEST_F(WriterTest, FollowsTheAlignmentInTheMetadata) {
  Metadata metadata;
  metadata.set("general.alignment", {std::uint32_t{4096}});
  test::write_model(path_, metadata);
  for (const TensorInfo& tensor : open_model(path_).tensors) EXPECT_EQ(tensor.offset.value % 4096, 0U);
  EXPECT_EQ(std::filesystem::file_size(path_) % 4096, 0U);
}

TEST_F(WriterTest, LeavesAHoleThatReadsAsZerosAndTakesNoRoom) {
  const std::vector<NewTensor> tensors = {{"a", TensorType::F32, {4}}, {"b", TensorType::Q4_K, {1U << 20, 1U << 16}}};
  Writer writer(path_, {}, tensors);
  const std::vector<std::byte> first(16, std::byte{1});
  writer.append(first);
  writer.leave_hole();
  writer.finish();
  const Model model = open_model(path_);
  EXPECT_EQ(model.tensor_bytes(), Bytes(16 + (1ULL << 36) / 256 * 144));
  std::vector<std::byte> data(16);
  model.files[0].read_at(model.tensors[0].offset, data);
  EXPECT_EQ(data, first);
  model.files[0].read_at(model.tensors[1].offset + model.tensors[1].size - Bytes(16), data);
  EXPECT_EQ(data, std::vector<std::byte>(16));
  struct stat status{};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_LT(status.st_blocks * 512, 1 << 20);
}

TEST_F(WriterTest, LeavesNothingWhenItIsNotFinished) {
  {
    Writer writer(path_, test::small_metadata(), test::small_tensors());
    writer.append(test::pattern_data(0, writer.tensors()[0].size));
    EXPECT_FALSE(std::filesystem::exists(path_));
  }
  EXPECT_THAT(files(), IsEmpty());
}

TEST_F(WriterTest, KeepsTheOldFileUntilTheNewOneIsWhole) {
  test::write_model(path_);
  const std::vector<std::byte> before = test::read_bytes(path_);
  {
    Writer writer(path_, {}, test::small_tensors());
  }
  EXPECT_EQ(test::read_bytes(path_), before);
  test::write_model(path_, {}, {});
  EXPECT_TRUE(open_model(path_).tensors.empty());
  EXPECT_THAT(files(), ElementsAre("out.gguf"));
}

TEST_F(WriterTest, RefusesToFinishATensorThatIsIncomplete) {
  Writer writer(path_, {}, std::vector<NewTensor>{{"a", TensorType::F32, {4}}});
  writer.append(std::vector<std::byte>(15));
  const auto finish = [&] {
    writer.finish();
    return 0;
  };
  EXPECT_THAT(test::refusal(finish, ErrorCode::Internal).sentence, HasSubstr("15 of 16 bytes of tensor a"));
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(WriterTest, RefusesMoreDataThanThereAreTensors) {
  Writer writer(path_, {}, std::vector<NewTensor>{{"a", TensorType::F32, {4}}, {"b", TensorType::F32, {4}}});
  const auto append = [&](std::size_t bytes) {
    writer.append(std::vector<std::byte>(bytes));
    return 0;
  };
  EXPECT_THAT(test::refusal([&] { return append(17); }, ErrorCode::Internal).sentence, HasSubstr("tensor a"));
  append(16);
  append(16);
  EXPECT_THAT(test::refusal([&] { return append(1); }, ErrorCode::Internal).sentence, HasSubstr("more data"));
}

TEST_F(WriterTest, RefusesWhatTheReaderWouldRefuse) {
  EXPECT_THAT(refused({}, {{"a", TensorType::F32, {1}}, {"a", TensorType::F32, {1}}}).sentence, HasSubstr("twice"));
  EXPECT_THAT(refused({}, {{"a", TensorType::Q8_0, {33}}}).sentence, HasSubstr("rows of 33"));
  EXPECT_THAT(refused({}, {{"a", TensorType::F32, {0}}}).sentence, HasSubstr("empty dimension"));
  EXPECT_THAT(refused({}, {{"a", TensorType::F32, {}}}).sentence, HasSubstr("0 dimensions"));
  EXPECT_THAT(refused({}, {{"", TensorType::F32, {1}}}).sentence, HasSubstr("no name"));
  EXPECT_THAT(refused({}, {{"a", TensorType::F32, {1ULL << 61}}}).sentence, HasSubstr("impossibly large"));
  const std::vector<NewTensor> enormous = {{"a", TensorType::F32, {1ULL << 59}}, {"b", TensorType::F32, {1ULL << 59}}};
  EXPECT_THAT(refused({}, enormous).sentence, HasSubstr("largest file"));
  Metadata metadata;
  metadata.set("", {std::uint8_t{1}});
  EXPECT_THAT(refused(metadata, {}).sentence, HasSubstr("key is empty"));
  Metadata crooked;
  crooked.set("general.alignment", {std::uint32_t{24}});
  EXPECT_THAT(refused(crooked, {}).sentence, HasSubstr("general.alignment"));
  Array nested = Array::of(std::vector<Array>{});
  for (int depth = 0; depth < kMaxNesting; ++depth) nested = Array::of(std::vector<Array>{nested});
  Metadata deep;
  deep.set("deep", {nested});
  EXPECT_THAT(refused(deep, {}).sentence, HasSubstr("8 deep"));
}

TEST_F(WriterTest, RefusesAPathThatCannotBeWritten) {
  const auto write_to = [](const std::filesystem::path& path) {
    return test::refusal([&] {
      Writer(path, {}, {});
      return 0;
    });
  };
  EXPECT_THAT(write_to(folder_.path() / "none" / "out.gguf").sentence, HasSubstr("cannot be written"));
  EXPECT_THAT(write_to(folder_.path()).sentence, HasSubstr("not a file"));
  EXPECT_THAT(write_to("/dev/full/out.gguf").sentence, HasSubstr("cannot be written"));
}

// To what cannot jump, a hole is written as zeros.
TEST_F(WriterTest, WritesToAPipeWhatItWritesToAFile) {
  const std::filesystem::path pipe = folder_.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const std::vector<NewTensor> tensors = {{"a", TensorType::F32, {1U << 20}}};
  std::string read;
  std::thread reader([&] { read = read_text_file(pipe, 64 * kMiB); });
  for (const std::filesystem::path& path : {pipe, path_}) {
    Writer writer(path, test::small_metadata(), tensors);
    writer.leave_hole();
    writer.finish();
  }
  reader.join();
  const std::string file = read_text_file(path_, 64 * kMiB);
  EXPECT_GT(file.size(), std::size_t{4} << 20);
  EXPECT_EQ(read, file);
}

}  // namespace
}  // namespace loadline::gguf
