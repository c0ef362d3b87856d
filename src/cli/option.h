// What a command line may hold, as data: commands, their options, and the variables their values go to. Reading
// arguments (parse.h) and `--help` (help.h) go by it; it does neither, and knows no command.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace loadline::cli {

// Where a value goes. A list gets a value more each time the option is given; of any other the last one stays.
using Target = std::variant<bool*, std::int32_t*, std::uint32_t*, std::int64_t*, std::uint64_t*, float*, double*,
                            std::string*, std::vector<std::string>*, std::vector<std::uint32_t>*>;

struct Traits {
  std::string group = "Options";                                  // its heading in the help
  std::int64_t least = std::numeric_limits<std::int64_t>::min();  // of a whole number
  std::int64_t most = std::numeric_limits<std::int64_t>::max();
  bool required = false;
  bool show_default = false;  // the target's value when the option was declared, in the help
  bool may_be_empty = false;  // "" is a value; else it is taken for an unset variable and refused
  char separator = 0;         // of a list's values within one argument; 0: none
};

// A flag, an option with a value, or a positional argument. Lives in its command.
class Option {
 public:
  Option(std::string_view names, Target target, std::string description, Traits traits);

  // Not together with `other`; said of one of the two.
  void excludes(const Option& other) { excluded_.push_back(&other); }

  [[nodiscard]] bool given() const { return times_ > 0; }
  // As users type them, -n before --predict; without the positional one.
  [[nodiscard]] const std::vector<std::string>& flags() const { return flags_; }
  [[nodiscard]] bool is_flag() const { return std::holds_alternative<bool*>(target_); }
  [[nodiscard]] bool is_positional() const { return !position_.empty(); }
  // How messages call it: its last flag, which says most, or the positional's name.
  [[nodiscard]] const std::string& name() const { return flags_.empty() ? position_ : flags_.back(); }
  [[nodiscard]] const std::string& position() const { return position_; }
  [[nodiscard]] const std::string& description() const { return description_; }
  [[nodiscard]] const std::string& default_text() const { return default_; }
  [[nodiscard]] const Traits& traits() const { return traits_; }
  [[nodiscard]] const Target& target() const { return target_; }
  [[nodiscard]] const std::vector<const Option*>& excluded() const { return excluded_; }

  // What the flag sets its target to.
  void set_sets(bool value) { sets_ = value; }
  // Sets the target from what was typed behind `flag` (nothing, for a flag). Throws Error(BadInput) naming `flag`.
  void take(std::string_view flag, std::string_view value);

 private:
  std::vector<std::string> flags_;
  std::string position_;
  Target target_;
  std::string description_;
  Traits traits_;
  std::string default_;
  std::vector<const Option*> excluded_;
  bool sets_ = true;
  int times_ = 0;
};

// One command: its options and what it does. Options refer to variables that must outlive the parsing.
class Command {
 public:
  Command(std::string name, std::string description) : name_(std::move(name)), description_(std::move(description)) {}

  // `names`: "-n,--predict", as typed; one without a dash makes it positional ("MODEL", or "model,-m,--model").
  Option& option(std::string_view names, Target target, std::string description, Traits traits = {});
  // Sets `target` to `value` where it is given.
  Option& flag(std::string_view names, bool& target, std::string description, Traits traits = {}, bool value = true);
  // Below the options in the help.
  void set_footer(std::string text) { footer_ = std::move(text); }
  // What it does once its options are read; returns the exit code, may throw Error.
  void set_action(std::function<int()> action) { action_ = std::move(action); }

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::string& description() const { return description_; }
  [[nodiscard]] const std::string& footer() const { return footer_; }
  [[nodiscard]] const std::function<int()>& action() const { return action_; }
  [[nodiscard]] std::deque<Option>& options() { return options_; }
  [[nodiscard]] const std::deque<Option>& options() const { return options_; }

 private:
  std::string name_;
  std::string description_;
  std::string footer_;
  std::deque<Option> options_;  // which keeps them where they are
  std::function<int()> action_;
};

// All commands, in the order of the help.
class Program {
 public:
  Command& add_command(std::string name, std::string description) {
    return commands_.emplace_back(std::move(name), std::move(description));
  }
  [[nodiscard]] std::deque<Command>& commands() { return commands_; }
  [[nodiscard]] const std::deque<Command>& commands() const { return commands_; }

 private:
  std::deque<Command> commands_;
};

}  // namespace loadline::cli
