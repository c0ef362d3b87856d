// Grammars as their authors mean them: rules whose right-hand sides are expressions. What the readers of GBNF, regular
// expressions and JSON schemas build, and what `Grammar` compiles. Knows no vocabulary and no state.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/char_dfa.h"
#include "grammar/code_points.h"

namespace loadline::grammar {

// Of one thing in GBNF or a regular expression, by a number in braces.
inline constexpr std::uint32_t kMostRepetitions = 100'000;

using Token = std::int32_t;
using NodeId = std::uint32_t;
using RuleId = std::uint32_t;

struct Node {
  enum class Kind : std::uint8_t {
    Literal,     // bytes of `text`; may be empty
    Characters,  // one code point of a set
    Sequence,
    Choice,    // without children: nothing matches
    Repeat,    // `least` to `most` times the one child
    Call,      // a rule
    OneToken,  // a whole token, never text
    AnyButToken,
    JsonString,  // `least` to `most` code points as a JSON string has them, and the closing quote
    JsonText,    // the same, of the texts that a CharDfa accepts
    CommaList,   // children one after the other with commas, and a blank or none, between; `text` says of each:
                 // required, optional, any number
    PlainList,   // the same without commas
    PlainText,   // the texts that a CharDfa accepts, as they are
  };
  Kind kind = Kind::Literal;
  std::uint32_t index = 0;  // of the rule, text, set or automaton; or the token
  std::uint32_t first_child = 0;
  std::uint32_t children = 0;
  std::uint32_t least = 0;
  std::uint32_t most = 0;
};

// Nodes refer to earlier ones only. Not thread-safe.
class Expressions {
 public:
  // Throws Error(BadInput) beyond this many nodes.
  static constexpr std::size_t kMostNodes = std::size_t{1} << 21;

  NodeId literal(std::string_view text);
  NodeId characters(const CodePointSet& set);
  NodeId sequence(std::span<const NodeId> items);
  NodeId choice(std::span<const NodeId> items);
  NodeId repeat(NodeId item, std::uint32_t least, std::uint32_t most);
  NodeId call(RuleId rule);
  NodeId token(Token token, bool negated);
  NodeId json_string(std::uint32_t least = 0, std::uint32_t most = kUnbounded);
  NodeId json_text(CharDfa dfa);
  NodeId plain_text(CharDfa dfa);
  // What `flags` says of each item: 'r' required, 'o' optional, '*' any number of times. `least` to `most` in all.
  NodeId comma_list(std::span<const NodeId> items, std::string_view flags, std::uint32_t least = 0,
                    std::uint32_t most = kUnbounded);
  // The same, one after the other with nothing between.
  NodeId plain_list(std::span<const NodeId> items, std::string_view flags, std::uint32_t least = 0,
                    std::uint32_t most = kUnbounded);
  NodeId sequence(std::initializer_list<NodeId> items) { return sequence(std::span(items.begin(), items.size())); }
  NodeId choice(std::initializer_list<NodeId> items) { return choice(std::span(items.begin(), items.size())); }
  NodeId optional(NodeId item) { return repeat(item, 0, 1); }

  RuleId add_rule(std::string name);
  void set_body(RuleId rule, NodeId body) { rules_[rule].body = body; }

  [[nodiscard]] const Node& node(NodeId id) const { return nodes_[id]; }
  [[nodiscard]] std::span<const NodeId> children(const Node& node) const {
    return std::span(children_).subspan(node.first_child, node.children);
  }
  [[nodiscard]] const std::string& text(const Node& node) const { return texts_[node.index]; }
  [[nodiscard]] const CodePointSet& set(const Node& node) const { return sets_[node.index]; }
  [[nodiscard]] const CharDfa& dfa(const Node& node) const { return dfas_[node.index]; }
  [[nodiscard]] std::size_t rules() const { return rules_.size(); }
  [[nodiscard]] const std::string& name(RuleId rule) const { return rules_[rule].name; }
  [[nodiscard]] NodeId body(RuleId rule) const { return rules_[rule].body; }

 private:
  struct Rule {
    std::string name;
    NodeId body = 0;
  };
  NodeId add(Node node, std::span<const NodeId> items = {});

  std::vector<Node> nodes_;
  std::vector<NodeId> children_;
  std::vector<std::string> texts_;
  std::vector<CodePointSet> sets_;
  std::vector<CharDfa> dfas_;
  std::vector<Rule> rules_;
};

}  // namespace loadline::grammar
