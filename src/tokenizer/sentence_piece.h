// SentencePiece-style BPE (tokenizer.ggml.model "llama"): characters are merged into tokens, highest score first; what
// is in no token is written in byte tokens. Blanks belong to the word behind them, and text is encoded as if one stood
// before it.
#pragma once

#include "tokenizer/table_tokenizer.h"

namespace loadline::tokenizer {

class SentencePieceTokenizer final : public TableTokenizer {
 public:
  // Throws Error(BadInput), see Tokenizer::from_metadata.
  explicit SentencePieceTokenizer(const gguf::Metadata& metadata);
  [[nodiscard]] Bytes resident_bytes() const override;

 private:
  class Session;
  [[nodiscard]] std::unique_ptr<EncodeSession> start(std::size_t text_size, std::size_t stretches) const override;

  // Whether text may merge into it: control, unknown and byte tokens mean something else, user-defined ones are found
  // before.
  [[nodiscard]] bool can_merge(Token token) const;

  std::vector<std::uint32_t> ranks_;  // by token: the higher its score, the lower
  // No token has a blank behind another character, so no merge reaches over the beginning of a run of blanks, and the
  // text can be cut there.
  bool words_begin_with_blanks_ = true;
};

}  // namespace loadline::tokenizer
