#include "plan/plan.h"

namespace loadline::plan {

std::string_view name_of(Purpose purpose) {
  switch (purpose) {
    case Purpose::Weights: return "weights";
    case Purpose::KvCache: return "KV cache";
    case Purpose::Scratch: return "scratch";
    case Purpose::Staging: return "staging";
    case Purpose::Runtime: return "runtime";
  }
  return "unknown";
}

}  // namespace loadline::plan
