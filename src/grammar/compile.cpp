// From rules to a Grammar: the automata of all rules in one list of states, what can never end taken out, and the order
// in which rules call each other before they take a byte.
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "grammar/grammar.h"
#include "grammar/nfa.h"
#include "grammar/string_states.h"

namespace loadline::grammar {

static_assert(kStringStates <= Grammar::kAccept);

class Compiler {
 public:
  Compiler(const Expressions& expressions, RuleId root) : builder_(expressions, root), root_(root) {}

  Grammar run() {
    states_.resize(Grammar::kFirstState);
    for (std::size_t i = 0; i < builder_.needed().size(); ++i) add_rule(builder_.needed()[i]);
    rules_.resize(builder_.rules());
    keep_productive();
    find_nullable();
    rank();
    return finish();
  }

 private:
  void add_rule(RuleId id) {
    rules_.resize(builder_.rules());
    Grammar::Rule rule;
    if (builder_.is_string(id)) {
      rule.is_string = true;
      std::tie(rule.least, rule.most) = builder_.string_lengths(id);
      rules_[id] = rule;
      return;
    }
    const auto base = static_cast<StateId>(states_.size());
    RuleAutomaton automaton = determinise(builder_.build(id));
    if (base + automaton.states.size() > Grammar::kMostStates) {
      throw bad_input(fmt::format("the grammar needs more than {} states", Grammar::kMostStates));
    }
    for (RuleAutomaton::State& state : automaton.states) {
      for (auto& edge : state.bytes) edge.to += base;
      for (auto& edge : state.calls) edge.to += base;
      for (auto& edge : state.tokens) edge.to += base;
      for (auto& to : state.epsilons) to += base;
      states_.push_back(std::move(state));
    }
    rule.start = base;
    rules_.resize(builder_.rules());
    rules_[id] = rule;
  }

  // Takes out every edge to a state from which no text leads to the end of its rule.
  void keep_productive() {
    std::vector<std::uint8_t> useful(states_.size(), 0);
    std::vector<std::uint8_t> rule_useful(rules_.size(), 0);
    std::vector<std::vector<StateId>> before(states_.size());
    std::vector<std::vector<StateId>> callers(rules_.size());
    std::vector<std::vector<RuleId>> starts(states_.size());
    std::vector<StateId> work;
    const auto mark = [&](StateId state) {
      if (useful[state] != 0) return;
      useful[state] = 1;
      work.push_back(state);
    };
    const auto recheck = [&](StateId s) {
      if (useful[s] != 0) return;
      const RuleAutomaton::State& state = states_[s];
      const auto leads = [&](const auto& edge) { return useful[edge.to] != 0; };
      if (std::ranges::any_of(state.bytes, leads) || std::ranges::any_of(state.tokens, leads) ||
          std::ranges::any_of(state.epsilons, [&](StateId to) { return useful[to] != 0; }) ||
          std::ranges::any_of(state.calls, [&](const auto& e) { return useful[e.to] && rule_useful[e.rule]; })) {
        mark(s);
      }
    };
    for (StateId s = Grammar::kFirstState; s < states_.size(); ++s) {
      for (const auto& edge : states_[s].bytes) before[edge.to].push_back(s);
      for (const auto& edge : states_[s].tokens) before[edge.to].push_back(s);
      for (const StateId to : states_[s].epsilons) before[to].push_back(s);
      for (const auto& edge : states_[s].calls) {
        before[edge.to].push_back(s);
        callers[edge.rule].push_back(s);
      }
    }
    for (const RuleId rule : builder_.needed()) {
      if (rules_[rule].is_string) {
        rule_useful[rule] = rules_[rule].least <= rules_[rule].most ? 1 : 0;
      } else {
        starts[rules_[rule].start].push_back(rule);
      }
    }
    for (StateId s = Grammar::kFirstState; s < states_.size(); ++s) {
      if (states_[s].final) mark(s);
    }
    while (!work.empty()) {
      const StateId state = work.back();
      work.pop_back();
      for (const StateId from : before[state]) recheck(from);
      for (const RuleId rule : starts[state]) {
        rule_useful[rule] = 1;
        for (const StateId from : callers[rule]) recheck(from);
      }
    }
    if (rule_useful[root_] == 0) {
      throw bad_input("no finite text matches the grammar", "Every way through it must come to an end.");
    }
    for (RuleAutomaton::State& state : states_) {
      std::erase_if(state.bytes, [&](const auto& edge) { return useful[edge.to] == 0; });
      std::erase_if(state.tokens, [&](const auto& edge) { return useful[edge.to] == 0; });
      std::erase_if(state.epsilons, [&](StateId to) { return useful[to] == 0; });
      std::erase_if(state.calls, [&](const auto& edge) { return useful[edge.to] == 0 || !rule_useful[edge.rule]; });
    }
  }

  // Calls `visit` with every state that a rule can be in before it has taken a byte.
  template <class Visit>
  void for_each_at_start(RuleId rule, const Visit& visit) {
    ++generation_;
    seen_.resize(states_.size(), 0);
    std::vector<StateId> stack{rules_[rule].start};
    seen_[stack[0]] = generation_;
    while (!stack.empty()) {
      const StateId s = stack.back();
      stack.pop_back();
      visit(states_[s]);
      const auto push = [&](StateId to) {
        if (seen_[to] == generation_) return;
        seen_[to] = generation_;
        stack.push_back(to);
      };
      for (const StateId to : states_[s].epsilons) push(to);
      for (const auto& edge : states_[s].calls) {
        if (rules_[edge.rule].nullable) push(edge.to);
      }
    }
  }

