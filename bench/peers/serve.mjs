// Many clients of `loadline serve` beside as many sequences in one context of llama.cpp: `./dev bench peers-serve -m
// MODEL`, see README.md.
import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { performance } from "node:perf_hooks";
import { kVariants, median } from "./figures.mjs";
import { complaints, here, read_options_in_turn } from "./options.mjs";

const usage = `Usage: ./dev bench peers-serve -m MODEL [options]
  -m, --model FILE      GGUF file, or the first file of a split model
  -c, --clients N       at once, beside one alone (default 8)
  -p, --n-prompt N      tokens of each prompt (default 32)
  -n, --n-gen N         tokens of each answer (default 64)
  -t, --threads N       threads of both (default: all processors)
      --rounds N        processes of each, in turn (default 5)
      --isa NAME        hold both to an instruction set: avx2, avxvnni, avx512 or avx512vbmi
                        (default: each takes its best)
      --loadline FILE   the program (default build/release/loadline)
      --json            print all figures as JSON
`;

const { fail, number } = complaints("peers-serve");

function options_of_both() {
  const usual = { prompt: { usual: 32, fewest: 1 }, generate: { usual: 64, fewest: 2 } };
  const { common, values } = read_options_in_turn({ fail, number }, usage, usual, {
    clients: { type: "string", short: "c", default: "8" },
  });
  return { ...common, clients: number(values.clients, "--clients", 1) };
}

// Ids that every vocabulary has, others for each prompt, so that none begins as another does.
const prompt_of = (o, client, run) =>
  Array.from({ length: o.prompt }, (_, i) => 3 + ((i * 67 + client * 31 + run * 13) % 251));

// A client that streams an answer: its ids, and when the first of them was there and when all.
function ask(port, body) {
  return new Promise((resolve, reject) => {
    const request = http.request({ port, path: "/completion", method: "POST", agent: false }, (response) => {
      const pieces = [];
      let first = 0;
      response.on("data", (piece) => {
        first ||= performance.now();
        pieces.push(piece);
      });
      response.on("end", () => {
        const last = performance.now();
        const text = Buffer.concat(pieces).toString();
        if (response.statusCode !== 200) return reject(new Error(`loadline serve answered ${response.statusCode}: ${text}`));
        const events = text.split("\n\n").filter(Boolean).map((event) => JSON.parse(event.slice("data: ".length)));
        resolve({ ids: events.flatMap((event) => event.tokens ?? []), first, last });
      });
      response.on("error", reject);
    });
    request.on("error", reject);
    request.end(JSON.stringify(body));
  });
}

async function ask_all(o, port, clients, run) {
  const begin = performance.now();
  const answers = await Promise.all(Array.from({ length: clients }, (_, client) =>
    ask(port, { prompt: prompt_of(o, client, run), n_predict: o.generate, temperature: 0, ignore_eos: true,
                cache_prompt: false, return_tokens: true, stream: true })));
  for (const { ids } of answers) {
    if (ids.length !== o.generate) fail(`loadline serve gave ${ids.length} tokens of ${o.generate}`);
  }
  const seconds = (Math.max(...answers.map((one) => one.last)) - begin) / 1000;
  const first = (Math.max(...answers.map((one) => one.first)) - begin) / 1000;
  return { seconds, first, ids: answers.map((one) => one.ids) };
}

