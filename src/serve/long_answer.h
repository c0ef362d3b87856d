// LongAnswer: a JSON answer with lists of many elements. As JSON values they would take many times what they are made
// of, so an element is made when its turn has come to be sent, and the client has read what was before it.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "serve/http.h"
#include "serve/json.h"

namespace loadline::serve {

class LongAnswer {
 public:
  // Makes element `index`; asked for in order, from 0 on, for each place that the list has in the answer.
  using Element = std::function<Json(std::size_t index)>;

  // What stands for a list in the JSON that is given to `send`.
  Json list(std::size_t count, Element element);
  // The answer to a request; elements live as long as it takes.
  void send(Reply& reply, std::string_view type, const Json& answer);

 private:
  struct List {
    std::size_t count = 0;
    Element element;
  };
  std::map<std::string, List, std::less<>> lists_;  // by the mark that stands for it
};

}  // namespace loadline::serve
