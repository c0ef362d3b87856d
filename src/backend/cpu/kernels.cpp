#include "backend/cpu/kernels.h"

#include <cstdlib>
#include <string>
#include <vector>

#include "backend/cpu/kernel_sets.h"
#include "base/error.h"
#include "base/matrix_unit.h"

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace loadline::cpu {
namespace {

#if defined(__x86_64__)
[[maybe_unused]] bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
[[maybe_unused]] bool has_avxvnni() { return has_avx2() && __builtin_cpu_supports("avxvnni"); }
[[maybe_unused]] bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}
[[maybe_unused]] bool has_avx512vbmi() { return has_avx512() && __builtin_cpu_supports("avx512vbmi"); }
[[maybe_unused]] bool has_amx() {
  return has_avx512vbmi() && __builtin_cpu_supports("avx512bf16") && has_matrix_unit();
}
#elif defined(__aarch64__)
[[maybe_unused]] bool has_dot_product() { return (::getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }
#endif

std::vector<const KernelTable*> find_available() {
  std::vector<const KernelTable*> tables;
#define LOADLINE_MEMBER(name) .name = of_set::name,
#define LOADLINE_SET(set, unit, runs)                                                                            \
  if (runs) {                                                                                                    \
    namespace of_set = cpu::set;                                                                                 \
    static constexpr KernelTable kTable = {                                                                      \
        .name = #set, .matrix_unit = unit, .vectors = &of_set::kVectors, LOADLINE_EACH_KERNEL(LOADLINE_MEMBER)}; \
    tables.push_back(&kTable);                                                                                   \
  }
#include "backend/cpu/kernels.inc"
#undef LOADLINE_MEMBER
  return tables;
}

const KernelTable& choose() {
  const std::span<const KernelTable* const> tables = available_kernels();
  const char* forced = std::getenv("LOADLINE_ISA");
  if (forced == nullptr || *forced == '\0') return *tables.back();
  std::string names;
  for (const KernelTable* table : tables) {
    if (table->name == forced) return *table;
    names += (names.empty() ? "" : ", ") + std::string(table->name);
  }
  throw bad_input("LOADLINE_ISA names the instruction set \"" + std::string(forced) +
                      "\", which this processor, or this build, does not have",
                  "There are: " + names + ".");
}

}  // namespace

std::span<const KernelTable* const> available_kernels() {
  static const std::vector<const KernelTable*> kTables = find_available();
  return kTables;
}

const KernelTable& kernels() {
  static const KernelTable& chosen = choose();
  return chosen;
}

}  // namespace loadline::cpu
