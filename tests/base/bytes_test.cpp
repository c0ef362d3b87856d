#include "base/bytes.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "support/refusal.h"

namespace loadline {
namespace {

std::uint64_t parsed(std::string_view text) { return parse_bytes(text, "--ram").value; }

TEST(ParseBytes, ReadsAPlainNumberAsBytes) {
  EXPECT_EQ(parsed("0"), 0U);
  EXPECT_EQ(parsed("123"), 123U);
  EXPECT_EQ(parsed("123 B"), 123U);
}

TEST(ParseBytes, TakesBareLettersAndIbUnitsAsBinary) {
  for (const char* unit : {"k", "K", "Ki", "KiB", "kib"}) EXPECT_EQ(parsed(fmt::format("3{}", unit)), 3U << 10) << unit;
  for (const char* unit : {"m", "M", "Mi", "MiB"}) EXPECT_EQ(parsed(fmt::format("3 {}", unit)), 3U << 20) << unit;
  for (const char* unit : {"g", "G", "Gi", "GiB", "gib"})
    EXPECT_EQ(parsed(fmt::format("3{}", unit)), 3ULL << 30) << unit;
  for (const char* unit : {"t", "T", "Ti", "TiB"}) EXPECT_EQ(parsed(fmt::format("3{}", unit)), 3ULL << 40) << unit;
}

TEST(ParseBytes, TakesBUnitsAsDecimal) {
  EXPECT_EQ(parsed("12kB"), 12'000U);
  EXPECT_EQ(parsed("12MB"), 12'000'000U);
  EXPECT_EQ(parsed("12GB"), 12'000'000'000U);
  EXPECT_EQ(parsed("12 gb"), 12'000'000'000U);
  EXPECT_EQ(parsed("12TB"), 12'000'000'000'000U);
}

TEST(ParseBytes, ReadsFractionsAndDropsFractionsOfAByte) {
  EXPECT_EQ(parsed("11.5GiB"), 11776ULL << 20);
  EXPECT_EQ(parsed("0.5k"), 512U);
  EXPECT_EQ(parsed("1.9"), 1U);
  EXPECT_EQ(parsed("1.0001k"), 1024U);
  EXPECT_EQ(parsed("2e3"), 2000U);
}

TEST(ParseBytes, KeepsWholeNumbersExactBeyondWhatADoubleHolds) {
  EXPECT_EQ(parsed("9007199254740993"), 9007199254740993U);
  EXPECT_EQ(parsed("4611686018427387904"), 1ULL << 62);
}

TEST(ParseBytes, RefusesWhatIsNotASizeQuotingItAndNamingTheOption) {
  for (const char* text : {"", " ", "GiB", "-1", "-1GiB", "1.5.2G", "12 XB", "12GiBs", "12 G B", "G12", "0x10", "1,5G",
                           "nan", "inf", "-inf", "1e", "+5"}) {
    test::expect_refused([&] { parsed(text); }, "--ram", fmt::format("\"{}\"", text));
  }
}

TEST(ParseBytes, RefusesSizesThatOverflow) {
  for (const char* text : {"4611686018427387905", "18446744073709551616", "99999999999999999999999", "16777216TiB",
                           "1e30", "1e400", "5e6TB"}) {
    test::expect_refused([&] { parsed(text); }, text);
  }
}

TEST(BytesToString, UsesBinaryUnitsAndThreeDigits) {
  EXPECT_EQ(to_string(Bytes(0)), "0 B");
  EXPECT_EQ(to_string(Bytes(1023)), "1023 B");
  EXPECT_EQ(to_string(kKiB), "1.00 KiB");
  EXPECT_EQ(to_string(Bytes(17715)), "17.3 KiB");
  EXPECT_EQ(to_string(288 * kMiB), "288 MiB");
  EXPECT_EQ(to_string(Bytes(4917841623)), "4.58 GiB");
  EXPECT_EQ(to_string(2048 * kGiB), "2.00 TiB");
}

TEST(BytesToString, NeverPrintsFourDigitsBeforeTheLastUnit) {
  EXPECT_EQ(to_string(Bytes(1024 * 1024 - 1)), "1.00 MiB");
  EXPECT_EQ(to_string(Bytes(999 * 1024)), "999 KiB");
  EXPECT_EQ(to_string(1000 * kKiB), "0.98 MiB");
  EXPECT_EQ(to_string(Bytes(10229)), "9.99 KiB");
  EXPECT_EQ(to_string(Bytes(10239)), "10.0 KiB");
}

RC_GTEST_PROP(BytesProperty, WhatIsPrintedParsesToWithinItsPrecision, ()) {
  const int shift = *rc::gen::inRange(0, 61);
  const auto value = *rc::gen::inRange<std::uint64_t>(0, std::uint64_t{1} << shift);
  const double back = static_cast<double>(parsed(to_string(Bytes(value))));
  const double truth = static_cast<double>(value);
  // Half of the third digit, and less than a byte more: a fraction of a byte is dropped when parsed.
  RC_ASSERT(std::abs(back - truth) < 0.0052 * truth + 1);
}

RC_GTEST_PROP(BytesProperty, AlignUpIsTheLeastMultipleNotBelow, ()) {
  const auto value = *rc::gen::inRange<std::uint64_t>(0, std::uint64_t{1} << 50);
  const auto alignment = *rc::gen::inRange<std::uint64_t>(1, 100'000);
  const std::uint64_t aligned = align_up(value, alignment);
  RC_ASSERT(aligned % alignment == 0U);
  RC_ASSERT(aligned >= value);
  RC_ASSERT(aligned - value < alignment);
}

}  // namespace
}  // namespace loadline
