#include "gguf/file_type.h"

#include <algorithm>
#include <array>

namespace loadline::gguf {
namespace {

struct FileType {
  std::uint32_t number;
  std::string_view name;
};

// llama.h, enum llama_ftype, without the entries that were withdrawn. F32 means all tensors, the others most of them.
constexpr std::array kFileTypes = {
    FileType{0, "F32"},        FileType{1, "F16"},     FileType{2, "Q4_0"},    FileType{3, "Q4_1"},
    FileType{7, "Q8_0"},       FileType{8, "Q5_0"},    FileType{9, "Q5_1"},    FileType{10, "Q2_K"},
    FileType{11, "Q3_K_S"},    FileType{12, "Q3_K_M"}, FileType{13, "Q3_K_L"}, FileType{14, "Q4_K_S"},
    FileType{15, "Q4_K_M"},    FileType{16, "Q5_K_S"}, FileType{17, "Q5_K_M"}, FileType{18, "Q6_K"},
    FileType{19, "IQ2_XXS"},   FileType{20, "IQ2_XS"}, FileType{21, "Q2_K_S"}, FileType{22, "IQ3_XS"},
    FileType{23, "IQ3_XXS"},   FileType{24, "IQ1_S"},  FileType{25, "IQ4_NL"}, FileType{26, "IQ3_S"},
    FileType{27, "IQ3_M"},     FileType{28, "IQ2_S"},  FileType{29, "IQ2_M"},  FileType{30, "IQ4_XS"},
    FileType{31, "IQ1_M"},     FileType{32, "BF16"},   FileType{36, "TQ1_0"},  FileType{37, "TQ2_0"},
    FileType{38, "MXFP4_MOE"}, FileType{39, "NVFP4"},  FileType{40, "Q1_0"},   FileType{41, "Q2_0"},
};

// Set where the type was guessed from the tensors (LLAMA_FTYPE_GUESSED); not part of the number.
constexpr std::uint64_t kGuessed = 1024;

char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

}  // namespace

std::string_view file_type_name(std::uint64_t number) {
  const auto found = std::ranges::find(kFileTypes, number & ~kGuessed, &FileType::number);
  return found == kFileTypes.end() ? std::string_view() : found->name;
}

std::optional<std::uint32_t> find_file_type(std::string_view name) {
  for (const FileType& type : kFileTypes) {
    if (std::ranges::equal(type.name, name, {}, upper, upper)) return type.number;
  }
  return std::nullopt;
}

}  // namespace loadline::gguf
