// Standard output, error and input: the only place of the program that touches them. What is data is written whole or
// an Error; messages are best effort; what came from outside is made visible before a terminal could obey it.
#pragma once

#include <string>
#include <string_view>

#include "base/bytes.h"

namespace loadline::cli {

// Call first: puts something harmless where a standard stream is closed, so that no file that is opened later takes its
// place, and makes a limit on the size of files, or a reader of messages that left, an error instead of the end.
void prepare_standard_streams();

// Data for standard output. Throws Error(BadInput) where it cannot be written; a reader that went away ends the program
// by SIGPIPE, as it does others, and is such an Error where that is ignored.
//
// Text for people. Controls but ends of lines and tabs are made visible. `colours`: but for the sequences that colour.
void print(std::string_view text, bool colours = false);
// JSON. What a terminal could obey is written as \uNNNN.
void print_json(std::string_view json);
// What a model or a user wrote, as it is; on a terminal made visible.
void print_text(std::string_view text);

// Throws where closing standard output says that something had not been written after all. Call last.
void close_standard_output();

// A line on standard error, or several. Made visible like print's; where it cannot be written, nothing happens.
void say(std::string_view line);
// Without an end of line and as it is: for what draws on a terminal.
void draw(std::string_view sequences);

// Standard input to its end. Throws Error(BadInput) above `limit`.
std::string read_standard_input(Bytes limit);

// Standard input when something is piped or redirected into it, and not merely closed or a terminal.
bool input_is_piped();

}  // namespace loadline::cli
