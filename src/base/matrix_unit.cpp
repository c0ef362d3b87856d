#include "base/matrix_unit.h"

#if defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace loadline {

bool has_matrix_unit() {
#if defined(__x86_64__)
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  static const bool kHas = __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") &&
                           ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return kHas;
#else
  return false;
#endif
}

}  // namespace loadline
