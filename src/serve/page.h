// The page that the server shows: files that are part of the program, each under its path. Knows nothing of HTTP but
// types.
#pragma once

#include <string_view>

namespace loadline::serve {

struct PageFile {
  std::string_view path;  // "/", "/app.js"
  std::string_view type;  // "text/html; charset=utf-8"
  std::string_view bytes;
  bool gzip = false;  // `bytes` are compressed
};

// Null where there is none.
const PageFile* find_page_file(std::string_view path);

// Nothing but the server itself is asked for anything, and no script that is not one of the files runs.
inline constexpr std::string_view kPagePolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

}  // namespace loadline::serve