// One server for one client and for many, each once uncounted.
async function run_loadline(o) {
  const context = o.clients * (o.prompt + o.generate + 32);
  const args = ["serve", "-m", o.model, "--port", 0, "-np", o.clients, "-c", context, "-t", o.threads, "-ngl", 0,
                "-b", 512, "-ctk", "f16", "-ctv", "f16"].map(String);
  const env = { ...process.env, ...(o.isa ? { LOADLINE_ISA: o.isa } : {}) };
  const server = spawn(o.program, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  let errors = "";
  server.stderr.on("data", (text) => (errors += text));
  try {
    const port = await new Promise((resolve, reject) => {
      let said = "";
      server.stdout.on("data", (text) => {
        const found = /:(\d+)\n/.exec((said += text));
        if (found) resolve(Number(found[1]));
      });
      server.on("error", reject);
      server.on("exit", () => reject(new Error(`loadline serve ended:\n${errors}`)));
    });
    while ((await fetch(`http://127.0.0.1:${port}/health`)).status === 503) await new Promise((done) => setTimeout(done, 100));
    const result = {};
    for (const clients of new Set([1, o.clients])) {
      await ask_all(o, port, clients, 1);
      result[clients] = await ask_all(o, port, clients, 0);
    }
    return result;
  } finally {
    server.removeAllListeners("exit");
    const over = new Promise((done) => server.on("exit", done));
    if (server.kill("SIGTERM")) await over;
  }
}

// The same tokens as sequences, in a process for one and one for many.
function run_llama(o, answers) {
  const result = {};
  for (const clients of new Set([1, o.clients])) {
    const task = {
      model: o.model, threads: o.threads, variant: o.isa ? kVariants[o.isa] : null,
      prompts: Array.from({ length: clients }, (_, client) => prompt_of(o, client, 0)), answers: answers[clients],
    };
    const run = spawnSync(process.execPath, [path.join(here, "llama_sequences.mjs"), JSON.stringify(task)], { encoding: "utf8" });
    if (run.status !== 0) fail(`llama.cpp failed (${run.signal ?? run.status}):\n${run.stderr}`);
    result[clients] = JSON.parse(run.stdout);
  }
  return result;
}

const options = options_of_both();
if (!fs.existsSync(options.program)) fail(`there is no program ${options.program}`);
const rounds = [];
let answers = null; // that llama.cpp is fed with: the first round's
for (let i = 0; i < options.rounds; ++i) {
  // Who goes first alternates, once there are answers to feed.
  const round = {};
  for (const who of i % 2 ? ["llama", "loadline"] : ["loadline", "llama"]) {
    console.error(`peers-serve: round ${i + 1} of ${options.rounds}, ${who}`);
    if (who === "llama") {
      round.llama = run_llama(options, answers);
    } else {
      round.loadline = await run_loadline(options);
      answers ??= Object.fromEntries(Object.entries(round.loadline).map(([clients, one]) => [clients, one.ids]));
      for (const one of Object.values(round.loadline)) delete one.ids;
    }
  }
  rounds.push(round);
}

// Tokens a second of all together, from the first byte that is asked for to the last that is there; and the ratio, and
// what many make of one, as the medians over the rounds of what was measured in the same round.
const rate = (round, who, clients) => (clients * options.generate) / round[who][clients].seconds;
const middle = (of) => median(rounds.map(of));
const rows = [...new Set([1, options.clients])].map((clients) => ({
  clients,
  loadline: middle((round) => rate(round, "loadline", clients)),
  llama: middle((round) => rate(round, "llama", clients)),
  ratio: middle((round) => rate(round, "loadline", clients) / rate(round, "llama", clients)),
}));
const grows = (who) => middle((round) => rate(round, who, options.clients) / rate(round, who, 1));
const { version, package: npm, variant, features } = rounds[0].llama[1];
const result = { model: options.model, threads: options.threads, isa: options.isa, version, package: npm, variant, features,
                 prompt: options.prompt, generate: options.generate, rows,
                 of_one: { loadline: grows("loadline"), llama: grows("llama") }, rounds };

function table() {
  const digits = (value) => value.toFixed(value < 10 ? 2 : value < 1000 ? 1 : 0);
  const row = (one) => `| ${one.clients} | ${digits(one.loadline)} tok/s | ${digits(one.llama)} tok/s | ${one.ratio.toFixed(2)} |\n`;
  return `${path.basename(options.model)}, ${options.threads} threads${options.isa ? `, both held to ${options.isa}` : ""}, ` +
         `prompts of ${options.prompt}, answers of ${options.generate} tokens, medians of ${options.rounds} processes each, ` +
         `in turn. llama.cpp ${version} (node-llama-cpp ${npm}, ${variant} library)\n\n` +
         `| at once | clients of loadline serve | sequences of llama.cpp | ratio |\n| --- | --- | --- | --- |\n` +
         rows.map(row).join("") +
         `| ${options.clients} of one | ${result.of_one.loadline.toFixed(2)} times | ${result.of_one.llama.toFixed(2)} times | |\n`;
}

process.stdout.write(options.json ? JSON.stringify(result, null, 2) + "\n" : table());
