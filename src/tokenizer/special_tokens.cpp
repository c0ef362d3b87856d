#include "tokenizer/special_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "base/error.h"

namespace loadline::tokenizer {
namespace {

// Texts that end a turn or a document in the models that have them. Files name at most three end tokens by key, many of
// them one too few, so the texts decide as well (the same ones as in llama.cpp's loader, as far as models have them).
// "</s>" is not among them: several models have it as a plain token, and where it ends a text the EOS key says so.
constexpr std::array kEndTexts = std::to_array<std::string_view>({
    "<|eot_id|>",                               // Llama 3
    "<|eom_id|>",                               // Llama 3.1, before a tool's answer
    "<|end_of_text|>",                          // Llama 3, Granite
    "<|im_end|>",                               // ChatML: Qwen and many others
    "<|endoftext|>",                            // GPT-2, Qwen, Phi
    "<|end|>",                                  // Phi-3
    "<|return|>",                               // o200k_harmony
    "<|call|>",                                 // o200k_harmony
    "<end_of_turn>",                            // Gemma
    "<end_of_utterance>",                       // SmolVLM
    "<EOT>",                                    // Refact, CodeLlama's infilling
    "_<EOT>",                                   // CodeLlama, as some converters wrote it
    "[EOT]",                                    // Kimi
    "[EOS]",                                    // Kimi
    "<\uFF5Cend\u2581of\u2581sentence\uFF5C>",  // DeepSeek
    // Code models after a completed gap: what follows would be another file.
    "<|fim_pad|>", "<fim-pad>", "<fim_pad>",  // Qwen, StarCoder, Granite
    "<|repo_name|>", "<reponame>",            // Qwen, StarCoder and Granite
    "<|file_sep|>",                           // Qwen
});

constexpr std::array kEndKeys = std::to_array<std::string_view>({
    "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.eom_token_id",
    "tokenizer.ggml.fim_pad_token_id",
    "tokenizer.ggml.fim_rep_token_id",
    "tokenizer.ggml.fim_sep_token_id",
});

Token read_id(const gguf::Metadata& metadata, std::string_view key, std::size_t count, Token missing) {
  const auto id = metadata.get_unsigned(key);
  if (!id) return missing >= 0 && static_cast<std::size_t>(missing) < count ? missing : -1;
  if (*id >= count) {
    throw bad_input(fmt::format("{} is {}, but the vocabulary has only {} tokens", key, *id, count));
  }
  return static_cast<Token>(*id);
}

// Whether to add `token`: as the file says, which then must name it, or by default where it does.
bool read_flag(const gguf::Metadata& metadata, std::string_view flag, bool missing, Token token, std::string_view key) {
  const auto add = metadata.get_bool(flag);
  if (add.value_or(false) && token < 0) throw bad_input(fmt::format("{} is set, but {} is missing", flag, key));
  return add.value_or(missing && token >= 0);
}

void sort_unique(std::vector<Token>& tokens) {
  std::ranges::sort(tokens);
  const auto rest = std::ranges::unique(tokens);
  tokens.erase(rest.begin(), rest.end());
}

}  // namespace

SpecialTokens read_special_tokens(const gguf::Metadata& metadata, const std::vector<std::string>& tokens,
                                  const SpecialTokens& defaults) {
  SpecialTokens special;
  special.bos = read_id(metadata, "tokenizer.ggml.bos_token_id", tokens.size(), defaults.bos);
  special.eos = read_id(metadata, "tokenizer.ggml.eos_token_id", tokens.size(), defaults.eos);
  special.unknown = read_id(metadata, "tokenizer.ggml.unknown_token_id", tokens.size(), defaults.unknown);
  special.add_bos =
      read_flag(metadata, "tokenizer.ggml.add_bos_token", defaults.add_bos, special.bos, "tokenizer.ggml.bos_token_id");
  special.add_eos =
      read_flag(metadata, "tokenizer.ggml.add_eos_token", defaults.add_eos, special.eos, "tokenizer.ggml.eos_token_id");

  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (std::ranges::find(kEndTexts, tokens[i]) != kEndTexts.end()) {
      special.control_by_text.push_back(static_cast<Token>(i));
    }
  }
  // In o200k_harmony <|end|> closes one message of several; the answer ends with <|return|> or <|call|>.
  const auto text_is = [&](std::string_view text) { return [&, text](Token t) { return tokens[t] == text; }; };
  if (std::ranges::any_of(special.control_by_text, text_is("<|return|>")) &&
      std::ranges::any_of(special.control_by_text, text_is("<|call|>"))) {
    std::erase_if(special.control_by_text, text_is("<|end|>"));
  }

  special.end_of_generation = special.control_by_text;
  if (special.eos >= 0) special.end_of_generation.push_back(special.eos);
  for (const std::string_view key : kEndKeys) {
    const Token token = read_id(metadata, key, tokens.size(), -1);
    if (token >= 0) special.end_of_generation.push_back(token);
  }
  sort_unique(special.end_of_generation);
  return special;
}

}  // namespace loadline::tokenizer
