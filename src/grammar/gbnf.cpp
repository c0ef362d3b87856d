// GBNF as llama.cpp's users write it:
//   name ::= alternatives      one rule a line; `root` is what the whole text must match
//   "literal" [class] . name ( group ) <token> <[id]> !<token>
//   item* item+ item? item{m} item{m,} item{m,n}, several in a row too
//   # comment
// Inside ( ), after ::= and after | a line may be broken.
#include "grammar/gbnf.h"

#include <fmt/format.h>

#include <charconv>
#include <unordered_map>

#include "base/error.h"
#include "base/text.h"

namespace loadline::grammar {
namespace {

constexpr std::size_t kLongestText = std::size_t{4} << 20;
constexpr int kDeepestGroup = 200;

bool is_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-'; }

class Reader {
 public:
  Reader(std::string_view text, const TokenNamed& token_named) : text_(text), token_named_(token_named) {}

  Source read() {
    if (text_.size() > kLongestText) throw bad_input("the grammar is longer than 4 MiB");
    skip_blanks(true);
    if (done()) throw bad_input("the grammar has no rules", "It needs at least: root ::= ...");
    while (!done()) {
      read_rule();
      skip_blanks(true);
    }
    for (const auto& [name, rule] : rules_) {
      if (!rule.defined) refuse(rule.first_use, fmt::format("rule \"{}\" is not defined", printable(name)));
    }
    const auto root = rules_.find("root");
    if (root == rules_.end()) {
      throw bad_input("the grammar has no rule \"root\"", "It is the rule that the whole text must match.");
    }
    return {std::move(out_), root->second.id};
  }

 private:
  struct Rule {
    RuleId id = 0;
    bool defined = false;
    std::size_t first_use = 0;
  };

  [[nodiscard]] bool done() const { return at_ == text_.size(); }
  [[nodiscard]] char peek(std::size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  [[nodiscard]] bool sees(char c) const { return !done() && text_[at_] == c; }
  bool take(char c) {
    if (!sees(c)) return false;
    ++at_;
    return true;
  }

  [[noreturn]] void refuse(std::size_t place, const std::string& problem) const {
    std::size_t line = 1;
    std::size_t begin = 0;
    for (std::size_t i = 0; i < place && i < text_.size(); ++i) {
      if (text_[i] == '\n' || (text_[i] == '\r' && (i + 1 == text_.size() || text_[i + 1] != '\n'))) {
        ++line;
        begin = i + 1;
      }
    }
    throw bad_input(fmt::format("grammar, line {}, column {}: {}", line, place - begin + 1, problem));
  }
  [[noreturn]] void refuse_here(std::string_view wanted) const {
    if (done()) refuse(at_, fmt::format("{} expected, but the text ends here", wanted));
    const std::size_t length = std::max<std::size_t>(utf8_length(text_.substr(at_)), 1);
    refuse(at_, fmt::format("{} expected, not \"{}\"", wanted, printable(text_.substr(at_, length))));
  }

  // Blanks and comments; line ends too where `lines`.
  void skip_blanks(bool lines) {
    while (!done()) {
      const char c = text_[at_];
      if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r'))) {
        ++at_;
      } else if (c == '#') {
        while (!done() && text_[at_] != '\n' && text_[at_] != '\r') ++at_;
      } else {
        return;
      }
    }
  }

  std::string_view read_name() {
    const std::size_t begin = at_;
    while (!done() && is_name(text_[at_])) ++at_;
    return text_.substr(begin, at_ - begin);
  }

  Rule& rule_named(std::string_view name, std::size_t place) {
    const auto [at, added] = rules_.try_emplace(std::string(name));
    if (added) at->second = {out_.add_rule(std::string(name)), false, place};
    return at->second;
  }

