// Numbers within bounds, as automata over their texts. A text is compared with a bound from left to right: how many
// digits its whole part has, then digit by digit. The same serves mantissa and exponent of the scientific form.
#include <algorithm>
#include <array>
#include <charconv>
#include <map>

#include "base/error.h"
#include "grammar/schema_compiler.h"

namespace loadline::grammar {
namespace {

constexpr std::uint32_t kNowhere = 0xFFFFFFFF;

// An automaton that is written transition by transition, over the characters of numbers.
class DigitWriter {
 public:
  std::uint32_t add(bool accepting) {
    dfa_.states.push_back({{}, accepting});
    return static_cast<std::uint32_t>(dfa_.states.size() - 1);
  }
  void edge(std::uint32_t from, char32_t first, char32_t last, std::uint32_t to) {
    if (first > last || to == kNowhere) return;
    auto& edges = dfa_.states[from].edges;
    edges.insert(std::ranges::upper_bound(edges, first, {}, [](const auto& e) { return e.on.first; }),
                 {{first, last}, to});
  }
  // Lower, the same, and higher than `digit`.
  void digits(std::uint32_t from, char digit, std::uint32_t less, std::uint32_t same, std::uint32_t more,
              char lowest = '0') {
    edge(from, static_cast<char32_t>(lowest), static_cast<char32_t>(digit - 1), less);
    if (digit >= lowest) edge(from, static_cast<char32_t>(digit), static_cast<char32_t>(digit), same);
    edge(from, static_cast<char32_t>(std::max<char>(static_cast<char>(digit + 1), lowest)), '9', more);
  }
  CharDfa take() { return pruned(dfa_); }

