#include "grammar/regex.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>
#include <unordered_map>
#include <utility>

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

// Follows all ways through a pattern together. An anchor is a way on that takes nothing, open at one end of the text.
class PatternDeterminiser {
 public:
  PatternDeterminiser(const std::vector<Regex::Part>& parts, std::uint32_t root, bool anywhere) : parts_(parts) {
    const std::uint32_t start = add_state();
    const std::uint32_t end = write(root, start);
    accepting_ = end;
    if (anywhere) {
      // In front: any text, but only the place at its very beginning is open for "^".
      const std::uint32_t before = add_state();
      edges_[before].push_back({Way::Set, before, any_set()});
      edges_[before].push_back({Way::Free, start, 0});
      start_ = before;
      accepting_ = add_state();
      edges_[end].push_back({Way::Free, accepting_, 0});
      edges_[accepting_].push_back({Way::Set, accepting_, any_set()});
      anything_ = accepting_;
    }
  }

  CharDfa run() {
    CharDfa dfa;
    id_of({start_}, true);
    for (std::uint32_t id = 0; id < sets_.size(); ++id) dfa.states.push_back(state_of(id));
    return pruned(dfa);
  }

 private:
  enum class Way : std::uint8_t { Free, AtStart, AtEnd, Set };
  struct Edge {
    Way way;
    std::uint32_t to;
    std::uint32_t set;
  };
  struct Member {
    CodePointRange on;
    std::uint32_t to;
  };
  static constexpr std::size_t kMostNfaStates = 200'000;
  static constexpr std::size_t kMostWork = 20'000'000;

  [[noreturn]] static void refuse() {
    throw bad_input("the regular expression needs too many states", "Repeat fewer times.");
  }

  std::uint32_t add_state() {
    if (edges_.size() == kMostNfaStates) refuse();
    edges_.emplace_back();
    return static_cast<std::uint32_t>(edges_.size() - 1);
  }
  std::uint32_t any_set() {
    any_.add({0, kLastCodePoint});
    return kAny;
  }
  [[nodiscard]] const CodePointSet& set(std::uint32_t index) const { return index == kAny ? any_ : parts_[index].set; }

  std::uint32_t write(std::uint32_t id, std::uint32_t from) {
    using Kind = Regex::Part::Kind;
    const Regex::Part& part = parts_[id];
    switch (part.kind) {
      case Kind::Set:
      case Kind::Start:
      case Kind::End: {
        const std::uint32_t to = add_state();
        const Way way = part.kind == Kind::Set ? Way::Set : part.kind == Kind::Start ? Way::AtStart : Way::AtEnd;
        edges_[from].push_back({way, to, id});
        return to;
      }
      case Kind::Sequence:
        for (const std::uint32_t child : part.children) from = write(child, from);
        return from;
      case Kind::Choice: {
        const std::uint32_t to = add_state();
        for (const std::uint32_t child : part.children) edges_[write(child, from)].push_back({Way::Free, to, 0});
        return to;
      }
      case Kind::Repeat: break;
    }
    const std::uint32_t item = part.children[0];
    for (std::uint32_t i = 0; i < part.least; ++i) from = write(item, from);
    if (part.most == kUnbounded) {
      const std::uint32_t loop = add_state();
      edges_[from].push_back({Way::Free, loop, 0});
      edges_[write(item, loop)].push_back({Way::Free, loop, 0});
      const std::uint32_t to = add_state();
      edges_[loop].push_back({Way::Free, to, 0});
      return to;
    }
    if (part.most == part.least) return from;
    const std::uint32_t to = add_state();
    for (std::uint32_t i = part.least; i < part.most; ++i) {
      edges_[from].push_back({Way::Free, to, 0});
      from = write(item, from);
    }
    edges_[from].push_back({Way::Free, to, 0});
    return to;
  }

