#include "backend/reference/reference.h"

#include "backend/reference/pass.h"

namespace loadline::reference {

std::vector<float> logits(const gguf::Model& model, const model::Program& program, std::span<const std::int32_t> tokens,
                          const std::function<void(double)>& progress, std::uint32_t context) {
  Pass pass(model, program, tokens, context == 0 ? static_cast<std::uint32_t>(tokens.size()) : context);
  for (std::size_t i = 0; i < program.groups.size(); ++i) {
    for (const model::Op& op : program.groups[i].ops) pass.run(op);
    if (progress) progress(static_cast<double>(i + 1) / static_cast<double>(program.groups.size()));
  }
  return pass.take(program.logits);
}

std::vector<float> states(const gguf::Model& model, const model::Program& program,
                          std::span<const std::int32_t> tokens) {
  Pass pass(model, program, tokens, static_cast<std::uint32_t>(tokens.size()));
  for (const model::Group& group : program.groups) {
    for (const model::Op& op : group.ops) pass.run(op);
  }
  return pass.take(program.normed);
}

}  // namespace loadline::reference