 private:
  CharDfa dfa_;
};

// Which results of a comparison are wanted.
struct Wanted {
  bool less = false;
  bool equal = false;
  bool more = false;
  [[nodiscard]] bool of(int order) const { return order < 0 ? less : order == 0 ? equal : more; }
};

// Numbers without exponent that compare with `bound`, which is not negative, as wanted.
CharDfa plain(const Decimal& bound, Wanted wanted, bool integers) {
  DigitWriter out;
  const auto digits = static_cast<std::uint32_t>(bound.whole.size());
  const std::string& fraction = bound.fraction;
  // Behind so many digits of a whole part, and how they compare with as many of the bound's.
  const auto at_end = [&](std::uint32_t count, int order) {
    if (count != digits) return count < digits ? -1 : 1;
    return order != 0 ? order : fraction.empty() ? 0 : -1;
  };
  // Fractions: decided, or equal so far.
  std::map<int, std::uint32_t> decided;
  std::map<int, std::uint32_t> decided_dot;
  std::vector<std::uint32_t> equal;
  const std::uint32_t start = out.add(false);
  const auto decided_state = [&](int order) {
    const auto [at, added] = decided.try_emplace(order, 0);
    if (added) {
      at->second = out.add(wanted.of(order));
      out.edge(at->second, '0', '9', at->second);
    }
    return at->second;
  };
  // Behind a dot there must be a digit.
  const auto dot_state = [&](int order) {
    const auto [at, added] = decided_dot.try_emplace(order, 0);
    if (added) {
      at->second = out.add(false);
      out.edge(at->second, '0', '9', decided_state(order));
    }
    return at->second;
  };
  std::uint32_t equal_dot = kNowhere;
  if (!integers) {
    for (std::size_t i = 0; i <= fraction.size(); ++i) {
      equal.push_back(out.add(i == fraction.size() ? wanted.equal : wanted.less));
    }
    equal_dot = out.add(false);
    const auto on_digit = [&](std::uint32_t from, std::size_t i) {
      if (i < fraction.size()) {
        out.digits(from, fraction[i], decided_state(-1), equal[i + 1], decided_state(1));
      } else {
        out.digits(from, '0', kNowhere, equal[fraction.size()], decided_state(1));
      }
    };
    on_digit(equal_dot, 0);
    for (std::size_t i = 1; i <= fraction.size(); ++i) on_digit(equal[i], i);
    if (fraction.empty()) on_digit(equal[0], 0);
  }
  const auto add_dot = [&](std::uint32_t state, std::uint32_t count, int order) {
    if (integers) return;
    const int whole = count != digits ? (count < digits ? -1 : 1) : order;
    out.edge(state, '.', '.', whole == 0 ? equal_dot : dot_state(whole));
  };
  // A zero stands for no digits.
  const std::uint32_t zero = out.add(wanted.of(at_end(0, 0)));
  add_dot(zero, 0, 0);
  out.edge(start, '0', '0', zero);
  const std::uint32_t longer = out.add(wanted.more);
  out.edge(longer, '0', '9', longer);
  add_dot(longer, digits + 1, 1);
  if (digits == 0) {
    out.edge(start, '1', '9', longer);
    return out.take();
  }
  std::vector<std::array<std::uint32_t, 3>> places(digits + 1);
  for (std::uint32_t count = 1; count <= digits; ++count) {
    for (int order = -1; order <= 1; ++order) {
      const std::uint32_t state = out.add(wanted.of(at_end(count, order)));
      places[count][static_cast<std::size_t>(order + 1)] = state;
      add_dot(state, count, order);
    }
  }
  out.digits(start, bound.whole[0], places[1][0], places[1][1], places[1][2], '1');
  for (std::uint32_t count = 1; count <= digits; ++count) {
    for (std::size_t order = 0; order < 3; ++order) {
      const std::uint32_t from = places[count][order];
      if (count == digits) {
        out.edge(from, '0', '9', longer);
      } else if (order == 1) {
        out.digits(from, bound.whole[count], places[count + 1][0], places[count + 1][1], places[count + 1][2]);
      } else {
        out.edge(from, '0', '9', places[count + 1][order]);
      }
    }
  }
  return out.take();
}

// Texts without sign and exponent whose values lie in `range`, which is not negative, and are multiples of `step`.
CharDfa magnitudes(const Range& range, bool integers, const std::optional<Decimal>& step) {
  CharDfa dfa = plain(Decimal(), {true, true, true}, integers);
  if (range.low) {
    dfa = CharDfa::intersection(dfa, plain(range.low->value, {false, !range.low->exclusive, true}, integers));
  }
  if (range.high) {
    dfa = CharDfa::intersection(dfa, plain(range.high->value, {true, !range.high->exclusive, false}, integers));
  }
  // Of numbers that doubles hold exactly: a validator sees no others.
  constexpr std::uint32_t kExactDigits = 15;
  if (step) {
    dfa = CharDfa::intersection(dfa, multiples_of(*step, integers));
    dfa = CharDfa::intersection(dfa, CharDfa::of_length(1, kExactDigits));
  }
  return dfa;
}

// A number above 0 as one digit that is not 0, a fraction, and a power of ten.
struct Scientific {
  Decimal mantissa;
  int exponent = 0;
};
Scientific scientific_of(const Decimal& value) {
  std::string digits = value.whole + value.fraction;
  const std::size_t zeros = digits.find_first_not_of('0');
  Scientific result;
  result.exponent = static_cast<int>(value.whole.size()) - 1 - static_cast<int>(zeros);
  result.mantissa.whole = digits.substr(zeros, 1);
  result.mantissa.fraction = digits.substr(zeros + 1);
  while (result.mantissa.fraction.ends_with('0')) result.mantissa.fraction.pop_back();
  return result;
}

Decimal whole_number(int value) {
  Decimal result;
  if (value != 0) result.whole = std::to_string(std::abs(value));
  return result;
}

// Exponents from `low` to `high`, with any zeros before them.
NodeId exponents(Expressions& out, std::optional<int> low, std::optional<int> high) {
  const NodeId zeros = out.repeat(out.literal("0"), 0, kUnbounded);
  std::vector<NodeId> choices;
  if (!high || *high >= 0) {
    Range range;
    if (low && *low > 0) range.low = Bound{whole_number(*low)};
    if (high) range.high = Bound{whole_number(*high)};
    choices.push_back(
        out.sequence({out.optional(out.literal("+")), zeros, out.plain_text(magnitudes(range, true, std::nullopt))}));
  }
  if (!low || *low <= 0) {
    Range range;
    if (high && *high < 0) range.low = Bound{whole_number(*high)};
    if (low) range.high = Bound{whole_number(*low)};
    choices.push_back(out.sequence({out.literal("-"), zeros, out.plain_text(magnitudes(range, true, std::nullopt))}));
  }
  return out.choice(choices);
}

// Numbers in `range` (not negative) written as 2.5e-07 is: one digit that is not 0 before the dot.
NodeId scientific_in(Expressions& out, const Range& range) {
  static const CharDfa kMantissa = Regex("[1-9](\\.[0-9]+)?").whole();
  const NodeId e = out.characters({{'E', 'E'}, {'e', 'e'}});
  std::optional<Scientific> low;
  std::optional<Scientific> high;
  if (range.low && !range.low->value.is_zero()) low = scientific_of(range.low->value);
  if (range.high) {
    if (range.high->value.is_zero()) return out.choice({});
    high = scientific_of(range.high->value);
  }
  std::vector<NodeId> choices;
  const auto add = [&](const Range& mantissas, std::optional<int> from, std::optional<int> to) {
    // What doubles can hold: smaller numbers would be 0 to a validator, larger ones infinite.
    constexpr int kMostExponent = 300;
    from = std::max(from.value_or(-kMostExponent), -kMostExponent);
    to = std::min(to.value_or(kMostExponent), kMostExponent);
    if (*from > *to) return;
    const CharDfa dfa = CharDfa::intersection(kMantissa, magnitudes(mantissas, false, std::nullopt));
    if (!dfa.empty()) choices.push_back(out.sequence({out.plain_text(dfa), e, exponents(out, from, to)}));
  };
  std::optional<int> from;
  std::optional<int> to;
  if (low) from = low->exponent + 1;
  if (high) to = high->exponent - 1;
  add({}, from, to);
  Range mantissas;
  if (low) mantissas.low = Bound{low->mantissa, range.low->exclusive};
  if (low && high && low->exponent == high->exponent) {
    mantissas.high = Bound{high->mantissa, range.high->exclusive};
    add(mantissas, low->exponent, low->exponent);
    return out.choice(choices);
  }
  if (low) add(mantissas, low->exponent, low->exponent);
  if (high) {
    mantissas = Range();
    mantissas.high = Bound{high->mantissa, range.high->exclusive};
    add(mantissas, high->exponent, high->exponent);
  }
  return out.choice(choices);
}

// The part of `range` on one side of 0, as sizes; nullopt where there is none.
std::optional<Range> side_of(const Range& range, bool negative) {
  Range sizes;
  const std::optional<Bound>& near = negative ? range.high : range.low;
  const std::optional<Bound>& far = negative ? range.low : range.high;
  if (far) {
    if (far->value.is_zero() ? far->exclusive || negative : far->value.negative != negative) return std::nullopt;
    sizes.high = far;
    sizes.high->value.negative = false;
  }
  if (near && near->value.is_zero()) {
    if (near->exclusive) sizes.low = near;
  } else if (near && near->value.negative == negative) {
    sizes.low = near;
    sizes.low->value.negative = false;
  }
  return sizes;
}

}  // namespace

Decimal decimal_of(const Json& number) {
  // The shortest text that means the number: what the schema's author wrote, unless it had more than 17 digits.
  const std::string text = number.dump();
  Decimal result;
  std::size_t at = 0;
  if (text.starts_with('-')) {
    result.negative = true;
    ++at;
  }
  std::string digits;
  int scale = 0;  // digits behind the dot
  bool dot = false;
  for (; at < text.size() && text[at] != 'e' && text[at] != 'E'; ++at) {
    if (text[at] == '.') {
      dot = true;
    } else {
      digits.push_back(text[at]);
      scale += dot ? 1 : 0;
    }
  }
  if (at < text.size()) {
    int exponent = 0;
    ++at;
    if (text[at] == '+') ++at;
    std::from_chars(text.data() + at, text.data() + text.size(), exponent);
    scale -= exponent;
  }
  if (scale < 0) {
    digits.append(static_cast<std::size_t>(-scale), '0');
    scale = 0;
  }
  if (digits.size() < static_cast<std::size_t>(scale)) {
    digits.insert(0, static_cast<std::size_t>(scale) - digits.size(), '0');
  }
  result.whole = digits.substr(0, digits.size() - static_cast<std::size_t>(scale));
  result.fraction = digits.substr(digits.size() - static_cast<std::size_t>(scale));
  result.whole.erase(0, std::min(result.whole.find_first_not_of('0'), result.whole.size()));
  while (result.fraction.ends_with('0')) result.fraction.pop_back();
  if (result.is_zero()) result.negative = false;
  return result;
}

int compare(const Decimal& a, const Decimal& b) {
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  int order = 0;
  if (a.whole.size() != b.whole.size()) {
    order = a.whole.size() < b.whole.size() ? -1 : 1;
  } else {
    order = a.whole.compare(b.whole);
    if (order == 0) order = a.fraction.compare(b.fraction);
  }
  order = order < 0 ? -1 : order > 0 ? 1 : 0;
  return a.negative ? -order : order;
}

bool is_empty(const Range& range) {
  if (!range.low || !range.high) return false;
  const int order = compare(range.low->value, range.high->value);
  return order > 0 || (order == 0 && (range.low->exclusive || range.high->exclusive));
}

CharDfa multiples_of(const Decimal& step, bool integers) {
  const auto places = static_cast<std::uint32_t>(step.fraction.size());
  std::uint32_t size = 0;  // step = size / 10^places
  const std::string digits = step.whole + step.fraction;
  const auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), size);
  if (problem != std::errc() || size == 0 || std::uint64_t{size} * (places + 3) > CharDfa::kMostStates) {
    throw bad_input("the step of multiples has too many digits");
  }
  CharDfa dfa;
  const auto add = [&](bool accepting) {
    dfa.states.push_back({{}, accepting});
    return static_cast<std::uint32_t>(dfa.states.size() - 1);
  };
  const auto is_multiple = [&](std::uint64_t rest, std::uint32_t missing_places) {
    for (std::uint32_t i = 0; i < missing_places; ++i) rest = rest * 10 % size;
    return rest % size == 0;
  };
  const std::uint32_t start = add(false);
  const std::uint32_t zero = add(true);
  const auto whole = static_cast<std::uint32_t>(dfa.states.size());  // + remainder
  for (std::uint32_t rest = 0; rest < size; ++rest) add(is_multiple(rest, places));
  // fraction + digits * size + remainder; with no digit yet it is not accepted.
  const auto fraction = static_cast<std::uint32_t>(dfa.states.size());
  if (!integers) {
    for (std::uint32_t count = 0; count <= places; ++count) {
      for (std::uint32_t rest = 0; rest < size; ++rest) add(count > 0 && is_multiple(rest, places - count));
    }
  }
  const auto zeros =
      static_cast<std::uint32_t>(dfa.states.size());  // only zeros may follow: not a multiple, a multiple
  add(false);
  add(true);
  for (std::uint32_t i = 0; i < 2; ++i) dfa.states[zeros + i].edges = {{{'0', '0'}, zeros + i}};
  const auto dot = [&](std::uint32_t state, std::uint32_t rest) {
    if (!integers) dfa.states[state].edges.insert(dfa.states[state].edges.begin(), {{'.', '.'}, fraction + rest});
  };
  dfa.states[start].edges.push_back({{'0', '0'}, zero});
  for (char32_t digit = 1; digit <= 9; ++digit) {
    dfa.states[start].edges.push_back({{'0' + digit, '0' + digit}, whole + digit % size});
  }
  dot(zero, 0);
  for (std::uint32_t rest = 0; rest < size; ++rest) {
    for (char32_t digit = 0; digit <= 9; ++digit) {
      dfa.states[whole + rest].edges.push_back({{'0' + digit, '0' + digit}, whole + (rest * 10 + digit) % size});
    }
    dot(whole + rest, rest);
    for (std::uint32_t count = 0; !integers && count <= places; ++count) {
      auto& edges = dfa.states[fraction + count * size + rest].edges;
      if (count == places) {
        edges.push_back({{'0', '0'}, zeros + (is_multiple(rest, 0) ? 1 : 0)});
        continue;
      }
      for (char32_t digit = 0; digit <= 9; ++digit) {
        edges.push_back({{'0' + digit, '0' + digit}, fraction + (count + 1) * size + (rest * 10 + digit) % size});
      }
    }
  }
  return pruned(dfa);
}

NodeId number_in(Expressions& out, const Range& range, bool integers, const std::optional<Decimal>& step) {
  std::vector<NodeId> choices;
  for (const bool negative : {false, true}) {
    const auto sizes = side_of(range, negative);
    if (!sizes) continue;
    std::vector<NodeId> forms;
    const CharDfa dfa = magnitudes(*sizes, integers, step);
    if (!dfa.empty()) forms.push_back(out.plain_text(dfa));
    if (!integers && !step) forms.push_back(scientific_in(out, *sizes));
    choices.push_back(out.sequence({out.literal(negative ? "-" : ""), out.choice(forms)}));
  }
  return out.choice(choices);
}

}  // namespace loadline::grammar
