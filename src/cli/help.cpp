#include "cli/help.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "model/program.h"

namespace loadline::cli {
namespace {

constexpr std::size_t kColumn = 34;  // where descriptions begin
constexpr std::size_t kWidth = 100;

// Words of `text` in lines of `width` columns; every line but the first begins after `indent` blanks.
std::string wrap(std::string_view text, std::size_t width, std::size_t indent) {
  std::string out;
  std::size_t column = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
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

// What stands for the value of an option: N, X or TEXT.
std::string_view value_name(const Option& option) {
  switch (option.target().index()) {
    case 0: return {};  // bool: a flag
    case 5:
    case 6: return " X";  // float, double
    case 7:
    case 8: return " TEXT";  // std::string, several of them
    default: return " N";
  }
}

std::string entry(const std::string& name, const std::string& description) {
  std::string out = "  " + name;
  if (out.size() + 2 > kColumn) {
    out += '\n' + std::string(kColumn, ' ');
  } else {
    out.resize(kColumn, ' ');
  }
  return out + wrap(description, kWidth - kColumn, kColumn) + "\n";
}

std::string entry(const Option& option, const std::string& name) {
  const std::string& value = option.default_text();
  return entry(name, option.description() + (value.empty() ? "" : fmt::format(" (default {})", value)));
}

std::string usage(const Command& command) {
  std::string out = fmt::format("Usage: loadline {} [options]", command.name());
  for (const Option& option : command.options()) {
    if (!option.is_positional()) continue;
    out += option.traits().required ? fmt::format(" {}", option.position()) : fmt::format(" [{}]", option.position());
  }
  return out + "\n\n";
}

}  // namespace

std::string help_text(const Program& program) {
  std::string out =
      "Runs GGUF language models inside an exact memory budget.\n\nUsage: loadline [options] COMMAND\n\nOptions:\n";
  out += entry("-h, --help", "Print this help message and exit");
  out += entry("--version", "Display program version information and exit");
  out += "\nCommands:\n";
  for (const Command& command : program.commands()) out += entry(command.name(), command.description());
  const std::string families = fmt::format("{}", fmt::join(model::known_families(), " "));
  out += fmt::format("\nModel families (general.architecture):\n  {}\n", wrap(families, kWidth - 2, 2));
  return out;
}

std::string help_text(const Command& command) {
  std::string out = fmt::format("{}\n\n{}", command.description(), usage(command));
  const auto is_positional = [](const Option& option) { return option.is_positional(); };
  if (std::ranges::any_of(command.options(), is_positional)) {
    out += "Positionals:\n";
    for (const Option& option : command.options()) {
      if (option.is_positional()) out += entry(option, option.position());
    }
    out += "\n";
  }
  std::vector<std::string> groups = {Traits().group};
  for (const Option& option : command.options()) {
    const std::string& group = option.traits().group;
    if (std::ranges::find(groups, group) == groups.end()) groups.push_back(group);
  }
  for (const std::string& group : groups) {
    out += fmt::format("{}{}:\n", group == groups.front() ? "" : "\n", group);
    if (group == groups.front()) out += entry("-h, --help", "Print this help message and exit");
    for (const Option& option : command.options()) {
      if (option.traits().group != group || option.flags().empty()) continue;
      out += entry(option, fmt::format("{}{}", fmt::join(option.flags(), ", "), value_name(option)));
    }
  }
  if (!command.footer().empty()) out += fmt::format("\n{}\n", command.footer());
  return out;
}

}  // namespace loadline::cli
