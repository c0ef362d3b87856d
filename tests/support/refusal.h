// What a function refuses, for tests of bad input: the sentence and the hint that a user would read.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace loadline::test {

struct Refusal {
  std::string sentence;
  std::string hint;
};

// Calls `f`, which must throw Error(code), and checks the form of its sentence. The empty Refusal, and a failure of the
// test, where it throws nothing. Other exceptions pass through.
template <typename F>
Refusal refusal(F&& f, ErrorCode code = ErrorCode::BadInput) {
  try {
    static_cast<void>(f());
  } catch (const Error& error) {
    const std::string sentence = error.what();
    EXPECT_EQ(error.code(), code) << sentence;
    EXPECT_EQ(sentence.find('\n'), std::string::npos) << sentence;
    EXPECT_FALSE(sentence.empty());
    EXPECT_FALSE(sentence.ends_with('.')) << sentence;
    return {sentence, error.hint()};
  }
  ADD_FAILURE() << "nothing was refused";
  return {};
}

// Expects that `f` is refused as bad input with a sentence that contains every one of `parts`.
template <typename F, typename... Parts>
void expect_refused(F&& f, const Parts&... parts) {
  EXPECT_THAT(refusal(f).sentence, testing::AllOf(testing::HasSubstr(parts)...));
}

}  // namespace loadline::test
