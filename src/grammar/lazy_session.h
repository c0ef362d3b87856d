// LazySession: a grammar that begins where a word in the output does, such as "<tool_call>". Until then anything may be
// written. For one sequence, used by one thread at a time.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/session.h"

namespace loadline::grammar {

// Allocates in its constructor only.
class LazySession {
 public:
  // Without triggers the grammar holds from the beginning. Triggers are texts, found wherever they begin and end inside
  // tokens. `index` must outlive it, as must the grammar.
  LazySession(const Grammar& grammar, const TokenIndex& index, std::vector<std::string> triggers,
              const SessionLimits& limits = {});
  static Bytes memory_bytes(const Grammar& grammar, const TokenIndex& index, std::span<const std::string> triggers,
                            const SessionLimits& limits = {});

  [[nodiscard]] bool is_active() const { return active_; }
  // Empty while anything may follow; else as Session's.
  std::span<const std::uint64_t> mask() { return active_ ? session_.mask() : std::span<const std::uint64_t>(); }
  bool allows(Token token) { return !active_ || session_.allows(token); }
  // False, and nothing changes, where the token is not allowed. A trigger with something behind it in the same token
  // that the grammar forbids is no trigger.
  bool accept(Token token);
  std::size_t count_allowed(std::span<const Token> tokens);
  void rollback(std::size_t count);  // as Session's
  [[nodiscard]] bool must_end() const { return active_ && session_.must_end(); }
  Session& session() { return session_; }
  void reset();

 private:
  struct Record {
    std::uint32_t bytes = 0;  // that were added to recent_
    bool activated = false;   // by this token
    bool active = false;      // before it
  };
  bool find_trigger(std::size_t from);

  const TokenIndex* index_;
  std::vector<std::string> triggers_;
  Session session_;
  bool active_ = false;
  std::size_t longest_ = 0;  // trigger, in bytes
  std::size_t most_recent_ = 0;
  std::string recent_;           // the end of the output so far
  std::vector<Record> records_;  // a ring
  std::size_t next_ = 0;
  std::size_t used_ = 0;
};

}  // namespace loadline::grammar
