// The page that the server shows: files that are part of the program, each under its path. Knows nothing of HTTP but
// types. Its sources are in web/, and what is made of them in web/bundle, so that building the program needs no
// Node.js.
#pragma once

#include <string_view>

namespace loadline::serve {

struct PageFile {
  std::string_view path;  // "/"
  std::string_view type;  // "text/html; charset=utf-8"
  std::string_view bytes;
  bool gzip = false;  // `bytes` are compressed
};

// Null where there is none.
const PageFile* find_page_file(std::string_view path);

// The page compressed, with script and style in it.
std::string_view page_bundle();
// Its Content-Security-Policy: nothing but the server itself is asked for anything, and no script runs but the page's
// own, which is named by its hash.
std::string_view page_policy();

}  // namespace loadline::serve
