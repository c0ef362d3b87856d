#include "tokenizer/special_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <initializer_list>
#include <string_view>
#include <unordered_map>

#include "base/error.h"

namespace loadline::tokenizer {
namespace {

enum class Role : std::uint8_t { End, Turn, Message, Prefix, Suffix, Middle, Pad, Repository, Separator };

struct Known {
  std::string_view text;
  Role role;
};

// Texts of tokens that mean the same in all models that have them. Files name at most three end tokens by key, many of
// them one too few, so the texts decide as well (the same ones as in llama.cpp's loader). Of several for one role the
// first of this list is taken.
constexpr std::array kKnown = std::to_array<Known>({
    {"<|eot_id|>", Role::Turn},                               // Llama 3
    {"<|im_end|>", Role::Turn},                               // ChatML: Qwen and many others
    {"<|end|>", Role::Turn},                                  // Phi-3
    {"<end_of_turn>", Role::Turn},                            // Gemma
    {"<|endoftext|>", Role::Turn},                            // GPT-2, Qwen, Phi
    {"<|end_of_text|>", Role::Turn},                          // Llama 3, Granite
    {"<EOT>", Role::Turn},                                    // Refact, CodeLlama's infilling
    {"_<EOT>", Role::Turn},                                   // CodeLlama, as some converters wrote it
    {"[EOT]", Role::Turn},                                    // Kimi
    {"<\uFF5Cend\u2581of\u2581sentence\uFF5C>", Role::Turn},  // DeepSeek
    {"<end_of_utterance>", Role::Turn},                       // SmolVLM
    {"<|eom_id|>", Role::Message},                            // Llama 3.1, before a tool's answer
    {"<|return|>", Role::End},                                // o200k_harmony
    {"<|call|>", Role::End},                                  // o200k_harmony
    {"<|flush|>", Role::End},                                 // Solar
    {"<|calls|>", Role::End},                                 // Solar
    {"</s>", Role::End},                                      // Llama 2, Mistral
    {"[EOS]", Role::End},                                     // Kimi
    {"<eos>", Role::End},                                     // Gemma
    {"<turn|>", Role::End},                                   // Gemma 4
    {"<|tool_response>", Role::End},                          // Gemma 4
    {"[e~[", Role::End},                                      // MiniMax
    {"<|fim_prefix|>", Role::Prefix},                         // Qwen
    {"<fim-prefix>", Role::Prefix},
    {"<fim_prefix>", Role::Prefix},                  // StarCoder, Granite
    {"<\uFF5Cfim\u2581begin\uFF5C>", Role::Prefix},  // DeepSeek
    {"<PRE>", Role::Prefix},                         // CodeLlama
    {"\u2581<PRE>", Role::Prefix},                   // CodeLlama
    {"<|code_prefix|>", Role::Prefix},               // GLM
    {"<|prefix|>", Role::Prefix},
    {"<|fim_suffix|>", Role::Suffix},
    {"<fim-suffix>", Role::Suffix},
    {"<fim_suffix>", Role::Suffix},
    {"<\uFF5Cfim\u2581hole\uFF5C>", Role::Suffix},
    {"<SUF>", Role::Suffix},
    {"\u2581<SUF>", Role::Suffix},
    {"<|code_suffix|>", Role::Suffix},
    {"<|suffix|>", Role::Suffix},
    {"<|fim_middle|>", Role::Middle},
    {"<fim-middle>", Role::Middle},
    {"<fim_middle>", Role::Middle},
    {"<\uFF5Cfim\u2581end\uFF5C>", Role::Middle},
    {"<MID>", Role::Middle},
    {"\u2581<MID>", Role::Middle},
    {"<|code_middle|>", Role::Middle},
    {"<|middle|>", Role::Middle},
    // Code models after a completed gap: what follows would be another file.
    {"<|fim_pad|>", Role::Pad},
    {"<fim-pad>", Role::Pad},
    {"<fim_pad>", Role::Pad},
    {"<PAD>", Role::Pad},
    {"[PAD]", Role::Pad},
    {"<|fim_repo|>", Role::Repository},
    {"<|repo_name|>", Role::Repository},
    {"<fim-repo>", Role::Repository},
    {"<REPO>", Role::Repository},
    {"<reponame>", Role::Repository},
    {"<|file_sep|>", Role::Separator},
});

bool ends_generation(Role role) { return role != Role::Prefix && role != Role::Suffix && role != Role::Middle; }

// Ids from keys. What is no token of the vocabulary is none, and noted.
class Reader {
 public:
  Reader(const gguf::Metadata& metadata, std::size_t count, std::vector<std::string>& remarks)
      : metadata_(metadata), count_(count), remarks_(remarks) {}

