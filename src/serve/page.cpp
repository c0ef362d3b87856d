#include "serve/page.h"

namespace loadline::serve {

const PageFile* find_page_file(std::string_view path) {
  static const PageFile kPage = {"/", "text/html; charset=utf-8", page_bundle(), true};
  return path == kPage.path ? &kPage : nullptr;
}

}  // namespace loadline::serve
