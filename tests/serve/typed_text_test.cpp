// What clients' users typed never becomes a control token, whichever dialect it came in.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "chat/model_template.h"
#include "serve/chat_request.h"
#include "serve/dialects.h"
#include "tokenizer/synthetic.h"

namespace loadline::serve {
namespace {

// A model with the control tokens of ChatML, of reasoning and of Hermes' calls.
class TypedText : public testing::Test {
 protected:
  TypedText()
      : metadata_(test::byte_pair_metadata(
            "gpt-2", {"i m", "e n", "en d"},
            {{"<|im_start|>", 3}, {"<|im_end|>", 3}, {"<think>", 3}, {"</think>", 3}, {"<tool_call>", 3}})) {
    test::set_id(metadata_, "tokenizer.ggml.eos_token_id",
                 static_cast<std::uint32_t>(test::token_of(metadata_, "<|im_end|>")));
    tokenizer_ = tokenizer::Tokenizer::from_metadata(metadata_);
    chat::ModelTemplate chosen = chat::template_of(metadata_, "chatml");
    chosen.source =
        "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
        "{% if message.reasoning_content %}{{ message.reasoning_content }}{% endif %}"
        "{% for call in message.tool_calls %}{{ call.function.name }}{{ call.function.arguments | tojson }}{% endfor %}"
        "<|im_end|>\n{% endfor %}{% if effort %}{{ effort }}{% endif %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    served_.chat = std::make_unique<const talk::ChatModel>(metadata_, *tokenizer_, chosen, "test");
  }

  // In the assistant's messages the marks of reasoning are its own.
  static std::string without_marks(std::string text) {
    for (const std::string mark : {"<think>", "</think>"}) {
      for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark))
        text.replace(at, mark.size(), "-");
    }
    return text;
  }
  [[nodiscard]] std::size_t controls(const std::vector<Token>& tokens) const {
    return static_cast<std::size_t>(
        std::ranges::count_if(tokens, [&](Token token) { return tokenizer_->piece(token, false).empty(); }));
  }
  // However a client writes `text` into a request, the prompt has the control tokens that it has with a harmless one.
  void hold(const std::function<std::vector<Token>(const std::string&)>& prompt_of) {
    const std::size_t own = controls(prompt_of("harmless"));
    EXPECT_GE(own, 3U);
    rc::check([&] {
      const std::vector<std::string> bits = {"<|im_end|>", "<|im_start|>", "system\n",   "</think>", "<think>",
                                             "<|im_",      "end|>",        "x",          " ",        "\n",
                                             "<",          "|>",           "<tool_call>"};
      std::string text = "y";
      for (const auto bit :
           *rc::gen::container<std::vector<std::size_t>>(rc::gen::inRange<std::size_t>(0, bits.size()))) {
        text += bits[bit];
      }
      RC_ASSERT(controls(prompt_of(text)) == own);
    });
  }
  [[nodiscard]] std::vector<Token> prompt(const Json& body, Dialect dialect) const {
    return read_chat(served_, body, dialect).generation.prompt;
  }

  gguf::Metadata metadata_;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer_;
  Served served_;
};

TEST_F(TypedText, InOpenAisChatInEveryRoleToolAndVariable) {
  hold([&](const std::string& text) {
    return prompt(
        {{"messages",
          {{{"role", "system"}, {"content", text}},
           {{"role", "user"}, {"content", Json::array({{{"type", "text"}, {"text", text}}})}},
           {{"role", "assistant"},
            {"content", "so"},
            {"tool_calls", Json::array({{{"id", "a"},
                                         {"function",
                                          {{"name", without_marks(text)},
                                           {"arguments", dump(Json{{"k", without_marks(text)}})}}}}})}},
           {{"role", "tool"}, {"tool_call_id", "a"}, {"content", text}},
           {{"role", "user"}, {"content", text}}}},
         {"tools", Json::array({{{"type", "function"}, {"function", {{"name", "f"}, {"description", text}}}}})},
         {"chat_template_kwargs", {{"effort", text}}}},
        Dialect::OpenAi);
  });
}

TEST_F(TypedText, InResponses) {
  hold([&](const std::string& text) {
    return prompt(
        responses_body(
            {{"instructions", text},
             {"input",
              {{{"role", "developer"}, {"content", text}},
               {{"type", "message"},
                {"role", "user"},
                {"content", Json::array({{{"type", "input_text"}, {"text", text}}})}},
               {{"type", "function_call"}, {"call_id", "a"}, {"name", "f"}, {"arguments", without_marks(text)}},
               {{"type", "function_call_output"}, {"call_id", "a"}, {"output", text}}}}}),
        Dialect::OpenAi);
  });
}

TEST_F(TypedText, InAnthropicsMessages) {
  hold([&](const std::string& text) {
    return prompt(
        anthropic_body(
            {{"system", Json::array({{{"type", "text"}, {"text", text}}})},
             {"messages",
              {{{"role", "user"}, {"content", text}},
               {{"role", "assistant"},
                {"content",
                 Json::array(
                     {{{"type", "tool_use"}, {"id", "a"}, {"name", "f"}, {"input", {{"k", without_marks(text)}}}}})}},
               {{"role", "user"},
                {"content", Json::array({{{"type", "tool_result"}, {"tool_use_id", "a"}, {"content", text}},
                                         {{"type", "text"}, {"text", text}}})}}}}}),
        Dialect::Anthropic);
  });
}

TEST_F(TypedText, InOllamasChat) {
  hold([&](const std::string& text) {
    return prompt(ollama_body(served_, {{"messages",
                                         {{{"role", "system"}, {"content", text}},
                                          {{"role", "user"}, {"content", text}},
                                          {{"role", "assistant"}, {"content", "so"}},
                                          {{"role", "tool"}, {"tool_name", "f"}, {"content", text}}}}}),
                  Dialect::Ollama);
  });
}

TEST_F(TypedText, VariablesThatOnlyTheFileMaySetAreRefused) {
  const Json messages = {{{"role", "user"}, {"content", "x"}}};
  for (const char* name : {"bos_token", "eos_token", "messages", "tools"}) {
    EXPECT_THROW(
        (void)prompt({{"messages", messages}, {"chat_template_kwargs", {{name, "<|im_end|>"}}}}, Dialect::OpenAi),
        Error)
        << name;
  }
}

TEST_F(TypedText, WhatIsFittedToTheTemplateIsTold) {
  chat::ModelTemplate strict = served_.chat->chosen();
  strict.source =
      "{% for message in messages %}{% if message.role not in ['system', 'user', 'assistant'] %}"
      "{{ raise_exception('no') }}{% endif %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
      "{% endfor %}<|im_start|>assistant\n";
  served_.chat = std::make_unique<const talk::ChatModel>(metadata_, *tokenizer_, strict, "test");
  const ChatRequest request = read_chat(
      served_, {{"messages", {{{"role", "developer"}, {"content", "x"}}, {{"role", "user"}, {"content", "y"}}}}},
      Dialect::OpenAi);
  EXPECT_NE(request.prompt.find("<|im_start|>system\nx"), std::string::npos) << request.prompt;
  EXPECT_FALSE(request.changes.empty());
}

}  // namespace
}  // namespace loadline::serve
