// A model in words and sums, for people: the line that names it, its metadata as text, its tensors by layer and format.
// Nothing here fails on odd metadata: what is not as expected is left out or shown as it is.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/gguf.h"

namespace loadline::gguf {

struct Summary {
  std::string name;              // general.name, else the file's
  std::string architecture;      // general.architecture; empty where it is missing
  std::string format;            // general.file_type in words, else the format of most bytes; empty without tensors
  std::uint64_t parameters = 0;  // values in all tensors
  Bytes file_bytes;
  std::size_t files = 0;
};

// Names are as stored, not yet made printable.
Summary summarise(const Model& model);

// "Llama 3 8B Instruct · llama · Q4_K_M · 8.03 B parameters · 4.58 GiB in one file"
std::string to_line(const Summary& summary);

// "8.03 B", "137 M", "820": three significant digits, decimal thousands.
std::string count_text(std::uint64_t count);

// A value in one line, printable. Strings stand in quotes and are cut at 100 bytes, arrays are shown with their count,
// type and first elements; `full` leaves nothing out.
std::string value_text(const Value& value, bool full = false);

// Tensors and bytes of one format.
struct FormatSum {
  std::uint64_t tensors = 0;
  std::uint64_t elements = 0;
  Bytes bytes;
};

using FormatSums = std::map<quant::TensorType, FormatSum>;

FormatSums sum_formats(const Model& model);

// One tensor outside all layers, or all the layers that hold the same tensors in the same formats and shapes.
struct TensorGroup {
  std::string name;                   // of the tensor; empty for layers
  std::vector<std::uint64_t> layers;  // ascending; empty for a tensor
  std::uint64_t tensors = 0;          // of all layers together
  FormatSums formats;                 // likewise
};

// In the order in which their first tensors are in the model.
std::vector<TensorGroup> group_by_layer(const Model& model);

// The layer a tensor belongs to by its name (blk.N.…).
std::optional<std::uint64_t> layer_of(std::string_view tensor_name);

// "0-3, 6, 9-11": an ascending list in few words.
std::string ranges_text(const std::vector<std::uint64_t>& numbers);

}  // namespace loadline::gguf
