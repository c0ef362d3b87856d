#include "grammar/nfa.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace loadline::grammar {
namespace {

// A rule of at most this many states is written into the rules that call it: fewer calls, more that is deterministic.
constexpr std::uint32_t kSmall = 40;
// One that only one place calls may be larger.
constexpr std::uint32_t kSmallOnce = 2000;
// What is repeated this often, and has so many states, becomes a rule of its own.
constexpr std::uint32_t kManyTimes = 16;
constexpr std::uint32_t kLargeItem = 12;
// Code points of a set over which a loop is "wide": nearly any token fits it. Such a rule stays one place, so that what
// is known about the tokens there is found once.
constexpr std::uint32_t kWideSet = 1000;
constexpr std::uint32_t kMostSize = 1U << 30;

std::uint32_t saturated(std::uint64_t value) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(value, kMostSize));
}

}  // namespace

NfaBuilder::NfaBuilder(const Expressions& expressions, RuleId root)
    : source_(&expressions), first_own_(static_cast<RuleId>(expressions.rules())) {
  for (RuleId rule = 0; rule < first_own_; ++rule) bodies_.push_back(expressions.body(rule));
  needed_already_.resize(bodies_.size());
  choose_inlined();
  need(root);
}

std::string NfaBuilder::name(RuleId rule) const {
  return rule < first_own_ ? source_->name(rule) : std::string("a repeated part");
}

// States that an expression would take. Rules that are not known yet count as one.
std::uint32_t NfaBuilder::size_of(NodeId id, bool& wide_loop, std::uint32_t depth) const {
  const Node& node = source_->node(id);
  std::uint64_t total = 0;
  switch (node.kind) {
    case Node::Kind::Literal: return saturated(source_->text(node).size());
    case Node::Kind::Characters: {
      const CodePointSet& set = source_->set(node);
      if (depth != 0 && set.count() >= kWideSet) wide_loop = true;
      for (const CodePointRange& range : set.ranges()) total += range.last < 0x80 ? 0 : 3;
      return saturated(total + 1);
    }
    case Node::Kind::Call: {
      const std::uint32_t size = sizes_[node.index];
      return size == kUnknown ? 1 : size + 1;  // at least one more a level, which bounds how deep it goes
    }
    case Node::Kind::OneToken:
    case Node::Kind::AnyButToken:
    case Node::Kind::JsonString: return 1;
    case Node::Kind::PlainText:
    case Node::Kind::JsonText: return saturated(source_->dfa(node).states.size() * 4 + 1);
    case Node::Kind::CommaList:
    case Node::Kind::PlainList:
    case Node::Kind::Sequence:
    case Node::Kind::Choice:
      for (const NodeId child : source_->children(node)) total += size_of(child, wide_loop, depth);
      return saturated(total + 1);
    case Node::Kind::Repeat: {
      const std::uint32_t times = node.most == kUnbounded ? node.least + 1 : node.most;
      const bool loop = node.most == kUnbounded || node.most > kManyTimes;
      const std::uint64_t item = size_of(source_->children(node)[0], wide_loop, depth + (loop ? 1 : 0));
      return saturated(item * times + 1);
    }
  }
  return 1;
}

// In the order of calls, the called first: what calls itself, or something that does, never has its turn.
void NfaBuilder::choose_inlined() {
  const std::size_t count = first_own_;
  sizes_.assign(count, kUnknown);
  std::vector<std::vector<RuleId>> callers(count);
  std::vector<std::uint32_t> waits(count, 0);
  std::vector<std::uint32_t> uses(count, 0);
  std::vector<NodeId> stack;
  for (RuleId rule = 0; rule < count; ++rule) {
    stack.assign(1, bodies_[rule]);
    while (!stack.empty()) {
      const Node& node = source_->node(stack.back());
      stack.pop_back();
      if (node.kind == Node::Kind::Call) {
        callers[node.index].push_back(rule);
        ++waits[rule];
        ++uses[node.index];
      }
      if (node.kind == Node::Kind::Repeat && (node.most == kUnbounded ? node.least : node.most) > 1) {
        const Node& item = source_->node(source_->children(node)[0]);
        if (item.kind == Node::Kind::Call) ++uses[item.index];
      }
      for (const NodeId child : source_->children(node)) stack.push_back(child);
    }
  }
  std::vector<RuleId> ready;
  for (RuleId rule = 0; rule < count; ++rule) {
    if (waits[rule] == 0) ready.push_back(rule);
  }
  for (std::size_t i = 0; i < ready.size(); ++i) {
    const RuleId rule = ready[i];
    bool wide_loop = false;
    const std::uint32_t size = size_of(bodies_[rule], wide_loop, 0);
    const std::uint32_t most = wide_loop ? 0 : uses[rule] == 1 ? kSmallOnce : kSmall;
    sizes_[rule] = size <= most ? size : kUnknown;
    for (const RuleId caller : callers[rule]) {
      if (--waits[caller] == 0) ready.push_back(caller);
    }
  }
}

void NfaBuilder::need(RuleId rule) {
  if (needed_already_[rule] != 0) return;
  needed_already_[rule] = 1;
  needed_.push_back(rule);
}

