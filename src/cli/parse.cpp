#include "cli/parse.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "cli/foreign_flags.h"

namespace loadline::cli {
namespace {

// How many letters must be inserted, removed or replaced to make `a` of `b`.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

class Parser {
 public:
  Parser(Command& command, std::span<const std::string> arguments) : command_(command), arguments_(arguments) {
    for (Option& option : command.options()) {
      if (option.is_positional()) positions_.push_back(&option);
    }
  }

  Parsed parse() {
    bool only_positions = false;
    while (next_ < arguments_.size()) {
      const std::string& argument = arguments_[next_++];
      if (only_positions || argument.size() < 2 || argument[0] != '-') {
        take_position(argument);
      } else if (argument == "--") {
        only_positions = true;
      } else if (argument == "-h" || argument == "--help") {
        return {.help = true, .remarks = {}};
      } else {
        take_flag(argument);
      }
    }
    require_complete();
    return std::move(result_);
  }

 private:
  void take_position(const std::string& value) {
    if (positions_taken_ == positions_.size()) {
      throw bad_input(fmt::format("{} does not know what \"{}\" is for", command_.name(), printable(value)),
                      see_help());
    }
    Option& option = *positions_[positions_taken_++];
    option.take(option.position(), value);
  }

  void take_flag(const std::string& argument) {
    if (Option* option = find(argument)) {
      option->take(argument, option->is_flag() ? std::string_view() : value_of(argument));
      return;
    }
    const std::size_t equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    if (Option* option = equals == std::string::npos ? nullptr : find(name)) {
      if (option->is_flag()) throw bad_input(fmt::format("{} takes no value", name), see_help());
      option->take(name, std::string_view(argument).substr(equals + 1));
      return;
    }
    // -c4096, -t8: a number right behind the letter, as in other programs.
    if (Option* option = argument[1] == '-' ? nullptr : find(argument.substr(0, 2))) {
      if (!option->is_flag() && argument.find_first_not_of("-.0123456789", 2) == std::string::npos) {
        option->take(argument.substr(0, 2), std::string_view(argument).substr(2));
        return;
      }
    }
    if (const ForeignFlag* foreign = find_foreign_flag(name)) {
      take_foreign(*foreign, argument, name);
      return;
    }
    throw unknown(name);
  }

  void take_foreign(const ForeignFlag& foreign, const std::string& argument, const std::string& name) {
    if (!foreign.ignored) throw bad_input(fmt::format("{} is not supported yet: {}", name, foreign.why));
    std::string shown = argument;
    const bool has_value = argument.size() > name.size();
    const bool takes_next =
        foreign.value == ForeignValue::One ||
        (foreign.value == ForeignValue::Maybe && next_ < arguments_.size() && is_switch_word(arguments_[next_]));
    if (!has_value && takes_next) shown += fmt::format(" {}", value_of(name));
    result_.remarks.push_back(fmt::format("{} is ignored: {}", printable(shown), foreign.why));
  }

  std::string_view value_of(const std::string& flag) {
    if (next_ == arguments_.size()) throw bad_input(fmt::format("{} needs a value", flag), see_help());
    return arguments_[next_++];
  }

  // By the flag as typed, or with one dash more than it has.
  Option* find(std::string_view flag) {
    for (Option& option : command_.options()) {
      for (const std::string& known : option.flags()) {
        if (known == flag ||
            (known.size() > 2 && known[1] != '-' && flag.substr(0, 1) == "-" && flag.substr(1) == known)) {
          return &option;
        }
      }
    }
    return nullptr;
  }

  Error unknown(const std::string& name) {
    std::vector<std::string> names;
    for (const Option& option : command_.options()) {
      names.insert(names.end(), option.flags().begin(), option.flags().end());
    }
    const std::string near = nearest(name, names);
    return bad_input(fmt::format("{} has no flag {}", command_.name(), printable(name)),
                     near.empty() ? see_help() : fmt::format("The nearest is {}. {}", near, see_help()));
  }

  void require_complete() const {
    for (const Option& option : command_.options()) {
      if (option.traits().required && !option.given()) {
        throw bad_input(
            fmt::format("{} needs {}", command_.name(), option.is_positional() ? option.position() : option.name()),
            see_help());
      }
      for (const Option* other : option.excluded()) {
        if (option.given() && other->given()) {
          throw bad_input(fmt::format("{} and {} cannot be given together", option.name(), other->name()), see_help());
        }
      }
    }
  }

  [[nodiscard]] std::string see_help() const { return fmt::format("See `loadline {} --help`.", command_.name()); }

  Command& command_;
  std::span<const std::string> arguments_;
  std::size_t next_ = 0;
  std::vector<Option*> positions_;
  std::size_t positions_taken_ = 0;
  Parsed result_;
};

}  // namespace

Parsed parse(Command& command, std::span<const std::string> arguments) { return Parser(command, arguments).parse(); }

std::string nearest(std::string_view word, std::span<const std::string> names) {
  std::string best;
  std::size_t least = std::max<std::size_t>(2, word.size() / 3 + 1);  // what is further away helps nobody
  for (const std::string& name : names) {
    const std::size_t distance = edit_distance(word, name);
    if (distance >= least) continue;
    least = distance;
    best = name;
  }
  return best;
}

}  // namespace loadline::cli
