#include "tokenizer/merge.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <utility>
#include <vector>

namespace loadline::tokenizer {
namespace {

using Table = std::map<std::pair<Token, Token>, Merge>;

std::vector<Token> merge_with_queue(const std::vector<Token>& tokens, const Table& table) {
  Merger merger;
  for (std::uint32_t i = 0; i < tokens.size(); ++i) merger.add({tokens[i], i, 1});
  merger.run([&](const Symbol& left, const Symbol& right) {
    const auto found = table.find({left.token, right.token});
    return found == table.end() ? Merge{} : found->second;
  });
  std::vector<Token> merged;
  std::uint32_t end = 0;
  merger.for_each([&](const Symbol& symbol) {
    EXPECT_EQ(symbol.begin, end) << "the symbols lie side by side";
    end = symbol.begin + symbol.length;
    merged.push_back(symbol.token);
  });
  EXPECT_EQ(end, tokens.size());
  return merged;
}

// The definition: of all neighbours join the pair of least rank, of several the leftmost; repeat.
std::vector<Token> merge_by_definition(std::vector<Token> tokens, const Table& table) {
  for (;;) {
    std::size_t best = tokens.size();
    Merge best_merge;
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
      const auto found = table.find({tokens[i], tokens[i + 1]});
      if (found != table.end() && found->second.rank < best_merge.rank) {
        best = i;
        best_merge = found->second;
      }
    }
    if (best == tokens.size()) return tokens;
    tokens[best] = best_merge.token;
    tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

RC_GTEST_PROP(Merger, JoinsTheBestPairFirstForAnyTableAndText, ()) {
  const auto token = rc::gen::inRange<Token>(0, 6);
  const auto entries = *rc::gen::container<std::vector<std::tuple<Token, Token, std::uint32_t, Token>>>(
      rc::gen::tuple(token, token, rc::gen::inRange<std::uint32_t>(0, 8), token));
  Table table;
  for (const auto& [left, right, rank, joined] : entries) table[{left, right}] = {rank, joined};
  const auto tokens = *rc::gen::container<std::vector<Token>>(token);
  RC_ASSERT(merge_with_queue(tokens, table) == merge_by_definition(tokens, table));
}

TEST(Merger, AnEmptyTextStaysEmpty) { EXPECT_TRUE(merge_with_queue({}, {}).empty()); }

TEST(Merger, CanBeUsedAgain) {
  Merger merger;
  for (int round = 0; round < 2; ++round) {
    merger.clear();
    merger.add({1, 0, 1});
    merger.add({1, 1, 1});
    merger.run([](const Symbol&, const Symbol&) { return Merge{0, 2}; });
    std::vector<Token> merged;
    merger.for_each([&](const Symbol& symbol) { merged.push_back(symbol.token); });
    EXPECT_EQ(merged, std::vector<Token>{2});
  }
}

}  // namespace
}  // namespace loadline::tokenizer
