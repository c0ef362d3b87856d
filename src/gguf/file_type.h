// The names of whole models' quantisations: what general.file_type says.
// Which tensor gets which format under each of them is not decided here.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace loadline::gguf {

// "Q4_K_M" for 15; empty for a number nobody has given out. The numbers are llama.cpp's (llama.h, enum llama_ftype).
std::string_view file_type_name(std::uint64_t number);

// The number for a name, whatever its case; nullopt for a name that is none.
std::optional<std::uint32_t> find_file_type(std::string_view name);

}  // namespace loadline::gguf
