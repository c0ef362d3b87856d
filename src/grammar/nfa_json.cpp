// Texts as they stand inside JSON strings: characters that must be escaped, and escapes that may be used (RFC 8259,
// section 7).
#include <array>
#include <string_view>

#include "grammar/nfa.h"

namespace loadline::grammar {
namespace {

// A set of so many code points is one that its author thinks of as "any character": all escapes are offered for it.
// Of smaller sets only what must be escaped is.
constexpr std::uint32_t kAnyCharacter = 100000;
// Sets of at most so many ranges have their escapes written out.
constexpr std::size_t kMostEscapedRanges = 64;

struct ShortEscape {
  char32_t character;
  char letter;
};
constexpr std::array<ShortEscape, 8> kShortEscapes = {
    {{'"', '"'}, {'\\', '\\'}, {'/', '/'}, {'\b', 'b'}, {'\f', 'f'}, {'\n', 'n'}, {'\r', 'r'}, {'\t', 't'}}};

}  // namespace

// The hexadecimal digits, in either case, of first..last, both of the same number of digits left (`from` is in front of
// them; four for a whole code unit).
void NfaBuilder::emit_hex(std::uint32_t from, char32_t first, char32_t last, std::uint32_t to) {
  const auto digits_to = [&](std::uint32_t at, unsigned low, unsigned high, std::uint32_t target) {
    if (low < 10) byte_to(at, '0' + low, '0' + std::min(high, 9U), target);
    if (high >= 10) {
      const unsigned begin = std::max(low, 10U) - 10;
      byte_to(at, 'a' + begin, 'a' + high - 10, target);
      byte_to(at, 'A' + begin, 'A' + high - 10, target);
    }
  };
  // Splits off at each digit what does not have all that follows it.
  const auto split = [&](auto&& self, std::uint32_t at, unsigned shift, char32_t low, char32_t high) -> void {
    if (shift == 0) {
      digits_to(at, low & 0xF, high & 0xF, to);
      return;
    }
    const char32_t mask = (char32_t{1} << shift) - 1;
    const char32_t low_digit = low >> shift;
    const char32_t high_digit = high >> shift;
    const auto one = [&](char32_t from_digit, char32_t to_digit, char32_t rest_low, char32_t rest_high) {
      const std::uint32_t next = new_state();
      digits_to(at, from_digit, to_digit, next);
      self(self, next, shift - 4, rest_low, rest_high);
    };
    if (low_digit == high_digit) {
      one(low_digit, low_digit, low & mask, high & mask);
      return;
    }
    char32_t whole_first = low_digit;
    char32_t whole_last = high_digit;
    if ((low & mask) != 0) {
      one(low_digit, low_digit, low & mask, mask);
      ++whole_first;
    }
    if ((high & mask) != mask) {
      one(high_digit, high_digit, 0, high & mask);
      --whole_last;
    }
    if (whole_first <= whole_last) one(whole_first, whole_last, 0, mask);
  };
  split(split, from, 12, first, last);
}

void NfaBuilder::emit_json_set(const CodePointSet& set, std::uint32_t from, std::uint32_t to) {
  static const CodePointSet kPlain{{0x20, '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, kLastCodePoint}};
  static const CodePointSet kUnits{{0, kFirstSurrogate - 1}, {kLastSurrogate + 1, 0xFFFF}};
  emit_set(set.intersection(kPlain), from, to);
  const bool any = set.count() >= kAnyCharacter && set.ranges().size() <= kMostEscapedRanges;
  const CodePointSet escaped = any ? set.intersection(kUnits) : set.intersection({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}});
  if (escaped.empty()) return;
  const std::uint32_t backslash = byte(from, '\\', '\\');
  for (const ShortEscape& escape : kShortEscapes) {
    if (escaped.contains(escape.character)) {
      byte_to(backslash, static_cast<unsigned char>(escape.letter), static_cast<unsigned char>(escape.letter), to);
    }
  }
  const std::uint32_t u = byte(backslash, 'u', 'u');
  for (const CodePointRange& range : escaped.ranges()) emit_hex(u, range.first, range.last, to);
  if (!any || set.intersection({{0x10000, kLastCodePoint}}).count() != kLastCodePoint - 0xFFFF) return;
  const std::uint32_t middle = new_state();
  emit_hex(u, 0xD800, 0xDBFF, middle);
  emit_hex(byte(byte(middle, '\\', '\\'), 'u', 'u'), 0xDC00, 0xDFFF, to);
}

// The texts as they are; or the inside of a string of these texts, and its closing quote: where any text may follow,
// the states of JSON strings take over: what is known about them holds for every grammar.
std::uint32_t NfaBuilder::emit_text(const CharDfa& dfa, bool json, std::uint32_t from) {
  const std::uint32_t end = new_state();
  if (dfa.states.empty()) return end;
  std::vector<std::uint32_t> places;
  places.reserve(dfa.states.size());
  for (std::size_t i = 0; i < dfa.states.size(); ++i) places.push_back(new_state());
  epsilon(from, places[0]);
  struct Exit {
    std::uint32_t to;
    CodePointSet on;
  };
  for (std::uint32_t i = 0; i < dfa.states.size(); ++i) {
    const CharDfa::State& state = dfa.states[i];
    if (json && dfa.is_free(i)) {
      epsilon(emit_call(string_rule(0, kUnbounded), places[i]), end);
      continue;
    }
    if (state.accepting && json) byte_to(places[i], '"', '"', end);
    if (state.accepting && !json) epsilon(places[i], end);
    std::vector<Exit> exits;
    for (const CharDfa::Edge& edge : state.edges) {
      Exit* known = nullptr;
      for (Exit& exit : exits) {
        if (exit.to == edge.to) known = &exit;
      }
      if (known == nullptr) known = &exits.emplace_back(Exit{edge.to, {}});
      known->on.add(edge.on);
    }
    for (const Exit& exit : exits) {
      if (json) {
        emit_json_set(exit.on, places[i], places[exit.to]);
      } else {
        emit_set(exit.on, places[i], places[exit.to]);
      }
    }
  }
  return end;
}

}  // namespace loadline::grammar
