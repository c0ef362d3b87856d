#include "grammar/code_points.h"

#include <algorithm>

#include "base/text.h"

namespace loadline::grammar {

CodePointSet::CodePointSet(std::initializer_list<CodePointRange> ranges) {
  for (const CodePointRange& range : ranges) add(range);
}

void CodePointSet::add(CodePointRange range) {
  // The first that ends just before `range`, or later.
  auto from = std::ranges::lower_bound(ranges_, range.first == 0 ? 0 : range.first - 1, {}, &CodePointRange::last);
  auto to = from;
  while (to != ranges_.end() && to->first <= range.last + 1) {
    range.first = std::min(range.first, to->first);
    range.last = std::max(range.last, to->last);
    ++to;
  }
  if (from == to) {
    ranges_.insert(from, range);
  } else {
    *from = range;
    ranges_.erase(from + 1, to);
  }
}

void CodePointSet::add(const CodePointSet& other) {
  for (const CodePointRange& range : other.ranges_) add(range);
}

CodePointSet CodePointSet::complement() const {
  CodePointSet result;
  char32_t next = 0;
  for (const CodePointRange& range : ranges_) {
    if (range.first > next) result.ranges_.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLastCodePoint) result.ranges_.push_back({next, kLastCodePoint});
  return result;
}

CodePointSet CodePointSet::intersection(const CodePointSet& other) const {
  CodePointSet result;
  auto a = ranges_.begin();
  auto b = other.ranges_.begin();
  while (a != ranges_.end() && b != other.ranges_.end()) {
    const char32_t first = std::max(a->first, b->first);
    const char32_t last = std::min(a->last, b->last);
    if (first <= last) result.ranges_.push_back({first, last});
    if (a->last < b->last) {
      ++a;
    } else {
      ++b;
    }
  }
  return result;
}

bool CodePointSet::contains(char32_t code_point) const {
  const auto at = std::ranges::lower_bound(ranges_, code_point, {}, &CodePointRange::last);
  return at != ranges_.end() && at->first <= code_point;
}

std::uint32_t CodePointSet::count() const {
  std::uint32_t total = 0;
  for (const CodePointRange& range : ranges_) total += range.last - range.first + 1;
  return total;
}

namespace {

std::size_t encode(char32_t code_point, std::array<std::uint8_t, 4>& bytes) {
  const auto continuation = [&](int shift) { return static_cast<std::uint8_t>(0x80 | (code_point >> shift & 0x3F)); };
  if (code_point < 0x80) {
    bytes = {static_cast<std::uint8_t>(code_point)};
    return 1;
  }
  if (code_point < 0x800) {
    bytes = {static_cast<std::uint8_t>(0xC0 | code_point >> 6), continuation(0)};
    return 2;
  }
  if (code_point < 0x10000) {
    bytes = {static_cast<std::uint8_t>(0xE0 | code_point >> 12), continuation(6), continuation(0)};
    return 3;
  }
  bytes = {static_cast<std::uint8_t>(0xF0 | code_point >> 18), continuation(12), continuation(6), continuation(0)};
  return 4;
}

// Splits [first, last], both of the same length in UTF-8, until the bytes behind the first that differs are free.
void split(char32_t first, char32_t last, std::vector<Utf8Sequence>& out) {
  std::array<std::uint8_t, 4> low{};
  std::array<std::uint8_t, 4> high{};
  const std::size_t length = encode(first, low);
  for (std::size_t tail = 1; tail < length; ++tail) {
    const char32_t mask = (char32_t{1} << (6 * tail)) - 1;
    if ((first & ~mask) == (last & ~mask)) continue;
    if ((first & mask) != 0) {
      split(first, first | mask, out);
      split((first | mask) + 1, last, out);
      return;
    }
    if ((last & mask) != mask) {
      split(first, (last & ~mask) - 1, out);
      split(last & ~mask, last, out);
      return;
    }
  }
  encode(last, high);
  Utf8Sequence sequence;
  sequence.length = length;
  for (std::size_t i = 0; i < length; ++i) sequence.bytes[i] = {low[i], high[i]};
  out.push_back(sequence);
}

}  // namespace

std::vector<Utf8Sequence> utf8_sequences(CodePointRange range) {
  // Where the length in UTF-8 changes, and round the surrogates.
  static constexpr std::array<CodePointRange, 5> kStretches = {
      {{0, 0x7F}, {0x80, 0x7FF}, {0x800, 0xD7FF}, {0xE000, 0xFFFF}, {0x10000, kLastCodePoint}}};
  std::vector<Utf8Sequence> out;
  for (const CodePointRange& stretch : kStretches) {
    const char32_t first = std::max(range.first, stretch.first);
    const char32_t last = std::min(range.last, stretch.last);
    if (first <= last) split(first, last, out);
  }
  return out;
}

void append_utf8(std::string& text, char32_t code_point) {
  std::array<std::uint8_t, 4> bytes{};
  const std::size_t length = encode(code_point, bytes);
  for (std::size_t i = 0; i < length; ++i) text.push_back(static_cast<char>(bytes[i]));
}

std::u32string decode_utf8(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) {
      out.push_back(0xFFFD);
      text.remove_prefix(1);
      continue;
    }
    const auto byte = [&](std::size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[i])); };
    char32_t value = length == 1 ? byte(0) : byte(0) & (0xFFU >> (length + 1));
    for (std::size_t i = 1; i < length; ++i) value = value << 6 | (byte(i) & 0x3F);
    out.push_back(value);
    text.remove_prefix(length);
  }
  return out;
}

}  // namespace loadline::grammar
