// What a file is that is not GGUF: the mistakes people make most often, each with the way out.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "base/text.h"
#include "gguf/header.h"
#include "gguf/layout.h"

namespace loadline::gguf {
namespace {

bool is_text(std::string_view beginning) {
  std::size_t at = 0;
  while (at < beginning.size()) {
    const std::size_t length = utf8_length(beginning.substr(at));
    // The last character may have been cut.
    if (length == 0) return at > 0 && beginning.size() - at < 4;
    const auto byte = static_cast<unsigned char>(beginning[at]);
    if (byte < 0x20 && byte != '\n' && byte != '\r' && byte != '\t' && byte != '\f') return false;
    at += length;
  }
  return true;
}

// Web pages begin with a tag, whatever white space comes first.
bool is_web_page(std::string_view beginning) {
  const std::size_t start = beginning.find_first_not_of(" \t\r\n");
  if (start == std::string_view::npos) return false;
  std::string lower(beginning.substr(start, 14));
  std::ranges::transform(lower, lower.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
  return lower.starts_with("<!doctype html") || lower.starts_with("<html");
}

}  // namespace

Error not_a_gguf_file(const File& file) {
  const std::string path = file.path().string();
  if (file.size().value == 0) return bad_input(fmt::format("{}: is empty, not a GGUF model", path), kIncompleteHint);

  std::array<char, 256> buffer{};
  const std::size_t length = std::min<std::uint64_t>(buffer.size(), file.size().value);
  file.read_at(Bytes(0), std::as_writable_bytes(std::span(buffer).first(length)));
  const std::string_view beginning(buffer.data(), length);

  const auto refusal = [&](std::string_view what, std::string hint) {
    return bad_input(fmt::format("{}: is {}, not a GGUF model", path, what), std::move(hint));
  };
  if (kMagic.starts_with(beginning)) {
    return bad_input(fmt::format("{}: has only {} bytes", path, length), kIncompleteHint);
  }
  // Git LFS leaves this text in the place of a file it has not fetched.
  if (beginning.starts_with("version https://git-lfs.github.com/")) {
    return refusal("a pointer of Git LFS", "Fetch the model itself with `git lfs pull`.");
  }
  if (is_web_page(beginning)) return refusal("a web page", "Fetch the model with the link that downloads the file.");
  // The formats ggml used before GGUF: their magic numbers, stored little-endian.
  if (beginning.starts_with("lmgg") || beginning.starts_with("tjgg") || beginning.starts_with("fmgg")) {
    return refusal("a model in a format older than GGUF", "Fetch a GGUF copy of the model.");
  }
  // safetensors: the length of a JSON header in 8 bytes, then the header.
  if (beginning.size() > 9 && beginning[8] == '{' && beginning.substr(4, 4) == std::string_view("\0\0\0\0", 4)) {
    return refusal("a safetensors file", "Fetch a GGUF copy of the model, or convert it to GGUF.");
  }
  if (beginning.starts_with("PK\x03\x04")) {
    return refusal("a zip archive (PyTorch models are such)", "Fetch a GGUF copy of the model, or convert it to GGUF.");
  }
  if (is_text(beginning)) return refusal("a text file", "Give the .gguf file of a model.");
  return bad_input(fmt::format("{}: is not a GGUF model", path), "Give the .gguf file of a model.");
}

}  // namespace loadline::gguf
