#include "tokenizer/synthetic.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "tokenizer/byte_level.h"

namespace loadline::test {

void set_string(gguf::Metadata& metadata, const std::string& key, const std::string& value) {
  metadata.set(key, gguf::Value{value});
}
void set_bool(gguf::Metadata& metadata, const std::string& key, bool value) { metadata.set(key, gguf::Value{value}); }
void set_id(gguf::Metadata& metadata, const std::string& key, std::uint32_t value) {
  metadata.set(key, gguf::Value{value});
}
void set_strings(gguf::Metadata& metadata, const std::string& key, std::vector<std::string> values) {
  metadata.set(key, gguf::Value{gguf::Array::of(std::move(values))});
}
void set_integers(gguf::Metadata& metadata, const std::string& key, std::vector<std::int32_t> values) {
  metadata.set(key, gguf::Value{gguf::Array::of(std::move(values))});
}
void set_floats(gguf::Metadata& metadata, const std::string& key, std::vector<float> values) {
  metadata.set(key, gguf::Value{gguf::Array::of(std::move(values))});
}

void set_pieces(gguf::Metadata& metadata, const std::vector<Piece>& pieces) {
  std::vector<std::string> texts;
  std::vector<std::int32_t> types;
  std::vector<float> scores;
  for (const Piece& piece : pieces) {
    texts.push_back(piece.text);
    types.push_back(piece.type);
    scores.push_back(piece.score);
  }
  set_strings(metadata, "tokenizer.ggml.tokens", texts);
  set_integers(metadata, "tokenizer.ggml.token_type", types);
  set_floats(metadata, "tokenizer.ggml.scores", scores);
}

gguf::Metadata byte_pair_metadata(const std::string& pre, const std::vector<std::string>& merges,
                                  const std::vector<Piece>& more) {
  std::vector<Piece> pieces;
  for (int byte = 0; byte < 256; ++byte) {
    pieces.push_back({tokenizer::byte_level_character(static_cast<unsigned char>(byte))});
  }
  for (const std::string& merge : merges) {
    std::string joined = merge;
    joined.erase(joined.find(' '), 1);
    const auto same = [&](const Piece& piece) { return piece.text == joined; };
    if (std::ranges::none_of(pieces, same)) pieces.push_back({joined});
  }
  pieces.insert(pieces.end(), more.begin(), more.end());
  gguf::Metadata metadata;
  set_string(metadata, "tokenizer.ggml.model", "gpt2");
  set_string(metadata, "tokenizer.ggml.pre", pre);
  set_pieces(metadata, pieces);
  set_strings(metadata, "tokenizer.ggml.merges", merges);
  return metadata;
}

gguf::Metadata sentence_piece_metadata(const std::vector<Piece>& pieces) {
  std::vector<Piece> all = {{"<unk>", 2}, {"<s>", 3}, {"</s>", 3}};
  for (int byte = 0; byte < 256; ++byte) all.push_back({fmt::format("<0x{:02X}>", byte), 6});
  all.insert(all.end(), pieces.begin(), pieces.end());
  gguf::Metadata metadata;
  set_string(metadata, "tokenizer.ggml.model", "llama");
  set_pieces(metadata, all);
  return metadata;
}

gguf::Metadata varied_byte_pair_metadata(const std::string& pre) {
  const std::string e_acute_1 = tokenizer::byte_level_character(0xC3);
  const std::string e_acute_2 = tokenizer::byte_level_character(0xA9);
  const std::string blank = tokenizer::byte_level_character(' ');
  std::vector<std::string> merges = {
      "t h",
      "th e",
      blank + " t",
      blank + " the",
      blank + "t h",
      "a b",
      "b a",
      "ab ab",
      "a a",
      "aa aa",
      "aaaa aaaa",
      "aa a",
      "1 2",
      "12 3",
      blank + " " + blank,
      blank + blank + " " + blank + blank,
      e_acute_1 + " " + e_acute_2,
      "' s",
  };
  gguf::Metadata metadata = byte_pair_metadata(
      pre, merges, {{"<|user|>", 4}, {"<|user|", 4}, {"  ", 4}, {"<|end_of_text|>", 3}, {"<|start|>", 3}});
  set_id(metadata, "tokenizer.ggml.bos_token_id", static_cast<std::uint32_t>(token_of(metadata, "<|start|>")));
  set_id(metadata, "tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(token_of(metadata, "<|end_of_text|>")));
  return metadata;
}

gguf::Metadata varied_sentence_piece_metadata() {
  return sentence_piece_metadata({{"\u2581", 1, -1},
                                  {"a", 1, -2},
                                  {"b", 1, -3},
                                  {"t", 1, -4},
                                  {"h", 1, -5},
                                  {"e", 1, -6},
                                  {"\u00E9", 1, -7},
                                  {"\u2581t", 1, -8},
                                  {"he", 1, -9},
                                  {"\u2581the", 1, -10},
                                  {"th", 1, -11},
                                  {"aa", 1, -12},
                                  {"aaaa", 1, -13},
                                  {"ab", 1, -14},
                                  {"ba", 1, -15},
                                  {"abab", 1, -16},
                                  {"\u2581\u2581", 1, -17},
                                  {"<|user|>", 4, 0},
                                  {"<|user|", 4, 0},
                                  {"<|end|>", 3, 0}});
}

tokenizer::Token token_of(const gguf::Metadata& metadata, const std::string& text) {
  const auto& tokens = *metadata.get_strings("tokenizer.ggml.tokens");
  const auto found = std::ranges::find(tokens, std::string_view(text));
  if (found == tokens.end()) throw std::runtime_error("the test's vocabulary has no " + text);
  return static_cast<tokenizer::Token>(found - tokens.begin());
}

}  // namespace loadline::test
