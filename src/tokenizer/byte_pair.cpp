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

constexpr std::string_view kPreKey = "tokenizer.ggml.pre";
constexpr std::string_view kGemma4 = "gemma4";
constexpr std::string_view kDefault = "default";

bool is_gemma4(const gguf::Metadata& metadata) {
  const std::string* model = metadata.get_string("tokenizer.ggml.model");
  return model != nullptr && *model == kGemma4;
}

std::string_view pretokenizer_name(const gguf::Metadata& metadata) {
  const std::string* name = metadata.get_string(kPreKey);
  if (is_gemma4(metadata)) return kGemma4;
  return name != nullptr ? std::string_view(*name) : kDefault;
}

TokenSpelling spelling_of(const PreTokenizer& pretokenizer) {
  return pretokenizer.plain_text() ? TokenSpelling::SentencePiece : TokenSpelling::ByteLevel;
}

SpecialTokens defaults_of(const PreTokenizer& pretokenizer) {
  SpecialTokens defaults;
  defaults.add_bos = pretokenizer.adds_bos();
  defaults.always_add_bos = pretokenizer.forces_bos();
  return defaults;
}

// One kind of file leaves its merges out; its tokens are numbered in the order in which merging made them.
bool may_lack_merges(std::string_view pre) { return pre == "kimi-k2"; }

}  // namespace

MergeTable::MergeTable(const gguf::Metadata& metadata, const Vocabulary& vocabulary, TokenSpelling spelling)
    : seed_(hash_seed()) {
  const gguf::Strings* merges = metadata.get_strings(kMergesKey);
  if (merges == nullptr) throw bad_input(fmt::format("{} is missing", kMergesKey));
  if (merges->size() >= Merge::kNone) {
    throw bad_input(fmt::format("{} has {} entries, more than can be ranked", kMergesKey, merges->size()));
  }
  slots_.assign(std::bit_ceil(merges->size() * 2 + 1), {kEmpty, {}});
  std::size_t skipped = 0;
  std::string_view first_skipped;
  for (std::size_t rank = 0; rank < merges->size(); ++rank) {
    const std::string_view line = (*merges)[rank];
    const std::size_t blank = line.find(' ', 1);
    if (blank == std::string_view::npos) {
      throw bad_input(fmt::format("{}: entry {}, \"{}\", is not two tokens", kMergesKey, rank, printable(line)));
    }
    const std::string left_bytes = normal_bytes(line.substr(0, blank), spelling);
    const std::string right_bytes = normal_bytes(line.substr(blank + 1), spelling);
    const Token left = vocabulary.find(left_bytes);
    const Token right = vocabulary.find(right_bytes);
    const Token joined = vocabulary.find(left_bytes + right_bytes);
    if (left < 0 || right < 0 || joined < 0) {
      if (skipped++ == 0) first_skipped = line;
      continue;
    }
    if (vocabulary.is_hidden(joined)) continue;  // plain text must not become a control token
    Slot& slot = slots_[position(pair_of(left, right))];
    if (slot.pair == kEmpty) slot = {pair_of(left, right), {static_cast<std::uint32_t>(rank), joined}};
  }
  if (skipped > 0) {
    remark_ = fmt::format("{}: {} of {} merges join or make what is no token (the first is \"{}\"); they are not used",
                          kMergesKey, skipped, merges->size(), printable(first_skipped));
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
  Session(const BytePairTokenizer& tokenizer, std::size_t text_size, std::size_t stretches)
      : EncodeSession(text_size), tokenizer_(tokenizer), splitter_(*tokenizer.pretokenizer_) {
    if (tokenizer.pretokenizer_->plain_text()) text_.reserve(text_size + stretches);  // the cache has views of it
  }

  // Only well-formed stretches go through the expressions; what lies between them is a word of its own.
  void add_text(std::string_view text, bool /*prefixed*/) override {
    if (tokenizer_.pretokenizer_->plain_text()) {
      const std::size_t begin = text_.size();
      text_ += with_blanks(text);
      text = std::string_view(text_).substr(begin);
    }
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
    const PreTokenizer& rules = *tokenizer_.pretokenizer_;
    if (rules.ignore_merges() || (rules.keeps_line_breaks() && word.starts_with('\n'))) {
      const Token token = vocabulary.find(word);
      if (token >= 0 && !vocabulary.is_hidden(token)) {
        add_token(token);
        return;
      }
    }
    merger_.clear();
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t length = rules.plain_text() ? first_utf8_unit(word.substr(at)).length : 1;
      const Token token = tokenizer_.symbol_token(word.substr(at, length));
      merger_.add({token, static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(length)});
      at += length;
    }
    merger_.run([&](const Symbol& left, const Symbol& right) { return tokenizer_.find_merge(word, left, right); });
    merger_.for_each([&](const Symbol& symbol) {
      if (symbol.token >= 0) {
        add_token(symbol.token);
      } else {
        add_bytes(word.substr(symbol.begin, symbol.length));
      }
    });
  }

  // What is no token: each byte's, or the unknown one.
  void add_bytes(std::string_view bytes) {
    const Vocabulary& vocabulary = tokenizer_.vocabulary();
    for (const char byte : bytes) {
      Token token = vocabulary.byte_token(static_cast<unsigned char>(byte));
      if (token < 0) token = vocabulary.special().unknown;
      if (token >= 0) add_token(token);
    }
  }

  const BytePairTokenizer& tokenizer_;
  Splitter splitter_;
  std::string text_;  // of plain vocabularies: what was added so far, with blanks as blanks
};