  [[nodiscard]] Token id(std::string_view key, Token missing) const {
    const gguf::Value* value = metadata_.find(key);
    if (value == nullptr) return missing >= 0 && static_cast<std::size_t>(missing) < count_ ? missing : -1;
    // -1 and its unsigned forms are how some converters write "none".
    const auto* wide = std::get_if<std::uint64_t>(&value->data);
    const bool huge = wide != nullptr && *wide > std::uint64_t{INT64_MAX};
    const std::int64_t id = huge ? -1 : metadata_.get_signed(key).value_or(-1);
    if (id >= 0 && static_cast<std::uint64_t>(id) < count_) return static_cast<Token>(id);
    const std::string number = huge ? std::to_string(*wide) : std::to_string(id);
    remarks_.push_back(fmt::format("{} is {}, which is none of the {} tokens; the model is taken to have no such token",
                                   key, number, count_));
    return -1;
  }

  // Whether to add `token`: as the file says, or by default where it is there.
  [[nodiscard]] bool flag(std::string_view flag, bool missing, Token token, std::string_view key) const {
    const auto add = metadata_.get_bool(flag);
    if (add.value_or(false) && token < 0) {
      remarks_.push_back(fmt::format("{} is set, but no token is named by {}; none is added", flag, key));
      return false;
    }
    return add.value_or(missing && token >= 0);
  }

 private:
  const gguf::Metadata& metadata_;
  std::size_t count_;
  std::vector<std::string>& remarks_;
};

void sort_unique(std::vector<Token>& tokens) {
  std::ranges::sort(tokens);
  const auto rest = std::ranges::unique(tokens);
  tokens.erase(rest.begin(), rest.end());
}

// The token of a role: by key, else the first text of the list that the vocabulary has.
struct ByText {
  std::array<Token, kKnown.size()> tokens;  // per row of kKnown; -1: not there

  explicit ByText(const gguf::Strings& texts) {
    tokens.fill(-1);
    std::unordered_map<std::string_view, std::size_t> rows;
    for (std::size_t row = 0; row < kKnown.size(); ++row) rows.emplace(kKnown[row].text, row);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const auto found = rows.find(texts[i]);
      if (found != rows.end() && tokens[found->second] < 0) tokens[found->second] = static_cast<Token>(i);
    }
  }

  [[nodiscard]] Token first(Role role) const {
    for (std::size_t row = 0; row < kKnown.size(); ++row) {
      if (kKnown[row].role == role && tokens[row] >= 0) return tokens[row];
    }
    return -1;
  }
  [[nodiscard]] Token* find(std::string_view text) {
    const auto row = std::ranges::find(kKnown, text, &Known::text) - kKnown.begin();
    return &tokens[static_cast<std::size_t>(row)];
  }
  [[nodiscard]] bool has(std::string_view text) { return *find(text) >= 0; }
};

// Texts that mean something else beside others.
void leave_out_what_only_looks_like_an_end(ByText& known, Token eos) {
  // In o200k_harmony and in Solar's chat, <|end|> closes one message of several; others end the answer.
  const bool calls = known.has("<|call|>") || known.has("<|calls|>");
  if (calls && (known.has("<|return|>") || known.has("<|flush|>"))) *known.find("<|end|>") = -1;
  // Gemma 4 has </s> as a plain token.
  if (known.has("<|tool_response>") && *known.find("</s>") != eos) *known.find("</s>") = -1;
}

}  // namespace

