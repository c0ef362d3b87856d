// llama.cpp generating several sequences at once in one context: one process, one JSON object on standard output.
//   node llama_sequences.mjs '{"model": PATH, "threads": N, "prompts": [[ID, ...], ...], "answers": [[ID, ...], ...],
//                              "variant": NAME or null}'
//
// Each prompt is read, and then all sequences get a token in every llama_decode(), as node-llama-cpp batches the
// sequences of a context. Of every row of logits a token is drawn by its sampler, greedily, and dropped: what is fed is
// the answer that was given, so that both engines compute the same tokens. Once uncounted, once counted; "seconds" from
// the first prompt to the last token, "first" to where the last sequence has its first.
import { performance } from "node:perf_hooks";
import { kBatch, open_context, open_llama } from "./library.mjs";

const { model, threads, prompts, answers, variant } = JSON.parse(process.argv[2]);
const llama = await open_llama(model, variant);
const room = Math.max(...prompts.map((prompt, i) => prompt.length + answers[i].length));
// As many cells for each sequence; llama.cpp divides a context by them, in parts of 256.
const each = Math.ceil((room + 1) / 256) * 256;
const context = await open_context(llama, { threads, tokens: each * prompts.length, sequences: prompts.length });
const samplers = prompts.map(() => {
  const sampler = new llama.addon.AddonSampler(llama.model);
  sampler.applyConfig({ temperature: 0 });
  return sampler;
});

// `parts`: [sequence, position, ids, whether a token is drawn behind the last].
async function decode(parts) {
  context.initBatch(parts.reduce((sum, [, , ids]) => sum + ids.length, 0));
  const drawn = [];
  for (const [sequence, position, ids, draws] of parts) {
    const rows = context.addToBatch(sequence, position, Uint32Array.from(ids), Uint32Array.from(draws ? [ids.length - 1] : []));
    if (draws) drawn.push([sequence, rows[0]]);
  }
  await context.decodeBatch();
  for (const [sequence, row] of drawn) await context.sampleToken(row, samplers[sequence]);
}

async function run() {
  prompts.forEach((_, sequence) => context.disposeSequence(sequence));
  const begin = performance.now();
  let parts = [];
  let count = 0;
  for (const [sequence, prompt] of prompts.entries()) {
    for (let at = 0; at < prompt.length;) {
      const ids = prompt.slice(at, at + kBatch - count);
      parts.push([sequence, at, ids, at + ids.length === prompt.length]);
      at += ids.length;
      count += ids.length;
      if (count === kBatch) {
        await decode(parts);
        parts = [];
        count = 0;
      }
    }
  }
  if (parts.length > 0) await decode(parts);
  const first = performance.now();
  for (let i = 0; i + 1 < Math.max(...answers.map((answer) => answer.length)); ++i) {
    await decode([...answers.entries()].filter(([, answer]) => i + 1 < answer.length).map(
      ([sequence, answer]) => [sequence, prompts[sequence].length + i, [answer[i]], true]));
  }
  return { seconds: (performance.now() - begin) / 1000, first: (first - begin) / 1000 };
}

await run();
const result = { ...llama.is, ...await run() };
await new Promise((done) => process.stdout.write(JSON.stringify(result) + "\n", done));
process.exit(0);
