// llama.cpp's native library, as node-llama-cpp ships it, called without that package's own JavaScript.
import { createRequire } from "node:module";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { getBinsDir } from "@node-llama-cpp/linux-x64";

export const kBatch = 512; // loadline's default, and llama.cpp's for what it computes at a time
const kHalf = 1; // ggml's number of F16

// The library with the processor's best code, or with that called `variant`, and a model. `version`, `package`,
// `variant` and `features` say what it is. Throws where it cannot load the model.
export async function open_llama(file, variant) {
  const { binsDir, packageVersion } = getBinsDir();
  const folder = path.join(binsDir, "linux-x64");
  const build = JSON.parse(fs.readFileSync(path.join(folder, "_nlcBuildMetadata.json"), "utf8")).buildOptions.llamaCpp;
  const addon = createRequire(import.meta.url)(path.join(folder, "llama-addon.node"));

  // ggml picks the fastest library in a folder; a folder with one of them in it leaves no choice.
  let searched = folder;
  if (variant) {
    searched = fs.mkdtempSync(path.join(os.tmpdir(), "loadline-peer-"));
    const library = `libggml-cpu-${variant}.so`;
    fs.symlinkSync(path.join(folder, library), path.join(searched, library));
  }
  let chosen = null;
  const problems = [];
  addon.setLogger((level, message) => {
    const loaded = /libggml-cpu-(\w+)\.so/.exec(message);
    if (loaded) chosen = loaded[1];
    if (level <= 2) problems.push(message.trim()); // fatal and errors
  });
  addon.loadBackends(searched);
  if (searched !== folder) fs.rmSync(searched, { recursive: true });
  await addon.init();

  const model = new addon.AddonModel(file, { gpuLayers: 0, useMmap: true, addonExports: addon });
  if (!(await model.init())) throw new Error(`llama.cpp cannot load ${file}: ${problems.join(" ")}`);
  const is = { version: build.release, package: packageVersion, variant: chosen, features: addon.systemInfo() };
  return { addon, model, problems, is };
}

// A context with a KV cache in F16 for so many tokens of so many sequences together.
export async function open_context({ addon, model, problems }, { threads, tokens, sequences }) {
  const context = new addon.AddonContext(model, {
    contextSize: tokens,
    batchSize: kBatch,
    sequences,
    flashAttention: "auto",
    threads,
    kvCacheKeyType: kHalf,
    kvCacheValueType: kHalf,
  });
  if (!(await context.init())) throw new Error(`llama.cpp cannot make a context: ${problems.join(" ")}`);
  return context;
}
