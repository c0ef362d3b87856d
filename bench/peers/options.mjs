// What the comparisons share on the command line: the model, threads, the program, JSON; and how a mistake is told.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { kVariants } from "./figures.mjs";

export const here = path.dirname(fileURLToPath(import.meta.url));

// `name` begins every complaint. Each ends the process with exit code 2.
export function complaints(name) {
  const fail = (message) => {
    console.error(`${name}: ${message}`);
    process.exit(2);
  };
  const number = (text, flag, least) => {
    const value = Number(text);
    if (text.trim() === "" || !Number.isInteger(value) || value < least) {
      fail(`${flag} is not a whole number of at least ${least}: "${text}"`);
    }
    return value;
  };
  return { fail, number };
}

// Options of both comparisons, read and checked, and `values` with those of `own` (as node:util's parseArgs takes them)
// as they were written. --help prints `usage` and ends the process.
export function read_options({ fail, number }, usage, own) {
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        model: { type: "string", short: "m" },
        threads: { type: "string", short: "t", default: String(os.availableParallelism()) },
        loadline: { type: "string", default: path.join(here, "../../build/release/loadline") },
        json: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
        ...own,
      },
    }));
  } catch (error) {
    fail(`${error.message}\n${usage}`);
  }
  if (values.help) {
    process.stdout.write(usage);
    process.exit(0);
  }
  if (!values.model) fail(`no model given\n${usage}`);
  if (!fs.existsSync(values.model)) fail(`there is no file ${values.model}`);
  const common = {
    model: path.resolve(values.model),
    threads: number(values.threads, "--threads", 1),
    program: values.loadline,
    json: values.json,
  };
  return { common, values };
}

// The same for those that run both programs in turn: their prompts and answers of so many tokens (`prompt` and `generate`
// are what is usual, and the fewest), rounds and the instruction set are among the common ones.
export function read_options_in_turn(complaint, usage, { prompt, generate }, own) {
  const { common, values } = read_options(complaint, usage, {
    "n-prompt": { type: "string", short: "p", default: String(prompt.usual) },
    "n-gen": { type: "string", short: "n", default: String(generate.usual) },
    rounds: { type: "string", default: "5" },
    isa: { type: "string" },
    ...own,
  });
  const { fail, number } = complaint;
  if (values.isa && !kVariants[values.isa]) fail(`--isa is none of ${Object.keys(kVariants).join(", ")}`);
  Object.assign(common, {
    prompt: number(values["n-prompt"], "--n-prompt", prompt.fewest),
    generate: number(values["n-gen"], "--n-gen", generate.fewest),
    rounds: number(values.rounds, "--rounds", 1),
    isa: values.isa ?? null,
  });
  return { common, values };
}