  std::vector<std::uint32_t> closed(std::vector<std::uint32_t> set, bool at_start, bool at_end) {
    seen_.resize(edges_.size(), 0);
    ++generation_;
    for (const std::uint32_t state : set) seen_[state] = generation_;
    for (std::size_t i = 0; i < set.size(); ++i) {
      if (++work_ > kMostWork) refuse();
      for (const Edge& edge : edges_[set[i]]) {
        const bool open =
            edge.way == Way::Free || (edge.way == Way::AtStart && at_start) || (edge.way == Way::AtEnd && at_end);
        if (!open || seen_[edge.to] == generation_) continue;
        seen_[edge.to] = generation_;
        set.push_back(edge.to);
      }
    }
    std::ranges::sort(set);
    return set;
  }

  std::uint32_t id_of(std::vector<std::uint32_t> set, bool at_start) {
    set = closed(std::move(set), at_start, false);
    if (anything_ != kAny && std::ranges::binary_search(set, anything_)) set.assign(1, anything_);
    std::uint64_t hash = at_start ? 3 : 1;
    for (const std::uint32_t state : set) hash = (hash ^ state) * 0x9E3779B97F4A7C15U;
    const auto [begin, end] = ids_.equal_range(hash);
    for (auto at = begin; at != end; ++at) {
      if (sets_[at->second].first == set && sets_[at->second].second == at_start) return at->second;
    }
    if (sets_.size() >= CharDfa::kMostStates) refuse();
    const auto id = static_cast<std::uint32_t>(sets_.size());
    ids_.emplace(hash, id);
    sets_.emplace_back(std::move(set), at_start);
    return id;
  }

  CharDfa::State state_of(std::uint32_t id) {
    const auto [members, at_start] = sets_[id];
    CharDfa::State state;
    state.accepting = std::ranges::binary_search(closed(members, at_start, true), accepting_);
    std::vector<Member> ways;
    std::vector<char32_t> cuts;
    for (const std::uint32_t member : members) {
      for (const Edge& edge : edges_[member]) {
        if (edge.way != Way::Set) continue;
        for (const CodePointRange& range : set(edge.set).ranges()) {
          ways.push_back({range, edge.to});
          cuts.push_back(range.first);
          cuts.push_back(range.last + 1);
        }
      }
    }
    std::ranges::sort(cuts);
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
      std::vector<std::uint32_t> targets;
      for (const Member& way : ways) {
        if (way.on.first <= cuts[i] && way.on.last >= cuts[i]) targets.push_back(way.to);
      }
      work_ += ways.size() / 8;
      if (targets.empty()) continue;
      std::ranges::sort(targets);
      targets.erase(std::unique(targets.begin(), targets.end()), targets.end());
      const std::uint32_t to = id_of(std::move(targets), false);
      const CodePointRange on{cuts[i], cuts[i + 1] - 1};
      if (!state.edges.empty() && state.edges.back().to == to && state.edges.back().on.last + 1 == on.first) {
        state.edges.back().on.last = on.last;
      } else {
        state.edges.push_back({on, to});
      }
    }
    return state;
  }

  static constexpr std::uint32_t kAny = 0xFFFFFFFF;

  const std::vector<Regex::Part>& parts_;
  std::vector<std::vector<Edge>> edges_;
  CodePointSet any_;
  std::uint32_t start_ = 0;
  std::uint32_t accepting_ = 0;
  std::uint32_t anything_ = kAny;
  std::vector<std::uint32_t> seen_;
  std::uint32_t generation_ = 0;
  std::size_t work_ = 0;
  std::vector<std::pair<std::vector<std::uint32_t>, bool>> sets_;
  std::unordered_multimap<std::uint64_t, std::uint32_t> ids_;
};

}  // namespace

Regex::Regex(std::string_view pattern) {
  if (pattern.size() > kLongestPattern) throw bad_input("a regular expression is longer than 64 KiB");
  root_ = Parser(pattern, parts_).parse();
}

CharDfa Regex::compile(bool anywhere) const { return PatternDeterminiser(parts_, root_, anywhere).run(); }

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