  void read_rule() {
    const std::size_t begin = at_;
    const std::string name(read_name());
    if (name.empty()) refuse_here("the name of a rule");
    skip_blanks(false);
    if (text_.substr(at_, 3) != "::=") refuse_here("::=");
    at_ += 3;
    {
      Rule& rule = rule_named(name, begin);
      if (rule.defined) refuse(begin, fmt::format("rule \"{}\" is defined twice", printable(name)));
      rule.defined = true;
    }
    skip_blanks(true);
    const NodeId body = read_alternatives(0);
    out_.set_body(rules_.at(name).id, body);
    if (!done() && peek() != '\n' && peek() != '\r') refuse_here("an item, or the end of the line");
  }

  NodeId read_alternatives(int depth) {
    std::vector<NodeId> alternatives{read_sequence(depth)};
    while (take('|')) {
      skip_blanks(true);
      alternatives.push_back(read_sequence(depth));
    }
    return out_.choice(alternatives);
  }

  NodeId read_sequence(int depth) {
    std::vector<NodeId> items;
    bool repeatable = false;
    while (!done()) {
      const std::size_t begin = at_;
      const char c = peek();
      if (c == '*' || c == '+' || c == '?' || c == '{') {
        if (!repeatable) refuse(begin, fmt::format("there is nothing that \"{}\" could repeat", c));
        items.back() = read_repetition(items.back());
      } else {
        const auto item = read_item(depth, repeatable);
        if (!item) break;
        items.push_back(*item);
      }
      skip_blanks(depth > 0);
    }
    return out_.sequence(items);
  }

  std::optional<NodeId> read_item(int depth, bool& repeatable) {
    const std::size_t begin = at_;
    repeatable = true;
    const char c = peek();
    if (c == '"') {
      const std::string text = read_literal();
      repeatable = !text.empty();
      return out_.literal(text);
    }
    if (c == '[') return read_class();
    if (take('.')) return out_.characters(CodePointSet::all());
    if (c == '<' || c == '!') return read_token();
    if (take('(')) {
      if (depth == kDeepestGroup) refuse(begin, fmt::format("groups are nested more than {} deep", kDeepestGroup));
      skip_blanks(true);
      const NodeId group = read_alternatives(depth + 1);
      if (!take(')')) refuse_here("\")\"");
      return group;
    }
    if (is_name(c)) {
      const std::string_view name = read_name();
      return out_.call(rule_named(name, begin).id);
    }
    return std::nullopt;
  }

  std::uint32_t read_count() {
    std::uint32_t value = 0;
    const char* begin = text_.data() + at_;
    const auto [end, problem] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (end == begin) refuse_here("a number");
    if (problem != std::errc() || value > kMostRepetitions) {
      refuse(at_, fmt::format("something is repeated more than {} times", kMostRepetitions));
    }
    at_ += static_cast<std::size_t>(end - begin);
    return value;
  }

  NodeId read_repetition(NodeId item) {
    if (take('*')) return out_.repeat(item, 0, kUnbounded);
    if (take('+')) return out_.repeat(item, 1, kUnbounded);
    if (take('?')) return out_.repeat(item, 0, 1);
    const std::size_t begin = at_;
    take('{');
    skip_blanks(false);
    const std::uint32_t least = read_count();
    std::uint32_t most = least;
    skip_blanks(false);
    if (take(',')) {
      skip_blanks(false);
      most = sees('}') ? kUnbounded : read_count();
      skip_blanks(false);
    }
    if (!take('}')) refuse_here("\"}\"");
    if (most < least) refuse(begin, fmt::format("{{{},{}}} asks for fewer at most than at least", least, most));
    return out_.repeat(item, least, most);
  }

  char32_t read_hex(std::size_t begin, std::size_t digits) {
    char32_t value = 0;
    for (std::size_t i = 0; i < digits; ++i) {
      const char c = peek();
      unsigned digit = 0;
      const auto [end, problem] = std::from_chars(&c, &c + 1, digit, 16);
      if (done() || problem != std::errc())
        refuse(begin, fmt::format("the escape needs {} hexadecimal digits", digits));
      value = value << 4 | digit;
      ++at_;
    }
    if (value > kLastCodePoint || (value >= kFirstSurrogate && value <= kLastSurrogate)) {
      refuse(begin, fmt::format("U+{:04X} is no character", static_cast<std::uint32_t>(value)));
    }
    return value;
  }

