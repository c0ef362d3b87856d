// Libraries and programs that people use, against `loadline serve` with the demo model: each holds a small scripted
// conversation, streaming and not, and what comes back is checked. Run by `./dev clients [name]`; whole programs only
// where they are named, or "programs".
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import Ajv from "ajv";
import { programs } from "./programs.mjs";

const program = process.env.LOADLINE_PROGRAM ?? "build/release/loadline";
const wanted = process.argv[2] ?? "";

async function startServer(...more) {
  const child = spawn(program, ["serve", "--port", "0", "-np", "4", "-c", "4096", "--log-disable", ...more], { stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout });
  const url = await new Promise((resolve, reject) => {
    lines.once("line", resolve);
    child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
  });
  while ((await fetch(`${url}/health`)).status === 503);
  return { url, stop: () => new Promise((resolve) => { child.once("exit", resolve); child.kill("SIGTERM"); }) };
}

const messages = [{ role: "user", content: "Tell me of the sea." }];
const schema = { type: "object", properties: { name: { enum: ["whale", "crab"] }, legs: { type: "integer", minimum: 0, maximum: 99 } }, required: ["name", "legs"], additionalProperties: false };
const valid = new Ajv().compile(schema);
const tool = { type: "function", function: { name: "dive", description: "Dives.", parameters: { type: "object", properties: { deep: { type: "boolean" } }, required: ["deep"], additionalProperties: false } } };

async function idle(url) {
  for (let i = 0; i < 20000; ++i) {
    const slots = await (await fetch(`${url}/slots`)).json();
    if (slots.every((slot) => !slot.is_processing)) return;
  }
  assert.fail("a place was not freed");
}

