#include "grammar/regex.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>

#include "base/error.h"
#include "base/text.h"
#include "grammar/expressions.h"

namespace loadline::grammar {
namespace {

constexpr int kDeepest = 200;
constexpr std::size_t kLongestPattern = 65536;

const CodePointSet& digits() {
  static const CodePointSet kSet{{'0', '9'}};
  return kSet;
}
const CodePointSet& word_characters() {
  static const CodePointSet kSet{{'0', '9'}, {'A', 'Z'}, {'a', 'z'}, {'_', '_'}};
  return kSet;
}
// WhiteSpace and LineTerminator of ECMA 262.
const CodePointSet& white_space() {
  static const CodePointSet kSet{{'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680},
                                 {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                                 {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
  return kSet;
}
const CodePointSet& line_ends() {
  static const CodePointSet kSet{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
  return kSet;
}

class Parser {
 public:
  Parser(std::string_view pattern, std::vector<Regex::Part>& parts) : text_(decode_utf8(pattern)), parts_(parts) {}

  std::uint32_t parse() {
    const std::uint32_t root = alternatives(0);
    if (!done()) refuse("this \")\" closes nothing");
    return root;
  }

 private:
  using Kind = Regex::Part::Kind;

  [[nodiscard]] bool done() const { return at_ == text_.size(); }
  [[nodiscard]] char32_t peek(std::size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : 0;
  }
  [[nodiscard]] bool sees(std::u32string_view text) const {
    return std::u32string_view(text_).substr(at_, text.size()) == text;
  }
  bool take(char32_t c) {
    if (done() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  [[noreturn]] void refuse(std::string_view problem) const {
    throw bad_input(fmt::format("regular expression, character {}: {}", at_ + 1, problem));
  }

  std::uint32_t add(Regex::Part part) {
    parts_.push_back(std::move(part));
    return static_cast<std::uint32_t>(parts_.size() - 1);
  }
  std::uint32_t add_set(CodePointSet set) { return add({.kind = Kind::Set, .set = std::move(set), .children = {}}); }

  std::uint32_t alternatives(int depth) {
    std::vector<std::uint32_t> children{sequence(depth)};
    while (take('|')) children.push_back(sequence(depth));
    if (children.size() == 1) return children[0];
    return add({.kind = Kind::Choice, .set = {}, .children = std::move(children)});
  }

  std::uint32_t sequence(int depth) {
    std::vector<std::uint32_t> children;
    while (!done() && peek() != '|' && peek() != ')') {
      bool repeatable = true;
      std::uint32_t item = atom(depth, repeatable);
      if (std::u32string_view(U"*+?{").contains(peek()) && !done()) {
        if (!repeatable) refuse("an anchor cannot be repeated");
        item = repeat(item);
      }
      children.push_back(item);
    }
    if (children.size() == 1) return children[0];
    return add({.kind = Kind::Sequence, .set = {}, .children = std::move(children)});
  }

  std::uint32_t repeat(std::uint32_t item) {
    std::uint32_t least = 0;
    std::uint32_t most = kUnbounded;
    if (take('+')) {
      least = 1;
    } else if (take('?')) {
      most = 1;
    } else if (!take('*')) {
      take('{');
      least = number();
      most = least;
      if (take(',')) most = peek() == '}' ? kUnbounded : number();
      if (!take('}')) refuse("\"}\" expected");
      if (most < least) refuse("a count that ends before it begins");
    }
    take('?');  // as few as possible: the same texts
    if (std::u32string_view(U"*+?{").contains(peek()) && !done()) refuse("there is nothing to repeat");
    return add({.kind = Kind::Repeat, .least = least, .most = most, .set = {}, .children = {item}});
  }

  std::uint32_t number() {
    if (done() || peek() < '0' || peek() > '9') refuse("a number expected (a \"{\" that is meant needs a backslash)");
    std::uint64_t value = 0;
    while (!done() && peek() >= '0' && peek() <= '9') {
      value = std::min<std::uint64_t>(value * 10 + (text_[at_++] - '0'), std::numeric_limits<std::uint32_t>::max());
    }
    if (value > kMostRepetitions) refuse(fmt::format("something is repeated more than {} times", kMostRepetitions));
    return static_cast<std::uint32_t>(value);
  }

  std::uint32_t atom(int depth, bool& repeatable) {
    const char32_t c = peek();
    switch (c) {
      case '^':
      case '$':
        ++at_;
        repeatable = false;
        return add({.kind = c == '^' ? Kind::Start : Kind::End, .set = {}, .children = {}});
      case '(': return group(depth);
      case '[': return add_set(character_class());
      case '.': ++at_; return add_set(line_ends().complement());
      case '\\': {
        CodePointSet set;
        escape(set, false);
        return add_set(std::move(set));
      }
      case '*':
      case '+':
      case '?': refuse("there is nothing to repeat");
      case '{':
      case '}':
      case ']': refuse(fmt::format("\"{}\" needs a backslash", static_cast<char>(c)));
      default: ++at_; return add_set({{c, c}});
    }
  }

  std::uint32_t group(int depth) {
    if (depth == kDeepest) refuse(fmt::format("groups are nested more than {} deep", kDeepest));
    if (sees(U"(?=") || sees(U"(?!") || sees(U"(?<=") || sees(U"(?<!")) refuse("look-around is not supported");
    take('(');
    if (take('?')) {
      if (take('<')) {
        const std::size_t begin = at_;
        while (!done() && peek() != '>') ++at_;
        if (at_ == begin || !take('>')) refuse("a group's name expected");
      } else if (!take(':')) {
        refuse("flags and other groups with \"(?\" are not supported");
      }
    }
    const std::uint32_t inner = alternatives(depth + 1);
    if (!take(')')) refuse("the group has no \")\"");
    return inner;
  }

  char32_t hex(std::size_t digits) {
    char32_t value = 0;
    for (std::size_t i = 0; i < digits; ++i) {
      const char32_t c = peek();
      const bool decimal = c >= '0' && c <= '9';
      const char32_t lower = c | 0x20;
      if (done() || (!decimal && (lower < 'a' || lower > 'f'))) {
        refuse(fmt::format("{} hexadecimal digits expected", digits));
      }
      value = value << 4 | (decimal ? c - '0' : lower - 'a' + 10);
      ++at_;
    }
    return value;
  }

  char32_t unicode_escape() {
    if (take('{')) {
      char32_t value = 0;
      const std::size_t begin = at_;
      while (!done() && peek() != '}') value = std::min<char32_t>(value << 4 | hex(1), 0x1000000);
      if (at_ == begin || !take('}') || value > kLastCodePoint) refuse("\\u{...} names no character");
      return value;
    }
    const char32_t high = hex(4);
    if (high >= 0xD800 && high <= 0xDBFF && sees(U"\\u")) {
      const std::size_t back = at_;
      at_ += 2;
      const char32_t low = peek() == '{' ? 0 : hex(4);
      if (low >= 0xDC00 && low <= 0xDFFF) return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
      at_ = back;
    }
    return high;
  }

  // Adds what a backslash stands for. Returns the one character, or nothing for a class.
  bool escape(CodePointSet& set, bool in_class, char32_t* one = nullptr) {
    take('\\');
    if (done()) refuse("a backslash with nothing behind it");
    const char32_t c = text_[at_++];
    const auto single = [&](char32_t value) {
      if (one != nullptr) *one = value;
      set.add({value, value});
      return true;
    };
    switch (c) {
      case 'd': set.add(digits()); return false;
      case 'D': set.add(digits().complement()); return false;
      case 'w': set.add(word_characters()); return false;
      case 'W': set.add(word_characters().complement()); return false;
      case 's': set.add(white_space()); return false;
      case 'S': set.add(white_space().complement()); return false;
      case 't': return single('\t');
      case 'n': return single('\n');
      case 'v': return single('\v');
      case 'f': return single('\f');
      case 'r': return single('\r');
      case 'x': return single(hex(2));
      case 'u': return single(unicode_escape());
      case 'c': {
        const char32_t letter = peek() | 0x20;
        if (letter < 'a' || letter > 'z') refuse("\\c needs a letter");
        ++at_;
        return single(letter & 0x1F);
      }
      case '0':
        if (peek() >= '0' && peek() <= '9') refuse("octal escapes are not supported");
        return single(0);
      case 'p':
      case 'P': refuse("properties of Unicode (\\p) are not supported");
      case 'b':
        if (in_class) return single('\b');
        [[fallthrough]];
      case 'B': refuse("word boundaries (\\b) are not supported");
      case 'k': refuse("back references are not supported");
      default: break;
    }
    if (c >= '1' && c <= '9') refuse("back references are not supported");
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
      refuse(fmt::format("\\{} is no escape", static_cast<char>(c)));
    }
    return single(c);
  }

  CodePointSet character_class() {
    take('[');
    const bool negated = take('^');
    CodePointSet set;
    while (!take(']')) {
      if (done()) refuse("the class has no \"]\"");
      char32_t first = 0;
      const bool single = class_character(set, first);
      if (peek() != '-' || peek(1) == ']' || at_ + 1 >= text_.size()) continue;
      ++at_;
      char32_t last = 0;
      if (!class_character(set, last) || !single) refuse("a range between classes");
      if (last < first) refuse("a range that ends before it begins");
      set.add({first, last});
    }
    return negated ? set.complement() : set;
  }

  bool class_character(CodePointSet& set, char32_t& one) {
    if (peek() == '\\') return escape(set, true, &one);
    one = text_[at_++];
    set.add({one, one});
    return true;
  }

  std::u32string text_;
  std::vector<Regex::Part>& parts_;
  std::size_t at_ = 0;
};

}  // namespace

Regex::Regex(std::string_view pattern) {
  if (pattern.size() > kLongestPattern) throw bad_input("a regular expression is longer than 64 KiB");
  root_ = Parser(pattern, parts_).parse();
}

NodeId Regex::write(Expressions& out, std::uint32_t id) const {
  const Part& part = parts_[id];
  std::vector<NodeId> items;
  for (const std::uint32_t child : part.children) items.push_back(write(out, child));
  switch (part.kind) {
    case Part::Kind::Set: return out.characters(part.set);
    case Part::Kind::Sequence: return out.sequence(items);
    case Part::Kind::Choice: return out.choice(items);
    case Part::Kind::Repeat: return out.repeat(items[0], part.least, part.most);
    case Part::Kind::Start:
    case Part::Kind::End: break;
  }
  return out.literal("");
}

// Anchors at the ends of the whole expression say nothing new; elsewhere only `whole` knows what they exclude.
NodeId Regex::expression(Expressions& out) const {
  const Part& root = parts_[root_];
  std::vector<std::uint32_t> items = root.kind == Part::Kind::Sequence ? root.children : std::vector{root_};
  while (!items.empty() && parts_[items.front()].kind == Part::Kind::Start) items.erase(items.begin());
  while (!items.empty() && parts_[items.back()].kind == Part::Kind::End) items.pop_back();
  std::vector<std::uint32_t> open = items;
  while (!open.empty()) {
    const Part& part = parts_[open.back()];
    open.pop_back();
    if (part.kind == Part::Kind::Start || part.kind == Part::Kind::End) return out.plain_text(whole());
    open.insert(open.end(), part.children.begin(), part.children.end());
  }
  std::vector<NodeId> nodes;
  for (const std::uint32_t item : items) nodes.push_back(write(out, item));
  return out.sequence(nodes);
}

}  // namespace loadline::grammar