std::uint32_t NfaBuilder::new_state() {
  if (++total_states_ > Grammar::kMostStates) {
    throw bad_input(fmt::format("the grammar needs more than {} states", Grammar::kMostStates),
                    "Repeat fewer times, or allow any number.");
  }
  return nfa_.states++;
}

void NfaBuilder::edge(std::uint32_t from, NfaEdge edge) {
  edge.from = from;
  nfa_.edges.push_back(edge);
}

void NfaBuilder::byte_to(std::uint32_t from, unsigned first, unsigned last, std::uint32_t to) {
  edge(from, {.kind = NfaEdge::Kind::Bytes,
              .first = static_cast<std::uint8_t>(first),
              .last = static_cast<std::uint8_t>(last),
              .to = to});
}

std::uint32_t NfaBuilder::byte(std::uint32_t from, unsigned first, unsigned last) {
  const std::uint32_t to = new_state();
  byte_to(from, first, last, to);
  return to;
}

Nfa NfaBuilder::build(RuleId rule) {
  nfa_ = Nfa();
  total_states_ += 1;
  nfa_.accepting = emit(bodies_[rule], 0);
  return std::move(nfa_);
}

// Adds what `id` matches from `from` on, and returns the state behind it. Never adds an edge that leads back to `from`.
std::uint32_t NfaBuilder::emit(NodeId id, std::uint32_t from) {
  const Node& node = source_->node(id);
  switch (node.kind) {
    case Node::Kind::Literal:
      for (const char c : source_->text(node)) {
        from = byte(from, static_cast<unsigned char>(c), static_cast<unsigned char>(c));
      }
      return from;
    case Node::Kind::Characters: {
      const std::uint32_t to = new_state();
      emit_set(source_->set(node), from, to);
      return to;
    }
    case Node::Kind::Sequence:
      for (const NodeId child : source_->children(node)) from = emit(child, from);
      return from;
    case Node::Kind::Choice: {
      const std::uint32_t to = new_state();
      for (const NodeId child : source_->children(node)) epsilon(emit(child, from), to);
      return to;
    }
    case Node::Kind::Repeat: return emit_repeat(node, from);
    case Node::Kind::CommaList:
    case Node::Kind::PlainList: return emit_list(node, from);
    case Node::Kind::Call: return emit_call(node.index, from);
    case Node::Kind::OneToken:
    case Node::Kind::AnyButToken: {
      const std::uint32_t to = new_state();
      const bool negated = node.kind == Node::Kind::AnyButToken;
      edge(from,
           {.kind = negated ? NfaEdge::Kind::AnyButToken : NfaEdge::Kind::OneToken, .index = node.index, .to = to});
      return to;
    }
    case Node::Kind::JsonString: return emit_call(string_rule(node.least, node.most), from);
    case Node::Kind::JsonText: return emit_text(source_->dfa(node), true, from);
    case Node::Kind::PlainText: return emit_text(source_->dfa(node), false, from);
  }
  return from;
}

std::uint32_t NfaBuilder::emit_call(RuleId rule, std::uint32_t from) {
  const bool room = total_states_ < Grammar::kMostStates / 4;
  if (rule < first_own_ && room && sizes_[rule] != kUnknown) return emit(bodies_[rule], from);
  need(rule);
  const std::uint32_t to = new_state();
  edge(from, {.kind = NfaEdge::Kind::Call, .index = rule, .to = to});
  return to;
}

std::uint32_t NfaBuilder::emit_repeat(const Node& node, std::uint32_t from) {
  const NodeId item = source_->children(node)[0];
  const std::uint32_t times = node.most == kUnbounded ? node.least : node.most;
  bool ignored = false;
  const bool outlined = times >= kManyTimes && size_of(item, ignored, 0) >= kLargeItem;
  const auto emit_item = [&](std::uint32_t at) {
    if (!outlined) return emit(item, at);
    const auto [place, added] = outlined_.try_emplace(item, static_cast<RuleId>(bodies_.size()));
    if (added) {
      bodies_.push_back(item);
      needed_already_.push_back(0);
    }
    return emit_call(place->second, at);
  };
  for (std::uint32_t i = 0; i < node.least; ++i) from = emit_item(from);
  if (node.most == kUnbounded) {
    const std::uint32_t loop = new_state();
    epsilon(from, loop);
    epsilon(emit_item(loop), loop);
    const std::uint32_t to = new_state();
    epsilon(loop, to);
    return to;
  }
  if (node.most == node.least) return from;
  const std::uint32_t to = new_state();
  for (std::uint32_t i = node.least; i < node.most; ++i) {
    epsilon(from, to);
    from = emit_item(from);
  }
  epsilon(from, to);
  return to;
}

