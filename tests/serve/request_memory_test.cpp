// What requests take is what their rows of the plan say: with an operator new that counts.
#include "serve/request_memory.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>

#include "chat/model_template.h"
#include "serve/chat_request.h"
#include "serve/dialects.h"
#include "serve/served.h"
#include "support/allocations.h"
#include "tokenizer/synthetic.h"

namespace loadline::serve {
namespace {

constexpr Bytes kBody(std::uint64_t{512} << 10);
constexpr Bytes kLargeBody(std::uint64_t{16} << 20);  // as many are by default

struct Model {
  Model()
      : metadata(test::varied_byte_pair_metadata("gpt-2")), tokenizer(tokenizer::Tokenizer::from_metadata(metadata)) {
    served.chat =
        std::make_unique<const talk::ChatModel>(metadata, *tokenizer, chat::template_of(metadata, "chatml"), "test");
    (void)served.chat->index();  // whose row is another
  }
  gguf::Metadata metadata;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;
  Served served;
};

std::string repeated(std::string_view text, Bytes size) {
  std::string out;
  while (out.size() + text.size() < size.value) out += text;
  return out;
}

std::vector<std::string> large_texts(Bytes size, std::initializer_list<const char*> texts) {
  std::vector<std::string> out;
  for (const char* text : texts) {
    out.push_back(
        fmt::format(R"({{"messages":[{{"role":"user","content":"{}"}}]}})", repeated(text, size - Bytes(100))));
  }
  return out;
}

// The largest bodies of their kind.
std::vector<std::string> large_bodies() {
  const auto with = [](std::string_view field, const std::string& value) {
    return fmt::format(R"({{"messages":[{{"role":"user","content":"a"}}],"{}":{}}})", field, value);
  };
  const auto list = [](std::string_view one) {
    return "[" + repeated(std::string(one) + ",", kBody - Bytes(200)) + "0]";
  };
  std::vector<std::string> out =
      large_texts(kBody, {"a", "word ", "\\ud83d\\ude00", "\\ud83d", "\\u0001", "\xF0\x9F\x98\x80", "<|im_end|>"});
  for (const char* one : {"0", "[]", "{}", "\"\"", "\"sixteen letters..\"", "{\"a\":0}", "[[[[0]]]]", "1.5", "null"}) {
    out.push_back(with("unknown", list(one)));
  }
  out.push_back(with("stop", list("\"a\"")));
  out.push_back(with("logit_bias", list("[0,0]")));
  out.push_back(with("unknown", "{" + repeated("\"\":0,", kBody - Bytes(100)) + "\"\":0}"));
  out.push_back(with("chat_template_kwargs", "{" + repeated("\"\":0,", kBody - Bytes(100)) + "\"\":0}"));
  const std::string message = R"({"role":"user","content":""},)";
  out.push_back(fmt::format(R"({{"messages":[{}{}]}})", repeated(message, kBody - Bytes(100)),
                            R"({"role":"user","content":"a"})"));
  const std::string call =
      R"({"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{\"a\":[0,0,0,0]}"}}]},)";
  out.push_back(
      fmt::format(R"({{"messages":[{}{}]}})", repeated(call, kBody - Bytes(100)), R"({"role":"user","content":"a"})"));
  std::string tools;
  for (int i = 0; i < 500; ++i) {
    tools += fmt::format(R"({{"type":"function","function":{{"name":"f{}","description":"{}"}}}},)", i,
                         std::string(700, 'd'));
  }
  out.push_back(with("tools", "[" + tools + R"({"type":"function","function":{"name":"f"}}])"));
  return out;
}

// The most that reading any of them took, which is no more than the row.
Bytes most_of_reading(const std::vector<std::string>& bodies, Bytes most_body) {
  const Model model;
  const RequestLimits limits{.places = 1,
                             .waiting = 0,
                             .context = 4096,
                             .vocabulary = 0,
                             .most_body = most_body,
                             .most_bodies = {},
                             .connections = {},
                             .index = {}};
  const Bytes row = request_memory(limits).reading;
  Bytes most;
  for (const std::string& text : bodies) {
    EXPECT_LE(text.size(), most_body.value + 200);
    for (const bool chat : {true, false}) {
      const test::AllocationWatch watch;
      std::string said = "read";
      try {
        const Json body = parse_body(text);
        if (chat) {
          (void)read_chat(model.served, body, Dialect::OpenAi);
        } else {
          (void)read_generation(model.served, body, Dialect::Native);
        }
      } catch (const Error& error) {
        said = error.what();
      }
      const Bytes peak = watch.peak();
      most = std::max(most, peak);
      EXPECT_LE(peak.value, row.value) << text.substr(0, 100) << " : " << said.substr(0, 100);
    }
  }
  EXPECT_GT(most.value, row.value / 8) << "nothing here is large enough to show anything";
  return most;
}

