#include "tokenizer/tokenizer.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "tokenizer/byte_pair.h"
#include "tokenizer/sentence_piece.h"

namespace loadline::tokenizer {

std::unique_ptr<Tokenizer> Tokenizer::from_metadata(const gguf::Metadata& metadata) {
  const std::string* model = metadata.get_string("tokenizer.ggml.model");
  if (model == nullptr) throw bad_input("tokenizer.ggml.model is missing: the file has no tokenizer");
  if (*model == "llama") return std::make_unique<SentencePieceTokenizer>(metadata);
  if (*model == "gpt2" || *model == "gemma4") return std::make_unique<BytePairTokenizer>(metadata);
  throw bad_input(
      fmt::format("tokenizer.ggml.model is \"{}\", a kind of tokenizer that is not supported", printable(*model)),
      "Supported are \"llama\" (SentencePiece), \"gpt2\" (byte-level BPE) and \"gemma4\".");
}

}  // namespace loadline::tokenizer
