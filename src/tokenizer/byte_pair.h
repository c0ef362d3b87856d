// BPE by a list of merges (tokenizer.ggml.model "gpt2", "gemma4"): a pre-tokeniser cuts the text into words; in each,
// bytes, or characters where the vocabulary is of plain text, are merged in the order of the list.
#pragma once

#include <optional>

#include "tokenizer/pretokenizer.h"
#include "tokenizer/table_tokenizer.h"

namespace loadline::tokenizer {

// The list of merges, by the two tokens a merge joins. Immutable after construction.
class MergeTable {
 public:
  // Entries that are not two tokens which together are a third are skipped. Throws Error(BadInput) naming
  // tokenizer.ggml.merges where it is missing, or an entry is not two texts.
  MergeTable(const gguf::Metadata& metadata, const Vocabulary& vocabulary, TokenSpelling spelling);

  [[nodiscard]] Merge find(Token left, Token right) const;
  // "3 of the 40000 merges join what is no token ("x y" is the first); they are not used", or empty.
  [[nodiscard]] const std::string& remark() const { return remark_; }
  [[nodiscard]] Bytes resident_bytes() const { return Bytes(slots_.capacity() * sizeof(Slot)); }

 private:
  struct Slot {
    std::uint64_t pair;  // kEmpty or left << 32 | right
    Merge merge;
  };
  static constexpr std::uint64_t kEmpty = UINT64_MAX;
  [[nodiscard]] std::size_t position(std::uint64_t pair) const;

  std::vector<Slot> slots_;  // open addressing, linear probing; a power of two, at most half full
  std::uint64_t seed_;
  std::string remark_;
};

class BytePairTokenizer final : public TableTokenizer {
 public:
  // Throws Error(BadInput), see Tokenizer::from_metadata.
  explicit BytePairTokenizer(const gguf::Metadata& metadata);
  [[nodiscard]] Bytes resident_bytes() const override;

 private:
  class Session;
  BytePairTokenizer(const gguf::Metadata& metadata, std::unique_ptr<PreTokenizer> pretokenizer);
  [[nodiscard]] std::unique_ptr<EncodeSession> start(std::size_t text_size, std::size_t stretches) const override;

  // The token that a byte, or a character of a plain vocabulary, begins as; -1 where there is none.
  [[nodiscard]] Token symbol_token(std::string_view symbol) const;
  [[nodiscard]] Merge find_merge(std::string_view word, const Symbol& left, const Symbol& right) const;

  std::unique_ptr<PreTokenizer> pretokenizer_;
  std::optional<MergeTable> merges_;  // without, tokens are joined in the order of their ids
  std::vector<Token> byte_tokens_;    // 256; -1 where the vocabulary has none
};

}  // namespace loadline::tokenizer
