#include "tokenizer/special_matcher.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <string>
#include <tuple>
#include <vector>

#include "base/error.h"

namespace loadline::tokenizer {
namespace {

using Found = std::vector<std::tuple<std::size_t, std::size_t, Token>>;

Found find_all(const std::vector<std::string>& patterns, std::string_view text) {
  std::vector<SpecialMatcher::Pattern> list;
  for (std::size_t i = 0; i < patterns.size(); ++i) list.push_back({patterns[i], static_cast<Token>(i)});
  Found found;
  for (const auto& match : SpecialMatcher(list).find(text)) found.emplace_back(match.begin, match.length, match.token);
  return found;
}

Found find_by_definition(const std::vector<std::string>& patterns, std::string_view text) {
  Found found;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t best = patterns.size();
    for (std::size_t i = 0; i < patterns.size(); ++i) {
      if (patterns[i].empty() || !text.substr(at).starts_with(patterns[i])) continue;
      if (best == patterns.size() || patterns[i].size() > patterns[best].size()) best = i;
    }
    if (best == patterns.size()) {
      ++at;
    } else {
      found.emplace_back(at, patterns[best].size(), static_cast<Token>(best));
      at += patterns[best].size();
    }
  }
  return found;
}

RC_GTEST_PROP(SpecialMatcher, FindsTheLongestMatchAtEachPlaceFromTheLeft, ()) {
  const auto letters = rc::gen::container<std::string>(rc::gen::element('a', 'b', 'c', '\xE9'));
  const auto patterns = *rc::gen::container<std::vector<std::string>>(letters);
  const auto text = *rc::gen::scale(4.0, letters);
  RC_ASSERT(find_all(patterns, text) == find_by_definition(patterns, text));
}

TEST(SpecialMatcher, WithoutPatternsFindsNothing) { EXPECT_TRUE(find_all({}, "abc").empty()); }

TEST(SpecialMatcher, ABeginningThatComesToNothingHidesNoMatchInside) {
  EXPECT_EQ(find_all({"abcd", "bc"}, "abce"), (Found{{1, 2, 1}}));
}

TEST(SpecialMatcher, OfEqualPatternsTheLeastTokenCounts) { EXPECT_EQ(find_all({"x", "x"}, "x"), (Found{{0, 1, 0}})); }

TEST(SpecialMatcher, RefusesMoreTextThanAnyModelHas) {
  const std::string half(SpecialMatcher::kMostBytes / 2 + 1, 'x');
  EXPECT_NO_THROW(SpecialMatcher({{std::string_view(half).substr(0, 1000), 0}}));
  EXPECT_THROW(SpecialMatcher({{half, 0}, {half, 1}}), Error);
}

}  // namespace
}  // namespace loadline::tokenizer
