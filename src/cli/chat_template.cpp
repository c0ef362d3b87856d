#include "cli/chat_template.h"

#include <filesystem>

#include "base/error.h"
#include "base/file.h"

namespace loadline::cli {
namespace {

constexpr Bytes kLongestTemplate{std::uint64_t{4} << 20};

}  // namespace

void TemplateOptions::add_to(Command& command) {
  command.option("--chat-template", &chat_template, "Chat template: a file, or the name of a known one such as chatml",
                 {.group = "Template"});
  command.option("--chat-template-file", &file, "The same, always a file", {.group = "Template"});
  command.option("--chat-template-kwargs", &kwargs, "More variables for the template, as a JSON object",
                 {.group = "Template"});
}

chat::ModelTemplate TemplateOptions::choose(const gguf::Metadata* metadata) const {
  const std::string& path = file.empty() ? chat_template : file;
  const bool is_builtin = file.empty() && !chat::builtin_template(chat_template).empty();
  std::error_code ignored;
  if (!path.empty() && !is_builtin && (!file.empty() || std::filesystem::exists(path, ignored))) {
    return {read_text_file(path, kLongestTemplate), path, false};
  }
  // Text with a tag in it is a template itself, as llama.cpp takes it.
  if (file.empty() && chat_template.find("{%") != std::string::npos) return {chat_template, "given", false};
  if (metadata == nullptr && chat_template.empty()) {
    throw bad_input("there is no chat template", "Name a model with -m, or a template with --chat-template.");
  }
  static const gguf::Metadata kNone;
  return chat::template_of(metadata == nullptr ? kNone : *metadata, chat_template);
}

}  // namespace loadline::cli
