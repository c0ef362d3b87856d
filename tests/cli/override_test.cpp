// What is said in place of metadata, and what is made of a prompt.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "cli/metadata_override.h"
#include "cli/prompt.h"
#include "support/refusal.h"

namespace loadline::cli {
namespace {

using testing::HasSubstr;

TEST(Overrides, HaveAKeyATypeAndAValue) {
  EXPECT_EQ(parse_overrides("a.b=int:-5").front().value, (gguf::Value{std::int64_t{-5}}));
  EXPECT_EQ(parse_overrides("a.b=float:1e6").front().value, (gguf::Value{1e6}));
  EXPECT_EQ(parse_overrides("a.b=bool:false").front().value, (gguf::Value{false}));
  EXPECT_EQ(parse_overrides("a.b=str:").front().value, (gguf::Value{std::string()}));
  EXPECT_EQ(parse_overrides("a.b=str:x=y:z").front().value, (gguf::Value{std::string("x=y:z")}));
  EXPECT_EQ(parse_overrides("a.b=int:1").front().key, "a.b");
}

TEST(Overrides, SeveralHaveCommasBetweenThemAndTextsMayHoldCommas) {
  const auto all = parse_overrides("a=str:one, two,b=int:2,c=bool:true");
  ASSERT_EQ(all.size(), 3U);
  EXPECT_EQ(all[0].value, (gguf::Value{std::string("one, two")}));
  EXPECT_EQ(all[1].key, "b");
  EXPECT_EQ(all[2].key, "c");
}

TEST(Overrides, OfAnyOtherFormAreQuoted) {
  for (const char* text : {"", "a", "a=", "a=int", "=int:1", "a=int:", "a=int:1.5", "a=bool:yes", "a=u32:1",
                           "a=float:", "a=int:99999999999999999999", "a:int=1"}) {
    test::expect_refused([&] { return parse_overrides(text); }, "--override-kv", std::string("\"") + text + "\"");
  }
}

RC_GTEST_PROP(Overrides, AnyTextIsOverridesOrASentence, (const std::string& text)) {
  try {
    RC_ASSERT(!parse_overrides(text).empty());
  } catch (const Error& error) {
    RC_ASSERT(error.code() == ErrorCode::BadInput);
  }
}

TEST(Prompts, EscapesStandForWhatUsersKnow) {
  EXPECT_EQ(with_escapes(R"(a\nb\tc\rd\\e\"f\'g)"), "a\nb\tc\rd\\e\"f'g");
  EXPECT_EQ(with_escapes(R"(\x41\xc3\xa4)"), "Aä");
  EXPECT_EQ(with_escapes(R"(\\n)"), "\\n");
  EXPECT_EQ(with_escapes(R"(\d \x4 \xzz C:\Users)"), R"(\d \x4 \xzz C:\Users)");
  EXPECT_EQ(with_escapes("\\"), "\\");
}

TEST(Prompts, OfAFileLoseTheByteOrderMarkAndOneEndOfLine) {
  EXPECT_EQ(file_text("\xEF\xBB\xBFone\r\ntwo\r\n"), "one\r\ntwo");
  EXPECT_EQ(file_text("one\n\n"), "one\n");
  EXPECT_EQ(file_text("one\r"), "one\r");
  EXPECT_EQ(file_text("\r\n"), "");
  EXPECT_EQ(file_text(""), "");
}

TEST(Prompts, InAnotherEncodingAreNamed) {
  EXPECT_NO_THROW(require_utf8("ä€😀"));
  EXPECT_THAT(test::refusal([] {
                require_utf8(std::string_view("\xFF\xFEO\0n\0", 6));
                return 0;
              }).hint,
              HasSubstr("UTF-16"));
  EXPECT_THAT(test::refusal([] {
                require_utf8("ab\xE4");
                return 0;
              }).sentence,
              HasSubstr("byte 3 of 3"));
}

}  // namespace
}  // namespace loadline::cli
