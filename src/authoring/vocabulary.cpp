#include "authoring/vocabulary.h"

#include <fmt/format.h>

#include <array>
#include <cassert>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace loadline::authoring {
namespace {

// llama.h, enum llama_token_type
enum TokenType : std::int32_t { Normal = 1, Unknown = 2, Control = 3, Unused = 5, Byte = 6 };

struct Token {
  std::string text;
  TokenType type = Normal;
};

// A piece and the two earlier pieces it joins.
struct Join {
  std::string left, right;
};

// Pairs (i, j) of numbers below `count`, smallest sum first, until `take` returns false.
template <class Take>
void by_sum(std::size_t count, Take take) {
  for (std::size_t sum = 0; sum < 2 * count - 1; ++sum) {
    for (std::size_t i = sum < count ? 0 : sum - count + 1; i <= sum && i < count; ++i) {
      if (!take(i, sum - i)) return;
    }
  }
}

// `count` distinct pieces of one to four letters with and without a space before them, common letters first, each
// joined from earlier ones. `space` is how the vocabulary writes a space. There are more than 900 000.
std::vector<Join> made_up_pieces(std::size_t count, const std::string& space) {
  constexpr std::string_view kByFrequency = "etaoinshrdlcumwfgypbvkjxqz";
  std::vector<Join> joins;
  joins.reserve(count + 4);
  const auto add = [&](const std::string& left, const std::string& right) { joins.push_back({left, right}); };
  for (const char letter : kByFrequency) add(space, std::string(1, letter));
  std::vector<std::string> pairs;
  by_sum(kByFrequency.size(), [&](std::size_t i, std::size_t j) {
    const std::string first(1, kByFrequency[i]);
    const std::string second(1, kByFrequency[j]);
    add(first, second);
    add(space + first, second);
    pairs.push_back(first + second);
    return true;
  });
  by_sum(pairs.size(), [&](std::size_t i, std::size_t j) {
    add(pairs[i], pairs[j]);
    add(space + pairs[i], pairs[j]);
    return joins.size() < count;
  });
  assert(joins.size() >= count);
  joins.resize(count);
  return joins;
}

std::string utf8(unsigned code) {
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
}

// The printable stand-ins that byte-level BPE writes bytes with (GPT-2's encoder.py, bytes_to_unicode).
std::array<std::string, 256> byte_characters() {
  std::array<std::string, 256> characters;
  unsigned next = 256;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    characters[byte] = utf8(printable ? byte : next++);
  }
  return characters;
}

void put_tokens(const std::vector<Token>& tokens, gguf::Metadata& metadata) {
  std::vector<std::string> texts;
  std::vector<std::int32_t> types;
  for (const Token& token : tokens) {
    texts.push_back(token.text);
    types.push_back(token.type);
  }
  metadata.set("tokenizer.ggml.tokens", {gguf::Array::of(std::move(texts))});
  metadata.set("tokenizer.ggml.token_type", {gguf::Array::of(std::move(types))});
}

void put_id(std::string key, std::size_t id, gguf::Metadata& metadata) {
  metadata.set(std::move(key), {static_cast<std::uint32_t>(id)});
}

void add_sentencepiece(std::size_t size, gguf::Metadata& metadata) {
  const std::string space = "\xE2\x96\x81";  // U+2581
  std::vector<Token> tokens = {{"<unk>", Unknown}, {"<s>", Control}, {"</s>", Control}};
  for (int byte = 0; byte < 256; ++byte) tokens.push_back({fmt::format("<0x{:02X}>", byte), Byte});
  tokens.push_back({space});
  for (char c = '!'; c <= '~'; ++c) tokens.push_back({std::string(1, c)});
  for (const Join& join : made_up_pieces(size - tokens.size(), space)) tokens.push_back({join.left + join.right});

  std::vector<float> scores(tokens.size(), 0.0F);
  for (std::size_t i = 259; i < tokens.size(); ++i) scores[i] = -static_cast<float>(i - 259);
  metadata.set("tokenizer.ggml.model", {std::string("llama")});
  metadata.set("tokenizer.ggml.pre", {std::string("default")});
  put_tokens(tokens, metadata);
  metadata.set("tokenizer.ggml.scores", {gguf::Array::of(std::move(scores))});
  put_id("tokenizer.ggml.bos_token_id", 1, metadata);
  put_id("tokenizer.ggml.eos_token_id", 2, metadata);
  put_id("tokenizer.ggml.unknown_token_id", 0, metadata);
  metadata.set("tokenizer.ggml.add_bos_token", {true});
  metadata.set("tokenizer.ggml.add_eos_token", {false});
}

