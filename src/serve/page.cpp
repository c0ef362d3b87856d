#include "serve/page.h"

#include <algorithm>
#include <array>

namespace loadline::serve {
namespace {

constexpr std::string_view kIndex =
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Loadline</title>"
    "<h1>Loadline is running</h1>"
    "<p>Clients of OpenAI's API find it at <code>/v1</code>; what it holds is at "
    "<a href=\"/api/loadline/state\">/api/loadline/state</a>.</html>\n";

constexpr std::array kFiles = {PageFile{"/", "text/html; charset=utf-8", kIndex}};

}  // namespace

const PageFile* find_page_file(std::string_view path) {
  const auto found = std::ranges::find(kFiles, path, &PageFile::path);
  return found == kFiles.end() ? nullptr : &*found;
}

}  // namespace loadline::serve
