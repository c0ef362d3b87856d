// How `--help` looks, and what a mistyped number is told. Does not know the commands.
#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <string>

namespace loadline::cli {

// Gives the program and its commands a layout of at most 100 columns, flags spelt as users type them.
void set_help_layout(CLI::App& app);

// Holds every option of `command` that takes a number to that: "abc" gets a sentence.
void expect_numbers(CLI::App& command);

// For CLI::Option::check: a whole number in [least, most], with a sentence for anything else.
CLI::Validator in_range(std::int64_t least, std::int64_t most);

// What the parser complains about, as a sentence.
std::string sentence(const CLI::ParseError& problem);

}  // namespace loadline::cli
