#include "chat/model_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/text.h"

namespace loadline::chat {
namespace {

// A form in which every turn has a text before and behind it. Written as the contents of template strings.
struct Form {
  std::string_view name;
  std::string_view begin;  // of the prompt
  std::string_view system_open;
  std::string_view system_close;
  std::string_view user_open;
  std::string_view user_close;
  std::string_view assistant_open;  // also opens the answer
  std::string_view assistant_close;
};

// What models of these families were taught, as their authors document it.
constexpr std::array kForms = {
    Form{"chatml", "", "<|im_start|>system\\n", "<|im_end|>\\n", "<|im_start|>user\\n", "<|im_end|>\\n",
         "<|im_start|>assistant\\n", "<|im_end|>\\n"},
    Form{"llama3", "", "<|start_header_id|>system<|end_header_id|>\\n\\n", "<|eot_id|>",
         "<|start_header_id|>user<|end_header_id|>\\n\\n", "<|eot_id|>",
         "<|start_header_id|>assistant<|end_header_id|>\\n\\n", "<|eot_id|>"},
    Form{"llama4", "", "<|header_start|>system<|header_end|>\\n\\n", "<|eot|>",
         "<|header_start|>user<|header_end|>\\n\\n", "<|eot|>", "<|header_start|>assistant<|header_end|>\\n\\n",
         "<|eot|>"},
    Form{"phi3", "", "<|system|>\\n", "<|end|>\\n", "<|user|>\\n", "<|end|>\\n", "<|assistant|>\\n", "<|end|>\\n"},
    Form{"phi4", "", "<|im_start|>system<|im_sep|>", "<|im_end|>", "<|im_start|>user<|im_sep|>", "<|im_end|>",
         "<|im_start|>assistant<|im_sep|>", "<|im_end|>"},
    Form{"falcon3", "", "<|system|>\\n", "\\n", "<|user|>\\n", "\\n", "<|assistant|>\\n", "\\n"},
    Form{"zephyr", "", "<|system|>\\n", "<|endoftext|>\\n", "<|user|>\\n", "<|endoftext|>\\n", "<|assistant|>\\n",
         "<|endoftext|>\\n"},
    Form{"vicuna", "", "", "\\n\\n", "USER: ", "\\n", "ASSISTANT: ", "</s>\\n"},
    Form{"vicuna-orca", "", "SYSTEM: ", "\\n", "USER: ", "\\n", "ASSISTANT: ", "</s>\\n"},
    Form{"openchat", "", "", "<|end_of_turn|>", "GPT4 Correct User: ", "<|end_of_turn|>",
         "GPT4 Correct Assistant: ", "<|end_of_turn|>"},
    Form{"deepseek", "", "", "", "### Instruction:\\n", "\\n", "### Response:\\n", "\\n<|EOT|>\\n"},
    Form{"deepseek2", "", "", "\\n\\n", "User: ", "\\n\\n", "Assistant: ", "<｜end▁of▁sentence｜>"},
    Form{"deepseek3", "", "", "\\n\\n", "<｜User｜>", "", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"},
    Form{"command-r", "", "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>", "<|END_OF_TURN_TOKEN|>",
         "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
         "<|END_OF_TURN_TOKEN|>"},
    Form{"chatglm3", "[gMASK]sop", "<|system|>\\n ", "", "<|user|>\\n ", "", "<|assistant|>", ""},
    Form{"chatglm4", "[gMASK]<sop>", "<|system|>\\n", "", "<|user|>\\n", "", "<|assistant|>\\n", ""},
    Form{"glmedge", "", "<|system|>\\n", "", "<|user|>\\n", "", "<|assistant|>\\n", ""},
    Form{"minicpm", "", "", "", "<用户>", "", "<AI>", ""},
    Form{"exaone3", "", "[|system|]", "[|endofturn|]\\n", "[|user|]", "\\n", "[|assistant|]", "[|endofturn|]\\n"},
    Form{"exaone4", "", "[|system|]", "[|endofturn|]\\n", "[|user|]", "\\n", "[|assistant|]", "[|endofturn|]\\n"},
    Form{"rwkv-world", "", "System: ", "\\n\\n", "User: ", "\\n\\n", "Assistant:", "\\n\\n"},
    Form{"granite", "", "<|start_of_role|>system<|end_of_role|>", "<|end_of_text|>\\n",
         "<|start_of_role|>user<|end_of_role|>", "<|end_of_text|>\\n", "<|start_of_role|>assistant<|end_of_role|>",
         "<|end_of_text|>\\n"},
    Form{"megrez", "", "<|role_start|>system<|role_end|>", "<|turn_end|>", "<|role_start|>user<|role_end|>",
         "<|turn_end|>", "<|role_start|>assistant<|role_end|>", "<|turn_end|>"},
    Form{"bailing", "", "<role>SYSTEM</role>", "", "<role>HUMAN</role>", "", "<role>ASSISTANT</role>", ""},
    Form{"hunyuan-moe", "<|startoftext|>", "", "<|extra_4|>", "", "<|extra_0|>", "", "<|eos|>"},
    Form{"gpt-oss", "", "<|start|>system<|message|>", "<|end|>", "<|start|>user<|message|>", "<|end|>",
         "<|start|>assistant", "<|end|>"},
    Form{"smolvlm", "<|im_start|>", "System: ", "<end_of_utterance>\\n", "User: ", "<end_of_utterance>\\n",
         "Assistant:", "<end_of_utterance>\\n"},
    Form{"yandex", "", "", "\\n\\n", " Пользователь: ", "\\n\\n", " Ассистент:[SEP]", "\\n\\n"},
    Form{"orion", "", "", "", "Human: ", "\\n\\n", "Assistant: </s>", "</s>"},
    Form{"alpaca", "", "", "\\n\\n", "### Instruction:\\n", "\\n\\n", "### Response:\\n", "\\n\\n"},
};

// Those whose system text goes into the first user's turn, or that have marks for it alone.
constexpr std::string_view kGemma =
    "{% set ns = namespace(system='') %}{% for m in messages %}{% if m.role == 'system' %}"
    "{% set ns.system = m.content|trim + '\\n\\n' %}{% else %}"
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' }}"
    "{% if m.role == 'user' %}{{ ns.system }}{% set ns.system = '' %}{% endif %}"
    "{{ m.content|trim + '<end_of_turn>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}";
constexpr std::string_view kLlama2 =
    "{% set ns = namespace(system='') %}{% for m in messages %}{% if m.role == 'system' %}"
    "{% set ns.system = '<<SYS>>\\n' + m.content|trim + '\\n<</SYS>>\\n\\n' %}{% elif m.role == 'user' %}"
    "{{ '[INST] ' + ns.system + m.content|trim + ' [/INST]' }}{% set ns.system = '' %}{% else %}"
    "{{ ' ' + m.content|trim + ' ' + (eos_token or '</s>') }}{% endif %}{% endfor %}";
constexpr std::string_view kMistral =
    "{% set ns = namespace(system='') %}{% for m in messages %}{% if m.role == 'system' %}"
    "{% set ns.system = m.content + '\\n\\n' %}{% elif m.role == 'user' %}"
    "{{ '@O' + ns.system + m.content + '@C' }}{% set ns.system = '' %}{% else %}"
    "{{ '@A' + m.content + (eos_token or '</s>') }}{% endif %}{% endfor %}";
constexpr std::string_view kMistral7 =
    "{% for m in messages %}{% if m.role == 'system' %}{{ '[SYSTEM_PROMPT]@A' + m.content + '[/SYSTEM_PROMPT]' }}"
    "{% elif m.role == 'user' %}{{ '[INST]@A' + m.content + '[/INST]' }}{% else %}"
    "{{ '@A' + m.content + (eos_token or '</s>') }}{% endif %}{% endfor %}";

std::string replaced(std::string_view text, std::string_view what, std::string_view with) {
  std::string out(text);
  for (std::size_t at = out.find(what); at != std::string::npos; at = out.find(what, at + with.size())) {
    out.replace(at, what.size(), with);
  }
  return out;
}

std::string mistral(std::string_view open, std::string_view close, std::string_view answer) {
  return replaced(replaced(replaced(kMistral, "@O", open), "@C", close), "@A", answer);
}

std::string special_form(std::string_view name) {
  if (name == "gemma") return std::string(kGemma);
  if (name == "llama2" || name == "llama2-sys") return std::string(kLlama2);
  if (name == "llama2-sys-bos" || name == "llama2-sys-strip") return std::string(kLlama2);
  if (name == "mistral-v1") return mistral(" [INST] ", " [/INST]", " ");
  if (name == "mistral-v3") return mistral("[INST] ", "[/INST]", " ");
  if (name == "mistral-v3-tekken") return mistral("[INST]", "[/INST]", "");
  if (name == "mistral-v7") return replaced(kMistral7, "@A", " ");
  if (name == "mistral-v7-tekken") return replaced(kMistral7, "@A", "");
  return {};
}

constexpr std::array<std::string_view, 10> kSpecialNames = {
    "gemma",      "llama2",     "llama2-sys",        "llama2-sys-bos", "llama2-sys-strip",
    "mistral-v1", "mistral-v3", "mistral-v3-tekken", "mistral-v7",     "mistral-v7-tekken"};

std::string source_of(const Form& form) {
  const auto turn = [](std::string_view open, std::string_view close) {
    return fmt::format("{{{{ '{}' + (m.content or '') + '{}' }}}}", open, close);
  };
  return fmt::format(
      "{}{{% for m in messages %}}{{% if m.role == 'system' %}}{}{{% elif m.role == 'assistant' %}}{}{{% else %}}{}"
      "{{% endif %}}{{% endfor %}}{{% if add_generation_prompt %}}{{{{ '{}' }}}}{{% endif %}}",
      form.begin.empty() ? "" : fmt::format("{{{{ '{}' }}}}", form.begin), turn(form.system_open, form.system_close),
      turn(form.assistant_open, form.assistant_close), turn(form.user_open, form.user_close), form.assistant_open);
}

bool has_token(const gguf::Metadata& metadata, std::string_view text) {
  const auto* tokens = metadata.get_strings("tokenizer.ggml.tokens");
  return tokens != nullptr && std::find(tokens->begin(), tokens->end(), text) != tokens->end();
}

std::string token_text(const gguf::Metadata& metadata, std::string_view id_key) {
  const auto* tokens = metadata.get_strings("tokenizer.ggml.tokens");
  const auto id = metadata.get_unsigned(id_key);
  return tokens != nullptr && id && *id < tokens->size() ? std::string((*tokens)[*id]) : std::string();
}

// By the marks that the vocabulary has.
std::string_view guessed(const gguf::Metadata& metadata) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 12> kSigns = {{
      {"<|im_start|>", "chatml"},
      {"<|start_header_id|>", "llama3"},
      {"<|header_start|>", "llama4"},
      {"<start_of_turn>", "gemma"},
      {"<|start_of_role|>", "granite"},
      {"<|START_OF_TURN_TOKEN|>", "command-r"},
      {"<｜User｜>", "deepseek3"},
      {"[SYSTEM_PROMPT]", "mistral-v7"},
      {"[INST]", "mistral-v3"},
      {"[|assistant|]", "exaone3"},
      {"<|role_start|>", "megrez"},
      {"<|end|>", "phi3"},
  }};
  for (const auto& [sign, name] : kSigns) {
    if (has_token(metadata, sign)) return name;
  }
  return "chatml";
}

}  // namespace

std::vector<std::string_view> builtin_template_names() {
  std::vector<std::string_view> names(kSpecialNames.begin(), kSpecialNames.end());
  for (const Form& form : kForms) names.push_back(form.name);
  std::sort(names.begin(), names.end());
  return names;
}

std::string builtin_template(std::string_view name) {
  const auto* const form = std::find_if(kForms.begin(), kForms.end(), [&](const Form& f) { return f.name == name; });
  return form != kForms.end() ? source_of(*form) : special_form(name);
}

ModelTemplate template_of(const gguf::Metadata& metadata, std::string_view name) {
  if (!name.empty()) {
    std::string source = builtin_template(name);
    if (source.empty()) {
      throw bad_input(fmt::format("there is no chat template \"{}\"", printable(name)),
                      fmt::format("It can be a file, or one of: {}.", fmt::join(builtin_template_names(), ", ")));
    }
    return {std::move(source), std::string(name), false};
  }
  if (const std::string* own = metadata.get_string("tokenizer.chat_template"); own != nullptr && !own->empty()) {
    return {*own, "the model's own", false};
  }
  const std::string_view guess = guessed(metadata);
  return {builtin_template(guess), std::string(guess), true};
}

std::string bos_text(const gguf::Metadata& metadata) { return token_text(metadata, "tokenizer.ggml.bos_token_id"); }
std::string eos_text(const gguf::Metadata& metadata) { return token_text(metadata, "tokenizer.ggml.eos_token_id"); }

}  // namespace loadline::chat
