// Error: everything a file, a user or a device can cause. Thrown where it is noticed, caught at the command or request.
// Bugs of our own are assertions, never Errors.
#pragma once

#include <stdexcept>
#include <string>

namespace loadline {

// What kind of failure; the value is the exit code of the program.
enum class ErrorCode : int {
  Internal = 1,
  BadInput = 2,
  DoesNotFit = 3,
  DeviceFailure = 4,
  Interrupted = 130,
};

// `what()` is one sentence that says what is wrong, without a trailing newline; `hint()` says what to do, may be empty.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& sentence, std::string hint = {})
      : std::runtime_error(sentence), code_(code), hint_(std::move(hint)) {}

  [[nodiscard]] ErrorCode code() const { return code_; }
  [[nodiscard]] const std::string& hint() const { return hint_; }

 private:
  ErrorCode code_;
  std::string hint_;
};

inline Error bad_input(const std::string& sentence, std::string hint = {}) {
  return {ErrorCode::BadInput, sentence, std::move(hint)};
}

}  // namespace loadline
