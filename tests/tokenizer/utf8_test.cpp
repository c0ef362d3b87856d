#include "tokenizer/utf8.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <string>

namespace loadline::tokenizer {
namespace {

std::string utf8_of(unsigned point) {
  const auto byte = [](unsigned value) { return static_cast<char>(value); };
  if (point < 0x80) return {byte(point)};
  if (point < 0x800) return {byte(0xC0 | (point >> 6)), byte(0x80 | (point & 0x3F))};
  if (point < 0x10000) {
    return {byte(0xE0 | (point >> 12)), byte(0x80 | ((point >> 6) & 0x3F)), byte(0x80 | (point & 0x3F))};
  }
  return {byte(0xF0 | (point >> 18)), byte(0x80 | ((point >> 12) & 0x3F)), byte(0x80 | ((point >> 6) & 0x3F)),
          byte(0x80 | (point & 0x3F))};
}

TEST(Utf8, EveryCharacterIsOneUnitAndItsBeginningsAreUnfinished) {
  for (unsigned point = 0; point <= 0x10FFFF; ++point) {
    const std::string text = utf8_of(point);
    const Utf8Unit unit = first_utf8_unit(text);
    if (point >= 0xD800 && point <= 0xDFFF) {
      ASSERT_EQ(unit.kind, Utf8Kind::Invalid) << "surrogate " << point;
      continue;
    }
    ASSERT_EQ(unit.kind, Utf8Kind::Character) << point;
    ASSERT_EQ(unit.length, text.size()) << point;
    for (std::size_t length = 1; length < text.size(); ++length) {
      const Utf8Unit begun = first_utf8_unit(text.substr(0, length));
      ASSERT_EQ(begun.kind, Utf8Kind::Unfinished) << point;
      ASSERT_EQ(begun.length, length) << point;
    }
  }
}

TEST(Utf8, OverlongFormsAndValuesBeyondUnicodeAreInvalid) {
  for (const char* text : {"\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF",
                           "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\x80"}) {
    EXPECT_EQ(first_utf8_unit(text).kind, Utf8Kind::Invalid);
    EXPECT_EQ(first_utf8_unit(text).length, 1U);
  }
}

// The examples of the Unicode standard, tables 3-8, 3-9 and 3-11.
TEST(Utf8, OneReplacementStandsForAsMuchAsCouldHaveBeenACharacter) {
  const std::string r = "\uFFFD";
  EXPECT_EQ(replace_invalid_utf8("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(replace_invalid_utf8("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), r + r + r + r + "A");
}

RC_GTEST_PROP(Utf8, TheValidPrefixIsWholeCharactersAndWhatFollowsIsNone, (const std::string& bytes)) {
  const std::size_t prefix = valid_utf8_prefix(bytes);
  std::size_t at = 0;
  while (at < bytes.size() && first_utf8_unit(std::string_view(bytes).substr(at)).kind == Utf8Kind::Character) {
    at += first_utf8_unit(std::string_view(bytes).substr(at)).length;
  }
  RC_ASSERT(prefix == at);
}

RC_GTEST_PROP(Utf8, ReplacingGivesValidTextAndLeavesValidTextAlone, (const std::string& bytes)) {
  const std::string replaced = replace_invalid_utf8(bytes);
  RC_ASSERT(valid_utf8_prefix(replaced) == replaced.size());
  RC_ASSERT(replace_invalid_utf8(replaced) == replaced);
}

}  // namespace
}  // namespace loadline::tokenizer
