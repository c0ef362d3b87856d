// Any bytes as text, in small vocabularies of both kinds and with every pre-tokeniser: encoding must end, decoding must
// give the text back, and the stream decoder must agree with decoding at once. Other bytes as tokens must decode as
// well.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/synthetic.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

namespace {

using namespace loadline;
using tokenizer::Token;
using tokenizer::Tokenizer;

void require(bool holds) {
  if (!holds) std::abort();
}

const std::vector<std::unique_ptr<Tokenizer>>& tokenizers() {
  static const auto kAll = [] {
    std::vector<std::unique_ptr<Tokenizer>> list;
    list.push_back(Tokenizer::from_metadata(test::varied_sentence_piece_metadata()));
    for (const char* pre : {"default", "gpt-2", "llama-bpe", "qwen2", "deepseek-llm", "deepseek-coder", "deepseek-v3",
                            "falcon", "starcoder", "tekken", "gpt-4o"}) {
      list.push_back(Tokenizer::from_metadata(test::varied_byte_pair_metadata(pre)));
    }
    return list;
  }();
  return kAll;
}

std::string streamed(const Tokenizer& tokenizer, const std::vector<Token>& tokens, bool special) {
  tokenizer::StreamDecoder decoder(tokenizer, special);
  std::string text;
  for (const Token token : tokens) {
    const std::string part = decoder.push(token);
    require(tokenizer::valid_utf8_prefix(part) == part.size());
    text += part;
  }
  return text + decoder.finish();
}

void check_stream(const Tokenizer& tokenizer, const std::vector<Token>& tokens, bool special) {
  require(streamed(tokenizer, tokens, special) == tokenizer::replace_invalid_utf8(tokenizer.decode(tokens, special)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Tokenizer& tokenizer = *tokenizers()[data[0] % tokenizers().size()];
  const bool parse_special = data[0] >= 128;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);

  const auto tokens = tokenizer.encode(text, {.add_special = false, .parse_special = parse_special});
  for (const Token token : tokens) require(token >= 0 && token < tokenizer.vocabulary_size());
  // U+2581 stands for a blank in the first vocabulary.
  if (text.find("\u2581") == std::string_view::npos) require(tokenizer.decode(tokens, parse_special) == text);
  check_stream(tokenizer, tokens, parse_special);

  std::vector<Token> any;
  for (std::size_t i = 2; i < size; i += 2) any.push_back((data[i - 1] << 8 | data[i]) % tokenizer.vocabulary_size());
  check_stream(tokenizer, any, parse_special);
  return 0;
}
