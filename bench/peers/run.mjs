// Loadline and llama.cpp side by side on one file: `./dev bench peers -m MODEL`, see README.md.
import { spawnSync } from "node:child_process";
import path from "node:path";
import { kVariants, median } from "./figures.mjs";
import { complaints, here, read_options_in_turn } from "./options.mjs";

const usage = `Usage: ./dev bench peers -m MODEL [options]
  -m, --model FILE      GGUF file, or the first file of a split model
  -p, --n-prompt N      tokens of the prompt test (default 512; 0: none)
  -n, --n-gen N         tokens of the generation test (default 128; 0: none)
  -t, --threads N       threads of both (default: all processors)
  -r, --repetitions N   counted runs in each process (default 1)
      --rounds N        processes of each, in turn (default 5)
      --isa NAME        hold both to an instruction set: avx2, avxvnni, avx512 or avx512vbmi
                        (default: each takes its best)
      --loadline FILE   the program (default build/release/loadline)
      --json            print all figures as JSON
`;

const { fail, number } = complaints("peers");

function options_of_both() {
  const usual = { prompt: { usual: 512, fewest: 0 }, generate: { usual: 128, fewest: 0 } };
  const { common, values } = read_options_in_turn({ fail, number }, usage, usual, {
    repetitions: { type: "string", short: "r", default: "1" },
  });
  return { ...common, repeats: number(values.repetitions, "--repetitions", 1) };
}

function output_of(program, args, env) {
  const run = spawnSync(program, args, { encoding: "utf8", env: { ...process.env, ...env } });
  if (run.error) fail(`cannot run ${program}: ${run.error.message}`);
  if (run.status !== 0) fail(`${program} failed (${run.signal ?? run.status}):\n${run.stderr}`);
  return JSON.parse(run.stdout);
}

// What a test was measured against in its own process, in turn with it.
function limit_of(test) {
  return test && { bound_by: test.bound_by, share: test.share };
}

function run_loadline(o) {
  const args = ["bench", "-m", o.model, "-p", o.prompt, "-n", o.generate, "-r", o.repeats, "-t", o.threads, "--json"];
  const result = output_of(o.program, [...args, "-ngl", 0, "-b", 512, "-ctk", "f16", "-ctv", "f16"].map(String),
                           o.isa ? { LOADLINE_ISA: o.isa } : {});
  const of = (kind) => (result.tests ?? []).find((row) => row.test.startsWith(kind));
  return {
    prompt: of("pp")?.repeats ?? [],
    generation: of("tg")?.repeats ?? [],
    limits: { prompt: limit_of(of("pp")), generation: limit_of(of("tg")) },
  };
}

function run_llama(o) {
  const { model, threads, prompt, generate, repeats } = o;
  const task = { model, threads, prompt, generate, repeats, variant: o.isa ? kVariants[o.isa] : null };
  return output_of(process.execPath, [path.join(here, "llama.mjs"), JSON.stringify(task)], {});
}

// What a test came to: medians of all runs, and the medians over the rounds of what is best compared within a round: the
// ratio, and the share of the limit.
function compare(rounds, kind) {
  const all = (who) => rounds.flatMap((round) => round[who][kind]);
  if (all("loadline").length === 0) return null;
  return {
    loadline: median(all("loadline")),
    llama: median(all("llama")),
    ratio: median(rounds.map((round) => median(round.loadline[kind]) / median(round.llama[kind]))),
    share_of_limit: median(rounds.map((round) => round.loadline.limits[kind].share)),
    bound_by: rounds[0].loadline.limits[kind].bound_by,
  };
}

function table(o, result) {
  const digits = (rate) => rate.toFixed(rate < 10 ? 2 : rate < 1000 ? 1 : 0);
  const row = (name, kind) => {
    const test = result[kind];
    if (!test) return "";
    return `| ${name} | ${digits(test.loadline)} tok/s | ${digits(test.llama)} tok/s | ${test.ratio.toFixed(2)} | ` +
           `${(test.share_of_limit * 100).toFixed(0)} % of ${test.bound_by} |\n`;
  };
  return `${path.basename(o.model)}, ${o.threads} threads${o.isa ? `, both held to ${o.isa}` : ""}, ` +
         `medians of ${o.rounds} processes each, in turn. llama.cpp ${result.version} ` +
         `(node-llama-cpp ${result.package}, ${result.variant} library)\n\n` +
         `| test | Loadline | llama.cpp | ratio | Loadline's share of what is possible |\n| --- | --- | --- | --- | --- |\n` +
         row(`pp${o.prompt}`, "prompt") + row(`tg${o.generate}`, "generation");
}

const options = options_of_both();
const rounds = [];
for (let i = 0; i < options.rounds; ++i) {
  // Who goes first alternates, so that neither always finds the machine as the other left it.
  const round = {};
  for (const who of i % 2 ? ["llama", "loadline"] : ["loadline", "llama"]) {
    console.error(`peers: round ${i + 1} of ${options.rounds}, ${who}`);
    round[who] = who === "llama" ? run_llama(options) : run_loadline(options);
  }
  rounds.push(round);
}
const { version, package: npm, variant, features } = rounds[0].llama;
const result = { model: options.model, threads: options.threads, isa: options.isa, version, package: npm, variant, features };
for (const kind of ["prompt", "generation"]) result[kind] = compare(rounds, kind);
result.rounds = rounds;
process.stdout.write(options.json ? JSON.stringify(result, null, 2) + "\n" : table(options, result));
