#include "cli/model_presets.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/environment.h"
#include "cli/option.h"
#include "serve/served.h"

namespace loadline::cli {
namespace {

constexpr std::string_view kAll = "*";

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

Error wrong_line(const std::string& file, std::size_t number, std::string_view why) {
  return bad_input(fmt::format("{} line {}: {}", printable(file, 4096), number, why));
}

Option* find_option(Command& command, const std::string& name) {
  for (Option& option : command.options()) {
    for (const std::string& flag : option.flags()) {
      if (flag.substr(flag.find_first_not_of('-')) == name) return &option;
    }
  }
  return nullptr;
}

}  // namespace

ModelPresets ModelPresets::parse(std::string_view text, const std::string& file) {
  ModelPresets presets;
  presets.file_ = file;
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  std::vector<Line>* section = nullptr;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    if (line.front() == '[') {
      if (line.back() != ']' || trimmed(line.substr(1, line.size() - 2)).empty()) {
        throw wrong_line(file, number, "a section is written as [MODEL]");
      }
      section = &presets.sections_[serve::plain_name(trimmed(line.substr(1, line.size() - 2)))];
      continue;
    }
    const std::size_t equals = std::min(line.find('='), line.size());
    std::string_view name = trimmed(line.substr(0, equals));
    name.remove_prefix(std::min(name.find_first_not_of('-'), name.size()));
    if (name.empty()) throw wrong_line(file, number, "an option is written as NAME = VALUE");
    if (name == "version" && section == nullptr) continue;  // llama.cpp's files begin with one
    if (section == nullptr) throw wrong_line(file, number, "this belongs to no model: write [MODEL] before it");
    const std::string_view value = equals < line.size() ? trimmed(line.substr(equals + 1)) : std::string_view();
    section->push_back({std::string(name), std::string(value), number});
  }
  return presets;
}

ModelPresets ModelPresets::read(const std::filesystem::path& file, const Command& command) {
  constexpr Bytes kMost(std::uint64_t{1} << 20);
  ModelPresets presets = parse(read_text_file(file, kMost), file.string());
  for (const Option& option : command.options()) {
    if (option.given()) presets.given_.insert(option.flags().begin(), option.flags().end());
  }
  return presets;
}

void ModelPresets::apply(const std::string& model, Command& command) const {
  for (const std::string& section : {std::string(kAll), serve::plain_name(model)}) {
    const auto found = sections_.find(section);
    if (found == sections_.end()) continue;
    for (const Line& line : found->second) {
      Option* option = find_option(command, line.name);
      if (option == nullptr) {
        throw wrong_line(file_, line.number, fmt::format("a model has no option \"{}\"", printable(line.name)));
      }
      if (std::ranges::any_of(option->flags(), [&](const std::string& flag) { return given_.contains(flag); }))
        continue;
      try {
        set_from_text(*option, line.name, option->is_flag() && line.value.empty() ? "on" : line.value);
      } catch (const Error& error) {
        throw wrong_line(file_, line.number, error.what());
      }
    }
  }
}

}  // namespace loadline::cli
