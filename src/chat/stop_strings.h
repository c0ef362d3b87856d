// Stop strings: text goes through, up to where one of them begins. They are found over any borders of pieces, and
// nothing of them comes out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace loadline::chat {

// One answer. Holds back at most the longest stop string.
class StopStrings {
 public:
  // Empty ones are left out.
  explicit StopStrings(std::vector<std::string> stops);

  // What may be shown of the text so far. Nothing comes any more once it has stopped.
  std::string push(std::string_view text);
  // What was held back, where the text ends without one.
  std::string finish();
  [[nodiscard]] bool stopped() const { return !found_.empty(); }
  // Which string it was; empty while none.
  [[nodiscard]] const std::string& found() const { return found_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  std::string found_;
};

}  // namespace loadline::chat
