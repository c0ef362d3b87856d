#include "backend/cpu/kernels.h"

#include <cstdlib>
#include <string>
#include <vector>

#include "backend/cpu/kernel_sets.h"
#include "base/error.h"

namespace loadline::cpu {
namespace {

std::vector<const KernelTable*> find_available() { return {&kScalarKernels}; }

const KernelTable& choose() {
  const std::span<const KernelTable* const> tables = available_kernels();
  const char* forced = std::getenv("LOADLINE_ISA");
  if (forced == nullptr || *forced == '\0') return *tables.back();
  std::string names;
  for (const KernelTable* table : tables) {
    if (table->name == forced) return *table;
    names += (names.empty() ? "" : ", ") + std::string(table->name);
  }
  throw bad_input(
      "LOADLINE_ISA names the instruction set \"" + std::string(forced) + "\", which this processor cannot run",
      "It can run: " + names + ".");
}

}  // namespace

std::span<const KernelTable* const> available_kernels() {
  static const std::vector<const KernelTable*> tables = find_available();
  return tables;
}

const KernelTable& kernels() {
  static const KernelTable& chosen = choose();
  return chosen;
}

}  // namespace loadline::cpu
