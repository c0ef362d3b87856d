#include "gguf/metadata.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/refusal.h"

namespace loadline::gguf {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

template <typename F>
std::string refusal(F&& f) {
  return test::refusal(f).sentence;
}

Metadata with(Value value) {
  Metadata metadata;
  metadata.set("the.key", std::move(value));
  return metadata;
}

TEST(MetadataGetters, GiveNothingForAMissingKey) {
  const Metadata metadata = with({std::uint8_t{1}});
  EXPECT_EQ(metadata.find("other"), nullptr);
  EXPECT_FALSE(metadata.contains("other"));
  EXPECT_EQ(metadata.get_unsigned("other"), std::nullopt);
  EXPECT_EQ(metadata.get_signed("other"), std::nullopt);
  EXPECT_EQ(metadata.get_number("other"), std::nullopt);
  EXPECT_EQ(metadata.get_bool("other"), std::nullopt);
  EXPECT_EQ(metadata.get_string("other"), nullptr);
  EXPECT_EQ(metadata.get_array("other"), nullptr);
  EXPECT_EQ(metadata.get_strings("other"), nullptr);
  EXPECT_EQ(metadata.get_floats("other"), std::nullopt);
  EXPECT_EQ(metadata.get_integers("other"), std::nullopt);
}

TEST(MetadataGetters, TakeEveryIntegerWidth) {
  for (const Value& value :
       {Value{std::uint8_t{7}}, Value{std::int8_t{7}}, Value{std::uint16_t{7}}, Value{std::int16_t{7}},
        Value{std::uint32_t{7}}, Value{std::int32_t{7}}, Value{std::uint64_t{7}}, Value{std::int64_t{7}}}) {
    EXPECT_EQ(with(value).get_unsigned("the.key"), 7U);
    EXPECT_EQ(with(value).get_signed("the.key"), 7);
    EXPECT_EQ(with(value).get_number("the.key"), 7.0);
  }
  EXPECT_EQ(with({0.5F}).get_number("the.key"), 0.5);
  EXPECT_EQ(with({0.1}).get_number("the.key"), 0.1);
}

TEST(MetadataGetters, RefuseAValueOutOfRangeByName) {
  const Metadata negative = with({std::int8_t{-1}});
  EXPECT_THAT(refusal([&] { return negative.get_unsigned("the.key"); }), AllOf(HasSubstr("the.key"), HasSubstr("-1")));
  EXPECT_EQ(negative.get_signed("the.key"), -1);
  const Metadata large = with({std::numeric_limits<std::uint64_t>::max()});
  EXPECT_THAT(refusal([&] { return large.get_signed("the.key"); }), HasSubstr("18446744073709551615"));
  EXPECT_THAT(refusal([&] { return large.get_number("the.key"); }), HasSubstr("out of range"));
  EXPECT_EQ(with({std::uint64_t{1} << 53}).get_number("the.key"), 0x1p53);
}

TEST(MetadataGetters, RefuseAWrongTypeByNameAndSayWhatIsThere) {
  const Metadata text = with({std::string("many")});
  EXPECT_THAT(refusal([&] { return text.get_unsigned("the.key"); }), AllOf(HasSubstr("the.key"), HasSubstr("string")));
  EXPECT_THAT(refusal([&] { return text.get_signed("the.key"); }), HasSubstr("string"));
  EXPECT_THAT(refusal([&] { return text.get_number("the.key"); }), HasSubstr("string"));
  EXPECT_THAT(refusal([&] { return text.get_bool("the.key"); }), HasSubstr("string"));
  EXPECT_THAT(refusal([&] { return text.get_array("the.key"); }), HasSubstr("string"));
  EXPECT_THAT(refusal([&] { return text.get_strings("the.key"); }), HasSubstr("string"));
  EXPECT_THAT(refusal([&] { return text.get_floats("the.key"); }), HasSubstr("string"));
  EXPECT_THAT(refusal([&] { return with({1.5F}).get_unsigned("the.key"); }), HasSubstr("float32"));
  EXPECT_THAT(refusal([&] { return with({true}).get_unsigned("the.key"); }), HasSubstr("bool"));
  EXPECT_THAT(refusal([&] { return with({std::uint8_t{1}}).get_string("the.key"); }), HasSubstr("uint8"));
  const Metadata numbers = with({Array::of(std::vector<float>{1.0F})});
  EXPECT_THAT(refusal([&] { return numbers.get_strings("the.key"); }), HasSubstr("an array of float32"));
  EXPECT_THAT(refusal([&] { return numbers.get_integers("the.key"); }), HasSubstr("an array of float32"));
  const Metadata strings = with({Array::of(std::vector<std::string>{"1"})});
  EXPECT_THAT(refusal([&] { return strings.get_floats("the.key"); }), HasSubstr("an array of string"));
}

TEST(MetadataGetters, ConvertArraysOfNumbers) {
  const Metadata halves = with({Array::of(std::vector<double>{0.5, -2.0})});
  EXPECT_THAT(halves.get_floats("the.key").value(), ElementsAre(0.5F, -2.0F));
  const Metadata small = with({Array::of(std::vector<std::int16_t>{3, -4})});
  EXPECT_THAT(small.get_floats("the.key").value(), ElementsAre(3.0F, -4.0F));
  EXPECT_THAT(small.get_integers("the.key").value(), ElementsAre(3, -4));
  const Metadata large = with({Array::of(std::vector<std::uint64_t>{1, std::uint64_t{1} << 63})});
  EXPECT_THAT(refusal([&] { return large.get_integers("the.key"); }), HasSubstr("out of range"));
}

TEST(Metadata, KeepsTheOrderOfKeysAndReplacesInPlace) {
  Metadata metadata;
  metadata.set("b", {std::uint8_t{1}});
  metadata.set("a", {std::uint8_t{2}});
  metadata.set("b", {std::string("new")});
  ASSERT_EQ(metadata.entries().size(), 2U);
  EXPECT_EQ(metadata.entries()[0].first, "b");
  EXPECT_EQ(*metadata.get_string("b"), "new");
  EXPECT_EQ(metadata.get_unsigned("a"), 2U);
}

TEST(Metadata, AddsAKeyOnce) {
  Metadata metadata;
  EXPECT_TRUE(metadata.add("a", {std::uint8_t{1}}));
  EXPECT_FALSE(metadata.add("a", {std::uint8_t{2}}));
  EXPECT_EQ(metadata.get_unsigned("a"), 1U);
  EXPECT_EQ(metadata.entries().size(), 1U);
}

TEST(Array, KnowsTheTypeOfItsElements) {
  EXPECT_EQ(Array::of(std::vector<bool>{true}).element_type, ValueType::Bool);
  EXPECT_EQ(Array::of(std::vector<Array>{}).element_type, ValueType::Array);
  EXPECT_EQ(Array::of(std::vector<std::int64_t>{1, 2, 3}).size(), 3U);
  EXPECT_EQ(Value{Array()}.type(), ValueType::Array);
  EXPECT_EQ(Value{0.0}.type(), ValueType::Float64);
}

}  // namespace
}  // namespace loadline::gguf
