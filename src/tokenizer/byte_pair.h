// Byte-level BPE (tokenizer.ggml.model "gpt2"): a pre-tokeniser cuts the text into words; in each, bytes are merged in
// the order of the model's list of merges.
#pragma once

#include "tokenizer/pretokenizer.h"
#include "tokenizer/table_tokenizer.h"

namespace loadline::tokenizer {

// The list of merges, by the two tokens a merge joins. Immutable after construction.
class MergeTable {
 public:
  // Throws Error(BadInput) naming tokenizer.ggml.merges where it is missing, or an entry is not two tokens that
  // together are a third.
  MergeTable(const gguf::Metadata& metadata, const Vocabulary& vocabulary);

  [[nodiscard]] Merge find(Token left, Token right) const;
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

  std::unique_ptr<PreTokenizer> pretokenizer_;
  MergeTable merges_;
  std::vector<Token> byte_tokens_;  // 256; -1 where the vocabulary has none
};

}  // namespace loadline::tokenizer
