// Sets of Unicode code points, and how ranges of them lie in UTF-8. Knows no grammar.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace loadline::grammar {

inline constexpr char32_t kLastCodePoint = 0x10FFFF;
inline constexpr char32_t kFirstSurrogate = 0xD800;
inline constexpr char32_t kLastSurrogate = 0xDFFF;

struct CodePointRange {
  char32_t first = 0;
  char32_t last = 0;  // inclusive
  bool operator==(const CodePointRange&) const = default;
};

// A value type: ascending ranges that neither overlap nor touch. Surrogates can be named, but stand for no text.
class CodePointSet {
 public:
  CodePointSet() = default;
  CodePointSet(std::initializer_list<CodePointRange> ranges);
  static CodePointSet all() { return {{0, kLastCodePoint}}; }

  void add(CodePointRange range);  // `first` must not be above `last`
  void add(const CodePointSet& other);
  [[nodiscard]] CodePointSet complement() const;
  [[nodiscard]] CodePointSet intersection(const CodePointSet& other) const;
  [[nodiscard]] bool contains(char32_t code_point) const;
  [[nodiscard]] bool empty() const { return ranges_.empty(); }
  [[nodiscard]] std::uint32_t count() const;
  [[nodiscard]] const std::vector<CodePointRange>& ranges() const { return ranges_; }
  bool operator==(const CodePointSet&) const = default;

 private:
  std::vector<CodePointRange> ranges_;
};

struct ByteRange {
  std::uint8_t first = 0;
  std::uint8_t last = 0;  // inclusive
};

// One to four byte ranges, one after the other: every text of them is one code point.
struct Utf8Sequence {
  std::array<ByteRange, 4> bytes{};
  std::size_t length = 0;
};

// The code points of `range` as sequences of byte ranges, without surrogates (RFC 3629, section 4).
std::vector<Utf8Sequence> utf8_sequences(CodePointRange range);

void append_utf8(std::string& text, char32_t code_point);

// The code points of well-formed UTF-8; what is not becomes U+FFFD, a byte each.
std::u32string decode_utf8(std::string_view text);

}  // namespace loadline::grammar
