// The shapes of models with experts, windows, latent attention and recurrent layers.
#include <array>

#include "authoring/shapes.h"

namespace loadline::authoring {
namespace {

using enum VocabularyKind;

// Sources: the config.json each model was published with.
constexpr ShapeKey kGptOss20b[] = {{"attention.sliding_window", 128U},
                                   {"expert_count", 32U},
                                   {"expert_used_count", 4U},
                                   {"expert_feed_forward_length", 2880U},
                                   {"rope.scaling.type", std::string_view("yarn")},
                                   {"rope.scaling.factor", 32.0F},
                                   {"rope.scaling.original_context_length", 4096U}};
constexpr ShapeKey kGptOss120b[] = {{"attention.sliding_window", 128U},
                                    {"expert_count", 128U},
                                    {"expert_used_count", 4U},
                                    {"expert_feed_forward_length", 2880U},
                                    {"rope.scaling.type", std::string_view("yarn")},
                                    {"rope.scaling.factor", 32.0F},
                                    {"rope.scaling.original_context_length", 4096U}};
constexpr std::string_view kGptOssOptional[] = {"attn_output.bias"};

constexpr ShapeKey kQwen3Moe30b[] = {
    {"expert_count", 128U}, {"expert_used_count", 8U}, {"expert_feed_forward_length", 768U}};
constexpr ShapeKey kQwen3Moe235b[] = {
    {"expert_count", 128U}, {"expert_used_count", 8U}, {"expert_feed_forward_length", 1536U}};
constexpr ShapeKey kMixtral[] = {{"expert_count", 8U}, {"expert_used_count", 2U}};

constexpr ShapeKey kGemma3[] = {{"attention.sliding_window", 1024U},
                                {"rope.scaling.type", std::string_view("linear")},
                                {"rope.scaling.factor", 8.0F}};

constexpr ShapeKey kPhi4[] = {{"rope.scaling.original_context_length", 16384U}};
constexpr std::string_view kPhi4Optional[] = {"attn_qkv.weight"};

constexpr ShapeKey kGlm45Air[] = {{"expert_count", 128U},
                                  {"expert_used_count", 8U},
                                  {"expert_shared_count", 1U},
                                  {"expert_feed_forward_length", 1408U},
                                  {"leading_dense_block_count", 1U},
                                  {"expert_weights_scale", 1.0F},
                                  {"expert_weights_norm", true},
                                  {"expert_gating_func", 2U},
                                  {"rope.dimension_count", 64U}};
constexpr std::string_view kGlm45AirOptional[] = {"attn_q.bias", "attn_k.bias", "attn_v.bias"};

constexpr ShapeKey kDeepseekV2Lite[] = {{"attention.kv_lora_rank", 512U},
                                        {"attention.key_length", 576U},
                                        {"attention.value_length", 512U},
                                        {"attention.key_length_mla", 192U},
                                        {"attention.value_length_mla", 128U},
                                        {"rope.dimension_count", 64U},
                                        {"expert_count", 64U},
                                        {"expert_used_count", 6U},
                                        {"expert_shared_count", 2U},
                                        {"expert_feed_forward_length", 1408U},
                                        {"leading_dense_block_count", 1U},
                                        {"expert_weights_scale", 1.0F},
                                        {"expert_weights_norm", false},
                                        {"expert_gating_func", 1U},
                                        {"rope.scaling.type", std::string_view("yarn")},
                                        {"rope.scaling.factor", 40.0F},
                                        {"rope.scaling.original_context_length", 4096U},
                                        {"rope.scaling.yarn_log_multiplier", 0.0707F}};
constexpr ShapeKey kDeepseekV3[] = {{"attention.kv_lora_rank", 512U},
                                    {"attention.q_lora_rank", 1536U},
                                    {"attention.key_length", 576U},
                                    {"attention.value_length", 512U},
                                    {"attention.key_length_mla", 192U},
                                    {"attention.value_length_mla", 128U},
                                    {"rope.dimension_count", 64U},
                                    {"expert_count", 256U},
                                    {"expert_used_count", 8U},
                                    {"expert_shared_count", 1U},
                                    {"expert_feed_forward_length", 2048U},
                                    {"leading_dense_block_count", 3U},
                                    {"expert_group_count", 8U},
                                    {"expert_group_used_count", 4U},
                                    {"expert_weights_scale", 2.5F},
                                    {"expert_weights_norm", true},
                                    {"expert_gating_func", 2U},
                                    {"rope.scaling.type", std::string_view("yarn")},
                                    {"rope.scaling.factor", 40.0F},
                                    {"rope.scaling.original_context_length", 4096U},
                                    {"rope.scaling.yarn_log_multiplier", 0.1F}};
constexpr std::string_view kDeepseekV3Optional[] = {"exp_probs_b.bias"};

constexpr ShapeKey kQwen3Next[] = {{"ssm.conv_kernel", 4U},
                                   {"ssm.inner_size", 4096U},
                                   {"ssm.state_size", 128U},
                                   {"ssm.time_step_rank", 32U},
                                   {"ssm.group_count", 16U},
                                   {"full_attention_interval", 4U},
                                   {"rope.dimension_count", 64U},
                                   {"expert_count", 512U},
                                   {"expert_used_count", 10U},
                                   {"expert_feed_forward_length", 512U},
                                   {"expert_shared_feed_forward_length", 512U}};
constexpr ShapeKey kQwen35Dense4b[] = {{"ssm.conv_kernel", 4U},      {"ssm.inner_size", 4096U},
                                       {"ssm.state_size", 128U},     {"ssm.time_step_rank", 32U},
                                       {"ssm.group_count", 16U},     {"full_attention_interval", 4U},
                                       {"rope.dimension_count", 64U}};
constexpr ShapeKey kQwen35Dense27b[] = {{"ssm.conv_kernel", 4U},      {"ssm.inner_size", 6144U},
                                        {"ssm.state_size", 128U},     {"ssm.time_step_rank", 48U},
                                        {"ssm.group_count", 16U},     {"full_attention_interval", 4U},
                                        {"rope.dimension_count", 64U}};

constexpr ShapeKey kLlama4Scout[] = {{"expert_count", 16U},
                                     {"expert_used_count", 1U},
                                     {"interleave_moe_layer_step", 1U},
                                     {"expert_feed_forward_length", 8192U}};

// Made-up small models, one of each kind of layer, for tests and to try.
constexpr ShapeKey kTinyMoe[] = {{"expert_count", 8U}, {"expert_used_count", 2U}, {"expert_feed_forward_length", 128U}};
constexpr ShapeKey kTinyGemma3[] = {{"attention.sliding_window", 64U}, {"attention.sliding_window_pattern", 2U}};
constexpr ShapeKey kTinyDeepseek[] = {{"attention.kv_lora_rank", 64U},
                                      {"attention.key_length", 96U},
                                      {"attention.value_length", 64U},
                                      {"attention.key_length_mla", 64U},
                                      {"attention.value_length_mla", 32U},
                                      {"rope.dimension_count", 32U},
                                      {"expert_count", 8U},
                                      {"expert_used_count", 2U},
                                      {"expert_shared_count", 1U},
                                      {"expert_feed_forward_length", 128U},
                                      {"leading_dense_block_count", 1U},
                                      {"expert_weights_norm", true},
                                      {"expert_gating_func", 2U}};
constexpr ShapeKey kTinyQwen35[] = {
    {"ssm.conv_kernel", 4U}, {"ssm.inner_size", 256U},        {"ssm.state_size", 64U},      {"ssm.time_step_rank", 4U},
    {"ssm.group_count", 2U}, {"full_attention_interval", 2U}, {"rope.dimension_count", 32U}};
constexpr ShapeKey kTinyMamba2[] = {{"ssm.conv_kernel", 4U},
                                    {"ssm.inner_size", 512U},
                                    {"ssm.state_size", 64U},
                                    {"ssm.time_step_rank", 8U},
                                    {"ssm.group_count", 1U}};
constexpr ShapeKey kFalconH1[] = {{"ssm.conv_kernel", 4U},
                                  {"ssm.inner_size", 1536U},
                                  {"ssm.state_size", 128U},
                                  {"ssm.time_step_rank", 24U},
                                  {"ssm.group_count", 1U}};
constexpr ShapeKey kTinyLfm2[] = {{"shortconv.l_cache", 3U}, {"attention.head_count_kv", Periodic{2, 0, 2}}};

// Columns as in Shape: layers, embedding, feed_forward, heads, kv_heads, head_dim, vocabulary, context, rope base,
// epsilon, tied, rope factor.
constexpr std::array kFamilyShapes = {
    // clang-format off
    Shape{"tiny-qwen3moe", "Tiny Qwen 3 MoE", "qwen3moe", Qwen,
          2, 256, 768, 4, 2, 64, 1024, 2048, 1e6F, 1e-6F, false, 0, kTinyMoe},
    Shape{"tiny-gemma3", "Tiny Gemma 3", "gemma3", SentencePiece,
          4, 256, 768, 4, 2, 64, 1024, 2048, 1e6F, 1e-6F, true, 0, kTinyGemma3},
    Shape{"tiny-deepseek2", "Tiny DeepSeek", "deepseek2", Llama3,
          2, 256, 768, 4, 1, 0, 1024, 2048, 1e4F, 1e-6F, false, 0, kTinyDeepseek},
    Shape{"tiny-qwen35", "Tiny Qwen 3.5", "qwen35", Qwen,
          4, 256, 768, 4, 2, 64, 1024, 2048, 1e7F, 1e-6F, false, 0, kTinyQwen35},
    Shape{"tiny-mamba2", "Tiny Mamba 2", "mamba2", Llama3,
          2, 256, 0, 0, 0, 0, 1024, 2048, 1e4F, 1e-5F, true, 0, kTinyMamba2},
    Shape{"tiny-lfm2", "Tiny LFM 2", "lfm2", Llama3,
          4, 256, 768, 4, 2, 64, 1024, 2048, 1e6F, 1e-5F, true, 0, kTinyLfm2},
    Shape{"gpt-oss-20b", "gpt-oss 20B", "gpt-oss", Llama3,
          24, 2880, 2880, 64, 8, 64, 201088, 131072, 150000, 1e-5F, false, 0, kGptOss20b, kGptOssOptional},
    Shape{"gpt-oss-120b", "gpt-oss 120B", "gpt-oss", Llama3,
          36, 2880, 2880, 64, 8, 64, 201088, 131072, 150000, 1e-5F, false, 0, kGptOss120b, kGptOssOptional},
    Shape{"qwen3-30b-a3b", "Qwen3 30B A3B", "qwen3moe", Qwen,
          48, 2048, 6144, 32, 4, 128, 151936, 40960, 1e6F, 1e-6F, false, 0, kQwen3Moe30b},
    Shape{"qwen3-235b-a22b", "Qwen3 235B A22B", "qwen3moe", Qwen,
          94, 4096, 12288, 64, 4, 128, 151936, 40960, 1e6F, 1e-6F, false, 0, kQwen3Moe235b},
    Shape{"mixtral-8x7b", "Mixtral 8x7B", "llama", SentencePiece,
          32, 4096, 14336, 32, 8, 128, 32000, 32768, 1e6F, 1e-5F, false, 0, kMixtral},
    Shape{"gemma-3-4b", "Gemma 3 4B", "gemma3", SentencePiece,
          34, 2560, 10240, 8, 4, 256, 262144, 131072, 1e6F, 1e-6F, true, 0, kGemma3},
    Shape{"gemma-3-12b", "Gemma 3 12B", "gemma3", SentencePiece,
          48, 3840, 15360, 16, 8, 256, 262144, 131072, 1e6F, 1e-6F, true, 0, kGemma3},
    Shape{"gemma-3-27b", "Gemma 3 27B", "gemma3", SentencePiece,
          62, 5376, 21504, 32, 16, 128, 262144, 131072, 1e6F, 1e-6F, true, 0, kGemma3},
    Shape{"phi-4", "Phi 4", "phi3", Qwen,
          40, 5120, 17920, 40, 10, 128, 100352, 16384, 250000, 1e-5F, false, 0, kPhi4, kPhi4Optional},
    Shape{"glm-4.5-air", "GLM 4.5 Air", "glm4moe", Qwen,
          46, 4096, 10944, 96, 8, 128, 151552, 131072, 1e6F, 1e-5F, false, 0, kGlm45Air, kGlm45AirOptional},
    Shape{"deepseek-v2-lite", "DeepSeek V2 Lite", "deepseek2", Llama3,
          27, 2048, 10944, 16, 1, 0, 102400, 163840, 1e4F, 1e-6F, false, 0, kDeepseekV2Lite},
    Shape{"deepseek-v3", "DeepSeek V3", "deepseek2", Llama3,
          61, 7168, 18432, 128, 1, 0, 129280, 163840, 1e4F, 1e-6F, false, 0, kDeepseekV3, kDeepseekV3Optional},
    Shape{"qwen3-next-80b-a3b", "Qwen3 Next 80B A3B", "qwen3next", Qwen,
          48, 2048, 5120, 16, 2, 256, 151936, 262144, 1e7F, 1e-6F, false, 0, kQwen3Next},
    Shape{"qwen3.5-4b", "Qwen3.5 4B", "qwen35", Qwen,
          32, 2560, 9216, 16, 4, 256, 248320, 262144, 1e7F, 1e-6F, true, 0, kQwen35Dense4b},
    Shape{"qwen3.5-27b", "Qwen3.5 27B", "qwen35", Qwen,
          64, 5120, 17408, 24, 4, 256, 248320, 262144, 1e7F, 1e-6F, false, 0, kQwen35Dense27b},
    Shape{"falcon-h1-0.5b", "Falcon-H1 0.5B", "falcon-h1", Llama3,
          36, 1024, 2048, 8, 2, 64, 32784, 16384, 1e11F, 1e-5F, false, 0, kFalconH1},
    Shape{"llama-4-scout", "Llama 4 Scout", "llama4", Llama3,
          48, 5120, 16384, 40, 8, 128, 202048, 10485760, 5e5F, 1e-5F, false, 8, kLlama4Scout},
    // clang-format on
};

}  // namespace

std::span<const Shape> family_shapes() { return kFamilyShapes; }

}  // namespace loadline::authoring
