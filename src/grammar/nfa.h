// The automaton of one rule on its way from expression to grammar: with edges that take nothing, and several ways on.
// Internal to the module.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "grammar/expressions.h"
#include "grammar/grammar.h"

namespace loadline::grammar {

struct NfaEdge {
  enum class Kind : std::uint8_t { Epsilon, Bytes, Call, OneToken, AnyButToken };
  std::uint32_t from = 0;
  Kind kind = Kind::Epsilon;
  std::uint8_t first = 0;
  std::uint8_t last = 0;
  std::uint32_t index = 0;  // the rule or the token
  std::uint32_t to = 0;
};

// State 0 is the start.
struct Nfa {
  std::uint32_t states = 1;
  std::uint32_t accepting = 0;
  std::vector<NfaEdge> edges;
};

// Edges of deterministic states, or of the Nfa's own where making it deterministic would take too many.
struct RuleAutomaton {
  struct State {
    std::vector<Grammar::ByteEdge> bytes;
    std::vector<Grammar::CallEdge> calls;
    std::vector<Grammar::TokenEdge> tokens;
    std::vector<StateId> epsilons;
    bool final = false;
  };
  std::vector<State> states;  // 0 is the start; targets are places in this list
};

RuleAutomaton determinise(const Nfa& nfa);

// Writes expressions as Nfas. Which rules are written into those that call them, and which parts become rules of their
// own, is decided here.
class NfaBuilder {
 public:
  NfaBuilder(const Expressions& expressions, RuleId root);

  // The rules that are needed so far; `build` of one may add more. Rules keep their ids, new ones come behind.
  [[nodiscard]] const std::vector<RuleId>& needed() const { return needed_; }
  [[nodiscard]] std::size_t rules() const { return bodies_.size(); }
  [[nodiscard]] bool is_string(RuleId rule) const { return rule >= first_own_ && bodies_[rule] == kString; }
  [[nodiscard]] std::pair<std::uint32_t, std::uint32_t> string_lengths(RuleId rule) const { return lengths_.at(rule); }
  [[nodiscard]] std::string name(RuleId rule) const;
  Nfa build(RuleId rule);

 private:
  static constexpr NodeId kString = 0xFFFFFFFF;
  static constexpr std::uint32_t kUnknown = 0xFFFFFFFF;  // size of what calls itself

  void choose_inlined();
  [[nodiscard]] std::uint32_t size_of(NodeId id, bool& wide_loop, std::uint32_t depth) const;
  void need(RuleId rule);
  std::uint32_t new_state();
  void edge(std::uint32_t from, NfaEdge edge);
  void epsilon(std::uint32_t from, std::uint32_t to) { edge(from, {.to = to}); }
  std::uint32_t byte(std::uint32_t from, unsigned first, unsigned last);
  void byte_to(std::uint32_t from, unsigned first, unsigned last, std::uint32_t to);

  std::uint32_t emit(NodeId id, std::uint32_t from);
  std::uint32_t emit_repeat(const Node& node, std::uint32_t from);
  std::uint32_t emit_any_list(const Node& node, std::uint32_t from);
  std::uint32_t emit_list(const Node& node, std::uint32_t from);
  std::uint32_t emit_call(RuleId rule, std::uint32_t from);
  void emit_set(const CodePointSet& set, std::uint32_t from, std::uint32_t to);
  void emit_json_set(const CodePointSet& set, std::uint32_t from, std::uint32_t to);
  void emit_hex(std::uint32_t from, char32_t first, char32_t last, std::uint32_t to);
  std::uint32_t emit_text(const CharDfa& dfa, bool json, std::uint32_t from);
  RuleId string_rule(std::uint32_t least, std::uint32_t most);

  const Expressions* source_;
  RuleId first_own_;
  std::vector<NodeId> bodies_;        // [rules]
  std::vector<std::uint32_t> sizes_;  // [expression rules] kUnknown: not to be written into others
  std::vector<std::uint8_t> needed_already_;
  std::vector<RuleId> needed_;
  std::map<RuleId, std::pair<std::uint32_t, std::uint32_t>> lengths_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, RuleId> strings_;
  std::map<NodeId, RuleId> outlined_;
  Nfa nfa_;
  std::size_t total_states_ = 0;
};

}  // namespace loadline::grammar