// The bytes, `size` - 256 pieces with their merges, then the given tokens.
void add_byte_level(std::string_view pre, std::size_t size, const std::vector<Token>& after, gguf::Metadata& metadata) {
  const auto characters = byte_characters();
  std::vector<Token> tokens;
  for (const std::string& character : characters) tokens.push_back({character});
  std::vector<std::string> merges;
  for (const Join& join : made_up_pieces(size - tokens.size(), characters[' '])) {
    tokens.push_back({join.left + join.right});
    merges.push_back(join.left + " " + join.right);
  }
  tokens.insert(tokens.end(), after.begin(), after.end());
  metadata.set("tokenizer.ggml.model", {std::string("gpt2")});
  metadata.set("tokenizer.ggml.pre", {std::string(pre)});
  put_tokens(tokens, metadata);
  metadata.set("tokenizer.ggml.merges", {gguf::Array::of(std::move(merges))});
}

void add_llama3(std::size_t size, gguf::Metadata& metadata) {
  constexpr std::size_t kControls = 256;
  std::vector<Token> controls(kControls);
  std::size_t reserved = 0;
  for (std::size_t i = 0; i < kControls; ++i) {
    constexpr std::array<std::pair<std::size_t, std::string_view>, 7> kNamed = {{{0, "begin_of_text"},
                                                                                 {1, "end_of_text"},
                                                                                 {4, "finetune_right_pad_id"},
                                                                                 {6, "start_header_id"},
                                                                                 {7, "end_header_id"},
                                                                                 {8, "eom_id"},
                                                                                 {9, "eot_id"}}};
    std::string name;
    for (const auto& [place, known] : kNamed) {
      if (place == i) name = known;
    }
    if (name.empty()) name = fmt::format("reserved_special_token_{}", reserved++);
    controls[i] = {fmt::format("<|{}|>", name), Control};
  }
  const std::size_t pieces = size - kControls;
  add_byte_level("llama-bpe", pieces, controls, metadata);
  put_id("tokenizer.ggml.bos_token_id", pieces, metadata);
  put_id("tokenizer.ggml.eos_token_id", pieces + 9, metadata);
  metadata.set("tokenizer.ggml.add_bos_token", {true});
}

void add_qwen(std::size_t size, gguf::Metadata& metadata) {
  constexpr std::array<std::string_view, 22> kControls = {
      "<|endoftext|>",  "<|im_start|>",   "<|im_end|>",     "<|object_ref_start|>", "<|object_ref_end|>",
      "<|box_start|>",  "<|box_end|>",    "<|quad_start|>", "<|quad_end|>",         "<|vision_start|>",
      "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>",  "<|video_pad|>",        "<tool_call>",
      "</tool_call>",   "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",       "<|fim_pad|>",
      "<|repo_name|>",  "<|file_sep|>"};
  // True sizes leave the 151 643 pieces of the family and pad the embedding; a small one has no padding.
  constexpr std::size_t kPieces = 151643;
  const std::size_t pieces = size > kPieces ? kPieces : size - kControls.size();
  std::vector<Token> after;
  for (const std::string_view control : kControls) after.push_back({std::string(control), Control});
  while (pieces + after.size() < size) after.push_back({fmt::format("[PAD{}]", pieces + after.size()), Unused});
  add_byte_level("qwen2", pieces, after, metadata);
  put_id("tokenizer.ggml.bos_token_id", pieces, metadata);
  put_id("tokenizer.ggml.eos_token_id", pieces + 2, metadata);
  put_id("tokenizer.ggml.padding_token_id", pieces, metadata);
  metadata.set("tokenizer.ggml.add_bos_token", {false});
}

}  // namespace

void add_vocabulary(VocabularyKind kind, std::uint32_t size, gguf::Metadata& metadata) {
  switch (kind) {
    case VocabularyKind::SentencePiece: add_sentencepiece(size, metadata); break;
    case VocabularyKind::Llama3: add_llama3(size, metadata); break;
    case VocabularyKind::Qwen: add_qwen(size, metadata); break;
  }
}

}  // namespace loadline::authoring
