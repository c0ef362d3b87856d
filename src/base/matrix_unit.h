// The processor's matrix unit.
#pragma once

namespace loadline {

// Whether this process may use AMX with bfloat16. Asks Linux for it, which keeps the unit's large registers only for
// programs that do (Documentation/arch/x86/xstate.rst); threads that are made later have it too.
bool has_matrix_unit();

}  // namespace loadline