const clients = {
  async openai(url) {
    const { default: OpenAI } = await import("openai");
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none" });
    const base = { model: "demo", messages, max_tokens: 12, seed: 1 };
    assert.equal((await client.models.list()).data[0].id, "demo");
    const whole = await client.chat.completions.create(base);
    assert.equal(whole.choices[0].finish_reason, "length");
    let text = "";
    let usage;
    for await (const chunk of await client.chat.completions.create({ ...base, stream: true, stream_options: { include_usage: true } })) {
      text += chunk.choices[0]?.delta?.content ?? "";
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, whole.choices[0].message.content);
    assert.equal(usage.completion_tokens, 12);
    const helper = await client.chat.completions.stream(base).finalChatCompletion();
    assert.equal(helper.choices[0].message.content, text);
    const forced = { ...base, max_tokens: 60, tools: [tool], tool_choice: "required" };
    const called = await client.chat.completions.stream(forced).finalChatCompletion();
    assert.equal(called.choices[0].finish_reason, "tool_calls");
    const call = called.choices[0].message.tool_calls[0];
    assert.equal(typeof JSON.parse(call.function.arguments).deep, "boolean");
    await client.chat.completions.create({ ...base, tools: [tool], messages: [...messages, called.choices[0].message, { role: "tool", tool_call_id: call.id, content: "wet" }] });
    const shaped = await client.chat.completions.create({ ...base, max_tokens: 60, response_format: { type: "json_schema", json_schema: { name: "x", schema } } });
    assert.ok(valid(JSON.parse(shaped.choices[0].message.content)));
    const response = await client.responses.stream({ model: "demo", input: "Tell me.", max_output_tokens: 12 }).finalResponse();
    assert.ok(response.output_text.length > 0);
    const completion = await client.completions.create({ model: "demo", prompt: "Once", max_tokens: 4 });
    assert.ok(completion.choices[0].text.length > 0);
    await assert.rejects(client.chat.completions.create({ ...base, messages: [{ role: "user", content: "sea ".repeat(9000) }] }), (error) => error.status === 400 && /maximum context length/.test(error.message));
    const abort = new AbortController();
    const long = await client.chat.completions.create({ ...base, max_tokens: 100000, ignore_eos: true, stream: true }, { signal: abort.signal });
    for await (const chunk of long) { if (chunk) abort.abort(); }
    await idle(url);
  },

  async anthropic(url) {
    const { default: Anthropic } = await import("@anthropic-ai/sdk");
    const client = new Anthropic({ baseURL: url, apiKey: "none" });
    const base = { model: "claude-x", max_tokens: 12, messages };
    const whole = await client.messages.create(base);
    assert.equal(whole.stop_reason, "max_tokens");
    const streamed = await client.messages.stream(base).finalMessage();
    assert.equal(streamed.content[0].type, "text");
    assert.ok((await client.messages.countTokens({ model: "m", messages })).input_tokens > 0);
    const tools = [{ name: "dive", input_schema: tool.function.parameters }];
    const called = await client.messages.stream({ ...base, max_tokens: 60, tools, tool_choice: { type: "any" } }).finalMessage();
    const use = called.content.at(-1);
    assert.equal(typeof use.input.deep, "boolean");
    await client.messages.create({ ...base, tools, messages: [...messages, { role: "assistant", content: called.content }, { role: "user", content: [{ type: "tool_result", tool_use_id: use.id, content: "wet" }] }] });
    await assert.rejects(client.messages.create({ ...base, messages: [] }), (error) => error.status === 400);
  },

  async ollama(url) {
    const { Ollama } = await import("ollama");
    const client = new Ollama({ host: url });
    const options = { num_predict: 12, seed: 1, num_ctx: 8192 };
    assert.equal((await client.list()).models[0].model, "demo:latest");
    assert.ok((await client.show({ model: "demo" })).model_info["general.architecture"]);
    assert.equal((await client.ps()).models[0].context_length, 4096);
    const whole = await client.chat({ model: "demo", messages, options });
    let text = "";
    let last;
    for await (const part of await client.chat({ model: "demo", messages, options, stream: true })) {
      text += part.message.content;
      last = part;
    }
    assert.equal(text, whole.message.content);
    assert.equal(last.done_reason, "length");
    const shaped = await client.chat({ model: "demo", messages, format: schema, options: { num_predict: 60 } });
    assert.ok(valid(JSON.parse(shaped.message.content)));
    await client.chat({ model: "demo", messages, tools: [tool], options });
    assert.ok((await client.generate({ model: "demo", prompt: "Once", raw: true, options })).response);
    await assert.rejects(client.chat({ model: "other", messages }), /not found/);
  },

  async ai(url) {
    const { generateObject, generateText, jsonSchema, streamText, tool: aiTool } = await import("ai");
    const { createOpenAICompatible } = await import("@ai-sdk/openai-compatible");
    const provider = createOpenAICompatible({ name: "loadline", baseURL: `${url}/v1`, includeUsage: true, supportsStructuredOutputs: true });
    const model = provider("demo");
    const { text, finishReason } = await generateText({ model, messages, maxOutputTokens: 12 });
    assert.ok(text.length > 0 && finishReason === "length");
    const stream = streamText({ model, messages, maxOutputTokens: 12 });
    let streamed = "";
    for await (const part of stream.textStream) streamed += part;
    assert.ok(streamed.length > 0);
    assert.equal((await stream.usage).outputTokens, 12);
    const { object } = await generateObject({ model, messages, schema: jsonSchema(schema), maxOutputTokens: 60 });
    assert.ok(valid(object));
    const tools = { dive: aiTool({ inputSchema: jsonSchema(tool.function.parameters) }) };
    const called = await generateText({ model, messages, tools, toolChoice: "required", maxOutputTokens: 60 });
    assert.equal(typeof called.toolCalls[0].input.deep, "boolean");
  },

  async langchain(url) {
    const { ChatOpenAI } = await import("@langchain/openai");
    const { ChatOllama } = await import("@langchain/ollama");
    const open = new ChatOpenAI({ model: "demo", apiKey: "none", maxTokens: 12, configuration: { baseURL: `${url}/v1` } });
    assert.ok((await open.invoke("Tell me of the sea.")).content.length > 0);
    let text = "";
    for await (const chunk of await open.stream("Tell me of the sea.")) text += chunk.content;
    assert.ok(text.length > 0);
    const ollama = new ChatOllama({ model: "demo", baseUrl: url, numPredict: 12 });
    text = "";
    for await (const chunk of await ollama.stream("Tell me of the sea.")) text += chunk.content;
    assert.ok(text.length > 0);
  },
};

let failed = 0;
const chosen = Object.entries(clients).filter(([name]) => name.includes(wanted));
for (const one of Object.entries(programs)) {
  if (one[0] === wanted || wanted === "programs") chosen.push(one);
}
if (chosen.length === 0) {
  console.error(`there is no client ${wanted}: ${[...Object.keys(clients), ...Object.keys(programs)].join(", ")}, or programs for all of the latter`);
  process.exit(2);
}
// What agents say first is long.
const server = await startServer(...(chosen.some(([name]) => name in programs) ? ["-c", "131072"] : []));
for (const [name, run] of chosen) {
  try {
    await run(server.url, idle);
    console.log(`ok      ${name}`);
  } catch (error) {
    ++failed;
    console.log(`FAILED  ${name}: ${error.stack}`);
  }
}
await server.stop();
process.exit(failed === 0 ? 0 : 1);
