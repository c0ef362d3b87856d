#include "tokenizer/special_matcher.h"

#include <fmt/format.h>

#include <algorithm>
#include <compare>

#include "base/error.h"

namespace loadline::tokenizer {
namespace {

// The byte at distance `depth` from the end.
unsigned char byte_from_end(std::string_view text, std::size_t depth) {
  return static_cast<unsigned char>(text[text.size() - 1 - depth]);
}

// By the texts read backwards; of equal texts the least token first.
bool reversed_before(const SpecialMatcher::Pattern& a, const SpecialMatcher::Pattern& b) {
  const auto order = std::lexicographical_compare_three_way(
      a.text.rbegin(), a.text.rend(), b.text.rbegin(), b.text.rend(),
      [](char x, char y) { return static_cast<unsigned char>(x) <=> static_cast<unsigned char>(y); });
  return order != 0 ? order < 0 : a.token < b.token;
}

}  // namespace

SpecialMatcher::SpecialMatcher(std::vector<Pattern> patterns) {
  std::erase_if(patterns, [](const Pattern& pattern) { return pattern.text.empty(); });
  if (patterns.empty()) return;
  std::size_t total = 0;
  for (const Pattern& pattern : patterns) total += pattern.text.size();
  if (total > kMostBytes) {
    throw bad_input(
        fmt::format("tokenizer.ggml.tokens: the control and user-defined tokens have {} of text; at most {} "
                    "are possible",
                    to_string(Bytes(total)), to_string(Bytes(kMostBytes))));
  }
  std::ranges::sort(patterns, reversed_before);
  build_tree(patterns);
  link_failures();
}

// Level by level: a node owns a range of the sorted patterns that share its path, and its children split that range.
void SpecialMatcher::build_tree(std::vector<Pattern>& patterns) {
  struct Range {
    std::size_t begin, end, depth;
  };
  std::vector<Range> ranges = {{0, patterns.size(), 0}};
  nodes_.push_back({});
  for (std::uint32_t node = 0; node < nodes_.size(); ++node) {
    auto [begin, end, depth] = ranges[node];
    if (patterns[begin].text.size() == depth) {
      nodes_[node].token = patterns[begin].token;
      nodes_[node].length = static_cast<std::uint32_t>(depth);
      while (begin < end && patterns[begin].text.size() == depth) ++begin;
    }
    nodes_[node].first_child = static_cast<std::uint32_t>(nodes_.size());
    while (begin < end) {
      const unsigned char byte = byte_from_end(patterns[begin].text, depth);
      const std::size_t from = begin;
      while (begin < end && byte_from_end(patterns[begin].text, depth) == byte) ++begin;
      Node added;
      added.byte = byte;
      nodes_.push_back(added);
      ranges.push_back({from, begin, depth + 1});
      ++nodes_[node].children;
    }
  }
  nodes_.shrink_to_fit();
}

void SpecialMatcher::link_failures() {
  for (std::uint16_t i = 0; i < nodes_[0].children; ++i) {
    const std::uint32_t node = nodes_[0].first_child + i;
    from_root_[nodes_[node].byte] = node;
  }
  for (std::uint32_t parent = 0; parent < nodes_.size(); ++parent) {  // breadth first: shorter paths are done
    for (std::uint16_t i = 0; i < nodes_[parent].children; ++i) {
      const std::uint32_t node = nodes_[parent].first_child + i;
      Node& here = nodes_[node];
      here.fail = parent == 0 ? 0 : step(nodes_[parent].fail, here.byte);
      if (here.length == 0) {
        here.length = nodes_[here.fail].length;
        here.token = nodes_[here.fail].token;
      }
    }
  }
}

std::uint32_t SpecialMatcher::child(std::uint32_t node, unsigned char byte) const {
  if (node == 0) return from_root_[byte];
  const auto first = nodes_.begin() + nodes_[node].first_child;
  const auto last = first + nodes_[node].children;
  const auto found = std::lower_bound(first, last, byte, [](const Node& n, unsigned char b) { return n.byte < b; });
  return found != last && found->byte == byte ? static_cast<std::uint32_t>(found - nodes_.begin()) : 0;
}

std::uint32_t SpecialMatcher::step(std::uint32_t node, unsigned char byte) const {
  for (;;) {
    const std::uint32_t next = child(node, byte);
    if (next != 0 || node == 0) return next;
    node = nodes_[node].fail;
  }
}

std::vector<SpecialMatcher::Match> SpecialMatcher::find(std::string_view text) const {
  std::vector<Match> matches;
  if (nodes_.empty()) return matches;
  std::uint32_t node = 0;
  for (std::size_t i = text.size(); i-- > 0;) {
    node = step(node, static_cast<unsigned char>(text[i]));
    if (nodes_[node].length != 0) matches.push_back({i, nodes_[node].length, nodes_[node].token});
  }
  std::ranges::reverse(matches);
  std::size_t kept = 0;
  std::size_t end = 0;
  for (const Match& match : matches) {
    if (match.begin < end) continue;
    matches[kept++] = match;
    end = match.begin + match.length;
  }
  matches.resize(kept);
  return matches;
}

}  // namespace loadline::tokenizer
