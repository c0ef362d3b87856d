#include "base/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>

#include "base/visible.h"

namespace loadline {
namespace {

TEST(Utf8Length, AcceptsExactlyTheWellFormedSequences) {
  EXPECT_EQ(utf8_length("a"), 1U);
  EXPECT_EQ(utf8_length("ä"), 2U);
  EXPECT_EQ(utf8_length("€ and more"), 3U);
  EXPECT_EQ(utf8_length("😀"), 4U);
  EXPECT_EQ(utf8_length("\xED\x9F\xBF"), 3U);      // U+D7FF
  EXPECT_EQ(utf8_length("\xF4\x8F\xBF\xBF"), 4U);  // U+10FFFF
}

TEST(Utf8Length, RefusesEverythingElse) {
  EXPECT_EQ(utf8_length(""), 0U);
  EXPECT_EQ(utf8_length("\x80"), 0U);              // a continuation byte
  EXPECT_EQ(utf8_length("\xC1\xBF"), 0U);          // overlong
  EXPECT_EQ(utf8_length("\xE0\x9F\xBF"), 0U);      // overlong
  EXPECT_EQ(utf8_length("\xF0\x8F\xBF\xBF"), 0U);  // overlong
  EXPECT_EQ(utf8_length("\xED\xA0\x80"), 0U);      // a surrogate
  EXPECT_EQ(utf8_length("\xF4\x90\x80\x80"), 0U);  // above U+10FFFF
  EXPECT_EQ(utf8_length("\xF5\x80\x80\x80"), 0U);
  EXPECT_EQ(utf8_length("\xE2\x82"), 0U);  // cut short
  EXPECT_EQ(utf8_length("\xE2\x82z"), 0U);
}

TEST(Printable, KeepsTextAndEscapesWhatATerminalWouldObey) {
  EXPECT_EQ(printable("blk.0.attn_q.weight — ä€😀"), "blk.0.attn_q.weight — ä€😀");
  EXPECT_EQ(printable("a\x1B[2Jb\n\x7F"), "a\\x1b[2Jb\\x0a\\x7f");
  EXPECT_EQ(printable("\xC2\x9B"
                      "31m"),
            "\\xc2\\x9b31m");  // C1 control sequence introducer
  EXPECT_EQ(printable(std::string_view("a\0b", 3)), "a\\x00b");
}

TEST(Printable, EscapesBytesThatAreNotUtf8) { EXPECT_EQ(printable("a\xFF\xE2\x82z"), "a\\xff\\xe2\\x82z"); }

TEST(Printable, CutsLongTextAtACharacter) {
  EXPECT_EQ(printable("abcdef", 6), "abcdef");
  EXPECT_EQ(printable("abcdefg", 6), "abcdef…");
  EXPECT_EQ(printable("abcd€", 6), "abcd…");
}

// Unicode's Bidi_Control characters can make "txt.exe" of "exe.txt"; the others hide or move what is around them.
TEST(Printable, EscapesWhatReordersOrHidesText) {
  for (const char* character : {"\u061c", "\u200e", "\u200f", "\u2028", "\u2029", "\u202a", "\u202b", "\u202c",
                                "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069", "\ufeff"}) {
    EXPECT_THAT(printable(std::string("a") + character + "b"), testing::MatchesRegex("a\\\\u[0-9a-f]{4}b"));
  }
  EXPECT_EQ(printable("\U000E0041"), "\\U000e0041");
  EXPECT_EQ(printable("\u200d \u2019 \u2070 \u05d0"),
            "\u200d \u2019 \u2070 \u05d0");  // what joins letters and emoji stays
}

TEST(PrintableLines, KeepsEndsOfLinesAndTabsAlone) {
  EXPECT_EQ(printable_lines("a\n\tb\r\033[1mc\n"), "a\n\tb\\x0d\\x1b[1mc\n");
  EXPECT_EQ(printable_lines(std::string(300, 'x')), std::string(300, 'x'));
}

TEST(PrintableJson, WritesAsEscapesWhatADumpLeavesAsItIs) {
  EXPECT_EQ(printable_json("{\n  \"a\": \"\x7f\u009b\u202e\U000E0041ä\"\n}\n"),
            "{\n  \"a\": \"\\u007f\\u009b\\u202e\\udb40\\udc41ä\"\n}\n");
}

TEST(Grouped, PutsASpaceBeforeEveryThirdDigit) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1 000");
  EXPECT_EQ(grouped(3221225472), "3 221 225 472");
  EXPECT_EQ(grouped(std::numeric_limits<std::uint64_t>::max()), "18 446 744 073 709 551 615");
}

}  // namespace
}  // namespace loadline
