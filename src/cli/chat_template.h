// The template flags that commands share: which template, and what it is given besides the conversation.
#pragma once

#include <string>

#include "chat/model_template.h"
#include "cli/option.h"
#include "gguf/metadata.h"

namespace loadline::cli {

struct TemplateOptions {
  std::string chat_template;  // a name or a file
  std::string file;           // --chat-template-file
  std::string kwargs;         // JSON object

  void add_to(Command& command);
  // Throws Error(BadInput). `metadata` may be null: then a template must be named.
  [[nodiscard]] chat::ModelTemplate choose(const gguf::Metadata* metadata) const;
};

}  // namespace loadline::cli
