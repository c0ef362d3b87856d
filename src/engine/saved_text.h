// A text's cells of the KV cache as a file, so that a model need not read the text again: after a restart, or on
// another day. Between passes, by the thread that runs the scheduler. It knows no requests.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace loadline::engine {

// Why the texts of this model cannot be saved, as a sentence; empty where they can.
std::string why_not_saved(Engine& engine);

// What of the text is in the cache goes into the file, which is whole or not there; its cells. `sequence` has no
// session. Throws Error(BadInput) for a file that cannot be written, and where nothing of the text is there any more.
struct Saved {
  std::size_t cells = 0;
  Bytes file;
};
Saved save_text(Engine& engine, std::uint32_t sequence, std::span<const Token> text, const std::filesystem::path& path);

// Into the cache, where prompts that begin so find it; the text. Throws Error(BadInput) for a file that is none, or of
// another model or cache format, and Error(DoesNotFit) where there are no cells for it.
struct Restored {
  std::vector<Token> text;
  Bytes file;
};
Restored restore_text(Engine& engine, std::uint32_t sequence, const std::filesystem::path& path);

// Nobody finds it in the cache any more, but for what other sequences hold; how many cells were forgotten.
std::size_t forget_text(Engine& engine, std::uint32_t sequence, std::span<const Token> text);

}  // namespace loadline::engine