  // One code point of a literal or a class.
  char32_t read_character() {
    const std::size_t begin = at_;
    if (take('\\')) {
      const char c = peek();
      ++at_;
      switch (c) {
        case 'n': return '\n';
        case 'r': return '\r';
        case 't': return '\t';
        case '\\':
        case '"':
        case '[':
        case ']': return static_cast<char32_t>(c);
        case 'x': return read_hex(begin, 2);
        case 'u': return read_hex(begin, 4);
        case 'U': return read_hex(begin, 8);
        default: break;
      }
      at_ = std::min(at_, text_.size());
      refuse(begin, "this escape does not exist; there are \\n \\r \\t \\\\ \\\" \\[ \\] \\xHH \\uHHHH \\UHHHHHHHH");
    }
    const std::size_t length = utf8_length(text_.substr(at_));
    if (length == 0) refuse(begin, "the text is not UTF-8");
    at_ += length;
    return decode_utf8(text_.substr(begin, length))[0];
  }

  std::string read_literal() {
    const std::size_t begin = at_;
    take('"');
    std::string text;
    while (!take('"')) {
      if (done()) refuse(begin, "this literal has no closing quote");
      append_utf8(text, read_character());
    }
    return text;
  }

  NodeId read_class() {
    const std::size_t begin = at_;
    take('[');
    const bool negated = take('^');
    CodePointSet set;
    while (!take(']')) {
      if (done()) refuse(begin, "this class has no closing bracket");
      const std::size_t place = at_;
      const char32_t first = read_character();
      char32_t last = first;
      if (peek() == '-' && at_ + 1 < text_.size() && peek(1) != ']') {
        ++at_;
        last = read_character();
        if (last < first) refuse(place, "this range ends before it begins");
      }
      set.add({first, last});
    }
    if (set.empty()) refuse(begin, "this class is empty");
    if (!negated) return out_.characters(set);
    const CodePointSet others = set.complement();
    if (others.empty()) refuse(begin, "this class leaves no character");
    return out_.characters(others);
  }

  NodeId read_token() {
    const std::size_t begin = at_;
    const bool negated = take('!');
    if (!take('<')) refuse_here("a token such as <|end|> or <[123]>");
    if (take('[')) {
      Token id = 0;
      const char* from = text_.data() + at_;
      const auto [end, problem] = std::from_chars(from, text_.data() + text_.size(), id);
      if (problem != std::errc() || end == from || id < 0) refuse_here("the number of a token");
      at_ += static_cast<std::size_t>(end - from);
      if (!take(']') || !take('>')) refuse_here("\"]>\" behind the number of a token");
      return out_.token(id, negated);
    }
    const std::size_t close = text_.find('>', at_);
    const std::string_view line = text_.substr(at_, std::min(close, text_.size()) - at_);
    if (close == std::string_view::npos || line.contains('\n')) refuse(begin, "this token has no closing \">\"");
    at_ = close + 1;
    const std::string_view name = text_.substr(close - line.size() - 1, line.size() + 2);
    if (!token_named_) return out_.token(-1, negated);
    const auto id = token_named_(name);
    if (!id) refuse(begin, fmt::format("\"{}\" is not one token of the model", printable(name)));
    return out_.token(*id, negated);
  }

  std::string_view text_;
  const TokenNamed& token_named_;
  std::size_t at_ = 0;
  Expressions out_;
  std::unordered_map<std::string, Rule> rules_;
};

}  // namespace

Source read_gbnf(std::string_view text, const TokenNamed& token_named) { return Reader(text, token_named).read(); }

}  // namespace loadline::grammar
