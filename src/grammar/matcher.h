// Matcher: which states of a grammar a text can have led to, byte by byte, exactly. All ways through the grammar are
// followed together; where they have called rules, what is to be returned to is kept as a graph whose equal parts exist
// once, so that states can be compared, kept and come back to. Knows no tokens.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "grammar/grammar.h"

namespace loadline::grammar {

// How much a matcher may hold. Work and memory are bounded by these whatever the grammar.
struct MatcherLimits {
  std::uint32_t configurations = 6000;
  std::uint32_t items = 48000;
  std::uint32_t nodes = 12000;
  std::uint32_t callers = 24000;
  std::uint32_t rows = 256;             // of 1 KiB: the steps from states that are looked at often
  std::uint32_t parallel_items = 6000;  // ways through the grammar that are followed together
};

// A state after some text, as a number that holds until the matcher tidies up (`tidy`).
using Configuration = std::uint32_t;
inline constexpr Configuration kDead = 0;              // no text can follow, and this one is not complete
inline constexpr Configuration kNoRoom = 0xFFFFFFFFU;  // `tidy`, and try again

// For one sequence, used by one thread at a time; the grammar must outlive it. Allocates in its constructor only.
class Matcher {
 public:
  explicit Matcher(const Grammar& grammar, const MatcherLimits& limits = {});
  static Bytes memory_bytes(const Grammar& grammar, const MatcherLimits& limits);

  // One place that a text can have led to.
  struct Item {
    StateId state = 0;        // below kStringStates: inside a JSON string
    std::uint32_t count = 0;  // of its characters, as far as lengths care
    std::uint32_t node = 0;   // where its rule returns to
    auto operator<=>(const Item&) const = default;
  };

  [[nodiscard]] Configuration start() const { return start_; }
  // The state behind `byte`; kDead, or kNoRoom.
  Configuration next(Configuration from, std::uint8_t byte) {
    Held& held = configurations_[from];
    if (held.row != 0) {
      const std::uint32_t known = rows_[held.row - 1][byte];
      if (known != 0) return known - 1;
    } else if (!may_take(from, byte)) {
      return kDead;
    }
    return slow_next(from, byte);
  }
  [[nodiscard]] bool is_complete(Configuration c) const { return configurations_[c].accepting; }
  [[nodiscard]] bool may_take(Configuration c, std::uint8_t byte) const {
    return (configurations_[c].first[byte >> 6] >> (byte & 63) & 1) != 0;
  }
  [[nodiscard]] const std::array<std::uint64_t, 4>& first_bytes(Configuration c) const {
    return configurations_[c].first;
  }
  [[nodiscard]] std::span<const Item> items(Configuration c) const {
    return std::span(items_).subspan(configurations_[c].items, configurations_[c].count);
  }
  // Whether `c` is one place between two characters of a JSON string that may be of any length from here on.
  [[nodiscard]] bool is_in_any_string(Configuration c) const { return configurations_[c].in_any_string; }
  // Whether whole tokens that are no text may follow.
  [[nodiscard]] bool has_tokens(Configuration c) const { return configurations_[c].tokens; }
  // The state behind a whole token, by the grammar's items for tokens alone. kNoRoom as above.
  Configuration next_token(Configuration from, Token token);
  // The state of a text that leads to both.
  Configuration either(Configuration a, Configuration b);
  // The state where the rule of `node` has just ended.
  Configuration returned(std::uint32_t node);
  // `c` without items inside JSON strings and between characters.
  Configuration without_strings(Configuration c);
  [[nodiscard]] const Grammar::Rule& rule_of(std::uint32_t node) const { return grammar_->rule(nodes_[node].rule); }
  [[nodiscard]] const Grammar& grammar() const { return *grammar_; }

  // Forgets all but these states, and renumbers them in place.
  void tidy(std::span<Configuration* const> keep);
  // Goes up whenever numbers have changed their meaning.
  [[nodiscard]] std::uint32_t generation() const { return generation_; }

