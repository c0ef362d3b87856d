// Any bytes as a server's answer, an address or a duration, and as the path and the body of a request: parsing must
// end, within bounds, in JSON or in an Error; whatever names of samplers are in it, what they come to must be what a
// sampler can be made of or an Error; and as a conversation in any dialect it must become a prompt or an Error.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "base/error.h"
#include "chat/model_template.h"
#include "sample/sampler.h"
#include "serve/chat_request.h"
#include "serve/dialects.h"
#include "serve/http_client.h"
#include "serve/json.h"
#include "serve/models.h"
#include "serve/router.h"
#include "serve/sampling.h"
#include "tokenizer/synthetic.h"
#include "tokenizer/tokenizer.h"

namespace {

using namespace loadline;

void require(bool holds) {
  if (!holds) std::abort();
}

const tokenizer::Tokenizer& small_tokenizer() {
  static const auto kOne = tokenizer::Tokenizer::from_metadata(test::varied_byte_pair_metadata("gpt-2"));
  return *kOne;
}

void read_samplers(const serve::Json& body) {
  constexpr std::uint32_t kContext = 512;
  const tokenizer::Tokenizer& tokenizer = small_tokenizer();
  for (const auto dialect : {serve::Dialect::OpenAi, serve::Dialect::Native, serve::Dialect::Kobold,
                             serve::Dialect::Ollama, serve::Dialect::Anthropic}) {
    try {
      const sample::Options usual = serve::defaults_of(dialect, {});
      const sample::Options options = serve::get_sampling(body, usual, dialect, tokenizer, kContext);
      const sample::Sampler sampler(options, static_cast<std::uint32_t>(tokenizer.vocabulary_size()));
      require(sampler.candidates().empty());
      require(!serve::sampling_json(options).empty());
    } catch (const Error&) {
    }
    try {
      const auto most = serve::get_most_tokens(body, dialect);
      require(!most || *most >= -1);
    } catch (const Error&) {
    }
  }
  try {
    for (const std::string& stop : serve::get_stops(body)) require(!stop.empty());
    (void)serve::get_ignore_end(body);
  } catch (const Error&) {
  }
}

const serve::Served& served() {
  static const serve::Served* const kOne = [] {
    auto* one = new serve::Served;
    const gguf::Metadata metadata = test::varied_byte_pair_metadata("gpt-2");
    one->chat = std::make_unique<const talk::ChatModel>(metadata, small_tokenizer(),
                                                        chat::template_of(metadata, "chatml"), "fuzz");
    return one;
  }();
  return *kOne;
}

void read_conversations(const serve::Json& body) {
  using serve::Dialect;
  const auto read = [&](Dialect dialect, const auto& form) {
    try {
      const serve::ChatRequest request = serve::read_chat(served(), form(), dialect);
      require(!request.generation.prompt.empty());
    } catch (const Error&) {
    }
  };
  read(Dialect::OpenAi, [&] { return body; });
  read(Dialect::OpenAi, [&] { return serve::responses_body(body); });
  read(Dialect::Anthropic, [&] { return serve::anthropic_body(body); });
  read(Dialect::Ollama, [&] { return serve::ollama_body(served(), body); });
  try {
    (void)serve::read_prompts(served(), body);
  } catch (const Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::size_t line = std::min(bytes.find('\n'), bytes.size());
  const std::string_view path = bytes.substr(0, line);
  const std::string_view plain = serve::plain_path(path);
  require(!plain.empty() && plain.size() <= std::max<std::size_t>(path.size(), 1));
  (void)serve::error_form_of(path);
  require(serve::same_key(path, "key") == (path == "key"));
  for (const auto parse : {+[](std::string_view text) { (void)serve::parse_answer(text); },
                           +[](std::string_view text) { (void)serve::parse_address(text); },
                           +[](std::string_view text) {
                             const auto seconds = serve::parse_keep_alive(text);
                             require(!seconds || *seconds >= 0);
                           }}) {
    try {
      parse(bytes);
    } catch (const Error&) {
    }
  }
  try {
    const serve::Json body = serve::parse_body(bytes.substr(std::min(line + 1, bytes.size())));
    require(body.is_object());
    require(serve::Json::parse(serve::dump(body)).is_object());
    read_samplers(body);
    read_conversations(body);
  } catch (const Error&) {
  }
  return 0;
}