SpecialTokens read_special_tokens(const gguf::Metadata& metadata, const gguf::Strings& tokens,
                                  const SpecialTokens& defaults) {
  SpecialTokens special;
  const Reader reader(metadata, tokens.size(), special.remarks);
  special.bos = reader.id("tokenizer.ggml.bos_token_id", defaults.bos);
  special.eos = reader.id("tokenizer.ggml.eos_token_id", defaults.eos);
  special.unknown = reader.id("tokenizer.ggml.unknown_token_id", defaults.unknown);
  special.add_bos =
      reader.flag("tokenizer.ggml.add_bos_token", defaults.add_bos, special.bos, "tokenizer.ggml.bos_token_id");
  if (defaults.always_add_bos) special.add_bos = special.bos >= 0;
  special.add_eos =
      reader.flag("tokenizer.ggml.add_eos_token", defaults.add_eos, special.eos, "tokenizer.ggml.eos_token_id");

  ByText known(tokens);
  const Token turn_by_text = known.first(Role::Turn);
  leave_out_what_only_looks_like_an_end(known, special.eos);
  const auto by_key_or_text = [&](std::string_view key, Role role, std::string_view old_key = {}) {
    Token token = reader.id(key, -1);
    if (token < 0 && !old_key.empty()) token = reader.id(old_key, -1);
    return token >= 0 ? token : known.first(role);
  };
  const Token turn_by_key = reader.id("tokenizer.ggml.eot_token_id", -1);
  special.eot = turn_by_key >= 0 ? turn_by_key : turn_by_text;
  special.eom = by_key_or_text("tokenizer.ggml.eom_token_id", Role::Message);
  special.fim_prefix =
      by_key_or_text("tokenizer.ggml.fim_pre_token_id", Role::Prefix, "tokenizer.ggml.prefix_token_id");
  special.fim_suffix =
      by_key_or_text("tokenizer.ggml.fim_suf_token_id", Role::Suffix, "tokenizer.ggml.suffix_token_id");
  special.fim_middle =
      by_key_or_text("tokenizer.ggml.fim_mid_token_id", Role::Middle, "tokenizer.ggml.middle_token_id");
  special.fim_pad = by_key_or_text("tokenizer.ggml.fim_pad_token_id", Role::Pad);
  special.fim_repository = by_key_or_text("tokenizer.ggml.fim_rep_token_id", Role::Repository);
  special.fim_separator = by_key_or_text("tokenizer.ggml.fim_sep_token_id", Role::Separator);

  for (std::size_t row = 0; row < kKnown.size(); ++row) {
    if (known.tokens[row] >= 0 && ends_generation(kKnown[row].role)) {
      special.control_by_text.push_back(known.tokens[row]);
    }
  }
  sort_unique(special.control_by_text);
  special.end_of_generation = special.control_by_text;
  for (const Token token :
       {special.eos, turn_by_key, special.eom, special.fim_pad, special.fim_repository, special.fim_separator}) {
    if (token >= 0) special.end_of_generation.push_back(token);
  }
  sort_unique(special.end_of_generation);
  return special;
}

// llama.cpp decides by names as well, since files do not say it.
Strips read_strips(const gguf::Metadata& metadata) {
  const auto text = [&](std::string_view key) {
    const std::string* value = metadata.get_string(key);
    return value != nullptr ? *value : std::string();
  };
  const std::string pre = text("tokenizer.ggml.pre");
  const std::string architecture = text("general.architecture");
  std::string name = text("general.name");
  const auto contains_any = [](const std::string& where, std::initializer_list<std::string_view> what) {
    return std::ranges::any_of(what, [&](std::string_view part) { return where.find(part) != std::string::npos; });
  };
  if (contains_any(pre, {"jina-v2-de", "jina-v2-es", "jina-v2-code"}) ||
      contains_any(architecture, {"nomic-bert-moe", "jina-bert-v3"})) {
    return {.left_of = "<mask>"};
  }
  const bool modern_bert = contains_any(name, {"modern-bert"});
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (contains_any(name, {"phi-3", "phi3"})) return {.right_of_special = true};
  if (modern_bert) return {.left_of = "[MASK]"};
  return {};
}

bool Strips::strips_right(std::string_view text, bool special) const {
  if (!right_of_special) return false;
  if (text == "</s>") return true;
  return special && text != "<unk>" && text != "<s>" && text != "<|endoftext|>";
}

}  // namespace loadline::tokenizer