  void find_nullable() {
    std::vector<std::vector<RuleId>> waiting(rules_.size());  // [rule] those that may become nullable when it does
    std::vector<RuleId> work(builder_.needed().rbegin(), builder_.needed().rend());
    while (!work.empty()) {
      const RuleId rule = work.back();
      work.pop_back();
      if (rules_[rule].nullable || rules_[rule].is_string) continue;
      bool nullable = false;
      for_each_at_start(rule, [&](const RuleAutomaton::State& state) {
        nullable = nullable || state.final;
        for (const auto& edge : state.calls) {
          if (!rules_[edge.rule].nullable) waiting[edge.rule].push_back(rule);
        }
      });
      if (!nullable) continue;
      rules_[rule].nullable = true;
      work.insert(work.end(), waiting[rule].begin(), waiting[rule].end());
      waiting[rule].clear();
    }
  }

  // Orders rules by what they call first, and refuses those that so come back to themselves.
  void rank() {
    std::vector<std::vector<RuleId>> first_calls(rules_.size());
    for (const RuleId rule : builder_.needed()) {
      if (rules_[rule].is_string) continue;
      auto& calls = first_calls[rule];
      for_each_at_start(rule, [&](const RuleAutomaton::State& state) {
        for (const auto& edge : state.calls) calls.push_back(edge.rule);
      });
      std::ranges::sort(calls);
      calls.erase(std::unique(calls.begin(), calls.end()), calls.end());
    }
    enum class Mark : std::uint8_t { New, Open, Done };
    std::vector<Mark> mark(rules_.size(), Mark::New);
    std::vector<std::pair<RuleId, std::size_t>> path;
    auto next_rank = static_cast<std::uint32_t>(rules_.size());
    for (const RuleId first : builder_.needed()) {
      if (mark[first] != Mark::New) continue;
      mark[first] = Mark::Open;
      path.emplace_back(first, 0);
      while (!path.empty()) {
        auto& [rule, next] = path.back();
        if (next == first_calls[rule].size()) {
          mark[rule] = Mark::Done;
          rules_[rule].rank = next_rank--;
          path.pop_back();
          continue;
        }
        const RuleId called = first_calls[rule][next++];
        if (mark[called] == Mark::Open) {
          throw bad_input(fmt::format("rule \"{}\" begins with itself: left recursion cannot be matched",
                                      printable(builder_.name(called))),
                          "Write a repetition instead: list ::= item (\",\" item)*.");
        }
        if (mark[called] == Mark::Done) continue;
        mark[called] = Mark::Open;
        path.emplace_back(called, 0);
      }
    }
  }

  Grammar finish() {
    Grammar grammar;
    grammar.root_ = root_;
    grammar.rules_ = std::move(rules_);
    for (const RuleAutomaton::State& state : states_) {
      grammar.byte_begins_.push_back(static_cast<std::uint32_t>(grammar.bytes_.size()));
      grammar.call_begins_.push_back(static_cast<std::uint32_t>(grammar.calls_.size()));
      grammar.token_begins_.push_back(static_cast<std::uint32_t>(grammar.tokens_.size()));
      grammar.epsilon_begins_.push_back(static_cast<std::uint32_t>(grammar.epsilons_.size()));
      grammar.bytes_.insert(grammar.bytes_.end(), state.bytes.begin(), state.bytes.end());
      grammar.calls_.insert(grammar.calls_.end(), state.calls.begin(), state.calls.end());
      grammar.tokens_.insert(grammar.tokens_.end(), state.tokens.begin(), state.tokens.end());
      grammar.epsilons_.insert(grammar.epsilons_.end(), state.epsilons.begin(), state.epsilons.end());
      const bool alone = state.bytes.empty() && state.calls.empty() && state.tokens.empty() && state.epsilons.empty();
      grammar.finals_.push_back(
          static_cast<std::uint8_t>((state.final ? Grammar::kFinal : 0) | (state.final && alone ? Grammar::kTail : 0)));
    }
    grammar.byte_begins_.push_back(static_cast<std::uint32_t>(grammar.bytes_.size()));
    grammar.call_begins_.push_back(static_cast<std::uint32_t>(grammar.calls_.size()));
    grammar.token_begins_.push_back(static_cast<std::uint32_t>(grammar.tokens_.size()));
    grammar.epsilon_begins_.push_back(static_cast<std::uint32_t>(grammar.epsilons_.size()));
    return grammar;
  }

  NfaBuilder builder_;
  RuleId root_;
  std::vector<RuleAutomaton::State> states_;
  std::vector<Grammar::Rule> rules_;
  std::vector<std::uint32_t> seen_;
  std::uint32_t generation_ = 0;
};

Grammar Grammar::compile(const Expressions& expressions, RuleId root) { return Compiler(expressions, root).run(); }

Bytes Grammar::resident_bytes() const {
  return Bytes(sizeof(*this) + rules_.capacity() * sizeof(Rule) + finals_.capacity() +
               4 * (states() + 1) * sizeof(std::uint32_t) + bytes_.capacity() * sizeof(ByteEdge) +
               calls_.capacity() * sizeof(CallEdge) + tokens_.capacity() * sizeof(TokenEdge) +
               epsilons_.capacity() * sizeof(StateId));
}

}  // namespace loadline::grammar