BytePairTokenizer::BytePairTokenizer(const gguf::Metadata& metadata)
    : BytePairTokenizer(metadata, std::make_unique<PreTokenizer>(pretokenizer_name(metadata))) {}

BytePairTokenizer::BytePairTokenizer(const gguf::Metadata& metadata, std::unique_ptr<PreTokenizer> pretokenizer)
    : TableTokenizer(metadata, Vocabulary(metadata, spelling_of(*pretokenizer), defaults_of(*pretokenizer)), false),
      pretokenizer_(std::move(pretokenizer)),
      byte_tokens_(256, -1) {
  const std::string_view name = pretokenizer_name(metadata);
  if (!may_lack_merges(name) || metadata.contains(kMergesKey)) {
    merges_.emplace(metadata, vocabulary(), spelling_of(*pretokenizer_));
    if (!merges_->remark().empty()) add_remark(merges_->remark());
  }
  if (name == kDefault && !metadata.contains(kPreKey)) {
    add_remark(fmt::format("{} is missing; text is cut into words as \"{}\" says, which may not be this model's way",
                           kPreKey, kDefault));
  }
  for (std::size_t byte = 0; byte < byte_tokens_.size(); ++byte) {
    const char bytes[] = {static_cast<char>(byte)};
    const Token token = vocabulary().find({bytes, 1});
    const bool plain = token >= 0 && !vocabulary().is_hidden(token);
    byte_tokens_[byte] = plain ? token : vocabulary().byte_token(static_cast<unsigned char>(byte));
  }
}

Token BytePairTokenizer::symbol_token(std::string_view symbol) const {
  if (!pretokenizer_->plain_text()) return byte_tokens_[static_cast<unsigned char>(symbol[0])];
  const Token token = vocabulary().find(symbol);
  return token >= 0 && !vocabulary().is_hidden(token) ? token : -1;
}

Merge BytePairTokenizer::find_merge(std::string_view word, const Symbol& left, const Symbol& right) const {
  if (merges_) return merges_->find(left.token, right.token);
  if (left.token < 0 || right.token < 0) return {};
  const Token joined = vocabulary().find(word.substr(left.begin, left.length + right.length));
  if (joined < 0 || vocabulary().is_hidden(joined)) return {};
  return {static_cast<std::uint32_t>(joined), joined};
}

std::unique_ptr<EncodeSession> BytePairTokenizer::start(std::size_t text_size, std::size_t stretches) const {
  return std::make_unique<Session>(*this, text_size, stretches);
}

Bytes BytePairTokenizer::resident_bytes() const {
  return TableTokenizer::resident_bytes() + pretokenizer_->resident_bytes() +
         (merges_ ? merges_->resident_bytes() : Bytes()) + Bytes(byte_tokens_.capacity() * sizeof(Token));
}

}  // namespace loadline::tokenizer
