// Pre-tokenisers: how a byte-level BPE model cuts text into words before merging inside each of them.
// Each is a list of regular expressions, known by the name in tokenizer.ggml.pre; pretokenizers.inc has the table.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace loadline::tokenizer {

// How expressions are run. All give the same words.
enum class Matching {
  Compiled,     // to machine code where the system allows it, else as the next
  Interpreted,  // slower, and without some of the compiled code's shortcuts
  Counted,      // interpreted, and counting steps: for tests of how the work grows
};

// Immutable and thread-safe after construction; the mutable part of splitting is a Splitter.
class PreTokenizer {
 public:
  // Throws Error(BadInput) for a name that is not in the table.
  explicit PreTokenizer(std::string_view name, Matching matching = Matching::Compiled);
  ~PreTokenizer();
  PreTokenizer(const PreTokenizer&) = delete;
  PreTokenizer& operator=(const PreTokenizer&) = delete;

  // A word that is a token is not merged from its parts, even if merging would give something else.
  [[nodiscard]] bool ignore_merges() const { return ignore_merges_; }
  // What to assume about BOS when the file does not say.
  [[nodiscard]] bool adds_bos() const { return adds_bos_; }
  // BOS is added whatever the file says.
  [[nodiscard]] bool forces_bos() const { return forces_bos_; }
  // Merges work on characters, with U+2581 for a blank, instead of on bytes in their alphabet.
  [[nodiscard]] bool plain_text() const { return plain_text_; }
  // A run of line breaks that is a token is taken whole.
  [[nodiscard]] bool keeps_line_breaks() const { return keeps_line_breaks_; }
  [[nodiscard]] Bytes resident_bytes() const;

 private:
  friend class Splitter;
  struct Expression;
  std::vector<Expression> expressions_;
  bool ignore_merges_ = false;
  bool adds_bos_ = false;
  bool forces_bos_ = false;
  bool plain_text_ = false;
  bool keeps_line_breaks_ = false;
};

// Splits texts with one pre-tokeniser, keeping its scratch memory. One thread at a time; must not outlive it.
class Splitter {
 public:
  explicit Splitter(const PreTokenizer& pretokenizer);
  ~Splitter();
  Splitter(const Splitter&) = delete;
  Splitter& operator=(const Splitter&) = delete;

  // The lengths in bytes of the words of `text`, which must be valid UTF-8 of less than 2 GiB; they sum up to its size.
  // Every expression in turn splits the pieces left by the one before: its matches and what lies between them become
  // pieces. The result is valid until the next call.
  const std::vector<std::uint32_t>& split(std::string_view text);

  // Items of expressions tried so far, where the pre-tokeniser counts them.
  [[nodiscard]] std::uint64_t steps() const;

 private:
  struct Scratch;
  void add_threes(std::string_view digits);
  void split_piece(const PreTokenizer::Expression& expression, std::string_view piece);

  const PreTokenizer& pretokenizer_;
  std::unique_ptr<Scratch> scratch_;
  std::vector<std::uint32_t> pieces_;
  std::vector<std::uint32_t> next_;
};

}  // namespace loadline::tokenizer
