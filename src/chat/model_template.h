// Which template a model is talked to with: its own, a known one by name, or one that fits what its vocabulary shows.
// A Model's metadata are all that is asked of it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "gguf/metadata.h"

namespace loadline::chat {

struct ModelTemplate {
  std::string source;
  std::string name;      // "the model's own", "chatml", ...
  bool assumed = false;  // nobody named it and the model has none: a guess, which should be said
};

// The known ones, by llama.cpp's names.
std::vector<std::string_view> builtin_template_names();
// Empty where there is none of this name.
std::string builtin_template(std::string_view name);

// `name` empty: the model's own, else a guess. Throws Error(BadInput) with the names there are.
ModelTemplate template_of(const gguf::Metadata& metadata, std::string_view name = {});

// The texts of the tokens that a template calls bos_token and eos_token; empty where the model has none.
std::string bos_text(const gguf::Metadata& metadata);
std::string eos_text(const gguf::Metadata& metadata);

}  // namespace loadline::chat
