#include <fmt/format.h>
#include <stdlib.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "authoring/synthesize.h"
#include "backend/reference/reference.h"
#include "base/error.h"
#include "model/program.h"
#include "selftest/checks.h"

namespace loadline::selftest {
namespace {

std::string key_of(const authoring::Shape& shape, const model::FormatMix& mix) {
  return fmt::format("{}-{}-{}", shape.name, shape.layers, mix.name);
}

}  // namespace

Models::Models(const StopFlag& stop) : stop_(stop) {
  std::error_code error;
  std::string pattern = (std::filesystem::temp_directory_path(error) / "loadline-selftest-XXXXXX").string();
  if (error || ::mkdtemp(pattern.data()) == nullptr) {
    throw bad_input(fmt::format("no folder for temporary files can be made ({})",
                                error ? error.message() : std::string(std::strerror(errno))),
                    "Name a folder that can be written to in the variable TMPDIR.");
  }
  folder_ = pattern;
}

Models::~Models() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::filesystem::path Models::file(const authoring::Shape& shape, const model::FormatMix& mix) {
  const std::filesystem::path path = folder_ / (key_of(shape, mix) + ".gguf");
  if (std::filesystem::exists(path)) return path;
  authoring::synthesize(shape, mix, {.seed = 22}, path, [&](Bytes, Bytes) {
    if (stop_.load(std::memory_order_relaxed)) throw Stopped();
  });
  return path;
}

const std::vector<float>& Models::oracle(const authoring::Shape& shape, const model::FormatMix& mix,
                                         const std::vector<Token>& tokens) {
  const std::string key = fmt::format("{} {}", key_of(shape, mix), tokens.size());
  const auto found = oracle_.find(key);
  if (found != oracle_.end()) return found->second;
  const gguf::Model model = gguf::open_model(file(shape, mix));
  const model::Program program = model::build_program(model);
  std::vector<float> logits = reference::logits(model, program, tokens, [&](double) {
    if (stop_.load(std::memory_order_relaxed)) throw Stopped();
  });
  return oracle_.emplace(key, std::move(logits)).first->second;
}

void Models::drop(const std::filesystem::path& file) {
  std::error_code ignored;
  std::filesystem::remove(file, ignored);
}

}  // namespace loadline::selftest
