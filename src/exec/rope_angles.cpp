#include "exec/rope_angles.h"

#include "model/rope.h"

namespace loadline::exec {

RopeAngles::RopeAngles(const model::Program& program, std::span<const std::vector<float>> factors,
                       std::uint32_t tokens) {
  for (std::size_t i = 0; i < program.ropes.size(); ++i) {
    Table& table = tables_.emplace_back();
    table.config = &program.ropes[i].config;
    table.frequencies = model::rope_frequencies(*table.config, i < factors.size() ? factors[i] : std::vector<float>());
    table.cosines.resize(tokens * table.frequencies.size());
    table.sines.resize(table.cosines.size());
    views_.push_back({table.cosines.data(), table.sines.data()});
  }
}

void RopeAngles::set(std::size_t token, std::uint32_t position) {
  for (Table& table : tables_) {
    const std::size_t at = token * table.frequencies.size();
    model::rope_table(*table.config, table.frequencies, position, table.cosines.data() + at, table.sines.data() + at);
  }
}

}  // namespace loadline::exec
