#include "tokenizer/byte_pair.h"

#include <fmt/format.h>

#include <bit>

#include "base/error.h"
#include "base/text.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/hash.h"
#include "tokenizer/utf8.h"

namespace loadline::tokenizer {
namespace {

constexpr std::string_view kMergesKey = "tokenizer.ggml.merges";

std::uint64_t pair_of(Token left, Token right) {
  return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
}

// The bytes of one side of a merge, written like a normal token's text.
std::string side_bytes(std::string_view text) { return bytes_from_byte_level(text).value_or(std::string(text)); }

std::unique_ptr<PreTokenizer> read_pretokenizer(const gguf::Metadata& metadata) {
  const std::string* name = metadata.get_string("tokenizer.ggml.pre");
  return std::make_unique<PreTokenizer>(name != nullptr ? std::string_view(*name) : "default");
}

SpecialTokens defaults_of(const PreTokenizer& pretokenizer) {
  SpecialTokens defaults;
  defaults.add_bos = pretokenizer.adds_bos();
  return defaults;
}

}  // namespace

MergeTable::MergeTable(const gguf::Metadata& metadata, const Vocabulary& vocabulary) : seed_(hash_seed()) {
  const std::vector<std::string>* merges = metadata.get_strings(kMergesKey);
  if (merges == nullptr) throw bad_input(fmt::format("{} is missing", kMergesKey));
  if (merges->size() >= Merge::kNone) {
    throw bad_input(fmt::format("{} has {} entries, more than can be ranked", kMergesKey, merges->size()));
  }
  slots_.assign(std::bit_ceil(merges->size() * 2 + 1), {kEmpty, {}});
  for (std::size_t rank = 0; rank < merges->size(); ++rank) {
    const std::string_view line = (*merges)[rank];
    const auto known = [&](std::string_view bytes, std::string_view what) {
      const Token token = vocabulary.find(bytes);
      if (token >= 0) return token;
      throw bad_input(fmt::format("{}: entry {}, \"{}\", {} that is not in the vocabulary", kMergesKey, rank,
                                  printable(line), what));
    };
    const std::size_t blank = line.find(' ', 1);
    if (blank == std::string_view::npos) {
      throw bad_input(fmt::format("{}: entry {}, \"{}\", is not two tokens", kMergesKey, rank, printable(line)));
    }
    const std::string left_bytes = side_bytes(line.substr(0, blank));
    const std::string right_bytes = side_bytes(line.substr(blank + 1));
    const Token left = known(left_bytes, "has a left side");
    const Token right = known(right_bytes, "has a right side");
    const Token joined = known(left_bytes + right_bytes, "makes a token");
    if (vocabulary.is_hidden(joined)) continue;  // plain text must not become a control token
    Slot& slot = slots_[position(pair_of(left, right))];
    if (slot.pair == kEmpty) slot = {pair_of(left, right), {static_cast<std::uint32_t>(rank), joined}};
  }
}

std::size_t MergeTable::position(std::uint64_t pair) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t slot = mix_bits(pair ^ seed_) & mask;
  while (slots_[slot].pair != kEmpty && slots_[slot].pair != pair) slot = (slot + 1) & mask;
  return slot;
}

Merge MergeTable::find(Token left, Token right) const {
  if (left < 0 || right < 0) return {};
  return slots_[position(pair_of(left, right))].merge;
}

class BytePairTokenizer::Session final : public EncodeSession {
 public:
  Session(const BytePairTokenizer& tokenizer, std::size_t text_size)
      : EncodeSession(text_size), tokenizer_(tokenizer), splitter_(*tokenizer.pretokenizer_) {}

  // Only well-formed stretches go through the expressions; what lies between them is a word of its own.
  void add_text(std::string_view text, bool /*prefixed*/) override {
    while (!text.empty()) {
      std::size_t length = valid_utf8_prefix(text);
      std::size_t begin = 0;
      for (const std::uint32_t size : splitter_.split(text.substr(0, length))) {
        add_word(text.substr(begin, size));
        begin += size;
      }
      text.remove_prefix(length);
      for (length = 0; length < text.size();) {
        const Utf8Unit unit = first_utf8_unit(text.substr(length));
        if (unit.kind == Utf8Kind::Character) break;
        length += unit.length;
      }
      if (length > 0) add_word(text.substr(0, length));
      text.remove_prefix(length);
    }
  }

 private:
  void add_word(std::string_view word) {
    if (cache_.append(word, tokens_)) return;
    const std::size_t begin = tokens_.size();
    encode_word(word);
    cache_.remember(word, begin, tokens_);
  }

  void encode_word(std::string_view word) {
    const Vocabulary& vocabulary = tokenizer_.vocabulary();
    if (tokenizer_.pretokenizer_->ignore_merges()) {
      const Token token = vocabulary.find(word);
      if (token >= 0 && !vocabulary.is_hidden(token)) {
        add_token(token);
        return;
      }
    }
    merger_.clear();
    for (std::size_t i = 0; i < word.size(); ++i) {
      const Token token = tokenizer_.byte_tokens_[static_cast<unsigned char>(word[i])];
      merger_.add({token, static_cast<std::uint32_t>(i), 1});
    }
    merger_.run(
        [&](const Symbol& left, const Symbol& right) { return tokenizer_.merges_.find(left.token, right.token); });
    merger_.for_each([&](const Symbol& symbol) {
      const Token token = symbol.token >= 0 ? symbol.token : vocabulary.special().unknown;
      if (token >= 0) add_token(token);
    });
  }

  const BytePairTokenizer& tokenizer_;
  Splitter splitter_;
};

BytePairTokenizer::BytePairTokenizer(const gguf::Metadata& metadata)
    : BytePairTokenizer(metadata, read_pretokenizer(metadata)) {}

BytePairTokenizer::BytePairTokenizer(const gguf::Metadata& metadata, std::unique_ptr<PreTokenizer> pretokenizer)
    : TableTokenizer(Vocabulary(metadata, TokenSpelling::ByteLevel, defaults_of(*pretokenizer)), false),
      pretokenizer_(std::move(pretokenizer)),
      merges_(metadata, vocabulary()),
      byte_tokens_(256, -1) {
  for (std::size_t byte = 0; byte < byte_tokens_.size(); ++byte) {
    const char bytes[] = {static_cast<char>(byte)};
    const Token token = vocabulary().find({bytes, 1});
    const bool plain = token >= 0 && !vocabulary().is_hidden(token);
    byte_tokens_[byte] = plain ? token : vocabulary().byte_token(static_cast<unsigned char>(byte));
  }
}

std::unique_ptr<EncodeSession> BytePairTokenizer::start(std::size_t text_size, std::size_t /*stretches*/) const {
  return std::make_unique<Session>(*this, text_size);
}

Bytes BytePairTokenizer::resident_bytes() const {
  return TableTokenizer::resident_bytes() + pretokenizer_->resident_bytes() + merges_.resident_bytes() +
         Bytes(byte_tokens_.capacity() * sizeof(Token));
}

}  // namespace loadline::tokenizer