// Where the number of items does not count. `due` leads to an item, this one or a later one, without a comma; behind an
// item a comma leads there: so many places are followed together behind commas only.
std::uint32_t NfaBuilder::emit_any_list(const Node& node, std::uint32_t from) {
  constexpr std::uint32_t kNone = 0xFFFFFFFF;
  const std::span<const NodeId> items = source_->children(node);
  const std::string& flags = source_->text(node);
  const std::size_t last_required = flags.rfind('r');
  const auto may_end = [&](std::size_t i) { return last_required == std::string::npos || i > last_required; };
  const std::uint32_t to = new_state();
  if (node.least == 0 && may_end(0)) epsilon(from, to);
  std::uint32_t due = new_state();
  if (!items.empty()) epsilon(from, due);
  std::uint32_t behind = kNone;  // something is written, and this item or a later one may follow
  for (std::size_t i = 0; i < items.size(); ++i) {
    const bool loop = flags[i] == '*';
    if (loop && behind == kNone) behind = new_state();
    if (behind != kNone && node.kind == Node::Kind::PlainList) {
      epsilon(behind, due);
    } else if (behind != kNone) {  // a comma, and a blank or none
      const std::uint32_t comma = byte(behind, ',', ',');
      byte_to(comma, ' ', ' ', due);
      epsilon(comma, due);
    }
    if (behind != kNone && may_end(i)) epsilon(behind, to);
    const std::uint32_t next = loop ? behind : new_state();
    const std::uint32_t begin = new_state();
    epsilon(due, begin);
    epsilon(emit(items[i], begin), next);
    behind = loop ? kNone : next;
    if (i + 1 == items.size()) break;
    const std::uint32_t later = new_state();
    if (flags[i] != 'r') epsilon(due, later);
    due = later;
  }
  if (behind != kNone) epsilon(behind, to);
  return to;
}

// Two rows of states: with nothing before, where no comma is due, and with something. Where the number counts, a row
// for each number.
std::uint32_t NfaBuilder::emit_list(const Node& node, std::uint32_t from) {
  const std::span<const NodeId> items = source_->children(node);
  const std::string& flags = source_->text(node);
  if (node.least <= 1 && node.most == kUnbounded) return emit_any_list(node, from);
  const std::uint32_t rows = node.most == kUnbounded ? node.least : node.most;
  if (std::uint64_t{rows} * (items.size() + 1) > Grammar::kMostStates) {
    throw bad_input("an object has too many properties for its number of them to be limited");
  }
  if (node.most == 0) {
    const std::uint32_t to = new_state();
    if (node.least == 0 && !flags.contains('r')) epsilon(from, to);
    return to;
  }
  std::vector<std::uint32_t> some(rows);  // behind so many + 1 items
  for (std::uint32_t& state : some) state = new_state();
  std::uint32_t none = from;
  bool none_possible = true;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const bool optional = flags[i] != 'r';
    const bool loop = flags[i] == '*';
    const std::vector<std::uint32_t> before = some;
    if (!loop) {
      for (std::uint32_t& state : some) state = new_state();
    }
    // Written once for each number of items before it.
    for (std::uint32_t row = 0; row <= rows; ++row) {
      // row - 1 items before, 0: none. Without a limit the last row stands for all that are more.
      const bool last = row == rows;
      if (row == 0 ? !none_possible : last && node.most != kUnbounded) continue;
      const std::uint32_t begin = new_state();
      if (row == 0) epsilon(none, begin);
      if (row > 0 && node.kind == Node::Kind::PlainList) {
        epsilon(before[row - 1], begin);
      } else if (row > 0) {  // a comma, and a blank or none
        const std::uint32_t behind = new_state();
        byte_to(before[row - 1], ',', ',', behind);
        byte_to(behind, ' ', ' ', begin);
        epsilon(behind, begin);
      }
      epsilon(emit(items[i], begin), some[std::min(row, rows - 1)]);
    }
    if (!loop && optional) {
      for (std::uint32_t row = 0; row < rows; ++row) epsilon(before[row], some[row]);
    }
    if (!optional) {
      none_possible = false;
    } else if (none_possible && !loop) {
      const std::uint32_t next = new_state();
      epsilon(none, next);
      none = next;
    }
  }
  const std::uint32_t to = new_state();
  if (none_possible && node.least == 0) epsilon(none, to);
  for (std::uint32_t row = 0; row < rows; ++row) {
    if (row + 1 >= node.least) epsilon(some[row], to);
  }
  return to;
}

void NfaBuilder::emit_set(const CodePointSet& set, std::uint32_t from, std::uint32_t to) {
  for (const CodePointRange& range : set.ranges()) {
    for (const Utf8Sequence& sequence : utf8_sequences(range)) {
      std::uint32_t at = from;
      for (std::size_t i = 0; i < sequence.length; ++i) {
        const ByteRange& on = sequence.bytes[i];
        if (i + 1 == sequence.length) {
          byte_to(at, on.first, on.last, to);
        } else {
          at = byte(at, on.first, on.last);
        }
      }
    }
  }
}

RuleId NfaBuilder::string_rule(std::uint32_t least, std::uint32_t most) {
  const auto [place, added] = strings_.try_emplace({least, most}, static_cast<RuleId>(bodies_.size()));
  if (added) {
    bodies_.push_back(kString);
    needed_already_.push_back(0);
    lengths_[place->second] = {least, most};
  }
  return place->second;
}

}  // namespace loadline::grammar
