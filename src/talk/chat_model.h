// ChatModel: what a model needs to be talked with: its template, how it writes reasoning and calls of tools, and which
// of its tokens nobody may type. From a conversation to the tokens that the model sees. It generates nothing
// (generation.h) and remembers no conversation (dialogue.h).
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "chat/conversation.h"
#include "chat/model_template.h"
#include "chat/output_format.h"
#include "chat/template.h"
#include "gguf/metadata.h"
#include "grammar/token_index.h"
#include "tokenizer/special_matcher.h"
#include "tokenizer/tokenizer.h"

namespace loadline::talk {

using tokenizer::Token;

// A conversation as a template is given it: JSON, in the forms of OpenAI's API.
struct Request {
  std::string messages;                        // an array
  std::string tools;                           // an array; empty: none
  std::string kwargs;                          // an object with more variables; empty: none
  bool open = false;                           // the last message is the assistant's, and goes on
  bool fit = true;                             // change what the template would refuse (chat::Conversation::fit)
  Bytes memory = chat::RenderLimits().memory;  // that it may take meanwhile
  Bytes most_text;                             // of the text that tokens are made of; 0: any
};

struct Prompt {
  std::vector<Token> tokens;
  std::string text;
  std::string end;                   // of the text, for chat::OutputParser
  std::vector<std::string> changes;  // what was fitted, a sentence each
};

// Immutable and thread-safe after construction; `tokenizer` outlives it.
class ChatModel {
 public:
  // Throws Error(BadInput) for a template that cannot be read. `title` names the model in errors.
  ChatModel(const gguf::Metadata& metadata, const tokenizer::Tokenizer& tokenizer, chat::ModelTemplate chosen,
            std::string title);

  // Control tokens come from the template alone: what messages, tools and all other variables say of them is letters.
  // Throws Error(BadInput) where the template refuses, and for JSON that is none of the above, and Error(DoesNotFit)
  // where it takes more memory or time than it may.
  [[nodiscard]] Prompt prompt(const Request& request) const;

  [[nodiscard]] const tokenizer::Tokenizer& tokenizer() const { return tokenizer_; }
  [[nodiscard]] const chat::Capabilities& can() const { return can_; }
  [[nodiscard]] const chat::ModelTemplate& chosen() const { return chosen_; }
  [[nodiscard]] chat::OutputFormat format() const { return format_; }
  // Its tokens for grammars; the marks of tool calls are text there. Made when first asked for.
  [[nodiscard]] const grammar::TokenIndex& index() const;

 private:
  [[nodiscard]] chat::Rendering render(const Request& request, std::vector<std::string>& changes) const;
  [[nodiscard]] std::vector<chat::TextSpan> typed_in(std::string_view text, std::string_view role) const;

  const tokenizer::Tokenizer& tokenizer_;
  chat::ModelTemplate chosen_;
  std::string title_;
  chat::Template template_;
  chat::Capabilities can_;
  chat::OutputFormat format_;
  std::string bos_, eos_;
  bool adds_bos_ = false;
  std::vector<std::string> control_;  // texts of the control tokens
  std::unique_ptr<tokenizer::SpecialMatcher> control_matcher_;
  std::string control_starts_;  // their first bytes, each once
  mutable std::once_flag index_once_;
  mutable std::unique_ptr<const grammar::TokenIndex> index_;
};

}  // namespace loadline::talk
