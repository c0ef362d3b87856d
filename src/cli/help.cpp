#include "cli/help.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <charconv>

#include "base/text.h"
#include "cli/short_flags.h"

namespace loadline::cli {
namespace {

constexpr std::size_t kColumn = 34;  // where descriptions begin
constexpr std::size_t kWidth = 100;

bool is_number(std::string_view text, auto& value) {
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  return problem == std::errc() && end == text.data() + text.size();
}

// Words of `text` in lines of `width` columns; every line but the first begins after `indent` blanks.
std::string wrap(const std::string& text, std::size_t width, std::size_t indent) {
  std::string out;
  std::size_t column = 0;
  for (const std::string& word : CLI::detail::split(text, ' ')) {
    if (column > 0 && column + 1 + word.size() > width) {
      out += "\n" + std::string(indent, ' ');
      column = 0;
    } else if (column > 0) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
  }
  return out;
}

// What stands for the value of an option.
std::string value_name(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  if (type.starts_with("INT") || type.starts_with("UINT")) return "N";
  if (type.starts_with("FLOAT")) return "X";
  return type;
}

class Layout : public CLI::Formatter {
 public:
  [[nodiscard]] std::string make_option_name(const CLI::Option* option, bool is_positional) const override {
    if (is_positional) return option->get_name(true, false);
    std::string out;
    for (const std::string& name : CLI::detail::split(option->get_name(false, true), ',')) {
      if (!out.empty()) out += ", ";
      out += typed_flag(name);
    }
    return out;
  }

  [[nodiscard]] std::string make_option_opts(const CLI::Option* option) const override {
    if (option->get_type_size() == 0 || option->get_positional()) return {};
    return " " + value_name(*option);
  }

  [[nodiscard]] std::string make_option_desc(const CLI::Option* option) const override {
    const std::string& value = option->get_default_str();
    return option->get_description() + (value.empty() ? "" : fmt::format(" (default {})", value));
  }

  [[nodiscard]] std::string make_option(const CLI::Option* option, bool is_positional) const override {
    return entry(make_option_name(option, is_positional) + make_option_opts(option), make_option_desc(option));
  }

  [[nodiscard]] std::string make_subcommand(const CLI::App* command) const override {
    return entry(command->get_name(), command->get_description());
  }

  [[nodiscard]] std::string make_group(std::string group, bool is_positional,
                                       std::vector<const CLI::Option*> options) const override {
    std::string out = group + ":\n";
    for (const CLI::Option* option : options) out += make_option(option, is_positional);
    return is_positional ? out + "\n" : out;  // the other groups have a blank line after them already
  }

  [[nodiscard]] std::string make_usage(const CLI::App* app, std::string name) const override {
    return "\n" + CLI::Formatter::make_usage(app, std::move(name)) + "\n";
  }

 private:
  static std::string entry(const std::string& name, const std::string& description) {
    std::string out = "  " + name;
    if (out.size() + 2 > kColumn) {
      out += '\n' + std::string(kColumn, ' ');
    } else {
      out.resize(kColumn, ' ');
    }
    return out + wrap(description, kWidth - kColumn, kColumn) + "\n";
  }
};

}  // namespace

void set_help_layout(CLI::App& app) {
  const auto layout = std::make_shared<Layout>();
  layout->label("OPTIONS", "options");
  layout->label("SUBCOMMAND", "COMMAND");
  layout->label("Subcommands", "Commands");
  app.formatter(layout);
}

CLI::Validator in_range(std::int64_t least, std::int64_t most) {
  const auto check = [least, most](const std::string& text) -> std::string {
    std::int64_t value = 0;
    const bool digits = text.find_first_not_of("0123456789", text.starts_with('-') ? 1 : 0) == std::string::npos;
    if (text.empty() || text == "-" || !digits) return fmt::format("\"{}\" is not a whole number", printable(text));
    if (is_number(text, value) && value >= least && value <= most) return {};
    return fmt::format("{} is out of range; it can be {} to {}", text, least, most);
  };
  return {check, ""};
}

void expect_numbers(CLI::App& command) {
  for (CLI::Option* option : command.get_options()) {
    const std::string type = option->get_type_name();
    if (type == "INT" || type == "UINT") {
      option->check(in_range(INT64_MIN, INT64_MAX));
    } else if (type == "FLOAT") {
      const auto check = [](const std::string& text) -> std::string {
        double value = 0;
        return is_number(text, value) ? "" : fmt::format("\"{}\" is not a number", printable(text));
      };
      option->check(CLI::Validator(check, ""));
    }
  }
}

std::string sentence(const CLI::ParseError& problem) {
  const std::string text = problem.what();
  constexpr std::string_view kRefused = "Could not convert: ";
  if (text.starts_with(kRefused) && text.contains(" = ")) {
    const std::size_t equals = text.find(" = ");
    return fmt::format("{}: {} is out of range", text.substr(kRefused.size(), equals - kRefused.size()),
                       printable(text.substr(equals + 3)));
  }
  const std::size_t missing = text.find(": 1 required ");
  if (missing != std::string::npos && text.ends_with(" missing")) return text.substr(0, missing) + " needs a value";
  return text;
}

}  // namespace loadline::cli
