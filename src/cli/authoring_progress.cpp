#include "cli/authoring_progress.h"

#include <fmt/format.h>

#include <utility>

#include "base/error.h"

namespace loadline::cli {

AuthoringProgress::AuthoringProgress(std::string what)
    : bar_(std::move(what)), start_(std::chrono::steady_clock::now()) {}

authoring::Progress AuthoringProgress::progress() {
  return [this](Bytes done, Bytes total) {
    if (interrupt_.flag().load()) throw Error(ErrorCode::Interrupted, "stopped, and no file was written");
    bar_.update(static_cast<double>(done.value) / static_cast<double>(total.value),
                fmt::format("{} of {}", to_string(done), to_string(total)));
  };
}

double AuthoringProgress::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

}  // namespace loadline::cli
