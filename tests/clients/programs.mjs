// Whole programs that people use, installed from npm into build/clients/NAME (their own versions, hundreds of MiB, so they
// are no part of `./dev setup`), each against a server with the demo model: `./dev clients sillytavern`. The demo's
// answers make no sense as an agent's; that a session is held to its end, and what the server was asked, is checked.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const versions = {
  sillytavern: ["sillytavern", "1.19.0"],
  codex: ["@openai/codex", "0.171.0"],
  opencode: ["opencode-ai", "1.18.33"],
  continue: ["@continuedev/cli", "1.5.47"],
};
const patience = 600000; // ms, against hanging for ever

// The folder of the program's package.
function install(name) {
  const [program, version] = versions[name];
  const folder = resolve("build/clients", name);
  const installed = join(folder, "node_modules", program);
  if (existsSync(join(folder, "done"))) return installed;
  console.log(`installing ${program} ${version} into ${folder}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, dependencies: { [program]: version } }));
  execFileSync("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error"], { cwd: folder, stdio: "inherit" });
  assert.equal(JSON.parse(readFileSync(join(installed, "package.json"))).version, version);
  writeFileSync(join(folder, "done"), "");
  return installed;
}

// Runs a program to its end: {code, out, err}.
function run(command, args, options = {}) {
  return new Promise((done, reject) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], timeout: patience, ...options });
    let out = "";
    let err = "";
    child.stdout.on("data", (data) => (out += data));
    child.stderr.on("data", (data) => (err += data));
    child.on("error", reject);
    child.on("close", (code, signal) => done({ code: code ?? signal, out, err }));
  });
}

// Stands between a program and the server, and keeps what was asked and answered: {url, exchanges, most, close}.
async function listenTo(url) {
  const exchanges = [];
  const seen = { most: 0 };
  let now = 0;
  const proxy = createServer((incoming, outgoing) => {
    const body = [];
    incoming.on("data", (data) => body.push(data));
    incoming.on("end", () => {
      const target = new URL(incoming.url, url);
      const exchange = { method: incoming.method, path: target.pathname, body: Buffer.concat(body).toString(), status: 0, answer: "" };
      exchanges.push(exchange);
      if (exchange.method === "POST") seen.most = Math.max(seen.most, ++now);
      const forwarded = request(target, { method: incoming.method, headers: { ...incoming.headers, host: target.host } }, (answer) => {
        exchange.status = answer.statusCode;
        outgoing.writeHead(answer.statusCode, answer.headers);
        answer.on("data", (data) => (exchange.answer += data));
        answer.pipe(outgoing);
      });
      const over = () => {
        if (exchange.method === "POST" && !exchange.over) --now;
        exchange.over = true;
      };
      outgoing.on("close", () => {
        over();
        forwarded.destroy();
      });
      forwarded.on("error", () => outgoing.destroy());
      forwarded.end(Buffer.concat(body));
    });
  });
  await new Promise((done) => proxy.listen(0, "127.0.0.1", done));
  return { url: `http://127.0.0.1:${proxy.address().port}`, exchanges, seen, close: () => proxy.closeAllConnections() ?? proxy.close() };
}

// A home of its own, so that nothing of the user's is read or written.
function home() {
  const folder = mkdtempSync(join(tmpdir(), "loadline-client-"));
  const names = { HOME: folder, XDG_CONFIG_HOME: join(folder, "config"), XDG_DATA_HOME: join(folder, "data"), XDG_CACHE_HOME: join(folder, "cache"), XDG_STATE_HOME: join(folder, "state") };
  return { folder, environment: { PATH: process.env.PATH, LANG: "C.UTF-8", NO_COLOR: "1", ...names } };
}

function told(exchange) {
  return `${exchange.method} ${exchange.path} -> ${exchange.status}\n${exchange.body.slice(0, 300)}\n${exchange.answer.slice(-500)}`;
}

function answeredWell(exchanges, path) {
  const those = exchanges.filter((one) => one.path === path);
  assert.ok(those.length > 0, `nobody asked ${path}: ${exchanges.map((one) => one.path)}`);
  for (const one of those) assert.equal(one.status, 200, told(one));
  return those;
}

// A port that was free a moment ago.
function freePort() {
  return new Promise((done) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

// What SillyTavern's page asks of its own server: connect, chat, and leave in the middle of an answer.
async function sillyTavern(there, url, idle) {
  const post = (path, body, more = {}) => fetch(`${there}/api/backends/${path}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), ...more });
  const text = (type, more) => ({
    name: type, kind: "text-completions", connect: { api_server: url, api_type: type },
    chat: { api_server: url, api_type: type, model: "demo", prompt: "Once upon a time", ...more(12) }, long: { api_server: url, api_type: type, model: "demo", prompt: "Once upon a time", ...more(3000), ignore_eos: true } });
  const common = (n) => ({ max_new_tokens: n, max_tokens: n, n_predict: n, num_predict: n, max_length: n, max_context_length: 4096, truncation_length: 4096, temperature: 0.7, temp: 0.7 });
  const kobold = (n) => ({ ...common(n), api_server: `${url}/api`, prompt: "Once upon a time", gui_settings: false, streaming: true, can_abort: true, rep_pen: 1.1, top_p: 0.9, top_k: 40, sampler_order: [6, 0, 1, 3, 4, 2, 5] });
  const custom = (n) => ({ chat_completion_source: "custom", custom_url: `${url}/v1`, model: "demo", messages: [{ role: "user", content: "Tell me of the sea." }], max_tokens: n, temperature: 0.7, custom_include_body: n > 100 ? "ignore_eos: true" : "" });
  const modes = [
    text("llamacpp", common), text("koboldcpp", common), text("ollama", common), text("generic", common),
    { name: "kobold", kind: "kobold", connect: { api_server: `${url}/api`, main_api: "kobold" }, chat: kobold(12), long: kobold(3000) },
    { name: "chat completion", kind: "chat-completions", connect: { chat_completion_source: "custom", custom_url: `${url}/v1` }, chat: custom(12), long: custom(3000) },
  ];
  for (const mode of modes) {
    const status = await post(`${mode.kind}/status`, mode.connect);
    const connected = await status.text();
    assert.ok(status.ok, `${mode.name}: ${status.status} ${connected}`);
    assert.match(connected, /demo/, `${mode.name} does not show the model: ${connected}`);
    const whole = await post(`${mode.kind}/generate`, { ...mode.chat, stream: false, streaming: false });
    const answer = await whole.text();
    assert.ok(whole.ok && answer.length > 20 && !/"error"/.test(answer), `${mode.name}: ${whole.status} ${answer}`);
    const abort = new AbortController();
    const streamed = await post(`${mode.kind}/generate`, { ...mode.long, stream: true }, { signal: abort.signal });
    assert.ok(streamed.ok, `${mode.name}: ${streamed.status}`);
    const first = await streamed.body.getReader().read();
    assert.ok(!first.done, `${mode.name}: nothing was streamed`);
    abort.abort();
    await idle(url);
    console.log(`        ${mode.name}: connected, chatted, stopped`);
  }
}

export const programs = {
  async codex(url) {
    const folder = install("codex");
    const { folder: there, environment } = home();
    const proxy = await listenTo(url);
    mkdirSync(join(there, ".codex"));
    writeFileSync(join(there, ".codex", "config.toml"), [
      'model = "demo"', 'model_provider = "loadline"', "[model_providers.loadline]", 'name = "Loadline"',
      `base_url = "${proxy.url}/v1"`, 'wire_api = "responses"', "request_max_retries = 0", "stream_max_retries = 0", ""].join("\n"));
    const manifest = JSON.parse(readFileSync(join(folder, "package.json")));
    const program = join(folder, typeof manifest.bin === "string" ? manifest.bin : manifest.bin.codex);
    const ended = await run(process.execPath, [program, "exec", "--skip-git-repo-check", "--sandbox", "read-only", "--json", "Tell me of the sea."], { cwd: there, env: environment });
    proxy.close();
    const those = answeredWell(proxy.exchanges, "/v1/responses");
    assert.match(those.at(-1).answer, /event: response\.completed/, told(those.at(-1)));
    assert.equal(ended.code, 0, ended.out + ended.err);
    assert.match(ended.out, /turn\.completed|agent_message/, ended.out);
    rmSync(there, { recursive: true, force: true });
  },

  async opencode(url) {
    const folder = install("opencode");
    const { folder: there, environment } = home();
    const proxy = await listenTo(url);
    const config = {
      $schema: "https://opencode.ai/config.json", autoupdate: false, share: "disabled", model: "loadline/demo", small_model: "loadline/demo",
      provider: { loadline: { npm: "@ai-sdk/openai-compatible", name: "Loadline", options: { baseURL: `${proxy.url}/v1` }, models: { demo: { name: "demo", limit: { context: 32768, output: 64 } } } } },
    };
    mkdirSync(join(there, "config", "opencode"), { recursive: true });
    writeFileSync(join(there, "config", "opencode", "opencode.json"), JSON.stringify(config));
    const manifest = JSON.parse(readFileSync(join(folder, "package.json")));
    const program = join(folder, manifest.bin.opencode);
    const ended = await run(program, ["run", "Tell me of the sea."], { cwd: there, env: environment });
    proxy.close();
    const those = answeredWell(proxy.exchanges, "/v1/chat/completions");
    assert.ok(those.length >= 2, `one request for the title and one for the answer: ${those.length}`);
    console.log(`        ${those.length} requests, at most ${proxy.seen.most} at a time`);
    for (const one of those) assert.match(one.answer, /data: \[DONE\]/, told(one));
    assert.equal(ended.code, 0, ended.out + ended.err);
    rmSync(there, { recursive: true, force: true });
  },

  async continue(url) {
    const folder = install("continue");
    const manifest = JSON.parse(readFileSync(join(folder, "package.json")));
    const program = join(folder, manifest.bin.cn);
    for (const [provider, base, path] of [["openai", "/v1", "/v1/chat/completions"], ["ollama", "", "/v1/chat/completions"], ["llama.cpp", "", "/chat/completions"]]) {
      const { folder: there, environment } = home();
      const proxy = await listenTo(url);
      const config = join(there, "config.yaml");
      writeFileSync(config, ["name: loadline", "version: 0.0.1", "schema: v1", "models:", "  - name: demo", `    provider: ${provider}`, "    model: demo", `    apiBase: ${proxy.url}${base}`, "    roles: [chat]", "    defaultCompletionOptions:", "      maxTokens: 32", ""].join("\n"));
      const ended = await run(process.execPath, [program, "--config", config, "-p", "Tell me of the sea."], { cwd: there, env: { ...environment, CONTINUE_TELEMETRY_ENABLED: "0" } });
      proxy.close();
      const those = answeredWell(proxy.exchanges, path);
      assert.match(those.at(-1).answer, /data: \[DONE\]/, told(those.at(-1)));
      assert.equal(ended.code, 0, `${provider}: ${ended.out}${ended.err}`);
      rmSync(there, { recursive: true, force: true });
    }
  },

  // Its own server is what speaks to others; its page is in a browser. What the page asks of its server is asked here.
  async sillytavern(url, idle) {
    const folder = install("sillytavern");
    const { folder: there, environment } = home();
    const data = join(there, "data");
    mkdirSync(data);
    const port = await freePort();
    const child = spawn(process.execPath, ["server.js", "--port", String(port), "--listen", "false", "--dataRoot", data, "--configPath", join(there, "config.yaml"), "--disableCsrf", "true", "--browserLaunchEnabled", "false"], { cwd: folder, env: environment, stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    child.stdout.on("data", (more) => (said += more));
    child.stderr.on("data", (more) => (said += more));
    try {
      const address = `http://127.0.0.1:${port}`;
      for (;;) {
        assert.equal(child.exitCode, null, said);
        const up = await fetch(`${address}/version`).catch(() => null);
        if (up?.ok) break;
        await new Promise((done) => setTimeout(done, 200));
      }
      await sillyTavern(address, url, idle);
    } catch (error) {
      console.log(said.slice(-3000));
      throw error;
    } finally {
      child.kill("SIGTERM");
    }
    rmSync(there, { recursive: true, force: true });
  },
};
