// How deep the interpreter may call itself: a bound on the stack, whatever a template says. Private to the interpreter.
#pragma once

#include "chat/jinja/interpreter.h"

namespace loadline::chat::jinja {

class Interpreter::Nested {
 public:
  // Each level takes up to about 1 KiB of stack (4 with sanitizers), of which the least there is has 8 MiB.
  static constexpr int kMost = 1500;
  explicit Nested(int& nesting) : nesting_(nesting) {
    if (++nesting_ > kMost) fail_limit("it is nested too deeply");
  }
  ~Nested() { --nesting_; }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;

 private:
  int& nesting_;
};

}  // namespace loadline::chat::jinja
