// llama.cpp's prompt and generation speed: one process, one JSON object on standard output.
//   node llama.mjs '{"model": PATH, "threads": N, "prompt": N, "generate": N, "repeats": N, "variant": NAME or null}'
// With "endless": true it generates until it is stopped, a line for each token.
//
// The native library of node-llama-cpp is called directly, so that what is timed is llama_decode() and its
// synchronisation: no sampling, no text, and per call one hop to a worker thread (about 0.05 ms). As in llama-bench,
// the prompt is one batch that asks for the last token's logits, and each generated token is a batch of one; the ids
// are arbitrary, so that nothing ends early. Each test runs once uncounted, and the cache is emptied before every run.
import { performance } from "node:perf_hooks";
import { kBatch, open_context, open_llama } from "./library.mjs";

const options = JSON.parse(process.argv[2]);
const llama = await open_llama(options.model, options.variant);
const tokens_of_context = Math.max(options.prompt, options.generate);
const context = await open_context(llama, { threads: options.threads, tokens: tokens_of_context, sequences: 1 });

// Ids that every vocabulary has.
const tokens = Uint32Array.from({ length: tokens_of_context }, (_, i) => 3 + ((i * 67) % 251));

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
  ...llama.is,
  prompt: await rates(options.prompt, prompt),
  generation: await rates(options.generate, generate),
};
await new Promise((done) => process.stdout.write(JSON.stringify(result) + "\n", done));
process.exit(0);
