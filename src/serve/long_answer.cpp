#include "serve/long_answer.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "serve/call.h"

namespace loadline::serve {
namespace {

// What is made at a time, at least.
constexpr std::size_t kPiece = std::size_t{16} << 10;

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
  lists_.push_back({new_id("list-"), count, std::move(element)});
  return lists_.back().mark;
}

void LongAnswer::send(Reply& reply, std::string_view type, const Json& answer) {
  std::string text = dump(answer);
  if (lists_.empty()) return reply.send(200, type, std::move(text));
  std::vector<Part> parts;
  std::string_view rest = text;
  for (;;) {
    const List* first = nullptr;
    std::size_t where = rest.size();
    for (const List& one : lists_) {
      const std::size_t found = rest.find('"' + one.mark + '"');
      if (found >= where) continue;
      where = found;
      first = &one;
    }
    Part& part = parts.emplace_back();
    part.text = std::string(rest.substr(0, where));
    if (first == nullptr) break;
    part.count = first->count;
    part.element = first->element;
    part.is_list = true;
    rest.remove_prefix(where + first->mark.size() + 2);
  }
  lists_.clear();
  reply.send_pieces(200, type, [all = std::make_shared<Parts>(std::move(parts))] { return all->next(); });
}

}  // namespace loadline::serve
