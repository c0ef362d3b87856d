// One function per architecture family: what distinguishes it from its neighbours, in terms of the shared builder.
#pragma once

#include "model/builder.h"

namespace loadline::model::families {

void apertus(ProgramBuilder& builder);
void arcee(ProgramBuilder& builder);
void baichuan(ProgramBuilder& builder);
void bailingmoe2(ProgramBuilder& builder);
void bloom(ProgramBuilder& builder);
void cohere2(ProgramBuilder& builder);
void command_r(ProgramBuilder& builder);
void deepseek2(ProgramBuilder& builder);
void dots1(ProgramBuilder& builder);
void ernie4_5(ProgramBuilder& builder);
void ernie4_5_moe(ProgramBuilder& builder);
void exaone(ProgramBuilder& builder);
void exaone4(ProgramBuilder& builder);
void exaone_moe(ProgramBuilder& builder);
void falcon(ProgramBuilder& builder);
void falcon_h1(ProgramBuilder& builder);
void gemma(ProgramBuilder& builder);
void gemma2(ProgramBuilder& builder);
void gemma3(ProgramBuilder& builder);
void gemma4(ProgramBuilder& builder);
void glm4(ProgramBuilder& builder);
void glm4moe(ProgramBuilder& builder);
void gpt2(ProgramBuilder& builder);
void gpt_oss(ProgramBuilder& builder);
void gptneox(ProgramBuilder& builder);
void granite(ProgramBuilder& builder);
void granite_hybrid(ProgramBuilder& builder);
void hunyuan(ProgramBuilder& builder);
void internlm2(ProgramBuilder& builder);
void lfm2(ProgramBuilder& builder);
void llama(ProgramBuilder& builder);
void llama4(ProgramBuilder& builder);
void mamba2(ProgramBuilder& builder);
void minicpm(ProgramBuilder& builder);
void minicpm3(ProgramBuilder& builder);
void minimax_m2(ProgramBuilder& builder);
void mistral3(ProgramBuilder& builder);
void mpt(ProgramBuilder& builder);
void nemotron(ProgramBuilder& builder);
void nemotron_h(ProgramBuilder& builder);
void olmo2(ProgramBuilder& builder);
void olmoe(ProgramBuilder& builder);
void phi2(ProgramBuilder& builder);
void phi3(ProgramBuilder& builder);
void qwen2(ProgramBuilder& builder);
void qwen2moe(ProgramBuilder& builder);
void qwen2vl(ProgramBuilder& builder);
void qwen3(ProgramBuilder& builder);
void qwen35(ProgramBuilder& builder);
void qwen35moe(ProgramBuilder& builder);
void qwen3moe(ProgramBuilder& builder);
void qwen3next(ProgramBuilder& builder);
void qwen3vl(ProgramBuilder& builder);
void qwen3vlmoe(ProgramBuilder& builder);
void seed_oss(ProgramBuilder& builder);
void smollm3(ProgramBuilder& builder);
void stablelm(ProgramBuilder& builder);
void starcoder2(ProgramBuilder& builder);

}  // namespace loadline::model::families
