// llama.cpp's prompt and generation speed: one process, one JSON object on standard output.
//   node llama.mjs '{"model": PATH, "threads": N, "prompt": N, "generate": N, "repeats": N, "variant": NAME or null}'
// With "endless": true it generates until it is stopped, a line for each token.
//
// The native library of node-llama-cpp is called directly, so that what is timed is llama_decode() and its
// synchronisation: no sampling, no text, and per call one hop to a worker thread (about 0.05 ms). As in llama-bench,
// the prompt is one batch that asks for the last token's logits, and each generated token is a batch of one; the ids
// are arbitrary, so that nothing ends early. Each test runs once uncounted, and the cache is emptied before every run.
import { createRequire } from "node:module";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { performance } from "node:perf_hooks";
import { getBinsDir } from "@node-llama-cpp/linux-x64";

const kBatch = 512; // loadline's default, and llama.cpp's for what it computes at a time
const kHalf = 1; // ggml's number of F16

const options = JSON.parse(process.argv[2]);
const { binsDir, packageVersion } = getBinsDir();
const folder = path.join(binsDir, "linux-x64");
const build = JSON.parse(fs.readFileSync(path.join(folder, "_nlcBuildMetadata.json"), "utf8")).buildOptions.llamaCpp;
const llama = createRequire(import.meta.url)(path.join(folder, "llama-addon.node"));

// ggml picks the fastest library in a folder; a folder with one of them in it leaves no choice.
let searched = folder;
if (options.variant) {
  searched = fs.mkdtempSync(path.join(os.tmpdir(), "loadline-peer-"));
  const file = `libggml-cpu-${options.variant}.so`;
  fs.symlinkSync(path.join(folder, file), path.join(searched, file));
}
let variant = null;
const problems = [];
llama.setLogger((level, message) => {
  const loaded = /libggml-cpu-(\w+)\.so/.exec(message);
  if (loaded) variant = loaded[1];
  if (level <= 2) problems.push(message.trim()); // fatal and errors
});
llama.loadBackends(searched);
if (searched !== folder) fs.rmSync(searched, { recursive: true });
await llama.init();

const model = new llama.AddonModel(options.model, { gpuLayers: 0, useMmap: true, addonExports: llama });
if (!(await model.init())) throw new Error(`llama.cpp cannot load ${options.model}: ${problems.join(" ")}`);
const context = new llama.AddonContext(model, {
  contextSize: Math.max(options.prompt, options.generate),
  batchSize: kBatch,
  sequences: 1,
  flashAttention: "auto",
  threads: options.threads,
  kvCacheKeyType: kHalf,
  kvCacheValueType: kHalf,
});
if (!(await context.init())) throw new Error(`llama.cpp cannot make a context: ${problems.join(" ")}`);

// Ids that every vocabulary has.
const tokens = Uint32Array.from({ length: Math.max(options.prompt, options.generate) }, (_, i) => 3 + ((i * 67) % 251));

async function decode(first, count, wantLogits) {
  context.initBatch(count);
  context.addToBatch(0, first, tokens.subarray(first, first + count), Uint32Array.from(wantLogits ? [count - 1] : []));
  await context.decodeBatch();
}

async function prompt() {
  for (let done = 0; done < options.prompt; done += kBatch) {
    const count = Math.min(kBatch, options.prompt - done);
    await decode(done, count, done + count === options.prompt);
  }
}

async function generate() {
  for (let i = 0; i < options.generate; ++i) await decode(i, 1, true);
}

async function rates(count, run) {
  const result = [];
  if (count === 0) return result;
  for (let i = 0; i <= options.repeats; ++i) {
    context.disposeSequence(0);
    const start = performance.now();
    await run();
    if (i > 0) result.push((count / (performance.now() - start)) * 1000);
  }
  return result;
}

// For memory_limit.mjs, which counts lines until it has had enough: one token after the other, a line for each.
for (let i = 0; options.endless; i = (i + 1) % options.generate) {
  if (i === 0) context.disposeSequence(0);
  await decode(i, 1, true);
  await new Promise((done) => process.stdout.write("token\n", done));
}

const result = {
  version: build.release,
  package: packageVersion,
  variant,
  features: llama.systemInfo(),
  prompt: await rates(options.prompt, prompt),
  generation: await rates(options.generate, generate),
};
await new Promise((done) => process.stdout.write(JSON.stringify(result) + "\n", done));
process.exit(0);
