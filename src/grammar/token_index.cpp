#include "grammar/token_index.h"

#include <algorithm>
#include <numeric>

#include "grammar/string_states.h"
#include "tokenizer/table_tokenizer.h"

namespace loadline::grammar {
namespace {

constexpr std::size_t kLongestToken = 60000;  // depths have 16 bits

}  // namespace

TokenIndex TokenIndex::of(const tokenizer::Tokenizer& tokenizer, const std::function<bool(std::string_view)>& is_mark) {
  std::vector<Entry> entries(static_cast<std::size_t>(tokenizer.vocabulary_size()));
  const auto* table = dynamic_cast<const tokenizer::TableTokenizer*>(&tokenizer);
  for (Token token = 0; token < tokenizer.vocabulary_size(); ++token) {
    Entry& entry = entries[static_cast<std::size_t>(token)];
    entry.ends = tokenizer.is_end_of_generation(token);
    if (table == nullptr || !table->is_unused(token)) entry.text = tokenizer.piece(token, false);
    if (!is_mark || !entry.text.empty() || entry.ends) continue;
    std::string text = tokenizer.piece(token, true);
    if (!text.empty() && is_mark(text)) entry.text = std::move(text);
  }
  return TokenIndex(entries);
}

TokenIndex::TokenIndex(const std::vector<Entry>& tokens) : size_(static_cast<std::uint32_t>(tokens.size())) {
  for (Token token = 0; token < static_cast<Token>(size_); ++token) {
    if (tokens[static_cast<std::size_t>(token)].ends) end_tokens_.push_back(token);
  }
  build_tree(tokens);
  study_strings();
  study_bytes();
}

std::string_view TokenIndex::text(Token token) const {
  const auto t = static_cast<std::size_t>(token);
  return std::string_view(bytes_).substr(byte_begins_[t], byte_begins_[t + 1] - byte_begins_[t]);
}

bool TokenIndex::ends(Token token) const { return std::ranges::binary_search(end_tokens_, token); }

void TokenIndex::build_tree(const std::vector<Entry>& tokens) {
  byte_begins_.push_back(0);
  std::vector<Token> order;
  for (Token token = 0; token < static_cast<Token>(size_); ++token) {
    const Entry& entry = tokens[static_cast<std::size_t>(token)];
    // A text that begins with a zero byte is written for tokens that have none.
    const bool usable =
        !entry.text.empty() && entry.text[0] != '\0' && entry.text.size() <= kLongestToken && !entry.ends;
    if (usable) {
      bytes_ += entry.text;
      order.push_back(token);
    }
    byte_begins_.push_back(static_cast<std::uint32_t>(bytes_.size()));
  }
  // The order of bytes, which is that of a walk.
  std::ranges::stable_sort(order, {}, [&](Token token) { return text(token); });
  nodes_.push_back({});
  std::vector<std::uint32_t> open{0};  // the node at each depth of the text before
  std::string_view before;
  for (const Token token : order) {
    const std::string_view now = text(token);
    const auto [a, b] = std::ranges::mismatch(before, now);
    const auto common = static_cast<std::size_t>(a - before.begin());
    while (open.size() > common + 1) {
      nodes_[open.back()].end = static_cast<std::uint32_t>(nodes_.size());
      open.pop_back();
    }
    for (std::size_t depth = common; depth < now.size(); ++depth) {
      open.push_back(static_cast<std::uint32_t>(nodes_.size()));
      if (depth == 0) root_children_[static_cast<std::uint8_t>(now[0])] = open.back();
      nodes_.push_back({0, static_cast<std::uint32_t>(tokens_.size()), static_cast<std::uint16_t>(depth + 1),
                        static_cast<std::uint8_t>(now[depth])});
    }
    deepest_ = std::max(deepest_, static_cast<std::uint32_t>(now.size()));
    tokens_.push_back(token);
    before = now;
  }
  for (const std::uint32_t node : open) nodes_[node].end = static_cast<std::uint32_t>(nodes_.size());
  nodes_.push_back({static_cast<std::uint32_t>(nodes_.size()), static_cast<std::uint32_t>(tokens_.size()), 0, 0});
  nodes_.shrink_to_fit();
}

void TokenIndex::study_strings() {
  struct Place {
    std::uint8_t state = StringState::Boundary;
    std::uint32_t characters = 0;  // whole ones
  };
  inside_.resize((kLengthSteps + 1) * words());
  closing_.resize(words());
  std::vector<Place> places(std::size_t{deepest_} + 1);
  std::vector<std::pair<std::uint8_t, StringExit>> behind;
  for (std::uint32_t n = 1; n + 1 < nodes_.size();) {
    const Node& node = nodes_[n];
    const Place& from = places[node.depth - 1U];
    const std::uint8_t state = kStringTable[from.state][node.byte];
    if (state == StringState::Refused) {
      n = node.end;
      continue;
    }
    if (state == StringState::Closed) {
      closing_nodes_.push_back({n, from.characters});
      for (const Token token : tokens_at(n)) set_bit(closing_, token);
      for (std::uint32_t child = n + 1; child < node.end; child = nodes_[child].end) {
        behind.emplace_back(nodes_[child].byte, StringExit{child, from.characters});
      }
      n = node.end;
      continue;
    }
    places[node.depth] = {state, from.characters + (state == StringState::Boundary ? 1 : 0)};
    const std::uint32_t begun = places[node.depth].characters + (state == StringState::Boundary ? 0 : 1);
    for (const Token token : tokens_at(n)) {
      for (std::uint32_t most = std::min(begun - 1, kLengthSteps); most <= kLengthSteps; ++most) {
        set_bit(std::span(inside_).subspan(most * words(), words()), token);
      }
      if (begun > kLengthSteps) long_inside_.push_back({begun, token});
    }
    ++n;
  }
  std::ranges::stable_sort(long_inside_, std::ranges::greater{}, &LongToken::characters);
  std::ranges::stable_sort(behind, {}, [](const auto& entry) { return entry.first; });
  for (const auto& [byte, exit] : behind) {
    behind_.push_back(exit);
    ++behind_begins_[byte + 1U];
  }
  std::partial_sum(behind_begins_.begin(), behind_begins_.end(), behind_begins_.begin());
}

void TokenIndex::study_bytes() {
  well_formed_.resize(words());
  std::array<std::uint32_t, 128> counts{};
  const auto each_byte = [&](Token token, const auto& visit) {
    std::array<bool, 128> seen{};
    for (const char c : text(token)) {
      const auto byte = static_cast<std::uint8_t>(c);
      if (byte >= 0x80 || seen[byte]) continue;
      seen[byte] = true;
      visit(byte);
    }
  };
  for (const Token token : tokens_) each_byte(token, [&](std::uint8_t byte) { ++counts[byte]; });
  std::uint8_t frequent = 0;
  for (std::size_t byte = 0; byte < counts.size(); ++byte) {
    if (counts[byte] > size_ / 5) frequent_[byte] = ++frequent;
    with_begins_[byte + 1] = with_begins_[byte] + (frequent_[byte] != 0 ? 0 : counts[byte]);
  }
  with_frequent_.resize(frequent * words());
  ascii_.resize(words());
  with_.resize(with_begins_.back());
  std::array<std::uint32_t, 128> at{};
  std::copy(with_begins_.begin(), with_begins_.end() - 1, at.begin());
  for (Token token = 0; token < static_cast<Token>(size_); ++token) {
    const std::string_view bytes = text(token);
    if (bytes.empty()) continue;
    each_byte(token, [&](std::uint8_t byte) {
      if (frequent_[byte] == 0) {
        with_[at[byte]++] = token;
      } else {
        set_bit(std::span(with_frequent_).subspan((frequent_[byte] - 1U) * words(), words()), token);
      }
    });
    const bool is_ascii = std::ranges::all_of(bytes, [](char c) { return static_cast<std::uint8_t>(c) < 0x80; });
    if (is_ascii) set_bit(ascii_, token);
    // Inside a string, where ASCII is all one.
    std::uint8_t state = StringState::Boundary;
    for (const char c : bytes) {
      const auto byte = static_cast<std::uint8_t>(c);
      if (state != StringState::Refused) state = kStringTable[state][byte < 0x80 ? 'a' : byte];
    }
    if (state != StringState::Refused) set_bit(well_formed_, token);
  }
}

std::span<const TokenIndex::StringExit> TokenIndex::closing_below(std::uint32_t node) const {
  const auto first = std::ranges::lower_bound(closing_nodes_, node, {}, &StringExit::node);
  const auto last = std::ranges::lower_bound(first, closing_nodes_.end(), nodes_[node].end, {}, &StringExit::node);
  return {first, last};
}

Bytes TokenIndex::resident_bytes() const {
  return Bytes(sizeof(*this) + nodes_.capacity() * sizeof(Node) + tokens_.capacity() * sizeof(Token) +
               bytes_.capacity() + byte_begins_.capacity() * sizeof(std::uint32_t) +
               end_tokens_.capacity() * sizeof(Token) + inside_.capacity() * sizeof(std::uint64_t) +
               (well_formed_.capacity() + ascii_.capacity() + with_frequent_.capacity()) * sizeof(std::uint64_t) +
               with_.capacity() * sizeof(Token) + long_inside_.capacity() * sizeof(LongToken) +
               closing_.capacity() * sizeof(std::uint64_t) +
               (closing_nodes_.capacity() + behind_.capacity()) * sizeof(StringExit));
}

}  // namespace loadline::grammar
