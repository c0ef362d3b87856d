// The program's commands. Each turns options into calls and results into text, and holds no logic of its own.
#pragma once

#include "cli/option.h"

namespace loadline::cli {

// One line a command; the definition is in the file of the same name.
void add_bench(Program& program);
void add_budget(Program& program);
void add_chat(Program& program);
void add_devices(Program& program);
void add_grammar(Program& program);
void add_inspect(Program& program);
void add_logits(Program& program);
void add_plan(Program& program);
void add_quantize(Program& program);
void add_run(Program& program);
void add_selftest(Program& program);
void add_serve(Program& program);
void add_synth(Program& program);
void add_template(Program& program);
void add_tokenize(Program& program);
void add_top(Program& program);
void add_tune(Program& program);
void add_ui(Program& program);

}  // namespace loadline::cli