TEST(RequestMemory, ReadingTakesNoMoreThanItsRow) {
  RecordProperty("most", std::to_string(most_of_reading(large_bodies(), kBody).value));
}

TEST(RequestMemory, ReadingALargeBodyTakesNoMoreThanItsRow) {
  RecordProperty(
      "most", std::to_string(
                  most_of_reading(large_texts(kLargeBody, {"a", "\\ud83d\\ude00", "<|im_end|>"}), kLargeBody).value));
}

// Of words that merge to the end, that do not merge, and that are one from the first letter to the last.
TEST(RequestMemory, MakingTokensOfATextTakesNoMoreThanIsPlanned) {
  Model bytes;
  Model pieces;
  pieces.metadata = test::varied_sentence_piece_metadata();
  const auto tokenizer = tokenizer::Tokenizer::from_metadata(pieces.metadata);
  for (const tokenizer::Tokenizer* one : {&*bytes.tokenizer, &*tokenizer}) {
    Served served;
    served.chat = std::make_unique<const talk::ChatModel>(bytes.metadata, *one,
                                                          chat::template_of(bytes.metadata, "chatml"), "test");
    const Bytes size = most_text(served.context());
    for (const char* text :
         {"a", "ab", "abc", " ", " a", "\n", "0", "\xF0\x9F\x98\x80", "\xE6\xB5\xB7", "\xFF", "<|im_end|>"}) {
      const std::string whole = repeated(text, size);
      const test::AllocationWatch watch;
      (void)served.encode(whole, {.add_special = true, .parse_special = true});
      EXPECT_LE(watch.peak().value, size.value * kMerging) << text;
    }
    EXPECT_THROW((void)served.encode(std::string(size.value + 1, 'a'), {}), TooLarge);
  }
}

// A generation to the end of its context, whatever it is asked for.
TEST(RequestMemory, AnAnswerTakesNoMoreThanItIsAdmittedWith) {
  const Model model;
  constexpr std::uint32_t kContext = 2048;
  const auto vocabulary = static_cast<std::uint32_t>(model.tokenizer->vocabulary_size());
  std::mt19937 random(1);  // NOLINT(bugprone-random-generator-seed): the same each time
  const auto up_to = [&](std::uint32_t most) { return static_cast<std::uint32_t>(random() % (most + 1)); };
  for (int round = 0; round < 50; ++round) {
    Json body = {{"temperature", up_to(2)}, {"top_k", up_to(100)}, {"mirostat", up_to(2)}};
    if (up_to(1) != 0) body["dry_multiplier"] = 1;
    if (up_to(1) != 0) body["repeat_last_n"] = up_to(kContext);
    for (std::uint32_t i = up_to(5); i > 0; --i) body["banned_strings"].push_back(std::string(1 + up_to(100), 'q'));
    for (std::uint32_t i = up_to(5); i > 0; --i) body["stop"].push_back(std::string(1 + up_to(1000), 'z'));
    if (up_to(2) == 0) body["json_schema"] = {{"type", "object"}, {"properties", {{"a", {{"type", "string"}}}}}};
    Generation generation = read_generation(model.served, body, Dialect::Native);
    generation.prompt.assign(1 + up_to(kContext / 2), 1);
    generation.ignore_end = up_to(1) != 0;
    if (up_to(2) == 0) generation.log_probabilities = {up_to(50), false};
    if (up_to(2) == 0) generation.format = chat::OutputFormat::ReasoningOnly;
    const Bytes announced = talk::Generation::memory_bytes(generation, vocabulary, kContext);
    std::vector<float> logits(vocabulary);
    const test::AllocationWatch watch;
    {
      talk::Generation answer(talk::GenerationOptions(generation), *model.tokenizer, vocabulary, {});
      (void)answer.session();
      for (std::size_t i = generation.prompt.size(); i < kContext; ++i) {
        for (float& one : logits) one = static_cast<float>(up_to(1000)) / 100;
        const sample::Token token = answer.draw(logits);
        if (answer.is_end(token) || !answer.take(token)) break;
      }
    }
    EXPECT_LE(watch.peak().value, announced.value) << dump(body).substr(0, 300);
  }
}

}  // namespace
}  // namespace loadline::serve