  // Whether so many ways must be followed together that the limits do not allow it.
  [[nodiscard]] bool overflowed() const { return overflowed_; }

 private:
  struct Held {
    std::uint32_t items = 0;
    std::uint32_t count = 0;
    std::uint32_t row = 0;  // 1 + place in rows_; 0: none
    std::uint32_t hash = 0;
    std::uint8_t accepting = 0;
    std::uint8_t tokens = 0;
    std::uint8_t misses = 0;
    std::uint8_t in_any_string = 0;
    std::array<std::uint64_t, 4> first{};  // a bit a byte that may follow
  };
  struct Node {
    RuleId rule = 0;
    std::uint32_t callers = 0;
    std::uint32_t count = 0;
    std::uint32_t hash = 0;
    Configuration returned = 0;  // 0: not known
  };
  struct Caller {
    StateId to = 0;
    std::uint32_t node = 0;
    auto operator<=>(const Caller&) const = default;
  };
  struct Visit {
    std::uint32_t stamp = 0;
    Item item;
  };
  struct Pending {
    RuleId rule = 0;
    std::uint32_t first = 0;  // in pending_callers_, linked; kEnd
    std::uint32_t node = 0;   // once it is known
  };
  struct PendingCaller {
    Caller caller;
    std::uint32_t next = 0;
  };
  static constexpr std::uint32_t kPendingBit = 0x80000000U;
  static constexpr std::uint32_t kEnd = 0xFFFFFFFFU;

  Configuration slow_next(Configuration from, std::uint8_t byte);
  void begin();
  bool visit(const Item& item);
  bool enter(const Item& item);
  void reach(StateId state, std::uint32_t node);
  void drain();
  void expand(StateId state, std::uint32_t node);
  void pop(std::uint32_t node);
  void call(RuleId rule, StateId to, std::uint32_t node);
  void step_string(const Item& item, std::uint8_t byte);
  Configuration finish();
  bool resolve_pending();
  std::uint32_t intern_node(RuleId rule, std::span<const Caller> callers);
  Configuration intern(std::span<const Item> items, bool accepting);
  void describe(Held& held);
  static std::uint32_t hash_of(RuleId rule, std::span<const Caller> callers);
  static std::uint32_t hash_of(std::span<const Item> items, bool accepting);
  void keep_nodes();
  void keep_configurations();
  void rebuild_tables();

  const Grammar* grammar_;
  MatcherLimits limits_;
  Configuration start_ = 0;
  std::uint32_t generation_ = 0;
  bool overflowed_ = false;

  // What is held; all of a fixed capacity.
  std::vector<Held> configurations_;
  std::vector<Item> items_;
  std::vector<Node> nodes_;
  std::vector<Caller> callers_;
  std::vector<std::array<std::uint32_t, 256>> rows_;  // 1 + the next configuration; 0: not known
  std::vector<std::uint32_t> configuration_slots_;    // open addressing; 0: empty
  std::vector<std::uint32_t> node_slots_;

  // Of the step under way.
  std::uint32_t stamp_ = 0;
  bool accepting_ = false;
  bool full_ = false;
  // What the step has come to. As long as that comes in order, which it mostly does, nothing is looked up.
  std::vector<Item> in_order_;
  bool is_in_order_ = true;
  std::vector<Visit> visited_;  // open addressing, a power of two
  std::uint32_t visited_used_ = 0;
  std::vector<Item> queue_;
  std::size_t queue_done_ = 0;
  std::vector<Item> reached_;
  std::vector<Pending> pending_;
  std::vector<PendingCaller> pending_callers_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> pending_of_;  // [rules] {stamp, place in pending_}
  std::vector<Caller> gathered_;
  std::vector<std::uint32_t> order_;
  std::vector<std::uint32_t> node_ids_;  // what they become when tidying
  std::vector<std::uint32_t> configuration_ids_;
};

}  // namespace loadline::grammar
