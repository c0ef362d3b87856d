// Any bytes as a request at the port, or as the path and the body of one (then what it goes through of the server, as
// the path says): parsing must end, within bounds, in JSON or in an Error; whatever names of samplers are in it, what
// they come to must be what a sampler can be made of or an Error; and a conversation must become a prompt or an Error.
// And as a server's answer, an address or a duration.
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
#include "serve/http.h"
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

void read_samplers(const serve::Json& body, serve::Dialect dialect) {
  constexpr std::uint32_t kContext = 512;
  const tokenizer::Tokenizer& tokenizer = small_tokenizer();
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

void read_conversation(const serve::Json& body, serve::Dialect dialect) {
  const serve::ChatRequest request = serve::read_chat(served(), body, dialect);
  require(!request.generation.prompt.empty());
}

// As the router would have it read.
void read_request(std::string_view path, std::string_view text) {
  using serve::Dialect;
  const std::string_view plain = serve::plain_path(path);
  require(!plain.empty() && plain.size() <= std::max<std::size_t>(path.size(), 1));
  const serve::ErrorForm form = serve::error_form_of(path);
  const serve::Json body = serve::parse_body(text);
  require(body.is_object());
  require(serve::Json::parse(serve::dump(body)).is_object());
  if (plain == "/responses") {
    read_conversation(serve::responses_body(body), Dialect::OpenAi);
  } else if (form == serve::ErrorForm::Anthropic) {
    read_samplers(body, Dialect::Anthropic);
    read_conversation(serve::anthropic_body(body), Dialect::Anthropic);
  } else if (form == serve::ErrorForm::Ollama) {
    const serve::Json fitted = serve::ollama_body(served(), body);
    read_samplers(fitted, Dialect::Ollama);
    read_conversation(fitted, Dialect::Ollama);
  } else if (form == serve::ErrorForm::Kobold) {
    read_samplers(body, Dialect::Kobold);
    (void)serve::read_prompts(served(), body);
  } else if (plain == "/completion" || plain == "/v1/completions") {
    read_samplers(body, Dialect::Native);
    (void)serve::read_generation(served(), body, Dialect::Native);
    (void)serve::read_prompts(served(), body);
  } else {
    read_samplers(body, Dialect::OpenAi);
    read_conversation(body, Dialect::OpenAi);
  }
}

// What this project's own programs read of a server, and of their command lines.
void read_others(std::string_view bytes) {
  require(serve::same_key(bytes, "key") == (bytes == "key"));
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
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::size_t line = std::min(bytes.find('\n'), bytes.size());
  try {
    if (bytes.substr(0, line).find(" HTTP/1.") != std::string_view::npos) {
      const auto request = serve::parse_request(bytes, {});
      if (request) read_request(request->path, request->body);
    } else if (bytes.starts_with('/')) {
      read_request(bytes.substr(0, line), bytes.substr(std::min(line + 1, bytes.size())));
    } else {
      read_others(bytes);
    }
  } catch (const Error&) {
  }
  return 0;
}
