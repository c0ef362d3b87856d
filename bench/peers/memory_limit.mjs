// A model larger than the memory it may take, read from disk as planned and through a memory map (llama.cpp), each in a
// control group with the same limit: `./dev bench limit -m MODEL --limit 3GiB`, see README.md. Linux, as root.
import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { complaints, here, read_options } from "./options.mjs";

const usage = `Usage: ./dev bench limit -m MODEL --limit SIZE [options]
  -m, --model FILE      GGUF file, or the first file of a split model
      --limit SIZE      memory that each may take: 3GiB, 1536MiB
      --seconds N       time for each, loading included (default 100)
  -t, --threads N       threads of both (default: all processors)
      --loadline FILE   the program (default build/release/loadline)
      --json            print the figures as JSON
`;
const kContext = 512;
// The library of llama.cpp that leaves weights where the file is mapped: those for processors with AVX2 and later copy
// them into a layout of their own, in memory that cannot be dropped. Arithmetic is not what bounds either side here.
const kMapped = "ivybridge";

const { fail, number } = complaints("limit");

function bytes_of(text) {
  const [, number, unit] = /^([\d.]+)\s*([GM])i?B?$/i.exec(text ?? "") ?? [];
  if (!number) fail(`--limit is not a size such as 3GiB: "${text}"`);
  return Math.round(Number(number) * (unit.toUpperCase() === "G" ? 2 ** 30 : 2 ** 20));
}

function options_of_both() {
  const { common, values } = read_options({ fail, number }, usage, {
    limit: { type: "string" },
    seconds: { type: "string", default: "100" },
  });
  return { ...common, limit: bytes_of(values.limit), seconds: number(values.seconds, "--seconds", 1) };
}

// A new control group with a limit on memory, version 1 or 2.
function make_group(limit) {
  const name = `loadline-bench-${process.pid}`;
  const first = "/sys/fs/cgroup/memory";
  const old = fs.existsSync(path.join(first, "memory.limit_in_bytes"));
  const group = path.join(old ? first : "/sys/fs/cgroup", name);
  const file = (part) => path.join(group, part);
  try {
    fs.mkdirSync(group);
    fs.writeFileSync(file(old ? "memory.limit_in_bytes" : "memory.max"), String(limit));
  } catch (error) {
    fail(`a control group with a limit on memory cannot be made here: ${error.message}`);
  }
  const number = (part) => Number(fs.readFileSync(file(part), "utf8"));
  return {
    processes: file("cgroup.procs"),
    peak: () => number(old ? "memory.max_usage_in_bytes" : "memory.peak"),
    reclaims: () =>
      old ? number("memory.failcnt") : Number(/^max (\d+)/m.exec(fs.readFileSync(file("memory.events"), "utf8"))[1]),
    remove: () => fs.rmdirSync(group),
  };
}

const bytes_read = (pid) => Number(/^read_bytes: (\d+)/m.exec(fs.readFileSync(`/proc/${pid}/io`, "utf8"))[1]);
const faults = (pid) => Number(fs.readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ")[9]);

// Runs a program in a group of its own until it has had its time. `on_text` gets what it prints, as it comes.
function run(options, command, signal, on_text) {
  const group = make_group(options.limit);
  // Pages of the file that are cached already count against whoever read them first, and a map of them costs nothing.
  fs.writeFileSync("/proc/sys/vm/drop_caches", "1");
  const child = spawn("/bin/sh", ["-c", 'echo $$ > "$0" && exec "$@"', group.processes, ...command], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let errors = "";
  let last = { read: 0, faults: 0 };
  child.stdout.setEncoding("utf8").on("data", on_text);
  child.stderr.setEncoding("utf8").on("data", (text) => (errors += text));
  const watch = setInterval(() => {
    try {
      last = { read: bytes_read(child.pid), faults: faults(child.pid) };
    } catch {
      // It has ended.
    }
  }, 200);
  let ended = null;
  const ends = setTimeout(() => {
    ended = "time was up";
    child.kill(signal);
  }, options.seconds * 1000);
  return new Promise((done) =>
    child.on("close", (code, killed) => {
      clearInterval(watch);
      clearTimeout(ends);
      const result = { peak: group.peak(), reclaims: group.reclaims(), ...last, errors, ended: ended ?? killed ?? `exit ${code}` };
      group.remove();
      done(result);
    }),
  );
}

// Seconds after the start at which each token was there.
async function run_loadline(o) {
  const times = [];
  const start = performance.now();
  const args = ["run", "-m", o.model, "-p", "Once", "-n", "100000", "--ignore-eos", "--temp", "0", "-c", kContext];
  args.push("-t", o.threads, "--ram", `${Math.floor(o.limit / 2 ** 20)}MiB`, "--no-display-prompt", "--special", "-q");
  const result = await run(o, [o.program, ...args.map(String)], "SIGINT", () => times.push(performance.now() - start));
  return { ...result, times };
}

async function run_llama(o) {
  const times = [];
  const start = performance.now();
  const task = { model: o.model, threads: o.threads, prompt: 0, generate: kContext, repeats: 0, variant: kMapped, endless: true };
  const args = [path.join(here, "llama.mjs"), JSON.stringify(task)];
  const result = await run(o, [process.execPath, ...args], "SIGKILL", (text) => {
    for (const _ of text.matchAll(/\n/g)) times.push(performance.now() - start);
  });
  return { ...result, times };
}

function row(name, result) {
  const count = result.times.length;
  const first = count > 0 ? result.times[0] / 1000 : null;
  const rate = count > 1 ? ((count - 1) / (result.times[count - 1] - result.times[0])) * 1000 : null;
  return {
    name,
    tokens: count,
    first_token_seconds: first,
    tokens_per_second: rate,
    bytes_read: result.read,
    peak: result.peak,
    reclaims: result.reclaims,
    major_faults: result.faults,
    ended: result.ended,
  };
}

const options = options_of_both();
const rows = [row("loadline", await run_loadline(options)), row("llama.cpp, memory map", await run_llama(options))];
if (options.json) {
  console.log(JSON.stringify({ ...options, rows }, null, 2));
} else {
  const gib = (bytes) => (bytes / 2 ** 30).toFixed(2);
  console.log(`${path.basename(options.model)}, ${gib(fs.statSync(options.model).size)} GiB, in ${gib(options.limit)} GiB, ` +
              `${options.seconds} s each\n`);
  console.log("| engine | tokens | first after | tok/s then | read | peak | met the limit | major faults | ended |");
  console.log("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
  for (const r of rows) {
    console.log(
      `| ${r.name} | ${r.tokens} | ${r.first_token_seconds?.toFixed(1) ?? "-"} s | ${r.tokens_per_second?.toFixed(3) ?? "-"} ` +
      `| ${gib(r.bytes_read)} GiB | ${gib(r.peak)} GiB | ${r.reclaims} times | ${r.major_faults} | ${r.ended} |`);
  }
}
