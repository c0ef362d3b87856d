// Grammar: rules compiled to automata over bytes that call each other. Immutable; which state a text leads to is
// Matcher's, and which tokens may follow Masker's.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "grammar/expressions.h"

namespace loadline::grammar {

using StateId = std::uint32_t;

// Where a rule, having been matched, goes on. Thread-safe, as all of it is constant.
class Grammar {
 public:
  // Grammars of more states are refused, so that a short text cannot fill the machine.
  static constexpr std::size_t kMostStates = std::size_t{1} << 18;

  // Throws Error(BadInput): left recursion, no text that matches, or more states than kMostStates.
  static Grammar compile(const Expressions& expressions, RuleId root);

  struct ByteEdge {
    std::uint8_t first = 0;
    std::uint8_t last = 0;  // inclusive
    StateId to = 0;
  };
  struct CallEdge {
    RuleId rule = 0;
    StateId to = 0;  // once the rule has been matched
  };
  struct TokenEdge {
    Token token = 0;
    bool negated = false;
    StateId to = 0;
  };
  struct Rule {
    StateId start = 0;
    bool nullable = false;   // matches the empty text
    bool is_string = false;  // the inside of a JSON string (string_states.h) of `least` to `most` characters
    std::uint32_t least = 0;
    std::uint32_t most = 0;
    std::uint32_t rank = 0;  // below that of every rule that it can call before it has taken a byte
  };

  [[nodiscard]] RuleId root() const { return root_; }
  [[nodiscard]] std::size_t states() const { return finals_.size(); }
  [[nodiscard]] std::span<const ByteEdge> bytes(StateId s) const { return slice(bytes_, byte_begins_, s); }
  [[nodiscard]] std::span<const CallEdge> calls(StateId s) const { return slice(calls_, call_begins_, s); }
  [[nodiscard]] std::span<const TokenEdge> tokens(StateId s) const { return slice(tokens_, token_begins_, s); }
  [[nodiscard]] std::span<const StateId> epsilons(StateId s) const { return slice(epsilons_, epsilon_begins_, s); }
  [[nodiscard]] bool is_final(StateId s) const { return (finals_[s] & kFinal) != 0; }
  // Final, and nothing else: who calls a rule and goes on here might as well return at once.
  [[nodiscard]] bool is_tail(StateId s) const { return (finals_[s] & kTail) != 0; }
  [[nodiscard]] bool has_tokens() const { return !tokens_.empty(); }
  [[nodiscard]] const Rule& rule(RuleId id) const { return rules_[id]; }
  [[nodiscard]] std::size_t rules() const { return rules_.size(); }

  [[nodiscard]] Bytes resident_bytes() const;

  // The first states are those of JSON strings, the next one that which the root returns to.
  static constexpr StateId kAccept = 32;
  static constexpr StateId kFirstState = 33;

 private:
  friend class Compiler;
  static constexpr std::uint8_t kFinal = 1;
  static constexpr std::uint8_t kTail = 2;

  template <class T>
  static std::span<const T> slice(const std::vector<T>& all, const std::vector<std::uint32_t>& begins, StateId s) {
    return std::span(all).subspan(begins[s], begins[s + 1] - begins[s]);
  }

  RuleId root_ = 0;
  std::vector<Rule> rules_;
  std::vector<std::uint8_t> finals_;        // [states]
  std::vector<std::uint32_t> byte_begins_;  // [states + 1], and so on
  std::vector<std::uint32_t> call_begins_;
  std::vector<std::uint32_t> token_begins_;
  std::vector<std::uint32_t> epsilon_begins_;
  std::vector<ByteEdge> bytes_;  // of a state: ascending and disjoint, unless it has epsilons
  std::vector<CallEdge> calls_;
  std::vector<TokenEdge> tokens_;
  std::vector<StateId> epsilons_;
};

}  // namespace loadline::grammar
