#include "grammar/matcher.h"

#include <algorithm>
#include <bit>

#include "grammar/string_states.h"

namespace loadline::grammar {
namespace {

constexpr std::uint32_t kRootNode = 1;
// A state is stepped from so often before its steps get a table.
constexpr std::uint8_t kMissesBeforeRow = 6;

std::uint32_t mix(std::uint32_t hash, std::uint32_t value) {
  const std::uint64_t product = (std::uint64_t{hash} ^ value) * 0x9E3779B97F4A7C15U;
  return static_cast<std::uint32_t>(product ^ product >> 32);
}

std::size_t table_size(std::size_t entries) { return std::bit_ceil(2 * entries + 2); }

}  // namespace

Matcher::Matcher(const Grammar& grammar, const MatcherLimits& limits) : grammar_(&grammar), limits_(limits) {
  configurations_.reserve(limits.configurations);
  items_.reserve(limits.items);
  nodes_.reserve(limits.nodes);
  callers_.reserve(limits.callers);
  rows_.reserve(limits.rows);
  configuration_slots_.resize(table_size(limits.configurations));
  node_slots_.resize(table_size(limits.nodes));
  visited_.resize(table_size(limits.parallel_items));
  in_order_.reserve(limits.parallel_items);
  queue_.reserve(limits.parallel_items);
  reached_.reserve(limits.parallel_items);
  pending_.reserve(limits.parallel_items);
  pending_callers_.reserve(limits.parallel_items);
  gathered_.reserve(limits.parallel_items);
  order_.reserve(limits.parallel_items);
  pending_of_.resize(grammar.rules());
  node_ids_.resize(limits.nodes);
  configuration_ids_.resize(limits.configurations);

  configurations_.emplace_back();  // dead
  nodes_.emplace_back();           // below the root
  nodes_.push_back({grammar.root(), 0, 1, 0, 0});
  callers_.push_back({Grammar::kAccept, 0});
  rebuild_tables();
  begin();
  const Grammar::Rule& root = grammar.rule(grammar.root());
  if (root.is_string) {
    reached_.push_back({StringState::Boundary, 0, kRootNode});
  } else {
    reach(root.start, kRootNode);
    drain();
    // What the root's own start pops is the empty text.
  }
  start_ = finish();
  if (start_ == kNoRoom) {
    overflowed_ = true;
    start_ = kDead;
  }
}

Bytes Matcher::memory_bytes(const Grammar& grammar, const MatcherLimits& limits) {
  const std::uint64_t parallel = limits.parallel_items;
  return Bytes(sizeof(Matcher) + limits.configurations * sizeof(Held) + limits.items * sizeof(Item) +
               limits.nodes * sizeof(Node) + limits.callers * sizeof(Caller) + limits.rows * std::uint64_t{1024} +
               (table_size(limits.configurations) + table_size(limits.nodes)) * sizeof(std::uint32_t) +
               table_size(parallel) * sizeof(Visit) +
               parallel * (3 * sizeof(Item) + sizeof(Pending) + sizeof(PendingCaller) + sizeof(Caller) + 4) +
               grammar.rules() * sizeof(pending_of_[0]) +
               (limits.configurations + limits.nodes) * sizeof(std::uint32_t));
}

void Matcher::begin() {
  ++stamp_;
  accepting_ = false;
  full_ = false;
  visited_used_ = 0;
  in_order_.clear();
  is_in_order_ = true;
  queue_.clear();
  queue_done_ = 0;
  reached_.clear();
  pending_.clear();
  pending_callers_.clear();
}

// Enters `item` into visited_; false where it was there.
bool Matcher::enter(const Item& item) {
  const std::size_t mask = visited_.size() - 1;
  std::size_t at = mix(mix(item.state, item.node), item.count) & mask;
  while (visited_[at].stamp == stamp_) {
    if (visited_[at].item == item) return false;
    at = (at + 1) & mask;
  }
  visited_[at] = {stamp_, item};
  return true;
}

// Whether `item` is new in this step.
bool Matcher::visit(const Item& item) {
  if (is_in_order_ && !in_order_.empty() && !(in_order_.back() < item)) {
    if (in_order_.back() == item) return false;
    is_in_order_ = false;
    for (const Item& one : in_order_) enter(one);
  }
  if (!is_in_order_ && !enter(item)) return false;
  if (visited_used_ == limits_.parallel_items) {
    overflowed_ = true;
    full_ = true;
    return false;
  }
  if (is_in_order_) in_order_.push_back(item);
  ++visited_used_;
  return true;
}

void Matcher::reach(StateId state, std::uint32_t node) {
  const Item item{state, 0, node};
  if (visit(item)) queue_.push_back(item);  // no more than are visited, for which there is room
}

void Matcher::drain() {
  while (queue_done_ < queue_.size() && !full_) {
    const Item item = queue_[queue_done_++];
    expand(item.state, item.node);
  }
}

void Matcher::expand(StateId state, std::uint32_t node) {
  if (state == Grammar::kAccept) {
    accepting_ = true;
    return;
  }
  if (!grammar_->bytes(state).empty() || !grammar_->tokens(state).empty()) reached_.push_back({state, 0, node});
  for (const StateId to : grammar_->epsilons(state)) reach(to, node);
  for (const Grammar::CallEdge& edge : grammar_->calls(state)) {
    call(edge.rule, edge.to, node);
    if (grammar_->rule(edge.rule).nullable) reach(edge.to, node);
  }
  // A rule that was called in this step has taken nothing yet: that it may be empty its call has seen to.
  if (grammar_->is_final(state) && (node & kPendingBit) == 0) pop(node);
}

void Matcher::pop(std::uint32_t node) {
  const Node& from = nodes_[node];
  for (std::uint32_t i = from.callers; i < from.callers + from.count; ++i) reach(callers_[i].to, callers_[i].node);
}

void Matcher::call(RuleId rule, StateId to, std::uint32_t node) {
  auto& [stamp, place] = pending_of_[rule];
  const bool first = stamp != stamp_;
  if (pending_callers_.size() == limits_.parallel_items) {
    overflowed_ = true;
    full_ = true;
    return;
  }
  if (first) {
    stamp = stamp_;
    place = static_cast<std::uint32_t>(pending_.size());
    pending_.push_back({rule, kEnd, 0});
  }
  pending_callers_.push_back({{to, node}, pending_[place].first});
  pending_[place].first = static_cast<std::uint32_t>(pending_callers_.size() - 1);
  if (!first) return;
  if (grammar_->rule(rule).is_string) {
    const Item item{StringState::Boundary, 0, kPendingBit | place};
    if (visit(item)) reached_.push_back(item);
  } else {
    reach(grammar_->rule(rule).start, kPendingBit | place);
  }
}

void Matcher::step_string(const Item& item, std::uint8_t byte) {
  const std::uint8_t to = kStringTable[item.state][byte];
  if (to == StringState::Refused) return;
  const Grammar::Rule& rule = grammar_->rule(nodes_[item.node].rule);
  if (item.state == StringState::Boundary) {
    if (to == StringState::Closed) {
      if (item.count >= rule.least) pop(item.node);
      return;
    }
    if (item.count == rule.most) return;
  }
  Item next{to, item.count, item.node};
  // Without a longest length only the shortest matters.
  if (to == StringState::Boundary && (rule.most != kUnbounded || item.count < rule.least)) ++next.count;
  if (visit(next)) reached_.push_back(next);
}

Configuration Matcher::slow_next(Configuration from, std::uint8_t byte) {
  if (from == kDead) return kDead;
  begin();
  const Held& held = configurations_[from];
  for (std::uint32_t i = held.items; i < held.items + held.count && !full_; ++i) {
    const Item item = items_[i];
    if (item.state < kStringStates) {
      step_string(item, byte);
      continue;
    }
    for (const Grammar::ByteEdge& edge : grammar_->bytes(item.state)) {
      if (edge.first > byte) break;
      if (edge.last >= byte) reach(edge.to, item.node);
    }
  }
  drain();
  const Configuration to = finish();
  if (to == kNoRoom) return to;
  Held& again = configurations_[from];
  if (again.row == 0 && ++again.misses >= kMissesBeforeRow && rows_.size() < limits_.rows) {
    rows_.emplace_back();
    again.row = static_cast<std::uint32_t>(rows_.size());
    for (unsigned b = 0; b < 256; ++b) {
      if (!may_take(from, static_cast<std::uint8_t>(b))) rows_.back()[b] = 1 + kDead;
    }
  }
  if (again.misses > kMissesBeforeRow) again.misses = kMissesBeforeRow;
  if (again.row != 0) rows_[again.row - 1][byte] = to + 1;
  return to;
}

Configuration Matcher::next_token(Configuration from, Token token) {
  if (from == kDead) return kDead;
  begin();
  const Held& held = configurations_[from];
  for (std::uint32_t i = held.items; i < held.items + held.count && !full_; ++i) {
    const Item item = items_[i];
    if (item.state < kStringStates) continue;
    for (const Grammar::TokenEdge& edge : grammar_->tokens(item.state)) {
      if ((edge.token == token) != edge.negated) reach(edge.to, item.node);
    }
  }
  drain();
  return finish();
}

Configuration Matcher::either(Configuration a, Configuration b) {
  if (a == kDead || a == b) return b;
  if (b == kDead) return a;
  begin();
  if (items(a).size() + items(b).size() > limits_.parallel_items) {
    overflowed_ = true;
    return kNoRoom;
  }
  reached_.insert(reached_.end(), items(a).begin(), items(a).end());
  reached_.insert(reached_.end(), items(b).begin(), items(b).end());
  accepting_ = is_complete(a) || is_complete(b);
  return finish();
}

Configuration Matcher::returned(std::uint32_t node) {
  if (nodes_[node].returned != 0) return nodes_[node].returned;
  begin();
  pop(node);
  drain();
  const Configuration to = finish();
  if (to != kNoRoom) nodes_[node].returned = to;
  return to;
}

Configuration Matcher::without_strings(Configuration c) {
  begin();
  for (const Item& item : items(c)) {
    if (item.state != StringState::Boundary) reached_.push_back(item);
  }
  accepting_ = is_complete(c);
  return finish();
}

// Gives every rule that was called in this step its node. Rules are taken in the order of rank, so that the nodes that
// others return to are known before them.
bool Matcher::resolve_pending() {
  order_.clear();
  for (std::uint32_t i = 0; i < pending_.size(); ++i) order_.push_back(i);
  std::ranges::sort(order_, {}, [&](std::uint32_t i) { return grammar_->rule(pending_[i].rule).rank; });
  for (const std::uint32_t i : order_) {
    Pending& pending = pending_[i];
    gathered_.clear();
    for (std::uint32_t at = pending.first; at != kEnd; at = pending_callers_[at].next) {
      Caller caller = pending_callers_[at].caller;
      if ((caller.node & kPendingBit) != 0) caller.node = pending_[caller.node & ~kPendingBit].node;
      // A call that its rule ends with returns to where that rule returns to: recursion at the end takes no room.
      const bool tail = grammar_->is_tail(caller.to);
      const std::size_t wanted = tail ? nodes_[caller.node].count : 1;
      if (gathered_.size() + wanted > limits_.parallel_items) {
        overflowed_ = true;
        return false;
      }
      if (tail) {
        const auto begin = callers_.begin() + nodes_[caller.node].callers;
        gathered_.insert(gathered_.end(), begin, begin + nodes_[caller.node].count);
      } else {
        gathered_.push_back(caller);
      }
    }
    std::ranges::sort(gathered_);
    gathered_.erase(std::unique(gathered_.begin(), gathered_.end()), gathered_.end());
    pending.node = intern_node(pending.rule, gathered_);
    if (pending.node == 0) return false;
  }
  return true;
}

Configuration Matcher::finish() {
  if (full_ || !resolve_pending()) return kNoRoom;
  for (Item& item : reached_) {
    if ((item.node & kPendingBit) != 0) item.node = pending_[item.node & ~kPendingBit].node;
  }
  if (!std::ranges::is_sorted(reached_)) std::ranges::sort(reached_);
  reached_.erase(std::unique(reached_.begin(), reached_.end()), reached_.end());
  return intern(reached_, accepting_);
}

std::uint32_t Matcher::hash_of(RuleId rule, std::span<const Caller> callers) {
  std::uint32_t hash = mix(rule, 77);
  for (const Caller& caller : callers) hash = mix(mix(hash, caller.to), caller.node);
  return hash;
}

std::uint32_t Matcher::hash_of(std::span<const Item> items, bool accepting) {
  std::uint64_t hash = accepting ? 5 : 9;
  for (const Item& item : items) {
    const std::uint64_t place = (std::uint64_t{item.state} << 32 | item.node) ^ std::uint64_t{item.count} << 20;
    hash = (hash ^ place) * 0x9E3779B97F4A7C15U;
    hash ^= hash >> 32;
  }
  return static_cast<std::uint32_t>(hash >> 32);  // the better half of a product
}

std::uint32_t Matcher::intern_node(RuleId rule, std::span<const Caller> callers) {
  const std::uint32_t hash = hash_of(rule, callers);
  const std::size_t mask = node_slots_.size() - 1;
  std::size_t at = hash & mask;
  for (; node_slots_[at] != 0; at = (at + 1) & mask) {
    const Node& node = nodes_[node_slots_[at]];
    if (node.hash == hash && node.rule == rule &&
        std::ranges::equal(std::span(callers_).subspan(node.callers, node.count), callers)) {
      return node_slots_[at];
    }
  }
  if (nodes_.size() == limits_.nodes || callers_.size() + callers.size() > limits_.callers) return 0;
  nodes_.push_back(
      {rule, static_cast<std::uint32_t>(callers_.size()), static_cast<std::uint32_t>(callers.size()), hash, 0});
  callers_.insert(callers_.end(), callers.begin(), callers.end());
  node_slots_[at] = static_cast<std::uint32_t>(nodes_.size() - 1);
  return node_slots_[at];
}

Configuration Matcher::intern(std::span<const Item> items, bool accepting) {
  if (items.empty() && !accepting) return kDead;
  const std::uint32_t hash = hash_of(items, accepting);
  const std::size_t mask = configuration_slots_.size() - 1;
  std::size_t at = hash & mask;
  for (; configuration_slots_[at] != 0; at = (at + 1) & mask) {
    const Held& held = configurations_[configuration_slots_[at]];
    if (held.hash == hash && (held.accepting != 0) == accepting &&
        std::ranges::equal(std::span(items_).subspan(held.items, held.count), items)) {
      return configuration_slots_[at];
    }
  }
  if (configurations_.size() == limits_.configurations || items_.size() + items.size() > limits_.items) return kNoRoom;
  Held held;
  held.items = static_cast<std::uint32_t>(items_.size());
  held.count = static_cast<std::uint32_t>(items.size());
  held.hash = hash;
  held.accepting = accepting ? 1 : 0;
  items_.insert(items_.end(), items.begin(), items.end());
  describe(held);
  configurations_.push_back(held);
  configuration_slots_[at] = static_cast<std::uint32_t>(configurations_.size() - 1);
  return configuration_slots_[at];
}

// Finds which bytes may follow.
void Matcher::describe(Held& held) {
  if (held.count == 1 && held.accepting == 0) {
    const Item& item = items_[held.items];
    if (item.state == StringState::Boundary) {
      const Grammar::Rule& rule = grammar_->rule(nodes_[item.node].rule);
      held.in_any_string = rule.most == kUnbounded && item.count >= rule.least ? 1 : 0;
    }
  }
  const auto add = [&](unsigned first, unsigned last) {
    for (unsigned word = first >> 6; word <= last >> 6; ++word) {
      const unsigned low = word == first >> 6 ? first & 63 : 0;
      const unsigned high = word == last >> 6 ? last & 63 : 63;
      held.first[word] |= (~std::uint64_t{0} << low) & (~std::uint64_t{0} >> (63 - high));
    }
  };
  for (std::uint32_t i = held.items; i < held.items + held.count; ++i) {
    const Item& item = items_[i];
    if (item.state >= kStringStates) {
      for (const Grammar::ByteEdge& edge : grammar_->bytes(item.state)) add(edge.first, edge.last);
      if (!grammar_->tokens(item.state).empty()) held.tokens = 1;
      continue;
    }
    const Grammar::Rule& rule = grammar_->rule(nodes_[item.node].rule);
    for (unsigned byte = 0; byte < 256; ++byte) {
      const std::uint8_t to = kStringTable[item.state][byte];
      if (to == StringState::Refused) continue;
      if (item.state == StringState::Boundary &&
          (to == StringState::Closed ? item.count < rule.least : item.count == rule.most))
        continue;
      add(byte, byte);
    }
  }
}

}  // namespace loadline::grammar
