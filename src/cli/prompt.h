// What is made of a prompt before it is tokens: escapes of the command line, the ends that editors and shells leave.
#pragma once

#include <string>
#include <string_view>

namespace loadline::cli {

// \n, \r, \t, \\, \', \" and \xHH as what they stand for, as llama.cpp reads -p; any other backslash stays.
std::string with_escapes(std::string_view text);

// The text of a file or a pipe: a byte order mark is dropped, and so is one end of line at the end ("\n" or "\r\n"),
// which editors put there.
std::string file_text(std::string text);

// Throws Error(BadInput) unless `prompt` is UTF-8, with what it is instead where that can be told.
void require_utf8(std::string_view prompt);

}  // namespace loadline::cli
