// Files that are wrong: every one is refused with a sentence that names the file and what is wrong with it.
#include "support/refusal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "gguf/gguf.h"
#include "support/small_models.h"
#include "support/test_data.h"

namespace loadline::gguf {
namespace {

using test::RawGguf;
using test::Refusal;
using testing::HasSubstr;
using testing::StartsWith;

constexpr std::uint32_t kF32 = 0;
constexpr std::uint32_t kQ4K = 12;

class Refusals : public testing::Test {
 protected:
  // What opening the file says, after checking that it begins with the file's name.
  Refusal open() const {
    Refusal refusal = test::refusal([&] { return open_model(path_); });
    EXPECT_THAT(refusal.sentence, StartsWith(path_.string() + ": "));
    return refusal;
  }
  Refusal open(const RawGguf& file) const {
    file.save(path_);
    return open();
  }
  Refusal open_text(std::string_view text) const {
    test::write_bytes(path_, std::as_bytes(std::span(text)));
    return open();
  }

  test::TemporaryFolder folder_;
  std::filesystem::path path_ = folder_.path() / "bad.gguf";
};

TEST_F(Refusals, OfFilesThatAreNotThereOrNotFiles) {
  EXPECT_THAT(open().sentence, HasSubstr("no such file"));
  std::filesystem::create_directory(path_);
  EXPECT_THAT(open().sentence, HasSubstr("a directory"));
  std::filesystem::remove(path_);
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_THAT(open().sentence, HasSubstr("not a file"));
}

TEST_F(Refusals, OfFilesOfAnotherKindSayWhatTheyAre) {
  EXPECT_THAT(open_text("").sentence, HasSubstr("is empty"));
  EXPECT_THAT(open_text("").hint, HasSubstr("fetch it again"));
  EXPECT_THAT(open_text("GG").hint, HasSubstr("fetch it again"));
  EXPECT_THAT(open_text("Once upon a time, äöü").sentence, HasSubstr("a text file"));
  EXPECT_THAT(open_text("\n <!doctype HTML><html><body>Not found").sentence, HasSubstr("a web page"));
  EXPECT_THAT(open_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n").hint, HasSubstr("git lfs pull"));
  EXPECT_THAT(open_text("PK\x03\x04 and so on").sentence, HasSubstr("zip"));
  EXPECT_THAT(open_text("tjgg\x03").sentence, HasSubstr("older than GGUF"));
  EXPECT_THAT(open_text(std::string("\x40\x01\0\0\0\0\0\0{\"a\":", 14)).sentence, HasSubstr("safetensors"));
  EXPECT_THAT(open_text(std::string("\x7F"
                                    "ELF\x02\0\0\0\0",
                                    9))
                  .sentence,
              HasSubstr("is not a GGUF model"));
}

TEST_F(Refusals, OfOtherVersionsAndByteOrders) {
  EXPECT_THAT(open(RawGguf(0, 0, 1)).sentence, HasSubstr("version 1"));
  EXPECT_THAT(open(RawGguf(0, 0, 4)).sentence, HasSubstr("version 4"));
  EXPECT_THAT(open(RawGguf(0, 0, 4)).hint, HasSubstr("newer Loadline"));
  EXPECT_THAT(open(RawGguf(0, 0, 0)).sentence, HasSubstr("version 0"));
  EXPECT_THAT(open(RawGguf(0, 0, 0x03000000U)).sentence, HasSubstr("big-endian"));
}

TEST_F(Refusals, OfCountsTheFileCannotHold) {
  EXPECT_THAT(open(RawGguf(~0ULL, 0)).sentence, HasSubstr("18 446 744 073 709 551 615 tensors"));
  EXPECT_THAT(open(RawGguf(0, 1ULL << 60)).sentence, HasSubstr("metadata keys"));
  EXPECT_THAT(open(RawGguf(0, 1).number<std::uint64_t>(1ULL << 40).data(64)).sentence, HasSubstr("characters"));
  EXPECT_THAT(open(RawGguf(0, 1)
                       .key("a", ValueType::Array)
                       .number<std::uint32_t>(4)
                       .number<std::uint64_t>(1ULL << 62)  // times 4 wraps to 0
                       .data(64))
                  .sentence,
              HasSubstr("array elements"));
  EXPECT_THAT(open(RawGguf(0, 1)
                       .key("a", ValueType::Array)
                       .number<std::uint32_t>(8)
                       .number<std::uint64_t>(10)  // strings of at least 8 bytes each
                       .data(64))
                  .sentence,
              HasSubstr("10 array elements"));
}

TEST_F(Refusals, OfCountsNoModelHasEvenInAnEnormousFile) {
  RawGguf(1ULL << 30, 0).save(path_);
  std::filesystem::resize_file(path_, 1ULL << 40);  // a hole
  EXPECT_THAT(open().sentence, HasSubstr("tensors"));
  RawGguf(0, 70'000).save(path_);
  std::filesystem::resize_file(path_, 1ULL << 40);
  EXPECT_THAT(open().sentence, HasSubstr("70 000 metadata keys, more than any model has"));
  RawGguf(0, 1).key("a", ValueType::Array).number<std::uint32_t>(0).number<std::uint64_t>(1ULL << 39).save(path_);
  std::filesystem::resize_file(path_, 1ULL << 40);
  EXPECT_THAT(open().sentence, HasSubstr("array elements"));
}

TEST_F(Refusals, OfMetadataThatBreakTheFormat) {
  EXPECT_THAT(open(RawGguf(0, 1).key("a.key", static_cast<ValueType>(13)).data(64)).sentence,
              testing::AllOf(HasSubstr("a.key"), HasSubstr("type 13")));
  EXPECT_THAT(open(RawGguf(0, 1).key("a.key", ValueType::Bool).number<std::uint8_t>(2)).sentence,
              testing::AllOf(HasSubstr("a.key"), HasSubstr("neither 0 nor 1")));
  EXPECT_THAT(open(RawGguf(0, 1)
                       .key("a.key", ValueType::Array)
                       .number<std::uint32_t>(7)
                       .number<std::uint64_t>(1)
                       .number<std::uint8_t>(255))
                  .sentence,
              HasSubstr("neither 0 nor 1"));
  EXPECT_THAT(open(RawGguf(0, 2)
                       .key("a.key", ValueType::Uint8)
                       .number<std::uint8_t>(1)
                       .key("a.key", ValueType::Uint8)
                       .number<std::uint8_t>(1))
                  .sentence,
              HasSubstr("a.key is there twice"));
  EXPECT_THAT(open(RawGguf(0, 1).key("", ValueType::Uint8).data(64)).sentence, HasSubstr("key is empty"));
  EXPECT_THAT(open(RawGguf(0, 1).key(std::string(65536, 'k'), ValueType::Uint8).data(64)).sentence,
              HasSubstr("65 536 bytes"));
  EXPECT_THAT(open(RawGguf(0, 1).key("a\x1B[2J", static_cast<ValueType>(99)).data(64)).sentence,
              HasSubstr("a\\x1b[2J"));
}

TEST_F(Refusals, OfArraysNestedTooDeep) {
  RawGguf file(0, 1);
  file.key("a.key", ValueType::Array);
  for (int depth = 0; depth < kMaxNesting; ++depth) file.number<std::uint32_t>(9).number<std::uint64_t>(1);
  file.number<std::uint32_t>(0).number<std::uint64_t>(0);
  EXPECT_THAT(open(file.data(64)).sentence, testing::AllOf(HasSubstr("a.key"), HasSubstr("8 deep")));
}

TEST_F(Refusals, OfAnAlignmentThatIsNone) {
  for (const std::uint32_t alignment : {0U, 1U, 4U, 48U, 1U << 21}) {
    const RawGguf file = RawGguf(0, 1).key("general.alignment", ValueType::Uint32).number(alignment);
    EXPECT_THAT(open(file).sentence, HasSubstr("general.alignment is " + std::to_string(alignment)));
  }
  EXPECT_THAT(open(RawGguf(0, 1).key("general.alignment", ValueType::String).text("32")).sentence,
              HasSubstr("general.alignment is of type string"));
}

TEST_F(Refusals, OfShapesThatCannotBe) {
  EXPECT_THAT(open(RawGguf(1, 0).tensor("t", {}, kF32, 0).data(64)).sentence, HasSubstr("tensor t has 0 dimensions"));
  EXPECT_THAT(open(RawGguf(1, 0).tensor("t", {1, 1, 1, 1, 1}, kF32, 0).data(64)).sentence,
              HasSubstr("tensor t has 5 dimensions"));
  EXPECT_THAT(open(RawGguf(1, 0).tensor("t", {4, 0}, kF32, 0).data(64)).sentence, HasSubstr("empty dimension (4 x 0)"));
  EXPECT_THAT(open(RawGguf(1, 0).tensor("t", {1ULL << 32, 1ULL << 32}, kF32, 0).data(64)).sentence,
              HasSubstr("impossibly large (4294967296 x 4294967296)"));
  EXPECT_THAT(open(RawGguf(1, 0).tensor("t", {1ULL << 62}, kF32, 0).data(64)).sentence, HasSubstr("impossibly large"));
  EXPECT_THAT(open(RawGguf(1, 0).tensor("t", {(1ULL << 63) + 1}, kF32, 0).data(64)).sentence,
              HasSubstr("impossibly large"));
  // More values than an int64 counts, in fewer bytes than that.
  EXPECT_THAT(open(RawGguf(1, 0).tensor("t", {1ULL << 63}, kQ4K, 0).data(64)).sentence, HasSubstr("impossibly large"));
  EXPECT_THAT(open(RawGguf(1, 0).tensor("t", {128, 2}, kQ4K, 0).data(512)).sentence,
              testing::AllOf(HasSubstr("rows of 128"), HasSubstr("Q4_K"), HasSubstr("256")));
  EXPECT_THAT(open(RawGguf(1, 0).tensor("", {1}, kF32, 0).data(64)).sentence, HasSubstr("no name"));
}

TEST_F(Refusals, OfFormatsWeDoNotHaveNameThem) {
  const Refusal known = open(RawGguf(1, 0).tensor("blk.0.ffn_up.weight", {256}, 31, 0).data(512));
  EXPECT_THAT(known.sentence, testing::AllOf(HasSubstr("blk.0.ffn_up.weight"), HasSubstr("Q4_0_4_4")));
  EXPECT_THAT(known.hint, HasSubstr("Q4_K"));
  EXPECT_THAT(open(RawGguf(1, 0).tensor("t", {256}, 77, 0).data(512)).sentence, HasSubstr("type 77"));
}

TEST_F(Refusals, OfDataInTheWrongPlace) {
  EXPECT_THAT(open(RawGguf(1, 0).tensor("t", {1}, kF32, 16).data(64)).sentence,
              testing::AllOf(HasSubstr("tensor t"), HasSubstr("multiple of the alignment 32")));
  EXPECT_THAT(open(RawGguf(2, 0).tensor("a", {16}, kF32, 0).tensor("b", {8}, kF32, 32).data(64)).sentence,
              testing::AllOf(HasSubstr("a"), HasSubstr("b"), HasSubstr("overlap")));
  EXPECT_THAT(open(RawGguf(2, 0).tensor("a", {8}, kF32, 0).tensor("b", {8}, kF32, 0).data(64)).sentence,
              HasSubstr("overlap"));
  EXPECT_THAT(open(RawGguf(1, 0).tensor("t", {8}, kF32, ~0ULL - 31).data(64)).sentence, HasSubstr("impossible offset"));
  EXPECT_THAT(open(RawGguf(2, 0).tensor("same", {8}, kF32, 0).tensor("same", {8}, kF32, 32).data(64)).sentence,
              HasSubstr("same is there twice"));
}

TEST_F(Refusals, OfATruncatedModelSayThatTheDownloadIsIncomplete) {
  test::write_model(path_);
  const std::uint64_t size = std::filesystem::file_size(path_);
  const Model whole = open_model(path_);
  std::filesystem::resize_file(path_, size - 4096);
  const Refusal refusal = open();
  EXPECT_THAT(refusal.sentence, HasSubstr("but the file has"));
  EXPECT_EQ(refusal.hint, "The download is incomplete; fetch it again.");

  // Cut anywhere before the last tensor's end, it is never taken for whole.
  const TensorInfo& last = whole.tensors.back();
  std::uint64_t cut = (last.offset + last.size).value;
  for (std::uint64_t step = 1; cut > 0; ++step) {
    cut = cut > step ? cut - step : 0;
    std::filesystem::resize_file(path_, cut);
    EXPECT_THAT(open().hint, HasSubstr("fetch it again")) << "cut to " << cut << " bytes";
  }
}

}  // namespace
}  // namespace loadline::gguf
