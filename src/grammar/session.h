// Session: one sequence that keeps to a grammar. Says which tokens may follow, exactly, takes those that were chosen,
// and goes back when guesses are discarded. Does not choose (sample), and knows no text that it was not given.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "grammar/grammar.h"
#include "grammar/matcher.h"
#include "grammar/token_index.h"

namespace loadline::grammar {

struct SessionLimits {
  MatcherLimits matcher;
  std::uint32_t history = 64;     // tokens that can be taken back
  std::uint32_t kept_masks = 24;  // of places where a mask takes long to find
};

// Used by one thread at a time; grammar and index must outlive it. Allocates in its constructor only: memory_bytes().
// Throws Error(BadInput) where the grammar can be read in more ways at once than the limits allow.
class Session {
 public:
  Session(const Grammar& grammar, const TokenIndex& index, const SessionLimits& limits = {});
  static Bytes memory_bytes(const Grammar& grammar, const TokenIndex& index, const SessionLimits& limits = {});

  // A bit a token: whether it may follow. Holds until the next call of anything here.
  std::span<const std::uint64_t> mask();
  // The same for one token, much faster.
  bool allows(Token token);

  // Takes a token. False, and nothing changes, where it is not allowed.
  bool accept(Token token);
  // Takes bytes that are no tokens, such as the beginning of an answer that is prescribed; like one token for
  // `rollback`.
  bool accept_text(std::string_view text);
  // How many tokens from the front of `tokens` would be accepted one after the other. Takes none.
  std::size_t count_allowed(std::span<const Token> tokens);
  // Takes back the last `accept`s, at most history() of them.
  void rollback(std::size_t count);
  [[nodiscard]] std::size_t history() const { return history_used_; }

  // Whether the text so far matches the grammar; more may be able to follow.
  [[nodiscard]] bool is_complete() const { return !ended_ && matcher_.is_complete(now_); }
  // Whether nothing but an end token may follow.
  [[nodiscard]] bool must_end() const;
  // An end token was accepted.
  [[nodiscard]] bool has_ended() const { return ended_; }

  // The text that must follow, as far as there is no choice, up to `most` bytes; appended to `text`, which should have
  // room for them.
  void forced_text(std::string& text, std::size_t most);

  // As constructed.
  void reset();

  // Tree nodes that masks have looked at so far: what the work was, for tests and benchmarks.
  [[nodiscard]] std::uint64_t nodes_walked() const { return nodes_walked_; }

 private:
  struct Walk {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
    std::uint32_t base = 0;  // depth of the node above `begin`; 0: the root
  };

  void find_mask();
  bool walk(Walk range, Configuration from, std::span<std::uint64_t> out);
  bool add_strings(std::span<std::uint64_t> out);
  bool add_string(const Matcher::Item& item, std::span<std::uint64_t> out);
  bool add_subtree(std::uint32_t node, Configuration at, std::span<std::uint64_t> out);
  [[nodiscard]] bool is_between_characters(std::uint32_t depth) const;
  bool add_wide(Configuration from, std::span<std::uint64_t> out, bool& handled);  // session_wide.cpp
  Configuration common_target(Configuration from);
  int takes_all_characters(Configuration from, Configuration common);
  bool add_exit(std::uint32_t node, Configuration at, std::span<std::uint64_t> out);
  bool add_tokens(std::span<std::uint64_t> out);
  Configuration step(Configuration from, std::string_view text);
  Configuration after_token(Configuration from, Token token);
  void make_room();
  [[noreturn]] void refuse() const;
  void remember();

  const TokenIndex* index_;
  SessionLimits limits_;
  Matcher matcher_;
  Configuration now_ = kDead;
  bool ended_ = false;
  std::vector<Configuration> history_;  // a ring; before each accepted token
  std::vector<std::uint8_t> history_ended_;
  std::size_t history_next_ = 0;
  std::size_t history_used_ = 0;
  std::vector<Configuration> path_;  // [deepest + 1] of the walk under way
  std::vector<std::uint8_t> path_bytes_;
  std::vector<Configuration*> roots_;
  std::vector<std::uint64_t> mask_;  // [words]
  std::vector<std::uint64_t> wide_;  // [words] of the place that add_wide looks at
  std::uint64_t nodes_walked_ = 0;

  // Masks of states that took long: which, when used, and their bits.
  struct Kept {
    Configuration configuration = kDead;
    std::uint64_t used = 0;
  };
  std::vector<Kept> kept_;
  std::vector<std::uint64_t> kept_bits_;  // [kept_masks][words]
  std::uint32_t kept_generation_ = 0;
  std::uint64_t clock_ = 0;
};

}  // namespace loadline::grammar
