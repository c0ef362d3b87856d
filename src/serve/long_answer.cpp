#include "serve/long_answer.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "serve/call.h"

namespace loadline::serve {
namespace {

// What is made at a time, at least.
constexpr std::size_t kPiece = std::size_t{16} << 10;
constexpr std::string_view kMark = "list-";  // how the marks of lists begin

// A text and the list behind it; none behind the last.
struct Part {
  std::string text;
  std::size_t count = 0;
  LongAnswer::Element element;
  bool is_list = false;
};

class Parts {
 public:
  explicit Parts(std::vector<Part> parts) : parts_(std::move(parts)) {}

  // Empty: there is no more.
  std::string next() {
    std::string out;
    while (out.size() < kPiece && at_ < parts_.size()) write_some(out);
    return out;
  }

 private:
  void write_some(std::string& out) {
    Part& part = parts_[at_];
    if (!std::exchange(begun_, true)) {
      out += std::exchange(part.text, {});
      if (part.is_list) out += '[';
    }
    while (index_ < part.count && out.size() < kPiece) {
      if (index_ > 0) out += ',';
      out += dump(part.element(index_++));
    }
    if (index_ < part.count) return;
    if (part.is_list) out += ']';
    part.element = nullptr;
    ++at_;
    index_ = 0;
    begun_ = false;
  }

  std::vector<Part> parts_;
  std::size_t at_ = 0, index_ = 0;
  bool begun_ = false;  // of the part: its text may fill a piece alone
};

}  // namespace

// Nobody can know a mark before it is made, so none is in a text by chance or on purpose.
Json LongAnswer::list(std::size_t count, Element element) {
  std::string mark = new_id(kMark);
  lists_.emplace(mark, List{count, std::move(element)});
  return mark;
}

void LongAnswer::send(Reply& reply, std::string_view type, const Json& answer) {
  std::string text = dump(answer);
  if (lists_.empty()) return reply.send(200, type, std::move(text));
  std::vector<Part> parts;
  const std::size_t length = lists_.begin()->first.size();  // of all marks
  std::size_t begin = 0;                                    // of what is no part yet
  for (std::size_t at = text.find(kMark, 1); at != std::string::npos; at = text.find(kMark, at + 1)) {
    const auto found = lists_.find(std::string_view(text).substr(at, length));
    if (found == lists_.end() || text[at - 1] != '"' || text[at + length] != '"') continue;
    parts.push_back({text.substr(begin, at - 1 - begin), found->second.count, found->second.element, true});
    begin = at + length + 1;
  }
  parts.push_back({text.substr(begin), 0, nullptr, false});
  lists_.clear();
  reply.send_pieces(200, type, [all = std::make_shared<Parts>(std::move(parts))] { return all->next(); });
}

}  // namespace loadline::serve
