// Models as `serve` has them: opened, planned, loaded and watched by what the command line says.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cli/chat_template.h"
#include "cli/model_presets.h"
#include "cli/model_source.h"
#include "cli/plan_options.h"
#include "cli/sample_options.h"
#include "engine/loader.h"
#include "plan/plan.h"
#include "serve/guard.h"
#include "serve/model_folder.h"
#include "serve/request_memory.h"
#include "serve/served.h"

namespace loadline::cli {

struct ServedOptions {
  ModelOptions model;
  TemplateOptions chat;
  PlanOptions plan;
  SampleOptions sampling;
  std::vector<std::string> aliases;  // NAME, or NAME=MODEL where there are several models
  std::string models;                // folder; empty: one model
  std::int64_t most_waiting = 64;
  std::int64_t most_pass = 500;  // ms
  std::string on_pressure = "shrink";
  std::string pooling;           // last, mean or none; empty: as the file says
  std::string slot_folder;       // where slots are saved; empty: nowhere
  Bytes most_body, most_bodies;  // of requests
  Bytes connections;             // what the HTTP server takes beside those
  ModelPresets presets;          // with several models

  // The options that a model of a folder may have of its own.
  void add_to(Command& command);
};

// A model whose headers are read and whose plan is made, and nothing more.
struct PlannedModel {
  ModelSource source;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;
  std::shared_ptr<serve::Served> served;  // without its service
  plan::Plan plan;
  std::shared_ptr<const serve::Basis> basis;
};
// What requests take whichever model they are for.
Bytes shared_request_memory(const ServedOptions& options);
// The options of one model of a folder: those of the command line, and what its preset says of the others. Throws
// Error(BadInput).
ServedOptions options_for(const ServedOptions& options, const std::string& name);

// Says what users are told of a model and its plan. `name`: what clients call it; empty: by its file.
PlannedModel plan_served(const ServedOptions& options, ModelSource source, const std::string& name,
                         const serve::Reserved& reserved = {});

// Loads it and begins to serve it. Null where it was stopped.
std::shared_ptr<serve::Served> load_served(const ServedOptions& options, PlannedModel planned, serve::LoadHooks hooks,
                                           const engine::LoadProgress& progress, const std::atomic<bool>& stop);
// A model was to be stopped, since memory is missing.
bool pressure_stopped();

// A model of a folder. `options` outlives it.
std::unique_ptr<serve::Candidate> open_candidate(const ServedOptions& options, const std::filesystem::path& file,
                                                 const std::string& name);
// What the aliases of a server with several models mean. Throws Error(BadInput).
std::map<std::string, std::string> aliases_of(const ServedOptions& options);

}  // namespace loadline::cli
